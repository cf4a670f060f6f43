"""Expressions and statements as lines of text: parentheses, widths, and which values need a variable.

Python evaluates an expression from left to right, and each operator makes its node when it is evaluated. So a value may
stand inside the expression that uses it only where that leaves the order of the nodes as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..ir import Value
from .spelling import ATOM, Spelling

WIDTH = 100
"""Expressions that would make a longer line are taken apart."""

RETURN = "return"
"""What a spelling of a function's outputs seems to call; each output has a line of its own where they are long."""

_DEEPEST = 5
"""How deep expressions nest: what a reader can take in, far below what Python's parser can."""

_MOST_WAITING = 16
"""How many values may wait for the expression that uses them."""


class Expression(NamedTuple):
    """Python text that makes a value."""

    text: str
    binds: int
    depth: int = 0
    opening: str = ""
    parts: tuple[str, ...] = ()
    """What a long line is broken between: the arguments of a call, the items of a dict."""
    closing: str = ""


def grouped(opening: str, parts: Sequence[str], closing: str, depth: int = 0) -> Expression:
    """An expression in brackets, which a long line is broken in."""
    return Expression(f"{opening}{', '.join(parts)}{closing}", ATOM, depth, opening, tuple(parts), closing)


class Block:
    """The statements of one function, as they are written."""

    def __init__(self, indent: str, name: Callable[[Value], str], known: Callable[[Value], str]) -> None:
        self.indent = indent
        self.lines: list[str] = []
        self._name = name
        self._known = known
        self._waiting: dict[Value, Expression] = {}

    def expression(self, spelling: Spelling, inputs: Sequence[Value | None]) -> Expression:
        """The text of a node: values that wait are put into it, if it does not become too large."""
        order = [inputs[piece.input] for piece in spelling.pieces if piece.input >= 0]
        inside = self._last([value for value in order if value is not None])
        if inside:
            found = self._text(spelling, inputs, inside)
            longest = max(map(len, found.parts)) if spelling.callee == RETURN else len(found.text)
            if found.depth <= _DEEPEST and longest + len(self.indent) <= WIDTH - 20:
                for value in inside:
                    del self._waiting[value]
                rest = [value for value in order if value in self._waiting]
                self._write_out(rest)
                return self._text(spelling, inputs, inside) if rest else found
        self._write_out([value for value in order if value in self._waiting])
        return self._text(spelling, inputs, {})

    def _last(self, order: Sequence[Value]) -> dict[Value, Expression]:
        """Of the inputs in order of evaluation, the last ones, as far as they were made last and in this order."""
        wanted = [value for value in order if value in self._waiting]
        newest = list(self._waiting.items())[-len(wanted) :] if wanted else []
        inside: dict[Value, Expression] = {}
        for value, (other, expression) in zip(reversed(wanted), reversed(newest), strict=False):
            if value is not other:
                break
            inside[value] = expression
        return inside

    def _text(
        self, spelling: Spelling, inputs: Sequence[Value | None], inside: Mapping[Value, Expression]
    ) -> Expression:
        parts: list[str] = []
        depth = 0
        for piece in spelling.pieces:
            value = inputs[piece.input] if piece.input >= 0 else None
            if value is None:
                parts.append(piece.text)
                continue
            held = inside.get(value) or self._waiting.get(value)
            if held is None:
                parts.append(self._known(value))
                continue
            depth = max(depth, held.depth + 1)
            parts.append(held.text if held.binds >= piece.least else f"({held.text})")
        if spelling.callee:
            return grouped(f"{spelling.callee}(", parts, ")", depth)
        return Expression("".join(parts), spelling.binds, depth)

    def wait(self, value: Value, expression: Expression) -> None:
        """Let a value that is used once wait for its use."""
        self._waiting[value] = expression
        if len(self._waiting) > _MOST_WAITING:
            self._write_out([next(iter(self._waiting))])

    def assign(self, targets: str, expression: Expression) -> None:
        """Write what waits, and then an assignment."""
        self.flush()
        self._assign(targets, expression)

    def flush(self) -> None:
        """Give all that waits a variable."""
        self._write_out(list(self._waiting))

    def _write_out(self, values: Sequence[Value]) -> None:
        """Give values a variable, and everything before them that waits."""
        left = set(values)
        while left:
            value = next(iter(self._waiting))
            self._assign(self._name(value), self._waiting.pop(value))
            left.discard(value)

    def _assign(self, targets: str, expression: Expression) -> None:
        self.statement(f"{targets} = ", expression)

    def statement(self, start: str, expression: Expression) -> None:
        """Write a statement that ends with an expression."""
        line = f"{self.indent}{start}{expression.text}"
        if len(line) <= WIDTH or not expression.parts:
            self.lines.append(line)
        else:
            opening = f"{self.indent}{start}{expression.opening}"
            self.lines += broken(opening, expression.parts, expression.closing, self.indent)


def broken(start: str, items: Sequence[str], end: str, indent: str) -> list[str]:
    """A statement with its items on lines of their own, as many to a line as fit; and a comma behind the last."""
    lines = [start]
    line = ""
    for item in items:
        if line and len(line) + len(item) + 3 > WIDTH:
            lines.append(line)
            line = ""
        line += f" {item}," if line else f"{indent}    {item},"
    return [*lines, line, f"{indent}{end}"]
