"""Values as Python text: types, arrays, attribute values and names. Every text evaluates to exactly the value.

Names and strings of a model are never trusted: strings go through `repr`, which escapes what cannot be printed, and a
name that becomes a variable is made of ASCII letters, digits and underscores only.
"""

import base64
import keyword
import math
import re
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto

from ..attributes import normalise
from ..ir import Opaque
from ..types import (
    DTYPES,
    DType,
    MapType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    as_dtype,
    string,
)

MOST_ITEMS = 16
"""Arrays of more elements are no literals: they come from a file, or from base64 text."""

_LONGEST_NAME = 40


class Names:
    """Python names of one scope that are all different, and hide none of the scope around it."""

    def __init__(self, *reserved: str, around: "Names | None" = None) -> None:
        self._taken = set(reserved)
        self._inner: set[str] = set()
        """What is taken in the scopes inside; a name made later must not be hidden there either."""
        self._around = around
        self._counters: dict[str, int] = {}

    def inside(self) -> "Names":
        """The names of a function: apart from those of this scope, not from those of other functions."""
        return Names(around=self)

    def reserve(self, name: str) -> None:
        """Let nothing else have a name."""
        self._taken.add(name)
        if self._around is not None:
            self._around._inner.add(name)

    def _is_free(self, name: str) -> bool:
        return not (name in self._taken or name in self._inner or (self._around and name in self._around._taken))

    def make(self, wanted: str, fallback: str) -> str:
        """A free identifier close to a wanted name, of which nothing but ASCII letters and digits is kept."""
        stem = re.sub(r"[^A-Za-z0-9]+", "_", wanted).strip("_")
        while len(stem) > _LONGEST_NAME:  # the last parts of a path say most
            stem = stem.partition("_")[2]
        if not stem:
            stem = re.sub(r"[^A-Za-z0-9]+", "_", fallback).strip("_") or "value"
        if stem[0].isdigit():
            stem = f"t{stem}"
        if keyword.iskeyword(stem) or keyword.issoftkeyword(stem):
            stem += "_"
        name = stem
        while not self._is_free(name):
            self._counters[stem] = number = self._counters.get(stem, 1) + 1
            name = f"{stem}_{number}"
        self.reserve(name)
        return name


