"""Protos into the graph that the language builds: nodes, constants, bodies and functions, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from .. import schemas
from ..attributes import from_attribute
from ..errors import LoadError
from ..fitting import misfits
from ..guarding import (
    DEEPEST,
    TOO_DEEP,
    DataFiles,
    checked_sparse,
    checked_tensor,
    checked_text,
    plain_domain,
)
from ..ir import (
    NO_ATTRIBUTES,
    Constant,
    Function,
    Graph,
    Input,
    Kept,
    Node,
    NodeInfo,
    Opaque,
    Output,
    Reference,
    Value,
    make_node,
    named_tuple,
)
from ..messages import imported
from ..models import Model
from ..schemas import FOREVER, Schema
from ..tracing import types_through
from ..types import Type, tensor_type
from ..walk import captured
from .ordering import HOLDS_GRAPHS, in_order
from .values import LoadedTrace, LoadedValue, declared_type, settle_types

_READ_OF_GRAPHS = ("name", "node", "initializer", "sparse_initializer", "input", "output", "value_info")

_PLAIN_FIELDS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float_data",
    onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.INT32: "int32_data",
    onnx.TensorProto.INT64: "int64_data",
}
"""Where the elements of a dtype lie one by one, if they are not raw data."""

_SHORT = 512
"""Attributes of fewer bytes than this are read once for all nodes that have them."""

_NOWHERE = "neither an input, an initializer nor made by a node"


class _Scope:
    """The values by name in one graph and in those that enclose it."""

    def __init__(self, outer: "_Scope | None" = None) -> None:
        self.values: dict[str, Value | None] = {"": None}
        """By name; an absent input has none."""
        self._outer = outer

    def find(self, name: str) -> Value | None:
        scope: _Scope | None = self
        while scope is not None:
            value = scope.values.get(name)
            if value is not None:
                return value
            scope = scope._outer
        return None


def _inputs(names: tuple[str, ...], scope: _Scope) -> tuple[Value | None, ...] | None:
    """The values of these names, also those of graphs around; None where one is not made yet."""
    found = tuple([scope.find(name) if name else None for name in names])
    return None if any(value is None and name for name, value in zip(names, found, strict=True)) else found


class _Met(NamedTuple):
    """An attribute: name, kind and whether it is that of a function; and the value."""

    kind: tuple[str, int, bool]
    value: Any


class Loader:
    """Reads one model."""

    def __init__(self, proto: onnx.ModelProto, files: DataFiles) -> None:
        self._proto = proto
        self._files = files
        self._imports = imported(proto)
        self._schemas: dict[tuple[str, str, str], Schema] = {}
        self._functions: dict[tuple[str, str, str], onnx.FunctionProto] = {}
        self._local: dict[str, int] = self._imports
        self._fits: dict[tuple[Any, ...], Schema] = {}
        self._kinds: list[tuple[str, int, bool]] = []
        """The names and kinds of the attributes read last, and whether they are those of a function."""
        self._met: dict[bytes, _Met] = {}
        """The values of short attributes met before, by their bytes: real models repeat themselves."""
        self._types: dict[bytes, Type | None] = {}
        """The same of declared types."""
        self._outside = False
        """Whether the attributes read last have data in another file."""

    def model(self) -> Model:
        proto = self._proto
        checked_text(proto, "graph", "functions")
        for function in proto.functions:
            self._functions[plain_domain(function.domain), function.name, function.overload] = function
        functions = tuple(self._callee(key).function for key in self._functions)
        data: dict[str, Any] = {}
        trace = LoadedTrace(f"model {proto.graph.name!r}", None, lambda: settle_types(data["graph"]))
        graph = data["graph"] = self._graph(proto.graph, trace, _Scope())
        proto.ClearField("graph")  # it holds the weights once more
        proto.ClearField("functions")
        return Model(
            graph,
            MappingProxyType(self._imports),
            proto.ir_version,
            functions,
            MappingProxyType({entry.key: entry.value for entry in proto.metadata_props}),
            proto.doc_string,
            proto.producer_name,
            proto.producer_version,
            proto.domain,
            proto.model_version,
            proto.SerializeToString(),
        )

    # Graphs

    def _graph(self, proto: onnx.GraphProto, trace: LoadedTrace, scope: _Scope) -> Graph:
        checked_text(proto, *_READ_OF_GRAPHS[1:])  # these are checked as they are read
        defaults = {tensor.name: tensor for tensor in proto.initializer}
        declared: dict[Value, bytes] = {}
        inputs: list[Input] = []
        for info in proto.input:
            raw = info.SerializeToString()
            if not raw.isascii():
                checked_text(info)
            default = defaults.get(info.name)
            array = None if default is None else self._array(default)
            value = Input(info.name, self._declared_type(info), trace, None, array)
            if default is not None and array is not None:
                value.raw = _kept(default, array)
            inputs.append(value)
            scope.values[info.name] = value
            declared[value] = raw
        listed: list[Value] = []
        for tensor in proto.initializer:
            if not isinstance(tensor.name, str):
                checked_text(tensor)
            known = scope.values.get(tensor.name)
            if not isinstance(known, Input):
                known = scope.values[tensor.name] = self._constant(tensor)
            listed.append(known)
        for sparse in proto.sparse_initializer:
            checked_text(sparse)
            checked_sparse(sparse)
            kind = tensor_type(sparse.values.data_type, list(sparse.dims))
            constant = Constant(None, kind, None, sparse.values.name, sparse.SerializeToString())
            scope.values[sparse.values.name] = constant
            listed.append(constant)
        nodes = self._nodes(proto.node, trace, scope)
        outputs = tuple(Output(info.name, self._named(info.name, scope, "the output")) for info in proto.output)
        for info in (*proto.output, *proto.value_info):
            found = scope.values.get(info.name)
            if found is not None and found not in declared:
                declared[found] = raw = info.SerializeToString()
                if not raw.isascii():
                    checked_text(info)
        values = [value for _, value in outputs]
        return Graph(
            proto.name,
            tuple(inputs),
            nodes,
            outputs,
            captured(nodes, inputs, values) if trace.parent is not None else (),
            tuple(listed),
            MappingProxyType(declared),
            _without(proto, *_READ_OF_GRAPHS) if trace.parent is not None else self._rest(proto),
        )

    def _declared_type(self, info: onnx.ValueInfoProto) -> Type | None:
        raw = info.type.SerializeToString()
        found = self._types.get(raw)
        if found is None:
            found = self._types[raw] = declared_type(info)
        return found

    def _rest(self, proto: onnx.GraphProto) -> bytes:
        """What else is said of the outermost graph, from which all that is large has been read and is taken out."""
        for field in _READ_OF_GRAPHS:
            proto.ClearField(field)
        return bytes(proto.SerializeToString())

    def _named(self, name: str, scope: _Scope, what: str) -> Value:
        found = scope.find(name)
        if found is None:
            raise LoadError(f"{what} {name!r} is {_NOWHERE}")
        return found

    def _nodes(self, protos: Any, trace: LoadedTrace, scope: _Scope) -> tuple[Node, ...]:
        """The nodes of a graph, sorted from the first one on that has a body, or comes before what it needs."""
        waiting = list(protos)
        made: list[Node] = []
        own = scope.values.__getitem__
        for proto in waiting:
            names = tuple(proto.input[:])  # a slice, as a list, is made faster than one by one
            try:
                inputs = tuple(map(own, names))
            except KeyError:
                found = _inputs(names, scope)
                if found is None:
                    break
                inputs = found
            attributes = self._attributes(proto, None) if proto.attribute else NO_ATTRIBUTES
            if attributes is None:
                break
            kept = named_tuple(Kept, (proto.SerializeToString(), attributes, names, tuple(proto.output[:]), True))
            made.append(self._node(proto, inputs, kept, trace, scope))
        made += [self._node_with_bodies(proto, trace, scope) for proto in in_order(waiting[len(made) :])]
        return tuple(made)

    def _node_with_bodies(self, proto: onnx.NodeProto, trace: LoadedTrace, scope: _Scope) -> Node:
        names = tuple(proto.input)
        inputs = _inputs(names, scope)
        if inputs is None:
            missing = next(name for name in names if name and scope.find(name) is None)
            schema = self._schema((proto.domain, proto.op_type, proto.overload))
            raise LoadError(f"{schema.label}: the input {missing!r} is {_NOWHERE}")
        attributes = self._attributes(proto, lambda body: self._body(body, proto, trace, scope)) or NO_ATTRIBUTES
        is_whole = not any(attribute.type in HOLDS_GRAPHS for attribute in proto.attribute)
        raw = bytes(proto.SerializeToString()) if is_whole else _without_bodies(proto)
        kept = Kept(raw, attributes, names, tuple(proto.output), is_whole)
        return self._node(proto, inputs, kept, trace, scope)

    def _attributes(
        self, proto: onnx.NodeProto, body: Callable[[onnx.GraphProto], Graph] | None
    ) -> Mapping[str, Any] | None:
        """The attributes of a node; None where bodies are among them that nobody reads."""
        self._outside = False
        found: dict[str, Any] = {}
        self._kinds = kinds = []
        for attribute in proto.attribute:
            if attribute.type in HOLDS_GRAPHS:
                if body is None:
                    return None
                checked_text(attribute, "g", "graphs")
                found[attribute.name] = from_attribute(attribute, body)
                kinds.append((attribute.name, attribute.type, bool(attribute.ref_attr_name)))
                continue
            if attribute.ByteSize() > _SHORT:
                met = self._attribute(proto, attribute)
            else:
                raw = attribute.SerializeToString()
                known = self._met.get(raw)
                met = self._attribute(proto, attribute) if known is None else known
                if known is None and not self._outside and not met.kind[2]:
                    self._met[raw] = met
            found[met.kind[0]] = met.value
            kinds.append(met.kind)
        return MappingProxyType(found)

    def _attribute(self, proto: onnx.NodeProto, attribute: onnx.AttributeProto) -> "_Met":
        checked_text(attribute, "t", "tensors")
        name = attribute.name
        value = from_attribute(attribute, None, self._attribute_array)
        if isinstance(value, Reference) and self._local is self._imports:
            raise LoadError(f"{proto.op_type}: its attribute {name!r} is that of a function, and it is in none")
        if isinstance(value, Opaque):
            for sparse in (value.proto.sparse_tensor, *value.proto.sparse_tensors):
                checked_sparse(sparse)
        return _Met((name, attribute.type, bool(attribute.ref_attr_name)), value)

    def _node(
        self,
        proto: onnx.NodeProto,
        inputs: tuple[Value | None, ...],
        kept: Kept,
        trace: LoadedTrace,
        scope: _Scope,
    ) -> Node:
        name, doc = proto.name, proto.doc_string
        raw, attributes, _, outputs, _ = kept
        if not raw.isascii() and (proto.metadata_props or not (isinstance(name, str) and isinstance(doc, str))):
            checked_text(proto, "attribute")
        schema = self._fitting(proto, inputs, attributes, len(outputs))
        if attributes and self._outside:  # its bytes refer to a data file, which they do not carry along
            metadata = tuple([(entry.key, entry.value) for entry in proto.metadata_props])
            info = NodeInfo(name, doc, metadata)
        else:
            info = named_tuple(NodeInfo, (name, doc, (), kept, None))
        node = make_node(schema, inputs, attributes, (None,) * len(outputs), trace, None, info, LoadedValue)
        values = scope.values
        for value in node.outputs:
            name = outputs[value.index]
            if name:
                if name in values:
                    raise LoadError(f"{schema.label}: the output {name!r} is made twice")
                if name.__class__ is not str:
                    checked_text(proto)
                values[name] = value
                value.name = name
        return node

    def _body(self, proto: onnx.GraphProto, node: onnx.NodeProto, trace: LoadedTrace, scope: _Scope) -> Graph:
        inner = LoadedTrace(f"the body {proto.name!r} of {node.op_type}", trace, None)
        if inner.depth > DEEPEST:
            raise LoadError(TOO_DEEP)
        return self._graph(proto, inner, _Scope(scope))

    # Constants

    def _constant(self, tensor: onnx.TensorProto) -> Constant:
        array = self._array(tensor)
        kind = tensor_type(tensor.data_type, list(tensor.dims))
        return Constant(array, kind, None, tensor.name, _kept(tensor, array))

    def _attribute_array(self, tensor: onnx.TensorProto) -> np.ndarray:
        self._outside = self._outside or tensor.data_location == onnx.TensorProto.EXTERNAL
        return self._array(tensor)

    def _array(self, tensor: onnx.TensorProto) -> np.ndarray:
        dtype, raw = checked_tensor(tensor)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            array = self._files.array(tensor, dtype)
        elif raw is not None and dtype.bits >= 8:
            flat = np.frombuffer(raw, dtype.numpy.newbyteorder("<"))
            array = flat.astype(dtype.numpy, copy=False).reshape(tuple(tensor.dims))
        else:
            try:
                if raw is None and (field := _PLAIN_FIELDS.get(tensor.data_type)) is not None:
                    array = np.array(getattr(tensor, field), dtype.numpy).reshape(tuple(tensor.dims))
                else:
                    array = np.asarray(numpy_helper.to_array(tensor))
            except (ValueError, TypeError, OverflowError) as error:
                raise LoadError(f"the tensor {tensor.name!r} cannot be read: {error}") from None
        array.flags.writeable = False
        return array

    # Schemas and functions

    def _schema(self, written: tuple[str, str, str]) -> Schema:
        domain, name, overload = written
        key = (plain_domain(domain), name, overload)
        found = self._schemas.get(key)
        if found is None:
            found = self._schemas[key] = self._callee(key) if key in self._functions else self._operator(key)
        self._schemas[written] = found
        return found

    def _fitting(
        self, proto: onnx.NodeProto, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int
    ) -> Schema:
        """The schema of a node; of an operator that nobody knows, where the node is not one that its operator has."""
        key: tuple[Any, ...] = (proto.op_type, proto.domain, proto.overload, len(inputs), count)
        if attributes:
            key += tuple(self._kinds)
        if None in inputs:
            key += tuple([value is None for value in inputs])
        found = self._fits.get(key)
        if found is None:
            checked_text(proto, "attribute")
            found = self._schema((proto.domain, proto.op_type, proto.overload))
            if found.native is not None and misfits(found, proto):
                found = _unknown(found.domain, found.name, found.version)
            self._fits[key] = found
        return found

    def _operator(self, key: tuple[str, str, str]) -> Schema:
        domain, name, _ = key
        version = self._local.get(domain, self._imports.get(domain))
        if version is None:
            if schemas.operators(domain) or not domain:
                raise LoadError(f"the model uses {domain or 'ai.onnx'}::{name}, but imports no opset of that domain")
            version = 1
        return schemas.of_file(domain, name, version) or _unknown(domain, name, version)

    def _callee(self, key: tuple[str, str, str]) -> Schema:
        """The schema of a local function, whose body is read when it is first met."""
        found = self._schemas.get(key)
        if found is not None:
            return found
        proto = self._functions[key]
        checked_text(proto, "node")
        outer, self._local = self._local, imported(proto)
        own, self._schemas = self._schemas, {}
        fits, self._fits = self._fits, {}
        self._schemas.update({k: s for k, s in own.items() if k in self._functions})
        trace = LoadedTrace(f"function {proto.domain}::{proto.name}", None, None)
        scope = _Scope()
        inputs = [Input(name, None, trace, None) for name in proto.input]
        scope.values.update({value.name or "": value for value in inputs})
        nodes = self._nodes(proto.node, trace, scope)
        outputs = tuple(Output(name, self._named(name, scope, "the output")) for name in proto.output)
        declared = {
            value: info.SerializeToString()
            for info in proto.value_info
            if (value := scope.values.get(info.name)) is not None
        }
        graph = Graph(proto.name, tuple(inputs), nodes, outputs, declared=MappingProxyType(declared))
        function = Function(
            key[0],
            proto.name,
            graph,
            tuple(proto.attribute),
            MappingProxyType({a.name: from_attribute(a, None, self._array) for a in proto.attribute_proto}),
            MappingProxyType({a.name: a.type for a in proto.attribute_proto}),
            proto.overload,
            MappingProxyType(imported(proto)),
            proto.name,
            extras=_without(
                proto, "domain", "name", "node", "input", "output", "attribute", "attribute_proto",
                "opset_import", "value_info",
            ),
        )  # fmt: skip
        called = {k: s for k, s in self._schemas.items() if k in self._functions}
        self._local, self._schemas, self._fits = outer, own | called, fits
        version = self._imports.get(key[0], 1)
        schema = Schema(
            key[0],
            proto.name,
            version=version,
            since=1,
            until=FOREVER,
            inputs=tuple(
                schemas.Parameter(n, f"T{i}", frozenset(), False, False, True, 1) for i, n in enumerate(proto.input)
            ),
            outputs=tuple(
                schemas.Parameter(n, f"R{i}", frozenset(), False, False, True, 1) for i, n in enumerate(proto.output)
            ),
            attributes={},
            rule=types_through(function),
            function=function,
        )
        self._schemas[key] = schema
        return schema


def _unknown(domain: str, name: str, version: int) -> Schema:
    """The schema of an operator of which nothing is known."""
    return Schema(
        domain,
        name,
        version=version,
        since=version,
        until=FOREVER,
        inputs=(schemas.Parameter("inputs", "T", frozenset(), False, True, False, 0),),
        outputs=(schemas.Parameter("outputs", "R", frozenset(), False, True, False, 0),),
        attributes={},
    )


def _without(proto: Any, *fields: str) -> bytes:
    """The bytes of a message without some fields; unknown fields stay."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    for field in fields:
        copy.ClearField(field)
    result: bytes = copy.SerializeToString()
    return result


def _kept(tensor: onnx.TensorProto, array: np.ndarray) -> bytes:
    """The bytes of a tensor, without the data that its array holds; data in typed fields stays as it is."""
    plain = tensor.HasField("raw_data") or tensor.data_location == onnx.TensorProto.EXTERNAL
    if plain and array.size:
        for field in ("raw_data", "external_data", "data_location"):  # of a proto that is ours, and read by now
            tensor.ClearField(field)
    return bytes(tensor.SerializeToString())


def _without_bodies(proto: onnx.NodeProto) -> bytes:
    copy = onnx.NodeProto()
    copy.CopyFrom(proto)
    for attribute in copy.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH and not attribute.ref_attr_name:
            attribute.ClearField("g")
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            attribute.ClearField("graphs")
    return bytes(copy.SerializeToString())
