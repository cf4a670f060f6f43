"""Dimension expressions as users meet them: `n`, `n + m`, `2*n`, `(h + 1)//2`, written and read as text.

A dimension of a shape is a non-negative int, a `Dim` (an expression over named dimensions) or None (unknown). The
arithmetic is that of `algebra`: expressions of one canonical form are equal, hash alike and print alike.
"""

import ast
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from numbers import Integral
from typing import Any, TypeAlias, Union

from . import algebra
from .algebra import MAX_TEXT, Call, Terms
from .errors import FrozenValueError, TypeSpecError
from .sites import at, caller

Size: TypeAlias = Union[int, "Dim"]
Axis: TypeAlias = Union[int, "Dim", None]


class Dim:
    """An expression over named dimensions, such as `n` or `2*n + 1`.

    Supports `+ - * // %` with integers and other dimensions, and compares equal to any text that means the same, so
    `x.shape == (2, "n")` reads as it looks. Dimensions that come from `Tensor.shape` remember the tensor, so they can
    be used as run-time sizes.

    >>> n, m = Dim("n"), Dim("m")
    >>> n + m + n, (4 * n) // 2, n == "n"
    (Dim('m + 2*n'), Dim('2*n'), True)
    """

    __slots__ = ("_hash", "_terms", "origin", "text")

    _terms: Terms
    _hash: int
    text: str
    """The expression as ONNX's `dim_param` holds it; `parse` reads it back."""
    origin: Any
    """How to compute it when the model runs, as `Tensor.shape` recorded it; not part of equality."""

    def __new__(cls, text: str) -> "Dim":
        dim = parse(text)
        if not isinstance(dim, Dim):
            raise TypeSpecError(f"{text!r} is a number, not a named dimension")
        return dim

    @property
    def symbols(self) -> frozenset[str]:
        """The names that occur in the expression."""
        found: set[str] = set()
        stack: list[Terms] = [self._terms]
        while stack:
            for monomial in stack.pop():
                for atom in monomial:
                    if isinstance(atom, str):
                        found.add(atom)
                    else:
                        stack += atom.sides
        return frozenset(found)

    @property
    def is_symbol(self) -> bool:
        """Whether this is one bare name."""
        return isinstance(algebra.only_atom(self._terms), str)

    def substitute(self, sizes: Mapping[str, Size]) -> Size:
        """The expression with names replaced by numbers or other expressions.

        Raises:
            ZeroDivisionError: a divisor becomes 0.
            TypeSpecError: the result is too long an expression.
        """
        return _substituted(self._terms, sizes)

    def __add__(self, other: Any) -> Any:
        return _arithmetic("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _arithmetic("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _arithmetic("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _arithmetic("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _arithmetic("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _arithmetic("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _arithmetic("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _arithmetic("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return _arithmetic("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return _arithmetic("%", other, self)

    def __neg__(self) -> Any:
        return _arithmetic("*", -1, self)

    def __truediv__(self, other: Any) -> Any:
        if not isinstance(other, (int, float, Dim)):  # a tensor knows how to divide a size
            return NotImplemented
        raise FrozenValueError(f"the dimension {self.text!r} is divided by //, not by /" + at(caller()))

    def _compare(self, other: Any) -> Any:
        if not isinstance(other, (int, float, Dim)):
            return NotImplemented
        raise FrozenValueError(
            f"the dimension {self.text!r} has a size only when the model runs, so that no order is known; "
            "compare tensors, as in op.Size(x) > 3, and choose by op.If or op.Where" + at(caller())
        )

    def _frozen(self, *_: Any) -> Any:
        raise FrozenValueError(
            f"the dimension {self.text!r} has a size only when the model runs, so that it is no Python number; "
            "use it as a size, as an operand of a tensor, or as a tensor of its own: op.Shape(x)[axis]" + at(caller())
        )

    __int__ = __float__ = __index__ = _frozen

    def __pow__(self, other: Any) -> Any:
        return self._frozen() if isinstance(other, (int, float, Dim)) else NotImplemented

    __rpow__ = __pow__
    __lt__ = __le__ = __gt__ = __ge__ = _compare
    __array_ufunc__ = None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self.text == other.text
        if isinstance(other, str):
            return self == parse(other)
        return NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Dim({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Dim, (self.text,)


def from_origin(dim: Dim, origin: Any) -> Dim:
    """The same expression, remembering how to compute it at run time."""
    copy = object.__new__(Dim)
    copy._terms, copy._hash, copy.text, copy.origin = dim._terms, dim._hash, dim.text, origin
    return copy


def as_axis(value: object) -> Axis:
    """Read one dimension of a shape: an int, a name or expression, or None for unknown.

    Raises:
        TypeSpecError: anything else, or a negative size.
    """
    if value is None:
        return None
    if isinstance(value, Dim):  # a type says nothing of the tensor that the dimension came from
        return value if value.origin is None else from_origin(value, None)
    if isinstance(value, str):
        if not value.strip():
            raise TypeSpecError("a dimension's name is empty; write None for an unknown dimension")
        return parse(value)
    try:
        size = None if isinstance(value, bool) else value.__index__()  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        size = None
    if size is None:
        raise TypeSpecError(f"a dimension is an int, a name or None, not {value!r} ({type(value).__name__})")
    if size < 0:
        raise TypeSpecError(f"a dimension is not negative, got {size}; write None for an unknown dimension")
    return int(size)


# Arithmetic


def ceil_div(left: Size, right: Size) -> Size:
    """The quotient of two sizes rounded up."""
    if isinstance(right, int) and right > 0:
        return _compute("//", left + right - 1, right)
    return 0 - _compute("//", 0 - left, right)


def maximum(*sides: Size) -> Size:
    """The largest of several sizes, as an expression where it is not known."""
    return _compute("max", *sides)


def minimum(*sides: Size) -> Size:
    """The smallest of several sizes, as an expression where it is not known."""
    return _compute("min", *sides)


def is_never_negative(size: Size) -> bool:
    """Whether a size is surely 0 or more, as every name is; False where that cannot be told cheaply."""
    return algebra.never_negative(_terms(size))


_FUNCTIONS: dict[str, Callable[..., Terms]] = {
    "+": algebra.add,
    "-": lambda left, right: algebra.add(left, right, -1),
    "*": algebra.multiply,
    "//": algebra.divide,
    "%": lambda left, right: algebra.add(left, algebra.multiply(right, algebra.divide(left, right)), -1),
    "max": algebra.maximum,
    "min": algebra.minimum,
}


def _compute(function: str, *sides: Size) -> Size:
    return _made(_FUNCTIONS[function](*map(_terms, sides)))


def _arithmetic(function: str, left: Any, right: Any) -> Any:
    sides: list[Size] = []
    for side in (left, right):
        if isinstance(side, float):
            dim = left if isinstance(left, Dim) else right
            raise FrozenValueError(
                f"the dimension {dim.text!r} is computed with in integers, as in {dim.text} * 3 // 2, got {side!r}; "
                "for fractions take a tensor: op.Shape(x)[axis].astype(gd.float32)" + at(caller())
            )
        if isinstance(side, Integral) and not isinstance(side, bool):
            sides.append(int(side))
        elif isinstance(side, Dim):
            sides.append(side)
        else:
            return NotImplemented
    result = _compute(function, *sides)
    origins = [side.origin if isinstance(side, Dim) else side for side in sides]
    if isinstance(result, Dim) and None not in origins:
        return from_origin(result, (function, *origins))
    return result


def _substituted(terms: Terms, sizes: Mapping[str, Size]) -> Size:
    total: Size = 0
    for monomial, factor in terms.items():
        product: Size = factor
        for atom in monomial:
            if isinstance(atom, Call):
                product = product * _compute(atom.function, *[_substituted(side, sizes) for side in atom.sides])
            else:
                product = product * sizes.get(atom, _symbol(atom))
        total = total + product
    return total


def _terms(size: Size) -> Terms:
    return size._terms if isinstance(size, Dim) else algebra.number(size)


def _made(terms: Terms) -> Size:
    """The size that an expression is: a plain int where no name is left."""
    if not any(terms):
        return terms.get((), 0)
    atom = algebra.only_atom(terms)
    return _dim(terms, atom if isinstance(atom, str) else algebra.text_of(terms))


def _symbol(name: str) -> Dim:
    return _dim({(name,): 1}, name)


def _dim(terms: Terms, text: str) -> Dim:
    dim = object.__new__(Dim)
    dim._terms, dim.text, dim._hash, dim.origin = terms, text, hash(text), None
    return dim


# Text

_NAME_LIKE = re.compile(r"[^\W\d]\w*([.:/-][^\W\d]\w*)*\Z")
_ODD_NUMBER = re.compile(r"(?<![\w.])\d[\d_]*_\d")
"""What Python reads as a number and nobody else does: `0_1`, the name that an exporter gives to an axis of input 0."""
_MAX_POWER = 8


def parse(text: str) -> Size:
    """Read a dimension as ONNX writes it in `dim_param`: an expression, else the whole text as one name.

    A hyphen, colon, full stop or slash between words (`batch-size`) belongs to the name. Expressions are read as
    exporters write them: `(h - 1)//2 + 1`, `floor(h/2 - 1/2) + 1`, `Max(1, n)`, `s0**2`, `Mod(n, 2)`. A name that is
    no Python name stands in quotes within a larger expression: `2*'batch-size'`.
    """
    if len(text) > MAX_TEXT or _NAME_LIKE.match(text) or _ODD_NUMBER.search(text) or not text.isprintable():
        return _symbol(text)
    return _parsed(text)


@lru_cache(4096)
def _parsed(text: str) -> Size:
    try:
        body = ast.parse(text, mode="eval").body
        size = _whole(_read(body))
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return _symbol(text)
    comment = text.encode()[body.end_col_offset :].strip(b" )")
    return _symbol(text) if comment or (isinstance(size, int) and size < 0) else size


_Ratio: TypeAlias = tuple[Size, Size]


def _read(node: ast.expr) -> _Ratio:
    """One syntax node as numerator and denominator; ValueError for what is no dimension expression."""
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool) and number < 2**63:
            return number, 1
        case ast.Constant(value=float() as number) if number < 2**53 and number.as_integer_ratio()[1] <= 2**20:
            return number.as_integer_ratio()
        case ast.Constant(value=str() as name) if parse(name) == _symbol(name):
            return _symbol(name), 1
        case ast.Name(id=name):
            return _symbol(name), 1
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _read_operator(ast.Sub(), (0, 1), _read(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if 0 <= power <= _MAX_POWER:
            base = _read(left)
            result: _Ratio = 1, 1
            for _ in range(power):
                result = _read_operator(ast.Mult(), result, base)
            return result
        case ast.BinOp(left=left, op=operator, right=right):
            return _read_operator(operator, _read(left), _read(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if args:
            return _read_call(name.lower(), [_read(arg) for arg in args])
    raise ValueError("not a dimension expression")


def _read_operator(operator: ast.operator, left: _Ratio, right: _Ratio) -> _Ratio:
    (a, b), (c, d) = left, right
    match operator:
        case ast.Add():
            found = (a + c, b) if b == d else (a * d + c * b, b * d)
        case ast.Sub():
            found = (a - c, b) if b == d else (a * d - c * b, b * d)
        case ast.Mult():
            found = a * c, b * d
        case ast.Div():
            found = a * d, b * c
        case ast.FloorDiv():
            found = a * d // (b * c), 1
        case ast.Mod():
            found = _whole(left) % _whole(right), 1
        case _:
            raise ValueError("not a dimension expression")
    if any(isinstance(side, int) and abs(side) >= 2**63 for side in found):
        raise ValueError("too large for a dimension")
    return found


def _read_call(name: str, sides: list[_Ratio]) -> _Ratio:
    match name, sides:
        case "floor", [(a, b)]:
            return a // b, 1
        case "ceil" | "ceiling", [(a, b)]:
            return ceil_div(a, b), 1
        case "floordiv", [left, right]:
            return _read_operator(ast.FloorDiv(), left, right)
        case "ceildiv", [(a, b), (c, d)]:
            return ceil_div(a * d, b * c), 1
        case "mod" | "pythonmod", [left, right]:
            return _read_operator(ast.Mod(), left, right)
        case "max", _:
            return maximum(*map(_whole, sides)), 1
        case "min", _:
            return minimum(*map(_whole, sides)), 1
    raise ValueError("not a dimension expression")


def _whole(ratio: _Ratio) -> Size:
    size = algebra.quotient(*map(_terms, ratio))
    if size is None:
        raise ValueError("not an integer")
    return _made(size)
