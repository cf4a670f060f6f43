"""Dtypes and the types of values: tensors, sequences, optionals, maps and sparse tensors.

Types are interned: equal types are one object, so comparing and hashing them costs what it costs for identity. They
follow `TypeProto` in the ONNX specification (IR.md, "Types").
"""

import builtins
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx

from .dims import Axis, Dim, as_axis
from .errors import TypeSpecError, nearest

Shape: TypeAlias = tuple[Axis, ...]


class DType:
    """An element type, under NumPy's name. Index it to make a tensor type.

    >>> import graphdsl as gd
    >>> gd.float32[2, "n", None]
    float32[2, 'n', None]
    >>> gd.float32 == np.float32, gd.float32.kind
    (True, 'float')
    """

    __slots__ = ("bits", "code", "kind", "name", "numpy")

    def __init__(self, name: str, code: int, kind: str, bits: int, numpy: Any) -> None:
        self.name = name
        """NumPy's name of the dtype."""
        self.code = code
        """The number of the dtype in `TensorProto.DataType`."""
        self.kind = kind
        """`"float"`, `"int"`, `"uint"`, `"bool"`, `"complex"` or `"string"`."""
        self.bits = bits
        """Bits per element; 0 for strings."""
        self.numpy = np.dtype(numpy)
        """The NumPy dtype of its arrays (ml_dtypes for those that NumPy lacks; object for strings)."""

    def __getitem__(self, shape: Any) -> "TensorType":
        return tensor_type(self, shape if isinstance(shape, tuple) else (shape,))

    @property
    def is_numeric(self) -> builtins.bool:
        """Whether arithmetic applies: everything but bool and string."""
        return self.kind not in ("bool", "string")

    def __eq__(self, other: object) -> builtins.bool:
        if isinstance(other, DType) or other is None:
            return self is other
        try:
            return as_dtype(other) is self
        except TypeSpecError:
            return False

    def __hash__(self) -> int:
        return self.code

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)

    def __call__(self, *_: Any) -> Any:
        raise TypeSpecError(
            f"{self.name} is a dtype, not a function; write gd.constant(np.{self.name}(...)) or t.astype({self.name})"
        )


float32 = DType("float32", onnx.TensorProto.FLOAT, "float", 32, np.float32)
uint8 = DType("uint8", onnx.TensorProto.UINT8, "uint", 8, np.uint8)
int8 = DType("int8", onnx.TensorProto.INT8, "int", 8, np.int8)
uint16 = DType("uint16", onnx.TensorProto.UINT16, "uint", 16, np.uint16)
int16 = DType("int16", onnx.TensorProto.INT16, "int", 16, np.int16)
int32 = DType("int32", onnx.TensorProto.INT32, "int", 32, np.int32)
int64 = DType("int64", onnx.TensorProto.INT64, "int", 64, np.int64)
string = DType("string", onnx.TensorProto.STRING, "string", 0, np.object_)
bool = DType("bool", onnx.TensorProto.BOOL, "bool", 8, np.bool_)
float16 = DType("float16", onnx.TensorProto.FLOAT16, "float", 16, np.float16)
float64 = DType("float64", onnx.TensorProto.DOUBLE, "float", 64, np.float64)
uint32 = DType("uint32", onnx.TensorProto.UINT32, "uint", 32, np.uint32)
uint64 = DType("uint64", onnx.TensorProto.UINT64, "uint", 64, np.uint64)
complex64 = DType("complex64", onnx.TensorProto.COMPLEX64, "complex", 64, np.complex64)
complex128 = DType("complex128", onnx.TensorProto.COMPLEX128, "complex", 128, np.complex128)
bfloat16 = DType("bfloat16", onnx.TensorProto.BFLOAT16, "float", 16, ml_dtypes.bfloat16)
float8e4m3fn = DType("float8e4m3fn", onnx.TensorProto.FLOAT8E4M3FN, "float", 8, ml_dtypes.float8_e4m3fn)
float8e4m3fnuz = DType("float8e4m3fnuz", onnx.TensorProto.FLOAT8E4M3FNUZ, "float", 8, ml_dtypes.float8_e4m3fnuz)
float8e5m2 = DType("float8e5m2", onnx.TensorProto.FLOAT8E5M2, "float", 8, ml_dtypes.float8_e5m2)
float8e5m2fnuz = DType("float8e5m2fnuz", onnx.TensorProto.FLOAT8E5M2FNUZ, "float", 8, ml_dtypes.float8_e5m2fnuz)
uint4 = DType("uint4", onnx.TensorProto.UINT4, "uint", 4, ml_dtypes.uint4)
int4 = DType("int4", onnx.TensorProto.INT4, "int", 4, ml_dtypes.int4)
float4e2m1 = DType("float4e2m1", onnx.TensorProto.FLOAT4E2M1, "float", 4, ml_dtypes.float4_e2m1fn)
float8e8m0 = DType("float8e8m0", onnx.TensorProto.FLOAT8E8M0, "float", 8, ml_dtypes.float8_e8m0fnu)
uint2 = DType("uint2", onnx.TensorProto.UINT2, "uint", 2, ml_dtypes.uint2)
int2 = DType("int2", onnx.TensorProto.INT2, "int", 2, ml_dtypes.int2)
# FLOAT6E2M3 and FLOAT6E3M2 by number: not every onnx that we support has their names
float6e2m3 = DType("float6e2m3", 27, "float", 6, ml_dtypes.float6_e2m3fn)
float6e3m2 = DType("float6e3m2", 28, "float", 6, ml_dtypes.float6_e3m2fn)

