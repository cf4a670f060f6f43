"""Two graphs whose nodes are matched: what is otherwise."""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx

from ..ir import Graph, Input, Node, Opaque, Value
from ..types import Type, from_proto
from .labels import View
from .matching import Matching
from .reports import Change, Differences, NodeChange, Part, WeightChange
from .weights import distance

_FURTHEST = 256
"""How many added or removed nodes an input is followed through."""

Names = Mapping[Value | None, str]


class Found(NamedTuple):
    """What a comparison of graphs found, while it is gathered."""

    added: list[NodeChange]
    removed: list[NodeChange]
    changed: list[NodeChange]
    weights: list[WeightChange]
    bodies: list[Part]


class Comparison:
    """Compares two graphs; `outside` says which values from outside stand for each other."""

    def __init__(self, one: Graph, other: Graph, names: tuple[Names, Names], outside: Mapping[Value, Value]) -> None:
        self.one, self.other = View(one, names[0]), View(other, names[1])
        self._names = names
        self.matching = Matching(self.one, self.other, outside)
        self.values = self.matching.values()
        self._constants: dict[Value, dict[Value, list[tuple[int, str]]]] = {}
        """For each constant, those in its place, and where: the node's place and the input."""
        self.found = Found([], [], [], [], [])
        self._compare()

    def differences(self, **others: tuple[Any, ...]) -> Differences:
        """What was found, with what else is said of the graphs."""
        renamed = sum(self.one.label(a) != self.other.label(b) for a, b in self.values.items() if a.node is not None)
        return Differences(**{k: tuple(v) for k, v in self.found._asdict().items()}, renamed=renamed, **others)

    def _compare(self) -> None:
        there, back = self.matching.there, self.matching.back
        changes: dict[int, list[Change]] = {}
        for place, partner in enumerate(there):
            if partner is None:
                self.found.removed.append(_alone(self.one, place, is_new=False))
            elif found := self._node(place, partner):
                changes[place] = found
        self._weights(changes)
        for place, found in sorted(changes.items()):
            partner = there[place]
            assert partner is not None
            before, after = self.one.nodes[place], self.other.nodes[partner]
            self.found.changed.append(NodeChange(self.one.name(place), before, after, (), tuple(found)))
        self.found.added.extend(_alone(self.other, place, is_new=True) for place, p in enumerate(back) if p is None)

    def _node(self, place: int, partner: int) -> list[Change]:
        before, after = self.one.nodes[place], self.other.nodes[partner]
        changes: list[Change] = []
        if (before.domain, before.op_type) != (after.domain, after.op_type):
            changes.append(Change("operator", before.schema.label, after.schema.label))
        elif before.schema.since != after.schema.since:
            changes.append(Change("version of the operator", before.schema.since, after.schema.since))
        changes += self._inputs(place, before, after)
        if len(before.outputs) != len(after.outputs):
            changes.append(Change("number of outputs", len(before.outputs), len(after.outputs)))
        if before.attributes or after.attributes:
            changes += self._attributes(self.one.name(place), before, after)
        return changes

    # Inputs

    def _inputs(self, place: int, before: Node, after: Node) -> list[Change]:
        changes: list[Change] = []
        for index in range(max(len(before.inputs), len(after.inputs))):
            a = before.inputs[index] if index < len(before.inputs) else None
            b = after.inputs[index] if index < len(after.inputs) else None
            if a is not None and b is not None and a.array is not None and b.array is not None:
                self._constants.setdefault(a, {}).setdefault(b, []).append((place, _formal(after, index)))
                continue
            if self.is_same(a, b):
                continue
            changes.append(Change(_formal(after, index), self.one.label(a) or None, self.other.label(b) or None))
        return changes

    def is_same(self, a: Value | None, b: Value | None) -> bool:
        """Whether a value stands for another, directly or through nodes that are reported themselves."""
        if a is None or b is None:
            return a is b
        if a.array is not None and b.array is not None:
            return compared(a.array, b.array) is None
        if self.values.get(a) is b:
            return True
        return self._leads_through(a, b)

    def _leads_through(self, a: Value, b: Value) -> bool:
        x, y = self.one.maker(a), self.other.maker(b)
        taken_out = x is not None and self.matching.there[x] is None
        put_in = y is not None and self.matching.back[y] is None
        if taken_out and put_in:
            return True
        if put_in:
            wanted = self.values.get(a)
            return wanted is not None and wanted in _sources(self.other, b, self.matching.back)
        if taken_out:
            return any(self.values.get(source) is b for source in _sources(self.one, a, self.matching.there))
        return False

    def _weights(self, changes: dict[int, list[Change]]) -> None:
        """Constants that changed: wherever they are used, else at the nodes that use another one now."""
        for a, others in self._constants.items():
            assert a.array is not None
            for b, uses in others.items():
                found = None if a is b or b.array is None else compared(a.array, b.array)
                if found is None:
                    continue
                if len(others) > 1:
                    for place, formal in uses:
                        changes.setdefault(place, []).append(found._replace(what=formal))
                    continue
                name = self.one.label(a) or self.other.label(b)
                self.found.weights.append(WeightChange(name, found.before, found.after, found.distance))

    # Attributes

    def _attributes(self, name: str, before: Node, after: Node) -> list[Change]:
        changes: list[Change] = []
        for key in sorted(before.attributes.keys() | after.attributes.keys()):
            a, b = before.attributes.get(key), after.attributes.get(key)
            if isinstance(a, Graph) and isinstance(b, Graph):
                part = body(a, b, self._names, self.values)
                if part:
                    self.found.bodies.append(Part(f"{key} of {name!r}", part))
            elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
                found = compared(a, b)
                if found is not None:
                    changes.append(found._replace(what=f"attribute {key!r}"))
            elif not is_equal(a, b):
                changes.append(Change(f"attribute {key!r}", a, b))
        return changes


