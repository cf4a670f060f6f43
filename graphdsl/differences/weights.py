"""How far two arrays are apart, read piece by piece."""

from typing import NamedTuple

import numpy as np

_PIECE = 1 << 20


class Distance(NamedTuple):
    """How two arrays of one dtype and shape differ; the figures are None for text, and for complex numbers' parts."""

    different: int
    """How many elements differ; NaN equals NaN."""
    size: int
    largest: float | None
    """The largest absolute difference."""
    relative: float | None
    """The largest difference relative to the size of the element before; infinite where that was 0."""

    def __str__(self) -> str:
        if not self.different:
            return "only signs of zero or bits of NaN differ"
        share = f"{self.different:,} of {self.size:,} elements differ" if self.size != 1 else "it differs"
        if self.largest is None:
            return share
        return f"max abs {self.largest:.3g}, max rel {self.relative:.3g}, {share}"


def distance(before: np.ndarray, after: np.ndarray) -> Distance | None:
    """The distance of two arrays of one dtype and shape; None where they are equal to the bit."""
    if before is after or before.size == 0:
        return None
    if before.dtype == object:
        count = sum(a != b for a, b in zip(before.ravel(), after.ravel(), strict=True))
        return Distance(count, before.size, None, None) if count else None
    one, other = before.reshape(-1), after.reshape(-1)
    different, largest, relative = 0, 0.0, 0.0
    equal_bits = True
    for start in range(0, one.size, _PIECE):
        a, b = one[start : start + _PIECE], other[start : start + _PIECE]
        if a.tobytes() == b.tobytes():
            continue
        equal_bits = False
        found = _figures(a, b)
        different += found[0]
        largest, relative = max(largest, found[1]), max(relative, found[2])
    return None if equal_bits else Distance(different, one.size, largest, relative)


def _figures(a: np.ndarray, b: np.ndarray) -> tuple[int, float, float]:
    kind = a.dtype.kind
    wide = np.complex128 if kind == "c" else np.longdouble if a.dtype.itemsize == 8 and kind in "iu" else np.float64
    with np.errstate(all="ignore"):
        x, y = a.astype(wide), b.astype(wide)
        differs = (x != y) & ~(np.isnan(x) & np.isnan(y))
        if not differs.any():
            return 0, 0.0, 0.0
        gap = np.abs(x[differs] - y[differs])
        size = np.abs(x[differs])
        gap = np.where(np.isnan(gap), np.inf, gap)
        part = np.where(size > 0, gap / np.where(size > 0, size, 1), np.inf)
        part = np.where(np.isnan(part), np.inf, part)
    return int(differs.sum()), float(gap.max()), float(part.max())
