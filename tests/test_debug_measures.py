"""The numbers that reports are made of: what they accept, and what they must not."""

import copy
import math
import pickle

import ml_dtypes
import numpy as np
import pytest

from graphdsl import debug
from graphdsl.debug.measures import distance, statistics, tolerance
from graphdsl.debug.recording import Store

ONE = np.float32([1, 2, 4])


def test_a_distance_is_the_largest_absolute_difference() -> None:
    found = distance(np.float32([1, 2.5, 4]), ONE)
    assert found == found.max_abs == 0.5
    assert found.relative == 0.125 and found.max_relative == 0.25
    assert found.mse == pytest.approx(0.25 / 3) and 0.99 < found.cosine < 1
    assert f"{found:.3f}" == "0.500" and str(found) == "0.5"


def test_equal_arrays_are_no_distance_apart() -> None:
    for array in (ONE, np.array([np.nan, np.inf, -np.inf, 1]), np.array([True, False]), np.array([], np.float32)):
        found = distance(array, array.copy())
        assert (found, found.relative, found.mse, found.cosine) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ([np.nan, 1], [0, 1]),
        ([0, 1], [np.nan, 1]),
        ([np.inf, 1], [-np.inf, 1]),
        ([np.inf, 1], [np.nan, 1]),
        ([3e38, 1], [np.inf, 1]),
    ],
)
def test_nan_and_infinity_in_other_places_are_infinite(got: list[float], expected: list[float]) -> None:
    found = distance(np.float32(got), np.float32(expected))
    assert found == math.inf and found.relative == math.inf
    assert found.note == str(found) == "NaN or infinity in 1 of 2"


def test_differences_beside_an_infinity_count() -> None:
    assert distance(np.float32([np.inf, 2]), np.float32([np.inf, 1])) == 1.0


def test_shapes_that_differ_are_said() -> None:
    found = distance(np.zeros((2, 3)), np.zeros((3, 2)))
    assert found == math.inf and found.note == "shape [2, 3], not [3, 2]"


def test_every_kind_of_number_is_measured() -> None:
    assert distance(np.array([1, 2]), np.array([1, 5])) == 3.0
    assert distance(np.array([True]), np.array([False])) == 1.0
    assert distance(np.array([1 + 1j]), np.array([1 - 1j])) == 2.0
    assert distance(np.array([1, 2], ml_dtypes.bfloat16), np.array([1, 2.5], ml_dtypes.bfloat16)) == 0.5
    assert distance(np.array([2**63 - 1], np.uint64), np.array([0], np.uint64)) > 9e18
    assert distance(np.array(["a"], object), np.array(["b"], object)) == math.inf


def test_an_error_where_all_should_be_zero_is_taken_as_it_is() -> None:
    assert distance(np.float32([1e-8]), np.float32([0])).relative == pytest.approx(1e-8)


def test_the_coarsest_dtype_sets_the_tolerance() -> None:
    assert tolerance(np.float64) < tolerance(np.float32) < tolerance(np.float16) < tolerance(ml_dtypes.bfloat16)
    assert tolerance(np.float32, np.float16) == tolerance(np.float16)
    assert tolerance(np.int64) == tolerance(np.bool_) == 0.0


def test_statistics_leave_out_what_is_not_finite() -> None:
    found = statistics(np.float32([0, 1, 2, np.nan, np.inf]))
    assert (found.smallest, found.largest, found.mean, found.nonfinite) == (0.0, 2.0, 1.0, 2)
    assert sum(found.counts) == 3 and found.counts[0] == found.counts[-1] == 1
    assert (found.dtype, found.shape) == ("float32", (5,))


def test_histograms_of_two_sides_have_one_scale() -> None:
    found = statistics(np.float32([-5, 0, 5]), low=0.0, high=1.0)
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.counts[0] == 2 and found.counts[-1] == 1, "what lies beyond counts at the ends"
    assert statistics(np.float32([3, 3])).counts == (2,)
    assert math.isnan(statistics(np.array(["a"], object)).mean)
    assert statistics(np.float32([np.nan])).nonfinite == 1


def test_a_distance_is_copied_whole() -> None:
    found = distance(np.float32([1, 2.5, 4]), ONE)
    for other in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        assert isinstance(other, debug.Distance)
        assert (other, other.mse, other.cosine) == (found, found.mse, found.cosine)


def test_arrays_beyond_the_budget_go_to_files() -> None:
    store = Store(100)
    small, large, none = np.zeros(10, np.float32), np.arange(50, dtype=np.float32), np.zeros((0, 3))
    assert store.keep(small) is small
    kept = store.keep(large)
    assert isinstance(kept.base, np.memmap) or isinstance(kept, np.memmap)
    assert np.array_equal(kept, large) and kept.dtype == large.dtype
    assert store.keep(none) is none
    assert store.keep(np.float32(3).reshape(())).shape == ()
