"""A model at another opset: node by node, where its operators mean the same or there is a way to say it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import onnx

from .. import schemas
from ..allowed import objection
from ..emission import Emitter
from ..errors import GraphError, OpsetError
from ..generic import generic
from ..inference import infer
from ..ir import Function, Graph, ModelData, Node, NodeInfo, Value, make_node
from ..ir_versions import least_ir_version
from ..loading import Source, load
from ..models import Model
from ..schemas import Schema
from ..sites import at, caller
from ..tensor.calling import current_trace
from ..transforming import sweep
from ..types import TensorType
from ..walk import Survey, graphs, operators, survey
from .changes import FEWER_TYPES, ONE_WAY, REVIEWED, RULES, WIDER, Call, Refusal

_SHOWN = 10


def convert_opset(model: Model | Source, opset: int) -> Model:
    """The model at another opset of the default domain, bodies and local functions included.

    Upwards, an operator that changed is written as the new opset has it; downwards, every operator must mean the same
    at both. Operators of other domains stay as they are, weights are not read, and the IR version rises where the opset
    needs it.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[1, 3])
    >>> old = gd.build({"y": gd.opset(11).Squeeze(x, axes=[0])}, opset=11)
    >>> new = gd.convert_opset(old, 21)
    >>> len(old.nodes[0].inputs), len(new.nodes[0].inputs), new.opset
    (1, 2, 21)

    Args:
        model: A model, which is not changed, or what `gd.load` takes.
        opset: The version wanted.

    Raises:
        OpsetError: there is no such opset, or operators that do not exist there or mean something else; all are listed.

    ONNX specification: Versioning.md; the changes are those of Changelog.md.
    """
    schemas.known_opset(opset)
    subject = model if isinstance(model, Model) else load(model)
    before = subject.opset_imports.get("", opset)
    bodies = generic(subject)
    converter = _Converter(opset, subject, bodies)
    try:
        found = sweep(subject, converter.visit, converter.follow, bodies=bodies, opset=opset, same_types=True)
    except GraphError as error:
        raise OpsetError(f"gd.convert_opset: {error}") from error
    if converter.refused:
        lines = [f"gd.convert_opset: the model {subject.name!r} cannot be converted from opset {before} to {opset}:"]
        lines += converter.refused[:_SHOWN]
        if len(converter.refused) > _SHOWN:
            lines.append(f"  and {len(converter.refused) - _SHOWN} more")
        raise OpsetError("\n".join(lines) + at(caller()))
    return replace(found, ir_version=_fitting_ir_version(subject, found))


def _fitting_ir_version(before: Model, after: Model) -> int:
    """The IR version that a converted model needs at least; a lower one only where the opset alone was the reason."""
    parts = [after.graph, *(function.graph for function in after.functions)]
    lowered = after.opset < before.opset
    used = survey(*parts) if lowered else Survey(operators(*parts), set())
    least = least_ir_version(used, after.opset_imports, after.functions)
    if lowered and before.ir_version == least_ir_version(used, before.opset_imports, before.functions):
        return least
    return max(before.ir_version, least)


class _Converter:
    """Writes nodes as an opset has them, and remembers those that it cannot."""

    def __init__(self, target: int, model: ModelData, bodies: Mapping[Function, Graph]) -> None:
        self._target = target
        self.refused: list[str] = []
        self._model = model
        self._origins: dict[Node, Node] = {}
        self._used: set[Value] = set()
        """The outputs behind the first of a node that something uses."""
        for part in (model.graph, *(bodies.get(function, function.graph) for function in model.functions)):
            for graph in graphs(part):
                needed = [value for node in graph.nodes for value in node.inputs if value is not None]
                self._used.update(value for value in needed if value.index)
                self._used.update(value for _, value in graph.outputs if value.index)

    def follow(self, old: Node, new: Node) -> None:
        """A node was made anew, and is used as before."""
        self._origins[new] = old
        for before, after in zip(old.outputs[1:], new.outputs[1:], strict=True):
            if before in self._used:
                self._used.add(after)

    def visit(self, node: Node) -> Sequence[Value] | None:
        """The values of the node's outputs at the opset; None where it means the same there."""
        schema = node.schema
        if schema.domain or schema.function is not None or schema.since <= self._target <= schema.until:
            return None
        try:
            if schema.native is None or (schema.native.deprecated and schema.until == schemas.FOREVER):
                raise Refusal("ONNX has no such operator at the model's own opset")
            return self._raised(node) if schema.since < self._target else self._lowered(node)
        except Refusal as error:
            self.refused.append(f"  {self._label(node)}: {error}{at(node.site)}")
            return None

    @cached_property
    def _names(self) -> Mapping[Value | None, str]:
        emitter = Emitter(store=lambda tensor, array: True)
        emitter.model(self._model)
        return emitter.names

    def _label(self, node: Node) -> str:
        """The operator, and what the node makes in the model that is converted."""
        known = [value for value in self._origins.get(node, node).outputs if value in self._names]
        outputs = ", ".join(repr(self._names[value]) for value in known if self._names[value])
        return node.schema.label + (f", which makes {outputs}" if outputs else "")

    def _raised(self, node: Node) -> Sequence[Value]:
        """The node after every change of its operator up to the opset."""
        used = max([0, *(value.index for value in node.outputs[1:] if value in self._used)]) + 1
        call = Call(
            node,
            self._target,
            node.schema.name,
            node.schema.since,
            node.inputs,
            node.attributes,
            len(node.outputs),
            used,
        )
        while later := [v for v in schemas.since("", call.name) if call.version < v <= self._target]:
            change = call.name, later[0]
            if later[0] > REVIEWED:
                raise Refusal(f"{call.name} changed at opset {later[0]}, and changes are known up to opset {REVIEWED}")
            if change in FEWER_TYPES:
                _check_types(call, schemas.lookup(*("", *change)))
            rule = RULES.get(change)
            found = call if rule is None else rule(call)
            if not isinstance(found, Call):
                return found
            call = replace(found, version=max(found.version, later[0]))
        return _made(node, schemas.lookup("", call.name, self._target), call)

    def _lowered(self, node: Node) -> Sequence[Value]:
        """The node at an older opset, where it says nothing that is newer."""
        schema, name = node.schema, node.schema.name
        versions = schemas.since("", name)
        if versions[0] > self._target:
            raise Refusal(f"it exists since opset {versions[0]}")
        for version in [v for v in versions if self._target < v <= schema.since]:
            if version <= ONE_WAY or version > REVIEWED or (name, version) in RULES or (name, version) in WIDER:
                raise Refusal(f"it means something else at opset {self._target}: {name} changed at opset {version}")
        older = schemas.lookup("", name, self._target)
        attributes = _without_defaults(node.attributes, schema, older)
        for key, value in attributes.items():
            if key not in older.attributes:
                raise Refusal(f"its attribute {key!r} exists since a later opset")
            if (problem := objection("", name, key, older.since, value)) is not None:
                raise Refusal(problem)
        inputs = node.inputs
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        if not older.least_inputs <= len(inputs) <= older.most_inputs or len(node.outputs) > older.most_outputs:
            raise Refusal("its inputs and outputs are not those of that opset")
        count = len(node.outputs)
        call = Call(node, self._target, name, older.since, node.inputs, attributes, count, count)
        _check_types(call, older)
        return _made(node, older, call)


