"""What operators demand of shapes: what is refused cannot run, and its nearest neighbour that is accepted does.

Where ONNX's own inference is content, ONNX Runtime is the judge: with the demand switched off, it must refuse the call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import pytest

import graphdsl as gd
from graphdsl import demands, inference, op, schemas

ort.set_default_logger_severity(4)

Made = Callable[..., Any]


class Demand(NamedTuple):
    """A call on symbolic inputs, shapes that it refuses, why, and shapes that it takes."""

    name: str
    call: Made
    bad: tuple[Any, ...]
    message: str
    good: tuple[Any, ...]


F, N, U = gd.float32, gd.int64, gd.uint8

DEMANDS = [
    # broadcasting
    Demand(
        "Add",
        op.Add,
        (F["n", 3], F[4]),
        "A and B do not broadcast: size 3 against 4 on axis -1; sizes must be equal, or one of them 1",
        (F[2, 3], F[3]),
    ),
    Demand(
        "Sum",
        op.Sum,
        (F[2, 3], F[3], F[4]),
        "data_0[0] and data_0[2] do not broadcast: size 3 against 4 on axis -1; sizes must be equal, or one of them 1",
        (F[2, 3], F[3], F[1]),
    ),
    Demand(
        "Mul",
        op.Mul,
        (F[2, 3, 4, 4], F[3]),
        (
            "A and B do not broadcast: size 4 against 3 on axis -1; sizes must be equal, or one of them 1"
            "; to go along axis 1, B needs the shape (3, 1, 1)"
        ),
        (F[2, 3, 4, 4], F[3, 1, 1]),
    ),
    Demand(
        "Div",
        op.Div,
        (F[3], F[2, 3, 4, 4]),
        (
            "A and B do not broadcast: size 3 against 4 on axis -1; sizes must be equal, or one of them 1"
            "; to go along axis 1, A needs the shape (3, 1, 1)"
        ),
        (F[3, 1, 1], F[2, 3, 4, 4]),
    ),
    Demand(
        "Where",
        op.Where,
        (gd.bool[2, 3], F[2, 3], F[4, 3]),
        "condition and Y do not broadcast: size 2 against 4 on axis -2; sizes must be equal, or one of them 1",
        (gd.bool[2, 3], F[2, 3], F[1, 3]),
    ),
    Demand("PRelu", op.PRelu, (F[2, 3], F[4]), "slope does not broadcast to the shape (2, 3) of X", (F[2, 3], F[3])),
    Demand("PRelu", op.PRelu, (F[2, 1], F[3]), "slope does not broadcast to the shape (2, 1) of X", (F[2, 1], F[1])),
    Demand(
        "Expand",
        lambda a: op.Expand(a, [2, 4]),
        (F[2, 3],),
        "input does not broadcast to shape=[2, 4]: size 3 on axis -1",
        (F[2, 1],),
    ),
    Demand(
        "LayerNormalization",
        op.LayerNormalization,
        (F[2, 3], F[5]),
        "Scale does not broadcast to the shape (3,) of X from axis -1 on",
        (F[2, 3], F[3]),
    ),
    Demand(
        "LayerNormalization",
        op.LayerNormalization,
        (F[2, 3], F[3], F[2]),
        "B does not broadcast to the shape (3,) of X from axis -1 on",
        (F[2, 3], F[3], F[3]),
    ),
    # products
    Demand(
        "MatMul",
        op.MatMul,
        (F[2, 3], F[4, 5]),
        "A has size 3 on axis -1 and B has size 4 on axis -2; they must be equal",
        (F[2, 3], F[3, 5]),
    ),
    Demand(
        "MatMul",
        op.MatMul,
        (F[2, 3], F[4, 3]),
        "A has size 3 on axis -1 and B has size 4 on axis -2; they must be equal; the transpose of B would fit",
        (F[2, 3], F[3, 4]),
    ),
    Demand(
        "MatMul",
        op.MatMul,
        (F[3], F[4, 5]),
        "A has size 3 on axis -1 and B has size 4 on axis -2; they must be equal",
        (F[3], F[3, 5]),
    ),
    Demand(
        "MatMul",
        op.MatMul,
        (F[2, 3], F[4]),
        "A has size 3 on axis -1 and B has size 4 on axis -1; they must be equal",
        (F[2, 3], F[3]),
    ),
    Demand(
        "MatMul",
        op.MatMul,
        (F[2, 3, 4, 5], F[7, 5, 6]),
        (
            "the batch axes of A and B do not broadcast: size 3 against 7 on axis -3; "
            "sizes must be equal, or one of them 1"
        ),
        (F[2, 3, 4, 5], F[1, 5, 6]),
    ),
    Demand(
        "MatMul",
        op.MatMul,
        (F[()], F[3]),
        "A is a scalar; a matrix product takes tensors of rank 1 or more: write a * b",
        (F[3], F[3]),
    ),
    Demand(
        "MatMulInteger",
        op.MatMulInteger,
        (U[2, 3], U[4, 5]),
        "A has size 3 on axis -1 and B has size 4 on axis -2; they must be equal",
        (U[2, 3], U[3, 5]),
    ),
    Demand(
        "QLinearMatMul",
        lambda a, b: op.QLinearMatMul(a, 1.0, np.uint8(0), b, 1.0, np.uint8(0), 1.0, np.uint8(0)),
        (U[2, 3], U[4, 5]),
        "a has size 3 on axis -1 and b has size 4 on axis -2; they must be equal",
        (U[2, 3], U[3, 5]),
    ),
    Demand(
        "Gemm",
        op.Gemm,
        (F[2, 3], F[4, 5]),
        "A has size 3 on axis 1 and B has size 4 on axis 0; they must be equal",
        (F[2, 3], F[3, 5]),
    ),
    Demand(
        "Gemm",
        op.Gemm,
        (F[2, 3], F[4, 3]),
        "A has size 3 on axis 1 and B has size 4 on axis 0; they must be equal; transB=1 would fit",
        (F[2, 3], F[3, 4]),
    ),
    Demand(
        "Gemm",
        lambda a, b: op.Gemm(a, b, transA=1, transB=1),
        (F[2, 3], F[2, 5]),
        "A has size 2 on axis 0 and B has size 5 on axis 1; they must be equal; transB=0 would fit",
        (F[2, 3], F[5, 2]),
    ),
    Demand(
        "Gemm",
        op.Gemm,
        (F[2, 3], F[3, 5], F[7]),
        "C does not broadcast to the shape (2, 5) of the product",
        (F[2, 3], F[3, 5], F[5]),
    ),
    Demand("Gemm", op.Gemm, (F[2, 3, 4], F[4, 5]), "A must have rank 2, but has rank 3", (F[2, 4], F[4, 5])),
    Demand(
        "Einsum",
        lambda a, b: op.Einsum(a, b, equation="ij, jk -> ik"),
        (F[2, 3], F[4, 5]),
        "the index 'j' of the equation has size 3 on axis 1 of Inputs[0] and 4 on axis 0 of Inputs[1]",
        (F[2, 3], F[3, 5]),
    ),
    # convolution, pooling, normalisation
    Demand(
        "Conv",
        op.Conv,
        (F[1, 3, 8, 8], F[4, 5, 3, 3]),
        "X has 3 channels, but W expects 5",
        (F[1, 3, 8, 8], F[4, 3, 3, 3]),
    ),
    Demand(
        "Conv",
        op.Conv,
        (F[1, 3, 8, 8], F[4, 3, 3, 3], F[5]),
        "B has size 5 on axis 0 and W has size 4 on axis 0; they must be equal",
        (F[1, 3, 8, 8], F[4, 3, 3, 3], F[4]),
    ),
    Demand(
        "Conv",
        lambda a, b: op.Conv(a, b, kernel_shape=[5, 5]),
        (F[1, 3, 8, 8], F[4, 3, 5, 3]),
        "kernel_shape=[5, 5], but W has size 3 on axis 3",
        (F[1, 3, 8, 8], F[4, 3, 5, 5]),
    ),
    Demand(
        "Conv",
        lambda a, b: op.Conv(a, b, pads=[1, 1]),
        (F[1, 3, 8, 8], F[4, 3, 3, 3]),
        "pads has 2 values and needs 4, two for each spatial axis (X has rank 4, so 2 spatial axes)",
        (F[1, 3, 8], F[4, 3, 3]),
    ),
    Demand(
        "Conv",
        lambda a, b: op.Conv(a, b, dilations=[2, 2]),
        (F[1, 3, 8, 4], F[4, 3, 3, 3]),
        "axis 3 of X has size 4 with its pads, and the kernel needs 5",
        (F[1, 3, 8, 5], F[4, 3, 3, 3]),
    ),
    Demand(
        "Conv",
        op.Conv,
        (F[3, 8], F[4, 3]),
        "X has rank 2; it needs (batch, channels, spatial axes ...), at least 3",
        (F[1, 3, 8], F[4, 3, 2]),
    ),
    Demand(
        "ConvTranspose",
        op.ConvTranspose,
        (F[1, 3, 8, 8], F[4, 5, 3, 3]),
        "X has size 3 on axis 1 and W has size 4 on axis 0; they must be equal",
        (F[1, 3, 8, 8], F[3, 5, 3, 3]),
    ),
    Demand(
        "MaxPool",
        lambda a: op.MaxPool(a, kernel_shape=[3]),
        (F[1, 3, 8, 8],),
        "kernel_shape has 1 values and needs 2, one for each spatial axis (X has rank 4, so 2 spatial axes)",
        (F[1, 3, 8],),
    ),
    Demand(
        "MaxPool",
        lambda a: op.MaxPool(a, kernel_shape=[5, 5], pads=[1, 1, 1, 1]),
        (F[1, 3, 4, 1],),
        "axis 3 of X has size 3 with its pads, and the kernel needs 5",
        (F[1, 3, 4, 3],),
    ),
    Demand(
        "GlobalAveragePool",
        op.GlobalAveragePool,
        (F[2, 3],),
        "X has rank 2; it needs (batch, channels, spatial axes ...), at least 3",
        (F[2, 3, 4],),
    ),
    Demand(
        "BatchNormalization",
        lambda a, b: op.BatchNormalization(a, b, b, b, b),
        (F[1, 3, 8], F[4]),
        "X has size 3 on axis 1 and scale has size 4 on axis 0; they must be equal",
        (F[1, 3, 8], F[3]),
    ),
    Demand(
        "InstanceNormalization",
        op.InstanceNormalization,
        (F[1, 3, 8], F[3], F[4]),
        "input has size 3 on axis 1 and B has size 4 on axis 0; they must be equal",
        (F[1, 3, 8], F[3], F[3]),
    ),
    Demand(
        "DequantizeLinear",
        op.DequantizeLinear,
        (U[2, 3], F[2]),
        "x has size 3 on axis 1 and x_scale has size 2 on axis 0; they must be equal",
        (U[2, 3], F[3]),
    ),
    Demand(
        "QuantizeLinear",
        lambda a, b: op.QuantizeLinear(a, b, axis=0),
        (F[2, 3], F[3]),
        "x has size 2 on axis 0 and y_scale has size 3 on axis 0; they must be equal",
        (F[2, 3], F[2]),
    ),
    # recurrence
    Demand(
        "LSTM",
        lambda *a: op.LSTM(*a, hidden_size=4),
        (F[5, 2, 3], F[1, 16, 7], F[1, 16, 4]),
        "X has size 3 on axis 2 and W has size 7 on axis 2; they must be equal",
        (F[5, 2, 3], F[1, 16, 3], F[1, 16, 4]),
    ),
    Demand(
        "LSTM",
        lambda *a: op.LSTM(*a, hidden_size=4),
        (F[5, 2, 3], F[1, 20, 3], F[1, 16, 4]),
        "W has size 20 on axis 1 and needs 4 * hidden_size = 16",
        (F[5, 2, 3], F[1, 16, 3], F[1, 16, 4]),
    ),
    Demand(
        "GRU",
        lambda *a: op.GRU(*a, hidden_size=4),
        (F[5, 2, 3], F[1, 12, 3], F[1, 12, 5]),
        "R has size 5 on axis 2 and needs hidden_size = 4",
        (F[5, 2, 3], F[1, 12, 3], F[1, 12, 4]),
    ),
    Demand(
        "RNN",
        lambda *a: op.RNN(*a, hidden_size=4),
        (F[5, 2, 3], F[1, 4, 3], F[1, 4, 4], F[1, 7]),
        "B has size 7 on axis 1 and needs 2 * hidden_size = 8",
        (F[5, 2, 3], F[1, 4, 3], F[1, 4, 4], F[1, 8]),
    ),
    # shapes and indices
    Demand(
        "Reshape",
        lambda a: op.Reshape(a, [4, 5]),
        (F[2, 3],),
        "data has 6 elements, and shape=[4, 5] needs 20",
        (F[2, 10],),
    ),
    Demand(
        "Reshape",
        lambda a: op.Reshape(a, [-1, 4]),
        (F[2, 3],),
        "data has 6 elements, and shape=[-1, 4] needs a multiple of 4",
        (F[2, 4],),
    ),
    Demand(
        "Reshape",
        lambda a: op.Reshape(a, [0, 0, 0]),
        (F[2, 3],),
        "the 0 at 2 of shape=[0, 0, 0] copies axis 2, but data has rank 2",
        (F[2, 3, 4],),
    ),
    Demand(
        "Concat",
        lambda *a: op.Concat(*a, axis=0),
        (F[2, 3], F[4, 5]),
        "inputs[0] has size 3 on axis 1 and inputs[1] has size 5 on axis 1; they must be equal, as all axes but axis=0",
        (F[2, 3], F[4, 3]),
    ),
    Demand(
        "Concat",
        lambda *a: op.Concat(*a, axis=0),
        (F[2, 3], F[4]),
        "inputs[0] has rank 2 and inputs[1] has rank 1; they must have one rank",
        (F[2], F[4]),
    ),
    Demand(
        "Transpose",
        lambda a: op.Transpose(a, perm=[0, 2, 1]),
        (F[2, 3],),
        "perm=[0, 2, 1] is not an order of the axes 0 to 1 of data",
        (F[2, 3, 4],),
    ),
    Demand(
        "Squeeze",
        lambda a: op.Squeeze(a, [0]),
        (F[2, 3],),
        "axis 0 of data has size 2; only axes of size 1 can be squeezed",
        (F[1, 3],),
    ),
    Demand(
        "Squeeze",
        lambda a: op.Squeeze(a, [-3]),
        (F[1, 3],),
        "axis -3 is out of range for data of rank 2",
        (F[1, 1, 3],),
    ),
    Demand(
        "Slice",
        lambda a, b: op.Slice(a, [0], b),
        (F[2, 3], N[2]),
        "starts has 1 values and ends has 2; each sliced axis needs one of both",
        (F[2, 3], N[1]),
    ),
    Demand(
        "Split",
        lambda a: op.Split(a, num_outputs=4, axis=1),
        (F[6, 2],),
        "axis 1 of input has size 2, too few for num_outputs=4",
        (F[6, 4],),
    ),
    Demand(
        "GatherElements",
        op.GatherElements,
        (F[2, 3], N[2]),
        "data has rank 2 and indices has rank 1; they must have one rank",
        (F[2, 3], N[2, 1]),
    ),
    Demand(
        "MaxUnpool",
        lambda x, i: op.MaxUnpool(x, i, kernel_shape=[2, 2], strides=[2, 2]),
        (F[1, 2, 2, 2], N[1, 1, 2, 2]),
        "X has size 2 on axis 1 and I has size 1 on axis 1; they must be equal",
        (F[1, 2, 2, 2], N[1, 2, 2, 2]),
    ),
    Demand(
        "ScatterElements",
        op.ScatterElements,
        (F[2, 3], N[2, 3], F[1, 3]),
        "indices has size 2 on axis 0 and updates has size 1 on axis 0; they must be equal",
        (F[2, 3], N[1, 3], F[1, 3]),
    ),
    Demand(
        "DepthToSpace",
        lambda a: op.DepthToSpace(a, blocksize=2),
        (F[1, 6, 4, 4],),
        "input has 6 channels (axis 1), which is no multiple of blocksize ** 2 = 4",
        (F[1, 8, 4, 4],),
    ),
    Demand(
        "SpaceToDepth",
        lambda a: op.SpaceToDepth(a, blocksize=2),
        (F[1, 3, 8, 7],),
        "axis 3 of input has size 7, which is no multiple of blocksize=2",
        (F[1, 3, 8, 6],),
    ),
    # axes
    Demand(
        "Softmax",
        lambda a: op.Softmax(a, axis=2),
        (F[2, 3],),
        "axis 2 is out of range for input of rank 2: -2 to 1",
        (F[2, 3, 4],),
    ),
    Demand(
        "Gather",
        lambda a: op.Gather(a, [0], axis=-3),
        (F[2, 3],),
        "axis -3 is out of range for data of rank 2: -2 to 1",
        (F[2, 3, 4],),
    ),
    Demand(
        "ReduceSum",
        lambda a: op.ReduceSum(a, [0, 2]),
        (F[2, 3],),
        "axis 2 is out of range for data of rank 2: -2 to 1",
        (F[2, 3, 4],),
    ),
    Demand("ArgMax", lambda a: op.ArgMax(a, axis=1), (F[()],), "axis 1 is out of range: data is a scalar", (F[2, 3],)),
    Demand(
        "LpNormalization",
        lambda a: op.LpNormalization(a, axis=2),
        (F[2, 3],),
        "axis 2 is out of range for input of rank 2: -2 to 1",
        (F[2, 3, 4],),
    ),
    Demand(
        "TopK",
        lambda a: op.TopK(a, [1], axis=2),
        (F[2, 3],),
        "axis 2 is out of range for X of rank 2: -2 to 1",
        (F[2, 3, 4],),
    ),
]


def made(demand: Demand, types: tuple[gd.Type, ...]) -> Any:
    return demand.call(*(gd.input(f"x{index}", kind) for index, kind in enumerate(types)))


def run(result: Any) -> None:
    """Run a call on ONNX Runtime, all inputs being ones (indices zeros).

    Raises:
        Exception: it does not run.
        AssertionError: it gives another shape than was inferred.
    """
    result = result[0] if isinstance(result, tuple) else result
    model = gd.build(result)
    proto = model.to_proto()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    value = 0 if proto.graph.node[0].op_type.endswith("Elements") else 1
    feeds = {v.name: np.full(v.shape, value, v.dtype.numpy) for v in model.inputs}  # type: ignore[arg-type]
    (found,) = session.run(None, feeds)
    assert all(size in (None, got) for size, got in zip(result.shape, found.shape, strict=True)), found.shape


def forget(name: str) -> None:
    """Drop what was inferred, which depends on what is switched off."""
    schemas.lookup("", name, schemas.DEFAULT_OPSET).memo.clear()


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda d: f"{d.name}-{d.message[:30]}")
def test_what_cannot_run_is_refused(demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(gd.InferenceError) as caught:
        made(demand, demand.bad)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{demand.name}: {demand.message}"
    assert lines[1].startswith("  inputs: ") and lines[-1].startswith("  at tests/test_demands.py:")
    # the judge: with our demand switched off, ONNX's inference refuses the call, or else the runtime
    forget(demand.name)
    monkeypatch.setattr(inference, "unmet", lambda *call: None)
    monkeypatch.setattr(inference, "sharpen", lambda schema, inputs, attributes, types: types)
    try:
        result = made(demand, demand.bad)
    except gd.InferenceError:
        return
    finally:
        forget(demand.name)
    with pytest.raises(Exception, match=r"ONNXRuntimeError|^\("):
        run(result)


def test_the_judge_rejects_a_demand_that_is_too_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demands._UNCHECKED, "Gemm", lambda call: "never")
    forget("Gemm")
    demand = Demand("Gemm", op.Gemm, (F[2, 3], F[3, 5]), "never", ())
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_what_cannot_run_is_refused(demand, monkeypatch)


def test_every_demand_is_tested() -> None:
    tested = {demand.name for demand in DEMANDS}
    alike = {"AveragePool": "MaxPool", "LpPool": "MaxPool", "ConvInteger": "Conv"}
    alike |= {"GlobalLpPool": "GlobalAveragePool", "GlobalMaxPool": "GlobalAveragePool"}
    assert {alike.get(name, name) for name in (*demands._UNCHECKED, *demands._ENFORCED)} <= tested


@pytest.mark.parametrize("demand", DEMANDS, ids=lambda d: f"{d.name}-{d.message[:30]}")
def test_the_nearest_call_that_fits_runs(demand: Demand) -> None:
    run(made(demand, demand.good))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: op.ConvTranspose(x, w, strides=[2, 2]),  # a kernel larger than the image
        lambda x, w: op.MaxPool(x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),  # a window partly outside
        lambda x, w: op.Conv(x, w, auto_pad="SAME_UPPER"),
        lambda x, w: gd.opset(6).PRelu(x, gd.input("s", F[2])),  # before opset 7 a slope per channel
        lambda x, w: gd.opset(6).Gemm(gd.input("a", F[2, 3]), gd.input("b", F[3, 4]), gd.input("c", F[4]), broadcast=1),
        lambda x, w: op.Reshape(gd.input("e", F[0, 3]), [0, 5], allowzero=1),
        lambda x, w: op.Reshape(gd.input("e", F["n", 3]), [7, 5]),
        lambda x, w: op.Add(gd.input("a", F["n", None]), gd.input("b", F["m", 3])),
        lambda x, w: op.Einsum(gd.input("a", F[2, 1]), gd.input("b", F[4, 3]), equation="ij,jk->ik"),
        lambda x, w: op.LSTM(gd.input("a", F["l", "n", 3]), gd.input("b", F[1, "g", 3]), gd.input("c", F[1, 8, None])),
    ],
)
def test_what_may_be_right_is_not_refused(call: Made) -> None:
    call(gd.input("x", F[1, 2, 1, 1]), gd.input("w", F[2, 2, 3, 3]))
