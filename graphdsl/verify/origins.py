"""Where witnesses begin to differ: the nodes of a run by which they do so when each node is run alone, on one input.

What differs at the end of a model says little of why. A node that is run by both witnesses on what the first of them
computed before it says which operator differs, with which values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..apart import Crash
from ..attributes import from_attribute
from ..copying import copied_nodes, similar_trace
from ..errors import FeedError
from ..inlining import inline
from ..ir import Constant, Graph, Input, ModelData, Node, Output, Value, constant_array
from ..types import TensorType
from ..walk import dependencies
from .comparing import Difference, Runs
from .witnesses import run


class Origin(NamedTuple):
    """A node at which witnesses differ."""

    node: Node
    inputs: tuple[Any, ...]
    """What it is given: an array, a list or None for each input."""
    difference: Difference

    @property
    def x(self) -> Any:
        """Its first input."""
        return self.inputs[0] if self.inputs else None

    def input(self, name: str) -> Any:
        """An input by its name in the schema; None where it is left out, or the opset has none."""
        for index, value in enumerate(self.inputs):
            if self.node.schema.input(index).name == name:
                return value
        return None

    def attribute(self, name: str) -> Any:
        """An attribute, or its default; None where it has none."""
        if name in self.node.attributes:
            return self.node.attributes[name]
        spec = self.node.schema.attributes.get(name)
        return from_attribute(spec.default) if spec is not None and spec.default else None

    @property
    def dtype(self) -> str:
        """The dtype of its first input; empty where that is no tensor."""
        return self._dtype(self.node.inputs[0] if self.node.inputs else None)

    @property
    def gives(self) -> str:
        """The dtype of its first output."""
        return self._dtype(self.node.outputs[0])

    @staticmethod
    def _dtype(value: Value | None) -> str:
        kind = value.type if value is not None else None
        return kind.dtype.name if isinstance(kind, TensorType) else ""


def origins(model: ModelData, feeds: Mapping[str, Any], pair: Sequence[str], seconds: float) -> Iterator[Origin]:
    """The nodes at which two witnesses differ, or at which one of them crashes, in order.

    A node that nobody runs alone ends the search.
    """
    plain = inline(model) if model.functions else model
    values: dict[Value, Any] = {v: feeds.get(v.name or "", v.default) for v in plain.graph.inputs}
    for node in plain.graph.nodes:
        if constant_array(node.outputs[0]) is not None:
            continue
        needed = [v for v in dict.fromkeys(dependencies(node)) if constant_array(v) is None]
        part = _alone(plain, node, needed)
        given = {f"i{index}": values[v] for index, v in enumerate(needed)}
        try:
            outcomes = [run(part, given, name, seconds=seconds) for name in pair]
        except FeedError:
            return
        inputs = tuple([values[v] if v in values else constant_array(v) for v in node.inputs])
        for name, outcome in zip(pair, outcomes, strict=True):
            if isinstance(outcome, Crash):
                yield Origin(node, inputs, Difference(f"{name} crashed: {outcome.reason}"))
                return
        ran = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        if not ran:
            return
        if len(ran) == 2:
            runs = Runs(part, given)
            found = runs.difference(*ran)
            if found is not None and not runs.undefined:
                yield Origin(node, inputs, found)
        values.update(zip(node.outputs, ran[0].values(), strict=True))


def _alone(model: ModelData, node: Node, needed: Sequence[Value]) -> ModelData:
    """A model of one node of another one: what it needs is its input, but for constants."""
    trace = similar_trace(model, lambda: None)
    inputs = [Input(f"i{index}", value.type, trace, None) for index, value in enumerate(needed)]
    known: dict[Value, Value] = dict(zip(needed, inputs, strict=True))
    for value in dependencies(node):
        array = constant_array(value)
        if array is not None and value.type is not None:
            known[value] = Constant(array, value.type, None)
    (made,) = copied_nodes([node], known, trace, {value: f"o{i}" for i, value in enumerate(node.outputs)})
    outputs = tuple([Output(f"o{index}", value) for index, value in enumerate(made.outputs)])
    return replace(model, graph=Graph("alone", tuple(inputs), (made,), outputs), functions=())
