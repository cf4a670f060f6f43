"""Every ufunc of NumPy's works on tensors with NumPy's result, or is refused with what to write instead.

Functions of floats are compared with the exact value, computed in a wider dtype, in units in the last place. A bound is
what was measured over the whole range of float32 and float64, rounded up to leave room for other processors; it covers
the kernel's own error plus the roundings of what is composed. float16 is computed in float32 and rounded once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import kernels
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernels import DTYPES, FLOATS, INTEGERS
from support import assert_close, assert_equal, build, edges, numpy, pairs, run, sampled
from test_elementwise import BINARY, UNARY, arrays_of

import graphdsl as gd
from graphdsl.tensor import ufuncs

UFUNCS = {name: value for name in dir(np) if isinstance(value := getattr(np, name), np.ufunc)}
NUMBERS = [*INTEGERS, *FLOATS]
SIGNED = [d for d in INTEGERS if d.kind == "int"]
UNSIGNED = [d for d in INTEGERS if d.kind == "uint"]


class Case(NamedTuple):
    """How a ufunc of elements is compared: on which dtypes, and within how many units in the last place."""

    dtypes: list[gd.DType]
    ulps: float = 0
    """0: bit for bit."""
    least: float = 0
    """The size below which the unit counts as that of this number, for kernels that err by an absolute amount."""
    zeros: bool = True
    """Whether signs of zero are compared: not where ONNX Runtime's Where has lost them, or NumPy leaves them open."""


CASES: dict[str, Case] = {
    "arccos": Case(FLOATS, 8),  # measured: 4.2
    "arccosh": Case(FLOATS, 4),  # 2.0
    "arcsin": Case(FLOATS, 8),  # 4.3
    "arcsinh": Case(FLOATS, 4),  # 1.6
    "arctan": Case(FLOATS, 8),  # 3.8
    "arctan2": Case(FLOATS, 8),  # 3.7: arctan, then at most one subtraction
    "arctanh": Case(FLOATS, 4),  # 1.7
    "cbrt": Case(FLOATS, 4),  # 1.7: one step of Newton's ends within a unit, then a division and a product
    "ceil": Case([gd.bool, *NUMBERS]),
    "conjugate": Case(NUMBERS),
    "copysign": Case(FLOATS),
    "cos": Case(FLOATS, 8, 1.0),  # 2.0; the float64 kernel errs by 6.3e-16, near its zeros too
    "cosh": Case(FLOATS, 4),  # 1.8
    "deg2rad": Case(FLOATS, 2),  # 1.4: the factor is rounded, and the product
    "degrees": Case(FLOATS, 2),  # 1.4: the factor is rounded, and the product
    "exp": Case(FLOATS, 4),  # 1.6
    "exp2": Case(FLOATS, 2),  # 0.5
    "expm1": Case(FLOATS, 8),  # 3.9: the logarithm's error, and three roundings
    "fabs": Case(FLOATS),
    "floor": Case([gd.bool, *NUMBERS]),
    "float_power": Case(NUMBERS, 2),
    "fmax": Case([gd.bool, *NUMBERS], zeros=False),
    "fmin": Case([gd.bool, *NUMBERS], zeros=False),
    "fmod": Case(NUMBERS),
    "heaviside": Case(FLOATS, zeros=False),
    "hypot": Case(FLOATS, 4),  # 1.9: five roundings, of which the square root halves three
    "isfinite": Case(DTYPES),
    "isinf": Case(DTYPES),
    "isnan": Case(DTYPES),
    "log": Case(FLOATS, 6),  # 3.3
    "log10": Case(FLOATS, 6),  # 3.5: log and a division
    "log1p": Case(FLOATS, 8),  # 3.4: log, a division and a product
    "log2": Case(FLOATS, 6),  # 3.5: log and a division
    "logaddexp": Case(FLOATS, 4, 1.0),  # the sum may cancel: measured in units of its terms, of size 1 there
    "logaddexp2": Case(FLOATS, 4, 1.0),
    "logical_and": Case(DTYPES),
    "logical_not": Case(DTYPES),
    "logical_or": Case(DTYPES),
    "logical_xor": Case(DTYPES),
    "maximum": Case(DTYPES, zeros=False),
    "minimum": Case(DTYPES, zeros=False),
    "modf": Case(FLOATS),
    "rad2deg": Case(FLOATS, 2),  # 1.4: the factor is rounded, and the product
    "radians": Case(FLOATS, 2),  # 1.4: the factor is rounded, and the product
    "reciprocal": Case(FLOATS),
    "rint": Case(FLOATS),
    "sign": Case(NUMBERS),
    "signbit": Case(NUMBERS),
    "sin": Case(FLOATS, 8, 1.0),  # as cos
    "sinh": Case(FLOATS, 4),  # 1.8
    "sqrt": Case(FLOATS),
    "square": Case(NUMBERS),
    "tan": Case(FLOATS, 4),  # 0.9
    "tanh": Case(FLOATS, 8, 1.0),  # 2.2 and 3.9 units of 1.0
    "trunc": Case([gd.bool, *NUMBERS]),
}
"""The ufuncs of elements that are no operators of Python's; those are compared in test_elementwise.py."""

