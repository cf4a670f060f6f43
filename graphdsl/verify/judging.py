"""Whether two models agree on one draw: dtypes, shapes, NaN and infinities, then numbers.

Integers, booleans, text and whatever is only moved about must be the same. Floats are judged by what they should be: the
*before* side in float64, explicit casts kept. Two sides that differ there are different; two that agree there may still
err differently in their own dtype, and what rounding can do to a model is estimated by rounding at random (each node's
result gets an error of the size of a rounding, several times over). So reassociation is let stand, also where it
cancels, and a wrong coefficient is not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import runtime
from ..errors import GraphError, RunError
from ..inlining import inline
from ..ir import ModelData
from ..types import DType, TensorType, as_dtype, float64
from .evaluation import STRUCTURAL, Evaluation, Unknown, limits

AGREE, NOTE, UNDEFINED, FAILED, REFUTED = "agree", "note", "undefined", "failed", "refuted"

_SAMPLES = 6
"""How often a side is computed with random roundings."""

_OPTIONS = {"graph_optimization_level": "ORT_DISABLE_ALL", "intra_op_num_threads": 1, "inter_op_num_threads": 1}

Run = Callable[[ModelData, Mapping[str, Any]], Sequence[Any]]
"""Runs a model in its own dtypes; raises `RunError`."""


class Judgement(NamedTuple):
    """What came of one draw: `AGREE`, `NOTE` (nothing can be said), `UNDEFINED`, `FAILED` or `REFUTED`, and why."""

    kind: str
    reason: str = ""
    output: int = 0
    """The output that the reason is about."""
    before: Any = None
    after: Any = None
    """What the two sides gave, where they were compared."""


def run_plainly(model: ModelData, feeds: Mapping[str, Any]) -> Sequence[Any]:
    """A model's outputs on ONNX Runtime, one thread, nothing optimised."""
    return tuple(runtime.run(model, feeds, options=_OPTIONS, symbols=False).values())


class Judge:
    """Two models with the same inputs, judged draw by draw.

    Args:
        before: What is right by definition.
        after: What should do the same.
        run: Runs a model in its own dtypes; by default ONNX Runtime, unoptimised.
    """

    def __init__(self, before: ModelData, after: ModelData, *, run: Run = run_plainly) -> None:
        self.before = inline(before) if before.functions else before
        self.after = inline(after) if after.functions else after
        self._run = run
        self._native = [True, True]
        """Whether the runtime takes each side."""

    def judge(self, feeds: Mapping[str, Any]) -> Judgement:
        """Judge one draw."""
        try:
            before = Evaluation(self.before, feeds, wide=True)
        except RunError as error:
            return Judgement(FAILED, f"before: {error}")
        if before.undefined:
            return Judgement(UNDEFINED, before.undefined)
        try:
            after = Evaluation(self.after, feeds, wide=True)
        except Unknown as error:
            return Judgement(FAILED, f"after: {error}")
        except RunError as error:
            return self._confirmed_failure(feeds, error)
        if after.undefined:
            if after.undefined.startswith("the place of NaN"):
                return Judgement(UNDEFINED, after.undefined)
            return Judgement(REFUTED, f"only after: {after.undefined}")
        return _Draw(self, feeds, before, after).judgement()

    def _confirmed_failure(self, feeds: Mapping[str, Any], error: RunError) -> Judgement:
        try:
            self._run(self.after, feeds)
        except RunError:
            return Judgement(REFUTED, f"only after, it fails: {str(error).splitlines()[0]}")
        return Judgement(NOTE, f"the reference alone fails after: {error}")

    def run(self, place: int, feeds: Mapping[str, Any]) -> Sequence[Any] | None:
        """The outputs of a side (0 before, 1 after) in its own dtypes on the runtime; None where it does not run."""
        if not self._native[place]:
            return None
        try:
            return self._run((self.before, self.after)[place], feeds)
        except RunError:
            self._native[place] = False
            return None