def snake(name: str) -> str:
    """An operator's name in lower case: `GlobalAveragePool` as `global_average_pool`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def is_python_name(name: str) -> bool:
    """Whether a name can stand as a keyword of a call, and says what it seems to say."""
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def type_text(kind: Type) -> str:
    """A type as a user writes it: `gd.float32[2, "n"]`."""
    match kind:
        case TensorType():
            return f"gd.{kind.dtype.name}{_shape(kind)}"
        case SparseTensorType():
            return f"gd.sparse(gd.{kind.dtype.name}{_shape(kind)})"
        case SequenceType():
            return f"gd.sequence({type_text(kind.element)})"
        case OptionalType():
            return f"gd.optional({type_text(kind.element)})"
        case MapType():
            return f"gd.map_of(gd.{kind.key.name}, {type_text(kind.element)})"
    raise TypeError(kind)


def _shape(kind: TensorType | SparseTensorType) -> str:
    if kind.shape is None:
        return ""
    sides = [repr(side) if side is None or isinstance(side, int) else text(str(side)) for side in kind.shape]
    return f"[{', '.join(sides)}]" if sides else "[()]"


def text(value: str | bytes) -> str:
    """A string between double quotes where that reads well, else as `repr` writes it."""
    shown = repr(value)
    if isinstance(value, str) and shown[0] == "'" and not set('"\\') & set(shown):
        return f'"{shown[1:-1]}"'
    return shown


def number(value: Any, dtype: DType) -> str:
    """An element of an array as a Python number that becomes this very element in the array's dtype.

    A NaN of other bits than NumPy's own has no such number; whoever needs it compares bytes.
    """
    if dtype.kind == "bool":
        return repr(bool(value))
    if dtype.kind in ("int", "uint"):
        return repr(int(value))
    if dtype.kind == "complex":
        exact = complex(value)
        return f"complex({_float(exact.real)}, {_float(exact.imag)})"
    exact = float(value)
    if not math.isfinite(exact):
        return _float(exact)
    short = str(value) if isinstance(value, np.generic) else repr(exact)
    try:
        with np.errstate(all="ignore"):
            same = np.asarray(float(short)).astype(dtype.numpy).tobytes() == np.asarray(value, dtype.numpy).tobytes()
    except ValueError:
        same = False
    return repr(float(short)) if same else repr(exact)


def _float(value: float) -> str:
    if math.isnan(value):
        return "np.nan"
    return ("-" if value < 0 else "") + "np.inf" if math.isinf(value) else repr(value)


def items(array: np.ndarray) -> str:
    """A small array as a number, or as nested lists of them."""
    dtype = as_dtype(array.dtype)
    if dtype is string:
        return _texts(array.tolist())
    return _nested(array, lambda item: number(item, dtype))


def _texts(value: Any) -> str:
    return f"[{', '.join(map(_texts, value))}]" if isinstance(value, list) else text(value)


def _nested(array: np.ndarray, shown: Any) -> str:
    if array.ndim == 0:
        return str(shown(array[()]))
    return f"[{', '.join(_nested(np.asarray(row), shown) for row in array)}]"


def plain(array: np.ndarray) -> Any:
    """What `items` evaluates to."""
    dtype = as_dtype(array.dtype)
    if dtype is string:
        return array.tolist()
    convert = {"bool": bool, "int": int, "uint": int, "complex": complex}.get(dtype.kind, _read)
    return _mapped(array, lambda item: convert(item) if convert is not _read else _read(number(item, dtype)))


def _mapped(array: np.ndarray, convert: Any) -> Any:
    return convert(array[()]) if array.ndim == 0 else [_mapped(np.asarray(row), convert) for row in array]


def _read(shown: str) -> float:
    return float(shown.replace("np.", ""))


def dtype_text(dtype: DType) -> str:
    """NumPy's dtype of an element type: `np.float32`, or ours where NumPy has none."""
    if dtype is string:
        return "object"
    if dtype.kind == "bool":
        return "np.bool_"
    return f"np.{dtype.name}" if dtype.numpy.type.__module__ == "numpy" else f"gd.{dtype.name}.numpy"


def array_text(array: np.ndarray) -> str | None:
    """An array as an expression; None where it is too large to be one."""
    dtype = as_dtype(array.dtype)
    of = dtype_text(dtype)
    shape = repr(array.shape)
    if array.ndim == 0 and dtype is not string and of.startswith("np.") and same_array(_made(array), array):
        return f"{of}({items(array)})"
    if array.size == 0:
        return f"np.zeros({shape}, {of})"
    if dtype is string:
        return f"np.array({items(array)}, object)"
    if array.size > 4 and _is_uniform(array):
        first = np.asarray(array.reshape(-1)[0])
        if same_array(_made(first), first):
            if not first.tobytes().strip(b"\0"):
                return f"np.zeros({shape}, {of})"
            return f"np.full({shape}, {items(first)}, {of})"
    if array.size <= MOST_ITEMS:
        if same_array(_made(array), array):
            return f"np.array({items(array)}, {of})"
        return packed_text(array)
    return None