def body(one: Graph, other: Graph, names: tuple[Names, Names], outside: Mapping[Value, Value]) -> Differences:
    """What changed in a body or function: inputs and outputs are told apart by their places."""
    known = dict(outside)
    known.update(zip(one.inputs, other.inputs, strict=False))
    found = Comparison(one, other, names, known)
    changes: list[Change] = []
    if len(one.inputs) != len(other.inputs):
        changes.append(Change("number of inputs", len(one.inputs), len(other.inputs)))
    outputs = (
        []
        if len(one.outputs) == len(other.outputs)
        else [Change("number of outputs", len(one.outputs), len(other.outputs))]
    )
    for index, ((_, a), (_, b)) in enumerate(zip(one.outputs, other.outputs, strict=False)):
        if not found.is_same(a, b):
            outputs.append(Change(f"output {index}", found.one.label(a), found.other.label(b)))
    return found.differences(inputs=tuple(changes), outputs=tuple(outputs))


def interface(one: Graph, other: Graph, found: Comparison) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """What changed in a model's inputs and outputs, by name."""
    ours, theirs = {v.name or "": v for v in one.inputs}, {v.name or "": v for v in other.inputs}
    inputs = _listed(
        {name: declared(one, value) for name, value in ours.items()},
        {name: declared(other, value) for name, value in theirs.items()},
    )
    for name in ours.keys() & theirs.keys():
        a, b = ours[name].default, theirs[name].default
        change = compared(a, b) if a is not None and b is not None else None
        if change is not None:
            inputs.append(change._replace(what=f"default of {name!r}"))
        elif (a is None) != (b is None):
            inputs.append(Change(f"default of {name!r}", a, b))
    names = [n or found.one.label(v) for n, v in one.outputs], [n or found.other.label(v) for n, v in other.outputs]
    first = dict(zip(names[0], (v for _, v in one.outputs), strict=True))
    second = dict(zip(names[1], (v for _, v in other.outputs), strict=True))
    outputs = _listed(
        {name: declared(one, value) for name, value in first.items()},
        {name: declared(other, value) for name, value in second.items()},
    )
    for name in first.keys() & second.keys():
        if not found.is_same(first[name], second[name]):
            made = [v.node.schema.label if v.node else repr(v.name) for v in (first[name], second[name])]
            outputs.append(Change(f"{name!r} comes from", made[0], made[1]))
    return tuple(inputs), tuple(outputs)


def _listed(one: Mapping[str, Type | None], other: Mapping[str, Type | None]) -> list[Change]:
    found = [Change(repr(n), one.get(n), other.get(n)) for n in {**one, **other} if one.get(n) is not other.get(n)]
    common = [[name for name in names if name in other and name in one] for names in (one, other)]
    if common[0] != common[1]:
        found.append(Change("order", common[0], common[1]))
    return found


def declared(graph: Graph, value: Value) -> Type | None:
    """What a graph says of the type of an input or output: as a file has it, else as it is inferred."""
    raw = graph.declared.get(value)
    kind = None if raw is None else from_proto(onnx.ValueInfoProto.FromString(raw).type)
    return value.type if kind is None and (raw is None or isinstance(value, Input)) else kind


def compared(before: np.ndarray, after: np.ndarray) -> Change | None:
    """How two arrays differ; None where they do not."""
    if before.dtype != after.dtype or before.shape != after.shape:
        return Change("", before, after)
    found = distance(before, after)
    return None if found is None else Change("", before, after, found)


def is_equal(a: Any, b: Any) -> bool:
    """Whether two plain attribute values are one: of one kind, with equal bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, np.ndarray):
        return compared(a, b) is None
    if isinstance(a, Opaque):
        return bool(a.proto.SerializeToString(deterministic=True) == b.proto.SerializeToString(deterministic=True))
    if type(a) is tuple:
        return len(a) == len(b) and all(map(is_equal, a, b))
    return bool(a == b)


def _formal(node: Node, index: int) -> str:
    """What an input is called."""
    if not node.schema.inputs:
        return f"input {index}"
    formal = node.schema.input(index)
    return f"input '{formal.name}[{index}]'" if formal.variadic else f"input {formal.name!r}"


def _alone(view: View, place: int, *, is_new: bool) -> NodeChange:
    node = view.nodes[place]
    given = tuple([view.label(value) for value in node.inputs])
    return NodeChange(view.name(place), None if is_new else node, node if is_new else None, given)


def _sources(view: View, value: Value, partners: list[int | None]) -> set[Value]:
    """What a value depends on through nodes without a partner."""
    found: set[Value] = set()
    seen: set[int] = set()
    stack = [value]
    while stack and len(seen) < _FURTHEST:
        current = stack.pop()
        place = view.maker(current)
        if place is None or partners[place] is not None:
            found.add(current)
        elif place not in seen:
            seen.add(place)
            stack.extend(v for v in view.needed(place) if v is not None)
    return found
