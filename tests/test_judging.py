"""Whether the judge rejects what it must, and accepts what it must: judging.py, evaluation.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.apart import Crash
from graphdsl.types import tensor_type
from graphdsl.verify.alone import computed
from graphdsl.verify.evaluation import Evaluation
from graphdsl.verify.judging import AGREE, FAILED, NOTE, REFUTED, UNDEFINED, Judge, Judgement, ModelSide


def normal(*shape: int) -> np.ndarray:
    """Draws from the normal distribution, in float32."""
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def judged(before: Callable[..., Any], after: Callable[..., Any], *arrays: np.ndarray, opset: int = 21) -> Judgement:
    """What the judge says of two expressions on one draw."""
    with gd.opset(opset):
        inputs = [gd.input(f"x{i}", tensor_type(gd.constant(a).dtype, a.shape)) for i, a in enumerate(arrays)]
        models = [gd.build({"y": expression(*inputs)}, inputs=inputs) for expression in (before, after)]
    return Judge(*map(ModelSide, models)).judge({f"x{i}": a for i, a in enumerate(arrays)})


def single(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def in_parts(x: Any) -> Any:
    return op.ReduceSum(op.ReduceSum(x.reshape([100, 100]), [0]), [0, 1], keepdims=0)


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    powers = np.exp(x - op.ReduceMax(x, [1]))
    return powers / op.ReduceSum(powers, [1])


MAX = float(np.finfo(np.float32).max)
MASK = single(0, -1e9, 0, -MAX)
LARGE = single(3e8, 1, 1e10)
WEIGHTS = single(1, -0.5).reshape(1, 1, 2)

MICROSOFT = gd.domain("com.microsoft", 1)

ACCEPTED: dict[str, tuple[Any, ...]] = {
    "reassociation of 10,000 values": (lambda x: op.ReduceSum(x, [0], keepdims=0), in_parts, normal(10000)),
    "of positive ones": (lambda x: op.ReduceSum(x, [0], keepdims=0), in_parts, abs(normal(10000))),
    "sums that cancel": (lambda a, b, c: (a + b) + c, lambda a, b, c: a + (b + c), LARGE, 3 - LARGE, single(1, 2, 0.3)),
    "largest + largest - largest": (lambda a: (a + a) - a, lambda a: a + (a - a), single(MAX)),
    "a reciprocal": (lambda a, b: a / b, lambda a, b: a * op.Reciprocal(b), normal(50), normal(50)),
    "sigmoid written out": (op.Sigmoid, logistic, np.concatenate([normal(50) * 30, normal(50) * 3000])),
    "exp of a sum": (
        lambda a, b, c: np.exp((a + b) + c),
        lambda a, b, c: np.exp(a + (b + c)),
        normal(50) * 20,
        normal(50) * 9,
        normal(2, 25).ravel(),
    ),
    "gelu written out": (op.Gelu, lambda x: x * 0.5 * (1 + op.Erf(x / 1.41421356)), normal(3, 4) * 3),
    "products of matrices": (
        lambda a: (a @ (a * 3)) @ a,
        lambda a: a @ ((a * 3) @ a),
        normal(8, 8) * 1000,
    ),
    "a floor near a jump": (
        lambda a, b, c: np.floor((a + b) + c),
        lambda a, b, c: np.floor(a + (b + c)),
        normal(50),
        1 - normal(50),
        normal(50) * 2,
    ),
    "a comparison near a tie": (
        lambda a, b, c: (a + b) + c > 1,
        lambda a, b, c: a + (b + c) > 1,
        normal(50),
        1 - normal(50),
        normal(50) * 1e-7,
    ),
    "the difference of infinities": (lambda a: a - a, lambda a: a * 0, single(np.inf, 1)),
    "the other way round": (lambda a: a * 2, lambda a: a + a, normal(50).astype(np.float16)),
    "a factor that masks do not hide": (
        lambda x: op.Softmax(x * 0.125 + MASK),
        lambda x: op.Softmax(x / 8 + MASK),
        normal(3, 4),
    ),
    "integers that wrap": (lambda a: (a + 1) - 1, lambda a: a, np.array([2**31 - 1, 5], np.int32)),
    "loops": (
        lambda a: op.Loop(np.int64(3), None, a, body=lambda i, c, s: (c, s + s)),
        lambda a: op.Loop(np.int64(3), None, a, body=lambda i, c, s: (c, s * 2)),
        normal(3),
    ),
    "an overflow of float16 beside a rounding": (  # which ONNX Runtime leaves out between the two nodes
        lambda a: op.Mul(op.Sinh(a), op.Sinh(a)),
        lambda a: gd.constant(np.array([np.inf, 4.53125], np.float16)),
        np.array([7, 1.5], np.float16),
    ),
    "an overflow of float16 that is a constant after": (
        lambda a: op.Mul(op.Sinh(gd.constant(np.array([12], np.float16))), a),
        lambda a: op.Mul(gd.constant(np.array([np.inf], np.float16)), a),
        np.array([0], np.float16),
    ),
    "squares that overflow in a normalization": (
        lambda x, w, b: op.LayerNormalization(x, w, axis=-2) + b,
        lambda x, w, b: op.LayerNormalization(x, w, b, axis=-2),
        np.array([[0, 0, 0, 0], [0, 0, 0, 1e200]]),
        np.zeros((2, 4)),
        np.zeros((2, 1)),
    ),
    "text": (lambda a: op.Concat(a, a, axis=0), lambda a: op.Tile(a, [2]), np.array(["a", "é"], object)),
    "sequences whose items round otherwise": (
        lambda a, b, c: op.SequenceConstruct((a + b) + c, a[:1] * 0.1),
        lambda a, b, c: op.SequenceConstruct(a + (b + c), a[:1] / 10),
        normal(50),
        1 - normal(50),
        normal(50) * 2,
    ),
    "tanh by sigmoid, which cancels, in float64": (
        op.Tanh,
        lambda x: 2 * op.Sigmoid(2 * x) - 1,
        np.geomspace(1e-7, 1, 500),
    ),
    "gemm of integers beyond float64": (
        lambda a, b, c: op.Gemm(a, b, c),
        lambda a, b, c: a @ b + c,
        *[np.full((2, 2), number, np.uint64) for number in (3, 5, 2**60 + 1)],
    ),
    "a factor moved through an operator that only the runtime knows": (
        lambda a, b: MICROSOFT.FusedMatMul(a, b) * 0.3,
        lambda a, b: MICROSOFT.FusedMatMul(a * 0.3, b),
        normal(8, 64),
        normal(64, 8),
    ),
    "the sign of a zero that is computed": (lambda a: a * 0, lambda a: a - a, single(-1, 1)),
}

REJECTED: dict[str, tuple[Any, ...]] = {
    "a coefficient wrong by 7e-6 beside an operator that only the runtime knows": (
        lambda a, b: MICROSOFT.FusedMatMul(a, b) * 0.3,
        lambda a, b: MICROSOFT.FusedMatMul(a * (0.3 + 2e-6), b),
        normal(8, 64),
        normal(64, 8),
    ),
    "sequences of other dtypes that hold nothing": (
        lambda x: op.SequenceEmpty(dtype=gd.int64.code),
        lambda x: op.SequenceEmpty(),
        normal(1),
    ),
    "the sign of a zero that is only moved": (
        lambda x: op.Pad(x, [1, 1], -0.0),
        lambda x: op.Pad(x, [1, 1]),
        normal(3),
    ),
    "a coefficient wrong by 1e-6": (lambda x: x * 0.1, lambda x: x * (0.1 * (1 + 1e-6)), normal(50)),
    "the same of float64": (
        lambda x: x * 0.1,
        lambda x: x * (0.1 * (1 + 1e-14)),
        normal(50).astype(np.float64),
    ),
    "the root of a square": (lambda x: op.Sqrt(x * x), lambda x: x, normal(50)),
    "the log of softmax": (op.LogSoftmax, lambda x: op.Log(op.Softmax(x)), single(-1000, 0, 1)),
    "a lost cast": (lambda x: x.astype(gd.float16).astype(gd.float32), lambda x: x, normal(3, 4)),
    "an approximation": (lambda x: op.Gelu(x, approximate="tanh"), op.Gelu, normal(3, 4)),
    "a lost NaN": (
        lambda x: x * 0,
        lambda x: op.ConstantOfShape(op.Shape(x), value=single(0)),
        single(np.nan, 1),
    ),
    "a lost infinity": (op.IsInf, lambda x: op.Not(x == x), single(np.inf)),
    "an overflow of integers": (lambda a: op.Div(a * 2, 2), lambda a: a, np.array([2**30, 5], np.int32)),
    "swapped operands": (lambda a, b: a - b, lambda a, b: b - a, normal(3), normal(3)[::-1] * 2),
    "a coefficient in one item of a sequence": (
        lambda x: op.SequenceConstruct(x[:3], x * 0.1),
        lambda x: op.SequenceConstruct(x[:3], x * (0.1 * (1 + 1e-6))),
        normal(50),
    ),
    "items in another order": (
        lambda x: op.SequenceConstruct(x, x + 1),
        lambda x: op.SequenceConstruct(x + 1, x),
        normal(5),
    ),
    "a lost item": (lambda x: op.SequenceConstruct(x, x), lambda x: op.SequenceConstruct(x), normal(5)),
    "an infinity for what is large": (
        lambda a: op.Mul(op.Sinh(gd.constant(np.array([7], np.float16))), a),
        lambda a: op.Mul(gd.constant(np.array([np.inf], np.float16)), a),
        np.array([1], np.float16),
    ),
    "a normalization without its shift": (
        lambda x, w, b: op.LayerNormalization(x, w) + b,
        lambda x, w, b: op.LayerNormalization(x, w),
        np.array([[0, 0, 0, 1e10]]),
        np.ones(4),
        np.ones(4),
    ),
    "a wrong axis": (lambda x: op.Softmax(x, axis=0), lambda x: op.Softmax(x, axis=1), normal(2, 2)),
    "another shape": (lambda x: op.ReduceSum(x, [0]), lambda x: op.ReduceSum(x, [0], keepdims=0), normal(2, 2)),
    "another dtype": (lambda x: x, lambda x: x.astype(gd.float64), normal(2)),
    "a factor behind a mask": (
        lambda x: op.Softmax(x * 0.125 + MASK),
        lambda x: op.Softmax(x * 0.12501 + MASK),
        normal(3, 4),
    ),
    "a floor that is off at integers": (np.floor, lambda x: np.ceil(x) - 1, single(1.5, 2)),
    "an integer division by zero": (lambda a, b: a, lambda a, b: op.Div(a * b, b), np.arange(3), np.arange(3)),
    "another place of pixels": (
        lambda x: op.Resize(x, None, single(1, 1, 2), mode="linear"),
        lambda x: op.Resize(x, None, single(1, 1, 2), mode="linear", coordinate_transformation_mode="asymmetric"),
        normal(1, 2, 3),
    ),
    "moved numbers": (lambda x: op.Transpose(x), lambda x: x, normal(2, 2)),
    "one body of a branch": (
        lambda x: op.If(op.ReduceMax(x, keepdims=0) > 0, then_branch=lambda: x, else_branch=lambda: -x),
        lambda x: x,
        single(-1),
    ),
    "text": (lambda a: op.Concat(a, a, axis=0), lambda a: op.Expand(a, [2]), np.array(["a", "é"], object)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_judge_accepts(case: str) -> None:
    found = judged(*ACCEPTED[case])
    assert found.kind in (AGREE, NOTE), found


@pytest.mark.parametrize("case", REJECTED)
def test_the_judge_rejects(case: str) -> None:
    assert judged(*REJECTED[case]).kind == REFUTED


@pytest.mark.parametrize(
    ("before", "after", "array", "reason"),
    [
        (lambda x: x / x, lambda x: x * op.Reciprocal(x), single(1e-40), "an input leaves the normal range of float32"),
        (lambda x: x, lambda x: (x + x) - x, single(MAX), "Add leaves the normal range of float32"),
        (lambda x: op.Log(op.Softmax(x)), op.LogSoftmax, single(-1e4, 0), "before leaves the range of float64"),
        (lambda x: op.Sqrt(x * x), op.Abs, np.array([1e200, -np.inf]), "before leaves the range of float64"),
        (lambda x: op.Sqrt(x * x), op.Abs, np.array([1e-200, 1]), "a number leaves the range of float64"),
        (
            lambda x: op.Log(op.Softmax(x)),
            op.LogSoftmax,
            np.array([0, np.nan]),
            "the runtime and the reference disagree after",
        ),
        (lambda x: x * 2 - x, lambda x: x, single(np.inf), "NaN of infinities that were given"),
        (
            lambda x: op.Conv(x, WEIGHTS) * 3.0,
            lambda x: op.Conv(x, 3 * WEIGHTS),
            single(np.inf, MAX).reshape(1, 1, 2),
            "Conv leaves the normal range of float32",
        ),
        (
            lambda x: op.BatchNormalization(x, *np.array([[0.0], [1], [0], [0]])),
            lambda x: x * 0.0 + 1.0,
            np.array([[[np.nan, 1e307]]]),
            "before leaves the range of float64",
        ),
    ],
)
def test_what_cannot_be_judged_is_noted(before: Any, after: Any, array: np.ndarray, reason: str) -> None:
    found = judged(before, after, array)
    assert (found.kind, found.reason) == (NOTE, reason)


@pytest.mark.parametrize(
    ("expression", "array", "reason"),
    [
        (lambda x: op.Div(x, x), np.arange(3), "an integer division by zero"),
        (lambda x: op.Mod(x, x), np.arange(3), "an integer division by zero"),
        (lambda x: op.Div(x, -1), np.array([-(2**63)]), "the least integer divided by -1"),
        (lambda x: x.astype(gd.int8), single(128), "a cast to int8 of what it does not hold"),
        (lambda x: x.astype(gd.uint8), single(np.nan), "a cast to uint8 of what it does not hold"),
        (lambda x: op.Pow(x, x), np.array([-2]), "a negative power of an integer"),
        (lambda x: op.Pow(x, x), np.array([40]), "a power beyond its integer dtype"),
        (lambda x: op.Pow(x, 3), np.array([2**21]), "a power beyond its integer dtype"),
        (lambda x: op.Pow(x, 3.0), np.array([-(2**21)]), "a power beyond its integer dtype"),
        (lambda x: op.ArgMax(x), single(1, np.nan), "the place of NaN in ArgMax"),
        (lambda x: op.GlobalMaxPool(op.Reshape(x, [1, 1, -1])), single(np.nan), "the place of NaN in GlobalMaxPool"),
        (lambda x: op.Hardmax(x), single(np.nan, 1), "the place of NaN in Hardmax"),
        (
            lambda x: op.ScatterElements(x, [0], np.zeros(1, np.float32), reduction="max"),
            single(np.nan),
            "the place of NaN in ScatterElements",
        ),
        (lambda x: op.ReduceMax(x), single(), "ReduceMax of nothing"),
        (
            lambda x: op.Reshape(np.zeros((0, 2), np.float32), x, allowzero=1),
            np.array([0, -1]),
            "a size that is left open beside a size of zero",
        ),
        (lambda x: op.RandomNormalLike(x), single(1), "the numbers that RandomNormalLike draws"),
        (lambda x: op.Dropout(x, np.float32(0.5), True), single(1), "the numbers that Dropout draws"),
        (
            lambda x: op.BitShift(x, x, direction="LEFT"),
            np.array([8], np.uint8),
            "a shift by the width or more",
        ),
    ],
)
def test_what_the_standard_does_not_define_is_set_aside(expression: Any, array: np.ndarray, reason: str) -> None:
    found = judged(expression, expression, array)
    assert (found.kind, found.reason) == (UNDEFINED, reason)


def test_powers_that_the_dtype_holds_are_judged() -> None:
    """A product is exact, and the runtime computes powers in float64: that is noted, and a wrong power refuted."""
    large = np.array([2**53 + 1, -(2**63)])
    power = judged(lambda x: x * 1, lambda x: op.Pow(x, 1), large)
    assert (power.kind, power.reason) == (NOTE, "the runtime and the reference disagree")
    assert judged(lambda x: op.Pow(x, 1), lambda x: op.Pow(x, np.uint64(1)) - 1, large[:1]).kind == REFUTED


def test_what_chance_decides_only_before_refutes() -> None:
    def trained(x: Any) -> Any:
        return op.Dropout(x, np.float32(0.5), True)

    found = judged(trained, lambda x: x, normal(20))
    assert (found.kind, found.reason) == (REFUTED, "only before: the numbers that Dropout draws")
    assert judged(lambda x: op.Shape(trained(x)), op.Shape, normal(20)).kind == UNDEFINED, "that shows nowhere"


@pytest.mark.parametrize("operator", [op.Softmax, op.LogSoftmax])
def test_arrays_without_axes_are_computed_precisely_too(operator: Any) -> None:
    with gd.opset(9):  # at which it takes them
        model = gd.build(operator(gd.input("x", gd.float32[()]), axis=0))
    assert [array.shape for array in Evaluation(model, {"x": single(3).reshape(())}, wide=True).outputs] == [()]


@pytest.mark.parametrize(
    "reduction", [lambda x: op.ReduceMax(x, [-1]), lambda x: op.ArgMax(x, axis=2), lambda x: op.ReduceMin(x, [0, 2])]
)
def test_reductions_that_make_nothing_of_nothing_are_defined(reduction: Any) -> None:
    assert judged(reduction, reduction, normal(2, 0, 2)).kind in (AGREE, NOTE)


def test_what_shows_in_no_element_refutes_nothing() -> None:
    found = judged(op.Softmax, softmax, normal(2, 0))
    assert (found.kind, found.reason) == (UNDEFINED, "ReduceMax of nothing")
    found = judged(lambda x: op.ReduceSum(x, [1]), lambda x: op.ReduceMax(x, [1]), normal(2, 0))
    assert (found.kind, found.reason) == (REFUTED, "only after: ReduceMax of nothing")


def test_what_the_runtime_makes_of_nothing_is_no_refutation() -> None:
    """ONNX Runtime gives what lies in memory for the product of a matrix and a vector over nothing."""
    x, v = gd.input("x", gd.float32[64, "k"]), gd.input("v", gd.float32["k"])
    sides = (ModelSide(gd.build({"y": y}, inputs=[x, v])) for y in (op.ReduceSum(x * v, [1], keepdims=0), x @ v))
    judge = Judge(*sides)
    runs = [judge.judge({"x": np.ones((64, k), np.float32), "v": np.ones(k, np.float32)}) for k in (8, 0)]
    assert [run.kind for run in runs] == [AGREE, NOTE] and runs[1].reason == "what the runtime makes of nothing"


@pytest.mark.parametrize("array", [single(-128.9, 127.9), single(0)])
def test_casts_that_fit_are_defined(array: np.ndarray) -> None:
    assert judged(lambda x: x.astype(gd.int8), lambda x: x.astype(gd.int8), array).kind == AGREE


def test_an_error_before_is_no_refutation_and_one_after_is() -> None:
    x, index = np.arange(3), np.array([5])
    gathers = (lambda x, i: op.Gather(x, i), lambda x, i: op.Gather(x, i))
    assert judged(*gathers, x, index).kind == FAILED
    found = judged(lambda x, i: op.Expand(i, op.Shape(i)), gathers[1], x, index)
    assert found.kind == REFUTED and found.reason.startswith("only after, it fails: Gather: ")


def test_what_the_runtime_runs_on_neither_side_is_no_refutation_though_only_the_reference_fails_after() -> None:
    found = judged(lambda x: op.Log(op.Softmax(x)), lambda x: op.LogSoftmax(x, axis=1), single(0).reshape(()), opset=9)
    assert found.kind == NOTE and found.reason.startswith(
        "the runtime fails on both, the reference after: LogSoftmax: "
    )


def test_the_truth_is_in_float64_and_keeps_casts() -> None:
    x = gd.input("x", gd.float32[1])
    third = single(1 / 3)
    model = gd.build([x * x, (x * x).astype(gd.float16), x.astype(gd.float64)])
    found = [array.item() for array in Evaluation(model, {"x": third}, wide=True).outputs]
    exact = third.astype(np.float64).item()
    assert found == [exact**2, float(np.float16(exact**2)), exact]


def test_what_has_no_variant_for_float64_is_computed_in_its_own_dtype() -> None:
    x = gd.input("x", gd.float32[2])
    model = gd.build(op.DequantizeLinear(op.QuantizeLinear(x, np.float32(0.1)), np.float32(0.1)))
    assert judged(lambda x: x, lambda x: x, single(0.25)).kind == AGREE
    (found,) = Evaluation(model, {"x": single(0.25, 3)}, wide=True).outputs
    assert found.dtype == np.float64 and found.tolist() == (single(0.2, 3.0)).astype(np.float64).tolist()


def test_every_value_has_its_own_dtype_without_widening() -> None:
    x = gd.input("x", gd.float16[2])
    evaluation = Evaluation(gd.build(x * 3), {"x": np.array([0.1, 1e4], np.float16)}, wide=False)
    assert evaluation.outputs[0].dtype == np.float16


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("operator", ["Hardmax", "LogSoftmax", "Softmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(2, 3, 2), (2, 0, 2)])
def test_what_the_reference_gets_wrong_is_computed_as_the_runtime_does(
    operator: str, axis: int | None, opset: int, shape: tuple[int, ...]
) -> None:
    x = gd.input("x", tensor_type(gd.float32, shape))
    array = normal(*shape)
    with gd.opset(opset):
        model = gd.build(getattr(op, operator)(x, axis=axis))
    for wide in (True, False):
        (found,) = Evaluation(model, {"x": array}, wide=wide).outputs
        np.testing.assert_allclose(found, model(array), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("given", [single(1, 2), None, [single(1), single(2)]], ids=["tensor", "nothing", "sequence"])
def test_optionals_hold_what_they_are_given(given: Any) -> None:
    kind = gd.sequence(gd.float32[1]) if isinstance(given, list) else gd.float32[2]
    maybe = op.Optional(type=kind) if given is None else op.Optional(gd.input("x", kind))
    outputs = {"has": op.OptionalHasElement(maybe)}
    if given is not None:
        outputs["got"] = op.OptionalGetElement(maybe)
    model = gd.build(outputs)
    feeds = {} if given is None else {"x": given}
    for wide in (True, False):
        has, *got = Evaluation(model, feeds, wide=wide).outputs
        assert has == (given is not None)
        assert [np.asarray(item).tolist() for item in got] == ([] if given is None else [np.asarray(given).tolist()])


class _Dying(ModelSide):
    """A model on which the runtime dies."""

    def run(self, feeds: Any) -> Crash:
        return Crash("SIGFPE")


def test_a_runtime_that_dies_only_after_refutes_and_one_that_dies_on_both_is_noted() -> None:
    x = gd.input("x", gd.float32[1])
    model, feeds = gd.build(x * 2), {"x": single(1)}
    found = Judge(ModelSide(model), _Dying(model)).judge(feeds)
    assert (found.kind, found.reason) == (REFUTED, "only after, the runtime dies: crashed: SIGFPE")
    found = Judge(_Dying(model), _Dying(model)).judge(feeds)
    assert (found.kind, found.reason) == (NOTE, "the runtime dies: crashed: SIGFPE")


@pytest.mark.parametrize("group", [2, 3])
@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 2)], ids=str)
def test_transposed_convolutions_of_groups_are_those_of_the_runtime(sizes: tuple[int, ...], group: int) -> None:
    random = np.random.default_rng(len(sizes))
    rank = len(sizes)
    x = random.standard_normal((2, 2 * group, *sizes)).astype(np.float32)
    w = random.standard_normal((2 * group, 3, *[2] * rank)).astype(np.float32)
    b = random.standard_normal(3 * group).astype(np.float32)
    padded = {"strides": [3] * rank, "pads": [1] * rank + [0] * rank, "output_padding": [2] * rank}
    for given in ({}, padded, {"strides": [2] * rank, "auto_pad": "SAME_UPPER"}):
        model = gd.build(op.ConvTranspose(gd.input("x", gd.float32[x.shape]), w, b, group=group, **given))
        (node,) = model.nodes
        wide = [array.astype(np.float64) for array in (x, w, b)]
        (found,) = computed(node.schema, node.attributes, wide, 1, 11)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, model(x), rtol=0, atol=1e-4)
