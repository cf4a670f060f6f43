"""Choices read from bytes: one draw of Hypothesis, however many they are; smaller bytes choose what is simpler.

A draw of Hypothesis costs as much as a node of a model, so what is made of many choices reads them from few draws.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A source of choices. When the bytes are used up, more are asked for; where there are none, every choice is the
    simplest."""

    def __init__(self, raw: bytes = b"", more: Callable[[], bytes] | None = None) -> None:
        self._raw = raw
        self._more = more
        self.used = 0
        """How many bytes were read."""

    def byte(self) -> int:
        """The next byte."""
        if self.used >= len(self._raw):
            if self._more is None:
                return 0
            self._raw += self._more()
        self.used += 1
        return self._raw[self.used - 1]

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1, of which there are at most 256."""
        return self.byte() * count >> 8

    def between(self, low: int, high: int) -> int:
        """A number from `low`, the simplest, to `high`."""
        return low + self.below(high - low + 1) if high > low else low

    def flag(self) -> bool:
        """Yes or no; no is simpler."""
        return self.byte() > 127

    def pick(self, options: Sequence[T]) -> T:
        """One of some options, the simplest of which comes first."""
        return options[self.below(len(options))]

    def favouring(self, options: Sequence[T], first: int = 2) -> T:
        """One of some options, the first of which is chosen `first` times as often as its share."""
        return options[max(0, self.below(len(options) + first - 1) - first + 1)]

    def one_in(self, count: int) -> bool:
        """True once in `count` times."""
        return self.below(count) == count - 1

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in some order, the simplest being their own."""
        left, found = list(items), []
        while left:
            found.append(left.pop(self.below(len(left))))
        return found
