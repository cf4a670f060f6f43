"""Whether witnesses of one run agree, and if not, about what.

Dtypes, shapes and everything that is no float must be the same. Floats may differ by a few units in the last place of
their dtype, and by what roundings on the way can do: every node's result is moved by the size of a rounding at random,
several times, and how far that moves the outputs is allowed (`evaluation.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..apart import Crash, Refusal
from ..errors import RunError
from ..inlining import inline
from ..ir import ModelData
from ..types import as_dtype, float32
from ..walk import constants, graphs
from .evaluation import Evaluation, Undefined, limits, stash
from .witnesses import Outcome

_UNITS = 16
"""How many units in the last place two kernels may differ by. ONNX Runtime's Tanh errs by more than 4."""

_SHIFTED = frozenset(
    {
        "AffineGrid",  # places from -1 to 1
        *("BlackmanWindow", "HammingWindow", "HannWindow"),  # 0.5 - 0.5 * cos(...)
        *("Celu", "Elu", "Selu"),  # exp(x) - 1
        "Gelu",  # 1 + erf(x), and 1 + tanh(x)
        *("HardSigmoid", "HardSwish"),  # alpha * x + beta
        *("LogSoftmax", "ReduceLogSumExp", "SoftmaxCrossEntropyLoss"),  # the logarithm of about 1
        *("GRU", "LSTM", "RNN"),  # gates of which each is of the size of 1
        *("DFT", "STFT"),  # sines and cosines
    }
)
"""Operators that add what is of the size of 1, as their formulas say: exact to a part of 1, not of the result.

Where a formula does not (Sigmoid, Tanh, Erf, Softplus, Softmax, ...), a kernel that loses digits near 0 is reported.
"""

_WEIGHING = frozenset({"DFT", "DeformConv", "GridSample", "Resize", "STFT"})
"""Operators that add up numbers with weights that they compute: exact to a part of the largest number."""

_REARRANGED = frozenset(
    {
        *("AffineGrid", "BatchNormalization", "Conv", "DFT", "DeformConv", "GRU", "InstanceNormalization", "LSTM"),
        *("RNN", "STFT"),
    }
)
"""Operators whose kernels rearrange the formula, or leave out products with 0: infinities are NaN by one way only."""

_TAKING_AWAY = frozenset({"LogSoftmax", "SoftmaxCrossEntropyLoss"})
"""Operators whose kernels take the largest number away first, so that an infinity makes NaN of some or of all."""

_SQUARING = frozenset({"MeanVarianceNormalization"})
"""Operators whose body squares what it is given, so that a number leaves its range of which the result would not."""

_SAMPLES = 4


class Difference(NamedTuple):
    """What two witnesses differ in."""

    reason: str
    output: str = ""
    one: Any = None
    other: Any = None

    @property
    def gap(self) -> float:
        """How far numbers are apart at most; infinite where one of them is no number, or nothing is known."""
        return self._largest(lambda one, other: np.abs(one - other))

    @property
    def relative(self) -> float:
        """How far numbers are apart at most, as a part of the larger one."""
        return self._largest(lambda one, other: np.abs(one - other) / np.maximum(np.abs(one), np.abs(other)))

    def _largest(self, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
        one, other = self.one, self.other
        if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray) or one.shape != other.shape:
            return np.inf
        if one.dtype == object or one.dtype.kind == "c":
            return np.inf
        differing = one != other
        with np.errstate(all="ignore"):
            known = [item[differing].astype(np.float64) for item in (one, other)]
            differing = ~(np.isnan(known[0]) & np.isnan(known[1]))
            gaps = measure(known[0][differing], known[1][differing])
        return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))


