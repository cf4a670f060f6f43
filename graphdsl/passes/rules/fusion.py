"""Rules that fuse nodes which compute. The sums run in another order, so the last bits may change."""

import math
from typing import Any

import numpy as np

from ... import op
from ...building import constant
from ...rewriting import any_of, rule
from ...schemas import opset_in_force
from ...tensor import Tensor
from ...types import bfloat16, float16, float32, float64
from ..vanishing import lasting
from .known import dtype_of, rank_of, shape_of

_COMPUTED = (float32, float16, bfloat16)
"""The dtypes in which the fused operators of the standard are computed in float32, or better."""


def _batch_norm(x: Any, scale: Any, bias: Any, mean: Any, var: Any, eps: Any, momentum: Any) -> Any:
    return op.BatchNormalization(x, scale, bias, mean, var, epsilon=eps, momentum=momentum)


def _convolution_normed(
    x: Any, w: Any, s: Any, t: Any, m: Any, v: Any, b: Any = None, *, eps: Any, momentum: Any, **attrs: Any
) -> Any:
    return _batch_norm(op.Conv(x, w, b, **attrs), s, t, m, v, eps, momentum)


def _transposed_normed(
    x: Any, w: Any, s: Any, t: Any, m: Any, v: Any, b: Any = None, *, eps: Any, momentum: Any, **attrs: Any
) -> Any:
    return _batch_norm(op.ConvTranspose(x, w, b, **attrs), s, t, m, v, eps, momentum)


def _scaled(
    w: Tensor, b: Tensor | None, factor: np.ndarray, shift: np.ndarray, group: int
) -> tuple[Tensor, Tensor] | None:
    """Weights and bias of a convolution whose channels are scaled and shifted; `group` is 0 for weights (out, in, ...).

    Computed in float64; no weight vanishes. None where the weights or the bias are no constants, or where a result is
    not finite.
    """
    if w.value is None or (b is not None and b.value is None):
        return None
    if w.dtype not in (float16, float32, float64, bfloat16):
        return None
    weights = np.asarray(w.value, np.float64)
    start = np.zeros_like(factor) if b is None else np.asarray(b.value, np.float64)
    ones = (1,) * (weights.ndim - 2)
    with np.errstate(all="ignore"):
        if group:  # (in, out / group, ...), where the inputs of one group lie together
            split = weights.reshape(group, weights.shape[0] // group, *weights.shape[1:])
            factors = np.broadcast_to(factor.reshape(group, 1, -1, *ones), split.shape).reshape(weights.shape)
        else:
            factors = factor.reshape(-1, 1, *ones)
        made = [array.astype(w.dtype.numpy) for array in (weights * factors, start * factor + shift)]
    if not all(np.isfinite(array).all() for array in made):
        return None
    made[0] = lasting(made[0], (weights != 0) & (factors != 0))
    name = w.name or None
    return constant(made[0], name and f"{name}_fused"), constant(made[1], name and f"{name}_fused_bias")


def _normed_by(s: Tensor, t: Tensor, m: Tensor, v: Tensor, eps: float) -> tuple[np.ndarray, np.ndarray] | None:
    """What BatchNormalization multiplies each channel by, and adds to it; None where it is not known, or trains."""
    if any(tensor.value is None for tensor in (s, t, m, v)) or opset_in_force() < 7:
        return None
    scale, shift, mean, var = [np.asarray(tensor.value, np.float64) for tensor in (s, t, m, v)]
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + eps)
        return factor, shift - mean * factor


@rule(_convolution_normed)
def batch_norm_into_conv(
    x: Tensor, w: Tensor, s: Tensor, t: Tensor, m: Tensor, v: Tensor, b: Tensor | None, eps: float, **attrs: Any
) -> Tensor | None:
    """BatchNormalization(Conv(x)) is Conv(x) with other weights, at inference."""
    known = _normed_by(s, t, m, v, eps)
    found = None if known is None else _scaled(w, b, *known, 0)
    return None if found is None else op.Conv(x, *found, **attrs)


