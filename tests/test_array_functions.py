"""NumPy's functions on tensors: each gives what it gives on arrays, or is refused with what to write.

None of them asks a tensor for its values.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy._core.overrides import ARRAY_FUNCTIONS
from support import assert_close, assert_equal
from twins import KNOWN, NAMED, compute

import graphdsl as gd
from graphdsl.tensor import array_functions

A = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
B = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
V = np.array([3, -1, 2, 0], np.int64)
M = np.array([[2.0, 1.0], [1.0, 3.0]], np.float32)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 1.5, -0.5], np.float32)

EXAMPLES: dict[str, list[tuple[Callable[..., Any], tuple[np.ndarray, ...]]]] = {
    "all": [(lambda a: np.all(a > -9, axis=1), (A,))],
    "allclose": [(lambda a, b: np.allclose(a, b), (A, B)), (lambda a: np.allclose(a, a + 1e-7), (A,))],
    "amax": [(lambda a: np.amax(a, 0), (A,))],
    "amin": [(lambda a: np.amin(a, axis=1, keepdims=True), (A,))],
    "any": [(lambda a: np.any(a > 5), (A,))],
    "argmax": [(lambda a: np.argmax(a, axis=1), (B,))],
    "argmin": [(lambda a: np.argmin(a), (B,))],
    "argsort": [(lambda v: np.argsort(v), (V,))],
    "around": [(lambda b: np.around(b, 1), (B,))],
    "astype": [(lambda v: np.astype(v, np.float32), (V,))],
    "broadcast_arrays": [(lambda a, v: np.broadcast_arrays(a, v), (A, V))],
    "broadcast_to": [(lambda v: np.broadcast_to(v, (2, 3, 4)), (V,)), (lambda a: np.broadcast_to(a, (2, 3, 4)), (A,))],
    "clip": [(lambda a: np.clip(a, -1, 2), (A,)), (lambda v: np.clip(v, 0, None), (V,))],
    "compress": [
        (lambda a: np.compress([True, False, True], a, axis=0), (A,)),
        (lambda v: np.compress(v > 0, V), (V,)),
    ],
    "concatenate": [
        (lambda a, b: np.concatenate([a, b]), (A, B)),
        (lambda a, b: np.concatenate((a, b, A), axis=-1), (A, B)),
        (lambda a, b: np.concatenate([a, b], axis=None), (A, B)),
    ],
    "copy": [(lambda a: np.copy(a), (A,))],
    "count_nonzero": [(lambda v: np.count_nonzero(v), (V,)), (lambda a: np.count_nonzero(a > 0, axis=1), (A,))],
    "cumsum": [(lambda a: np.cumsum(a, axis=1), (A,))],
    "det": [(lambda m: np.linalg.det(m), (M,))],
    "diagonal": [(lambda m: np.diagonal(m), (M,))],
    "dot": [(lambda a, v: np.dot(a, v), (M, M[0]))],
    "einsum": [(lambda a, b: np.einsum("ij,kj->ik", a, b), (A, B)), (lambda m: np.einsum("ii", m), (M,))],
    "expand_dims": [(lambda a: np.expand_dims(a, 1), (A,)), (lambda a: np.expand_dims(a, (0, -1)), (A,))],
    "flip": [(lambda a: np.flip(a), (A,)), (lambda a: np.flip(a, 1), (A,)), (lambda a: np.flip(a, (0, -1)), (A,))],
    "full_like": [(lambda a: np.full_like(a, 7), (A,)), (lambda a: np.full_like(a, 2.5, dtype=np.float64), (A,))],
    "hstack": [(lambda a, b: np.hstack([a, b]), (A, B)), (lambda v: np.hstack([v, 1, v]), (V,))],
    "isclose": [
        (lambda a: np.isclose(a, [np.nan, np.inf, np.inf, 1.5000001, 0]), (SPECIAL,)),
        (lambda a: np.isclose(a, a, equal_nan=True), (SPECIAL,)),
        (lambda a, b: np.isclose(a, b, rtol=0.5, atol=0.1), (A, B)),
    ],
    "matrix_transpose": [(lambda a: np.matrix_transpose(a), (A,))],
    "max": [(lambda a: np.max(a), (A,))],
    "mean": [(lambda a: np.mean(a, axis=0), (A,))],
    "min": [(lambda a: np.min(a, (0, 1)), (A,))],
    "moveaxis": [(lambda a: np.moveaxis(a[None], 0, -1), (A,)), (lambda a: np.moveaxis(a[None], (0, 1), (2, 0)), (A,))],
    "nan_to_num": [
        (lambda s: np.nan_to_num(s), (SPECIAL,)),
        (lambda s: np.nan_to_num(s, nan=1.0, posinf=2.0, neginf=-2.0), (SPECIAL,)),
        (lambda v: np.nan_to_num(v), (V,)),
    ],
    "nonzero": [(lambda a: np.nonzero(a > 0), (A,))],
    "ones_like": [(lambda a: np.ones_like(a), (A,)), (lambda v: np.ones_like(v > 0), (V,))],
    "outer": [(lambda v: np.outer(v, v), (V,)), (lambda a: np.outer(a, M), (A,))],
    "prod": [(lambda m: np.prod(m, axis=1), (M,))],
    "ravel": [(lambda a: np.ravel(a), (A,))],
    "real": [(lambda a: np.real(a), (A,))],
    "repeat": [(lambda v: np.repeat(v, 2), (V,))],
    "reshape": [(lambda a: np.reshape(a, (2, -1)), (A,))],
    "round": [(lambda b: np.round(b, 2), (B,))],
    "sort": [(lambda v: np.sort(v), (V,))],
    "split": [(lambda a: tuple(np.split(a, 2, axis=1)), (A,)), (lambda v: tuple(np.split(v, [1, 3])), (V,))],
    "squeeze": [(lambda a: np.squeeze(a[None], 0), (A,))],
    "stack": [(lambda a, b: np.stack([a, b]), (A, B)), (lambda a, b: np.stack((a, b), axis=-1), (A, B))],
    "std": [(lambda a: np.std(a, axis=1), (A,))],
    "sum": [(lambda a: np.sum(a, axis=-1), (A,)), (lambda a: np.sum(a), (A,))],
    "swapaxes": [(lambda a: np.swapaxes(a, 0, 1), (A,))],
    "take": [(lambda v: np.take(v, [0, -1]), (V,))],
    "tile": [(lambda v: np.tile(v, 2), (V,)), (lambda a: np.tile(a, (2, 1, 3)), (A,)), (lambda a: np.tile(a, 2), (A,))],
    "trace": [(lambda m: np.trace(m), (M,))],
    "transpose": [(lambda a: np.transpose(a), (A,)), (lambda a: np.transpose(a, (1, 0)), (A,))],
    "tril": [(lambda a: np.tril(a), (A,)), (lambda a: np.tril(a, -1), (A,))],
    "triu": [(lambda a: np.triu(a, 1), (A,))],
    "var": [(lambda a: np.var(a, axis=0, ddof=1), (A,))],
    "vstack": [(lambda a, b: np.vstack([a, b]), (A, B)), (lambda v: np.vstack([v, v]), (V,))],
    "where": [
        (lambda a: np.where(a > 0, a, 0), (A,)),
        (lambda a, b: np.where(a > b, a, b), (A, B)),
        (lambda a: np.where(A > 0, a, -1.5), (A,)),
        (lambda v: np.where(v, v, 7), (V,)),
        (lambda v: np.where(v > 0, np.float32(1), np.float32(-1)), (V,)),
        (lambda a: np.where(a > 0), (A,)),
    ],
    "zeros_like": [(lambda a: np.zeros_like(a), (A,)), (lambda a: np.zeros_like(a, dtype=np.int64), (A,))],
}
"""Calls on arrays and tensors alike, by function."""

LOOSE = {"det", "dot", "einsum", "mean", "std", "sum", "var", "isclose"}
"""Functions whose sums may be added in another order."""

ATTRIBUTES = {"ndim", "shape", "size"}


def calls() -> list[Any]:
    return [
        pytest.param(name, function, arrays, id=f"{name} {i}")
        for name, given in EXAMPLES.items()
        for i, (function, arrays) in enumerate(given)
    ]


@pytest.mark.parametrize(("name", "function", "arrays"), calls())
@pytest.mark.parametrize("what", [KNOWN, NAMED])
def test_functions_give_what_they_give_on_arrays(
    name: str, function: Callable[..., Any], arrays: tuple[np.ndarray, ...], what: str
) -> None:
    if name == "split" and what == NAMED:
        pytest.skip("an axis of unknown size has no equal parts")
    want = function(*arrays)
    found = compute(function, *arrays, what=what)
    for got, expected in zip(found.arrays, want if isinstance(want, tuple) else (want,), strict=True):
        if name in LOOSE and got.dtype.kind == "f":
            assert_close(got, np.asarray(expected, np.float64), 4, name, scale=1.0, zeros=False)
        else:
            assert_equal(got, expected, name, zeros=False)


def test_every_function_that_works_is_compared() -> None:
    works = {*array_functions._METHODS, *array_functions._COMPOSED, *array_functions._ATTRIBUTES}
    assert works - {*EXAMPLES, *ATTRIBUTES} == {"cumprod"}
    assert compute(lambda v: np.cumprod(v), V, opset=26).operators[-1] == "CumProd"


def test_functions_that_read_an_attribute() -> None:
    x = gd.input("x", gd.float32[2, "n"])
    assert (np.ndim(x), np.shape(x), np.size(x)) == (2, (2, "n"), gd.Dim("2*n"))


def every_function() -> dict[str, Callable[..., Any]]:
    """The functions of NumPy that ask their arguments what to do, by their full names."""
    found = {}
    for function in ARRAY_FUNCTIONS:
        if function.__module__.startswith("numpy"):
            found[f"{function.__module__.replace('numpy', 'np', 1)}.{function.__name__}"] = function
    return found


def test_numpy_has_the_functions_that_are_spoken_of() -> None:
    names = {name.rpartition(".")[2] for name in every_function()}
    assert len(names) > 200
    spoken = {*array_functions._METHODS, *array_functions._COMPOSED, *array_functions._ATTRIBUTES}
    assert spoken <= names
    assert not set(array_functions._ADVICE) & spoken


@pytest.mark.parametrize("label", sorted(every_function()))
def test_every_function_of_numpy_works_or_is_refused(label: str) -> None:
    function = every_function()[label]
    name = function.__name__
    if name in {*EXAMPLES, *ATTRIBUTES, "cumprod"}:
        return
    x = gd.input("x", gd.float32[2, 2])
    with pytest.raises(gd.UnsupportedError) as caught:
        x.__array_function__(function, (gd.Tensor,), (x,), {})
    message, _, place = str(caught.value).partition("\n  at ")
    assert message.startswith(f"{label} on a tensor; ")
    assert "test_array_functions.py" in place


X = gd.input("x", gd.float32["n", 4])
I = gd.input("i", gd.int64["n", 4])  # noqa: E741
LATER = "write it with the methods and operators of tensors, or with the operators of ONNX, op.X"
MIXED = " of float32 and int64 tensors: dtypes never mix silently; cast one of them, as in x.astype(gd.float32)"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda: np.linalg.svd(X), f"np.linalg.svd on a tensor; {LATER}"),
        (lambda: np.fft.fft(X), f"np.fft.fft on a tensor; {LATER}"),
        (lambda: np.pad(X, 1), "np.pad on a tensor; write op.Pad(t, [before..., after...], value)"),
        (lambda: np.median(X), "np.median on a tensor; write t.sort() and index it"),
        (lambda: np.concatenate([X, I]), "np.concatenate" + MIXED),
        (lambda: np.where(X > 0, X, I), "np.where" + MIXED),
        (
            lambda: np.concatenate([X, X], dtype=np.float64),
            "np.concatenate(..., dtype=...) on a tensor; leave it out; a tensor has no such choice",
        ),
        (
            lambda: np.broadcast_to(X, (2, 3)),
            "np.broadcast_to of float32['n', 4] to (2, 3); only axes of size 1 can be repeated",
        ),
        (
            lambda: np.split(X, 3, axis=1),
            "np.split of an axis of size 4 into 3; write op.Split(t, sizes, axis=...) with the sizes",
        ),
        (
            lambda: np.einsum(X, [0, 1]),
            'np.einsum with lists of axes; write the equation as text, as in np.einsum("ij,jk->ik", a, b)',
        ),
    ],
)
def test_what_functions_refuse(function: Callable[[], Any], text: str) -> None:
    with pytest.raises(gd.UnsupportedError) as caught:
        function()
    message, _, place = str(caught.value).partition("\n  at ")
    assert message == text
    assert "test_array_functions.py" in place


@pytest.mark.parametrize("join", [np.stack, np.vstack, np.hstack])
def test_one_tensor_is_no_list_of_tensors(join: Callable[..., Any]) -> None:
    with pytest.raises(
        gd.FrozenValueError, match=r"iterating over a tensor; .* split it with op.Split\(t, outputs=n\)"
    ):
        join(X)


@pytest.mark.parametrize(
    "convert", [np.array, np.asarray, np.ascontiguousarray, lambda t: np.array([t, t]), np.float32]
)
def test_no_conversion_freezes_a_tensor(convert: Callable[[Any], Any]) -> None:
    with pytest.raises(gd.FrozenValueError, match="a tensor has a value only when the model runs"):
        convert(X)
