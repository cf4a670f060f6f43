"""Dimension expressions: `n`, `n + m`, `2*n`, `(h - 1)//2 + 1`, in one canonical form each.

A dimension of a shape is a non-negative int, a `Dim` (an expression over named dimensions) or None (unknown). Two
expressions that are equal as polynomials over the same names are equal, hash alike and print alike.
"""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, Union

from .errors import TypeSpecError


class _Call(NamedTuple):
    """An atom that is not a name: `left // right`, `left % right`, max or min."""

    function: str
    left: "int | Dim"
    right: "int | Dim"

    def __str__(self) -> str:
        if self.function in ("max", "min"):
            return f"{self.function}({self.left}, {self.right})"
        return f"{_factor(self.left)}{self.function}{_factor(self.right)}"


_Atom: TypeAlias = Union[str, _Call]
_Monomial: TypeAlias = tuple[_Atom, ...]
Axis: TypeAlias = "int | Dim | None"


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

    _terms: tuple[tuple[_Monomial, int], ...]
    _hash: int
    text: str
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
        stack: list[Dim] = [self]
        while stack:
            for monomial, _ in stack.pop()._terms:
                for atom in monomial:
                    if isinstance(atom, str):
                        found.add(atom)
                    else:
                        stack += [side for side in (atom.left, atom.right) if isinstance(side, Dim)]
        return frozenset(found)

    @property
    def is_symbol(self) -> bool:
        """Whether this is one bare name."""
        (monomial, factor), *more = self._terms
        return not more and factor == 1 and len(monomial) == 1 and isinstance(monomial[0], str)

    def substitute(self, sizes: Mapping[str, "int | Dim"]) -> "int | Dim":
        """The expression with names replaced by numbers or other expressions.

        Raises:
            ZeroDivisionError: a divisor becomes 0.
        """
        total: int | Dim = 0
        for monomial, factor in self._terms:
            product: int | Dim = factor
            for atom in monomial:
                value: int | Dim
                if isinstance(atom, str):
                    value = sizes.get(atom, _symbol(atom))
                else:
                    sides = [s.substitute(sizes) if isinstance(s, Dim) else s for s in (atom.left, atom.right)]
                    value = _FUNCTIONS[atom.function](*sides)
                product = product * value
            total = total + product
        return total

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

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self._terms == other._terms
        if isinstance(other, str):
            return self == parse(other)
        return False

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


