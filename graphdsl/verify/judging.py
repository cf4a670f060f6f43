"""Whether two models agree on one draw: dtypes, shapes, NaN and infinities, then numbers.

Integers, booleans, text and whatever is only moved about must be the same. Floats are judged by what they should be:
the *before* side in float64, explicit casts kept. Two sides that differ there are different; two that agree there may
still err differently in their own dtype, and what rounding can do to a model is estimated by rounding at random (each
node's result gets an error of the size of a rounding, several times over). So reassociation is let stand, also where
it cancels, and a wrong coefficient is not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..apart import Crash, Refusal
from ..errors import GraphError, RunError
from ..inlining import inline
from ..ir import ModelData
from ..types import DType, SequenceType, TensorType, Type, as_dtype, float64
from .alone import Unknown
from .evaluation import STRUCTURAL, Computed, DrawsNumbers, Evaluation, Undefined, limits
from .witnesses import run

AGREE, NOTE, UNDEFINED, FAILED, REFUTED = "agree", "note", "undefined", "failed", "refuted"

_NAN = "NaN at other places"
_LOST = "before leaves the range of float64"

_SAMPLES = 6
"""How often a side is computed with random roundings, or run where it draws numbers."""

Feeds = Mapping[str, Any]


class Judgement(NamedTuple):
    """What came of one draw: `AGREE`, `NOTE` (nothing can be said), `UNDEFINED`, `FAILED` or `REFUTED`, and why."""

    kind: str
    reason: str = ""
    output: int = 0
    """The output that the reason is about."""
    before: Any = None
    after: Any = None
    """What the two sides gave, where they were compared."""
    rounding: bool = False
    """Whether the sides are the same in float64, and differ in how they round."""


class Side(Protocol):
    """One of two things that are compared: what a judge needs to know of it."""

    @property
    def types(self) -> Sequence[Type | None]:
        """The types of the outputs; none where they are not known before a run."""

    def compute(self, feeds: Feeds, *, noise: int | None = None) -> Computed:
        """The outputs in float64, with random roundings if a seed for these is given.

        Raises:
            RunError: it fails.
        """

    def run(self, feeds: Feeds) -> Sequence[Any] | Refusal | Crash:
        """The outputs in their own dtypes, on the runtime."""

    def run_reference(self, feeds: Feeds) -> Sequence[Any]:
        """The outputs in their own dtypes, without the runtime."""


class ModelSide:
    """A model as one of two sides; it runs on ONNX Runtime, unoptimised, in a process of its own."""

    def __init__(self, model: ModelData) -> None:
        self.model = inline(model) if model.functions else model
        self.types = [value.type for _, value in self.model.graph.outputs]
        self._names = {value.name for value in self.model.graph.inputs}
        self._refused: Refusal | None = None

    def compute(self, feeds: Feeds, *, noise: int | None = None) -> Evaluation:
        """The outputs in float64."""
        return Evaluation(self.model, feeds, wide=True, noise=noise)

    def run(self, feeds: Feeds) -> Sequence[Any] | Refusal | Crash:
        """The outputs on ONNX Runtime."""
        if self._refused is not None:
            return self._refused
        given = {name: value for name, value in feeds.items() if name in self._names}
        found = run(self.model, given, "unoptimised")
        if isinstance(found, Refusal) and not found.loaded:
            self._refused = found
        return found if isinstance(found, (Refusal, Crash)) else list(found.values())

    def run_reference(self, feeds: Feeds) -> Sequence[Any]:
        """The outputs in their own dtypes, in the reference."""
        return Evaluation(self.model, feeds, wide=False).outputs


class Judge:
    """Two sides with the same inputs, judged draw by draw; what `before` gives is right by definition."""

    def __init__(self, before: Side, after: Side) -> None:
        self.before = before
        self.after = after

    def judge(self, feeds: Feeds, *, roundings: bool = True) -> Judgement:
        """Judge one draw; without `roundings`, in float64 alone, which is quicker where nothing differs."""
        try:
            before = self.before.compute(feeds)
        except DrawsNumbers as problem:
            return self._drawn(feeds, str(problem))
        except Undefined as problem:
            return Judgement(UNDEFINED, str(problem))
        except RunError as error:
            return Judgement(FAILED, f"before: {_first(error)}")
        try:
            after = self.after.compute(feeds)
        except Undefined as problem:
            if _harmless(str(problem), before.outputs):
                return Judgement(UNDEFINED, str(problem))
            return Judgement(REFUTED, f"only after: {problem}")
        except Unknown as error:
            return Judgement(FAILED, f"after: {_first(error)}")
        except RunError as error:
            if not isinstance(self.after.run(feeds), (Refusal, Crash)):
                return Judgement(NOTE, f"only the reference fails after: {_first(error)}")
            ran = self.before.run(feeds)
            if isinstance(ran, Refusal) and ran.loaded:
                return Judgement(NOTE, f"the runtime fails on both, the reference after: {_first(error)}")
            return Judgement(REFUTED, f"only after, it fails: {_first(error)}")
        return Draw(self, feeds, before, after, roundings=roundings).judgement()

    def _drawn(self, feeds: Feeds, problem: str) -> Judgement:
        """What comes of a draw on which chance decides what before gives: what is settled after is something else."""
        try:
            settled = self.after.compute(feeds).outputs
        except RunError:  # it draws numbers too, or there is nothing to compare
            return Judgement(UNDEFINED, problem)
        runs = [self.before.run(feeds) for _ in range(_SAMPLES)]
        if not any(isinstance(run, (Refusal, Crash)) for run in runs):
            for index, other in enumerate(settled):
                given = [run[index] for run in runs if not isinstance(run, (Refusal, Crash))]
                moved = [item for item in given if not _alike(item, given[0])]
                if moved:
                    return Judgement(REFUTED, f"only before: {problem}", index, moved[0], other)
        return Judgement(UNDEFINED, problem)


def _harmless(problem: str, outputs: Sequence[Any]) -> bool:
    """Whether what is not defined after alone is left to runtimes, or can show in no element of the outputs."""
    empty = all(isinstance(item, np.ndarray) and not item.size for item in outputs)
    return problem.startswith("the place of NaN") or (empty and problem.endswith("of nothing"))


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


class _Place(NamedTuple):
    """An output, or an item of one that is a sequence."""

    output: int
    item: int | None = None

    def of(self, outputs: Sequence[Any]) -> Any:
        """What is there; None where a sequence is shorter."""
        found = outputs[self.output]
        if self.item is None:
            return found
        return found[self.item] if isinstance(found, (list, tuple)) and self.item < len(found) else None


def _places(outputs: Sequence[Any]) -> list[_Place]:
    """The outputs, sequences item by item."""
    return [
        place
        for index, found in enumerate(outputs)
        for place in (
            [_Place(index, item) for item in range(len(found))] if isinstance(found, (list, tuple)) else [_Place(index)]
        )
    ]


class Draw:
    """One draw on which both sides were computed."""

    def __init__(
        self, judge: Judge, feeds: Feeds, before: Computed, after: Computed, *, roundings: bool = True
    ) -> None:
        self._rounded = roundings
        self._judge, self._feeds, self._before, self._after = judge, feeds, before, after
        self._ran: list[Sequence[Any]] | Judgement | None = None
        self._spreads: dict[_Place, Any] | None = None
        self._moved_only = (before.operators | after.operators) <= STRUCTURAL
        self._with_infinity = any(map(_has_infinity, feeds.values()))

    def judgement(self) -> Judgement:
        """What comes of the draw, over all outputs."""
        return _worst(self.compare(index) for index in range(len(self._before.outputs)))

    def compare(self, index: int) -> Judgement:
        """What comes of one output: its form first, then in float64, then in its own dtype; sequences item by item."""
        outputs = [side.outputs[index] for side in (self._before, self._after)]
        types = [side.types[index] if side.types else None for side in (self._judge.before, self._judge.after)]
        if not all(isinstance(output, (list, tuple)) for output in outputs):
            return self._compared(_Place(index), types)
        counts = list(map(len, outputs))
        if counts[0] != counts[1]:
            return self._of_form(_Place(index), f"{counts[1]} items instead of {counts[0]}")
        types = [kind.element if isinstance(kind, SequenceType) else None for kind in types]
        problem = None if counts[0] else _form(None, None, *types)
        if problem:  # which no item shows
            return Judgement(REFUTED, f"a sequence of {problem}", index, *outputs)
        return _worst(self._compared(_Place(index, item), types) for item in range(counts[0]))

    def _compared(self, place: _Place, types: Sequence[Type | None]) -> Judgement:
        """What comes of one output that is no sequence, or of one item."""
        truth, other = place.of(self._before.outputs), place.of(self._after.outputs)
        problem = _form(truth, other, *types)
        if problem:
            return self._of_form(place, problem)
        kind = types[0] or types[1]
        dtype = kind.dtype if isinstance(kind, TensorType) else None
        found = self._exactly(place, truth, other, dtype)
        if found is None and self._rounded:
            found = self._roundings(place, truth, dtype)
        return found or Judgement(AGREE)

    def _of_form(self, place: _Place, problem: str) -> Judgement:
        """A difference of dtype or shape, if the runtime sees it too."""
        ran = self._runs()
        if isinstance(ran, Judgement):
            sides = [place.of(side.outputs) for side in (self._before, self._after)]
            return Judgement(REFUTED, problem, place.output, *sides)
        before, after = (place.of(side) for side in ran)
        if _form_of(before) == _form_of(after):
            return Judgement(NOTE, "the runtime sees no difference", place.output, before, after)
        return Judgement(REFUTED, problem, place.output, before, after)

    # In float64

    def _exactly(self, place: _Place, truth: Any, other: Any, dtype: DType | None) -> Judgement | None:
        """Whether the sides are the same in float64; None where they are."""
        found = self._difference(place, truth, other, dtype)
        if found is None:
            return None
        reason, places = found
        if self._before.lost:
            return Judgement(NOTE, _LOST, place.output)
        if dtype is float64 and (self._before.strayed or self._after.strayed or self._after.lost):
            return Judgement(NOTE, "a number leaves the range of float64", place.output)
        if self._before.strayed and self._after.infinite and not self._before.infinite:
            return Judgement(NOTE, "a number that leaves the range of its dtype is a constant after", place.output)
        if self._with_infinity and reason == _NAN:
            return Judgement(NOTE, "NaN of infinities that were given", place.output)
        if (self._before.empty or self._after.empty) and reason == _NAN:
            return Judgement(NOTE, "NaN that sums of nothing swallow", place.output)
        ran = self._runs()
        if isinstance(ran, Judgement):
            return ran if ran.kind == REFUTED else Judgement(REFUTED, reason, place.output, truth, other)
        before, after = map(place.of, ran)
        if not _seen(truth, other, before, after, places):
            return Judgement(NOTE, "the runtime sees no difference", place.output, truth, other)
        return Judgement(REFUTED, reason, place.output, before, after)

    def _difference(self, place: _Place, truth: Any, other: Any, dtype: DType | None) -> tuple[str, Any] | None:
        """What differs in float64, and where; None where nothing does."""
        if not isinstance(truth, np.ndarray):
            return None if _alike(truth, other) else ("other values", None)
        if truth.dtype.kind != "f" or dtype is None:
            same = truth == other
            wrong = ~(same | (np.isnan(truth) & np.isnan(other))) if truth.dtype.kind == "c" else ~same
            if not bool(np.any(wrong)):
                return None
            spread = self._spread(place)
            settled = wrong if spread is None else wrong & (spread == 0)
            return ("other values", settled) if bool(np.any(settled)) else None
        masks = _masks(truth, other)
        if masks:
            return masks, _broken(truth, other)
        gap = _gap(truth, other)
        if self._moved_only:
            moved, turned = gap > 0, _turned(truth, other)
            reason = "other numbers" if bool(np.any(moved)) else "zeros of another sign"
            return (reason, moved | turned) if bool(np.any(moved | turned)) else None
        allowed = 4 * _ulps(truth, dtype)
        if not bool(np.any(gap > allowed)):
            return None
        excess = gap > allowed + 2 * self._spread(place)
        if not bool(np.any(excess)):
            return None
        worst = float(np.max(np.where(excess, gap / np.maximum(np.abs(truth), limits(dtype).least), 0.0)))
        return f"other numbers, by {worst:.2g} of their size", excess

    # In their own dtypes

    def _roundings(self, place: _Place, truth: Any, dtype: DType | None) -> Judgement | None:
        """Whether after errs more than before does, beyond what rounding explains; None where it does not."""
        ran = self._runs()
        if isinstance(ran, Judgement):
            return ran
        if not isinstance(truth, np.ndarray) or dtype is None or dtype.kind != "float":
            return None if _alike(*map(place.of, ran)) else self._disputed(place, truth, ran)
        before, after = (np.asarray(place.of(side), np.float64) for side in ran)
        if before.shape != truth.shape or after.shape != truth.shape:
            return Judgement(NOTE, "the runtime gives another shape than the reference", place.output, before, after)
        if (self._before.empty or self._after.empty) and not _alike(*map(place.of, ran)):
            return Judgement(NOTE, "what the runtime makes of nothing", place.output, before, after)
        strayed = self._before.strayed or self._after.strayed
        if strayed or self._before.lost:
            reason = strayed or _LOST
            return None if _masks(truth, after) is None else Judgement(NOTE, reason, place.output, before, after)
        if _masks(truth, before):
            return Judgement(NOTE, "the runtime and the reference disagree before", place.output, before, truth)
        masks = _masks(before, after)
        if masks:
            if any(map(_has_special, self._feeds.values())) and not self._reference_errs(place, truth):
                return Judgement(NOTE, "the runtime and the reference disagree after", place.output, after, truth)
            return Judgement(REFUTED, f"{masks}, in {dtype}", place.output, before, after, rounding=True)
        errors = [_gap(run, truth) for run in (before, after)]
        allowed = 4 * errors[0] + 4 * _ulps(truth, dtype)
        if not bool(np.any(errors[1] > allowed)):
            return None
        # what kernels approximate is exact to a part of the largest number, not of each
        largest = 4 * _ulps(np.array(max(self._before.largest, self._after.largest)), dtype)
        if not bool(np.any(errors[1] > 4 * errors[0] + largest)):
            return None
        spread = self._spread(place)
        excess = errors[1] > np.maximum(4 * np.maximum(errors[0], spread) + 4 * _ulps(truth, dtype), largest)
        if not bool(np.any(excess)):
            return None
        worst = np.unravel_index(int(np.argmax(np.where(excess, errors[1], 0))), truth.shape)
        reason = f"an error of {errors[1][worst]:.2g} where before has {errors[0][worst]:.2g}, in {dtype}"
        return Judgement(REFUTED, reason, place.output, before, after, rounding=True)

    def _reference_errs(self, place: _Place, truth: np.ndarray) -> bool:
        """Whether the reference too gives NaN or infinities at other places after, in the model's own dtypes."""
        try:
            found = np.asarray(place.of(self._judge.after.run_reference(self._feeds))).astype(np.float64)
        except GraphError:
            return True
        return found.shape != truth.shape or _masks(truth, found) is not None

    def _disputed(self, place: _Place, truth: Any, ran: Sequence[Sequence[Any]]) -> Judgement | None:
        """What is no float and differs only in the runs: rounding decided it, or runtime and reference differ."""
        spread = self._spread(place)
        if spread is not None and bool(np.any(spread)):
            return None
        return Judgement(NOTE, "the runtime and the reference disagree", place.output, *map(place.of, ran))

    def _runs(self) -> list[Sequence[Any]] | Judgement:
        """What both sides give in their own dtypes: on the runtime, or where it takes not both, in the reference."""
        if self._ran is None:
            self._ran = self._run_both()
        return self._ran

    def _run_both(self) -> list[Sequence[Any]] | Judgement:
        sides = (self._judge.before, self._judge.after)
        before, after = (side.run(self._feeds) for side in sides)
        if isinstance(after, Crash) and not isinstance(before, (Crash, Refusal)):
            return Judgement(REFUTED, f"only after, the runtime dies: {after}")
        if isinstance(before, Crash) or isinstance(after, Crash):
            return Judgement(NOTE, f"the runtime dies: {before if isinstance(before, Crash) else after}")
        if not isinstance(before, Refusal) and not isinstance(after, Refusal):
            return [before, after]
        try:
            return [side.run_reference(self._feeds) for side in sides]
        except GraphError as error:
            return Judgement(NOTE, f"neither the runtime nor the reference runs it: {_first(error)}")

    def _spread(self, place: _Place) -> Any:
        """How far roundings at random move an output; of what is no float, whether they do. None if never."""
        if self._spreads is None:
            self._spreads = {}
            for side, known in ((self._judge.before, self._before), (self._judge.after, self._after)):
                for seed in range(_SAMPLES):
                    try:
                        blurred = side.compute(self._feeds, noise=seed).outputs
                    except RunError:  # a rounding decides whether it is defined
                        blurred = [None] * len(known.outputs)
                    for each in _places(known.outputs):
                        moved = _distance(each.of(blurred), each.of(known.outputs))
                        have = self._spreads.get(each)
                        self._spreads[each] = moved if have is None else np.maximum(have, moved)
        return self._spreads[place]


