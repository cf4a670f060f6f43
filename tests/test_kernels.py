"""What kernels.py says of ONNX Runtime, held against the runtime itself."""

import platform
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import kernels
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from kernels import BFLOAT16, DEADLY, DTYPES, FLOATS, INTEGERS, MISSING, MISSING_ALONG_AXES
from support import build, run

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.types import from_text

_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Cos", "Cosh", "Erf", "Exp"),
    *("Floor", "Identity", "IsInf", "IsNaN", "Log", "Neg", "Not", "Reciprocal", "Round", "Sign", "Sin", "Sinh"),
    *("Sqrt", "Tan", "Tanh"),
)
_BINARY = (
    *("Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual"),
    *("Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Xor"),
)
_ATTRIBUTES = {"BitShift": {"direction": "LEFT"}, "Cast": {"to": gd.float32}}
_OPERATORS = [*_UNARY, *_BINARY, "Cast", "Where"]

Error = ort.capi.onnxruntime_pybind11_state


def one_node(name: str, dtype: gd.DType, opset: int) -> gd.Model:
    """A model of one operator on inputs of one dtype."""

    def expression(*tensors: gd.Tensor) -> gd.Tensor:
        mask = [gd.input("mask", gd.bool)] if name == "Where" else []
        return getattr(op, name)(*mask, *tensors, **_ATTRIBUTES.get(name, {}))

    with gd.opset(opset):
        tensors = [gd.input(f"x{i}", dtype) for i in range(1 if name in (*_UNARY, "Cast") else 2)]
        return gd.build({"y": expression(*tensors)})


def has_kernel(model: gd.Model) -> bool:
    """Whether the runtime finds a kernel for every node of a model."""
    try:
        ort.InferenceSession(model.to_proto().SerializeToString(), providers=["CPUExecutionProvider"])
    except Error.NotImplemented:
        return False
    return True


def allowed(name: str, opset: int) -> list[gd.DType]:
    """The dtypes that the specification lets an operator take, of those that kernels.py speaks of."""
    schema = onnx.defs.get_schema(name, opset)
    taken = {from_text(text) for text in schema.inputs[1 if name == "Where" else 0].types}
    return [dtype for dtype in (*DTYPES, gd.bfloat16) if gd.TensorType in map(type, taken) and _type(dtype) in taken]


def _type(dtype: gd.DType) -> object:
    return from_text(f"tensor({ {gd.float32: 'float', gd.float64: 'double'}.get(dtype, dtype.name) })")


@pytest.mark.parametrize("opset", [21, 26])
@pytest.mark.parametrize("name", _OPERATORS)
def test_every_operator_has_the_kernels_that_are_said(name: str, opset: int) -> None:
    without = set()
    for dtype in allowed(name, opset):
        model = one_node(name, dtype, opset)
        if not has_kernel(model):
            without.add(dtype)
        assert bool(kernels.lacking(model)) == (dtype in without), (name, dtype)
    bfloat16 = {gd.bfloat16} if gd.bfloat16 in allowed(name, opset) and name not in BFLOAT16 else set()
    assert without == MISSING.get(name, frozenset()) | bfloat16


@pytest.mark.parametrize("opset", [21, 26])
@pytest.mark.parametrize("name", MISSING_ALONG_AXES)
def test_every_operator_along_axes_has_the_kernels_that_are_said(name: str, opset: int) -> None:
    more = {"CumSum": [np.int64(0)], "TopK": [[1]]}.get(name, [])
    without = set()
    for dtype in allowed(name, opset):
        with gd.opset(opset):
            first = first_of(getattr(op, name)(gd.input("x", dtype[2, 2]), *more))
            if not has_kernel(gd.build({"y": first})):
                without.add(dtype)
    assert without == MISSING_ALONG_AXES[name] | ({gd.bfloat16} & set(allowed(name, opset)))


