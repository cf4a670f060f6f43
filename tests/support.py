"""Tensor expressions run on ONNX Runtime, one session for all that share a structure; and the judge of what comes out.

`run` builds an expression on inputs of unknown rank, so that one session serves every shape.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import graphdsl as gd
from graphdsl.types import as_dtype

ort.set_default_logger_severity(4)

Expression = Callable[..., Any]


def in_part(names: Iterable[str], few: Sequence[str]) -> list[Any]:
    """The parameters of a test that is run of all of them by `pytest -m full`, and always of a few."""
    return [name if name in few else pytest.param(name, marks=pytest.mark.full) for name in names]


def build(expression: Expression, dtypes: Sequence[Any], opset: int = 21) -> gd.Model:
    """The model of an expression on inputs `x0`, `x1`, ... of these dtypes and unknown rank."""
    return _build(expression, tuple(map(as_dtype, dtypes)), opset)


@lru_cache(2048)
def _build(expression: Expression, dtypes: tuple[gd.DType, ...], opset: int) -> gd.Model:
    with gd.opset(opset):
        inputs = [gd.input(f"x{i}", dtype) for i, dtype in enumerate(dtypes)]
        returned = expression(*inputs)
        outputs = returned if isinstance(returned, tuple) else (returned,)
        # what is returned as it came, or made of constants alone, is an output too
        return gd.build({f"y{i}": output for i, output in enumerate(outputs)}, inputs=inputs)


@lru_cache(2048)
def _session(model: gd.Model) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(expression: Expression, *arrays: np.ndarray, opset: int = 21) -> Any:
    """What an expression on tensors gives for arrays: one array, or a tuple of them."""
    model = build(expression, [array.dtype for array in arrays], opset)
    found = _session(model).run(None, {f"x{i}": array for i, array in enumerate(arrays)})
    return found[0] if len(found) == 1 else tuple(found)


def numpy(expression: Expression, *arrays: Any) -> Any:
    """What NumPy gives, without its warnings."""
    with np.errstate(all="ignore"):
        return expression(*arrays)


def assert_equal(got: np.ndarray, want: Any, what: str = "", *, zeros: bool = True) -> None:
    """Equal in dtype, shape and every bit; any NaN equals any NaN. With `zeros=False`, 0.0 equals -0.0."""
    want = np.asarray(want)
    _assert_alike(got, want, what)
    same = got == want
    if got.dtype.kind == "f":
        if zeros:
            same &= np.signbit(got) == np.signbit(want)
        same |= np.isnan(got) & np.isnan(want)
    if not same.all():
        place = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(f"{what}{list(place)} = {got[place]!r}, but NumPy gives {want[place]!r}")


def assert_close(
    got: np.ndarray, truth: Any, ulps: float, what: str = "", *, scale: Any = 0.0, zeros: bool = True
) -> None:
    """Within so many units in the last place of the truth, or of `scale` where that is larger (an intermediate value).

    The truth is given in a wider dtype. NaN and infinities must be where they are in the truth rounded to the dtype of
    the result, except that an overflow may round either way. So must signs of zero, unless `zeros=False`.
    """
    wide = np.asarray(truth)
    with np.errstate(all="ignore"):
        want = wide.astype(got.dtype)
    _assert_alike(got, want, what)
    limits = np.finfo(got.dtype)
    most = np.nextafter(limits.max, got.dtype.type(0))  # the spacing at the very largest number is infinite
    with np.errstate(all="ignore"):
        size = np.minimum(np.maximum(np.maximum(abs(wide), scale), limits.tiny), most)
        unit = np.spacing(size.astype(got.dtype)).astype(np.longdouble)
        error = abs(got.astype(np.longdouble) - wide) / unit
        brink = (abs(abs(wide) - np.longdouble(limits.max)) <= ulps * unit) & (np.sign(got) == np.sign(wide))
    special = ~np.isfinite(got) | ~np.isfinite(want)
    bad = np.where(special, ~((got == want) | (np.isnan(got) & np.isnan(want)) | brink), ~(error <= ulps))
    if zeros:
        bad |= (got == 0) & (want == 0) & (np.signbit(got) != np.signbit(want))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        off = f"{float(error[place]):.2f} units off, {ulps} allowed"
        raise AssertionError(f"{what}{list(place)} = {got[place]!r}, but it should be {want[place]!r}: {off}")


def _assert_alike(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.dtype == want.dtype, f"{what} has dtype {got.dtype}, but should have {want.dtype}"
    assert got.shape == want.shape, f"{what} has shape {got.shape}, but should have {want.shape}"


def edges(dtype: gd.DType) -> np.ndarray:
    """The numbers of a dtype at which operators are likely to go wrong."""
    if dtype is gd.bool:
        return np.array([False, True])
    if dtype.kind == "float":
        limits = np.finfo(dtype.numpy)
        sizes = [
            *(0.0, 0.1, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 8.0, 10.0, 100.0, 1000.0, 1024.0, np.pi, np.inf),
            *(limits.max, limits.tiny, limits.smallest_subnormal, limits.eps, 1 / limits.eps, 3 / limits.eps),
        ]
        return np.array([*sizes, *[-size for size in sizes], np.nan]).astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    near = [limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 2]
    signed = [-1, -2, -3, -7, -10] if limits.min else []
    return np.array([*near, *signed, 0, 1, 2, 3, 5, 7, 10, 63, 64, 100], dtype.numpy)


def pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every two of some values, as two vectors."""
    left, right = np.meshgrid(values, values)
    return left.ravel(), right.ravel()


def sampled(values: Iterable[Any]) -> list[Any]:
    """Parameters of a test that draws examples: each once for every run, and once for `pytest -m full`."""
    given = list(values)
    return [*given, *[pytest.param(value, marks=pytest.mark.full, id=f"{value} in full") for value in given]]
