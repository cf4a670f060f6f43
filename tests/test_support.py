"""The judge of results: it accepts what is right and rejects what is not."""

import numpy as np
import pytest
from support import assert_close, assert_equal, build, edges, pairs, run

import graphdsl as gd


def test_equal_arrays_pass() -> None:
    values = np.array([0.0, -0.0, np.nan, np.inf, 1.5], np.float32)
    assert_equal(values, values.copy())
    assert_equal(np.array([0.0], np.float32), np.array([-0.0], np.float32), zeros=False)


@pytest.mark.parametrize(
    ("want", "text"),
    [
        (np.array([1.0, 2.0]), "y has dtype float32, but should have float64"),
        (np.array([[1.0, 2.0]], np.float32), "y has shape (2,), but should have (1, 2)"),
        (np.array([1.0, 2.0000002], np.float32), "y[1] = np.float32(2.0), but NumPy gives np.float32(2.0000002)"),
        (np.array([1.0, np.nan], np.float32), "y[1] = np.float32(2.0), but NumPy gives np.float32(nan)"),
    ],
)
def test_unequal_arrays_do_not(want: np.ndarray, text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_equal(np.array([1.0, 2.0], np.float32), want, "y")
    assert str(caught.value) == text


def test_signs_of_zero_count() -> None:
    with pytest.raises(AssertionError, match=r"y\[0\] = np.float32\(0.0\), but NumPy gives np.float32\(-0.0\)"):
        assert_equal(np.array([0.0], np.float32), np.array([-0.0], np.float32), "y")


def test_close_counts_units_of_the_truth() -> None:
    one = np.array([1.0], np.float32)
    assert_close(one, np.array([1 + 2.0**-24]), 0.5)
    with pytest.raises(AssertionError, match=r"it should be np.float32\(1.0000002\): 2.00 units off, 1.9 allowed"):
        assert_close(one, np.array([1 + 2.0**-22]), 1.9)
    assert_close(one, np.array([1 + 2.0**-22]), 1.9, scale=2.0)


@pytest.mark.parametrize(
    ("got", "truth"), [(1.0, np.nan), (np.nan, 1.0), (np.inf, 1.0), (np.inf, -np.inf), (1.0, np.inf)]
)
def test_close_is_strict_about_nan_and_infinity(got: float, truth: float) -> None:
    with pytest.raises(AssertionError, match="but it should be"):
        assert_close(np.array([got], np.float32), np.array([truth]), 1000)


def test_close_is_strict_about_signs_of_zero() -> None:
    zero = np.array([0.0], np.float32)
    with pytest.raises(AssertionError, match=r"= np.float32\(0.0\), but it should be np.float32\(-0.0\)"):
        assert_close(zero, np.array([-0.0]), 4)
    assert_close(zero, np.array([-0.0]), 4, zeros=False)
    assert_close(zero, np.array([-1e-46]), 4, zeros=False)


def test_an_overflow_may_round_either_way() -> None:
    most = np.finfo(np.float32).max
    assert_close(np.array([np.inf], np.float32), np.array([float(most)]), 1)
    assert_close(np.array([most], np.float32), np.array([float(most) * (1 + 2.0**-24)]), 1)
    with pytest.raises(AssertionError):
        assert_close(np.array([np.inf], np.float32), np.array([float(most) / 2]), 1)


def test_one_session_serves_all_shapes() -> None:
    def double(x: gd.Tensor) -> gd.Tensor:
        return x + x

    for shape in ((), (3,), (2, 0)):
        assert_equal(run(double, np.ones(shape, np.float32)), np.full(shape, 2, np.float32))
    assert build(double, [np.float32]) is build(double, [gd.float32])


def test_edges_are_of_the_dtype() -> None:
    assert edges(gd.uint8).tolist()[:5] == [0, 1, 255, 254, 127] and edges(gd.bool).tolist() == [False, True]
    assert np.isnan(edges(gd.float16)[-1]) and edges(gd.float16).dtype == np.float16
    left, right = pairs(np.array([1, 2]))
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(1, 1), (2, 1), (1, 2), (2, 2)]