def first_of(found: gd.Tensor | tuple[gd.Tensor, ...]) -> gd.Tensor:
    """The first of several outputs."""
    return found[0] if isinstance(found, tuple) else found


def test_the_operators_named_are_tested() -> None:
    assert {*MISSING, *BFLOAT16, *DEADLY} <= set(_OPERATORS)


def test_a_model_without_all_kernels_is_recognised() -> None:
    def expression(x: gd.Tensor) -> gd.Tensor:
        return op.Where(x > 0, x, x) + 1

    assert kernels.lacking(build(expression, [gd.int16])) == [("Where", gd.int16)]
    assert kernels.lacking(build(expression, [gd.int32])) == []


# Dividing integers

_CHILD = """
    import sys
    sys.path.insert(0, {tests!r})
    import numpy as np
    from graphdsl import op
    from support import run
    least = np.iinfo(np.{dtype}).min
    print(run(op.{name}, np.array([least], np.{dtype}), np.array([-1], np.{dtype}))[0])
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere this division does not trap")
@pytest.mark.parametrize("dtype", [d for d in INTEGERS if d.kind == "int"], ids=str)
@pytest.mark.parametrize("name", ["Div", "Mod"])
def test_the_least_integer_by_minus_one_kills_the_process_where_it_is_said(name: str, dtype: gd.DType) -> None:
    code = textwrap.dedent(_CHILD.format(tests=str(__file__).rpartition("/")[0], name=name, dtype=dtype))
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if dtype in DEADLY[name]:
        assert child.returncode == -signal.SIGFPE, child
    else:  # narrow integers are divided as int32
        least = np.iinfo(dtype.numpy).min
        assert (child.returncode, child.stdout.strip()) == (0, str(least if name == "Div" else 0)), child


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", ["Div", "Mod"])
def test_dividing_integers_by_zero_is_refused_at_run_time(name: str, dtype: gd.DType) -> None:
    one, zero = np.array([5], dtype.numpy), np.array([0], dtype.numpy)
    with pytest.raises(Error.Fail, match=r"Integer (division|modulo) by zero"):
        run(getattr(op, name), one, zero)


def test_divisible_leaves_these_out() -> None:
    a, b = np.array([5, -128, -128, -127], np.int8), np.array([0, -1, 1, -1], np.int8)
    assert kernels.divisible(a, b).tolist() == [False, False, True, True]
    assert kernels.divisible(np.array([5, 0], np.uint8), np.array([0, 255], np.uint8)).tolist() == [False, True]


# Where the runtime errs (docs/upstream.md)


@pytest.mark.parametrize("dtype", [gd.int32, gd.int64], ids=str)
def test_powers_of_integers_saturate_and_are_computed_in_float64(dtype: gd.DType) -> None:
    base, exponent = np.array([100, 2**27 + 1], dtype.numpy), np.array([15, 2], dtype.numpy)
    most, least = np.iinfo(dtype.numpy).max, np.iinfo(dtype.numpy).min
    found = run(op.Pow, base, exponent)
    assert kernels.exact_power(base, exponent).tolist() == [False, False]
    assert found[0] in (most, least) and found[0] != (base**exponent)[0]
    assert found[1] != (base**exponent)[1]


def test_exact_power_is_where_no_digit_is_lost() -> None:
    base, exponent = np.array([2, 2, -3, 2**53, 7, 1, 0]), np.array([53, 54, 3, 1, -1, 2000, 0])
    assert kernels.exact_power(base, exponent).tolist() == [True, False, True, True, False, True, True]
    assert kernels.exact_power(np.array([2, 2], np.int32), np.array([30, 31], np.int32)).tolist() == [True, False]


def test_fmod_of_large_integers_is_computed_in_float64() -> None:
    def fmod(x: gd.Tensor, y: gd.Tensor) -> gd.Tensor:
        return op.Mod(x, y, fmod=1)

    a, b = np.array([2**53 + 1, 2**53]), np.array([2, 3])
    assert run(fmod, a, b).tolist() == [0, 2] and np.fmod(a, b).tolist() == [1, 2]
    assert kernels.exact_fmod([a, b]).tolist() == [False, True]


def test_the_sign_of_a_float16_nan_is_zero() -> None:
    assert run(op.Sign, np.array([np.nan], np.float16)).tolist() == [0.0]
    for dtype in (np.float32, np.float64):
        assert np.isnan(run(op.Sign, np.array([np.nan], dtype))[0])


def test_where_loses_the_sign_of_zero() -> None:
    for dtype in FLOATS:
        zero = np.array([-0.0], dtype.numpy)
        assert not np.signbit(run(op.Where, np.array([True]), zero, zero))[0]


def test_a_loop_of_a_function_that_makes_no_round_collects_what_has_no_sizes() -> None:
    """A function declares none."""

    @gd.function(domain="my")
    def collecting(x: Any, rounds: Any) -> Any:
        return op.Loop(rounds, None, body=lambda i, going: (True, op.MeanVarianceNormalization(x, axes=[0])))

    x, rounds = gd.input("x", gd.float32[2, 3]), gd.input("rounds", gd.int64[()])
    model = gd.build(collecting(x, rounds))
    for count, shape in ((0, (0, 0, 0)), (1, (1, 2, 3))):
        feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "rounds": np.array(count)}
        found = verify.run(model, feeds, "unoptimised")
        assert isinstance(found, dict) and next(iter(found.values())).shape == shape
        assert kernels.errs(model, feeds) == (not count)


@pytest.mark.parametrize("dtype", [d for d in (*DTYPES, *kernels.NARROW) if d.bits != 6], ids=str)
def test_functions_take_narrow_dtypes_only_where_their_nodes_do(dtype: gd.DType) -> None:
    """The runtime reads no dtype of 6 bits at all."""

    @gd.function(domain="my")
    def ignores(x: Any, y: Any) -> Any:
        return op.Neg(y)

    x, y = gd.input("x", dtype[1]), gd.input("y", gd.float32[1])
    model = gd.build(ignores(x, y))
    found = verify.run(model, {"x": np.ones(1).astype(dtype.numpy), "y": np.ones(1, np.float32)}, "unoptimised")
    assert isinstance(found, dict) == (not kernels.narrows_functions(model)) == (dtype not in kernels.NARROW)


def test_a_known_fault_is_seen_at_the_node_that_shows_it() -> None:
    """Folding a product of integers gives what the standard says, and the model does not."""
    x = gd.input("x", gd.int64[2])
    model = gd.build(op.Neg(op.ReduceProd(x)))
    assert kernels.errs(model, {"x": np.array([-273770672718929, 33])})
    assert not kernels.errs(model, {"x": np.array([-273770672718929, 3])})


@pytest.mark.parametrize("name", ["Gemm", "MatMul"])
def test_a_row_times_a_constant_matrix_is_added_up_in_another_order(name: str) -> None:
    random = np.random.default_rng(0)
    row, matrix = (random.standard_normal(shape).astype(np.float32) for shape in ((1, 7), (7, 3)))
    x, w = gd.input("x", gd.float32[1, 7]), gd.input("w", gd.float32[7, 3])
    fixed = gd.build({"y": getattr(op, name)(x, matrix)})
    free = gd.build({"y": getattr(op, name)(x, w)})

    def bits(model: gd.Model, **feeds: np.ndarray) -> Any:
        found = verify.run(model, feeds, "unoptimised")
        assert isinstance(found, dict)
        return found["y"].tolist()

    assert bits(fixed, x=row) != bits(free, x=row, w=matrix)
    assert bits(kernels.steady(fixed), x=row) == bits(kernels.steady(free), x=row, w=matrix)


# What lies in memory


def test_loop_gives_what_lies_in_memory_for_strings_that_it_collects() -> None:
    x = gd.input("x", gd.string[2])
    words = np.array(["a", "a text of more than fifteen bytes"], object)
    collected, states = (
        op.Loop(3, True, body=lambda i, going: (going, op.Identity(x))),
        op.Loop(3, True, x, body=lambda i, going, state: (going, state, i)),
    )
    model = gd.build(collected)
    assert model(words).tolist() != [words.tolist()] * 3  # when this fails, ONNX Runtime is mended
    assert kernels.from_memory(model, {"x": words})
    assert not kernels.from_memory(gd.build(list(states)), {"x": words})


def product_of_nothing(product: Callable[[gd.Tensor, gd.Tensor], gd.Tensor], size: int) -> np.ndarray:
    """What a product of two matrices gives, along `size` elements, where ones were in memory before."""
    a, b = gd.input("a", gd.uint8["n", "k"]), gd.input("b", gd.uint8["k", "m"])
    y = product(a, b)
    before = gd.input("before", y.dtype["n", "m"])
    gone = op.Concat(op.Max(before, before), before, axis=0)
    model = gd.build({"y": product(a, b), "z": op.Concat(gone, before, axis=0)}, inputs=[a, b, before])
    feeds = {"a": np.ones((4, size), np.uint8), "b": np.ones((size, 4), np.uint8), "before": np.full((4, 4), 7)}
    feeds["before"] = feeds["before"].astype(y.dtype.numpy)
    assert kernels.from_memory(model, feeds) is (size == 0)
    found: np.ndarray = model.run(feeds)["y"]
    return found


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: op.MatMulInteger(a, b),
        lambda a, b: op.QLinearMatMul(a, 1.0, np.uint8(0), b, 1.0, np.uint8(0), 1.0, np.uint8(0)),
        lambda a, b: op.ConvInteger(a[:, :, None], op.Transpose(b)[:, :, None])[:, :, 0],
    ],
    ids=["MatMulInteger", "QLinearMatMul", "ConvInteger"],
)
def test_products_of_integers_along_nothing_are_what_lies_in_memory(product: Any) -> None:
    assert product_of_nothing(product, 1).tolist() == [[1] * 4] * 4
    assert product_of_nothing(product, 0).any()  # when this fails, ONNX Runtime is mended


def test_float16_is_not_rounded_between_nodes_that_run_in_float32() -> None:
    h = gd.input("h", gd.float16["n"])
    x = np.linspace(-3, 3, 100).astype(np.float16)

    def given(model: gd.Model, h: np.ndarray) -> Any:
        found = verify.run(model, {"h": h}, "unoptimised")
        assert isinstance(found, dict), found
        return found["y"]

    exp, cos = (gd.build({"y": function(h)}) for function in (op.Exp, op.Cos))
    rounded = given(cos, given(exp, x)).tolist()
    for both in (
        gd.build({"y": op.Cos(op.Exp(h))}),
        gd.build({"y": op.Cos(op.Transpose(op.Exp(h)))}),
        gd.build({"y": op.If(True, then_branch=lambda: op.Cos(op.Exp(h)), else_branch=lambda: h)}),
    ):
        assert given(both, x).tolist() != rounded  # when this fails, ONNX Runtime is mended
        assert given(kernels.steady(both), x).tolist() == rounded


def test_where_scan_writes_decides_on_the_last_bit() -> None:
    x = gd.input("x", gd.float64[4, 3])
    model = gd.build({"y": op.Scan(x, body=lambda row: op.Cos(row), num_scan_inputs=1)})
    rows = np.full((4, 3), 1.0)
    feeds = {"x": rows}
    plain, steady = (verify.run(side, feeds, "unoptimised") for side in (model, kernels.steady(model)))
    assert isinstance(plain, dict) and isinstance(steady, dict)
    assert len(np.unique(plain["y"], axis=0)) > 1  # when this fails, ONNX Runtime is mended
    assert len(np.unique(steady["y"], axis=0)) == 1
