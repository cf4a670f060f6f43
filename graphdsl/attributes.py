"""Attribute values: from what users write, to what nodes keep, to and from `AttributeProto`.

A node keeps plain Python values: int, float (rounded to float32, which is what ONNX stores), str or bytes, a read-only
array, a `Type`, a `Graph`, or a tuple of these. What has no plain form stays an `Opaque` proto.
"""

import numbers
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from .errors import TypeSpecError
from .ir import Graph, Opaque, Reference
from .types import DType, Type, as_dtype, as_type, from_proto, is_type, to_proto

_SINGLE: dict[int, int] = {
    AttributeProto.INTS: AttributeProto.INT,
    AttributeProto.FLOATS: AttributeProto.FLOAT,
    AttributeProto.STRINGS: AttributeProto.STRING,
    AttributeProto.TENSORS: AttributeProto.TENSOR,
    AttributeProto.GRAPHS: AttributeProto.GRAPH,
    AttributeProto.TYPE_PROTOS: AttributeProto.TYPE_PROTO,
    AttributeProto.SPARSE_TENSORS: AttributeProto.SPARSE_TENSOR,
}
_WORDS: dict[int, str] = {
    AttributeProto.INT: "an int",
    AttributeProto.FLOAT: "a float",
    AttributeProto.STRING: "a str",
    AttributeProto.TENSOR: "an array",
    AttributeProto.GRAPH: "a function",
    AttributeProto.TYPE_PROTO: "a type",
    AttributeProto.SPARSE_TENSOR: "a SparseTensorProto",
    AttributeProto.INTS: "a list of ints",
    AttributeProto.FLOATS: "a list of floats",
    AttributeProto.STRINGS: "a list of str",
    AttributeProto.TENSORS: "a list of arrays",
    AttributeProto.GRAPHS: "a list of functions",
    AttributeProto.TYPE_PROTOS: "a list of types",
    AttributeProto.SPARSE_TENSORS: "a list of SparseTensorProto",
}


def kind_word(kind: int) -> str:
    """How messages name a kind of attribute: "a list of ints"."""
    return _WORDS[kind]


def normalise(kind: int, value: Any) -> Any:
    """An attribute value as a node keeps it, from what a user wrote for an attribute of this kind.

    Raises:
        TypeError: the value is not of this kind; the caller's message says of which operator.
    """
    if isinstance(value, Reference) or isinstance(value, Opaque):  # noqa: SIM101  # a tuple of classes takes long
        return value
    single = _SINGLE.get(kind)
    if single is None:
        return _READERS[kind](value)
    if value.__class__ not in (list, tuple) and (  # whether anything else has items takes long to tell
        isinstance(value, (str, bytes, numbers.Number)) or not isinstance(value, Iterable)
    ):
        raise TypeError
    return tuple(map(_READERS[single], value))


def _integer(value: Any) -> int:
    if value.__class__ is int and -(2**63) <= value < 2**63:  # nearly all
        return value
    if isinstance(value, DType):
        return value.code
    if isinstance(value, (int, numbers.Integral)):
        number = int(value)
        if not -(2**63) <= number < 2**63:
            raise TypeError
        return number
    if is_type(value) or value in (int, float, bool, complex, str):
        try:
            return as_dtype(value).code
        except TypeSpecError:
            raise TypeError from None
    raise TypeError


def _real(value: Any) -> float:
    if isinstance(value, (float, numbers.Real)) and not isinstance(value, (bool, np.bool_)):
        return float(np.float32(value))
    raise TypeError


def _string(value: Any) -> str | bytes:
    if isinstance(value, (str, bytes)):
        return value if type(value) in (str, bytes) else str(value)
    raise TypeError


def _graph(value: Any) -> Graph:
    if isinstance(value, Graph):
        return value
    raise TypeError


def _sparse(value: Any) -> onnx.SparseTensorProto:
    if isinstance(value, onnx.SparseTensorProto):
        return value
    raise TypeError


def as_array(value: Any) -> np.ndarray:
    """A read-only array of a tensor attribute: from an array, a scalar, a list or a `TensorProto`.

    Python floats become float32 and ints int64, as everywhere in the language; arrays keep their dtype.
    """
    if isinstance(value, onnx.TensorProto):
        array = numpy_helper.to_array(value)
    else:
        array = np.asarray(value)
        if not isinstance(value, (np.ndarray, np.generic)) and array.dtype == np.float64:
            array = array.astype(np.float32)
    as_dtype(array.dtype)
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


_READERS: dict[int, Callable[[Any], Any]] = {
    AttributeProto.INT: _integer,
    AttributeProto.FLOAT: _real,
    AttributeProto.STRING: _string,
    AttributeProto.TENSOR: as_array,
    AttributeProto.GRAPH: _graph,
    AttributeProto.TYPE_PROTO: as_type,
    AttributeProto.SPARSE_TENSOR: _sparse,
}
"""How one value of each kind is read from what users write."""