class Runs:
    """What came of a run by several witnesses, compared two by two."""

    def __init__(self, model: ModelData, feeds: Mapping[str, Any]) -> None:
        self._model, self._feeds = model, feeds
        whole = inline(model) if model.functions else model
        nodes = [node for graph in graphs(whole.graph) for node in graph.nodes]
        operators = {node.op_type for node in nodes}
        self._shifts, self._weighs = bool(operators & _SHIFTED), bool(operators & _WEIGHING)
        self._takes_away = bool(operators & _TAKING_AWAY)
        self._rearranged, self._squares = bool(operators & _REARRANGED), bool(operators & _SQUARING)
        stashes = [dtype for dtype in map(stash, nodes) if dtype is not None]
        self._coarse = max((limits(dtype).epsilon for dtype in stashes), default=0.0)
        self._known: tuple[Evaluation, list[Any]] | str | None = None

    def difference(self, one: Outcome, other: Outcome) -> Difference | None:
        """What two outcomes differ in; None where they agree, or nothing can be said."""
        if isinstance(one, (Crash, Refusal)) or isinstance(other, (Crash, Refusal)):
            return None
        for place, name in enumerate(one):
            found = self._of_output(place, one[name], other[name])
            if found is not None:
                return Difference(found, name, one[name], other[name])
        return None

    @property
    def undefined(self) -> str | None:
        """Why the standard does not say what the model computes here, if it does not."""
        known = self._evaluated()
        return known if isinstance(known, str) and known else None

    def _of_output(self, place: int, one: Any, other: Any) -> str | None:
        if isinstance(one, (list, tuple)) or isinstance(other, (list, tuple)):
            if not isinstance(one, (list, tuple)) or not isinstance(other, (list, tuple)) or len(one) != len(other):
                return "sequences of other lengths"
            return next((r for a, b in zip(one, other, strict=True) if (r := self._of_output(place, a, b))), None)
        one, other = (np.asarray(item) if isinstance(item, np.generic) else item for item in (one, other))
        if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
            return None if one is other or one == other else "other values"
        if one.dtype != other.dtype:
            return f"dtypes {one.dtype} and {other.dtype}"
        if one.shape != other.shape:
            return f"shapes {one.shape} and {other.shape}"
        if one.dtype == object or as_dtype(one.dtype).kind not in ("float", "complex"):
            if np.array_equal(one, other):
                return None
            spread = self._spread(place)
            return "other values" if spread is None or not np.any(spread) else None
        return self._of_floats(place, one, other)

    def _of_floats(self, place: int, one: np.ndarray, other: np.ndarray) -> str | None:
        if one.dtype.kind == "c":
            return self._of_floats(place, one.real, other.real) or self._of_floats(place, one.imag, other.imag)
        a, b = one.astype(np.float64), other.astype(np.float64)
        if np.array_equal(a, b, equal_nan=True):
            return None
        dtype = as_dtype(one.dtype)
        if self._rearranged and not np.isfinite(self._sizes()).all():
            return None  # what becomes of infinity depends on the algorithm
        if self._takes_away and np.isinf(self._sizes()).any():
            return None
        for name, mask in (("NaN", np.isnan), ("infinities", np.isinf)):
            if not np.array_equal(mask(a), mask(b)) and not self._strayed():
                return f"{name} at other places"
        infinite = np.isinf(a) & np.isinf(b)
        if np.any(np.sign(a[infinite]) != np.sign(b[infinite])) and not self._strayed():
            return "infinities of other signs"
        known = limits(dtype)
        with np.errstate(all="ignore"):
            finite = np.isfinite(a) & np.isfinite(b)
            gap = np.where(finite, np.abs(a - b), 0.0)
            size = np.where(finite, np.maximum(np.abs(a), np.abs(b)), 0.0)
            least = 1.0 if self._shifts else known.least
            least = max(least, float(np.max(size, initial=0.0)), *self._sizes()) if self._weighs else least
            epsilon = max(known.epsilon, self._coarse)
            allowed = _UNITS * epsilon * np.maximum(size, least)
        if not np.any(gap > allowed):
            return None
        spread = self._spread(place)
        if spread is not None and np.shape(spread) == gap.shape:
            allowed = allowed + 4 * spread * (epsilon / known.epsilon)
        if not np.any(gap > allowed) or self._strayed():
            return None
        worst = float(np.max(gap / np.maximum(size, known.least)))
        return f"numbers that differ by {worst:.2g} of their size"

    def _sizes(self) -> list[float]:
        """The sizes of the numbers that the model is given, or has as constants."""
        arrays = [*self._feeds.values(), *(value.array for value in constants(self._model.graph))]
        numbers = [item for item in arrays if isinstance(item, np.ndarray) and item.dtype.kind not in "OUS"]
        return [float(np.max(np.abs(item.astype(np.complex128)), initial=0.0)) for item in numbers]

    # What the standard and roundings say

    def _evaluated(self) -> tuple[Evaluation, list[Any]] | str:
        """The model in float64, and its outputs under roundings; the empty text where that cannot be computed."""
        if self._known is None:
            plain = inline(self._model) if self._model.functions else self._model
            try:
                truth = Evaluation(plain, self._feeds, wide=True)
                noisy = [Evaluation(plain, self._feeds, wide=True, noise=seed).outputs for seed in range(_SAMPLES)]
                self._known = truth, noisy
            except Undefined as problem:
                self._known = str(problem)
            except RunError:
                self._known = ""
        return self._known

    def _strayed(self) -> bool:
        """Whether numbers leave the range of their dtype on the way, where kernels may round as they like."""
        known = self._evaluated()
        if isinstance(known, str):
            return False
        truth = known[0]
        return bool(truth.strayed or truth.lost or (self._squares and truth.largest**2 > limits(float32).most))

    def _spread(self, place: int) -> Any:
        """How far roundings move an output; None where that cannot be computed."""
        known = self._evaluated()
        if isinstance(known, str):
            return None
        truth = known[0].outputs[place]
        if not isinstance(truth, np.ndarray):
            return None
        spread: Any = np.zeros(truth.shape)
        for outputs in known[1]:
            moved = outputs[place]
            if not isinstance(moved, np.ndarray) or moved.shape != truth.shape:
                return None
            with np.errstate(all="ignore"):
                if truth.dtype.kind == "f":
                    spread = np.fmax(spread, np.abs(moved - truth))
                else:
                    spread = np.maximum(spread, moved != truth)
        return spread
