"""Where error is made between matched tensors, and which matches were none."""

from collections.abc import Callable, Mapping

from ..ir import Value
from .measures import Distance, distance
from .segments import Segments

_MOST_DOUBTS = 8
"""How often matches that two errors in a row speak against are left out for a trial."""


class Judgement:
    """The errors that segments make on right inputs.

    A fault makes one error, where it is; a wrong match makes one in front of it and one behind. So where two errors
    follow each other, the first match is left out for a trial. If the joined segment is right, it was no match.
    """

    def __init__(self, segments: Segments, tolerance: Callable[[Value], float]) -> None:
        self.segments = segments
        self.given_up: set[Value] = set()
        """The tensors that turned out not to be what they were matched with."""
        self._tolerance = tolerance
        self.local = self._errors(segments)
        for _ in range(_MOST_DOUBTS):
            if not self._doubted():
                break

    def _errors(self, segments: Segments, ends: Mapping[Value, int] | None = None) -> dict[Value, Distance]:
        return {value: distance(array, segments.expected[value]) for value, array in segments.values(ends)}

    def _is_wrong(self, value: Value, local: Mapping[Value, Distance]) -> bool:
        found = local.get(value)
        return found is not None and found.relative > self._tolerance(value)

    def _doubted(self) -> bool:
        """Give up the matches in front of one segment, if that is right without them."""
        ends = {value for _, value in self.segments.model.graph.outputs}
        wrong = dict.fromkeys(value for value in self.segments.expected if self._is_wrong(value, self.local))
        for value in wrong:
            doubted = (wrong.keys() & self.segments.nodes(value)[1]) - ends
            if not doubted:
                continue
            trial = self.segments.without(doubted)
            local = self._errors(trial, {v: a.nbytes for v, a in trial.expected.items() if v in wrong})
            if not self._is_wrong(value, local):
                self.segments = trial
                self.local = {v: d for v, d in self.local.items() if v not in doubted} | local
                self.given_up |= doubted
                return True
        return False