def to_attribute(
    name: str, value: Any, kind: int | None, graph: Callable[[Graph], onnx.GraphProto] | None = None
) -> AttributeProto:
    """The `AttributeProto` of a node's attribute; `graph` turns bodies into protos."""
    if isinstance(value, Opaque):
        return value.proto
    proto = AttributeProto(name=name)
    if isinstance(value, Reference):
        proto.type = value.kind  # type: ignore[assignment]
        proto.ref_attr_name = value.name
        return proto
    if kind is None:
        kind = kind_of(value)
    proto.type = kind  # type: ignore[assignment]
    match kind:
        case AttributeProto.INT:
            proto.i = value
        case AttributeProto.FLOAT:
            proto.f = value
        case AttributeProto.STRING:
            proto.s = _utf8(value)
        case AttributeProto.TENSOR:
            proto.t.CopyFrom(numpy_helper.from_array(value))
        case AttributeProto.GRAPH:
            assert graph is not None, "a body can only be emitted with its model"
            proto.g.CopyFrom(graph(value))
        case AttributeProto.TYPE_PROTO:
            proto.tp.CopyFrom(to_proto(value))
        case AttributeProto.SPARSE_TENSOR:
            proto.sparse_tensor.CopyFrom(value)
        case AttributeProto.INTS:
            proto.ints.extend(value)
        case AttributeProto.FLOATS:
            proto.floats.extend(value)
        case AttributeProto.STRINGS:
            proto.strings.extend(map(_utf8, value))
        case AttributeProto.TENSORS:
            proto.tensors.extend(map(numpy_helper.from_array, value))
        case AttributeProto.GRAPHS:
            assert graph is not None, "a body can only be emitted with its model"
            proto.graphs.extend(map(graph, value))
        case AttributeProto.TYPE_PROTOS:
            proto.type_protos.extend(map(to_proto, value))
        case AttributeProto.SPARSE_TENSORS:
            proto.sparse_tensors.extend(value)
    return proto


_FIELDS: dict[int, str] = {AttributeProto.INT: "i", AttributeProto.FLOAT: "f", AttributeProto.STRING: "s"}
_LISTS: dict[int, str] = {
    AttributeProto.INTS: "ints",
    AttributeProto.FLOATS: "floats",
    AttributeProto.STRINGS: "strings",
}


def from_attribute(
    proto: AttributeProto,
    graph: Callable[[onnx.GraphProto], Graph] | None = None,
    tensor: Callable[[onnx.TensorProto], np.ndarray] = as_array,
) -> Any:
    """The value that a node keeps for an `AttributeProto`; `graph` reads bodies, and `tensor` arrays."""
    kind = proto.type
    if proto.ref_attr_name:
        return Reference(proto.ref_attr_name, kind)
    if kind in _FIELDS:
        value = getattr(proto, _FIELDS[kind])
        return _text(value) if kind == AttributeProto.STRING else value
    if kind in _LISTS:
        values = getattr(proto, _LISTS[kind])
        if values:
            return tuple(map(_text, values)) if kind == AttributeProto.STRINGS else tuple(values)
    match kind:
        case AttributeProto.TENSOR:
            return tensor(proto.t)
        case AttributeProto.TYPE_PROTO:
            return from_proto(proto.tp) or _opaque(proto)
        case AttributeProto.TENSORS if proto.tensors:
            return tuple(map(tensor, proto.tensors))
        case AttributeProto.GRAPH if graph is not None:
            return graph(proto.g)
        case AttributeProto.GRAPHS if graph is not None and proto.graphs:
            return tuple(map(graph, proto.graphs))
    return _opaque(proto)


def _opaque(proto: AttributeProto) -> Opaque:
    """A copy: one attribute that is kept would keep the whole model that it is part of."""
    copy = AttributeProto()
    copy.CopyFrom(proto)
    return Opaque(copy)


def kind_of(value: Any) -> int:
    """The kind of an attribute that no schema declares, from its value."""
    if isinstance(value, tuple) and value:
        single = kind_of(value[0])
        return next(many for many, one in _SINGLE.items() if one == single)
    kinds: tuple[tuple[Any, int], ...] = (
        (numbers.Integral, AttributeProto.INT),
        (numbers.Real, AttributeProto.FLOAT),
        ((str, bytes), AttributeProto.STRING),
        (np.ndarray, AttributeProto.TENSOR),
        (Graph, AttributeProto.GRAPH),
        (Type, AttributeProto.TYPE_PROTO),
        (onnx.SparseTensorProto, AttributeProto.SPARSE_TENSOR),
    )
    for of, kind in kinds:
        if isinstance(value, of):
            return kind
    raise TypeError(f"no kind of attribute holds {value!r}")


def _utf8(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
