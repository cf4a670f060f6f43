"""Choices read from bytes: one draw of Hypothesis, however many they are; smaller bytes choose what is simpler."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A source of choices. When the bytes are used up, every choice is the simplest."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.used = 0
        """How many bytes were read."""

    def byte(self) -> int:
        """The next byte."""
        if self.used >= len(self._raw):
            return 0
        self.used += 1
        return self._raw[self.used - 1]

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        return self.byte() * count >> 8

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
