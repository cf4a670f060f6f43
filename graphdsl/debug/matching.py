"""Which tensor of a model is which of the other side: candidates by structure, decided by shape and value.

A tensor whose value is right settles the matter. What has no right value yet (behind a fault, nothing has) goes to the
nearest candidate, and no tensor that is another's is given away twice.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..ir import Value
from ..types import TensorType
from .measures import Distance, Statistics, distance, span, statistics, tolerance
from .recording import Place


@dataclass(eq=False)
class Candidate:
    """A tensor of the model that may be a given one of the other side."""

    value: Value
    rank: int
    """How good the evidence is apart from its value; 0 is the best."""
    distance: Distance | None = None
    """From the other side's, in a run of the whole model; None where its shape or dtype is another."""
    seen: Statistics | None = None
    tolerance: float = 0.0

    def judge(self, array: np.ndarray, place: Place) -> None:
        """Compare the value that the tensor has in a run of the model with the other side's."""
        self.tolerance = tolerance(array.dtype, place.array.dtype)
        if array.shape == place.array.shape and same_kind(array.dtype, place.array.dtype):
            self.distance = distance(array, place.array)
            self.seen = statistics(array, *span(place.array))

    @property
    def is_close(self) -> bool:
        """Whether its value is right."""
        return self.distance is not None and self.distance.relative <= self.tolerance

    @property
    def nearness(self) -> float:
        """The relative distance, as something to sort by."""
        if self.distance is None or math.isnan(self.distance.relative):
            return math.inf
        return self.distance.relative


@dataclass(eq=False)
class Matching:
    """The candidates for each tensor of the other side, and later the one that was chosen."""

    candidates: dict[Place, list[Candidate]] = field(default_factory=dict)
    chosen: dict[Place, Candidate] = field(default_factory=dict)

    def propose(self, place: Place, values: Iterable[Value], rank: int = 0) -> None:
        """Add candidates for a tensor, the likeliest first."""
        known = self.candidates.setdefault(place, [])
        present = {candidate.value for candidate in known}
        for value in values:
            if value not in present and _may_be(value, place.array):
                known.append(Candidate(value, rank + len(known)))
                present.add(value)

    def sizes(self) -> dict[Value, int]:
        """The candidates, with the bytes that each is expected to take."""
        found: dict[Value, int] = {}
        for place, candidates in self.candidates.items():
            for candidate in candidates:
                found[candidate.value] = max(found.get(candidate.value, 1), place.array.nbytes)
        return found

    def judge(self, values: Iterable[tuple[Value, np.ndarray]]) -> None:
        """Compare the values that candidates have in a run of the model, where nothing was chosen yet."""
        by_value: dict[Value, list[tuple[Place, Candidate]]] = {}
        for place, candidates in self.candidates.items():
            if place not in self.chosen:
                for candidate in candidates:
                    by_value.setdefault(candidate.value, []).append((place, candidate))
        for value, array in values:
            for place, candidate in by_value.get(value, ()):
                candidate.judge(array, place)

    def choose_right(self) -> None:
        """Take the candidates whose values are right. Where two tensors of torch's share one, the nearer has it."""
        nearest: dict[Value, float] = {}
        for _, candidate in self._open():
            if candidate.is_close:
                nearest[candidate.value] = min(candidate.nearness, nearest.get(candidate.value, math.inf))
        for place, candidate in self._open():
            if candidate.is_close and candidate.nearness == nearest[candidate.value]:
                self.chosen.setdefault(place, candidate)

    def choose_nearest(self, most: float = math.inf, *, rank: int | None = None) -> None:
        """Of the rest, take the nearest, each tensor of the model once; only up to a distance, and a rank."""
        taken = {candidate.value for candidate in self.chosen.values()}
        rest = [item for item in self._open() if item[1].nearness <= most and (rank is None or item[1].rank < rank)]
        for place, candidate in sorted(rest, key=lambda item: (item[1].nearness, item[1].rank)):
            if place not in self.chosen and candidate.value not in taken:
                self.chosen[place] = candidate
                taken.add(candidate.value)

    def open_sizes(self) -> dict[Value, int]:
        """The candidates of what was not decided yet, with the bytes that each takes."""
        return {
            candidate.value: place.array.nbytes
            for place, candidates in self.candidates.items()
            if place not in self.chosen
            for candidate in candidates
        }

    def _open(self) -> list[tuple[Place, Candidate]]:
        """The candidates that can still be chosen: of the right shape, for what was not decided yet."""
        return [
            (place, candidate)
            for place, candidates in self.candidates.items()
            if place not in self.chosen
            for candidate in candidates
            if candidate.distance is not None
        ]


def same_kind(a: np.dtype, b: np.dtype) -> bool:
    """Whether two dtypes may stand for one tensor: equal, or of different width only."""
    return a == b or (_kind(a) == _kind(b) and _kind(a) in "if")


def _kind(dtype: np.dtype) -> str:
    return "f" if dtype.kind in "fV" else "i" if dtype.kind in "iu" else dtype.kind


def _may_be(value: Value, array: np.ndarray) -> bool:
    """Whether a value's type, as far as it is known, allows for an array."""
    kind = value.type
    if value.node is None or not isinstance(kind, TensorType):
        return value.node is not None and kind is None
    if kind.shape is not None:
        sizes = [size for size in kind.shape if isinstance(size, int)]
        if len(kind.shape) != array.ndim or (len(sizes) == array.ndim and tuple(sizes) != array.shape):
            return False
    return same_kind(np.dtype(kind.dtype.numpy), array.dtype)
