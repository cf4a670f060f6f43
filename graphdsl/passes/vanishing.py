"""What becomes of numbers too small for the dtype of a constant that a pass computes itself."""

from typing import Any

import ml_dtypes
import numpy as np


def lasting(array: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
    """An array of floats with the smallest number in place of each zero that is not to be one.

    A zero makes NaN of an infinity, and no other number does, however small.

    >>> lasting(np.float16([0, -0.0, 0]), np.array([True, True, False])).tolist()
    [5.960464477539063e-08, -5.960464477539063e-08, 0.0]
    """
    gone = nonzero & (array == 0)
    if not gone.any():
        return array
    known: Any = ml_dtypes.finfo(array.dtype)  # type: ignore[no-untyped-call]
    least = np.copysign(np.asarray(known.smallest_subnormal, array.dtype), array)
    return np.asarray(np.where(gone, least, array))