DTYPES: tuple[DType, ...] = tuple(value for value in list(globals().values()) if isinstance(value, DType))

float = float32
"""ONNX's name of float32."""
double = float64
"""ONNX's name of float64."""

_BY_CODE = {dtype.code: dtype for dtype in DTYPES}
_BY_NAME = {dtype.name: dtype for dtype in DTYPES} | {"float": float32, "double": float64, "str": string}
_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES}
_BY_PYTHON: dict[Any, DType] = {
    builtins.bool: bool,
    builtins.int: int64,
    builtins.float: float64,
    builtins.complex: complex128,
    builtins.str: string,
}


def as_dtype(spec: Any) -> DType:
    """Read a dtype: ours, NumPy's, Python's (`float` is float64, as in NumPy), a name, or a `TensorProto` number.

    Raises:
        TypeSpecError: it names no ONNX element type.
    """
    if isinstance(spec, DType):
        return spec
    found: DType | None = None
    if isinstance(spec, int) and not isinstance(spec, builtins.bool):
        found = _BY_CODE.get(spec)
    elif isinstance(spec, str):
        found = _BY_NAME.get(spec)
    elif isinstance(spec, type):
        found = _BY_PYTHON.get(spec)
    if found is None and spec is not None and not isinstance(spec, int):
        try:
            dtype = np.dtype(spec)
        except (TypeError, ValueError):
            pass
        else:
            found = string if dtype.kind in "US" else _BY_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        hint = nearest(spec, _BY_NAME) if isinstance(spec, str) else ""
        raise TypeSpecError(f"{spec!r} is not a dtype that ONNX has{hint}")
    return found


class Type:
    """The base of all types of values."""

    __slots__ = ("__weakref__",)

    def __reduce__(self) -> tuple[Any, ...]:
        return from_proto, (to_proto(self),)

    def __copy__(self) -> "Type":
        return self

    def __deepcopy__(self, _: Any) -> "Type":
        return self


class TensorType(Type):
    """A dense tensor: `dtype` and `shape` (None when even the rank is unknown)."""

    __slots__ = ("dtype", "shape")

    dtype: DType
    shape: Shape | None

    @property
    def rank(self) -> int | None:
        """The number of dimensions, or None when unknown."""
        return None if self.shape is None else len(self.shape)

    def __repr__(self) -> str:
        return self.dtype.name + _shape_repr(self.shape)


class SparseTensorType(Type):
    """A sparse tensor (`SparseTensorProto`): `dtype` and dense `shape`."""

    __slots__ = ("dtype", "shape")

    dtype: DType
    shape: Shape | None

    def __repr__(self) -> str:
        inner = TensorType.__repr__(self)  # type: ignore[arg-type]
        return f"sparse({inner})"


class SequenceType(Type):
    """A list of values of one type: `element`."""

    __slots__ = ("element",)

    element: Type

    def __repr__(self) -> str:
        return f"sequence({self.element!r})"


class OptionalType(Type):
    """A value that may be absent: `element`."""

    __slots__ = ("element",)

    element: Type

    def __repr__(self) -> str:
        return f"optional({self.element!r})"


class MapType(Type):
    """A map from integers or strings (`key`) to values of one type (`element`)."""

    __slots__ = ("element", "key")

    key: DType
    element: Type

    def __repr__(self) -> str:
        return f"map({self.key!r}, {self.element!r})"


def _shape_repr(shape: Shape | None) -> str:
    if shape is None:
        return ""
    dims = ", ".join(repr(str(d)) if isinstance(d, Dim) else repr(d) for d in shape)
    return f"[{dims}]" if shape else "[()]"


_interned: "weakref.WeakValueDictionary[tuple[Any, ...], Type]" = weakref.WeakValueDictionary()


