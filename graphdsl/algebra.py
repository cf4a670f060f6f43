"""The algebra of dimension expressions: sums of products, quotients rounded down, the larger or smaller of several.

An expression is a `Terms`, a mapping from monomials to integer factors: `{("n", "n"): 2, (): 1}` is 2*n*n + 1. A
monomial is a tuple of atoms in the order of their texts; an atom is a name or a `Call`. Every function answers in one
canonical form. What is equal in that form is equal for all sizes; what is not may still be: `n//2 + (n + 1)//2` is n.
"""

import keyword
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from math import gcd
from typing import Any, NoReturn, TypeAlias, Union

from .errors import TypeSpecError

MAX_TEXT = 500
"""Expressions whose text would be longer are not computed."""
_MAX_NESTED = 50
_MAX_SIDES = 8
_MAX_TRIES = 100

Monomial: TypeAlias = tuple[Union[str, "Call"], ...]
Terms: TypeAlias = Mapping[Monomial, int]


class Call:
    """An atom that is not a name: `left // right`, max or min of several. Two of one text are equal."""

    __slots__ = ("function", "sides", "text")

    def __init__(self, function: str, *sides: Terms) -> None:
        self.function = function
        self.sides = sides
        if function == "//":
            simple = [not any(side) or isinstance(only_atom(side), str) for side in sides]
            parts = [text_of(s) if bare else f"({text_of(s)})" for s, bare in zip(sides, simple, strict=True)]
            self.text = "//".join(parts)
        else:
            self.text = f"{function}({', '.join(map(text_of, sides))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


def number(value: int) -> Terms:
    """The expression of a number."""
    return {(): value} if value else {}


def only_atom(terms: Terms) -> "str | Call | None":
    """The name or call that an expression consists of, if it is no more than that."""
    return next((m[0] for m, factor in terms.items() if len(m) == factor == len(terms) == 1), None)


def text_of(terms: Terms) -> str:
    """The expression as Python would read it, with names that are no Python names in quotes.

    Raises:
        TypeSpecError: it is too long.
    """
    text = ""
    leads = any(monomial and factor > 0 for monomial, factor in terms.items())  # else 3 - n, not -n + 3
    for monomial, factor in sorted(terms.items(), key=lambda term: (leads and not term[0], term[1] < 0)):
        bare = len(monomial) == abs(factor) == 1 and (factor > 0 or bool(text))
        factors = [f"({a})" if not (bare or isinstance(a, str)) and a.function == "//" else _shown(a) for a in monomial]
        if not monomial or abs(factor) != 1:
            factors = [str(abs(factor)), *factors]
        sign = "-" if factor < 0 else "+"
        body = "*".join(factors)
        text += f" {sign} {body}" if text else f"-{body}" if factor < 0 else body
    if len(text) > MAX_TEXT or text.count("(") > _MAX_NESTED:
        _too_long()
    return text or "0"


def _shown(atom: str | Call) -> str:
    if isinstance(atom, Call):
        return atom.text
    return atom if atom.isascii() and atom.isidentifier() and not keyword.iskeyword(atom) else repr(atom)


def _too_long() -> NoReturn:
    raise TypeSpecError("a dimension became too long an expression; compute with tensors, as in op.Shape(x)[0]")


# Sums and products


def add(left: Terms, right: Terms, factor: int = 1) -> Terms:
    """`left + factor * right`."""
    total = dict(left)
    for monomial, by in right.items():
        total[monomial] = total.get(monomial, 0) + by * factor
    return _ordered(total)


def multiply(left: Terms, right: Terms) -> Terms:
    """The product."""
    if len(left) * len(right) > MAX_TEXT:
        _too_long()
    product: dict[Monomial, int] = {}
    for a, m in left.items():
        for b, n in right.items():
            key = tuple(sorted(a + b, key=str)) if a and b else a or b
            product[key] = product.get(key, 0) + m * n
    return _ordered(product)


def _ordered(terms: Terms) -> Terms:
    kept = [(monomial, factor) for monomial, factor in terms.items() if factor]
    return dict(kept if len(kept) < 2 else sorted(kept, key=lambda term: list(map(str, term[0]))))


# Quotients


