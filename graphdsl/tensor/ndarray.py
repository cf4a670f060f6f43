"""The rest of what NumPy's arrays have: what needs no node, what is one, and what tensors refuse with advice."""

from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from ..dims import Axis, Dim
from ..errors import UnsupportedAttribute, nearest
from ..schemas import operators
from ..sites import at, caller
from .elementwise import Elementwise, Operand, refuse
from .handle import Handle


class Refused:
    """An attribute of NumPy's arrays that tensors do not have; reading it raises, with what to write instead."""

    def __init__(self, instead: str) -> None:
        self.instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> "Refused":
        if instance is None:
            return self
        raise UnsupportedAttribute(f"a tensor has no {self.name!r}; {self.instead}" + at(caller()))


_UNCHANGED = "a tensor never changes: "
_NO_MEMORY = "a tensor has no memory before the model runs: "
_SAVE = "build a model of it and write model.save(path)"
_ORDERED = "write t.sort() or t.argsort(), or op.TopK for the first few"


_ELSEWHERE = {
    "permute": "write t.transpose(...)",
    "expand_dims": "write t[:, None] or np.expand_dims(t, axis)",
    "numpy": "build a model and call it, or read t.value of a constant",
}
"""What arrays of other libraries have, and NumPy writes otherwise."""