@rule(_transposed_normed)
def batch_norm_into_conv_transpose(
    x: Tensor, w: Tensor, s: Tensor, t: Tensor, m: Tensor, v: Tensor, b: Tensor | None, eps: float, **attrs: Any
) -> Tensor | None:
    """BatchNormalization(ConvTranspose(x)) is ConvTranspose(x) with other weights, at inference."""
    known = _normed_by(s, t, m, v, eps)
    found = None if known is None else _scaled(w, b, *known, int(attrs.get("group", 1)))
    return None if found is None else op.ConvTranspose(x, *found, **attrs)


def _channels(w: Tensor, group: int) -> int | None:
    """How many channels a convolution makes; `group` is 0 for weights (out, in, ...)."""
    shape = shape_of(w)
    size = shape[1 if group else 0] if shape else None
    return size * max(group, 1) if isinstance(size, int) else None


def _for_each_channel(c: Tensor, w: Tensor, group: int) -> np.ndarray | None:
    """A constant that has one number for each channel, or one for all, as an array of one for each; else None."""
    rank, channels = rank_of(w), _channels(w, group)
    if c.value is None or rank is None or channels is None or c.value.ndim > rank or w.dtype.kind != "float":
        return None
    shape = (1,) * (rank - c.value.ndim) + c.value.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(np.asarray(c.value, np.float64).reshape(-1), (channels,))


def _added(w: Tensor, b: Tensor | None, c: Tensor, group: int) -> Tensor | None:
    """The bias of a convolution to whose channels a constant is added; None where it is not finite, or not known."""
    more = _for_each_channel(c, w, group)
    if more is None or (b is not None and b.value is None):
        return None
    start = np.zeros_like(more) if b is None else np.asarray(b.value, np.float64)
    with np.errstate(all="ignore"):
        made = (start + more).astype(w.dtype.numpy)
    return constant(made, c.name or None) if np.isfinite(made).all() else None


def _times(w: Tensor, b: Tensor | None, c: Tensor, group: int) -> tuple[Tensor, Tensor] | None:
    """Weights and bias of a convolution whose channels are multiplied by a constant."""
    factor = _for_each_channel(c, w, group)
    return None if factor is None else _scaled(w, b, factor, np.zeros_like(factor), group)


def _conv(x: Any, w: Any, c: Any, b: Any = None, **attrs: Any) -> Any:
    return op.Conv(x, w, b, **attrs) + c


def _conv_times(x: Any, w: Any, c: Any, b: Any = None, **attrs: Any) -> Any:
    return op.Conv(x, w, b, **attrs) * c


def _transposed(x: Any, w: Any, c: Any, b: Any = None, **attrs: Any) -> Any:
    return op.ConvTranspose(x, w, b, **attrs) + c


def _transposed_times(x: Any, w: Any, c: Any, b: Any = None, **attrs: Any) -> Any:
    return op.ConvTranspose(x, w, b, **attrs) * c


@rule(_conv)
def add_into_conv(x: Tensor, w: Tensor, c: Tensor, b: Tensor | None, **attrs: Any) -> Tensor | None:
    """Conv(x) + c is Conv(x) with another bias, if c is one number for each channel."""
    bias = _added(w, b, c, 0)
    return None if bias is None else op.Conv(x, w, bias, **attrs)


@rule(_transposed)
def add_into_conv_transpose(x: Tensor, w: Tensor, c: Tensor, b: Tensor | None, **attrs: Any) -> Tensor | None:
    """ConvTranspose(x) + c is ConvTranspose(x) with another bias, if c is one number for each channel."""
    bias = _added(w, b, c, int(attrs.get("group", 1)))
    return None if bias is None else op.ConvTranspose(x, w, bias, **attrs)


@rule(_conv_times)
def mul_into_conv(x: Tensor, w: Tensor, c: Tensor, b: Tensor | None, **attrs: Any) -> Tensor | None:
    """Conv(x) * c is Conv(x) with other weights, if c is one number for each channel."""
    found = _times(w, b, c, 0)
    return None if found is None else op.Conv(x, *found, **attrs)


@rule(_transposed_times)
def mul_into_conv_transpose(x: Tensor, w: Tensor, c: Tensor, b: Tensor | None, **attrs: Any) -> Tensor | None:
    """ConvTranspose(x) * c is ConvTranspose(x) with other weights, if c is one number for each channel."""
    found = _times(w, b, c, int(attrs.get("group", 1)))
    return None if found is None else op.ConvTranspose(x, *found, **attrs)