OPERATORS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "floor_divide": "//",
    "remainder": "%",
    "divmod": "divmod",
    "power": "**",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "left_shift": "<<",
    "right_shift": ">>",
    "negative": "-t",
    "positive": "+t",
    "invert": "~t",
    "absolute": "abs",
}
"""The ufuncs that are operators of Python's, under the names of test_elementwise.py."""

PRODUCTS = {"matmul", "matvec", "vecdot", "vecmat"}
REFUSED = {"bitwise_count", "frexp", "gcd", "isnat", "lcm", "ldexp", "nextafter", "spacing"}

X = gd.input("x", gd.float32["n"])
I = gd.input("i", gd.int64["n"])  # noqa: E741
B = gd.input("b", gd.bool["n"])
ELEMENTS = {"f": X, "d": X.astype(gd.float64), "l": I, "?": B}


def truth(ufunc: np.ufunc, *arrays: np.ndarray) -> Any:
    """The result in the widest dtype."""
    wide = [array.astype(np.longdouble if array.dtype.kind == "f" else np.float64) for array in arrays]
    return numpy(ufunc, *wide)


def compare(name: str, *arrays: np.ndarray) -> None:
    """Run a ufunc on NumPy and on the runtime; where the runtime has no kernel, see that it says so."""
    ufunc, case = UFUNCS[name], CASES[name]
    arrays = _right(name, *arrays)
    if kernels.lacking(build(ufunc, [array.dtype for array in arrays])):
        with pytest.raises(ort.capi.onnxruntime_pybind11_state.NotImplemented):
            run(ufunc, *arrays)
        return
    got, want = run(ufunc, *arrays), numpy(ufunc, *arrays)
    what = f"{name} of {arrays[0].dtype}"
    if case.ulps and got.dtype.kind == "f":
        scale = case.least
        if name.startswith("logaddexp"):
            scale = np.where(np.isfinite(want), np.maximum(*map(abs, map(np.nan_to_num, arrays))), 0) + 1.0
        assert_close(got, truth(ufunc, *arrays), case.ulps, what, scale=scale, zeros=case.zeros)
        return
    for part, expected in zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]:
        assert_equal(part, expected, what, zeros=case.zeros)