def _intern(key: tuple[Any, ...], make: Callable[[], Type]) -> Any:
    found = _interned.get(key)
    # setdefault, so that two threads that make one type at a time still end up with one object
    return found if found is not None else _interned.setdefault(key, make())


def _with(cls: type[Type], **fields: Any) -> Type:
    made = cls()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def tensor_type(dtype: Any, shape: tuple[Any, ...] | list[Any] | None = None) -> TensorType:
    """The tensor type of a dtype and a shape of ints, names and None; without a shape, of unknown rank.

    Raises:
        TypeSpecError: the dtype or a dimension cannot be read.
    """
    of = as_dtype(dtype)
    if shape is not None and len(shape) == 1 and isinstance(shape[0], tuple) and not shape[0]:
        shape = ()  # gd.float32[()] is a scalar
    dims = None if shape is None else tuple(map(as_axis, shape))
    result: TensorType = _intern(("tensor", of, dims), lambda: _with(TensorType, dtype=of, shape=dims))
    return result


def sparse(element: Any) -> SparseTensorType:
    """The sparse tensor type with the dtype and shape of a tensor type: `gd.sparse(gd.float32[3, 4])`."""
    of = as_type(element)
    if not isinstance(of, TensorType):
        raise TypeSpecError(f"a sparse tensor is made of a tensor type, not of {of!r}")
    result: SparseTensorType = _intern(("sparse", of), lambda: _with(SparseTensorType, dtype=of.dtype, shape=of.shape))
    return result


def sequence(element: Any) -> SequenceType:
    """The type of a list of tensors: `gd.sequence(gd.float32["n"])`."""
    of = as_type(element)
    result: SequenceType = _intern(("sequence", of), lambda: _with(SequenceType, element=of))
    return result


def optional(element: Any) -> OptionalType:
    """The type of a value that may be absent: `gd.optional(gd.float32[3])`."""
    of = as_type(element)
    result: OptionalType = _intern(("optional", of), lambda: _with(OptionalType, element=of))
    return result


def map_of(key: Any, element: Any) -> MapType:
    """The type of a map: `gd.map_of(gd.string, gd.float32[()])`."""
    k, of = as_dtype(key), as_type(element)
    if k.kind not in ("int", "uint", "string"):
        raise TypeSpecError(f"a map's key is an integer or string dtype, not {k!r}")
    result: MapType = _intern(("map", k, of), lambda: _with(MapType, key=k, element=of))
    return result


def as_type(spec: Any) -> Type:
    """Read a type: ours, a dtype (a tensor of unknown rank), or a `TypeProto`.

    Raises:
        TypeSpecError: it is none of these.
    """
    if isinstance(spec, Type):
        return spec
    if isinstance(spec, onnx.TypeProto):
        found = from_proto(spec)
        if found is not None:
            return found
    else:
        try:
            return tensor_type(as_dtype(spec))
        except TypeSpecError:
            pass
    raise TypeSpecError(f"{spec!r} is not a type; write gd.float32[2, 'n'], gd.float32 or gd.sequence(...)")


def is_type(spec: Any) -> builtins.bool:
    """Whether `as_type` reads it without guessing: types, dtypes and NumPy's scalar types and dtypes."""
    if isinstance(spec, (Type, DType, np.dtype, onnx.TypeProto)):
        return True
    return isinstance(spec, type) and issubclass(spec, np.generic)


def type_text(of: Type) -> str:
    """The type without dimensions as the schemas of `onnx.defs` write it: `tensor(float)`, `seq(tensor(int64))`."""
    if isinstance(of, TensorType):
        return f"tensor({_ONNX_NAMES.get(of.dtype.name, of.dtype.name)})"
    if isinstance(of, SparseTensorType):
        return f"sparse_tensor({_ONNX_NAMES.get(of.dtype.name, of.dtype.name)})"
    if isinstance(of, SequenceType):
        return f"seq({type_text(of.element)})"
    if isinstance(of, OptionalType):
        return f"optional({type_text(of.element)})"
    if isinstance(of, MapType):
        return f"map({of.key.name},{type_text(of.element)})"
    raise TypeSpecError(f"{of!r} is not a type")


_ONNX_NAMES = {"float32": "float", "float64": "double"}


def from_text(text: str) -> Type | None:
    """The type of a text as `type_text` writes it, of unknown rank; None when it names no type we know."""
    kind, _, inner = text.removesuffix(")").partition("(")
    if kind == "tensor" and inner in _BY_NAME:
        return tensor_type(_BY_NAME[inner])
    if kind == "sparse_tensor" and inner in _BY_NAME:
        return sparse(tensor_type(_BY_NAME[inner]))
    if kind == "map":
        key, _, value = inner.partition(",")
        of = from_text(value)
        return None if of is None or key not in _BY_NAME else map_of(_BY_NAME[key], of)
    if kind in ("seq", "optional"):
        element = from_text(inner)
        return None if element is None else sequence(element) if kind == "seq" else optional(element)
    return None


