"""A model run on another run's tensors: as a whole, and cut into segments that each get right inputs.

All segments run in one session: the model is copied with every matched tensor replaced, where it is used, by an input.
So each output depends only on what lies between it and the matched tensors before it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import runtime
from ..copying import copied_input, copied_nodes
from ..extraction.intermediates import chunks
from ..ir import Graph, Input, Node, Output, Value
from ..loading import LoadedTrace, settle_types
from ..models import Model
from ..types import DType, TensorType, tensor_type
from ..walk import between, dependencies
from .measures import tolerance


@dataclass(frozen=True)
class Setting:
    """How a model is run."""

    feeds: Mapping[str, Any]
    memory: int = 1 << 30
    providers: Sequence[Any] | None = None
    options: Mapping[str, Any] | None = None


def values_of(model: Model, sizes: Mapping[Value, int], setting: Setting) -> Iterator[tuple[Value, np.ndarray]]:
    """The values of tensors in a run of the whole model, in chunks of as many bytes as may be taken."""
    for chunk in chunks(sizes.items(), setting.memory):
        yield from _run(model, {value: model._tensors.names[value] for value in chunk}, setting.feeds, setting)


class Segments:
    """The parts of a model between matched tensors, and the right values of those."""

    def __init__(self, model: Model, expected: Mapping[Value, np.ndarray], setting: Setting) -> None:
        self.model = model
        self.expected = dict(expected)
        self.setting = setting

    def values(self, wanted: Mapping[Value, int] | None = None) -> Iterator[tuple[Value, np.ndarray]]:
        """What each segment makes of right inputs, by the tensor at its end; or other values, of given sizes."""
        sizes = {v: array.nbytes for v, array in self.expected.items()} if wanted is None else dict(wanted)
        whole, entries, made = _cut(self.model, self.expected, sizes)
        names = {value: whole._tensors.names[value] for value in made.values()}
        ends_of = {new: old for old, new in made.items()}
        feeds = {**self.setting.feeds, **{entries[value]: array for value, array in self.expected.items()}}
        for chunk in chunks([(made[value], size) for value, size in sizes.items()], self.setting.memory):
            for new, array in _run(whole, {value: names[value] for value in chunk}, feeds, self.setting):
                yield ends_of[new], array

    def nodes(self, value: Value) -> tuple[tuple[Node, ...], tuple[Value, ...]]:
        """The nodes of the segment that ends at a tensor, in order, and the tensors that it starts from."""
        assert value.node is not None
        found, inputs, met = between(list(dependencies(value.node)), self.expected)
        starts = [*inputs, *met]
        return tuple(sorted({*found, value.node}, key=lambda node: node.order)), tuple(starts)

    def tolerance(self, value: Value) -> float:
        """How far right kernels may be off at a tensor of floats: what is cast from a coarse dtype is no finer."""
        if not _floats([value]):
            return 0.0
        return tolerance(*_floats(v for node in self.nodes(value)[0] for v in (*node.inputs, *node.outputs)))

    def without(self, values: Collection[Value]) -> "Segments":
        """The segments, where some tensors are matched no more."""
        rest = {value: array for value, array in self.expected.items() if value not in values}
        return Segments(self.model, rest, self.setting)


def _floats(values: Iterable[Value | None]) -> list[DType]:
    """The dtypes of those that are tensors of floats."""
    kinds = [value.type for value in values if value is not None]
    return [kind.dtype for kind in kinds if isinstance(kind, TensorType) and kind.dtype.kind == "float"]


def _run(
    model: Model, names: Mapping[Value, str], feeds: Mapping[str, Any], setting: Setting
) -> Iterator[tuple[Value, np.ndarray]]:
    found = runtime.run(
        replace(model),  # a copy, which takes its session with it
        feeds,
        wanted={name: value for value, name in names.items()},
        providers=setting.providers,
        options={**runtime.UNOPTIMISED, **(setting.options or {})},
        symbols=False,
    )
    for value, name in names.items():
        array = found.pop(name)
        if isinstance(array, np.ndarray):
            yield value, array


def _cut(
    model: Model, expected: Mapping[Value, np.ndarray], ends: Iterable[Value]
) -> tuple[Model, dict[Value, str], dict[Value, Value]]:
    """The model with an input wherever a matched tensor is used; the inputs' names, and what makes the tensors now."""
    graph = model.graph
    taken = set(model._tensors.names.values()) | set(model._tensors.known)
    data: dict[str, Graph] = {}
    trace = LoadedTrace(f"model {graph.name!r}", None, lambda: settle_types(data["graph"]))
    values: dict[Value, Value] = {}
    inputs = [copied_input(value, value.name, trace) for value in graph.inputs]
    values.update(zip(graph.inputs, inputs, strict=True))
    entries: dict[Value, str] = {}
    for old, array in expected.items():
        entries[old] = name = _free(f"{model._tensors.names[old]}/expected", taken)
        values[old] = entry = Input(name, tensor_type(array.dtype, array.shape), trace, old.site)
        inputs.append(entry)
    nodes = copied_nodes(
        graph.nodes, values, trace, model._tensors.names, lambda value: model._tensors.names.get(value)
    )
    made_by: dict[Value, Value] = {}
    for before, after in zip(graph.nodes, nodes, strict=True):
        made_by.update(zip(before.outputs, after.outputs, strict=True))
    outputs = tuple([Output(None, made_by[value]) for value in ends])
    listed = tuple([values.get(value, value) for value in graph.initializers])
    data["graph"] = replace(
        graph,
        inputs=tuple(inputs),
        nodes=nodes,
        outputs=outputs,
        initializers=listed,
        declared=MappingProxyType({}),
        extras=b"",
    )
    return replace(model, graph=data["graph"]), entries, {value: made_by[value] for value in ends}


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def converted(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """An array as the model takes it: of another width, where the two sides differ in that."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)
