"""Constants from Python values: which dtype they take, and how equal ones are shared."""

import weakref
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import SignatureError, TypeSpecError
from ..ir import Constant
from ..sites import Site
from ..types import DType, as_dtype, float32, int64, string, tensor_type
from ..types import bool as bool_

_COPIED = 64 * 1024
"""Arrays below this many bytes are copied when lifted; larger ones are held as read-only views."""

_shared: "weakref.WeakValueDictionary[tuple[Any, ...], Constant]" = weakref.WeakValueDictionary()


def as_array(item: Any) -> np.ndarray:
    """What a user gave, as an array.

    Raises:
        SignatureError: it is a masked array, whose mask would be lost.
    """
    if isinstance(item, np.ma.MaskedArray):
        raise SignatureError("a masked array would lose its mask; write array.filled(...)")
    return np.asarray(item)


def constant(array: np.ndarray, site: Site | None, name: str | None = None) -> Constant:
    """A new constant of an array, which is copied only if it is small.

    Raises:
        TypeSpecError: ONNX has no such element type.
    """
    dtype = as_dtype(array.dtype)
    if dtype is string:
        array = _text(array, array)
    elif array.dtype != dtype.numpy:  # another byte order
        array = array.astype(dtype.numpy)
    array = array.copy() if array.nbytes < _COPIED else array.view()
    array.flags.writeable = False
    return Constant(array, tensor_type(dtype, array.shape), site, name)


def shared(array: np.ndarray, site: Site | None) -> Constant:
    """The constant of an array, the same one for equal bytes; large arrays are equal when they are one memory."""
    if array.dtype.kind in "OUS":
        return constant(array, site)
    content: Any
    content = array.tobytes() if array.nbytes < _COPIED else (array.__array_interface__["data"][0], array.strides)
    key = (array.dtype, array.shape, content)
    found = _shared.get(key)
    if found is None:
        found = _shared.setdefault(key, constant(array, site))
    return found


@lru_cache(4096)
def _scalar(value: Any, text: str, dtype: DType) -> Constant:
    return shared(_adopt(value, dtype), None)


def scalar(value: Any, dtype: DType) -> Constant:
    """The constant of a Python number in a dtype that the number adopts; `text` keeps 0.0, -0.0 and False apart."""
    return _scalar(value, repr(value), dtype)


def natural_dtype(value: Any) -> DType:
    """The dtype that a Python number, text or list takes where nothing else says: bool, int64, float32 or string."""
    dtype = np.asarray(value).dtype
    if dtype.kind == "f":
        return float32
    if dtype.kind == "i":
        return int64
    if dtype.kind in "OUS":  # a number among text has become text
        items = np.asarray(value, dtype=object).ravel()
        if items.size and all(isinstance(item, (str, bytes)) for item in items):
            return string
        raise TypeSpecError(f"{value!r} is not an array of numbers or text")
    return bool_ if dtype.kind == "b" else as_dtype(dtype)


def adopt(value: Any, dtype: DType) -> Constant:
    """The constant of a Python number, text or list in a dtype given by its surroundings.

    Raises:
        SignatureError: the dtype cannot hold the value exactly enough: a fraction as an integer, 300 as uint8.
    """
    if isinstance(value, (bool, int, float, complex)):
        return scalar(value, dtype)
    return shared(_adopt(value, dtype), None)


def _adopt(value: Any, dtype: DType) -> np.ndarray:
    array = as_array(value)
    if dtype is string and array.dtype.kind in "US":  # NumPy's text has lost zero characters at the end
        array = np.asarray(value, object)
    if array.dtype.kind == "O" and dtype is not string:
        large = all(isinstance(item, int) for item in array.ravel())
        if not large:
            raise SignatureError(f"{value!r} is not an array of numbers")
    if array.size == 0 or array.dtype == dtype.numpy:
        return array.astype(dtype.numpy)
    if (array.dtype.kind in "US" or dtype is string) and not (array.dtype.kind in "USO" and dtype is string):
        raise SignatureError(f"{value!r} does not fit {dtype}")
    if dtype is string:
        return _text(array, value)
    ranks = {"bool": 0, "int": 1, "uint": 1, "float": 2, "complex": 3}
    kind = "int" if array.dtype.kind == "O" else as_dtype(array.dtype).kind
    if ranks[kind] > ranks[dtype.kind]:
        raise SignatureError(
            f"{value!r} does not fit {dtype}; cast the tensor first, as in t.astype(gd.{_wider(array)})"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            cast = array.astype(dtype.numpy)
        except OverflowError:
            raise SignatureError(f"{value!r} is out of range for {dtype}") from None
    if dtype.kind in ("int", "uint") and kind in ("int", "uint") and not _same_integers(cast, array):
        raise SignatureError(f"{value!r} is out of range for {dtype}")
    return cast


def _text(array: np.ndarray, value: Any) -> np.ndarray:
    """An array of text as one of objects.

    Raises:
        SignatureError: it holds something else.
    """
    found = array.astype(object)
    for item in found.ravel():
        if not isinstance(item, (str, bytes)):
            raise SignatureError(f"{value!r} is not an array of text")
    return found


def _same_integers(cast: np.ndarray, array: np.ndarray) -> bool:
    if array.dtype.kind in "bi" and cast.dtype != np.uint64:
        return np.array_equal(cast.astype(np.int64), array)
    return all(int(a) == int(b) for a, b in zip(cast.ravel(), array.ravel(), strict=True))


def _wider(array: np.ndarray) -> str:
    return {"f": "float32", "c": "complex64"}.get(array.dtype.kind, "int64")
