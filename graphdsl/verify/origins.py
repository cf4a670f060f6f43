"""Where witnesses begin to differ: the nodes of a run by which they do so when each node is run alone, on one input.

What differs at the end of a model says little of why. A node that is run by both witnesses on what the first of them
computed before it says which operator differs, with which values.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

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


def origins(model: ModelData, feeds: Mapping[str, Any], pair: Sequence[str], seconds: float) -> list[Origin] | None:
    """The nodes at which two witnesses differ, or at which one of them crashes, in order; None if that cannot be told.

    Where it is a branch or a loop at which they do so, it is nodes of its body, if these can be told. None are found
    where each node alone gives what the other witness gives: then roundings, or what a runtime makes of several nodes
    at once, have added up.
    """
    found: list[Origin] = []
    plain = inline(model) if model.functions else model
    values: dict[Value, Any] = {v: feeds.get(v.name or "", v.default) for v in plain.graph.inputs}
    for node in plain.graph.nodes:
        if constant_array(node.outputs[0]) is not None:
            continue
        needed = _unknown(dependencies(node))
        part = _part(plain, [node], needed, node.outputs)
        given = [values[v] for v in needed]
        try:
            outcomes = [run(part, _feeds(given), name, seconds=seconds) for name in pair]
        except FeedError:
            return None
        inputs = tuple([values[v] if v in values else constant_array(v) for v in node.inputs])
        for name, outcome in zip(pair, outcomes, strict=True):
            if isinstance(outcome, Crash):
                return [*found, Origin(node, inputs, Difference(f"{name} crashed: {outcome.reason}"))]
        ran = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        if len(ran) < len(pair):
            return None
        if len(pair) == 2:
            runs = Runs(part, _feeds(given))
            difference = runs.difference(*ran)
            if difference is not None and not runs.undefined:
                inside = list(_inside(plain, node, inputs, values, pair, seconds)) if node.bodies else []
                found += inside or [Origin(node, inputs, difference)]
        values.update(zip(node.outputs, ran[0].values(), strict=True))
    return found


def _inside(
    model: ModelData,
    node: Node,
    inputs: Sequence[Any],
    values: Mapping[Value, Any],
    pair: Sequence[str],
    seconds: float,
) -> Iterator[Origin]:
    """The nodes of a body at which witnesses differ in its first rounds."""
    name, attributes = node.schema.name, node.attributes
    body: Graph = (
        attributes["body"] if name != "If" else attributes[f"{'then' if np.all(inputs[0]) else 'else'}_branch"]
    )
    needed = _unknown(body.captures)
    part = _part(model, body.nodes, [*body.inputs, *needed], [value for _, value in body.outputs])
    state: list[Any] = []
    for turn in range(_ROUNDS):
        given = _round(node, inputs, turn, state)
        if given is None:
            return
        fed = _feeds([*given, *(values[v] for v in needed)])
        yield from origins(part, fed, pair, seconds) or ()
        outcome = run(part, fed, pair[0], seconds=seconds)
        if not isinstance(outcome, dict):
            return
        state = list(outcome.values())


_ROUNDS = 4
"""How many rounds of a loop are looked into."""


def _round(node: Node, inputs: Sequence[Any], turn: int, state: Sequence[Any]) -> list[Any] | None:
    """What a body is given in a round, after what it gave in the one before; None where there is no such round."""
    name = node.schema.name
    if name == "If":
        return [] if not turn else None
    if name == "Loop":
        count, going = (None if item is None else item.item() for item in inputs[:2])
        going = state[0].item() if turn else going
        over = going is False or (count is not None and turn >= count)
        carried = state[1 : len(inputs) - 1] if turn else inputs[2:]
        return None if over else [np.array(turn), np.array(True), *carried]
    if name == "SequenceMap":
        each = [item[turn : turn + 1] if isinstance(item, list) else [item] for item in inputs]
        return [item[0] for item in each] if all(each) else None
    if name == "Scan" and not set(node.attributes) & {"scan_input_axes", "scan_input_directions"}:
        kept = len(inputs) - node.attributes["num_scan_inputs"]
        rows = [item[turn : turn + 1] for item in inputs[kept:]]
        return [*(state[:kept] if turn else inputs[:kept]), *(row[0] for row in rows)] if all(map(len, rows)) else None
    return None


def _feeds(given: Sequence[Any]) -> dict[str, Any]:
    return {f"i{index}": item for index, item in enumerate(given)}


def _unknown(needed: Iterable[Value]) -> list[Value]:
    """What is no constant, each once."""
    return [value for value in dict.fromkeys(needed) if constant_array(value) is None]


def _part(model: ModelData, nodes: Sequence[Node], needed: Sequence[Value], outputs: Sequence[Value]) -> ModelData:
    """A model of some nodes of another one: what they need is its input, but for constants."""
    trace = similar_trace(model, lambda: None)
    inputs = [Input(f"i{index}", value.type, trace, None) for index, value in enumerate(needed)]
    known: dict[Value, Value] = dict(zip(needed, inputs, strict=True))
    for value in [*(value for node in nodes for value in dependencies(node)), *outputs]:
        array = constant_array(value)
        if array is not None and value.type is not None:
            known[value] = Constant(array, value.type, None)
    inner = [node for node in nodes if constant_array(node.outputs[0]) is None]
    made = copied_nodes(inner, known, trace, {value: f"o{index}" for index, value in enumerate(outputs)})
    named = tuple([Output(f"o{index}", known[value]) for index, value in enumerate(outputs)])
    return replace(model, graph=Graph("part", tuple(inputs), made, named), functions=())
