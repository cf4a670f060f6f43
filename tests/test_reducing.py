"""Methods along axes mean what NumPy's mean: exactly for integers, within the rounding of any order of sums for floats.

A sum of n terms computed in any order is within (n - 1) u of the exact one, relative to the sum of the terms'
magnitudes, where u is half the distance from 1 to the next number (Higham, Accuracy and Stability, 4.2). The exact
results come from NumPy in `longdouble`, on the same inputs.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernels import MISSING_ALONG_AXES
from twins import ALL, FLOATS, INTEGERS, KNOWN, NAMED, UNNAMED, UNRANKED, agree, assert_same, compute, counted

import graphdsl as gd
from graphdsl import op
from graphdsl.types import as_dtype

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
WHATS = st.sampled_from([KNOWN, NAMED, UNNAMED, UNRANKED])
X = counted((2, 3, 4))


def refusal(call: Any) -> str:
    with pytest.raises(gd.GraphError) as caught:
        call()
    message, place = str(caught.value).rsplit("\n  at ", 1)
    assert "test_reducing.py" in place
    return message


METHODS = {
    "sum": "ReduceSum",
    "prod": "ReduceProd",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "argmax": "ArgMax",
    "argmin": "ArgMin",
    "cumsum": "CumSum",
    "sort": "TopK",
    "argsort": "TopK",
}
REFUSED = {
    "sum": {"int8", "int16", "uint8", "uint16", "bool"},
    "prod": {"int8", "int16", "uint8", "uint16", "bool"},
    "cumsum": {"int8", "int16", "uint8", "uint16", "bool"},
    "max": {"int16", "uint16"},
    "min": {"int16", "uint16"},
    "sort": {"bool"},
    "argsort": {"bool"},
}
"""What ONNX's operator does not take, so that the method refuses it with the cast to write."""


def runs(method: str, dtype: np.dtype) -> bool:
    """Whether a method takes a dtype, and the runtime has a kernel for it."""
    name = dtype.name
    return name not in REFUSED.get(method, ()) and as_dtype(dtype) not in MISSING_ALONG_AXES[METHODS[method]]


@pytest.mark.parametrize(("method", "name"), [(m, name) for m, names in REFUSED.items() for name in sorted(names)])
def test_what_onnx_does_not_take_is_refused_with_the_cast(method: str, name: str) -> None:
    x = gd.input("x", gd.types.tensor_type(name, (2, 3)))
    cast = "int32" if method in ("max", "min", "sort", "argsort") else "int64"
    assert refusal(lambda: getattr(x, method)(0)) == (
        f"{method}() of {name} tensors; {METHODS[method]} does not take them at opset 21: write "
        f"t.astype(gd.{cast}).{method}()"
    )
    if method not in ("sort", "argsort"):
        widened = compute(lambda x: getattr(x.astype(cast), method)(0), counted((2, 3), name))
        assert_same(widened.arrays[0], getattr(counted((2, 3), name).astype(cast), method)(0).astype(cast))


@st.composite
def arrays(draw: st.DrawFn, dtypes: Any, shapes: Any = SHAPES) -> np.ndarray:
    """Arrays without NaN; floats from about 1/8 to 8 in magnitude, so that nothing overflows or underflows."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(shapes)
    if dtype.kind == "f":
        whole = draw(hnp.arrays(np.int64, shape, elements=st.integers(-1023, 1023)))
        return np.asarray(whole / 128, dtype)
    return np.asarray(draw(hnp.arrays(dtype, shape)))


@st.composite
def axes_of(draw: st.DrawFn, rank: int, several: bool = True) -> Any:
    if not rank or not draw(st.integers(0, 4)):
        return None
    one = st.integers(-rank, rank - 1)
    if not several or draw(st.booleans()):
        return draw(one)
    return draw(st.lists(one, unique_by=lambda axis: axis % rank, max_size=rank).map(tuple))


def empty_by_negative_axis(x: np.ndarray, axis: Any, what: str) -> bool:
    """Whether the runtime gives the wrong shape; see `test_the_runtime_ignores_negative_axes_of_empty_tensors`."""
    return what == UNRANKED and not x.size and axis is not None and bool(np.any(np.atleast_1d(axis) < 0))


def test_the_runtime_ignores_negative_axes_of_empty_tensors() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and `empty_by_negative_axis` is to go."""
    empty = np.zeros((0, 3), np.float32)
    assert compute(lambda x: op.ReduceSum(x, [-2], keepdims=0), empty, what=UNRANKED).arrays[0].shape == (0, 3)
    assert compute(lambda x: op.ReduceSum(x, [0], keepdims=0), empty, what=UNRANKED).arrays[0].shape == (3,)
    agree(lambda x: x.sum(axis=-2), empty, what=NAMED)  # where the rank is known, axes are counted from the front


