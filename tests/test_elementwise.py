"""Operators on tensors mean what they mean on NumPy's arrays: on every dtype, every broadcast shape and every edge.

Results are compared bit for bit. Add, subtract, multiply and divide round once, as IEEE 754 asks, in NumPy and in ONNX
Runtime alike, float16 included (rounding the float32 result once more changes nothing, since 24 >= 2 * 11 + 2 bits);
`//` and `%` repeat NumPy's own steps. Only powers and products of matrices have a bound.
"""

import operator
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

import graphdsl as gd
from graphdsl.ir import Input
from graphdsl.tensor.calling import current_trace

SIGNED = [d for d in INTEGERS if d.kind == "int"]
UNSIGNED = [d for d in INTEGERS if d.kind == "uint"]
NUMBERS = [*INTEGERS, *FLOATS]
BOOL = [gd.bool]


class Operator(NamedTuple):
    """An operator of Python's on arrays and tensors alike, and the dtypes on which tensors have it."""

    compute: Callable[..., Any]
    dtypes: list[gd.DType]
    defined: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Which elements of integer operands the runtime computes rightly."""


BINARY = {
    "+": Operator(operator.add, NUMBERS),
    "-": Operator(operator.sub, NUMBERS),
    "*": Operator(operator.mul, NUMBERS),
    "/": Operator(operator.truediv, FLOATS),
    "//": Operator(operator.floordiv, NUMBERS, kernels.divisible),
    "%": Operator(operator.mod, NUMBERS, kernels.divisible),
    "divmod": Operator(divmod, NUMBERS, kernels.divisible),
    "**": Operator(operator.pow, [gd.int32, gd.int64, *FLOATS], kernels.exact_power),
    "<": Operator(operator.lt, DTYPES),
    "<=": Operator(operator.le, DTYPES),
    ">": Operator(operator.gt, DTYPES),
    ">=": Operator(operator.ge, DTYPES),
    "==": Operator(operator.eq, DTYPES),
    "!=": Operator(operator.ne, DTYPES),
    "&": Operator(operator.and_, BOOL + INTEGERS),
    "|": Operator(operator.or_, BOOL + INTEGERS),
    "^": Operator(operator.xor, BOOL + INTEGERS),
    "<<": Operator(operator.lshift, UNSIGNED),
    ">>": Operator(operator.rshift, UNSIGNED),
}
UNARY = {
    "-t": Operator(operator.neg, NUMBERS),
    "+t": Operator(operator.pos, NUMBERS),
    "~t": Operator(operator.invert, BOOL + INTEGERS),
    "abs": Operator(abs, DTYPES),
}
OPERATORS = BINARY | UNARY
POWER_ULPS = 2  # measured: 1.27; a power is the exponential of a product, both rounded


def cases(table: dict[str, Operator]) -> list[Any]:
    return [pytest.param(name, dtype, id=f"{name} {dtype}") for name, case in table.items() for dtype in case.dtypes]


def refused(table: dict[str, Operator]) -> list[Any]:
    others = {name: [d for d in DTYPES if d not in case.dtypes] for name, case in table.items()}
    return [pytest.param(name, dtype, id=f"{name} {dtype}") for name, dtypes in others.items() for dtype in dtypes]


def compare(name: str, *arrays: np.ndarray) -> None:
    """Run an operator on NumPy and on the runtime; where the runtime has no kernel, see that it says so."""
    case = OPERATORS[name]
    if case.defined is not None and arrays[0].dtype.kind in "iu":
        arrays = tuple(np.broadcast_arrays(*arrays))
        usable = case.defined(*arrays)
        arrays = tuple(np.where(usable, array, array.dtype.type(1)) for array in arrays)
    dtypes = [array.dtype for array in arrays]
    if kernels.lacking(build(case.compute, dtypes)):
        with pytest.raises(ort.capi.onnxruntime_pybind11_state.NotImplemented):
            run(case.compute, *arrays)
        return
    got, want = run(case.compute, *arrays), numpy(case.compute, *arrays)
    for part, expected in zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]:
        what = f"{name} of {dtypes[0]}"
        if name == "**" and arrays[0].dtype.kind == "f":
            truth = numpy(case.compute, *[array.astype(np.longdouble) for array in arrays])
            assert_close(part, truth, POWER_ULPS, what)
        else:
            assert_equal(part, expected, what)


def arrays_of(dtype: gd.DType, shapes: tuple[tuple[int, ...], ...]) -> st.SearchStrategy[Any]:
    """Arrays of these shapes, with many edges among their elements."""
    any_element = hnp.from_dtype(dtype.numpy)
    element = st.one_of(st.sampled_from(edges(dtype).tolist()), any_element)
    return st.tuples(*[hnp.arrays(dtype.numpy, shape, elements=element) for shape in shapes])


SHAPES = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0)


@pytest.mark.parametrize(("name", "dtype"), cases(BINARY))
def test_edges_of_every_dtype(name: str, dtype: gd.DType) -> None:
    compare(name, *pairs(edges(dtype)))


@pytest.mark.parametrize(("name", "dtype"), cases(UNARY))
def test_edges_of_every_dtype_with_one_operand(name: str, dtype: gd.DType) -> None:
    compare(name, edges(dtype))


@pytest.mark.parametrize("name", sampled(BINARY))
@given(data=st.data())
def test_any_arrays_of_any_shapes(name: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(BINARY[name].dtypes))
    shapes = data.draw(SHAPES)
    compare(name, *data.draw(arrays_of(dtype, shapes.input_shapes)))
    with np.errstate(all="ignore"):
        tensors = [gd.input(f"x{i}", dtype[shape]) for i, shape in enumerate(shapes.input_shapes)]
        found = BINARY[name].compute(*tensors)
    for tensor in found if isinstance(found, tuple) else (found,):
        assert tensor.shape == shapes.result_shape


@pytest.mark.parametrize("name", sampled(UNARY))
@given(data=st.data())
def test_any_array_of_any_shape(name: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(UNARY[name].dtypes))
    (array,) = data.draw(
        arrays_of(dtype, (data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),))
    )
    compare(name, array)


@pytest.mark.parametrize(("name", "dtype"), refused(OPERATORS))
def test_other_dtypes_are_refused(name: str, dtype: gd.DType) -> None:
    tensors = [gd.input(n, dtype["n"]) for n in "xy"[: 2 if name in BINARY else 1]]
    with pytest.raises((gd.UnsupportedError, gd.InferenceError)) as caught:
        OPERATORS[name].compute(*tensors)
    assert str(dtype) in str(caught.value) and "test_elementwise.py" in str(caught.value)


def test_a_comparison_would_see_a_wrong_result() -> None:
    wrong = Operator(lambda x, y: x - y if isinstance(x, np.ndarray) else x + y, NUMBERS)
    OPERATORS["wrong"] = wrong
    try:
        with pytest.raises(AssertionError, match="wrong of float32"):
            compare("wrong", *pairs(edges(gd.float32)))
    finally:
        del OPERATORS["wrong"]


# Python's numbers, arrays, NumPy's scalars


def python_number(dtype: gd.DType, name: str) -> st.SearchStrategy[Any]:
    if dtype is gd.bool:
        return st.booleans()
    if dtype.kind == "float":
        return st.one_of(st.sampled_from([0.0, -0.0, 1.5, -2.0, np.inf]), st.integers(-1000, 1000))
    limits = np.iinfo(dtype.numpy)
    least = max(limits.min, 0 if name == "**" else -100)
    return st.integers(least, min(limits.max, 100)).filter(lambda n: n not in (0, -1))


@pytest.mark.parametrize("name", sampled(BINARY))
@given(data=st.data())
def test_a_python_number_adopts_the_dtype_on_either_side(name: str, data: st.DataObject) -> None:
    case = BINARY[name]
    dtype = data.draw(st.sampled_from(case.dtypes))
    number = data.draw(python_number(dtype, name))
    (array,) = data.draw(arrays_of(dtype, ((3,),)))
    for flipped in (False, True):
        a, b = (np.full_like(array, number), array) if flipped else (array, np.full_like(array, number))
        if case.defined is not None and dtype.kind in ("int", "uint") and not case.defined(a, b).all():
            continue

        def compute(t: Any, *, flipped: bool = flipped) -> Any:
            return case.compute(number, t) if flipped else case.compute(t, number)

        model = build(compute, [dtype])
        if kernels.lacking(model):
            continue
        got, want = run(compute, array), numpy(compute, array)
        for part, expected in zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]:
            if name == "**" and dtype.kind == "float":
                truth = numpy(case.compute, a.astype(np.longdouble), b.astype(np.longdouble))
                assert_close(part, truth, POWER_ULPS)
            else:
                assert_equal(part, expected)


@pytest.mark.parametrize("name", [n for n in BINARY if n not in ("<<", ">>", "&", "|", "^")])
def test_arrays_and_numpy_scalars_stand_on_either_side(name: str) -> None:
    compute, array = BINARY[name].compute, np.array([1.5, -2.0, 4.0], np.float32)
    for other in (np.array([2.0, 3.0, -0.5], np.float32), np.float32(2.5), np.array(3, np.float32)):
        left, right = run(lambda t: compute(t, other), array), run(lambda t: compute(other, t), array)  # noqa: B023
        for got, want in ((left, numpy(compute, array, other)), (right, numpy(compute, other, array))):
            for part, expected in zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]:
                if name == "**":
                    assert_close(part, np.asarray(expected, np.longdouble), POWER_ULPS + 1)
                else:
                    assert_equal(part, expected)


def test_lists_adopt_the_dtype_too() -> None:
    array = np.array([1, 2, 3], np.int8)
    assert_equal(run(lambda t: t - [10, 20, 30], array), np.array([-9, -18, -27], np.int8))
    assert_equal(run(lambda t: [10, 20, 30] // t, array), np.array([10, 10, 10], np.int8))


@pytest.mark.parametrize("name", [n for n in BINARY if n not in ("<<", ">>")])
def test_a_dimension_is_an_operand_on_either_side(name: str) -> None:
    compute = BINARY[name].compute
    array = np.array([5, -7, 3]) if name in "&|^" else np.array([5, -7, 3], np.float32)
    x = gd.input("x", gd.constant(array).dtype["n"])
    for function in (lambda t, n: compute(t, n), lambda t, n: compute(n, t)):
        made, want = function(x, x.shape[0]), numpy(function, array, array.dtype.type(3))
        assert isinstance(made[0] if name == "divmod" else made, gd.Tensor)
        found = gd.build(list(made) if name == "divmod" else made, inputs=[x])(array)
        for got, expected in zip(found, want, strict=True) if name == "divmod" else [(found, want)]:
            assert_equal(got, expected, name)


def test_text_is_joined_and_compared() -> None:
    left, right = np.array(["a", "bc", ""], object), np.array(["a", "d", "e"], object)
    assert run(operator.add, left, right).tolist() == ["aa", "bcd", "e"]
    assert run(lambda t: t + "!", left).tolist() == ["a!", "bc!", "!"]
    assert run(lambda t: "<" + t, left).tolist() == ["<a", "<bc", "<"]
    assert run(operator.eq, left, right).tolist() == [True, False, False]
    assert run(operator.ne, left, right).tolist() == [False, True, True]


def test_floor_division_of_16_bit_floats_is_computed_in_float32() -> None:
    """The runtime divides no bfloat16 but converts it; NumPy computes float16 so too."""
    a, b = (np.array(values, np.float32) for values in ([7.0, -7.0, 300.0, -0.5], [2.0, 2.0, -0.75, np.inf]))
    for dtype in (gd.bfloat16, gd.float16):
        x, y = gd.input("x", gd.float32[4]), gd.input("y", gd.float32[4])
        parts = divmod(x.astype(dtype), y.astype(dtype))
        assert [part.dtype for part in parts] == [dtype, dtype]
        found = gd.build([part.astype(gd.float32) for part in parts], inputs=[x, y])(a, b)
        for got, want in zip(found, divmod(a, b), strict=True):
            assert_equal(got, want.astype(dtype.numpy).astype(np.float32))
    half = gd.input("h", gd.float16[4])
    inner = [node for node in gd.build(half // 2).nodes if node.op_type != "Cast"]
    assert {node.outputs[0].type.dtype for node in inner} == {gd.float32, gd.bool}


# Matrices


@pytest.mark.parametrize("dtype", sampled([*FLOATS, gd.int32, gd.int64, gd.uint32, gd.uint64]), ids=str)
@given(data=st.data())
def test_products_of_matrices(dtype: gd.DType, data: st.DataObject) -> None:
    shapes = data.draw(hnp.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, max_side=4))
    numbers = st.integers(0, 9) if dtype.kind == "uint" else st.integers(-9, 9)
    if dtype.kind == "float":
        numbers = st.floats(-9, 9, width=16)
    a, b = (data.draw(hnp.arrays(dtype.numpy, shape, elements=numbers)) for shape in shapes.input_shapes)
    got, want = run(operator.matmul, a, b), numpy(operator.matmul, a, b)
    if dtype.kind == "float":
        # k products and k - 1 sums, in whatever order: at most k roundings of at most the sum of sizes
        terms = a.shape[-1]
        wide = [array.astype(np.longdouble) for array in (a, b)]
        assert_close(got, operator.matmul(*wide), terms, scale=operator.matmul(*map(abs, wide)), zeros=False)
    else:
        assert_equal(got, want)


# What operators become


def nodes(tensor: gd.Tensor) -> list[str]:
    return [node.op_type for node in gd.build({"out": tensor}).nodes]


@pytest.mark.parametrize(
    ("compute", "dtype", "expected"),
    [
        (lambda x, y: x + y, gd.float32, ["Add"]),
        (lambda x, y: x - y, gd.int8, ["Sub"]),
        (lambda x, y: x * y, gd.uint16, ["Mul"]),
        (lambda x, y: x / y, gd.float16, ["Div"]),
        (lambda x, y: x // y, gd.uint8, ["Div"]),
        (lambda x, y: x % y, gd.int64, ["Mod"]),
        (lambda x, y: x**y, gd.float32, ["Pow"]),
        (lambda x, y: x @ y, gd.float64, ["MatMul"]),
        (lambda x, y: x < y, gd.int32, ["Less"]),
        (lambda x, y: x <= y, gd.float32, ["LessOrEqual"]),
        (lambda x, y: x > y, gd.uint64, ["Greater"]),
        (lambda x, y: x >= y, gd.float32, ["GreaterOrEqual"]),
        (lambda x, y: x == y, gd.bool, ["Equal"]),
        (lambda x, y: x != y, gd.bool, ["Equal", "Not"]),
        (lambda x, y: x < y, gd.bool, ["Not", "And"]),
        (lambda x, y: x >= y, gd.bool, ["Not", "Or"]),
        (lambda x, y: x & y, gd.bool, ["And"]),
        (lambda x, y: x | y, gd.int16, ["BitwiseOr"]),
        (lambda x, y: x ^ y, gd.bool, ["Xor"]),
        (lambda x, y: x << y, gd.uint32, ["BitShift"]),
        (lambda x, y: x + y, gd.string, ["StringConcat"]),
        (lambda x, _: -x, gd.float32, ["Neg"]),
        (lambda x, _: -x, gd.uint8, ["Sub"]),
        (lambda x, _: ~x, gd.bool, ["Not"]),
        (lambda x, _: ~x, gd.uint8, ["BitwiseNot"]),
        (lambda x, _: abs(x), gd.int8, ["Abs"]),
        (lambda x, _: round(x), gd.float32, ["Round"]),
        (lambda x, _: 2**x, gd.float32, ["Pow"]),
        (lambda x, y: x // y, gd.int32, ["Div", "Mul", "Mod", "Add", "Equal", "Not", "Cast", "Sub"]),
    ],
)
def test_what_onnx_has_is_one_node(compute: Callable[..., Any], dtype: gd.DType, expected: list[str]) -> None:
    x, y = gd.input("x", dtype[2, 2]), gd.input("y", dtype[2, 2])
    assert nodes(compute(x, y)) == expected


def test_what_changes_nothing_is_no_node() -> None:
    b, i = gd.input("b", gd.bool["n"]), gd.input("i", gd.int8["n"])
    assert abs(b).is_same(b) and (+i).is_same(i) and round(i).is_same(i) and i.round(2).is_same(i)


def test_operators_work_on_a_tensor_of_unknown_type_where_they_are_one_node() -> None:
    x = gd.Tensor(Input("x", None, current_trace(), None))
    made = [x + 1, 1 - x, x * x, x / 2, x**2, 2**x, x @ x, x < x, x >= 1, x == x, -x, abs(x)]
    assert [t._v.node.op_type for t in made] == [
        *("Add", "Sub", "Mul", "Div", "Pow", "Pow", "MatMul", "Less", "GreaterOrEqual", "Equal", "Neg", "Abs")
    ]
    for compute, text in (
        (lambda: x & x, "& of a tensor whose dtype is not known; write op.And for bools or op.BitwiseAnd for integers"),
        (lambda: ~x, "~ of a tensor whose dtype is not known; write op.Not for bools or op.BitwiseNot for integers"),
        (lambda: x // x, "the dtype is not known, because the type of this tensor is not"),
    ):
        with pytest.raises(gd.UnsupportedError) as caught:
            compute()
        assert str(caught.value).startswith(text)


# Rounding


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("decimals", [-2, -1, 0, 1, 3])
def test_round_is_that_of_numpy(dtype: gd.DType, decimals: int) -> None:
    values = np.concatenate([edges(dtype), np.arange(-3, 3, 0.25).astype(dtype.numpy), [1234.5678, 25, 35]])
    values = values.astype(dtype.numpy)
    # the runtime computes a chain of float16 operators in float32, where NumPy rounds, and overflows, at each of them
    wide = values.astype(np.float32) if dtype is gd.float16 else values
    want = numpy(lambda: np.round(wide, decimals).astype(dtype.numpy))
    assert_equal(run(lambda t: t.round(decimals), values), want, f"round {decimals}")
    assert_equal(run(lambda t: round(t, decimals), values), want)


# Refusals, word for word

X = gd.input("x", gd.float32["n"])
I = gd.input("i", gd.int64["n"])  # noqa: E741
U = gd.input("u", gd.uint8["n"])
B = gd.input("b", gd.bool["n"])
S = gd.input("s", gd.string["n"])

DIVIDED = (
    "/ of int64 tensors would give a float in NumPy and truncate in ONNX; "
    "write a.astype(gd.float32) / b.astype(gd.float32), or a // b"
)
SHIFTED = "shifts of int64 tensors; ONNX shifts unsigned integers: write t.astype(gd.uint64) first, or "
MIXED = " of float32 and int64 tensors: dtypes never mix silently; cast one of them, as in x.astype(gd.float32)"
IDENTITY = "; == compares elements: write t.is_same(u), or `is None`, for identity"


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda: I / I, DIVIDED),
        (lambda: 2 / I, DIVIDED),
        (lambda: B + B, "+ of bool tensors; write a | b, or cast first, as in t.astype(gd.int64)"),
        (lambda: True - B, "- of bool tensors; write a ^ b, or cast first, as in t.astype(gd.int64)"),
        (lambda: B * 2, "* of bool tensors; write a & b, or cast first, as in t.astype(gd.int64)"),
        (lambda: B // B, "// of bool tensors; cast first, as in t.astype(gd.int64)"),
        (lambda: B / B, "/ of bool tensors; cast first, as in t.astype(gd.int64)"),
        (lambda: B**2, "** of bool tensors; cast first, as in t.astype(gd.int64)"),
        (lambda: B @ B, "@ of bool tensors; cast first, as in t.astype(gd.int64)"),
        (lambda: -B, "-t of a bool tensor; write ~t, or cast it, as in t.astype(gd.int64)"),
        (lambda: +B, "+t of a bool tensor; write t, or cast it, as in t.astype(gd.int64)"),
        (lambda: round(B), "round() of bool tensors; cast first, as in t.astype(gd.float32)"),
        (lambda: B << 1, "shifts of bool tensors; cast first, as in t.astype(gd.uint8)"),
        (lambda: I << 1, SHIFTED + "t * 2**n"),
        (lambda: 1 >> I, SHIFTED + "t // 2**n"),
        (lambda: S < S, "< of string tensors; ONNX orders no text; it has t == u, and op.RegexFullMatch"),
        (lambda: X // I, "//" + MIXED),
        (lambda: divmod(X, I), "//" + MIXED),
        (lambda: X ** np.array([2, 3]), "**" + MIXED),
        (lambda: I**-1, "int64 tensors to a negative power; cast first, as in t.astype(gd.float32) ** -1"),
        (lambda: pow(I, 2, 5), "pow(t, n, modulo); write (t ** n) % modulo"),
        (lambda: I.round(-1), "round() of integers to tens; write (t.astype(gd.float64) / 10).round() * 10"),
        (lambda: X == None, "a tensor compared with None (NoneType)" + IDENTITY),  # noqa: E711
        (lambda: X != ..., "a tensor compared with Ellipsis (ellipsis)" + IDENTITY),
    ],
)
def test_what_tensors_refuse(compute: Callable[[], Any], text: str) -> None:
    with pytest.raises(gd.UnsupportedError) as caught:
        compute()
    message, _, place = str(caught.value).partition("\n  at ")
    assert message == text
    assert "test_elementwise.py" in place


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (
            lambda: X + I,
            "Add: A and B must have one dtype, got float32 and int64; cast one of them, as in x.astype(gd.float32)",
        ),
        (
            lambda: np.array([1.0]) * X,
            "Mul: A and B must have one dtype, got float64 and float32; cast one of them, as in x.astype(gd.float64)",
        ),
        (
            lambda: X < I,
            "Less: A and B must have one dtype, got float32 and int64; cast one of them, as in x.astype(gd.float32)",
        ),
    ],
)
def test_dtypes_do_not_mix(compute: Callable[[], Any], text: str) -> None:
    with pytest.raises(gd.InferenceError) as caught:
        compute()
    assert str(caught.value).splitlines()[0] == text
    assert "test_elementwise.py" in str(caught.value)


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda: I + 0.5, "Add: input 'B': 0.5 does not fit int64; cast the tensor first, as in t.astype(gd.float32)"),
        (lambda: U + 256, "Add: input 'B': 256 is out of range for uint8"),
        (lambda: U - (-1), "Sub: input 'B': -1 is out of range for uint8"),
        (lambda: U < 300, "Less: input 'B': 300 is out of range for uint8"),
        (lambda: I // 2.5, "//: 2.5 does not fit int64; cast the tensor first, as in t.astype(gd.float32)"),
        (lambda: I**0.5, "**: 0.5 does not fit int64; cast the tensor first, as in t.astype(gd.float32)"),
        (
            lambda: X * 1j,
            "Mul: input 'B': 1j does not fit float32; cast the tensor first, as in t.astype(gd.complex64)",
        ),
    ],
)
def test_a_number_that_does_not_fit_is_refused(compute: Callable[[], Any], text: str) -> None:
    with pytest.raises(gd.SignatureError) as caught:
        compute()
    assert str(caught.value).splitlines()[0] == text
    assert "test_elementwise.py" in str(caught.value)


def test_other_objects_are_left_to_python() -> None:
    for compute in (
        lambda: X + object(),
        lambda: X // object(),
        lambda: divmod(X, {}),
        lambda: X ** {1},
        lambda: U << object(),
    ):
        with pytest.raises(TypeError, match="unsupported operand type"):
            compute()
    with pytest.raises(TypeError, match="'<' not supported between instances of 'Tensor' and 'object'"):
        operator.lt(X, object())


# Opsets

FIRST_OPSETS = {
    ("+", gd.float32): 7,
    ("+", gd.int8): 14,
    ("/", gd.float32): 7,
    ("//", gd.float32): 11,
    ("//", gd.int64): 10,
    ("//", gd.int16): 14,
    ("%", gd.int64): 10,
    ("%", gd.float32): 10,
    ("divmod", gd.float32): 11,
    ("**", gd.float32): 7,
    ("**", gd.int32): 12,
    ("<", gd.float32): 7,
    ("<", gd.int32): 9,
    ("<", gd.bool): 7,
    ("<=", gd.float32): 12,
    (">", gd.float64): 7,
    (">=", gd.int64): 12,
    ("==", gd.int64): 7,
    ("==", gd.float32): 11,
    ("!=", gd.bool): 7,
    ("&", gd.bool): 7,
    ("&", gd.int8): 18,
    ("<<", gd.uint8): 11,
    ("-t", gd.float32): 7,
    ("-t", gd.uint32): 7,
    ("-t", gd.uint8): 14,
    ("~t", gd.bool): 7,
    ("~t", gd.int64): 18,
    ("abs", gd.float32): 7,
}
"""The first opset at which an operator works on a dtype: where ONNX has all that it becomes."""


@pytest.mark.parametrize(("name", "dtype"), FIRST_OPSETS)
def test_operators_work_from_the_first_opset_that_has_them(name: str, dtype: gd.DType) -> None:
    case, first = OPERATORS[name], FIRST_OPSETS[name, dtype]
    values = pairs(np.array([0, 1]).astype(dtype.numpy) if dtype is gd.bool else np.array([1, 2, 5], dtype.numpy))
    arrays = values[: 2 if name in BINARY else 1]
    for opset in (first, 13, 17, 26):
        if opset < first:
            continue
        got, want = run(case.compute, *arrays, opset=opset), numpy(case.compute, *arrays)
        for part, expected in zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]:
            assert_equal(part, expected)
    if first == 7:  # the first opset that the runtime runs
        return
    with gd.opset(first - 1), pytest.raises((gd.UnknownOperator, gd.InferenceError)) as caught:
        case.compute(*[gd.input(f"x{i}", dtype["n"]) for i in range(len(arrays))])
    message = str(caught.value)
    assert f"exists since opset {first}, and this is opset {first - 1}" in message or "not allowed" in message
    assert "test_elementwise.py" in message
