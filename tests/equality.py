"""The judge of whether two models are equal up to names: the same nodes on the same values, in the same order.

What names cannot tell apart is not compared: whether equal constants are one, nodes that no output needs, and how an
absent output differs from one that nobody uses.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

import graphdsl as gd
from graphdsl.attributes import to_attribute
from graphdsl.ir import Function, Graph, Node, Opaque, Reference, Value
from graphdsl.types import Type, from_proto, may_be

FIELDS = ("ir_version", "producer", "producer_version", "domain", "doc", "model_version")


def unequal(one: gd.Model, other: gd.Model) -> list[str]:
    """In what the models differ; nothing if they are equal up to names."""
    found = [
        f"{field}: {getattr(one, field)!r} and {getattr(other, field)!r}"
        for field in FIELDS
        if getattr(one, field) != getattr(other, field)
    ]
    for field in ("opset_imports", "metadata"):
        pair = dict(getattr(one, field)), dict(getattr(other, field))
        found += [f"{field}: {pair[0]} and {pair[1]}"] if pair[0] != pair[1] else []
    judge = _Judge()
    found += judge.interface(one.graph, other.graph)
    if one.output_names != other.output_names:
        found.append(f"outputs {one.output_names} and {other.output_names}")
    found += judge.graphs(one.graph, other.graph, "the graph")
    return found


class _Judge:
    """Compares graphs node by node; knows which value of one stands for which of the other."""

    def __init__(self) -> None:
        self.values: dict[Value, Value] = {}
        self.functions: dict[Function, Function] = {}
        self.contents: dict[Value, np.ndarray] = {}
        """What the Constant nodes of closed bodies hold."""

    def interface(self, one: Graph, other: Graph) -> Iterator[str]:
        """The names, types and defaults of a model's inputs, and the names and declared types of its outputs."""
        for a, b in zip(one.inputs, other.inputs, strict=False):
            if (a.name, a.type) != (b.name, b.type):
                yield f"input {a.name!r} {a.type} and {b.name!r} {b.type}"
            if (a.default is None) != (b.default is None) or (
                a.default is not None and not _alike(a.default, b.default)
            ):
                yield f"input {a.name!r}: other defaults"
        for (name, a), (_, b) in zip(one.outputs, other.outputs, strict=False):
            kind = _declared(one, a) or a.type
            found = _declared(other, b) or b.type
            if not may_be(b.type, kind):  # a declaration that is wrong cannot be kept
                continue
            if a.node is not None and kind is not found and not (kind is None or (found and _declared(one, a) is None)):
                yield f"output {name!r}: {kind} and {found}"

    def graphs(self, one: Graph, other: Graph, what: str, *, closed: bool = False) -> Iterator[str]:
        """The inputs, nodes and outputs of two graphs; in a closed body, constants may be Constant nodes."""
        if len(one.inputs) != len(other.inputs):
            yield f"{what}: {len(one.inputs)} and {len(other.inputs)} inputs"
            return
        self.values.update(zip(one.inputs, other.inputs, strict=True))
        nodes, others = needed(one), needed(other)
        if closed:
            nodes, others = self._without_constants(nodes), self._without_constants(others)
        if len(nodes) != len(others):
            yield f"{what}: {len(nodes)} and {len(others)} nodes"
            return
        for index, (left, right) in enumerate(zip(nodes, others, strict=True)):
            yield from self._nodes(left, right, f"{what}: node {index} ({left.op_type})")
        yield from self._all([v for _, v in one.outputs], [v for _, v in other.outputs], f"{what}: output")

    def _without_constants(self, nodes: list[Node]) -> list[Node]:
        for node in nodes:
            if node.op_type == "Constant":
                self.contents[node.outputs[0]] = node.attributes["value"]
        return [node for node in nodes if node.op_type != "Constant"]

    def _nodes(self, one: Node, other: Node, what: str) -> Iterator[str]:
        if (one.domain, one.op_type) != (other.domain, other.op_type):
            yield f"{what}: another operator, {other.op_type}"
            return
        yield from self._all(_trimmed(one.inputs), _trimmed(other.inputs), f"{what}: input")
        if len(one.outputs) != len(other.outputs):
            yield f"{what}: {len(one.outputs)} and {len(other.outputs)} outputs"
            return
        self.values.update(zip(one.outputs, other.outputs, strict=True))
        if one.attributes.keys() != other.attributes.keys():
            yield f"{what}: attributes {sorted(one.attributes)} and {sorted(other.attributes)}"
            return
        for name in one.attributes:
            yield from self._attributes(one, other, name, f"{what}: attribute {name!r}")
        a, b = one.schema.function, other.schema.function
        if (a is None) != (b is None):
            yield f"{what}: a local function and none"
        elif a is not None and b is not None and self.functions.get(a) is not b:
            if a in self.functions:
                yield f"{what}: another function"
                return
            self.functions[a] = b
            yield from _signatures(a, b, what)
            yield from self.graphs(a.graph, b.graph, f"function {a.name}")

    def _attributes(self, one: Node, other: Node, name: str, what: str) -> Iterator[str]:
        a, b = one.attributes[name], other.attributes[name]
        if isinstance(a, Graph) and isinstance(b, Graph):
            yield from self.graphs(a, b, what, closed=one.op_type == "FlexAttention")
        elif isinstance(a, Graph) or isinstance(b, Graph) or _written(one, name, a) != _written(other, name, b):
            yield f"{what}: {a} and {b}"

    def _all(self, one: Sequence[Value | None], other: Sequence[Value | None], what: str) -> Iterator[str]:
        if len(one) != len(other):
            yield f"{what}s: {len(one)} and {len(other)}"
            return
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a is None or b is None:
                same = a is b
            elif (left := self._content(a)) is not None and (right := self._content(b)) is not None:
                same = _alike(left, right)
            else:
                same = self.values.get(a) is b
            if not same:
                yield f"{what} {index}: {a} and {b}"

    def _content(self, value: Value) -> np.ndarray | None:
        return self.contents.get(value) if value.array is None else value.array