def reduced_count(x: np.ndarray, axis: Any) -> int:
    return x.size if axis is None else int(np.prod([x.shape[i] for i in np.atleast_1d(axis).astype(int)]))


def assert_within(found: np.ndarray, exact: np.ndarray, error: Any) -> None:
    """Assert that every element is within an absolute error of the exact one, and one rounding to its dtype."""
    u = np.finfo(found.dtype).eps / 2
    least = float(np.finfo(found.dtype).smallest_subnormal)
    assert found.shape == exact.shape, f"{found.shape}, but should be {exact.shape}"
    with np.errstate(invalid="ignore"):
        distance = np.abs(found.astype(np.longdouble) - exact)
    allowed = np.asarray(error, np.longdouble) + u * np.abs(exact) + least
    assert np.all(distance <= allowed), f"{found!r} is {distance!r} from {exact!r}, allowed {allowed!r}"


INTEGER_METHODS = ["sum", "prod", "max", "min", "any", "all"]


@given(st.sampled_from(INTEGER_METHODS), arrays([*INTEGERS, np.dtype(bool)]), WHATS, st.booleans(), st.data())
def test_integer_reductions_are_exact(
    method: str, x: np.ndarray, what: str, keepdims: bool, data: st.DataObject
) -> None:
    logical = method in ("any", "all") or (x.dtype == bool and method in ("max", "min"))
    axis = data.draw(axes_of(x.ndim))
    if not logical and not runs(method, x.dtype):
        return
    if (method in ("max", "min") and not reduced_count(x, axis)) or empty_by_negative_axis(x, axis, what):
        return  # the extreme of nothing is an error in NumPy, the dtype's end in ONNX
    keywords = {"dtype": x.dtype} if method in ("sum", "prod") else {}
    if method == "sum":  # the partial sums stay below 2 to the 53rd, and in the dtype: see the test below
        x = x // np.asarray(2 * x.size + 2, x.dtype) // np.asarray(1 if x.dtype == np.int32 else 2**10, x.dtype)
    elif method == "prod":  # and so do the partial products: 3 to the 18th at the most
        x = np.where(np.arange(x.size).reshape(x.shape) < 18, x % 7 - 3, x % 2 * 2 - 1).astype(x.dtype)
    wanted = getattr(x, method)(axis=axis, keepdims=keepdims, **keywords)
    result = compute(lambda x: getattr(x, method)(axis=axis, keepdims=keepdims), x, what=what)
    assert_same(result.arrays[0], wanted)
    if what == KNOWN:
        assert result.tensors[0].shape == np.shape(wanted)


