"""Functions that NumPy has and ONNX has not, composed of ONNX operators without losing accuracy.

Each takes tensors of one float dtype and says in its comments what makes the plain formula wrong. Where a result may
be -0.0, the sign is multiplied in at the end, because ONNX Runtime's Where makes 0.0 of -0.0 (docs/upstream.md).
"""

import math
from typing import Any

import numpy as np

from .division import in_float32


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return condition._emit("Where", condition, yes, no)


def isfinite(x: Any) -> Any:
    """Neither infinite nor NaN."""
    return abs(x) < math.inf


def signbit(x: Any) -> Any:
    """Below zero, or -0.0. The sign of a NaN cannot be seen."""
    return _where(x == 0, x._emit("Reciprocal", x), x) < 0


def _direction(x: Any) -> Any:
    """1 or -1: the sign of a number, of zeros too."""
    return _where(signbit(x), x._constant(-1), x._constant(1))


def copysign(x: Any, y: Any) -> Any:
    """The size of x with the sign of y."""
    return abs(x) * _direction(y)


def trunc(x: Any) -> Any:
    """Rounded towards zero; between -1 and 0 that is -0.0."""
    return x._emit("Floor", abs(x)) * _direction(x)


@in_float32
def modf(x: Any) -> tuple[Any, Any]:
    """The fraction and the whole part, both with the sign of x; an infinity has the fraction 0."""
    most = x._constant(np.finfo(x.dtype.numpy).max)
    finite = x._emit("Max", x._emit("Min", x, most), -most)
    return x._emit("Mod", finite, x._constant(1), fmod=1), trunc(x)


def fmax(x: Any, y: Any) -> Any:
    """The larger of two; a NaN counts as missing."""
    return _unless_nan("Max", x, y)


def fmin(x: Any, y: Any) -> Any:
    """The smaller of two; a NaN counts as missing."""
    return _unless_nan("Min", x, y)


def _unless_nan(name: str, x: Any, y: Any) -> Any:
    present = _where(x._emit("IsNaN", x), y, x)
    return x._emit(name, present, _where(y._emit("IsNaN", y), present, y))


@in_float32  # Sign of a float16 NaN is 0 in ONNX Runtime
def heaviside(x: Any, at_zero: Any) -> Any:
    """0 below zero, 1 above, `at_zero` at zero."""
    return _where(x == 0, at_zero, x._emit("Max", x._emit("Sign", x), 0))


@in_float32
def log1p(x: Any) -> Any:
    """log(1 + x), accurate for small x."""
    # What 1 + x loses in u, log(u) and u - 1 lose alike, so their ratio is right (Kahan)
    u = x + 1
    ratio = x._emit("Log", u) / (u - 1)
    return x * _where((u == 1) | (u == math.inf), x._constant(1), ratio)


@in_float32
def expm1(x: Any) -> Any:
    """exp(x) - 1, accurate for small x."""
    u = x._emit("Exp", x)
    ratio = (u - 1) / x._emit("Log", u)  # as in log1p
    near = x * _where(u == 1, x._constant(1), ratio)
    return _signed_zero(_where(abs(x) < 1, near, u - 1), x)


def _signed_zero(result: Any, like: Any) -> Any:
    """The result, a zero in it with the sign of `like`, which is a zero there or so small that 1 / like is large."""
    return result / _where(result == 0, like._emit("Reciprocal", like), like._constant(1))


@in_float32
def log2(x: Any) -> Any:
    """The logarithm to base 2, exact for powers of 2."""
    return _log(x, 2)


@in_float32
def log10(x: Any) -> Any:
    """The logarithm to base 10, exact for powers of 10 that the dtype holds exactly."""
    return _log(x, 10)


def _log(x: Any, base: int) -> Any:
    value = x._emit("Log", x) / math.log(base)
    whole = x._emit("Round", value)
    normal = x >= float(np.finfo(x.dtype.numpy).tiny)  # a subnormal that rounds to a power need not be near it
    return _where((base**whole == x) & normal, whole, value)


@in_float32
def exp2(x: Any) -> Any:
    """2 to the power of x."""
    return 2**x


@in_float32
def logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)) without overflow."""
    small = x._emit("Exp", -abs(x - y))
    return _where(x == y, x + math.log(2), x._emit("Max", x, y) + log1p(small))  # the difference of infinities is NaN


@in_float32
def logaddexp2(x: Any, y: Any) -> Any:
    """log2(2**x + 2**y) without overflow."""
    small = 2 ** -abs(x - y)
    return _where(x == y, x + 1, x._emit("Max", x, y) + log1p(small) / math.log(2))


@in_float32
def hypot(x: Any, y: Any) -> Any:
    """sqrt(x² + y²) without overflow; infinite if either is, even beside a NaN."""
    a, b = abs(x), abs(y)
    large, little = x._emit("Max", a, b), x._emit("Min", a, b)
    ratio = little / _where(large == 0, x._constant(1), large)
    size = large * x._emit("Sqrt", ratio * ratio + 1)
    return _where((a == math.inf) | (b == math.inf), x._constant(math.inf), size)


@in_float32
def cbrt(x: Any) -> Any:
    """The cube root, of negative numbers too."""
    size = abs(x)
    rough = size ** (1 / 3)  # off by the error of 1 / 3 times log(x): one step of Newton's mends it
    root = rough - (rough - size / (rough * rough)) / 3
    return x * _where(x + x == x, x._constant(1), root / size)  # x + x == x: zeros and infinities


@in_float32
def arctan2(y: Any, x: Any) -> Any:
    """The angle of the point (x, y), between -pi and pi; signed zeros and infinities as in C."""
    a, b = abs(y), abs(x)
    ratio = _where(a == b, y._emit("Sign", a), a / b)  # of two zeros 0, of two infinities 1
    angle = y._emit("Atan", ratio)
    return _where(signbit(x), math.pi - angle, angle) * _direction(y)
