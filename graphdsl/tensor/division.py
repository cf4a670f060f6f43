"""Floor division and remainder with Python's signs, from what ONNX has: truncating Div, and Mod of integers or as fmod.

The operands are tensors of one numeric dtype, which their operators have checked. Floats follow NumPy step by step, so
that infinities, NaN, signed zeros and quotients too large to be exact come out as they do there.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..types import bfloat16, float16, float32


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, computed in float32 on 16-bit floats and rounded once at the end, as NumPy does."""

    @wraps(function)
    def wide(*tensors: Any) -> Any:
        dtype = tensors[0].dtype
        if dtype not in (float16, bfloat16):
            return function(*tensors)
        results = function(*[x.astype(float32) for x in tensors])
        if isinstance(results, tuple):
            return tuple(result.astype(dtype) for result in results)
        return results.astype(dtype)

    return wide


def quotient(a: Any, b: Any) -> Any:
    """The quotient rounded down: `a // b`."""
    if a.dtype.kind == "float":
        return _float_quotient(a, b)
    return _integer_quotient(a, b, lambda: a._emit("Mod", a, b))


def remainder(a: Any, b: Any) -> Any:
    """What a quotient rounded down leaves, with the sign of `b`: `a % b`."""
    return _float_remainder(a, b) if a.dtype.kind == "float" else a._emit("Mod", a, b)


def both(a: Any, b: Any) -> tuple[Any, Any]:
    """The quotient and the remainder: `divmod(a, b)`."""
    if a.dtype.kind == "float":
        found: tuple[Any, Any] = _float_both(a, b)
        return found
    rest = a._emit("Mod", a, b)
    return _integer_quotient(a, b, lambda: rest), rest


def _integer_quotient(a: Any, b: Any, rest: Callable[[], Any]) -> Any:
    truncated = a._emit("Div", a, b)
    if a.dtype.kind == "uint":
        return truncated
    # Mod has the sign of b, so that the two fit together only where truncating was rounding down; nothing overflows
    fits = truncated * b + rest() == a
    return truncated - (~fits).astype(a.dtype)


@in_float32
def _float_quotient(a: Any, b: Any) -> Any:
    return _rounded_down(a, b, *_truncated(a, b))


@in_float32
def _float_remainder(a: Any, b: Any) -> Any:
    return _signed_rest(b, *_truncated(a, b))


@in_float32
def _float_both(a: Any, b: Any) -> tuple[Any, Any]:
    rest, below = _truncated(a, b)
    return _rounded_down(a, b, rest, below), _signed_rest(b, rest, below)


def _truncated(a: Any, b: Any) -> tuple[Any, Any]:
    """What a truncated quotient leaves, and whether the quotient rounded down lies one below that."""
    rest = a._emit("Mod", a, b, fmod=1)
    return rest, a._emit("Sign", rest) * b < 0


def _rounded_down(a: Any, b: Any, rest: Any, below: Any) -> Any:
    close = (a - rest) / b - below.astype(a.dtype)
    floor = a._emit("Floor", close)
    whole = floor + (close - floor > 0.5).astype(a.dtype)
    plain = a / b
    result = a._emit("Where", b == 0, plain, whole)
    # a zero takes the sign of a / b; by division, because ONNX Runtime's Where makes 0.0 of -0.0
    return result / a._emit("Where", result == 0, a._emit("Reciprocal", plain), a._constant(1))


def _signed_rest(b: Any, rest: Any, below: Any) -> Any:
    size = b._emit("Abs", b._emit("Where", below, rest + b, rest))
    return size * b._emit("Sign", b)  # a remainder of zero has the sign of b too
