"""Rules that merge nodes which move, cut or pad data, or change its dtype. The outputs keep every bit."""

from typing import Any

import numpy as np

from ... import op
from ...rewriting import any_of, rule
from ...tensor import Tensor
from ...types import DType
from .identities import pad_at_opset
from .known import dtype_of, rank_of, shape_of


@rule(lambda x, p, q: op.Transpose(op.Transpose(x, perm=p), perm=q))
def merge_transposes(x: Tensor, p: tuple[int, ...], q: tuple[int, ...]) -> Tensor:
    """Two Transpose nodes are one; none where they undo each other."""
    perm = [p[i] for i in q]
    return x if perm == list(range(len(perm))) else op.Transpose(x, perm=perm)


def _reshaped(x: Tensor, middle: Tensor | None, shape: Tensor, attrs: dict[str, Any]) -> Tensor | None:
    """What Reshape(middle, shape) is as a Reshape of x, which has the same elements."""
    if attrs.get("allowzero"):
        return op.Reshape(x, shape, **attrs)
    if shape.value is None:
        return None  # it may hold zeros, which stand for sizes of what is reshaped
    sizes: list[int] = shape.value.tolist()
    if 0 not in sizes:
        return op.Reshape(x, shape, **attrs)
    known = shape_of(middle) if middle is not None else None
    before = shape_of(x) or ()
    for axis, size in enumerate(sizes):
        if size != 0:
            continue
        found = known[axis] if known is not None and axis < len(known) else None
        own = before[axis] if axis < len(before) else None
        if found is not None and found == own:
            continue  # the size of x on that axis
        if not isinstance(found, int) or found == 0:
            return None
        sizes[axis] = found
    return op.Reshape(x, shape if sizes == shape.value.tolist() else np.array(sizes, np.int64))


@rule(lambda x, first, shape, **attrs: op.Reshape(op.Reshape(x, first), shape, **attrs))
def merge_reshapes(x: Tensor, first: Tensor, shape: Tensor, **attrs: Any) -> Tensor | None:
    """Two Reshape nodes are one, if the second takes no size from the first that is not known."""
    return _reshaped(x, op.Reshape(x, first), shape, attrs)


@rule(lambda x, axis, shape, **attrs: op.Reshape(op.Flatten(x, axis=axis), shape, **attrs))
def reshape_of_flatten(x: Tensor, axis: int, shape: Tensor, **attrs: Any) -> Tensor | None:
    """Reshape(Flatten(x)) is Reshape(x)."""
    return _reshaped(x, op.Flatten(x, axis=axis), shape, attrs)


@rule(lambda x, axes, shape, **attrs: op.Reshape(any_of(op.Unsqueeze(x, axes), op.Squeeze(x, axes)), shape, **attrs))
def reshape_of_squeeze(x: Tensor, shape: Tensor, **attrs: Any) -> Tensor | None:
    """Reshape(Squeeze(x)) and Reshape(Unsqueeze(x)) are Reshape(x), if the shape is known and has no zeros."""
    return _reshaped(x, None, shape, attrs)


@rule(lambda x, a, b: any_of(op.Squeeze(op.Unsqueeze(x, a), b), op.Unsqueeze(op.Squeeze(x, a), b)))
def squeeze_of_unsqueeze(x: Tensor, a: Tensor, b: Tensor) -> Tensor | None:
    """Squeeze and Unsqueeze of the same axes are nothing; both count from the end of the larger shape."""
    if a.value is None or b.value is None or a.value.tolist() != b.value.tolist():
        return None
    return x


_MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
_EXPONENT = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11}


