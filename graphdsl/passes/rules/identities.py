"""Rules for nodes that give their input back, bit for bit."""

from typing import Any

import numpy as np

from ... import op
from ...rewriting import any_of, rule
from ...schemas import opset_in_force
from ...tensor import Tensor
from .known import dtype_of, rank_of, shape_of

_END = 2**31 - 1
"""What exporters write for the end of an axis is this, or more."""


@rule(lambda x: op.Identity(x))
def drop_identity(x: Tensor) -> Tensor:
    """Identity(x) is x."""
    return x


def _dropout(x: Any, ratio: Any = None, training: Any = None, **attrs: Any) -> Any:
    return op.Dropout(x, ratio, training, **attrs) if opset_in_force() >= 12 else op.Dropout(x, **attrs)


@rule(_dropout)
def drop_dropout(x: Tensor, training: Tensor | None, **attrs: Any) -> Tensor | None:
    """Dropout(x) is x, unless it trains or its mask is used."""
    if opset_in_force() < 7 and not attrs.get("is_test"):
        return None
    if training is not None and (training.value is None or training.value.any()):
        return None
    return x


def _same_shape(x: Tensor, y: Tensor) -> bool:
    """Whether a tensor certainly has the shape of another with as many elements: known sizes, but for one at most."""
    shape = shape_of(x)
    known = [size for size in shape or () if isinstance(size, int)]
    return x.type is y.type and shape is not None and len(shape) - len(known) <= (0 not in known)


def _whole(x: Tensor, y: Tensor) -> bool:
    """Whether both have the same shape, all of whose sizes are known."""
    shape = shape_of(x)
    return x.type is y.type and shape is not None and all(isinstance(size, int) for size in shape)


@rule(lambda x, t: op.Cast(x, to=t))
def cast_to_own_dtype(x: Tensor, t: int) -> Tensor | None:
    """Cast(x) to the dtype that x has is x."""
    dtype = dtype_of(x)
    return x if dtype is not None and dtype.code == t else None


@rule(lambda x, like, **attrs: op.CastLike(x, like, **attrs))
def cast_like_known(x: Tensor, like: Tensor, **attrs: Any) -> Tensor | None:
    """CastLike(x, y) is Cast(x) to the dtype of y, where that is known."""
    dtype = dtype_of(like)
    if dtype is None:
        return None
    return x if dtype is dtype_of(x) else op.Cast(x, to=dtype, **attrs)


@rule(lambda x, p: op.Transpose(x, perm=p))
def transpose_of_nothing(x: Tensor, p: tuple[int, ...]) -> Tensor | None:
    """Transpose(x) that leaves the axes where they are is x."""
    return x if tuple(p) == tuple(range(len(p))) else None


@rule(lambda x, s, **attrs: op.Reshape(x, s, **attrs))
def reshape_to_own_shape(x: Tensor, s: Tensor, **attrs: Any) -> Tensor | None:
    """Reshape(x) to the shape that x has is x."""
    return x if _same_shape(x, op.Reshape(x, s, **attrs)) else None


@rule(lambda x, a: op.Flatten(x, axis=a))
def flatten_to_own_shape(x: Tensor, a: int) -> Tensor | None:
    """Flatten(x) of a matrix that it leaves as it is is x."""
    return x if _same_shape(x, op.Flatten(x, axis=a)) else None


@rule(lambda x, s: op.Expand(x, s))
def expand_to_own_shape(x: Tensor, s: Tensor) -> Tensor | None:
    """Expand(x) to the shape that x has, or to ones, is x."""
    rank = rank_of(x)
    ones = s.value is not None and rank is not None and s.value.size <= rank and bool((s.value == 1).all())
    return x if ones or _whole(x, op.Expand(x, s)) else None


@rule(lambda x, r: op.Tile(x, r))
def tile_once(x: Tensor, r: Tensor) -> Tensor | None:
    """Tile(x) with ones is x."""
    return x if r.value is not None and bool((r.value == 1).all()) else None


@rule(lambda x, start, end, axes=None, step=None: op.Slice(x, start, end, axes, step))
def slice_of_all(x: Tensor, start: Tensor, end: Tensor, axes: Tensor | None, step: Tensor | None) -> Tensor | None:
    """Slice(x) from the start to the end of every axis is x."""
    if step is not None and (step.value is None or not (step.value == 1).all()):
        return None
    if start.value is not None and end.value is not None and not start.value.any() and (end.value >= _END).all():
        return x
    return x if _whole(x, op.Slice(x, start, end, axes, step)) else None


@rule(lambda *xs, a: op.Concat(*xs, axis=a))
def concat_of_one(*xs: Tensor) -> Tensor | None:
    """Concat(x) is x."""
    return xs[0] if len(xs) == 1 else None


@rule(lambda *xs: any_of(op.Sum(*xs), op.Max(*xs), op.Min(*xs), op.Mean(*xs)))
def one_of_one(*xs: Tensor) -> Tensor | None:
    """The sum, the largest, the least or the mean of x alone is x."""
    return xs[0] if len(xs) == 1 else None


def pad_at_opset(x: Any, pads: Any, fill: Any = None, axes: Any = None, *, mode: Any) -> Any:
    """The pattern of a Pad node, which has axes from opset 18 on."""
    return op.Pad(x, pads, fill, axes, mode=mode) if opset_in_force() >= 18 else op.Pad(x, pads, fill, mode=mode)


@rule(pad_at_opset)
def pad_by_nothing(x: Tensor, pads: Tensor) -> Tensor | None:
    """Pad(x) by zero elements everywhere is x."""
    return x if pads.value is not None and not pads.value.any() else None


@rule(lambda x: any_of(x * 1, x / 1))
def times_one(x: Tensor) -> Tensor:
    """x * 1 and x / 1 are x."""
    return x


@rule(lambda x: any_of(x - 0, x + np.negative(0.0)))
def plus_nothing(x: Tensor) -> Tensor:
    """x - 0 is x, and so is x + -0.0; x + 0.0 is not where x is -0.0."""
    return x
