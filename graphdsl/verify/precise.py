"""Operators that ONNX's reference evaluator computes by a way that loses what it should give; see docs/upstream.md."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np


def log_softmax(x: np.ndarray, *, version: int, axis: int | None = None) -> np.ndarray:
    """LogSoftmax, which the reference computes as the logarithm of Softmax, and so as -inf where that underflows."""
    if version >= 13:
        axes: Any = -1 if axis is None else axis
    else:  # everything from the axis on is one vector
        axes = tuple(range((1 if axis is None else axis) % max(x.ndim, 1), x.ndim))
    if not x.size:
        return x.copy()
    with np.errstate(all="ignore"):
        shifted = x - np.max(x, axis=axes, keepdims=True)
        result: np.ndarray = shifted - np.log(np.sum(np.exp(shifted), axis=axes, keepdims=True))
    return result.astype(x.dtype)


PRECISE: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType({"LogSoftmax": log_softmax})
"""What takes the place of the evaluator's own, by operator."""
