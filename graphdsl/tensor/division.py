"""Floor division and remainder with Python's signs, from what ONNX has: truncating Div, and Mod of integers or as fmod.

The operands are tensors of one numeric dtype, which their operators have checked. Floats follow NumPy step by step, so
that infinities, NaN, signed zeros and quotients too large to be exact come out as they do there.
"""

from typing import Any

from ..types import bfloat16, float16, float32


def quotient(a: Any, b: Any) -> Any:
    """The quotient rounded down: `a // b`."""
    if a.dtype.kind != "float":
        return _integer_quotient(a, b, None)
    return _in_float32(lambda x, y: (_float_quotient(x, y, *_truncated(x, y)),), a, b)[0]


def remainder(a: Any, b: Any) -> Any:
    """What a quotient rounded down leaves, with the sign of `b`: `a % b`."""
    if a.dtype.kind != "float":
        return a._emit("Mod", a, b)
    return _in_float32(lambda x, y: (_float_remainder(y, *_truncated(x, y)),), a, b)[0]


def both(a: Any, b: Any) -> tuple[Any, Any]:
    """The quotient and the remainder: `divmod(a, b)`."""
    if a.dtype.kind != "float":
        rest = a._emit("Mod", a, b)
        return _integer_quotient(a, b, rest), rest

    def compute(x: Any, y: Any) -> tuple[Any, ...]:
        rest, below = _truncated(x, y)
        return _float_quotient(x, y, rest, below), _float_remainder(y, rest, below)

    first, second = _in_float32(compute, a, b)
    return first, second


def _in_float32(compute: Any, *operands: Any) -> tuple[Any, ...]:
    """What `compute` gives; on 16-bit floats it computes in float32 and rounds once at the end, as NumPy does."""
    dtype = operands[0].dtype
    if dtype not in (float16, bfloat16):
        return tuple(compute(*operands))
    return tuple(result.astype(dtype) for result in compute(*[x.astype(float32) for x in operands]))


def _integer_quotient(a: Any, b: Any, rest: Any) -> Any:
    truncated = a._emit("Div", a, b)
    if a.dtype.kind == "uint":
        return truncated
    # Mod has the sign of b, so that the two fit together only where truncating was rounding down; nothing overflows
    fits = truncated * b + (a._emit("Mod", a, b) if rest is None else rest) == a
    return truncated - (~fits).astype(a.dtype)


def _truncated(a: Any, b: Any) -> tuple[Any, Any]:
    """What a truncated quotient leaves, and whether the quotient rounded down lies one below that."""
    rest = a._emit("Mod", a, b, fmod=1)
    return rest, a._emit("Sign", rest) * b < 0


def _float_quotient(a: Any, b: Any, rest: Any, below: Any) -> Any:
    close = (a - rest) / b - below.astype(a.dtype)
    floor = a._emit("Floor", close)
    whole = floor + (close - floor > 0.5).astype(a.dtype)
    plain = a / b
    signed = a._emit("Where", whole == 0, plain * 0, whole)
    return a._emit("Where", b == 0, plain, signed)


def _float_remainder(b: Any, rest: Any, below: Any) -> Any:
    size = b._emit("Abs", b._emit("Where", below, rest + b, rest))
    return size * b._emit("Sign", b)  # a remainder of zero has the sign of b too