def needed(graph: Graph) -> list[Node]:
    """The nodes that the outputs need, those that bodies capture included."""
    wanted = {value for _, value in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted.update(value for value in node.inputs if value is not None)
            for body in node.bodies:
                wanted.update(body.captures)
    return kept[::-1]


def _trimmed(inputs: Sequence[Value | None]) -> list[Value | None]:
    found = list(inputs)
    while found and found[-1] is None:
        found.pop()
    return found


def _alike(one: np.ndarray, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()


def _declared(graph: Graph, value: Value) -> Type | None:
    raw = graph.declared.get(value)
    return None if raw is None else from_proto(onnx.ValueInfoProto.FromString(raw).type)


def _written(node: Node, name: str, value: Any) -> bytes:
    if isinstance(value, Reference):
        return repr(value).encode()
    spec = node.schema.attributes.get(name)
    proto = value.proto if isinstance(value, Opaque) else to_attribute(name, value, spec.kind if spec else None)
    bare = onnx.AttributeProto()
    bare.CopyFrom(proto)
    bare.ClearField("doc_string")
    return bare.SerializeToString(deterministic=True)


def _signatures(one: Function, other: Function, what: str) -> Iterator[str]:
    if (one.domain, one.name) != (other.domain, other.name):
        yield f"{what}: functions {one.domain}::{one.name} and {other.domain}::{other.name}"
    if set(one.attributes) != set(other.attributes) or one.defaults.keys() != other.defaults.keys():
        yield f"{what}: attributes of function {one.name}"
    defaults: Mapping[str, Any] = other.defaults
    for name, value in one.defaults.items():
        if to_attribute(name, value, one.kinds.get(name)) != to_attribute(
            name, defaults.get(name), other.kinds.get(name)
        ):
            yield f"{what}: the default of {name!r}"