@rule(lambda a, b, c: a @ b + c)
def matmul_add_to_gemm(a: Tensor, b: Tensor, c: Tensor) -> Tensor | None:
    """a @ b + c of matrices is Gemm(a, b, c)."""
    left, right, added, dtype = shape_of(a), shape_of(b), shape_of(c), dtype_of(a)
    if dtype is None or dtype.kind != "float" or left is None or right is None or added is None:
        return None
    if len(left) != 2 or len(right) != 2 or len(added) > 2 or opset_in_force() < 7:
        return None
    for size, wanted in zip(reversed(added), (right[1], left[0]), strict=False):
        if size is None or not (size == 1 or size == wanted):
            return None
    return op.Gemm(a, b, c)


def _erf_gelu(x: Any) -> Any:
    grown = op.Erf(any_of(x / math.sqrt(2), x * (1 / math.sqrt(2)))) + 1
    return any_of(x * grown * 0.5, x * (grown * 0.5), x * 0.5 * grown)


@rule(_erf_gelu)
def erf_gelu(x: Tensor) -> Tensor | None:
    """x / 2 * (1 + Erf(x / sqrt(2))) is Gelu(x), from opset 20 on."""
    return op.Gelu(x) if opset_in_force() >= 20 and dtype_of(x) in _COMPUTED else None


def _tanh_gelu(x: Any) -> Any:
    cube = any_of(op.Pow(x, 3), x * x * x, x * (x * x))
    bent = any_of(x + cube * 0.044715, x * (1 + x * x * 0.044715))
    grown = op.Tanh(bent * math.sqrt(2 / math.pi)) + 1
    return any_of(x * grown * 0.5, x * (grown * 0.5), x * 0.5 * grown)


@rule(_tanh_gelu)
def tanh_gelu(x: Tensor) -> Tensor | None:
    """x / 2 * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) is Gelu(x, approximate="tanh"), from opset 20 on."""
    return op.Gelu(x, approximate="tanh") if opset_in_force() >= 20 and dtype_of(x) in _COMPUTED else None


def _mean(x: Any, axes: Any) -> Any:
    return op.ReduceMean(x, axes) if opset_in_force() >= 18 else op.ReduceMean(x, axes=axes)


def _normed(x: Any, axes: Any, eps: Any, scale: Any) -> Any:
    moved, again = x - _mean(x, axes), x - _mean(x, axes)  # some exporters write it once, some twice
    spread = _mean(any_of(op.Pow(moved, 2), moved * moved, op.Pow(again, 2), again * again), axes)
    return moved / op.Sqrt(spread + eps) * scale


@rule(_normed)
def layer_norm(x: Tensor, axes: Any, eps: Tensor, scale: Tensor) -> Tensor | None:
    """(x - mean) / Sqrt(variance + eps) * scale is LayerNormalization(x, scale), from opset 17 on."""
    chosen = axes.value if isinstance(axes, Tensor) else axes
    shape = shape_of(x)
    if chosen is None or eps.value is None or eps.value.size != 1 or shape is None or dtype_of(x) not in _COMPUTED:
        return None
    rank = len(shape)
    if eps.value.ndim > rank:  # it makes the result larger
        return None
    found = sorted(int(axis) % rank for axis in np.ravel(chosen))
    least = float(eps.value.reshape(()))
    if not found or found != list(range(found[0], rank)) or not least > 0 or opset_in_force() < 17:
        return None
    sizes = shape[found[0] :]
    if shape_of(scale) != sizes or not all(isinstance(size, int) for size in sizes):
        return None
    return op.LayerNormalization(x, scale, axis=found[0] - rank, epsilon=least)


@rule(lambda x, scale, shift, axis, eps: op.LayerNormalization(x, scale, axis=axis, epsilon=eps) + shift)
def layer_norm_shifted(x: Tensor, scale: Tensor, shift: Tensor, axis: int, eps: float) -> Tensor | None:
    """LayerNormalization(x, scale) + shift is LayerNormalization(x, scale, shift)."""
    if shape_of(shift) is None or shape_of(shift) != shape_of(scale):
        return None
    return op.LayerNormalization(x, scale, shift, axis=axis, epsilon=eps)
