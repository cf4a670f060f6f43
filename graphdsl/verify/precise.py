"""Operators that ONNX's reference evaluator gets wrong, or computes so that digits are lost; see docs/upstream.md."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from ..errors import RunError
from .recurrent import recurrent

Precise: TypeAlias = Callable[..., np.ndarray | tuple[Any, ...] | None]
"""Gives one output or several; None where the reference is right."""


def _axes(x: np.ndarray, axis: int | None, version: int) -> Any:
    """Along what a vector lies: before opset 13, along everything from the axis on."""
    if version >= 13 or not x.ndim:
        return -1 if axis is None else axis
    first = 1 if axis is None else axis
    return tuple(range(first + x.ndim if first < 0 else first, x.ndim))


def softmax(x: np.ndarray, *, version: int, axis: int | None = None) -> np.ndarray:
    """Softmax, of old opsets too."""
    if not x.size:
        return x.copy()
    axes = _axes(x, axis, version)
    powers = np.exp(x - np.max(x, axis=axes, keepdims=True))
    result: np.ndarray = powers / np.sum(powers, axis=axes, keepdims=True)
    return result.astype(x.dtype)


def log_softmax(x: np.ndarray, *, version: int, axis: int | None = None) -> np.ndarray:
    """LogSoftmax, which the reference computes as the logarithm of Softmax, and so as -inf where that underflows."""
    if not x.size:
        return x.copy()
    axes = _axes(x, axis, version)
    shifted = x - np.max(x, axis=axes, keepdims=True)
    result: np.ndarray = shifted - np.log(np.sum(np.exp(shifted), axis=axes, keepdims=True))
    return result.astype(x.dtype)


def hardmax(x: np.ndarray, *, version: int, axis: int | None = None) -> np.ndarray:
    """Hardmax, of old opsets too."""
    if not x.size:
        return x.copy()
    axes = _axes(x, axis, version)
    if not isinstance(axes, tuple):
        moved = np.moveaxis(x, axes, -1)
        return np.moveaxis(_hardmax(moved.reshape(-1, moved.shape[-1])).reshape(moved.shape), -1, axes)
    rows = int(np.prod(x.shape[: x.ndim - len(axes)], dtype=np.int64))
    return _hardmax(x.reshape(rows, -1)).reshape(x.shape)


def _hardmax(rows: np.ndarray) -> np.ndarray:
    result = np.zeros_like(rows)
    result[np.arange(len(rows)), np.argmax(rows, axis=1)] = 1
    return result


def batch_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    *,
    version: int,
    epsilon: float = float(np.float32(1e-5)),  # attributes are float32
    **attributes: Any,
) -> np.ndarray | None:
    """BatchNormalization that does not train, which the reference does at opsets 9 to 13; None where it does."""
    trains = attributes.get("training_mode") or (version < 7 and not attributes.get("is_test"))
    if trains or not attributes.get("spatial", 1) or x.ndim < 2:
        return None
    form = (1, -1, *(1,) * (x.ndim - 2))
    scaled, moved, middle, spread = (array.reshape(form) for array in (scale, bias, mean, var))
    result: np.ndarray = (x - middle) / np.sqrt(spread + np.asarray(epsilon, x.dtype)) * scaled + moved
    return result.astype(x.dtype)


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    *,
    version: int,
    alpha: float = 1.0,
    beta: float = 1.0,
    **turned: int,
) -> np.ndarray | None:
    """Gemm of integers, which the reference computes in float64; None where it has to, or where there are floats."""
    if a.dtype.kind not in "iu" or (alpha, beta) != (1.0, 1.0):
        return None
    product: np.ndarray = (a.T if turned.get("transA") else a) @ (b.T if turned.get("transB") else b)
    return product if c is None else product + c


def power(a: np.ndarray, b: np.ndarray, *, version: int, **attributes: Any) -> np.ndarray | None:
    """Pow of integers, which NumPy computes in float64 where the exponent is uint64; None where there are floats."""
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        return None
    result: np.ndarray = np.power(a, np.minimum(b, 64 + b % 2).astype(a.dtype))  # larger ones are for -1, 0 and 1
    return result


def mean_variance(x: np.ndarray, *, version: int, axes: Sequence[int] = (0, 2, 3), **attributes: Any) -> np.ndarray:
    """MeanVarianceNormalization, whose body the reference refuses in another dtype than float32."""
    along = tuple(axes)
    shifted = x - np.mean(x, axis=along, keepdims=True)
    deviation = np.sqrt(np.mean(shifted**2, axis=along, keepdims=True))
    result: np.ndarray = shifted / (deviation + np.asarray(1e-9, x.dtype))
    return result


def global_lp_pool(x: np.ndarray, *, version: int, p: float = 2) -> np.ndarray:
    """GlobalLpPool, which the reference does not know."""
    axes = tuple(range(2, x.ndim))
    result: np.ndarray = np.sum(np.abs(x) ** p, axis=axes, keepdims=True) ** (1 / p)
    return result.astype(x.dtype)


def handed_on(x: Any, **attributes: Any) -> tuple[Any, ...]:
    """Optional, of which the reference makes a list, and Identity, which it refuses of an optional without a value."""
    return (x,)


def sequence_insert(items: list[Any], item: Any, position: Any = None, *, version: int) -> tuple[list[Any]]:
    """SequenceInsert, which the reference takes before the last item where it should be after that."""
    place = len(items) if position is None else int(position)
    if not -len(items) <= place <= len(items):
        raise RunError(f"a place in a sequence of {len(items)} is from {-len(items)} to {len(items)}, got {place}")
    place += len(items) if place < 0 else 0
    return ([*items[:place], item, *items[place:]],)


def unique(x: np.ndarray, *, version: int, axis: int | None = None, sorted: int = 1) -> np.ndarray | None:
    """Unique in order of first appearance, which the reference sorts where no other output is asked for."""
    if sorted:
        return None
    _, places = np.unique(x, return_index=True, axis=axis)
    found: np.ndarray = np.take(x, np.sort(places), axis=axis)
    return found


PRECISE: Mapping[str, Precise] = MappingProxyType(
    {
        "BatchNormalization": batch_normalization,
        "GRU": recurrent("GRU"),
        "Gemm": gemm,
        "GlobalLpPool": global_lp_pool,
        "Hardmax": hardmax,
        "Identity": handed_on,
        "LSTM": recurrent("LSTM"),
        "LogSoftmax": log_softmax,
        "MeanVarianceNormalization": mean_variance,
        "Optional": handed_on,
        "Pow": power,
        "RNN": recurrent("RNN"),
        "SequenceInsert": sequence_insert,
        "Softmax": softmax,
        "Unique": unique,
    }
)
"""What takes the place of the evaluator's own, by operator."""
