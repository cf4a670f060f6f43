"""What rules ask of tensors whose type may not be known, as inside a local function of a file."""

from ...dims import Dim
from ...tensor import Tensor
from ...types import DType, TensorType


def dtype_of(x: Tensor) -> DType | None:
    """The dtype, if it is known."""
    kind = x.type
    return kind.dtype if isinstance(kind, TensorType) else None


def shape_of(x: Tensor) -> tuple[int | Dim | None, ...] | None:
    """The shape, if the rank is known."""
    kind = x.type
    return kind.shape if isinstance(kind, TensorType) else None


def rank_of(x: Tensor) -> int | None:
    """The rank, if it is known."""
    shape = shape_of(x)
    return None if shape is None else len(shape)
