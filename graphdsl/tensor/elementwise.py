"""Arithmetic, comparison, logic and bit operators, with NumPy's meaning."""

from typing import Any, NoReturn

import numpy as np

from ..dims import Dim
from ..errors import UnsupportedError
from ..sites import at, caller
from ..types import DType, TensorType, as_dtype
from .calling import emit
from .handle import Handle

Operand = Any
"""A tensor, a Python number or list (which adopts the tensor's dtype), or an array (which keeps its own)."""

_OPERANDS = (Handle, bool, int, float, complex, str, bytes, list, tuple, np.ndarray, np.generic, Dim)


def refuse(what: str, instead: str) -> NoReturn:
    """Raise the error of something NumPy offers and tensors do not."""
    raise UnsupportedError(f"{what}; {instead}" + at(caller()))


class Elementwise(Handle):
    """A tensor's operators. Each one that ONNX has under this meaning is one node."""

    __slots__ = ()

    def _emit(self, name: str, *inputs: Any, **attributes: Any) -> Any:
        """One operator's first output as a tensor."""
        return type(self)(emit(name, *inputs, **attributes)[0])

    def _binary(self, name: str, left: Operand, right: Operand) -> Any:
        other = right if left is self else left
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        return type(self)(emit(name, left, right)[0])

    def _constant(self, value: Any, dtype: DType | None = None) -> Any:
        """A constant of this tensor's dtype, or of another."""
        return np.asarray(value).astype((dtype or self.dtype).numpy)

    def astype(self, dtype: Any) -> Any:
        """The elements converted (ONNX Cast): floats to integers truncate, as in NumPy.

        Out-of-range conversions are undefined in ONNX.
        """
        target = as_dtype(dtype)
        kind = self._v.type
        if isinstance(kind, TensorType) and kind.dtype is target:
            return self
        return self._emit("Cast", self, to=target)

    # Arithmetic

    def __add__(self, other: Operand) -> Any:
        return self._binary("Add", self, other)

    def __radd__(self, other: Operand) -> Any:
        return self._binary("Add", other, self)

    def __sub__(self, other: Operand) -> Any:
        return self._binary("Sub", self, other)

    def __rsub__(self, other: Operand) -> Any:
        return self._binary("Sub", other, self)

    def __mul__(self, other: Operand) -> Any:
        return self._binary("Mul", self, other)

    def __rmul__(self, other: Operand) -> Any:
        return self._binary("Mul", other, self)

    def __truediv__(self, other: Operand) -> Any:
        return self._divide(self, other)

    def __rtruediv__(self, other: Operand) -> Any:
        return self._divide(other, self)

    def _divide(self, left: Operand, right: Operand) -> Any:
        if self.dtype.kind in ("int", "uint"):
            refuse(
                f"/ of {self.dtype} tensors would give a float in NumPy and truncate in ONNX",
                "write a.astype(gd.float32) / b.astype(gd.float32), or a // b",
            )
        return self._binary("Div", left, right)

    def __floordiv__(self, other: Operand) -> Any:
        return self._floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Any:
        return self._floor_divide(other, self)

    def _floor_divide(self, left: Operand, right: Operand) -> Any:
        quotient = self._binary("Div", left, right)
        if quotient is NotImplemented or self.dtype.kind == "uint":
            return quotient
        if self.dtype.kind == "float":
            return _float_divmod(self, left, right)[0]
        # ONNX truncates; round down where the signs differ and something is left over
        rest = self._emit("Mod", left, right)
        differ = self._emit("Less", left, 0) ^ self._emit("Less", right, 0)
        return quotient - (differ & (rest != 0)).astype(self.dtype)

    def __mod__(self, other: Operand) -> Any:
        return self._modulo(self, other)

    def __rmod__(self, other: Operand) -> Any:
        return self._modulo(other, self)

    def _modulo(self, left: Operand, right: Operand) -> Any:
        if not isinstance(right if left is self else left, _OPERANDS):
            return NotImplemented
        if self.dtype.kind == "float":
            return _float_divmod(self, left, right)[1]
        return self._emit("Mod", left, right)

    def __divmod__(self, other: Operand) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Operand) -> Any:
        return other // self, other % self

    def __pow__(self, other: Operand, modulo: None = None) -> Any:
        if modulo is not None:
            refuse("pow(t, n, modulo)", "write (t ** n) % modulo")
        if isinstance(other, float) and self.dtype.kind == "float":
            other = self._constant(other)
        return self._binary("Pow", self, other)

    def __rpow__(self, other: Operand) -> Any:
        return self._binary("Pow", other, self)

    def __matmul__(self, other: Operand) -> Any:
        return self._binary("MatMul", self, other)

    def __rmatmul__(self, other: Operand) -> Any:
        return self._binary("MatMul", other, self)

    def __neg__(self) -> Any:
        if self.dtype.kind == "uint":  # wraps around, as in NumPy; ONNX's Neg takes signed types only
            return self._emit("Sub", 0, self)
        return self._emit("Neg", self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self._emit("Abs", self)

    def __round__(self, digits: int | None = None) -> Any:
        return self.round(digits or 0)

    def round(self, decimals: int = 0) -> Any:
        """Rounded to `decimals` places, halves to even (ONNX Round); integers stay as they are."""
        if self.dtype.kind in ("int", "uint"):
            if decimals < 0:
                refuse("round() of integers to tens", "write (t.astype(gd.float64) / 10).round() * 10")
            return self
        if decimals == 0:
            return self._emit("Round", self)
        scale = self._constant(10.0 ** abs(decimals))
        return (self * scale).round() / scale if decimals > 0 else (self / scale).round() * scale

    # Comparison: elementwise, as in NumPy; for identity there is t.is_same(u)

    def __eq__(self, other: object) -> Any:
        return self._binary("Equal", self, other)

    def __ne__(self, other: object) -> Any:
        equal = self._binary("Equal", self, other)
        return equal if equal is NotImplemented else self._emit("Not", equal)

    def __lt__(self, other: Operand) -> Any:
        return self._binary("Less", self, other)

    def __le__(self, other: Operand) -> Any:
        return self._binary("LessOrEqual", self, other)

    def __gt__(self, other: Operand) -> Any:
        return self._binary("Greater", self, other)

    def __ge__(self, other: Operand) -> Any:
        return self._binary("GreaterOrEqual", self, other)

    __hash__ = None  # type: ignore[assignment]

    # Logic on bool tensors, bits on integers

    def _logic(self, logical: str, left: Operand, right: Operand) -> Any:
        return self._binary(logical if self.dtype.kind == "bool" else f"Bitwise{logical}", left, right)

    def __and__(self, other: Operand) -> Any:
        return self._logic("And", self, other)

    def __rand__(self, other: Operand) -> Any:
        return self._logic("And", other, self)

    def __or__(self, other: Operand) -> Any:
        return self._logic("Or", self, other)

    def __ror__(self, other: Operand) -> Any:
        return self._logic("Or", other, self)

    def __xor__(self, other: Operand) -> Any:
        return self._logic("Xor", self, other)

    def __rxor__(self, other: Operand) -> Any:
        return self._logic("Xor", other, self)

    def __invert__(self) -> Any:
        return self._emit("Not" if self.dtype.kind == "bool" else "BitwiseNot", self)

    def _shift(self, direction: str, left: Operand, right: Operand) -> Any:
        if self.dtype.kind != "uint":
            refuse(f"shifts of {self.dtype} tensors", "ONNX shifts unsigned integers: write t.astype(gd.uint32) first")
        return self._emit("BitShift", left, right, direction=direction)

    def __lshift__(self, other: Operand) -> Any:
        return self._shift("LEFT", self, other)

    def __rlshift__(self, other: Operand) -> Any:
        return self._shift("LEFT", other, self)

    def __rshift__(self, other: Operand) -> Any:
        return self._shift("RIGHT", self, other)

    def __rrshift__(self, other: Operand) -> Any:
        return self._shift("RIGHT", other, self)


def _float_divmod(like: Elementwise, left: Operand, right: Operand) -> tuple[Any, Any]:
    """NumPy's floor division and remainder of floats, exact where the quotient is not representable."""
    emit_ = like._emit
    rest = emit_("Mod", left, right, fmod=1)
    zero = like._constant(0)
    wrong_side = (rest != zero) & ((rest < zero) ^ emit_("Less", right, zero))
    remainder = emit_("Where", wrong_side, emit_("Add", rest, right), rest)
    quotient = emit_("Round", emit_("Div", emit_("Sub", left, remainder), right))
    by_zero = emit_("Equal", right, zero)
    return emit_("Where", by_zero, emit_("Div", left, right), quotient), remainder
