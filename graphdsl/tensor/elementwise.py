"""Arithmetic, comparison, logic and bit operators, with NumPy's meaning."""

from operator import index
from typing import Any, NoReturn, Self

import numpy as np

from ..dims import Dim
from ..errors import SignatureError, TypeSpecError, UnsupportedError
from ..ir import constant_array
from ..sites import at, caller
from ..types import DType, TensorType, as_dtype
from . import lifting
from .calling import emit, emit_binary
from .division import both, quotient, remainder
from .handle import Handle

Operand = Any
"""A tensor, a Python number or list (which adopts the tensor's dtype), or an array (which keeps its own)."""

_PYTHON = (bool, int, float, complex, str, bytes, list, tuple)
_OPERANDS = (Handle, Dim, *_PYTHON, np.ndarray, np.generic)

_SYMBOLS = {
    "Add": "+",
    "Sub": "-",
    "Mul": "*",
    "Div": "/",
    "FloorDiv": "//",
    "Mod": "%",
    "Pow": "**",
    "MatMul": "@",
    "Less": "<",
    "LessOrEqual": "<=",
    "Greater": ">",
    "GreaterOrEqual": ">=",
    "And": "&",
    "Or": "|",
    "Xor": "^",
}
_LOGICAL = {"Add": "a | b", "Sub": "a ^ b", "Mul": "a & b"}
"""What says on bool tensors what an arithmetic operator would mean there."""


def refuse(what: str, instead: str) -> NoReturn:
    """Raise the error of something NumPy offers and tensors do not."""
    raise UnsupportedError(f"{what}; {instead}" + at(caller()))


def is_operand(item: object) -> bool:
    """Whether operators take it: a tensor, a dimension, an array, a Python number, text or a list.

    Raises:
        SignatureError: it is None, or an array of another library, with which no operator of theirs can help.
    """
    if isinstance(item, _OPERANDS):
        return True
    if item is None or hasattr(item, "__array__"):
        got = f"{item!r} ({type(item).__name__})" + ("" if item is None else "; write np.asarray(...)")
        raise SignatureError(f"an operand is a tensor, an array or a number, got {got}" + at(caller()))
    return False


def same_dtype(what: str, *tensors: "Elementwise") -> DType:
    """The one dtype of some operands of an operator that becomes several nodes.

    Raises:
        UnsupportedError: they have several, or it is not known.
    """
    first, *others = [tensor.dtype for tensor in tensors]
    for other in others:
        if other is not first:
            refuse(
                f"{what} of {first} and {other} tensors: dtypes never mix silently",
                f"cast one of them, as in x.astype(gd.{first})",
            )
    return first