def test_the_runtime_adds_and_multiplies_int64_in_float64() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and the test above may draw all integers."""
    odd = np.array([2**53 + 1, 0], np.int64)
    assert compute(lambda x: x.sum(), odd).arrays[0] == 2**53
    assert compute(lambda x: x.prod(), np.maximum(odd, 1)).arrays[0] == 2**53
    assert compute(lambda x: x.sum(), np.array([2**63 - 1, 1])).arrays[0] == 2**63 - 1  # wraps in NumPy
    assert compute(lambda x: x.cumsum()[-1], odd).arrays[0] == 2**53 + 1


@given(arrays(FLOATS), WHATS, st.booleans(), st.data())
def test_float_sums_and_means(x: np.ndarray, what: str, keepdims: bool, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim))
    if empty_by_negative_axis(x, axis, what):
        return
    n, u = reduced_count(x, axis), np.finfo(x.dtype).eps / 2
    exact = x.astype(np.longdouble)
    magnitude = np.abs(exact).sum(axis, keepdims=keepdims)
    found = compute(lambda x: x.sum(axis, keepdims=keepdims), x, what=what).arrays[0]
    assert_within(found, exact.sum(axis, keepdims=keepdims), n * u * magnitude)
    if n:
        found = compute(lambda x: x.mean(axis, keepdims=keepdims), x, what=what).arrays[0]
        assert_within(found, exact.mean(axis, keepdims=keepdims), (n + 1) * u * magnitude / n)


@given(arrays(FLOATS, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)), WHATS, st.data())
def test_float_products(x: np.ndarray, what: str, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim))
    if empty_by_negative_axis(x, axis, what):
        return
    x = np.where(np.abs(x) < 0.25, 1, np.clip(x, -2, 2)).astype(
        x.dtype
    )  # at most 2 to the 9th, at least 2 to the -18th
    exact = x.astype(np.longdouble).prod(axis)
    n, u = reduced_count(x, axis), np.finfo(x.dtype).eps / 2
    # float16 products of nine factors of 1/4 are subnormal: each step may then lose half a step of the smallest number
    lost = n * float(np.finfo(x.dtype).smallest_subnormal) * 2.0**9
    assert_within(compute(lambda x: x.prod(axis), x, what=what).arrays[0], exact, n * u * np.abs(exact) + lost)


@given(arrays(FLOATS), WHATS, st.booleans(), st.integers(0, 2), st.data())
def test_variances(x: np.ndarray, what: str, keepdims: bool, ddof: int, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim).filter(lambda axis: axis != ()))
    n, u = reduced_count(x, axis), np.finfo(x.dtype).eps / 2
    if n <= ddof or (what == UNRANKED and ddof) or empty_by_negative_axis(x, axis, what):
        return
    exact = x.astype(np.longdouble)
    distance = np.abs(exact - exact.mean(axis, keepdims=True))
    each = (n + 3) * u * np.abs(exact).max(initial=0)  # the error of one distance: the mean's and a subtraction's
    squares = ((distance + each) ** 2).sum(axis, keepdims=keepdims)
    error = (2 * each * distance + each**2).sum(axis, keepdims=keepdims) + (n + 3) * u * squares
    variance = exact.var(axis, ddof=ddof, keepdims=keepdims)
    found = compute(lambda x: x.var(axis, ddof=ddof, keepdims=keepdims), x, what=what).arrays[0]
    least = float(np.finfo(x.dtype).smallest_subnormal) * n
    assert_within(found, variance, error / (n - ddof) + least)
    found = compute(lambda x: x.std(axis, correction=ddof, keepdims=keepdims), x, what=what).arrays[0]
    # |sqrt(a) - sqrt(b)| <= sqrt(|a - b|)
    assert_within(found, np.sqrt(variance), np.sqrt(error / (n - ddof) + least) + u * np.sqrt(variance))


@pytest.mark.parametrize("what", [KNOWN, NAMED])
def test_a_variance_with_no_degrees_of_freedom(what: str) -> None:
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        for ddof in (4, 5):
            agree(lambda x, ddof=ddof: (x.var(ddof=ddof), x.std(-1, ddof=ddof)), np.float32([1, 2, 4, 4]), what=what)


@given(st.sampled_from(["max", "min", "any", "all"]), arrays(FLOATS), WHATS, st.booleans(), st.data())
def test_float_extremes_and_truth(method: str, x: np.ndarray, what: str, keepdims: bool, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim))
    if (method in ("any", "all") or reduced_count(x, axis)) and not empty_by_negative_axis(x, axis, what):
        agree(lambda x: getattr(x, method)(axis=axis, keepdims=keepdims), x, what=what)


@given(st.sampled_from(["argmax", "argmin"]), arrays([d for d in ALL if d.kind != "O"]), WHATS, st.data())
def test_positions_of_extremes(method: str, x: np.ndarray, what: str, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim, several=False))
    if runs(method, x.dtype) and reduced_count(x, axis) and not empty_by_negative_axis(x, axis, what):
        agree(lambda x: getattr(x, method)(axis=axis), x, what=what)
        if axis is not None or what != UNRANKED:
            agree(lambda x: getattr(x, method)(axis, keepdims=True), x, what=what)


@given(arrays([*INTEGERS, *FLOATS]), WHATS, st.data())
def test_running_sums(x: np.ndarray, what: str, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim, several=False))
    if not runs("cumsum", x.dtype):
        return
    found = compute(lambda x: x.cumsum(axis), x, what=what).arrays[0]
    if x.dtype.kind != "f":
        assert_same(found, x.cumsum(axis, dtype=x.dtype))
    else:
        exact = x.astype(np.longdouble)
        u = np.finfo(x.dtype).eps / 2
        assert_within(found, exact.cumsum(axis), x.size * u * np.abs(exact).cumsum(axis))


def test_running_products() -> None:
    for axis in (None, 0, -1):
        agree(lambda x, a=axis: x.cumprod(a), np.float32([[1, 2, -1], [0.5, 3, 4]]), opset=26)
    assert refusal(lambda: gd.input("x", gd.float32["n"]).cumprod()) == (
        "cumprod() below opset 26; ONNX has CumProd since then: with gd.opset(26): ..."
    )


@given(arrays([*INTEGERS, *FLOATS]), st.sampled_from([KNOWN, NAMED, UNNAMED]), st.data())
def test_sorting(x: np.ndarray, what: str, data: st.DataObject) -> None:
    axis = data.draw(axes_of(x.ndim, several=False))
    if runs("sort", x.dtype) and (x.ndim or axis is None):
        wanted = np.sort(x, axis=axis), np.argsort(x, axis=axis, kind="stable")
        result = compute(lambda x: (x.sort(axis), x.argsort(axis, kind="stable")), x, what=what)
        assert_same(result.arrays[0], wanted[0])
        assert_same(result.arrays[1], wanted[1])


def test_sorting_refusals() -> None:
    x = gd.input("x", gd.float32["n", 3])
    with gd.opset(10):
        assert refusal(lambda: x.sort()) == (
            "sort() below opset 11; ONNX sorts in ascending order since then: with gd.opset(11): ..."
        )
    assert refusal(lambda: x.sort(order="f")) == "sort(order=...); a tensor has no fields to sort by"
    assert refusal(lambda: gd.input("u", gd.float32).sort()).startswith("sort of a tensor of unknown rank; ")


def test_one_node_each() -> None:
    operators = {
        "sum": ["ReduceSum"],
        "prod": ["ReduceProd"],
        "mean": ["ReduceMean"],
        "max": ["ReduceMax"],
        "min": ["ReduceMin"],
        "argmax": ["ArgMax"],
        "cumsum": ["CumSum"],
        "sort": ["TopK"],
        "any": ["Cast", "Cast", "ReduceMax", "Greater"],
        "var": ["ReduceMean", "Sub", "Mul", "ReduceMean"],
        "std": ["ReduceMean", "Sub", "Mul", "ReduceMean", "Sqrt"],
    }
    for method, wanted in operators.items():
        assert compute(lambda x, m=method: getattr(x, m)(axis=-1), X).operators == wanted


def test_named_dimensions_are_kept() -> None:
    x = gd.input("x", gd.float32["n", "m", 3])
    assert x.sum(-1).shape == ("n", "m")
    assert x.mean((0, -1), keepdims=True).shape == (1, "m", 1)
    assert x.max().shape == ()
    assert x.std(1, ddof=1).shape == ("n", 3)
    assert x.argmin(1, keepdims=True).shape == ("n", 1, 3)
    assert x.cumsum(1).shape == ("n", "m", 3)
    assert x.all(2).shape == ("n", "m")
    assert x.sort().shape == ("n", "m", 3)


def test_the_dtype_of_a_result() -> None:
    x = gd.input("x", gd.int32[2, 3])
    assert x.sum().dtype == gd.int32  # int64 in NumPy
    assert x.sum(dtype=gd.int64).dtype == gd.int64
    assert x.mean(dtype=np.float64).dtype == gd.float64
    assert x.cumsum(0, dtype="int64").dtype == gd.int64
    assert x.argmax().dtype == x.argsort().dtype == gd.int64
    assert compute(lambda x: x.sum(dtype=gd.int64), np.uint8([200, 100])).arrays[0] == 300


@pytest.mark.parametrize("method", ["mean", "var", "std"])
@pytest.mark.parametrize("dtype", [gd.int32, gd.uint8, gd.bool])
def test_means_of_integers_are_refused(method: str, dtype: gd.DType) -> None:
    x = gd.input("x", dtype[2, 3])
    assert refusal(lambda: getattr(x, method)(axis=0)) == (
        f"{method}() of {dtype} tensors would give floats in NumPy and integers in ONNX; write "
        f"t.astype(gd.float32).{method}()"
    )


def test_axes_and_keywords_that_are_refused() -> None:
    x = gd.input("x", gd.float32["n", 3])
    assert refusal(lambda: x.sum(2)) == "sum: axis 2 is out of range for float32['n', 3]; its axes run from -2 to 1"
    assert refusal(lambda: x.max((0, -2))) == "max: an axis is given twice in (0, -2)"
    assert refusal(lambda: x.argmax(-3)) == (
        "argmax: axis -3 is out of range for float32['n', 3]; its axes run from -2 to 1"
    )
    assert refusal(lambda: x.sum(out=np.zeros(3))) == "sum(out=...); a tensor never changes; use the result"
    assert refusal(lambda: x.max(where=x > 0)) == (
        "max(where=...); write op.Where(mask, t, neutral) first, with the neutral element of the reduction, such as 0 "
        "for sum"
    )
    assert refusal(lambda: x.sum(initial=1.0)) == ("sum(initial=...); join it to the result, as in t.sum() + initial")
    assert refusal(lambda: x.sum(axes=0)) == "sum() has no keyword 'axes'; it takes those that its signature shows"
    assert refusal(lambda: x.var(axis=())) == "var(axis=()); the variance of single elements is zero"
    assert refusal(lambda: x.std(mean=x)) == "std(mean=...); the mean is computed where it is needed"
    assert refusal(lambda: gd.input("s", gd.string[2]).max()).startswith("ReduceMax: data is string")
    with pytest.raises(gd.FrozenValueError):
        x.sum(axis=x.argmax())


def test_extremes_of_bool() -> None:
    agree(lambda x: (x.max(0), x.min(), x.max(-1, keepdims=True)), X > 5, what=NAMED)


def test_reducing_no_axes_changes_nothing() -> None:
    agree(lambda x: (x.sum(axis=()), x.max(axis=()), x.mean(axis=()), x.any(axis=())), X)


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 18, 20, 26])
def test_every_opset(opset: int) -> None:
    for what in (KNOWN, NAMED):
        agree(lambda x: (x.sum(0), x.max(-1), x.min(), x.mean((0, 2)), x.prod(1)), X, what=what, opset=opset)
        agree(lambda x: (x.any(1), (x > 3).all(0), x.argmax(1), x.argmin()), X, what=what, opset=opset)
        if opset >= 11:
            agree(lambda x: (x.cumsum(1), x.argsort(0)), X, what=what, opset=opset)
        if opset >= 13:
            agree(lambda x: x.var(1, ddof=1), X, what=what, opset=opset)


def test_numpys_own_functions_find_the_methods() -> None:
    x = gd.input("x", gd.float32["n", 3])
    assert np.sum(x, axis=1).shape == ("n",)
    assert np.mean(x, axis=0, keepdims=True).shape == (1, 3)
    assert np.argmax(x, axis=1).shape == np.max(x, 1).shape == np.any(x, 1).shape == np.std(x, 1).shape == ("n",)
    assert np.cumsum(x, 1).shape == np.clip(x, 0, 1).shape == ("n", 3)
    assert np.transpose(x).shape == (3, "n") and np.squeeze(x[:, :1], 1).shape == ("n",)
    assert np.take(x, [0], 1).shape == ("n", 1) and np.reshape(x, (-1,)).rank == 1


def test_the_judge_rejects() -> None:
    with pytest.raises(AssertionError, match="allowed"):
        assert_within(np.float32([1.0001]), np.ones(1, np.longdouble), 1e-5)
    with pytest.raises(AssertionError, match="should be"):
        assert_within(np.float32([1]), np.ones((1, 1), np.longdouble), 1)
    with pytest.raises(AssertionError, match="allowed"):
        assert_within(np.float32([np.nan]), np.ones(1, np.longdouble), 1)


def test_where_the_runtime_leaves_numpy() -> None:
    """The rows of docs/numpy.md that no other test has."""
    nothing = np.zeros((0, 2), np.float32)
    assert compute(lambda x: (x.max(0), x.min(0)), nothing).arrays[0].tolist() == [-np.inf, -np.inf]
    assert compute(lambda x: x.min(0), nothing.astype(np.int32)).arrays[0].tolist() == [2**31 - 1] * 2
    assert compute(lambda x: x.mean(0), nothing).arrays[0].tolist() == [0, 0]
    first, later = np.float32([np.nan, 1, 2]), np.float32([1, np.nan, 2])
    assert np.isnan(compute(lambda x: x.max(), first).arrays[0])
    assert compute(lambda x: x.max(), later).arrays[0] == 2
    assert compute(lambda x: x.argmin(), later).arrays[0] in (0, 1)