def _worst(judgements: Iterable[Judgement]) -> Judgement:
    """The first that refutes, else the first that does not agree."""
    noted = None
    for found in judgements:
        if found.kind == REFUTED:
            return found
        if found.kind != AGREE and noted is None:
            noted = found
    return noted or Judgement(AGREE)


def _form_of(item: Any) -> Any:
    """What of a value has to be the same before values are compared."""
    if isinstance(item, np.ndarray):
        return item.shape, item.dtype
    return (list, len(item)) if isinstance(item, (list, tuple)) else type(item)


def _seen(truth: Any, other: Any, before: Any, after: Any, places: Any) -> bool:
    """Whether a run shows a difference of two sides where they differ by what they should give."""
    one, two = np.asarray(before), np.asarray(after)
    if not isinstance(places, np.ndarray) or one.shape != places.shape or two.shape != places.shape:
        return not _alike(before, after)
    if truth.dtype.kind != "f":
        return bool(np.any((one != two) & places))
    wide = [array.astype(np.float64) for array in (one, two)]
    apart = (_gap(*wide) > _gap(truth, other) / 4) & (_gap(*wide) > 0)
    return bool(np.any(places & (_broken(*wide) | apart | _turned(truth, other) & _turned(*wide))))


def _has_infinity(item: Any) -> bool:
    if not isinstance(item, np.ndarray) or item.dtype.kind in "iubcOUS":
        return False
    return bool(np.any(np.isinf(item.astype(np.float64))))