class _Draw:
    """One draw on which both sides were computed."""

    def __init__(self, judge: Judge, feeds: Mapping[str, Any], before: Evaluation, after: Evaluation) -> None:
        self._judge, self._feeds, self._before, self._after = judge, feeds, before, after
        self._ran: list[Sequence[Any]] | None = None
        self._spreads: list[list[Any]] | None = None
        self._moved_only = (before.operators | after.operators) <= STRUCTURAL
        self._with_infinity = any(
            isinstance(item, np.ndarray) and item.dtype.kind not in "iubcOUS" and bool(np.any(np.isinf(item)))
            for item in feeds.values()
        )

    def judgement(self) -> Judgement:
        """What comes of the draw, over all outputs."""
        types = [[value.type for _, value in side.graph.outputs] for side in (self._judge.before, self._judge.after)]
        outputs = list(zip(self._before.outputs, self._after.outputs, *types, strict=True))
        for index, (truth, other, kind, after) in enumerate(outputs):
            problem = _form(truth, other, kind, after)
            if problem:
                return Judgement(REFUTED, problem, index, truth, other)
        notes: list[Judgement] = []
        for index, (truth, other, kind, _) in enumerate(outputs):
            for found in (self._exactly(index, truth, other, kind), self._roundings(index, truth, kind)):
                if found is not None and found.kind == REFUTED:
                    return found
                if found is not None:
                    notes.append(found)
        return notes[0] if notes else Judgement(AGREE)

    # In float64

    def _exactly(self, index: int, truth: Any, other: Any, kind: Any) -> Judgement | None:
        """Whether the sides are the same in float64; None where they are."""
        dtype = kind.dtype if isinstance(kind, TensorType) else None
        reason = self._difference(index, truth, other, dtype)
        if reason is None:
            return None
        if self._before.lost:
            return Judgement(NOTE, "before leaves the range of float64", index)
        if dtype is float64 and (self._before.strayed or self._after.strayed or self._after.lost):
            return Judgement(NOTE, "a number leaves the range of float64", index)
        if self._with_infinity and reason == "NaN at other places":
            return Judgement(NOTE, "NaN of infinities that were given", index)
        ran = self._runs()
        if ran is not None and _alike(ran[0][index], ran[1][index]):
            return Judgement(NOTE, "the runtime sees no difference", index, truth, other)
        shown = (ran[0][index], ran[1][index]) if ran is not None else (truth, other)
        return Judgement(REFUTED, reason, index, *shown)

    def _difference(self, index: int, truth: Any, other: Any, dtype: DType | None) -> str | None:
        if not isinstance(truth, np.ndarray):
            return None if _alike(truth, other) else "other values"
        if truth.dtype.kind != "f" or dtype is None:
            wrong = truth != other if truth.dtype.kind != "c" else ~((truth == other) | (np.isnan(truth) & np.isnan(other)))
            if not bool(np.any(wrong)):
                return None
            spread = self._spread(index)
            settled = wrong if spread is None else wrong & (spread == 0)
            return "other values" if bool(np.any(settled)) else None
        masks = _masks(truth, other)
        if masks:
            return masks
        finite = np.isfinite(truth)
        gap = np.abs(truth - other, where=finite, out=np.zeros(truth.shape))
        if self._moved_only:
            return "other numbers" if bool(np.any(gap > 0)) else None
        allowed = 4 * _ulps(truth, dtype)
        if not bool(np.any(gap > allowed)):
            return None
        spread = self._spread(index)
        assert spread is not None
        excess = gap > allowed + 2 * spread
        if not bool(np.any(excess)):
            return None
        worst = float(np.max(np.where(excess, gap / np.maximum(np.abs(truth), limits(dtype).least), 0.0)))
        return f"other numbers, by {worst:.2g} of their size"

    # In their own dtypes

    def _roundings(self, index: int, truth: Any, kind: Any) -> Judgement | None:
        """Whether after errs more than before does, beyond what rounding explains; None where it does not."""
        dtype = kind.dtype if isinstance(kind, TensorType) else None
        if not isinstance(truth, np.ndarray) or dtype is None or dtype.kind != "float":
            return None
        strayed = self._before.strayed or self._after.strayed
        ran = self._runs()
        if ran is None:
            return Judgement(NOTE, "no runtime here runs both sides", index)
        before, after = (np.asarray(side[index]).astype(np.float64) for side in ran)
        if before.shape != truth.shape or after.shape != truth.shape:
            return Judgement(NOTE, "the runtime gives another shape than the reference", index, before, after)
        if strayed:
            return None if _masks(truth, after) is None else Judgement(NOTE, strayed, index, before, after)
        if _masks(truth, before):
            return Judgement(NOTE, "the runtime and the reference disagree before", index, before, truth)
        masks = _masks(before, after)
        if masks:
            return Judgement(REFUTED, f"{masks}, in {dtype}", index, before, after)
        finite = np.isfinite(truth)
        errors = [np.abs(run - truth, where=finite, out=np.zeros(truth.shape)) for run in (before, after)]
        allowed = 4 * errors[0] + 4 * _ulps(truth, dtype)
        if not bool(np.any(errors[1] > allowed)):
            return None
        spread = self._spread(index)
        assert spread is not None
        excess = errors[1] > 4 * np.maximum(errors[0], spread) + 4 * _ulps(truth, dtype)
        if not bool(np.any(excess)):
            return None
        place = np.unravel_index(int(np.argmax(np.where(excess, errors[1], 0))), truth.shape)
        reason = f"an error of {errors[1][place]:.2g} where before has {errors[0][place]:.2g}, in {dtype}"
        return Judgement(REFUTED, reason, index, before, after)

    def _runs(self) -> list[Sequence[Any]] | None:
        """What both sides give in their own dtypes: on the runtime, or where it takes not both, in the reference."""
        if self._ran is None:
            found = [self._judge.run(place, self._feeds) for place in (0, 1)]
            if found[0] is None or found[1] is None:
                try:
                    found = [
                        Evaluation(side, self._feeds, wide=False).outputs
                        for side in (self._judge.before, self._judge.after)
                    ]
                except GraphError:
                    return None
            self._ran = [side for side in found if side is not None]
        return self._ran

    def _spread(self, index: int) -> Any:
        """How far roundings at random move an output; of what is no float, whether they do."""
        if self._spreads is None:
            self._spreads = []
            for place, _ in enumerate(self._before.outputs):
                self._spreads.append(None)  # type: ignore[arg-type]
            for model, known in ((self._judge.before, self._before), (self._judge.after, self._after)):
                for seed in range(_SAMPLES):
                    blurred = Evaluation(model, self._feeds, wide=True, noise=seed).outputs
                    for place, (noisy, plain) in enumerate(zip(blurred, known.outputs, strict=True)):
                        moved = _distance(noisy, plain)
                        have = self._spreads[place]
                        self._spreads[place] = moved if have is None else np.maximum(have, moved)
        return self._spreads[index]


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
        return "NaN at other places"
    infinite = np.isinf(truth) | np.isinf(other)
    if bool(np.any(infinite & (truth != other))):
        return "infinities at other places"
    return None


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
    finite = np.isfinite(wide[0])
    gap = np.abs(wide[0] - wide[1], where=finite, out=np.zeros(a.shape))
    return not bool(np.any(gap > 2 * _ulps(wide[0], dtype)))