class NdArray(Elementwise):
    """Attributes and small methods of NumPy's arrays."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers know which attributes there are

        def __getattr__(self, name: str) -> NoReturn:
            refused = getattr(type(self), name, None)
            if isinstance(refused, Refused):  # what it raised has led here
                refused.__get__(self)
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            called = {known.lower(): known for known in operators("")}.get(name.replace("_", "").lower())
            instead = _ELSEWHERE.get(name) or (f"write op.{called}(t)" if called else "")
            hint = f"; {instead}" if instead else nearest(name, [known for known in dir(type(self)) if known[0] != "_"])
            raise UnsupportedAttribute(f"a tensor has no {name!r}{hint}" + at(caller()))

    @property
    def ndim(self) -> int:
        """The number of dimensions.

        Raises:
            UnsupportedError: it is not known; `rank` is None then.
        """
        rank = self.rank
        if rank is None:
            refuse(".ndim of a tensor of unknown rank", "use t.rank, which is None here, or op.Size(op.Shape(t))")
        return rank

    @property
    def size(self) -> "int | Dim":
        """The number of elements: an int, or a `Dim` where it depends on named dimensions.

        Raises:
            UnsupportedError: a dimension is not known.
        """
        total: Axis = 1
        for dim in self.shape or (None,) * (self.shape is None):
            if dim is None or total is None:
                refuse(f".size of {self.type!r}, a dimension of which is not known", "write op.Size(t)")
            total = total * dim
        assert total is not None
        return total

    @property
    def real(self) -> Self:
        """This tensor: its elements are real."""
        return self._only_real(".real")

    def conj(self) -> Self:
        """This tensor: its elements are real."""
        return self._only_real("conj()")

    conjugate = conj

    def _only_real(self, what: str) -> Self:
        if self.dtype.kind == "complex":
            refuse(f"{what} of {self.dtype} tensors", "ONNX has no operator for it; keep the two parts in real tensors")
        return self

    def copy(self) -> Self:
        """This tensor: one that never changes need not be copied."""
        return self

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        refuse("pickling a tensor", _SAVE)

    def clip(self, min: Operand = None, max: Operand = None, *, out: None = None) -> Self:
        """The elements limited to `min` and `max`, either of which may be left out (ONNX Clip, or Max and Min).

        NaN stays NaN, and where `min` exceeds `max` the result is `max`, as in NumPy.

        >>> import graphdsl as gd
        >>> gd.input("x", gd.float32["n"]).clip(0, 1)
        <Tensor float32['n']>
        """
        if out is not None:
            refuse("clip(out=...)", _UNCHANGED + "use the result")
        low, high = self._bound(min, "min"), self._bound(max, "max")
        # a bound that Clip is not given is the largest finite number, so an infinity would not pass
        if low is not None and high is not None and _is_scalar(low) and _is_scalar(high):
            return self._emit("Clip", self, min=low, max=high)
        result = self if low is None else self._emit("Max", self, low)
        return result if high is None else result._emit("Min", result, high)

    def _bound(self, bound: Operand, side: str) -> Operand:
        """A bound of `clip`; None for an int beyond the dtype's range, on the side where it changes nothing."""
        if type(bound) is int and self.dtype.kind in ("int", "uint") and self.dtype.bits >= 8:
            range_ = np.iinfo(self.dtype.numpy)
            if (side == "min" and bound < range_.min) or (side == "max" and bound > range_.max):
                return None
        return bound

    def dot(self, other: Operand, *, out: None = None) -> Any:
        """The product of matrices or vectors, or by a scalar (ONNX MatMul, Mul).

        Raises:
            UnsupportedError: `other` has more than two dimensions, where NumPy's `dot` and `matmul` differ.
        """
        if out is not None:
            refuse("dot(out=...)", _UNCHANGED + "use the result")
        left, right = self.rank, other.rank if isinstance(other, Handle) else np.ndim(other)
        if left == 0 or right == 0:
            return self * other
        if left is None or right is None or right > 2:
            refuse(
                "dot() of tensors of unknown rank, or by one of more than two dimensions",
                "write a @ b for matrices in the last two axes, or op.Einsum(a, b, equation=...)",
            )
        return self @ other

    argpartition = Refused(_ORDERED)
    base = Refused(_NO_MEMORY + "nothing is a view of another tensor")
    byteswap = Refused(_NO_MEMORY + "the bytes of constants are little-endian in every model")
    choose = Refused("write op.Where(t == 0, a, op.Where(t == 1, b, c))")
    ctypes = Refused(_NO_MEMORY + "run the model and use the arrays it returns")
    data = Refused(_NO_MEMORY + "run the model, or read t.value of a constant")
    device = Refused(_NO_MEMORY + "choose where it runs with model.run(..., providers=[...])")
    dump = Refused(_SAVE)
    dumps = Refused(_SAVE)
    fill = Refused(_UNCHANGED + "write op.Expand(value, op.Shape(t))")
    flags = Refused(_NO_MEMORY + "it never changes, and its layout is the runtime's affair")
    flat = Refused("write t.ravel()")
    getfield = Refused(_NO_MEMORY + "t.astype(dtype) converts the elements")
    imag = Refused("the elements are real; write op.ConstantOfShape(op.Shape(t)) where zeros are meant")
    itemsize = Refused(_NO_MEMORY + "t.dtype.bits is the size of an element in bits")
    nbytes = Refused(_NO_MEMORY + "t.size and t.dtype.bits are what is known")
    partition = Refused(_ORDERED)
    put = Refused(_UNCHANGED + "write op.ScatterElements(t, indices, values, axis=0)")
    resize = Refused(_UNCHANGED + "write t.reshape(...), op.Pad, op.Tile, or op.Resize for images")
    searchsorted = Refused("write (t < values[..., None]).astype(gd.int64).sum(-1), or <= for side='right'")
    setfield = Refused(_UNCHANGED + "write op.Where(mask, values, t)")
    setflags = Refused(_UNCHANGED + "there is nothing to protect")
    strides = Refused(_NO_MEMORY + "t.shape says all there is to know of the layout")
    to_device = Refused(_NO_MEMORY + "choose where it runs with model.run(..., providers=[...])")
    tobytes = Refused(_NO_MEMORY + "run the model, or read t.value of a constant")
    tofile = Refused(_SAVE)
    view = Refused("t.astype(dtype) converts the elements; op.BitCast (opset 26) reinterprets their bits")
    __array_interface__ = Refused(_NO_MEMORY + "run the model, or read t.value of a constant")
    __array_struct__ = Refused(_NO_MEMORY + "run the model, or read t.value of a constant")
    __dlpack__ = Refused(_NO_MEMORY + "run the model, or read t.value of a constant")
    __dlpack_device__ = Refused(_NO_MEMORY + "choose where it runs with model.run(..., providers=[...])")


def _is_scalar(bound: Operand) -> bool:
    return bound.rank == 0 if isinstance(bound, Handle) else np.ndim(bound) == 0