def _made(array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.array(plain(array), array.dtype)


def _is_uniform(array: np.ndarray) -> bool:
    flat = np.ascontiguousarray(array).reshape(-1)
    rows = flat.view(np.uint8).reshape(flat.size, -1)
    return bool((rows == rows[0]).all())


def packed_text(array: np.ndarray) -> str:
    """An array of any dtype but strings as base64 text."""
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    flat = f'np.frombuffer(base64.b64decode("{data}"), {dtype_text(as_dtype(array.dtype))})'
    return flat if array.ndim == 1 else f"{flat}.reshape({array.shape!r})"


def same_array(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal in dtype, shape and every bit."""
    if one is other:
        return True
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return one.tobytes() == other.tobytes()


# Attribute values

_NAMED_DTYPES = frozenset(("to", "dtype", "output_dtype"))
"""Attributes that are numbers of dtypes."""


def attribute_text(name: str, value: Any, kind: int) -> str | None:
    """The value of an attribute of a kind as a user writes it; None where Python has no expression for it."""
    match kind:
        case AttributeProto.INT:
            if name in _NAMED_DTYPES and value in _CODES:
                return f"gd.{_CODES[value]}"
            return repr(int(value))
        case AttributeProto.FLOAT:
            return _float_attribute(value)
        case AttributeProto.STRING:
            return text(value)
        case AttributeProto.TENSOR:
            return _tensor(value)
        case AttributeProto.TYPE_PROTO:
            return type_text(value) if isinstance(value, Type) else None
        case AttributeProto.SPARSE_TENSOR:
            proto = value.proto.sparse_tensor if isinstance(value, Opaque) else value
            return f"onnx.SparseTensorProto.FromString({proto.SerializeToString()!r})"
    single = _SINGLE.get(kind)
    listed = [] if isinstance(value, Opaque) and is_empty(value.proto) else value
    if single is None or isinstance(listed, Opaque):
        return None
    shown = [attribute_text(name, item, single) for item in listed]
    return None if None in shown else f"[{', '.join(map(str, shown))}]"


def unlisted_text(value: Any, kind: int) -> str | None:
    """The value of an attribute that no schema lists, so that its kind follows from what is written."""
    match kind:
        case AttributeProto.INT:
            return repr(int(value))
        case AttributeProto.TENSOR:
            if value.ndim == 0 and value.dtype != object and same_array(_made(value), value):
                return f"np.array({items(value)}, {dtype_text(as_dtype(value.dtype))})"
            shown = array_text(value)
            return packed_text(value) if shown is None or (value.ndim == 0 and value.dtype != object) else shown
        case AttributeProto.TENSORS:
            shown_items = [unlisted_text(item, AttributeProto.TENSOR) for item in value]
            return f"[{', '.join(map(str, shown_items))}]"
    return attribute_text("", value, kind)


def _float_attribute(value: float) -> str:
    single = np.float32(value)
    if np.isnan(single) and single.tobytes() != np.float32(np.nan).tobytes():
        return f"np.uint32({int(single.view(np.uint32))}).view(np.float32)"
    return number(single, as_dtype(np.float32))


def _tensor(array: np.ndarray) -> str:
    dtype = as_dtype(array.dtype)
    if array.size <= MOST_ITEMS and array.size and dtype.name in ("float32", "int64", "bool", "string"):
        try:
            if same_array(np.asarray(normalise(AttributeProto.TENSOR, plain(array))), array):
                return items(array)
        except (TypeError, ValueError):
            pass
    return array_text(array) or packed_text(array)


def is_empty(proto: onnx.AttributeProto) -> bool:
    """Whether an attribute is a list without items."""
    lists = (proto.ints, proto.floats, proto.strings, proto.tensors, proto.graphs, proto.type_protos)
    return proto.type in _SINGLE and not any(map(len, (*lists, proto.sparse_tensors)))


_CODES = {dtype.code: dtype.name for dtype in DTYPES}
_SINGLE: dict[int, int] = {
    AttributeProto.INTS: AttributeProto.INT,
    AttributeProto.FLOATS: AttributeProto.FLOAT,
    AttributeProto.STRINGS: AttributeProto.STRING,
    AttributeProto.TENSORS: AttributeProto.TENSOR,
    AttributeProto.TYPE_PROTOS: AttributeProto.TYPE_PROTO,
    AttributeProto.SPARSE_TENSORS: AttributeProto.SPARSE_TENSOR,
}
