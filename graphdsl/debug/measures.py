"""How far two arrays are apart, and what an array looks like: numbers that reports are made of."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import as_dtype

_BINS = 24
_MOST_IN_HISTOGRAM = 1 << 16
"""A histogram looks at no more elements than this, evenly spaced: it is a picture, not a measure."""

_TOLERANCES = {"float64": 1e-10, "float32": 3e-5, "float16": 1e-2, "bfloat16": 6e-2}
"""By dtype: the largest difference between two right kernels, relative to the largest element. About 256 units in the
last place of float32 (sums of thousands of products, approximated exponentials), 8 to 10 of the small ones."""


class Distance(float):
    """How far one array is from another: the largest absolute difference, and other measures as attributes.

    A NaN or infinity where the other array has something else is an infinite distance; in its place in both, none.
    """

    max_relative: float
    """The largest of the elements' relative differences; elements below a thousandth of the largest count as that."""
    relative: float
    """The largest absolute difference relative to the largest element expected: what tolerances are about."""
    mse: float
    """The mean of the squared differences."""
    cosine: float
    """The cosine of the angle between the arrays; 1 for the same direction."""
    note: str
    """What numbers cannot say: that the shapes or dtypes differ."""

    def __new__(
        cls,
        max_abs: float,
        *,
        max_relative: float = math.inf,
        relative: float = math.inf,
        mse: float = math.inf,
        cosine: float = math.nan,
        note: str = "",
    ) -> "Distance":
        self = super().__new__(cls, max_abs)
        self.max_relative = max_relative
        self.relative = relative
        self.mse = mse
        self.cosine = cosine
        self.note = note
        return self

    @property
    def max_abs(self) -> float:
        """The largest absolute difference; the number itself."""
        return float(self)

    def __repr__(self) -> str:
        return self.note or f"{float(self):.2g}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else repr(self)

    def __reduce__(self) -> Any:
        values = {name: getattr(self, name) for name in ("max_relative", "relative", "mse", "cosine", "note")}
        return _distance, (float(self), values)


def _distance(max_abs: float, values: dict[str, Any]) -> Distance:
    return Distance(max_abs, **values)


def distance(got: np.ndarray, expected: np.ndarray) -> Distance:
    """How far an array is from what was expected.

    >>> distance(np.array([1.0, 2.0]), np.array([1.0, 2.5])).max_relative
    0.2
    >>> distance(np.array([np.nan]), np.array([0.0])) > 1e300
    True
    """
    if got.shape != expected.shape:
        return Distance(math.inf, note=f"shape {list(got.shape)}, not {list(expected.shape)}")
    if not got.size:
        return Distance(0.0, max_relative=0.0, relative=0.0, mse=0.0, cosine=1.0)
    if not _is_number(got) or not _is_number(expected):
        same = bool(np.array_equal(got, expected))
        return Distance(0.0, max_relative=0.0, relative=0.0, mse=0.0, cosine=1.0) if same else Distance(math.inf)
    a, b = _wide(got), _wide(expected)
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.all():
        alike = finite | (a == b) | (np.isnan(a) & np.isnan(b))
        if not alike.all():
            count = int(alike.size - np.count_nonzero(alike))
            return Distance(math.inf, note=f"NaN or infinity in {count} of {alike.size}")
        a, b = a[finite], b[finite]
        if not a.size:
            return Distance(0.0, max_relative=0.0, relative=0.0, mse=0.0, cosine=1.0)
    return _finite_distance(a.reshape(-1), b.reshape(-1))


def _finite_distance(a: np.ndarray, b: np.ndarray) -> Distance:
    off = np.abs(a - b)
    size = np.abs(b)
    most, scale = float(off.max()), float(size.max())
    if most == 0.0:
        return Distance(0.0, max_relative=0.0, relative=0.0, mse=0.0, cosine=1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = math.sqrt(_dot(a, a)) * math.sqrt(_dot(b, b))
        return Distance(
            most,
            max_relative=float((off / np.maximum(size, scale / 1000)).max()) if scale else math.inf,
            relative=most / scale if scale else most,
            mse=float(np.mean(off * off)),
            cosine=_dot(a, b) / lengths if lengths else math.nan,
        )


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """The scalar product. NumPy's own starts threads for it, which takes longer than the product."""
    return float((a * b.conj()).sum().real) if a.dtype.kind == "c" else float((a * b).sum())


def tolerance(*dtypes: Any) -> float:
    """The largest relative distance that right kernels may have, for the coarsest of some NumPy dtypes.

    >>> tolerance(np.float32), tolerance(np.int64)
    (3e-05, 0.0)
    """
    return max((_TOLERANCES.get(as_dtype(dtype).name, 0.0) for dtype in dtypes), default=0.0)


@dataclass(frozen=True)
class Statistics:
    """What an array looks like."""

    dtype: str
    shape: tuple[int, ...]
    smallest: float
    largest: float
    mean: float
    deviation: float
    """The standard deviation."""
    nonfinite: int
    """How many elements are NaN or infinite; the other numbers leave them out."""
    counts: tuple[int, ...] = ()
    """A histogram, over equal steps from `low` to `high`."""
    low: float = 0.0
    high: float = 0.0


def statistics(array: np.ndarray, low: float | None = None, high: float | None = None) -> Statistics:
    """What an array looks like; the histogram spans its own elements, or from `low` to `high`."""
    if not _is_number(array):
        return Statistics(str(array.dtype), array.shape, *(math.nan,) * 4, nonfinite=0)
    values = _wide(array).reshape(-1)
    values = np.abs(values) if values.dtype.kind == "c" else values
    finite = np.isfinite(values)
    lost = int(values.size - np.count_nonzero(finite))
    values = values[finite] if lost else values
    if not values.size:
        return Statistics(str(array.dtype), array.shape, *(math.nan,) * 4, nonfinite=lost)
    least, most = float(values.min()), float(values.max())
    low, high = least if low is None else low, most if high is None else high
    picture = values[:: -(-values.size // _MOST_IN_HISTOGRAM)]
    counts = _histogram(picture, low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    return Statistics(str(array.dtype), array.shape, least, most, mean, deviation, lost, counts, low, high)


def span(array: np.ndarray) -> tuple[float | None, float | None]:
    """The least and the largest finite element, between which histograms of both sides are drawn."""
    if array.dtype.kind not in "fiu" or not array.size:
        return None, None
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)


def _histogram(values: np.ndarray, low: float, high: float) -> tuple[int, ...]:
    width = high - low
    if not math.isfinite(width) or width <= 0.0:
        return (len(values),)
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.clip((values - low) * (_BINS / width), 0, _BINS - 1).astype(np.int64)
    return tuple(np.bincount(places, minlength=_BINS).tolist())


def _is_number(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufcV"


def _wide(array: np.ndarray) -> np.ndarray:
    """An array in a dtype that holds the differences of its elements."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64, copy=False)
