"""Known faults: each entry explains the fault that it is for, and not another one of the same operator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.types import as_dtype
from graphdsl.verify.comparing import Difference
from graphdsl.verify.known import FAULTS, known
from graphdsl.verify.origins import Origin, origins

REFERENCE, TORCH = ("unoptimised", "reference"), ("unoptimised", "torch")


def met(model: gd.Model, feeds: dict[str, Any], pair: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """The nodes at which witnesses begin to differ, and the known fault of each."""
    return [(origin.node.op_type, known(origin, pair)) for origin in origins(model, feeds, pair, 20) or ()]


def inputs(*arrays: Any) -> tuple[list[gd.Tensor], dict[str, Any]]:
    """Inputs of a model that take these arrays."""
    given = [array if isinstance(array, np.ndarray) else np.array(array) for array in arrays]
    kinds = [gd.string if array.dtype.kind in "OU" else as_dtype(array.dtype) for array in given]
    made = [gd.input(f"x{i}", kind[array.shape]) for i, (kind, array) in enumerate(zip(kinds, given, strict=True))]
    return made, {f"x{i}": array for i, array in enumerate(given)}


def floats(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def wide(*values: Any) -> np.ndarray:
    return np.array(values, np.float64)


def halves(*values: Any) -> np.ndarray:
    return np.array(values, np.float16)


def longs(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def gated(which: Any, gates: int, **attributes: Any) -> Callable[..., Any]:
    weights = np.ones((1, gates, 1), np.float32)
    return lambda x, *more: which(x, weights, weights, None, *more, hidden_size=1, outputs=1, **attributes)


def at(opset: int, call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*given: Any) -> gd.Model:
        with gd.opset(opset):
            return gd.build({"y": call(*given)}, inputs=given)

    return called


def region(x: Any) -> Any:
    return op.RoiAlign(x, floats([0, 0, 2, 2]), [0], output_height=1, output_width=1, sampling_ratio=1)


def normal(x: Any) -> Any:
    one, zero = floats(1), floats(0)
    return op.BatchNormalization(x, one, zero, zero, one)


def masked(x: Any, mask: Any = None) -> Any:
    return op.Attention(x, x, x, mask, q_num_heads=1, kv_num_heads=1)


def words_collected(x: Any) -> Any:
    return op.Loop(3, True, body=lambda i, going: (going, op.Identity(x)))


STEPS = floats([[1]], [[1]])
PIXEL, PIXELS, CHANNELS = floats([[1]]), floats([[1, 2, 3]]), floats([[1], [1]])

CASES: list[tuple[str, Callable[..., Any], list[Any], tuple[str, ...]]] = [
    ("Gather of strings", lambda x: op.Gather(x, 1), [np.array([["a", "b"], ["c", "d"]], object)], REFERENCE),
    ("reductions of empty tensors", lambda x: op.ReduceSum(x, [-2], keepdims=0), [np.zeros((0, 3), "f")], REFERENCE),
    ("ReduceSum and ReduceProd of int64", lambda x: op.ReduceSum(x), [longs(2**53, 1)], REFERENCE),
    ("ReduceSum and ReduceProd of int64", lambda x: op.ReduceProd(x), [longs(2**27 + 1, 2**27 + 1)], REFERENCE),
    ("ReduceSum and ReduceProd of int64", lambda x: op.ReduceMean(x), [longs(9, 28690605495455525)], REFERENCE),
    *(
        ("Min, Max, Clip and Sign", call, [longs(2**31, 2**31)], REFERENCE)
        for call in (op.Sign, lambda x: op.Min(x, 0), lambda x: op.Max(x, 0), lambda x: op.Clip(x, 5, 2**33))
    ),
    ("Einsum of int64", lambda x: op.Einsum(x, equation="ij->i"), [longs([2**53 + 1])], REFERENCE),
    ("powers of integers", op.Pow, [longs(2**53 + 1), longs(1)], REFERENCE),
    ("Pow of int64 by uint64", op.Pow, [longs(2**53 + 1), np.uint64([1])], ("numpy", "reference")),
    ("Mod with fmod=1", lambda a, b: op.Mod(a, b, fmod=1), [longs(2**53 + 1), longs(2)], REFERENCE),
    ("Sign of a float16", op.Sign, [halves(np.nan)], REFERENCE),
    ("the least integer divided by -1", op.Div, [longs(-(2**63)), longs(-1)], ("unoptimised",)),
    ("ReduceMax and ReduceMin", lambda x: op.ReduceMin(x), [floats(1, np.nan)], REFERENCE),
    ("MaxPool of nothing but -inf", lambda x: op.MaxPool(x, kernel_shape=[1]), [PIXEL * -np.inf], REFERENCE),
    ("MaxPool of nothing but -inf", op.GlobalMaxPool, [PIXEL[None] * -np.inf], REFERENCE),
    ("the reference's ReduceLogSumExp", lambda x: op.ReduceLogSumExp(x), [floats(np.inf, np.inf)], REFERENCE),
    ("the reference lets float16 overflow", op.Mean, [halves(65504), halves(65504)], REFERENCE),
    ("the reference's Det", op.Det, [wide([1e300])], ("torch", "reference")),
    ("LogSoftmax of float64", op.LogSoftmax, [wide(0, np.nan)], REFERENCE),
    ("Shrink", op.Shrink, [longs(2**24 + 1)], REFERENCE),
    ("Shrink", lambda x: op.Shrink(x, bias=0.1), [longs(2**21 + 1)], REFERENCE),
    *(
        (heading, at(23, masked), [whole([[1]]), np.full((1, 1), least, kind)], REFERENCE)
        for heading, whole, kind, least in (
            ("Attention takes the least", floats, "f", np.finfo("f").min),
            ("Attention takes the least", halves, "e", np.finfo("e").min),
            ("a row of Attention", wide, "d", -np.inf),
        )
    ),
    ("the body of Attention", at(23, masked), [wide([[0, 0], [0, 1]])], REFERENCE),
    ("the reference's PRelu", op.PRelu, [floats(0), floats(np.nan)], REFERENCE),
    ("the reference lets float16 overflow", op.LpNormalization, [halves(1e-4)], REFERENCE),
    (
        "Attention scales",
        at(23, lambda q, k: op.Attention(q, k, k, kv_num_heads=1, q_num_heads=1, scale=0.5)),
        [PIXEL[None] * 3, PIXEL[None] * 1.7e38],
        REFERENCE,
    ),
    ("Shrink", op.Shrink, [wide(1.1)], REFERENCE),
    ("Shrink", op.Shrink, [wide(1e300)], REFERENCE),
    ("MeanVariance", lambda x: op.MeanVarianceNormalization(x, axes=[0]), [floats([3], [3])], REFERENCE),
    ("windows of float64", lambda: op.HammingWindow(np.int64(1), output_datatype=gd.float64), [], REFERENCE),
    ("StringSplit splits", lambda x: op.StringSplit(x)[1], [np.array(["a\tb"], object)], REFERENCE),
    (
        "pooling by `auto_pad`",
        lambda x: op.AveragePool(x, kernel_shape=[2], dilations=[2], auto_pad="SAME_UPPER"),
        [floats(1, 2, 3, 4)[None, None]],
        REFERENCE,
    ),
    ("Sigmoid", op.Sigmoid, [floats(-10)], REFERENCE),
    ("Sigmoid", op.Sigmoid, [wide(-10, np.nan)], REFERENCE),
    ("Sigmoid", at(24, lambda x: op.Swish(x)), [floats(-10)], REFERENCE),
    ("the reference multiplies what", lambda x: op.Expand(x, [1]), [np.array([np.inf], "F")], ("numpy", "reference")),
    ("the reference's OneHot", lambda i, v: op.OneHot(i, 1.0, v), [longs(0), floats(8, -0.1)], REFERENCE),
    ("the reference's LpNormalization", lambda x: op.LpNormalization(x, p=1), [floats(-1)], REFERENCE),
    (
        "the reference lets float16 overflow",
        lambda x: op.InstanceNormalization(x, halves(1), halves(0)),
        [halves([[300, -300]])],
        REFERENCE,
    ),
    ("the reference lets float16 overflow", lambda x: op.ReduceL2(x), [halves(300)], REFERENCE),
    (
        "the reference lets float16 overflow",
        lambda x: op.LpPool(x, kernel_shape=[1], p=3),
        [halves([[2e-3]])],
        REFERENCE,
    ),
    ("the reference's LRN", lambda x: op.LRN(x, size=1, alpha=1.0), [CHANNELS[..., None]], REFERENCE),
    (
        "the reference's MaxPool misplaces pads",
        lambda x: op.MaxPool(x, kernel_shape=[2, 2], pads=[0, 0, 1, 0]),
        [np.ones((1, 1, 2, 2), "f")],
        REFERENCE,
    ),
    (
        "the reference's MaxPool misplaces pads",
        lambda x: op.MaxPool(x, kernel_shape=[2], pads=[0, 1]),
        [PIXELS],
        REFERENCE,
    ),
    ("Cast rounds", lambda x: op.Cast(x, to=gd.int4), [floats(0.5, -2.5)], REFERENCE),
    (
        "Cast of the least float8e8m0",
        at(25, lambda x: op.Cast(x, to=gd.bool)),
        [np.array([2.0**-127]).astype(gd.float8e8m0.numpy)],
        REFERENCE,
    ),
    (
        "Cast of a -0.0 of 8 bits",
        lambda x: op.Cast(x, to=gd.bool),
        [np.array([-0.0]).astype(gd.float8e4m3fn.numpy)],
        REFERENCE,
    ),
    (
        "Cast of float8e5m2",
        lambda x: op.Cast(x, to=gd.float8e5m2),
        [np.array([np.inf]).astype(gd.float8e5m2.numpy)],
        REFERENCE,
    ),
    (
        "InstanceNormalization takes",
        lambda x: op.InstanceNormalization(x, floats(1), floats(0.1)),
        [floats([[1000]])],
        REFERENCE,
    ),
    ("LRN adds", lambda x: op.LRN(x, size=1, alpha=1.0), [floats([[[5000]], [[1]]])], REFERENCE),
    (
        "Resize of int32",
        lambda x: op.Resize(x, None, [1.0, 1.0, 1.0, 2.0], mode="linear"),
        [np.array([[[[2**24 + 1]]]], np.int32)],
        REFERENCE,
    ),
    (
        "Resize of int32",
        lambda x: op.Resize(x, None, [1.0, 1.0, 1.0, 2.0], mode="linear"),
        [np.array([[[[2**31 - 1]]]], np.int32)],
        REFERENCE,
    ),
    (
        "Resize of int32",
        lambda x: op.Resize(x, None, [1.0, 1.0, 2.0, 3.0], mode="linear"),
        [np.array([[[[0, 0], [1, 30658374]]]], np.int32)],
        REFERENCE,
    ),
    (
        "the reference's BatchNormalization",
        lambda x: op.BatchNormalization(x, floats(3), floats(0), floats(0), floats(3)),
        [floats([1.5e38])],
        REFERENCE,
    ),
    (
        "the reference lets float16 overflow",
        lambda h: op.GRU(
            halves([[1]]), halves([[-12], [0], [0]]), halves([[0], [0], [0]]), None, None, h, hidden_size=1, outputs=1
        ),
        [halves([[30000]])],
        REFERENCE,
    ),
    ("Gemm of integers", op.Gemm, [longs([2**53 + 1]), longs([1])], ("torch", "reference")),
    ("the indices", lambda x: op.MaxPool(x, kernel_shape=[1], outputs=2)[1], [CHANNELS], REFERENCE),
    (
        "the reference's pools",
        lambda x: op.MaxPool(x, kernel_shape=[1], strides=[2], auto_pad="SAME_LOWER"),
        [PIXELS],
        REFERENCE,
    ),
    (
        "the indices of the reference's MaxPool count the pads",
        lambda x: op.MaxPool(x, kernel_shape=[1, 2], auto_pad="SAME_LOWER", outputs=2)[1],
        [np.array([[[[1, 2, 3]]]], np.float32)],
        REFERENCE,
    ),
    ("the reference lets float16 overflow", op.ReduceLogSum, [halves(65504, 65504)], REFERENCE),
    (
        "InstanceNormalization takes",
        lambda x: op.InstanceNormalization(x, floats(1), floats(0)),
        [floats([[1.7e38]])],
        REFERENCE,
    ),
    (
        "the reference's MaxPool rounds",
        lambda x: op.MaxPool(x, kernel_shape=[1], strides=[2], auto_pad="SAME_UPPER"),
        [np.array([[[1.0, 2.0]]])],
        REFERENCE,
    ),
    (
        "the reference's AveragePool",
        lambda x: op.AveragePool(x, kernel_shape=[3]),
        [floats([[1, np.nan, 3]])],
        REFERENCE,
    ),
    ("the reference's GlobalMaxPool", op.GlobalMaxPool, [PIXEL], REFERENCE),
    (
        "the reference's ConvTranspose adds",
        lambda x: op.ConvTranspose(x, np.ones((2, 1, 1), "f"), floats(0, 1), group=2),
        [CHANNELS],
        REFERENCE,
    ),
    ("the reference computes functions of float64", op.Erf, [wide(1)], ("torch", "reference")),
    (
        "the reference computes functions of float64",
        op.GridSample,
        [wide(1)[None, None, None], wide([[[0.1, 0]]])],
        REFERENCE,
    ),
    ("the body of Gelu", lambda x: op.Gelu(x, approximate="tanh"), [wide(1)], TORCH),
    ("the reference's GridSample", op.GridSample, [PIXEL[None], halves([[[0, 0.1254]]])], REFERENCE),
    ("the reference's AffineGrid", lambda x: op.AffineGrid(x, [1, 1, 1, 1]), [np.zeros((1, 2, 3))], REFERENCE),
    ("the reference's Resize multiplies", lambda x: op.Resize(x, None, [1.0, 1.0, 2.0]), [PIXEL * np.inf], REFERENCE),
    (
        "the reference's Resize to a single pixel",
        lambda x: op.Resize(
            x, None, None, [1, 1, 1, 1], mode="cubic", coordinate_transformation_mode="pytorch_half_pixel"
        ),
        [floats([[1, 2]])[None]],
        REFERENCE,
    ),
    (
        "the specification does not say how Resize",
        lambda x: op.Resize(x, None, None, [1, 1, 1, 4], mode="linear"),
        [np.array([[[[0, 3]]]], np.uint8)],
        REFERENCE,
    ),
    *(
        ("the reference's RNN, GRU and LSTM forget the lengths", gated(which, gates), [STEPS, np.int32([1])], REFERENCE)
        for which, gates in ((op.RNN, 1), (op.GRU, 3), (op.LSTM, 4))
    ),
    *(
        ("the reference's RNN, GRU and LSTM forget attributes", gated(which, gates, clip=0.5), [STEPS], REFERENCE)
        for which, gates in ((op.RNN, 1), (op.GRU, 3), (op.LSTM, 4))
    ),
    ("the reference's RNN, GRU and LSTM forget attributes", gated(op.LSTM, 4, input_forget=1), [STEPS], REFERENCE),
    (
        "the reference's RNN, GRU and LSTM forget attributes",
        gated(op.GRU, 3, activations=["Sigmoid", "Relu"]),
        [STEPS],
        REFERENCE,
    ),
    (
        "the reference's SequenceInsert",
        lambda a, b: op.SequenceInsert(op.SequenceConstruct(a), b, 1),
        [floats(1), floats(2)],
        REFERENCE,
    ),
    ("the reference's Optional", op.Optional, [floats(1)], REFERENCE),
    ("the reference's QuantizeLinear", lambda x: op.QuantizeLinear(x, np.float32(1)), [floats(1e20)], REFERENCE),
    ("the reference's ReduceSumSquare", lambda x: op.ReduceSumSquare(x), [np.int32([1])], REFERENCE),
    ("the reference's ReduceL2", lambda x: op.ReduceL2(x), [np.int32([50000])], REFERENCE),
    (
        "the reference's LayerNormalization",
        lambda x: op.LayerNormalization(x, np.ones(2), outputs=3)[1],
        [wide(1, 2)],
        REFERENCE,
    ),
    (
        "the reference's LayerNormalization",
        lambda x: op.LayerNormalization(x, halves(1)),
        [halves(300, -300)],
        REFERENCE,
    ),
    (
        "the reference's LayerNormalization",
        at(23, lambda x: op.RMSNormalization(x, halves(1))),
        [halves(300)],
        REFERENCE,
    ),
    ("the reference's StringNormalizer drops", op.StringNormalizer, [np.array(["", "a"], object)], REFERENCE),
    ("the reference's StringNormalizer takes", op.StringNormalizer, [np.array(["é"], object)], REFERENCE),
    ("StringSplit finds", lambda x: op.StringSplit(x, delimiter="a")[1], [np.array([""], object)], REFERENCE),
    (
        "the reference's StringNormalizer looks",
        lambda x: op.StringNormalizer(x, stopwords=["a"], is_case_sensitive=1),
        [np.array(["a b"], object)],
        REFERENCE,
    ),
    (
        "the body of MeanVarianceNormalization",
        lambda x: op.MeanVarianceNormalization(x, axes=[0]),
        [floats([4096], [4097])],
        REFERENCE,
    ),
    ("Gelu of infinite", op.Gelu, [floats(np.inf, np.inf)], TORCH),
    ("Gelu of float32 overflows", op.Gelu, [floats(2e38, 2e38)], TORCH),
    ("the reference's Clip", op.Clip, [floats(np.inf)], REFERENCE),
    ("the reference's Unique", lambda x: op.Unique(x, sorted=0), [floats(0, -1)], REFERENCE),
    ("the reference's LogSoftmax", op.LogSoftmax, [floats(0, 1000)], REFERENCE),
    ("the reference runs Softmax", at(11, lambda x: op.Softmax(x, axis=0)), [floats([2, 1], [3, 4])], REFERENCE),
    ("the reference mixes statistics", at(9, normal), [floats([0], [2])], REFERENCE),
    ("the reference's RoiAlign", at(10, region), [floats([[1, 2], [3, 4]])[None]], REFERENCE),
    ("Loop gives what lies in memory", words_collected, [np.array(["a", "b"], object)], REFERENCE),
    ("fmod", lambda a, b: op.Mod(a, b, fmod=1), [np.full(8, 5.0), np.full(8, 2.0**-1022)], TORCH),
    ("fmod", lambda a, b: op.Mod(a, b, fmod=1), [np.full(16, 3e38, "f"), np.full(16, 0.1, "f")], TORCH),
]


@pytest.mark.parametrize(("heading", "call", "arrays", "pair"), CASES, ids=[case[0] for case in CASES])
def test_a_known_fault_is_known(
    heading: str, call: Callable[..., Any], arrays: list[Any], pair: tuple[str, ...]
) -> None:
    made, feeds = inputs(*arrays)
    made_of = call(*made)
    model = made_of if isinstance(made_of, gd.Model) else gd.build({"y": made_of}, inputs=made)
    (found,) = met(model, feeds, pair)
    assert found[1] is not None and found[1].partition(": ")[2].startswith(heading)


@pytest.mark.parametrize(
    ("product", "dtype", "end", "reason"),
    [(op.MatMulInteger, gd.int8, (64,), "other values"), (op.MatMul, gd.float32, (), "numbers that differ")],
)
def test_what_lies_in_memory_is_known(product: Any, dtype: Any, end: tuple[int, ...], reason: str) -> None:
    """An empty product shows what an earlier run left there."""
    a, b = gd.input("a", dtype[64, "k"]), gd.input("b", dtype["k", *end])
    model = gd.build({"y": product(a, b)})
    runs = [{"a": np.ones((64, k), dtype.numpy), "b": np.ones((k, *end), dtype.numpy)} for k in (8, 0)]
    dirty, empty = (verify.run(model, feeds, "unoptimised") for feeds in runs)
    assert isinstance(dirty, dict) and isinstance(empty, dict)
    difference = Difference(reason, "o0", dirty["y"], empty["y"])
    known_here = Origin(model.nodes[0], tuple(runs[1].values()), difference)
    assert str(known(known_here, REFERENCE)).partition(": ")[2].startswith(MEMORY)
    assert known(known_here._replace(inputs=tuple(runs[0].values())), REFERENCE) is None


MEMORY = "products over nothing"
"""What no run shows for certain: it depends on what lies in memory."""


def test_every_entry_has_a_case() -> None:
    told = {MEMORY, *(heading for heading, *_ in CASES)}
    assert [f.heading for f in FAULTS if not any(f.heading.partition(": ")[2].startswith(h) for h in told)] == []


def liar(monkeypatch: pytest.MonkeyPatch, witness: str) -> None:
    """Make a witness wrong by an eighth of each float, and by 1 of each integer."""
    honest = verify.WITNESSES[witness]

    def lies(model: Any, feeds: Any, limits: Any) -> Any:
        found = honest(model, feeds, limits)
        return {name: _wrong(item) for name, item in found.items()} if isinstance(found, dict) else found

    monkeypatch.setitem(verify.WITNESSES, witness, lies)


def _wrong(item: Any) -> Any:
    if isinstance(item, list):
        return [_wrong(each) for each in item]
    if item.dtype == object:
        return np.char.add(item.astype(str), "!").astype(object)
    return item * item.dtype.type(9 / 8) if item.dtype.kind == "f" else item + item.dtype.type(1)


@pytest.mark.parametrize(
    "name, dtype",
    [
        *((name, "float32") for name in ("RNN", "GRU", "LSTM", "RoiAlign", "Resize", "MaxPool", "OneHot", "LRN")),
        *((name, "float32") for name in ("LogSoftmax", "LpNormalization", "Unique", "ConvTranspose", "SequenceInsert")),
        *((name, "float64") for name in ("Erf", "GridSample", "DeformConv")),
        *((name, "float16") for name in ("InstanceNormalization", "ReduceL2")),
        *((name, "int32") for name in ("ReduceL2",)),
        ("QuantizeLinear", "float32"),
        ("StringNormalizer", "string"),
    ],
)
def test_another_fault_of_the_same_operator_is_reported(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is made wrong in another way, at an operator for which a fault of it is known."""
    liar(monkeypatch, "reference")
    witnesses = ("unoptimised", "torch", "reference")
    found = verify.campaign([name], dtypes=[dtype], examples=100, executor=verify.InProcess(), witnesses=witnesses)
    (result,) = found.findings
    assert result.status == "differ" and "reference" in result.reason