def _without_defaults(attributes: Mapping[str, Any], schema: Schema, older: Schema) -> Mapping[str, Any]:
    """The attributes without those that the older schema lacks and that say what their absence says."""

    def is_default(name: str, value: Any) -> bool:
        spec = schema.attributes.get(name)
        default = None if spec is None or spec.default is None else onnx.helper.get_attribute_value(spec.default)
        default = default.decode() if isinstance(default, bytes) else default
        return name not in older.attributes and default is not None and bool(value == default)

    kept = {name: value for name, value in attributes.items() if not is_default(name, value)}
    return attributes if len(kept) == len(attributes) else kept


def _check_types(call: Call, schema: Schema) -> None:
    """Refuse a call whose types another version of its operator does not take, or that are not known."""
    types = tuple([None if value is None else value.type for value in call.inputs])
    for index, (value, kind) in enumerate(zip(call.inputs, types, strict=True)):
        if value is not None and kind is None:
            call.kind(index, "the dtype")
        allowed = schema.input(index).types
        text = f"tensor({_onnx_name(kind)})" if isinstance(kind, TensorType) else None
        if text is not None and allowed and text not in allowed:
            raise Refusal(f"opset {schema.since} does not take {kind!r} as its input {schema.input(index).name!r}")
    try:
        infer(schema, call.inputs, types, call.attributes, call.count, None)
    except GraphError as error:
        raise Refusal(str(error)) from None


def _onnx_name(kind: TensorType) -> str:
    """A dtype under the name that it has in ONNX's type strings."""
    return str(onnx.TensorProto.DataType.Name(kind.dtype.code)).lower()


def _made(node: Node, schema: Schema, call: Call) -> Sequence[Value]:
    """The node with another schema, inputs and attributes; what a file says of it besides stays."""
    info = node.info
    same = call.attributes is node.attributes and call.name == node.schema.name and call.count == len(node.outputs)
    if info is not None and not same:
        info = _loose(info)
    types = tuple([value.type for value in node.outputs[: call.count]])
    made = make_node(schema, call.inputs, call.attributes, types, current_trace(), node.site, info)
    dropped = len(node.outputs) - call.count  # nothing uses them, so anything may take their place
    return [*made.outputs, *made.outputs[:1] * dropped]


def _loose(info: NodeInfo) -> NodeInfo:
    """What a loaded node carries, as a new node has it."""
    if info.kept is None:
        return info
    proto = onnx.NodeProto.FromString(info.kept.raw)
    metadata = tuple([(entry.key, entry.value) for entry in proto.metadata_props])
    return NodeInfo(info.name, info.doc, metadata)


__all__ = ["convert_opset"]