def maximum(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    """The larger of two dimensions, as an expression where it is not known."""
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    return left if left == right else _call("max", *sorted((left, right), key=str))


def minimum(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    """The smaller of two dimensions, as an expression where it is not known."""
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    return left if left == right else _call("min", *sorted((left, right), key=str))


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
        size = value.__index__()  # type: ignore[attr-defined]
    except AttributeError:
        raise TypeSpecError(
            f"a dimension is an int, a name or None, not {value!r} ({type(value).__name__})"
        ) from None
    if size < 0:
        raise TypeSpecError(f"a dimension is not negative, got {size}; write None for an unknown dimension")
    return int(size)


_NAME_LIKE = re.compile(r"[^\W\d][\w.:/]*(-[^\W\d][\w.:/]*)*\Z")
_MAX_TEXT = 1000


def parse(text: str) -> "int | Dim":
    """Read a dimension as ONNX writes it in `dim_param`: an expression, else the whole text as one name.

    A hyphen between letters (`batch-size`) belongs to the name.
    """
    if _NAME_LIKE.match(text) or len(text) > _MAX_TEXT:
        return _symbol(text)
    try:
        return _read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return _symbol(text)


def _read(node: ast.expr) -> "int | Dim":
    """One syntax node as a dimension; ValueError for what is no dimension expression."""
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool) and abs(number) < 2**63:
            return number
        case ast.Name(id=name):
            return _symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return 0 - _read(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _SYNTAX:
            return _FUNCTIONS[_SYNTAX[type(operator)]](_read(left), _read(right))
        case ast.Call(func=ast.Name(id="floor"), args=[ast.BinOp(left=left, op=ast.Div(), right=right)], keywords=[]):
            return _read(left) // _read(right)
        case ast.Call(func=ast.Name(id=name), args=[first, *rest], keywords=[]) if name.lower() in ("max", "min"):
            value = _read(first)
            for more in rest:
                value = _FUNCTIONS[name.lower()](value, _read(more))
            return value
    raise ValueError("not a dimension expression")


_SYNTAX: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}


def _arithmetic(function: str, left: Any, right: Any) -> Any:
    if not (isinstance(left, (int, Dim)) and isinstance(right, (int, Dim))) or isinstance(left, bool):
        return NotImplemented
    result = _COMPUTE[function](left, right)
    origins = [side.origin if isinstance(side, Dim) else side for side in (left, right)]
    if isinstance(result, Dim) and None not in origins:
        return from_origin(result, (function, *origins))
    return result


def _add(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    total = dict(_terms(left))
    for monomial, factor in _terms(right):
        total[monomial] = total.get(monomial, 0) + factor
    return _make(total)


def _subtract(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    return _add(left, _multiply(-1, right))


def _multiply(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    product: dict[_Monomial, int] = {}
    for a, m in _terms(left):
        for b, n in _terms(right):
            key = tuple(sorted(a + b, key=str))
            product[key] = product.get(key, 0) + m * n
    return _make(product)


def _divide(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    if right == 0:
        raise ZeroDivisionError(f"{left} // 0")
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    if isinstance(right, int) and right > 0:
        whole = {m: f // right for m, f in _terms(left) if f % right == 0}
        rest = {m: f for m, f in _terms(left) if f % right}
        if () in rest and len(rest) == 1:  # (4*n + 3)//2 = 2*n + 1
            return _make(whole | {(): rest[()] // right})
        if not rest:
            return _make(whole)
        if whole:
            return _make(whole) + _call("//", _make(rest), right)
    if left == right or left == 0:
        return 1 if left == right else 0
    return _call("//", left, right)


def _modulo(left: "int | Dim", right: "int | Dim") -> "int | Dim":
    if right == 0:
        raise ZeroDivisionError(f"{left} % 0")
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    if isinstance(right, int) and right > 0:
        rest = _make({m: f % right for m, f in _terms(left)})
        return rest if isinstance(rest, int) else _call("%", rest, right)
    return 0 if left == right or left == 0 else _call("%", left, right)


def _terms(side: "int | Dim") -> tuple[tuple[_Monomial, int], ...]:
    if isinstance(side, Dim):
        return side._terms
    return (((), side),) if side else ()


def _symbol(name: str) -> Dim:
    result = _make({(name,): 1})
    assert isinstance(result, Dim)
    return result


def _call(function: str, left: "int | Dim", right: "int | Dim") -> Dim:
    result = _make({(_Call(function, left, right),): 1})
    assert isinstance(result, Dim)
    return result


def _make(terms: Mapping[_Monomial, int]) -> "int | Dim":
    """The canonical dimension of a sum of monomials: a plain int where no name is left."""
    kept = {m: f for m, f in terms.items() if f}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    dim = object.__new__(Dim)
    dim._terms = tuple(sorted(kept.items(), key=lambda term: (not term[0], [str(a) for a in term[0]])))
    dim.text = _render(dim._terms)
    dim._hash = hash(dim.text)
    dim.origin = None
    return dim


def _render(terms: tuple[tuple[_Monomial, int], ...]) -> str:
    text = ""
    positive_first = sorted(terms, key=lambda term: (not term[0], term[1] < 0))
    for monomial, factor in positive_first:
        factors = [str(a) if isinstance(a, str) or a.function in ("max", "min") else f"({a})" for a in monomial]
        if len(monomial) == 1 and factor in (1, -1):
            factors = [str(monomial[0])]
        if not monomial or abs(factor) != 1:
            factors = [str(abs(factor)), *factors]
        body = "*".join(factors)
        sign = "-" if factor < 0 else "+"
        text += f" {sign} {body}" if text else f"{'-' if factor < 0 else ''}{body}"
    return text


def _factor(side: "int | Dim") -> str:
    return str(side) if isinstance(side, int) or side.is_symbol else f"({side})"


_COMPUTE: dict[str, Callable[[Any, Any], "int | Dim"]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "//": _divide,
    "%": _modulo,
}
_FUNCTIONS = _COMPUTE | {"max": maximum, "min": minimum}