def quotient(left: Terms, right: Terms) -> Terms | None:
    """The quotient where the division leaves nothing, else None.

    Raises:
        ZeroDivisionError: the divisor is 0.
    """
    if not right:
        raise ZeroDivisionError(f"{text_of(left)} // 0")
    leading, by = max(right.items(), key=_rank)
    whole: Terms = {}
    while left:
        monomial, factor = max(left.items(), key=_rank)
        rest = _without(monomial, leading)
        if rest is None or factor % by:
            return None
        part = {rest: factor // by}
        whole, left = add(whole, part), add(left, multiply(part, right), -1)
    return whole


def _rank(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """An order of terms that multiplying by a term keeps: the degree, then the texts."""
    return len(term[0]), list(map(str, term[0]))


def _without(monomial: Monomial, factor: Monomial) -> Monomial | None:
    rest = list(monomial)
    for atom in factor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def divide(left: Terms, right: Terms) -> Terms:
    """The quotient rounded down.

    Raises:
        ZeroDivisionError: the divisor is 0.
    """
    exact = quotient(left, right)
    if exact is not None:
        return exact
    left, right = _reduced(left, right)
    if any(right):
        return {(Call("//", left, right),): 1}
    # (3*n + 5)//2 = n + 2 + (n + 1)//2, (4*n + 3)//6 = (2*n + 1)//3, (n//2 + m)//3 = (n + 2*m)//6
    by = right[()]
    whole = _ordered({monomial: factor // by for monomial, factor in left.items()})
    rest: Terms = {monomial: factor % by for monomial, factor in left.items() if factor % by}
    common = gcd(by, *[factor for monomial, factor in rest.items() if monomial])
    rest = _ordered({monomial: factor // common for monomial, factor in rest.items()})
    by //= common
    if not any(rest):
        return whole
    for call, factor, others in _calls(rest):
        if call.function != "//":  # min(n, m)//2 = min(n//2, m//2)
            parts = [divide(add(others, side, factor), number(by)) for side in call.sides]
            return add(whole, _EXTREMES[call.function](*parts))
        if factor == 1 and not any(call.sides[1]):
            dividend = add(call.sides[0], multiply(others, call.sides[1]))
            return add(whole, divide(dividend, multiply(number(by), call.sides[1])))
    return add(whole, {(Call("//", rest, number(by)),): 1})


def _calls(terms: Terms) -> Iterator[tuple[Call, int, Terms]]:
    """The calls among the terms of a sum, each with its factor and the rest of the sum."""
    for monomial, factor in terms.items():
        if len(monomial) == 1 and isinstance(monomial[0], Call):
            yield monomial[0], factor, {other: by for other, by in terms.items() if other != monomial}


def _reduced(left: Terms, right: Terms) -> tuple[Terms, Terms]:
    """Numerator and denominator without what divides both; a denominator that is a number is positive."""
    first, *others = [*left, *right]
    shared: list[Any] = []
    for atom in dict.fromkeys(first):
        shared += [atom] * min([monomial.count(atom) for monomial in (first, *others)])
    by = gcd(*left.values(), *right.values())
    if len(right) == 1 and right.get(tuple(shared), 0) < 0:
        by = -by
    part = {tuple(shared): by}
    return quotient(left, part) or {}, quotient(right, part) or {}


# The larger or smaller


def maximum(*sides: Terms) -> Terms:
    """The largest of several expressions, without those that are never the largest."""
    return _extreme("max", sides, lambda one, other: never_negative(add(one, other, -1)))


def minimum(*sides: Terms) -> Terms:
    """The smallest of several expressions, without those that are never the smallest."""
    return _extreme("min", sides, lambda one, other: never_negative(add(other, one, -1)))


def _extreme(function: str, sides: tuple[Terms, ...], beats: Callable[[Terms, Terms], bool]) -> Terms:
    flat: list[Terms] = []
    waiting = list(sides)
    while waiting:
        side = waiting.pop()
        for call, factor, rest in _calls(side):  # max(2*max(n, m) + 1, 3) = max(2*n + 1, 2*m + 1, 3)
            if call.function == (function if factor > 0 else _OPPOSITE[function]):
                waiting += [add(rest, part, factor) for part in call.sides]
                break
        else:
            flat.append(side)
        if len(flat) + len(waiting) > _MAX_SIDES:
            _too_long()
    kept: list[Terms] = []
    for side in sorted(flat, key=text_of):
        if not any(beats(other, side) for other in kept):
            kept = [other for other in kept if not beats(side, other)] + [side]
    return kept[0] if len(kept) == 1 else {(Call(function, *kept),): 1}


_EXTREMES = {"max": maximum, "min": minimum}
_OPPOSITE = {"max": "min", "min": "max"}


# Bounds

_Bounded: TypeAlias = dict[Monomial, Fraction]


def never_negative(terms: Terms) -> bool:
    """Whether an expression is surely 0 or more, as every name is a size; False where that cannot be told cheaply."""
    return _never_negative(_fractions(terms), [_MAX_TRIES])


def _never_negative(terms: _Bounded, tries: list[int]) -> bool:
    """Calls are replaced by bounds, one by one, until only names are left, whose least value is 0."""
    tries[0] -= 1
    chosen = next((m for m in terms if any(isinstance(atom, Call) for atom in m)), None)
    if chosen is None or tries[0] < 0:
        return chosen is None and all(factor >= 0 for factor in terms.values())
    rest = dict(terms)
    factor = rest.pop(chosen)
    alternatives: list[list[_Bounded]] = []
    if len(chosen) > 1:
        if factor > 0 and all(never_negative({(atom,): 1}) for atom in chosen):
            alternatives = [[{}]]
    elif isinstance(chosen[0], Call):
        alternatives = _bounds(chosen[0], below=factor > 0)
    return any(all(_never_negative(_plus(rest, case, factor), tries) for case in cases) for cases in alternatives)


def _bounds(call: Call, *, below: bool) -> list[list[_Bounded]]:
    """What a call is surely not below, or not above: alternatives, each a list of bounds one of which holds."""
    sides = list(map(_fractions, call.sides))
    if call.function in ("max", "min"):
        return [[side] for side in sides] if below == (call.function == "max") else [sides]
    left, right = call.sides
    found: list[list[_Bounded]] = []
    if below and never_negative(left) and never_negative(right):
        found.append([{}])
    if not any(right):  # a number, and positive
        by = right[()]
        lost: _Bounded = {(): Fraction(1 - by, by)} if below else {}
        found.append([_plus(lost, sides[0], Fraction(1, by))])
    elif not below and never_negative(left):
        found.append([sides[0]])
    return found


def _fractions(terms: Terms) -> _Bounded:
    return {monomial: Fraction(factor) for monomial, factor in terms.items()}


def _plus(terms: _Bounded, more: _Bounded, factor: Fraction) -> _Bounded:
    total = dict(terms)
    for monomial, by in more.items():
        total[monomial] = total.get(monomial, Fraction(0)) + by * factor
    return total
