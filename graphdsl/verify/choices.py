"""Choices read from bytes: one draw of Hypothesis, however many they are; smaller bytes choose what is simpler.

A draw of Hypothesis costs as much as a node of a model, so what is made of many choices reads them from few draws.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption

T = TypeVar("T")

# Hypothesis takes longer to find a strategy that it has made before than to draw from it
integers = cache(st.integers)
"""Integers from a number to another one."""

YES_OR_NO = st.booleans()


@cache
def _bytes(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


class Chooser(Protocol):
    """Where choices come from: a draw of Hypothesis each, or bytes. What is simplest comes first."""

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`."""

    def flag(self) -> bool:
        """Yes or no; no is simpler."""

    def take(self, count: int) -> bytes:
        """So many bytes."""

    def order(self, whole: Sequence[int]) -> Sequence[int]:
        """The items in some order."""


class Drawn:
    """Choices that Hypothesis draws one by one, so that what is found is made small one by one."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`."""
        return self._draw(integers(low, high))

    def flag(self) -> bool:
        """Yes or no; no is simpler."""
        return self._draw(YES_OR_NO)

    def take(self, count: int) -> bytes:
        """So many bytes."""
        return self._draw(_bytes(count))

    def order(self, whole: Sequence[int]) -> Sequence[int]:
        """The items in some order."""
        return self._draw(st.permutations(whole))


def assume(holds: object) -> None:
    """Give up what is being made, if something does not hold that it needs; Hypothesis then draws again.

    Raises:
        UnsatisfiedAssumption: it does not hold.
    """
    if not holds:
        raise UnsatisfiedAssumption


def at_random(make: Callable[["Choices"], T], seed: int, count: int) -> Iterator[T]:
    """What is made of random choices, so many times; what is given up is left out."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        try:
            yield make(Choices(more=lambda: random.bytes(_MORE)))
        except UnsatisfiedAssumption:
            continue


_MORE = 64
"""How many random bytes are made at a time."""


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
        """A number from 0 to `count` - 1."""
        return self.byte() * count >> 8 if count <= 256 else (self.byte() << 8 | self.byte()) * count >> 16

    def between(self, low: int, high: int) -> int:
        """A number from `low`, the simplest, to `high`."""
        return low + self.below(high - low + 1) if high > low else low

    def flag(self) -> bool:
        """Yes or no; no is simpler."""
        return self.byte() > 127

    def take(self, count: int) -> bytes:
        """So many bytes."""
        return bytes([self.byte() for _ in range(count)])

    def order(self, whole: Sequence[int]) -> Sequence[int]:
        """The items in some order."""
        return self.shuffled(whole)

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
