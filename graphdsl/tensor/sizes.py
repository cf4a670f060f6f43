"""Sizes that are known only when the model runs, as tensors: what methods and indexing take for a size or a shape."""

import operator
from collections.abc import Sequence
from typing import Any

from ..dims import Dim
from ..ir import Value
from ..sites import caller
from ..types import TensorType, int64
from . import measuring
from .calling import current_trace
from .elementwise import Elementwise, refuse
from .handle import Handle


def axis_size(value: Value, axis: int) -> Elementwise:
    """The size of one axis when the model runs, of shape `(1,)`; one node per axis and trace (ONNX Shape)."""
    return Elementwise(measuring.size_of(current_trace(), value, axis, caller()))


def dimension(dim: Dim) -> Elementwise:
    """A dimension when the model runs, of shape `(1,)`: computed as `Tensor.shape` recorded that it can be.

    Raises:
        UnsupportedError: the dimension does not come from a tensor's shape.
    """
    return Elementwise(measuring.computed(current_trace(), dim, caller()))


def scalar_of(part: Elementwise) -> Any:
    """A tensor of shape `(1,)` without its axis."""
    return type(part)(measuring.scalar(current_trace(), part._v, caller()))


def shape_input(dims: Sequence[Any]) -> Any:
    """What an operator takes as a shape: a list where all dims are ints, else an int64 tensor made when the model runs.

    Each dim is an int, a `Dim` of a tensor's shape, or an integer tensor of one element.

    Raises:
        UnsupportedError: a dim is nothing of the kind.
    """
    sizes = [dim if isinstance(dim, (Dim, Handle)) else operator.index(dim) for dim in dims]
    if not any(isinstance(size, (Dim, Handle)) for size in sizes):
        return sizes
    for size in sizes:
        kind = size.type if isinstance(size, Handle) else None
        if isinstance(size, Handle) and not _is_size(kind):
            refuse(
                f"a tensor that gives a size is an integer scalar, not {kind!r}",
                "write t.astype(gd.int64), t.reshape(()) or, for a whole shape, t.reshape(sizes) with a 1-D tensor "
                "of them",
            )
    return Elementwise(measuring.lift(current_trace(), sizes, int64, caller()))


def _is_size(kind: Any) -> bool:
    return isinstance(kind, TensorType) and kind.dtype.kind in ("int", "uint") and kind.shape in ((), (1,))