def may_be(kind: Type | None, wanted: Type | None) -> builtins.bool:
    """Whether a value of a type may be of another one: of one dtype and, as far as it is known, of one shape."""
    if kind is wanted or kind is None or wanted is None:
        return True
    if type(kind) is not type(wanted):
        return False
    if isinstance(kind, MapType) and isinstance(wanted, MapType):
        return kind.key is wanted.key and may_be(kind.element, wanted.element)
    if isinstance(kind, (SequenceType, OptionalType)) and isinstance(wanted, (SequenceType, OptionalType)):
        return may_be(kind.element, wanted.element)
    if not isinstance(kind, (TensorType, SparseTensorType)) or not isinstance(wanted, (TensorType, SparseTensorType)):
        return False
    if kind.dtype is not wanted.dtype or kind.shape is None or wanted.shape is None:
        return kind.dtype is wanted.dtype
    return len(kind.shape) == len(wanted.shape) and not any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(kind.shape, wanted.shape, strict=True)
    )


def without_sizes(of: Type) -> Type:
    """The type with every dimension unknown; ranks stay."""
    if isinstance(of, TensorType):
        return of if of.shape is None else tensor_type(of.dtype, (None,) * len(of.shape))
    if isinstance(of, SequenceType):
        return sequence(without_sizes(of.element))
    return optional(without_sizes(of.element)) if isinstance(of, OptionalType) else of


def same_dims(left: Shape | None, right: Shape | None) -> builtins.bool:
    """Whether two shapes are known to be equal: an unknown dimension equals nothing."""
    return left is not None and left == right and None not in left


def to_proto(of: Type) -> onnx.TypeProto:
    """The `TypeProto` of a type."""
    proto = onnx.TypeProto()
    stack: list[tuple[Type, onnx.TypeProto]] = [(of, proto)]
    while stack:
        kind, target = stack.pop()
        if isinstance(kind, (TensorType, SparseTensorType)):
            tensor = target.tensor_type if isinstance(kind, TensorType) else target.sparse_tensor_type
            tensor.elem_type = kind.dtype.code
            if kind.shape is not None:
                tensor.shape.SetInParent()
                for axis in kind.shape:
                    dim = tensor.shape.dim.add()
                    if isinstance(axis, Dim):
                        dim.dim_param = axis.text
                    elif axis is not None:
                        dim.dim_value = axis
        elif isinstance(kind, MapType):
            target.map_type.key_type = kind.key.code
            stack.append((kind.element, target.map_type.value_type))
        elif isinstance(kind, SequenceType):
            stack.append((kind.element, target.sequence_type.elem_type))
        elif isinstance(kind, OptionalType):
            stack.append((kind.element, target.optional_type.elem_type))
    return proto


_MAX_NESTING = 64


def from_proto(proto: onnx.TypeProto, depth: int = 0) -> Type | None:
    """The type that a `TypeProto` describes, or None when it says nothing.

    Raises:
        TypeSpecError: an element type or a dimension that ONNX does not have, or types nested more than 64 deep.
    """
    if depth > _MAX_NESTING:
        raise TypeSpecError(f"a type is nested more than {_MAX_NESTING} deep")
    match proto.WhichOneof("value"):
        case "tensor_type":
            return _dense(proto.tensor_type)
        case "sparse_tensor_type":
            dense = _dense(proto.sparse_tensor_type)
            return None if dense is None else sparse(dense)
        case "sequence_type":
            inner = from_proto(proto.sequence_type.elem_type, depth + 1)
            return None if inner is None else sequence(inner)
        case "optional_type":
            inner = from_proto(proto.optional_type.elem_type, depth + 1)
            return None if inner is None else optional(inner)
        case "map_type":
            inner = from_proto(proto.map_type.value_type, depth + 1)
            return None if inner is None else map_of(proto.map_type.key_type, inner)
    return None


def _dense(tensor: Any) -> TensorType | None:
    if not tensor.elem_type:
        return None
    shape: tuple[Axis, ...] | None = None
    if tensor.HasField("shape"):
        shape = tuple(map(_axis, tensor.shape.dim))
    return tensor_type(tensor.elem_type, shape)


def _axis(dim: Any) -> Axis:
    """A dimension that a file declares; unknown if it is -1 or `?`, as PaddlePaddle writes, or inference made it up."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    name: str = dim.dim_param.strip()
    if not isinstance(name, str):
        raise TypeSpecError(f"the name of a dimension is not UTF-8: {name!r}")
    return as_axis(None if name in ("", "?") or name.startswith("unk__") else name)