@pytest.mark.parametrize("name, dtype", [("Sigmoid", "float32"), ("ReduceSum", "int64"), ("Shrink", "float64")])
def test_another_fault_of_the_runtime_is_reported(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    liar(monkeypatch, "unoptimised")
    found = verify.campaign([name], dtypes=[dtype], executor=verify.InProcess(), witnesses=("unoptimised", "reference"))
    assert [result.status for result in found.results] == ["differ"]


def test_attributes_that_change_nothing_explain_nothing() -> None:
    """A threshold that no gate reaches, and functions that are those by default."""
    honest = {"clip": 100.0, "activations": ["Sigmoid", "Tanh", "Tanh"], "input_forget": 0}
    made, feeds = inputs(STEPS)
    for attributes, explained in ((honest, None), (honest | {"clip": 0.5}, "forget attributes")):
        node = gd.build({"y": gated(op.LSTM, 4, **attributes)(*made)}).nodes[0]
        weights = node.inputs[1].array
        wrong = Difference("numbers that differ by 1 of their size", "o0", floats(1), floats(2))
        heading = known(Origin(node, (feeds["x0"], weights, weights), wrong), REFERENCE)
        assert heading is None if explained is None else str(heading).endswith(explained)


def test_the_node_at_which_witnesses_begin_to_differ_is_found() -> None:
    """Everything behind it differs too, and everything behind that is not its fault."""
    x = gd.input("x", gd.float32[1, 2, 1])
    chain = op.Exp(op.GlobalMaxPool(op.Neg(op.LRN(op.Reshape(x, [1, 2, 1, 1]), size=1, alpha=1.0))))
    found = met(gd.build({"y": chain}), {"x": floats([[1], [1]])}, REFERENCE)
    assert found == [("LRN", "ONNX: the reference's LRN computes as many channels as there are images")]


def test_a_node_is_found_inside_a_function() -> None:
    x = gd.input("x", gd.float32[2])

    @gd.function(domain="my")
    def first(a):  # type: ignore[no-untyped-def]
        return op.Unique(a, sorted=0)

    ((operator, heading),) = met(gd.build({"y": first(x)}), {"x": floats(0, -1)}, REFERENCE)
    assert operator == "Unique" and heading is not None


def loops(x: gd.Tensor, flag: gd.Tensor) -> dict[str, Any]:
    """Bodies in which one row has a Sigmoid that loses digits, with a captured value each."""
    half = x * 0.5
    return {
        "If": op.If(flag, then_branch=lambda: op.Sigmoid(half[1] * 2), else_branch=lambda: half[0]),
        "Loop": op.Loop(3, True, body=lambda i, going: (going, op.Sigmoid(half[i] * 2)), outputs=1),
        "Scan": op.Scan(half[0], x, body=lambda s, row: (row, op.Sigmoid(row + 0 * half[0])), num_scan_inputs=1)[1],
        "SequenceMap": op.SequenceMap(op.SequenceConstruct(x[0], x[1]), body=lambda item: op.Sigmoid(item + half[0])),
    }


@pytest.mark.parametrize("name", ["If", "Loop", "Scan", "SequenceMap"])
def test_a_node_is_found_inside_a_body(name: str) -> None:
    x, flag = gd.input("x", gd.float32[3, 1]), gd.input("flag", gd.bool[()])
    model = gd.build({"y": loops(x, flag)[name]}, inputs=[x, flag])
    found = met(model, {"x": floats([0], [-8], [0]), "flag": np.array(True)}, REFERENCE)
    assert found == [("Sigmoid", "ONNX Runtime: Sigmoid loses all its digits far below 0")]


def test_roundings_that_add_up_begin_at_no_node() -> None:
    """In float16 the cosine is 1, and what its runtime computes in float32 is not: each alone rounds as it may."""
    x = gd.input("x", gd.float16[1])
    model, feeds = gd.build({"y": op.Acos(op.Cos(x))}), {"x": halves(0.0155)}
    assert origins(model, feeds, ("onnxruntime", "reference"), 20) == []


def test_nodes_that_nobody_runs_tell_nothing() -> None:
    x = gd.input("x", gd.bfloat16[1])
    assert origins(gd.build({"y": op.Exp(x)}), {"x": np.zeros(1, gd.bfloat16.numpy)}, REFERENCE, 20) is None


def test_a_fault_that_both_have_explains_no_difference() -> None:
    x = gd.input("x", gd.float32[1])
    model = gd.build({"y": op.Sigmoid(x)})
    (origin,) = origins(model, {"x": floats(-10)}, REFERENCE, 20) or ()
    assert known(origin, ("onnxruntime", "reference")) is not None
    assert known(origin, ("onnxruntime", "unoptimised")) is None