def _has_special(item: Any) -> bool:
    if not isinstance(item, np.ndarray) or item.dtype.kind in "iubcOUS":
        return False
    return not bool(np.all(np.isfinite(item.astype(np.float64))))


def _distance(noisy: Any, plain: Any) -> Any:
    if not isinstance(plain, np.ndarray) or not isinstance(noisy, np.ndarray) or noisy.shape != plain.shape:
        return np.inf  # a rounding changes the shape
    if plain.dtype.kind != "f":
        return (noisy != plain).astype(np.float64)
    with np.errstate(all="ignore"):
        gap = np.abs(noisy - plain)
    same = (noisy == plain) | (np.isnan(noisy) & np.isnan(plain))
    return np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))


def _form(truth: Any, other: Any, kind: Any, after: Any) -> str | None:
    """What differs of two outputs in dtype or shape."""
    if isinstance(kind, TensorType) and isinstance(after, TensorType) and kind.dtype is not after.dtype:
        return f"{after.dtype} instead of {kind.dtype}"
    if isinstance(truth, np.ndarray) != isinstance(other, np.ndarray):
        return "another kind of value"
    if isinstance(truth, np.ndarray) and truth.shape != other.shape:
        return f"shape {other.shape} instead of {truth.shape}"
    if isinstance(truth, np.ndarray) and truth.dtype != other.dtype:
        return f"{as_dtype(other.dtype)} instead of {as_dtype(truth.dtype)}"
    return None