class Elementwise(Handle):
    """A tensor's operators. Each one that ONNX has under this meaning is one node."""

    __slots__ = ()

    def _emit(self, name: str, *inputs: Any, **attributes: Any) -> Self:
        """One operator's first output as a tensor."""
        return type(self)(emit(name, *inputs, **attributes)[0])

    def _binary(self, name: str, left: Operand, right: Operand) -> Self:
        """An operator of two inputs, one of which is this tensor; NotImplemented when the other can be none."""
        other = right if left is self else left
        if type(other) is not type(self) and not isinstance(other, Handle):
            if isinstance(other, Dim):
                size = self._size_of(other)
                left, right = (left, size) if other is right else (size, right)
            elif not is_operand(other):
                return NotImplemented  # type: ignore[no-any-return]
        return type(self)(emit_binary(name, left, right))

    def _size_of(self, dim: Dim) -> Self:
        """A dimension as an operand; layers below know how to compute one when the model runs."""
        refuse(f"the dimension {str(dim)!r} as an operand", "write op.Shape(x) and index it")

    @property
    def _kind(self) -> str:
        """The kind of the dtype, and nothing where it is not known."""
        of = self._v.type
        return of.dtype.kind if isinstance(of, TensorType) else ""

    def _constant(self, value: Any, dtype: DType | None = None) -> Any:
        """A constant of this tensor's dtype, or of another."""
        return np.asarray(value).astype((dtype or self.dtype).numpy)

    def _tensor(self, operand: Operand, what: str) -> Any:
        """An operand as a tensor: a Python number or list adopts this tensor's dtype, an array keeps its own.

        Raises:
            SignatureError: it is none of these, or the dtype cannot hold it.
        """
        if isinstance(operand, Handle):
            return operand
        if isinstance(operand, Dim):
            return type(self)(self._size_of(operand)._v)
        site = caller()
        try:
            if isinstance(operand, (np.ndarray, np.generic)):
                return type(self)(lifting.shared(lifting.as_array(operand), site))
            if isinstance(operand, _PYTHON):
                return type(self)(lifting.adopt(operand, self.dtype))
        except (SignatureError, TypeSpecError, ValueError) as error:  # a ValueError: a ragged list
            raise SignatureError(f"{what}: {str(error).partition(chr(10))[0]}" + at(site)) from None
        got = f"{operand!r} ({type(operand).__name__})"
        raise SignatureError(f"{what}: expected a tensor, an array or a number, got {got}" + at(site))

    def _pair(self, name: str, left: Operand, right: Operand) -> tuple[Any, Any] | None:
        """Both operands of an operator that becomes several nodes as tensors of one dtype; None for no operand."""
        other = right if left is self else left
        if not is_operand(other):
            return None
        if self._kind == "bool":
            _refuse_bool(name)
        what = _SYMBOLS[name]
        pair = self._tensor(left, what), self._tensor(right, what)
        same_dtype(what, *pair)
        return pair

    def astype(self, dtype: Any) -> Self:
        """The elements converted (ONNX Cast): floats to integers truncate, as in NumPy.

        Out-of-range conversions are undefined in ONNX.
        """
        target = as_dtype(dtype)
        kind = self._v.type
        if isinstance(kind, TensorType) and kind.dtype is target:
            return self
        return self._emit("Cast", self, to=target)

    # Arithmetic

    def _arithmetic(self, name: str, left: Operand, right: Operand) -> Self:
        kind = self._v.type
        if isinstance(kind, TensorType) and kind.dtype.kind in ("bool", "string"):
            if kind.dtype.kind == "bool":
                _refuse_bool(name)
            if name == "Add":
                name = "StringConcat"
        return self._binary(name, left, right)

    def __add__(self, other: Operand) -> Self:
        return self._arithmetic("Add", self, other)

    def __radd__(self, other: Operand) -> Self:
        return self._arithmetic("Add", other, self)

    def __sub__(self, other: Operand) -> Self:
        return self._arithmetic("Sub", self, other)

    def __rsub__(self, other: Operand) -> Self:
        return self._arithmetic("Sub", other, self)

    def __mul__(self, other: Operand) -> Self:
        return self._arithmetic("Mul", self, other)

    def __rmul__(self, other: Operand) -> Self:
        return self._arithmetic("Mul", other, self)

    def __matmul__(self, other: Operand) -> Self:
        return self._arithmetic("MatMul", self, other)

    def __rmatmul__(self, other: Operand) -> Self:
        return self._arithmetic("MatMul", other, self)

    def __truediv__(self, other: Operand) -> Self:
        return self._divide(self, other)

    def __rtruediv__(self, other: Operand) -> Self:
        return self._divide(other, self)

    def _divide(self, left: Operand, right: Operand) -> Self:
        if self._kind in ("int", "uint"):
            refuse(
                f"/ of {self.dtype} tensors would give a float in NumPy and truncate in ONNX",
                "write a.astype(gd.float32) / b.astype(gd.float32), or a // b",
            )
        return self._arithmetic("Div", left, right)

    def __floordiv__(self, other: Operand) -> Self:
        return self._floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Self:
        return self._floor_divide(other, self)

    def _floor_divide(self, left: Operand, right: Operand) -> Self:
        pair = self._pair("FloorDiv", left, right)
        result: Self = NotImplemented if pair is None else quotient(*pair)
        return result

    def __mod__(self, other: Operand) -> Self:
        return self._modulo(self, other)

    def __rmod__(self, other: Operand) -> Self:
        return self._modulo(other, self)

    def _modulo(self, left: Operand, right: Operand) -> Self:
        pair = self._pair("Mod", left, right)
        result: Self = NotImplemented if pair is None else remainder(*pair)
        return result

    def __divmod__(self, other: Operand) -> tuple[Self, Self]:
        pair = self._pair("FloorDiv", self, other)
        result: tuple[Self, Self] = NotImplemented if pair is None else both(*pair)
        return result

    def __rdivmod__(self, other: Operand) -> tuple[Self, Self]:
        pair = self._pair("FloorDiv", other, self)
        result: tuple[Self, Self] = NotImplemented if pair is None else both(*pair)
        return result

    def __pow__(self, other: Operand, modulo: None = None) -> Self:
        if modulo is not None:
            refuse("pow(t, n, modulo)", "write (t ** n) % modulo")
        return self._power(self, other)

    def __rpow__(self, other: Operand) -> Self:
        return self._power(other, self)

    def _power(self, base: Operand, exponent: Operand) -> Self:
        if not self._kind:
            return self._binary("Pow", base, exponent)
        pair = self._pair("Pow", base, exponent)
        if pair is None:
            return NotImplemented  # type: ignore[no-any-return]
        known = constant_array(pair[1]._v) if self._kind == "int" else None
        if known is not None and (known < 0).any():
            refuse(f"{self.dtype} tensors to a negative power", "cast first, as in t.astype(gd.float32) ** -1")
        return self._binary("Pow", *pair)

    def __neg__(self) -> Self:
        if self._kind == "bool":
            refuse("-t of a bool tensor", "write ~t, or cast it, as in t.astype(gd.int64)")
        if self._kind == "uint":  # wraps around, as in NumPy; ONNX's Neg takes signed types only
            return self._emit("Sub", 0, self)
        return self._emit("Neg", self)

    def __pos__(self) -> Self:
        if self._kind == "bool":
            refuse("+t of a bool tensor", "write t, or cast it, as in t.astype(gd.int64)")
        return self

    def __abs__(self) -> Self:
        return self if self._kind == "bool" else self._emit("Abs", self)

    def __round__(self, digits: int | None = None) -> Self:
        return self.round(digits or 0)

    def round(self, decimals: int = 0) -> Self:
        """Rounded to `decimals` places, halves to even (ONNX Round); integers stay as they are.

        Raises:
            UnsupportedError: bools, or integers to tens.
        """
        decimals = index(decimals)
        if self._kind == "bool":
            refuse("round() of bool tensors", "cast first, as in t.astype(gd.float32)")
        if self._kind in ("int", "uint"):
            if decimals < 0:
                refuse("round() of integers to tens", "write (t.astype(gd.float64) / 10).round() * 10")
            return self
        if decimals == 0:
            return self._emit("Round", self)
        with np.errstate(over="ignore"):
            scale = self._constant(10.0 ** abs(decimals))
        result: Self = (self * scale).round() / scale if decimals > 0 else (self / scale).round() * scale
        return result

    # Comparison: elementwise, as in NumPy; for identity there is t.is_same(u)

    def _equal(self, other: object) -> Self:
        result = NotImplemented if other is None else self._binary("Equal", self, other)
        if result is NotImplemented:  # else Python would answer by identity: a silent False
            refuse(
                f"a tensor compared with {other!r} ({type(other).__name__})",
                "== compares elements: write t.is_same(u), or `is None`, for identity",
            )
        return result

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._equal(other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._emit("Not", self._equal(other))

    __hash__ = Handle.__hash__  # which raises; a class with an __eq__ of its own would have none

    def _compare(self, name: str, other: Operand) -> Self:
        kind = self._kind
        if kind == "string":
            refuse(f"{_SYMBOLS[name]} of string tensors", "ONNX orders no text; it has t == u, and op.RegexFullMatch")
        if kind != "bool" or not isinstance(other, _OPERANDS):
            return self._binary(name, self, other)
        # False < True, in logic, because ONNX compares numbers only
        if name.startswith("Less"):
            return self._emit("And" if name == "Less" else "Or", ~self, other)
        other = self._emit("Not", self._tensor(other, _SYMBOLS[name]))
        return self._emit("And" if name == "Greater" else "Or", self, other)

    def __lt__(self, other: Operand) -> Self:
        return self._compare("Less", other)

    def __le__(self, other: Operand) -> Self:
        return self._compare("LessOrEqual", other)

    def __gt__(self, other: Operand) -> Self:
        return self._compare("Greater", other)

    def __ge__(self, other: Operand) -> Self:
        return self._compare("GreaterOrEqual", other)

    # Logic on bool tensors, bits on integers

    def _logic(self, logical: str, left: Operand, right: Operand) -> Self:
        kind = self._kind
        if not kind:
            refuse(
                f"{_SYMBOLS[logical]} of a tensor whose dtype is not known",
                f"write op.{logical} for bools or op.Bitwise{logical} for integers",
            )
        return self._binary(logical if kind == "bool" else f"Bitwise{logical}", left, right)

    def __and__(self, other: Operand) -> Self:
        return self._logic("And", self, other)

    def __rand__(self, other: Operand) -> Self:
        return self._logic("And", other, self)

    def __or__(self, other: Operand) -> Self:
        return self._logic("Or", self, other)

    def __ror__(self, other: Operand) -> Self:
        return self._logic("Or", other, self)

    def __xor__(self, other: Operand) -> Self:
        return self._logic("Xor", self, other)

    def __rxor__(self, other: Operand) -> Self:
        return self._logic("Xor", other, self)

    def __invert__(self) -> Self:
        if not self._kind:
            refuse("~ of a tensor whose dtype is not known", "write op.Not for bools or op.BitwiseNot for integers")
        return self._emit("Not" if self._kind == "bool" else "BitwiseNot", self)

    def _shift(self, direction: str, left: Operand, right: Operand) -> Self:
        if not is_operand(right if left is self else left):
            return NotImplemented  # type: ignore[no-any-return]
        if self._kind == "bool":
            refuse("shifts of bool tensors", "cast first, as in t.astype(gd.uint8)")
        if self._kind == "int":
            power = "t * 2**n" if direction == "LEFT" else "t // 2**n"
            unsigned = f"t.astype(gd.uint{max(self.dtype.bits, 8)})"
            refuse(
                f"shifts of {self.dtype} tensors", f"ONNX shifts unsigned integers: write {unsigned} first, or {power}"
            )
        return self._emit("BitShift", left, right, direction=direction)

    def __lshift__(self, other: Operand) -> Self:
        return self._shift("LEFT", self, other)

    def __rlshift__(self, other: Operand) -> Self:
        return self._shift("LEFT", other, self)

    def __rshift__(self, other: Operand) -> Self:
        return self._shift("RIGHT", self, other)

    def __rrshift__(self, other: Operand) -> Self:
        return self._shift("RIGHT", other, self)


def _refuse_bool(name: str) -> NoReturn:
    """Raise the error of arithmetic on bool tensors."""
    logical = f"write {_LOGICAL[name]}, or " if name in _LOGICAL else ""
    refuse(f"{_SYMBOLS[name]} of bool tensors", f"{logical}cast first, as in t.astype(gd.int64)")