def _right(name: str, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arrays, 1 where the runtime is known to err (kernels.py)."""
    kind, dtype = arrays[0].dtype.kind, arrays[0].dtype
    usable = np.True_
    if name == "fmod" and kind in "iu":
        arrays = tuple(np.broadcast_arrays(*arrays))
        usable = kernels.divisible(*arrays) & (kernels.exact_fmod(arrays) | (dtype.itemsize < 8))
    elif name == "sign" and dtype == np.float16:
        usable = ~np.isnan(arrays[0])
    elif name == "signbit" and kind == "f":
        usable = ~np.isnan(arrays[0])  # the sign of a NaN cannot be seen
    elif name == "copysign":
        usable = ~np.isnan(arrays[1])
    return tuple(np.where(usable, array, dtype.type(1)) for array in arrays)


def cases(operands: int) -> list[Any]:
    return [
        pytest.param(name, dtype, id=f"{name} {dtype}")
        for name, case in CASES.items()
        for dtype in case.dtypes
        if UFUNCS[name].nin == operands
    ]


def spread(dtype: gd.DType) -> np.ndarray:
    """Edges, and floats spread over the whole range and around the places where functions change their ways."""
    values = edges(dtype)
    if dtype.kind != "float":
        return values
    limits, draw = np.finfo(dtype.numpy), np.random.default_rng(0)
    low, high = np.log2(float(limits.smallest_subnormal)), np.log2(float(limits.max))
    sizes = np.exp2(draw.uniform(low, high, 500)) * draw.choice([-1, 1], 500)
    near = [draw.normal(size=500) * 3, draw.uniform(-1, 1, 500), draw.uniform(-100, 100, 500)]
    powers = [np.exp2(np.arange(-20, 15)), 10.0 ** np.arange(-4, 5), 1 + draw.normal(size=200) * 1e-3]
    return np.concatenate([values, sizes, *near, *powers]).astype(dtype.numpy)


@pytest.mark.parametrize(("name", "dtype"), cases(1))
def test_functions_of_one_operand_over_the_whole_range(name: str, dtype: gd.DType) -> None:
    compare(name, spread(dtype))


@pytest.mark.parametrize(("name", "dtype"), cases(2))
def test_functions_of_two_operands_at_edges(name: str, dtype: gd.DType) -> None:
    values = edges(dtype)
    if dtype.kind == "float":
        values = np.concatenate([values, np.random.default_rng(0).normal(size=40) * 3]).astype(dtype.numpy)
    if name == "float_power":  # 64-bit integers beyond 2**53 are rounded first
        values = values[abs(values.astype(np.longdouble)) < 2**53]
    compare(name, *pairs(values))


@pytest.mark.parametrize("name", sampled(name for name in CASES if UFUNCS[name].nin == 2))
@given(data=st.data())
def test_functions_of_any_arrays_of_any_shapes(name: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(CASES[name].dtypes))
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    arrays = data.draw(arrays_of(dtype, shapes.input_shapes))
    if name == "float_power":
        arrays = tuple(np.where(abs(a.astype(np.longdouble)) < 2**53, a, a.dtype.type(1)) for a in arrays)
    compare(name, *arrays)
    found = UFUNCS[name](*[gd.input(f"x{i}", dtype[shape]) for i, shape in enumerate(shapes.input_shapes)])
    assert found.shape == shapes.result_shape


@pytest.mark.parametrize("name", OPERATORS)
def test_ufuncs_that_are_operators_make_the_same_nodes(name: str) -> None:
    case = (BINARY | UNARY)[OPERATORS[name]]
    for dtype in case.dtypes:
        dtypes = [dtype] * UFUNCS[name].nin
        by_ufunc, by_operator = build(UFUNCS[name], dtypes), build(case.compute, dtypes)
        assert by_ufunc.to_proto() == by_operator.to_proto()


def test_every_ufunc_of_numpy_is_spoken_of() -> None:
    known = {*CASES, *OPERATORS, *PRODUCTS, *REFUSED}
    assert {ufunc.__name__ for ufunc in UFUNCS.values()} - {"pow"} <= known


@pytest.mark.parametrize("name", UFUNCS)
def test_every_ufunc_works_or_is_refused_with_what_to_write(name: str) -> None:
    ufunc = UFUNCS[name]
    worked = []
    for dtype in DTYPES:
        tensors = [gd.input(f"x{i}", dtype[2, 2]) for i in range(ufunc.nin)]
        try:
            found = ufunc(*tensors)
        except (gd.UnsupportedError, gd.InferenceError) as error:
            message, _, place = str(error).partition("\n  at ")
            assert "; " in message or "it takes" in message
            assert "test_ufuncs.py" in place
        else:
            assert isinstance(found if ufunc.nout == 1 else found[0], gd.Tensor)
            worked.append(dtype)
    assert bool(worked) == (ufunc.__name__ not in REFUSED)
    if ufunc.__name__ in CASES:
        assert worked == [
            d for d in DTYPES if d in CASES[ufunc.__name__].dtypes or (name == "float_power" and d is gd.uint64)
        ]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [gd.complex64, gd.string], ids=str)
def test_no_function_takes_complex_numbers_or_text(name: str, dtype: gd.DType) -> None:
    tensors = [gd.input(n, dtype["n"]) for n in "xy"[: UFUNCS[name].nin]]
    with pytest.raises(gd.UnsupportedError, match=f"np.{name} of {dtype} tensors; ONNX has no operator for"):
        UFUNCS[name](*tensors)


# Products of vectors and matrices


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("matmul", "(n,k),(k,m)->(n,m)"),
        ("matvec", "(n,k),(k)->(n)"),
        ("vecmat", "(k),(k,n)->(n)"),
        ("vecdot", "(k),(k)->()"),
    ],
)
@given(data=st.data())
def test_products(name: str, signature: str, data: st.DataObject) -> None:
    if not hasattr(np, name):
        pytest.skip(f"NumPy {np.__version__} has no {name}")
    dtype = data.draw(st.sampled_from([gd.float32, gd.float64, gd.int32, gd.int64]))
    shapes = data.draw(hnp.mutually_broadcastable_shapes(signature=signature, max_dims=2, max_side=3))
    arrays = [data.draw(hnp.arrays(dtype.numpy, s, elements=st.integers(-9, 9))) for s in shapes.input_shapes]
    assert_equal(run(UFUNCS[name], *arrays), numpy(UFUNCS[name], *arrays), zeros=False)


# Methods of ufuncs


@pytest.mark.parametrize(
    ("compute", "array"),
    [
        (np.add.reduce, np.arange(6.0).reshape(2, 3)),
        (lambda t: np.add.reduce(t, axis=1), np.arange(6.0).reshape(2, 3)),
        (lambda t: np.add.reduce(t, -1, keepdims=True), np.arange(6.0).reshape(2, 3)),
        (lambda t: np.add.reduce(t, axis=None), np.arange(6).reshape(2, 3)),
        (lambda t: np.add.reduce(t, axis=0, dtype=np.float64), np.arange(6, dtype=np.float32).reshape(2, 3)),
        (np.multiply.reduce, np.arange(1.0, 7).reshape(2, 3)),
        (np.maximum.reduce, np.array([[1.0, -2.0], [0.5, 3.0]])),
        (np.minimum.reduce, np.array([[1.0, -2.0], [0.5, 3.0]])),
        (np.logical_and.reduce, np.array([[True, False], [True, True]])),
        (np.logical_or.reduce, np.array([[False, False], [True, False]])),
        (np.add.accumulate, np.arange(6.0).reshape(2, 3)),
        (lambda t: np.add.accumulate(t, axis=1), np.arange(6).reshape(2, 3)),
    ],
)
def test_reductions_work_along_axis_0_unless_told_otherwise(compute: Callable[..., Any], array: np.ndarray) -> None:
    @gd.model
    def model(t: gd.constant(array).type):  # type: ignore[valid-type]
        return compute(t)

    session = ort.InferenceSession(model.to_proto().SerializeToString())
    assert_equal(session.run(None, {"t": array})[0], compute(array))


def test_outer_pairs_every_two_elements() -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.array([1.0, -1.0, 0.5], np.float32)

    @gd.model
    def model(x: gd.float32[2, 2], y: gd.float32[3]):
        return np.subtract.outer(x, y), np.multiply.outer(b, x), np.add.outer(y, 2.0)

    found = ort.InferenceSession(model.to_proto().SerializeToString()).run(None, {"x": a, "y": b})
    for got, want in zip(found, (np.subtract.outer(a, b), np.multiply.outer(b, a), b + np.float32(2)), strict=True):
        assert_equal(got, want)


# Mixed operands


def test_arrays_scalars_and_numbers_mix_with_tensors() -> None:
    a, b = np.array([1.0, 2.0, 3.0], np.float32), np.array([0.5, -1.0, 4.0], np.float32)
    for compute in (
        lambda t: a + t,
        lambda t: t - a,
        lambda t: np.float32(2) * t,
        lambda t: np.float32(2) / t,
        lambda t: np.maximum(t, 0),
        lambda t: np.hypot(3, t),
        lambda t: np.arctan2(a, t),
        lambda t: np.copysign(t, -1.0),
        lambda t: np.logical_and(t > 0, t),
        lambda t: a < t,
        lambda t: a @ t,
        lambda t: np.divmod(a, t)[1],
    ):
        got, want = run(compute, b), np.asarray(numpy(compute, b))
        if want.dtype.kind == "f":
            assert_close(got, want.astype(np.float64), 4)
        else:
            assert_equal(got, want)


def test_what_onnx_has_is_one_node() -> None:
    for name, onnx in {"exp": "Exp", "maximum": "Max", "square": "Mul", "rint": "Round", "isnan": "IsNaN"}.items():
        tensors = [X] * UFUNCS[name].nin
        assert [node.op_type for node in gd.build({"y": UFUNCS[name](*tensors)}).nodes] == [onnx], name


def test_what_changes_nothing_is_no_node() -> None:
    assert np.floor(I).is_same(I) and np.trunc(B).is_same(B) and np.conjugate(X).is_same(X)


# Refusals, word for word


MIXED = " of float32 and int64 tensors: dtypes never mix silently; cast one of them, as in x.astype(gd.float32)"
OUT = "a model changes no array and no tensor: use the result, as in y = np.exp(...) or a = a + t for a += t"
SCATTER = 'a tensor never changes: write op.ScatterElements(t, indices, values, reduction="add"), or "mul", ...'
REDUCED = "add, multiply, maximum, minimum, logical_and, logical_or; for others write op.Scan"


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda: np.exp(I), "np.exp of int64 tensors; cast first, as in np.exp(t.astype(gd.float32))"),
        (lambda: np.sign(B), "np.sign of bool tensors; cast first, as in np.sign(t.astype(gd.int64))"),
        (lambda: np.hypot(X, I), "np.hypot" + MIXED),
        (lambda: np.gcd(I, I), "np.gcd on a tensor; write op.Loop over a, b = b, a % b until b is 0"),
        (lambda: np.frexp(X), "np.frexp on a tensor; write e = np.floor(np.log2(abs(t))) + 1 and t / np.exp2(e)"),
        (lambda: np.ldexp(X, I), "np.ldexp on a tensor; write t * np.exp2(n.astype(t.dtype))"),
        (lambda: np.exp(X, out=np.zeros(3, np.float32)), f"np.exp(..., out=...) on a tensor; {OUT}"),
        (
            lambda: np.exp(X, where=B),
            "np.exp(..., where=...) on a tensor; write np.where(condition, np.exp(...), otherwise)",
        ),
        (
            lambda: np.add(X, X, dtype=np.float64),
            "np.add(..., dtype=...) on a tensor; cast the operands, as in np.add(t.astype(gd.float32))",
        ),
        (
            lambda: np.add(X, X, casting="no"),
            "np.add(..., casting=...) on a tensor; leave it out: a tensor's operators have no such choice",
        ),
        (lambda: np.add.at(X, [0], 1), f"np.add.at on a tensor; {SCATTER}"),
        (
            lambda: np.add.reduceat(X, [0, 2]),
            "np.add.reduceat on a tensor; reduce slices, as in t[0:3].sum(), and join them with op.Concat",
        ),
        (lambda: np.subtract.reduce(X), f"np.subtract.reduce on a tensor; it is known of {REDUCED}"),
        (
            lambda: np.maximum.accumulate(X),
            "np.maximum.accumulate on a tensor; it is known of add, multiply; for others write op.Scan",
        ),
        (
            lambda: np.add.reduce(X, initial=1),
            "np.add.reduce(..., initial=...) on a tensor; join it to the result, as in t.sum() + initial",
        ),
    ],
)
def test_what_ufuncs_refuse(compute: Callable[[], Any], text: str) -> None:
    with pytest.raises(gd.UnsupportedError) as caught:
        compute()
    message, _, place = str(caught.value).partition("\n  at ")
    assert message == text
    assert "test_ufuncs.py" in place


def test_arrays_are_not_added_to_in_place() -> None:
    array = np.zeros(3, np.float32)
    with pytest.raises(gd.UnsupportedError, match="or a = a \\+ t for a \\+= t"):
        array += X


def test_other_objects_are_left_to_numpy() -> None:
    with pytest.raises(TypeError, match="all returned NotImplemented"):
        np.add(X, object())


def test_the_tables_name_no_ufunc_twice() -> None:
    assert not set(ufuncs._OPERATORS) & set(ufuncs._FUNCTIONS)
    assert not {ufunc.__name__ for ufunc in (*ufuncs._OPERATORS, *ufuncs._FUNCTIONS)} & set(ufuncs._REFUSED)