def _masks(truth: np.ndarray, other: np.ndarray) -> str | None:
    """What differs of two float arrays in NaN and infinities."""
    if bool(np.any(np.isnan(truth) != np.isnan(other))):
        return _NAN
    return "infinities at other places" if bool(np.any(_broken(truth, other))) else None


def _broken(truth: np.ndarray, other: np.ndarray) -> Any:
    """Where one of two float arrays has NaN or an infinity that the other one has not."""
    infinite = np.isinf(truth) | np.isinf(other)
    return (np.isnan(truth) != np.isnan(other)) | (infinite & (truth != other))


def _turned(truth: np.ndarray, other: np.ndarray) -> Any:
    """Where two float arrays have zeros of different signs."""
    return (truth == 0) & (other == 0) & (np.signbit(truth) != np.signbit(other))


def _ulps(array: np.ndarray, dtype: DType) -> Any:
    """The unit in the last place of each element in a float dtype."""
    known = limits(dtype)
    with np.errstate(all="ignore"):
        sizes = np.maximum(np.abs(np.where(np.isfinite(array), array, 0.0)), known.least)
        return known.epsilon * 2.0 ** np.floor(np.log2(sizes))


def _alike(one: Any, other: Any) -> bool:
    """Whether two outputs of a run are the same but for a few roundings."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_alike, one, other))
    a, b = np.asarray(one), np.asarray(other)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind in "iubOUSc":
        return bool(np.array_equal(a, b))
    dtype = as_dtype(a.dtype)
    if dtype.kind != "float":
        return bool(np.array_equal(a, b))
    wide = [item.astype(np.float64) for item in (a, b)]
    if _masks(*wide):
        return False
    return not bool(np.any(_gap(*wide) > 2 * _ulps(wide[0], dtype)))


def _gap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far apart two arrays are, where both are finite."""
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(one) & np.isfinite(other), np.abs(one - other), 0.0)
