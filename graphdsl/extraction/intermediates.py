"""The values of all tensors of a model, a few at a time."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from .. import runtime, schemas
from ..errors import GraphError
from ..ir import Output, Value
from ..loading import Source
from ..models import PRODUCER, Model
from ..progress import bar
from ..sites import at, caller
from ..tensor import Tensor
from ..tensor.calling import emit, tracing
from ..transforming import graph_trace
from ..types import TensorType
from .exposing import chosen
from .naming import Named, listed, prepared

_T = TypeVar("_T")


def run_intermediates(
    model: Model | Source,
    feeds: Mapping[str, Any],
    names: Any = None,
    *,
    memory: int = 1 << 28,
    progress: bool | None = None,
    providers: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, Any]]:
    """The value of every tensor that a node makes, by name, in chunks that fit into memory.

    The model is run once for each chunk, and once more where sizes are known only then. Nothing is kept: take what you
    need of each value as it comes.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32["n"])
    >>> model = gd.build({"y": (x * 2).named("twice") + 1})
    >>> {name: value.tolist() for name, value in gd.run_intermediates(model, {"x": [1, 2]})}
    {'twice': [2.0, 4.0], 'y': [3.0, 5.0]}

    Args:
        model: A model, or what `gd.load` takes.
        feeds: Arrays by input name, as `gd.Model.run` takes them.
        names: The tensors to give, as `gd.expose` takes them; by default all that nodes make, in the model's order.
        memory: How many bytes the values of one chunk may take; a larger value is a chunk of its own.
        progress: Whether to show a bar, which needs tqdm; by default where tqdm is installed and a terminal looks on.
        providers: As for `gd.Model.run`.
        options: As for `gd.Model.run`. Optimisations are off by default, so that no value depends on which others are
            asked for with it; last bits may depend on the number of threads (`intra_op_num_threads`).

    Raises:
        GraphError: the model has no such tensor.
        FeedError: the feeds do not fit the inputs.
        MissingRuntime: ONNX Runtime is not installed, or tqdm where `progress=True`.
        RunError: ONNX Runtime refuses the model, or fails while running it.
    """
    whole = prepared(model)
    if memory <= 0:
        raise GraphError(f"gd.run_intermediates: memory={memory!r} is no number of bytes above 0" + at(caller()))
    if names is None:
        tensors = _all(whole)
    else:
        whole, tensors = chosen(whole, listed(names), "gd.run_intermediates")
    run = _Runner(whole, feeds, providers, {**runtime.UNOPTIMISED, **(options or {})})
    return _values(run, tensors, memory, bar(len(tensors), progress, unit=" tensors"))


def _all(model: Model) -> list[Named]:
    names = model._tensors.names
    made = [value for node in model.graph.nodes for value in node.outputs if value in names]
    return [Named(names[value], value) for value in made]


class _Runner:
    """Runs a model for some of its tensors."""

    def __init__(
        self,
        model: Model,
        feeds: Mapping[str, Any],
        providers: Sequence[Any] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.model = model
        self._feeds = feeds
        self._providers = providers
        self._options = options

    def values(self, tensors: Iterable[Named]) -> dict[str, Any]:
        """The values by name."""
        wanted = {tensor.name: tensor.value for tensor in tensors}
        return self._run(replace(self.model), wanted)  # a copy, which takes its session with it

    def sizes(self, tensors: Iterable[Named]) -> dict[Value, int]:
        """The bytes of each tensor: as its type says, else as the model says when it is run; of nothing else."""
        kinds = {t.value: kind for t in tensors if isinstance(kind := t.value.type, TensorType)}
        sizes = {v: _bytes(kind, kind.shape) for v, kind in kinds.items() if _is_known(kind.shape)}
        open_ = [value for value in kinds if value not in sizes]
        if open_:
            graph = self.model.graph
            with schemas.opset_forced(self.model.opset), tracing(graph_trace(graph)):
                shapes = [emit("Shape", Tensor(value))[0] for value in open_]
            taken = self.model._tensors.known
            outputs = [Output(_free(f"shape_{i}", taken), shape) for i, shape in enumerate(shapes)]
            nodes = (*graph.nodes, *(shape.node for shape in shapes if shape.node is not None))
            sized = replace(self.model, graph=replace(graph, nodes=nodes, outputs=tuple(outputs)))
            found = self._run(sized, dict(outputs))
            sizes.update((v, _bytes(kinds[v], shape)) for v, shape in zip(open_, found.values(), strict=True))
        return sizes

    def _run(self, model: Model, wanted: Mapping[Any, Value]) -> dict[str, Any]:
        return runtime.run(
            model,
            self._feeds,
            wanted=wanted,
            providers=self._providers,
            options=self._options,
            symbols=model.producer == PRODUCER,
        )


def _values(
    run: _Runner, tensors: Sequence[Named], memory: int, advance: Callable[[int], object]
) -> Iterator[tuple[str, Any]]:
    sizes = run.sizes(tensors)
    for chunk in chunks([(tensor, sizes.get(tensor.value, memory)) for tensor in tensors], memory):
        yield from run.values(chunk).items()
        advance(len(chunk))


def chunks(sized: Iterable[tuple[_T, int]], memory: int) -> Iterator[list[_T]]:
    """Things in order, as many at a time as fit by their sizes; one that is too large alone."""
    chunk: list[_T] = []
    left = memory
    for item, size in sized:
        if chunk and size > left:
            yield chunk
            chunk, left = [], memory
        chunk.append(item)
        left -= size
    if chunk:
        yield chunk


def _is_known(shape: Iterable[Any] | None) -> bool:
    return shape is not None and all(isinstance(size, int) for size in shape)


def _bytes(kind: TensorType, shape: Any) -> int:
    """The bytes of a tensor; text is taken to have some sixty a piece."""
    return math.prod(int(size) for size in shape) * (kind.dtype.bits or 512) // 8


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name
