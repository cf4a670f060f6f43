"""Whether witnesses of one run agree, and if not, about what.

Dtypes, shapes and everything that is no float must be the same. Floats may differ by a few units in the last place of
their dtype, and by what roundings on the way can do: every node's result is moved by the size of a rounding at random,
several times, and how far that moves the outputs is allowed (`evaluation.py`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..apart import Crash, Refusal
from ..errors import RunError
from ..inlining import inline
from ..ir import ModelData
from ..types import as_dtype
from ..walk import graphs
from .evaluation import Evaluation, Undefined, limits
from .witnesses import Outcome

_UNITS = 16
"""How many units in the last place two kernels may differ by. ONNX Runtime's Tanh errs by more than 4."""

_SHIFTED = frozenset(
    {
        *("BlackmanWindow", "Celu", "DFT", "Elu", "Erf", "GRU", "Gelu", "HammingWindow", "HannWindow", "HardSigmoid"),
        *("HardSwish", "LSTM", "LogSoftmax", "Mish", "RNN", "ReduceLogSumExp", "STFT", "Selu", "Sigmoid", "Softmax"),
        *("SoftmaxCrossEntropyLoss", "Softplus", "Swish", "Tanh"),
    }
)
"""Operators that add 1 on the way, as their formulas say, so they are exact to a part of 1, not of the result."""

_SPECTRAL = frozenset({"DFT", "STFT"})
"""Operators that are exact to a part of the largest result."""

_SAMPLES = 4


class Difference(NamedTuple):
    """What two witnesses differ in."""

    reason: str
    output: str = ""
    one: Any = None
    other: Any = None


class Runs:
    """What came of a run by several witnesses, compared two by two."""

    def __init__(self, model: ModelData, feeds: Mapping[str, Any]) -> None:
        self._model, self._feeds = model, feeds
        operators = {node.op_type for graph in graphs(model.graph) for node in graph.nodes}
        self._shifts, self._spectral = bool(operators & _SHIFTED), bool(operators & _SPECTRAL)
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
        if self._spectral and not all(np.isfinite(item).all() for item in self._feeds.values()):
            return None  # what becomes of infinity depends on the algorithm
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
            least = max(least, float(np.max(size, initial=0.0))) if self._spectral else least
            allowed = _UNITS * known.epsilon * np.maximum(size, least)
        if not np.any(gap > allowed):
            return None
        spread = self._spread(place)
        allowed = allowed + (4 * spread if spread is not None and np.shape(spread) == gap.shape else 0.0)
        if not np.any(gap > allowed) or self._strayed():
            return None
        worst = float(np.max(gap / np.maximum(size, known.least)))
        return f"numbers that differ by {worst:.2g} of their size"

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
        return not isinstance(known, str) and bool(known[0].strayed or known[0].lost)

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
