"""NumPy's methods that rearrange a tensor's axes without touching its elements."""

import operator
from typing import Any, NoReturn, Self

import numpy as np

from ..dims import Axis, Dim
from ..errors import IndexingError
from ..schemas import opset_in_force
from ..sites import at, caller
from ..types import Shape
from .elementwise import refuse
from .handle import Handle
from .ndarray import NdArray
from .sizes import dimension, scalar_of, shape_input


def out_of_range(message: str) -> NoReturn:
    """Raise the error of an index or axis that a tensor does not have."""
    raise IndexingError(message + at(caller()))


class Shaping(NdArray):
    """Methods that give a tensor another shape."""

    __slots__ = ()

    def _size_of(self, dim: Dim) -> Self:
        size: Self = scalar_of(dimension(dim)).astype(self.dtype)
        return size

    def _known_rank(self, what: str) -> int:
        rank = self.rank
        if rank is None:
            refuse(
                f"{what} of a tensor of unknown rank",
                "declare its dimensions where it enters, as in gd.float32['n', None], or write t.reshape(...) first",
            )
        return rank

    def _axis(self, axis: Any, what: str) -> int:
        """An axis counted from the front; as it is where the rank is not known."""
        number = operator.index(axis)
        rank = self.rank
        if rank is None:
            return number
        if not -rank <= number < rank:
            axes = f"its axes run from {-rank} to {rank - 1}" if rank else "which has no axes"
            out_of_range(f"{what}: axis {number} is out of range for {self.type!r}; {axes}")
        return number % rank

    def _axes(self, axes: Any, what: str) -> list[int]:
        """One axis or several, counted from the front."""
        found = [self._axis(axis, what) for axis in (axes if isinstance(axes, (tuple, list)) else (axes,))]
        if len(set(found)) != len(found):
            out_of_range(f"{what}: an axis is given twice in {axes!r}")
        return found

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Self:
        """The elements in their order, in another shape (ONNX Reshape).

        The sizes are ints, one of which may be -1 (whatever is left), dimensions of a tensor's shape, or integer
        tensors; or they are one tensor of shape `(rank,)`.

        >>> import graphdsl as gd
        >>> x = gd.input("x", gd.float32["n", 3, 4])
        >>> x.reshape(x.shape[0], -1)
        <Tensor float32['n', 12]>

        Raises:
            UnsupportedError: a size is no size, or the order is not row by row.
            InferenceError: the elements do not fit the shape.
        """
        row_major(order, "reshape")
        if len(shape) == 1 and isinstance(shape[0], Handle) and shape[0].rank != 0:
            return self._reshape_at_run_time(shape[0])
        if len(shape) == 1 and isinstance(shape[0], (tuple, list, np.ndarray)):
            shape = tuple(shape[0])
        return self._reshape([_size(size, place) for place, size in enumerate(shape)])

    def _reshape(self, dims: list[Any]) -> Self:
        """Reshape to ints, dimensions and scalar tensors, with ONNX's 0 (the input's own size) and -1 where they do."""
        own = self.shape or ()
        target = list(dims)
        if 0 not in [dim for dim in dims if isinstance(dim, int)]:
            target = [0 if isinstance(dim, Dim) and own[i : i + 1] == (dim,) else dim for i, dim in enumerate(dims)]
            named = [i for i, dim in enumerate(target) if isinstance(dim, Dim)]
            if len(named) == 1 and _same_size(dims, own):
                target[named[0]] = -1
            if all(isinstance(dim, int) for dim in target):
                return self._emit("Reshape", self, shape=target)
        elif all(isinstance(dim, int) and (dim or own[i : i + 1] == (0,)) for i, dim in enumerate(dims)):
            return self._emit("Reshape", self, shape=dims)
        # 0 must mean an empty axis now, not "as in the input"
        return self._reshape_at_run_time(shape_input(dims))

    def _reshape_at_run_time(self, shape: Any) -> Self:
        if not isinstance(shape, list):
            if shape.dtype.kind not in ("int", "uint") or (shape.rank or 1) != 1:
                refuse(f"a shape of type {shape.type!r}", "reshape takes ints or one 1-D tensor of integers")
            shape = shape.astype(np.int64)
            if opset_in_force() < 14:
                return self._emit("Reshape", self, shape=shape)
        elif opset_in_force() < 14:
            refuse(f"reshape to {tuple(shape)}", "an axis of size 0 needs opset 14: with gd.opset(14): ...")
        return self._emit("Reshape", self, shape=shape, allowzero=1)

    def ravel(self, order: str = "C") -> Self:
        """All elements in one axis (ONNX Reshape)."""
        row_major(order, "ravel")
        return self if self.rank == 1 else self._emit("Reshape", self, shape=[-1])

    def flatten(self, order: str = "C") -> Self:
        """All elements in one axis (ONNX Reshape); op.Flatten gives a matrix."""
        row_major(order, "flatten")
        return self.ravel()

    def transpose(self, *axes: Any) -> Self:
        """The axes in another order, by default reversed (ONNX Transpose).

        >>> import graphdsl as gd
        >>> gd.input("x", gd.float32[2, "n", 4]).transpose(0, 2, 1)
        <Tensor float32[2, 4, 'n']>

        Raises:
            IndexingError: the axes given are not those of the tensor, each once.
        """
        if axes == (None,):
            axes = ()
        elif len(axes) == 1 and isinstance(axes[0], (tuple, list)):
            axes = tuple(axes[0])
            if not axes and self.rank:
                out_of_range(f"transpose takes all axes of {self.type!r}, got none")
        rank = self.rank
        if not axes:
            return self if rank is not None and rank < 2 else self._emit("Transpose", self)
        perm = self._axes(axes, "transpose")
        if rank is None and min(perm) < 0:
            self._known_rank("transpose by negative axes")
        if len(perm) != (len(perm) if rank is None else rank):
            out_of_range(f"transpose takes all {rank} axes of {self.type!r}, got {len(perm)}: {tuple(axes)!r}")
        return self._permuted(perm)

    def _permuted(self, perm: list[int]) -> Self:
        return self if perm == sorted(perm) and self.rank is not None else self._emit("Transpose", self, perm=perm)

    @property
    def T(self) -> Self:
        """The axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Self:
        """The last two axes swapped: the transposes of a stack of matrices."""
        if self._known_rank(".mT") < 2:
            out_of_range(f".mT swaps the last two axes, and {self.type!r} has not two")
        return self.swapaxes(-2, -1)

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        """Two axes swapped (ONNX Transpose)."""
        perm = list(range(self._known_rank("swapaxes")))
        first, second = self._axis(axis1, "swapaxes"), self._axis(axis2, "swapaxes")
        perm[first], perm[second] = second, first
        return self._permuted(perm)

    def squeeze(self, axis: Any = None) -> Self:
        """Without the axes of size 1, all of them or those given (ONNX Squeeze).

        Raises:
            IndexingError: an axis given has another size.
        """
        shape = self.shape
        if axis is None:
            if shape is None or not all(isinstance(dim, int) for dim in shape):
                return self._emit("Squeeze", self)
            axes = [i for i, dim in enumerate(shape) if dim == 1]
        else:
            axes = self._axes(axis, "squeeze")
            sizes = {} if shape is None else {i: shape[i] for i in axes}
            for i, size in sizes.items():
                if isinstance(size, int) and size != 1:
                    out_of_range(f"squeeze: axis {i} of {self.type!r} has size {size}, not 1")
        return self._emit("Squeeze", self, axes=axes) if axes else self


def row_major(order: str, what: str) -> None:
    """Check that elements are to be taken row by row, as ONNX does."""
    if order not in ("C", "A", "K"):
        refuse(f"{what}(order={order!r})", "elements run row by row in ONNX; transpose before and after")


def _size(size: Any, place: int) -> Any:
    """One size that a user gave for `reshape`."""
    if isinstance(size, (Dim, Handle)):
        return size
    if size is None:
        refuse(
            f"reshape: size {place} is None, which stands for an unknown dimension",
            "write -1, or name the dimension where the tensor enters so that its .shape can be used",
        )
    if isinstance(size, str):
        refuse(f"reshape: size {place} is the text {size!r}", "write x.shape[axis] of a tensor that has this dimension")
    return operator.index(size)


def _same_size(dims: list[Any], own: Shape) -> bool:
    """Whether two shapes surely have the same number of elements, so that one size may be left to -1."""
    if not own or not all(isinstance(dim, (int, Dim)) for dim in (*dims, *own)) or -1 in dims:
        return False
    counts: list[Axis] = []
    for shape in (dims, own):
        total: Any = 1
        for dim in shape:
            total = total * dim
        counts.append(total)
    return counts[0] == counts[1]