def is_lossless(before: DType, after: DType) -> bool:
    """Whether a cast keeps every value of a dtype, NaN, infinities and the sign of zero included.

    >>> import graphdsl as gd
    >>> is_lossless(gd.float16, gd.float32), is_lossless(gd.int32, gd.float32), is_lossless(gd.uint8, gd.int16)
    (True, False, True)
    """
    if before is after:
        return True
    if before.kind == "bool":
        return after.kind in ("int", "uint") or after.name in _MANTISSA
    if before.kind in ("int", "uint"):
        bits = before.bits - (before.kind == "int")
        if after.name in _MANTISSA:
            # the largest integer must not exceed the floats either: uint16 has more values than float16
            return bits <= _MANTISSA[after.name] and bits < 2 ** (_EXPONENT[after.name] - 1)
        if after.kind == "int":
            return bits <= after.bits - 1
        return after.kind == "uint" and before.kind == "uint" and bits <= after.bits
    if before.name in _MANTISSA and after.name in _MANTISSA:
        wider = _MANTISSA[before.name] <= _MANTISSA[after.name]
        return wider and _EXPONENT[before.name] <= _EXPONENT[after.name]
    return False


@rule(lambda x, a, b: op.Cast(op.Cast(x, to=a), to=b))
def merge_casts(x: Tensor, a: int, b: int) -> Tensor | None:
    """Two Cast nodes are one, if the first keeps every value; none where the second leads back."""
    first, second = dtype_of(x), dtype_of(op.Cast(x, to=a))
    if first is None or second is None or not is_lossless(first, second):
        return None
    return x if first.code == b else op.Cast(x, to=b)


def _padded_twice(x: Any, first: Any, second: Any, fill: Any = None, other: Any = None) -> Any:
    return op.Pad(op.Pad(x, first, fill), second, other)


@rule(_padded_twice)
def merge_pads(x: Tensor, first: Tensor, second: Tensor, fill: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Two Pad nodes with the same constant are one, if neither cuts anything off."""
    one, two = first.value, second.value
    if one is None or two is None or (one < 0).any() or (two < 0).any() or not _same_fill(fill, other):
        return None
    return op.Pad(x, one + two, fill)


def _same_fill(fill: Tensor | None, other: Tensor | None) -> bool:
    one, two = _fill(fill), _fill(other)
    return one is not None and two is not None and one.tobytes() == two.tobytes()


def _fill(fill: Tensor | None) -> np.ndarray | None:
    """What a Pad node pads with: zero where nothing is given, None where it is not known."""
    value = np.zeros((), np.float32) if fill is None else fill.value
    if value is None or value.dtype.kind in "OUS":
        return None
    return np.zeros(()) if not value.any() and not np.signbit(value.astype(np.float64)).any() else value.reshape(())


def _padded_conv(
    x: Any, pads: Any, w: Any, fill: Any = None, axes: Any = None, b: Any = None, *, p: Any, **attrs: Any
) -> Any:
    return op.Conv(pad_at_opset(x, pads, fill, axes, mode="constant"), w, b, pads=p, **attrs)


@rule(_padded_conv)
def pad_into_conv(
    x: Tensor,
    pads: Tensor,
    w: Tensor,
    fill: Tensor | None,
    axes: Tensor | None,
    b: Tensor | None,
    p: tuple[int, ...],
    **attrs: Any,
) -> Tensor | None:
    """Zeros around an image are padded by the convolution itself."""
    amounts, zero = pads.value, _fill(fill)
    known = amounts is not None and (axes is None or axes.value is not None)
    rank = rank_of(x)
    if not known or rank is None or zero is None or zero.any() or attrs.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    chosen = range(rank) if axes is None or axes.value is None else [int(a) % rank for a in axes.value]
    begins, ends = [0] * rank, [0] * rank
    assert amounts is not None
    for place, axis in enumerate(chosen):
        begins[axis], ends[axis] = int(amounts[place]), int(amounts[place + len(chosen)])
    if min(*begins, *ends) < 0 or any(begins[:2]) or any(ends[:2]):
        return None
    total = [*begins[2:], *ends[2:]]
    return op.Conv(x, w, b, pads=[own + more for own, more in zip(p, total, strict=True)], **attrs)
