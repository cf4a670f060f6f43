"""What is inferred of named dimensions holds when the model runs: every expression, for random sizes and attributes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as state
from twins import check_type

import graphdsl as gd
from graphdsl import op
from graphdsl.dims import Dim

Sizes = Mapping[str, int]
REFUSALS = (state.Fail, state.InvalidArgument, state.NotImplemented, state.RuntimeException)


def array_of(kind: Any, sizes: Sizes) -> np.ndarray:
    """An array that a type with these sizes takes, its unknown dimensions 2: small whole numbers."""
    dims = [2 if dim is None else dim.substitute(sizes) if isinstance(dim, Dim) else dim for dim in kind.shape]
    array: np.ndarray = (np.arange(int(np.prod(dims, dtype=int))) % 5).reshape(dims).astype(kind.dtype.numpy)
    return array


def run(tensors: Sequence[Any], inputs: Sequence[Any], sizes: Sizes) -> list[np.ndarray] | None:
    """The tensors' arrays when the model runs on inputs of these sizes; None where ONNX Runtime refuses the call."""
    model = gd.build({f"out_{i}": tensor for i, tensor in enumerate(tensors)}, inputs=inputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = {tensor.name: array_of(tensor.type, sizes) for tensor in inputs}
    try:
        session = ort.InferenceSession(
            model.to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(array) for array in session.run(None, feeds)]
    except REFUSALS:
        return None


def check(call: Callable[..., Any], *types: Any, sizes: Sizes, opset: int = 21, known: bool = True) -> None:
    """Assert that what a call promises of its results is so for these sizes, and that nothing is left unknown."""
    with gd.opset(opset):
        inputs = [gd.input(f"x{i}", kind) for i, kind in enumerate(types)]
        returned = call(*inputs)
        tensors = returned if isinstance(returned, (tuple, list)) else [returned]
        if known:
            assert all(tensor.shape is not None and None not in tensor.shape for tensor in tensors), tensors
        arrays = run(tensors, inputs, sizes)
    assume(arrays is not None)
    for tensor, array in zip(tensors, arrays or (), strict=True):
        check_type(tensor.type, array, dict(sizes))


SIZE = st.integers(0, 9)
SMALL = st.integers(1, 4)
PADS = st.integers(0, 3)


@st.composite
def windows(draw: st.DrawFn, *, pooling: bool = False) -> dict[str, Any]:
    """The attributes of a convolution or pooling over two axes."""
    kernel = draw(st.lists(SMALL, min_size=2, max_size=2))
    found: dict[str, Any] = {"kernel_shape": kernel}
    if draw(st.booleans()):
        found["strides"] = draw(st.lists(SMALL, min_size=2, max_size=2))
    if draw(st.booleans()):
        found["dilations"] = draw(st.lists(SMALL, min_size=2, max_size=2))
    how = draw(st.sampled_from(["pads", "none", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if how == "pads":
        found["pads"] = draw(st.lists(PADS, min_size=4, max_size=4))
        if pooling:
            found["pads"] = [min(pad, size - 1) for pad, size in zip(found["pads"], kernel * 2, strict=True)]
    elif how != "none":
        found["auto_pad"] = how
    return found


IMAGE = gd.float32["n", 2, "h", "w"]
IMAGES = st.fixed_dictionaries({"n": st.integers(1, 2), "h": st.integers(1, 12), "w": st.integers(1, 12)})

BIG_IMAGES = st.fixed_dictionaries({"n": st.integers(1, 2), "h": st.integers(7, 20), "w": st.integers(7, 20)})


@given(windows(), IMAGES)
def test_convolution(attributes: dict[str, Any], sizes: Sizes) -> None:
    weight = np.ones((3, 2, *attributes["kernel_shape"]), np.float32)
    check(lambda x: op.Conv(x, weight, **attributes), IMAGE, sizes=sizes)


@given(windows(), IMAGES, SMALL, SMALL)
def test_convolution_by_weights_of_unknown_size(attributes: dict[str, Any], sizes: Sizes, k: int, j: int) -> None:
    attributes.pop("kernel_shape")
    if "auto_pad" in attributes:
        attributes.pop("dilations", None)
    check(
        lambda x, w: op.Conv(x, w, **attributes),
        IMAGE,
        gd.float32["m", 2, "k", "j"],
        sizes={**sizes, "m": 3, "k": k, "j": j},
    )


@given(windows(), IMAGES, st.lists(st.integers(0, 2), min_size=2, max_size=2))
def test_transposed_convolution(attributes: dict[str, Any], sizes: Sizes, padding: list[int]) -> None:
    weight = np.ones((2, 3, *attributes["kernel_shape"]), np.float32)
    known = "SAME" not in attributes.get("auto_pad", "")  # else the runtime and the specification disagree at times
    check(lambda x: op.ConvTranspose(x, weight, output_padding=padding, **attributes), IMAGE, sizes=sizes, known=known)


def fits(attributes: Mapping[str, Any], sizes: Sizes) -> bool:
    """Whether a window fits once into an image with its pads."""
    if "SAME" in attributes.get("auto_pad", ""):
        return True
    pads, dilations = attributes.get("pads", [0] * 4), attributes.get("dilations", [1, 1])
    rooms = [sizes[name] + pads[axis] + pads[axis + 2] for axis, name in enumerate("hw")]
    return all((k - 1) * d < room for k, d, room in zip(attributes["kernel_shape"], dilations, rooms, strict=True))


@given(st.sampled_from(["MaxPool", "AveragePool", "LpPool"]), windows(pooling=True), st.booleans(), IMAGES)
def test_pooling(operator: str, attributes: dict[str, Any], up: bool, sizes: Sizes) -> None:
    assume(fits(attributes, sizes))  # where it does not, ONNX Runtime counts one place all the same
    known = "SAME" not in attributes.get("auto_pad", "") or "dilations" not in attributes
    check(lambda x: getattr(op, operator)(x, ceil_mode=int(up), **attributes), IMAGE, sizes=sizes, known=known)


BOUND = st.integers(-6, 6) | st.sampled_from([2**31 - 1, 2**63 - 1, -(2**31), -(2**63) + 1])


@given(BOUND, BOUND, st.integers(-3, 3).filter(bool), SIZE)
def test_slice(start: int, end: int, step: int, n: int) -> None:
    known = end < 2**31 - 1 or step > 0  # else ONNX Runtime takes the largest int for the smallest
    check(lambda x: op.Slice(x, [start], [end], [0], [step]), gd.float32["n", 2], sizes={"n": n}, known=known)


@given(
    st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.125]), IMAGES, st.sampled_from([11, 13, 18, 21])
)
def test_resize(scale: float, sizes: Sizes, opset: int) -> None:
    check(
        lambda x: op.Resize(x, np.zeros(0, np.float32), np.array([1, 1, scale, 2], np.float32)),
        IMAGE,
        sizes=sizes,
        opset=opset,
    )


@given(st.lists(st.integers(-2, 3), min_size=4, max_size=4), st.integers(3, 9), st.integers(3, 9))
def test_pad(pads: list[int], n: int, m: int) -> None:
    matrix = gd.float32["n", "m"]
    check(lambda x: op.Pad(x, pads), matrix, sizes={"n": n, "m": m})
    check(lambda x: op.Pad(x, pads[:2], None, [-1]), matrix, sizes={"n": n, "m": m})


@given(SIZE, SIZE, st.integers(0, 3))
def test_concat_tile_flatten(n: int, m: int, times: int) -> None:
    sizes = {"n": n, "m": m}
    check(lambda x, y: op.Concat(x, y, x, axis=0), gd.float32["n", 2], gd.float32["m", 2], sizes=sizes)
    check(lambda x: op.Tile(x, [times, 2]), gd.float32["n", "m"], sizes=sizes)
    for axis in (0, 1, -1, 3):
        check(lambda x, axis=axis: op.Flatten(x, axis=axis), gd.float32["n", 2, "m"], sizes=sizes)


@given(st.integers(1, 4), st.integers(4, 12), st.sampled_from([13, 18]))
def test_split_into_equal_parts(count: int, n: int, opset: int) -> None:
    assume(opset == 18 or n % count == 0)
    attributes = {"num_outputs": count} if opset == 18 else {}
    check(lambda x: op.Split(x, axis=1, outputs=count, **attributes), gd.float32[2, "n"], sizes={"n": n}, opset=opset)


@given(st.integers(0, 6), SIZE)
def test_split_by_sizes(first: int, n: int) -> None:
    assume(first <= n)
    check(lambda x: op.Split(x, [first, n - first], outputs=2), gd.float32["n"], sizes={"n": n})
    check(lambda x: op.Split(x, [x.shape[0] // 2, x.shape[0] - x.shape[0] // 2]), gd.float32["n"], sizes={"n": n})


TARGETS = [
    (lambda n, m: [-1]),
    (lambda n, m: [n, -1]),
    (lambda n, m: [-1, n]),
    (lambda n, m: [m, n, 12]),
    (lambda n, m: [n * 3, m * 2, 2]),
    (lambda n, m: [n, m, 4, -1]),
    (lambda n, m: [2, 0, -1]),
    (lambda n, m: [0, 0, 2, -1]),
    (lambda n, m: [n * m, -1]),
    (lambda n, m: [m * 6, -1, 2]),
    (lambda n, m: [0, -1, m]),
]


@given(st.sampled_from(TARGETS), st.integers(1, 5), st.integers(1, 5))
def test_reshape(target: Callable[[Any, Any], list[Any]], n: int, m: int) -> None:
    check(lambda x: op.Reshape(x, target(x.shape[0], x.shape[2])), gd.float32["n", 12, "m"], sizes={"n": n, "m": m})


@given(st.sampled_from(TARGETS), st.integers(1, 5))
def test_reshape_of_unknown_sizes(target: Callable[[Any, Any], list[Any]], n: int) -> None:
    def call(x: Any) -> Any:
        return op.Reshape(x, target(x.shape[0], 2))

    check(call, gd.float32["n", None, None], sizes={"n": n}, known=False)


def test_unknown_sizes_cancel_out() -> None:
    x = gd.input("x", gd.float32[None, 12, "n"])
    assert op.Reshape(x, [0, -1]).shape == (None, "12*n")
    assert op.Reshape(x, [0, 4, -1]).shape == (None, 4, "3*n")
    assert op.Reshape(x, [-1, 6]).shape == (None, 6)


@given(st.sampled_from([2, 3]), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_blocks_of_depth_and_space(block: int, h: int, w: int, c: int) -> None:
    sizes = {"c": c, "h": h, "w": w}
    deep, wide = gd.float32[1, f"c*{block * block}", "h", "w"], gd.float32[1, "c", f"h*{block}", f"w*{block}"]
    check(lambda x: op.DepthToSpace(x, blocksize=block), deep, sizes=sizes)
    check(lambda x: op.SpaceToDepth(x, blocksize=block), wide, sizes=sizes)


@given(st.integers(-3, 3), st.integers(-3, 3).filter(bool), SIZE)
def test_range(start: int, step: int, n: int) -> None:
    check(lambda x: op.Range(np.int64(start), op.Size(x), np.int64(step)), gd.float32["n", 2], sizes={"n": n})


@given(st.integers(1, 9), st.integers(0, 9))
def test_counts_given_by_sizes(n: int, m: int) -> None:
    sizes = {"n": n, "m": m}
    x, y = gd.float32[2, "n"], gd.float32["m"]
    check(lambda x: op.TopK(x, [x.shape[1] // 2]), x, sizes=sizes)
    check(lambda x, y: op.ConstantOfShape([y.shape[0], x.shape[1] * 2, 3]), x, y, sizes=sizes)
    check(lambda x, y: op.OneHot(op.Cast(x, to=gd.int64), y.shape[0], [0.0, 1.0], axis=1), x, y, sizes=sizes)
    check(lambda x, y: op.Expand(x, [y.shape[0], 1, x.shape[1]]), x, y, sizes=sizes)
    check(lambda x, y: op.Tile(x, [y.shape[0], 2]), x, y, sizes=sizes)
    check(lambda x, y: op.Pad(x, [0, y.shape[0], 0, 1]), x, y, sizes=sizes)
    check(lambda x, y: op.Slice(x, [0], [x.shape[1] // 2], [1]), x, y, sizes=sizes)
    check(lambda x, y: x[:, y.shape[0] :], x, y, sizes=sizes)
    check(lambda x, y: op.CenterCropPad(x, [3, y.shape[0]]), x, y, sizes=sizes)
    check(lambda x, y: op.Resize(x, None, None, [2, x.shape[1] * 3]), x, y, sizes=sizes)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(8, 20), st.booleans())
def test_spectra(step: int, half: int, n: int, onesided: bool) -> None:
    window = np.ones(2 * half, np.float32)

    def short(x: Any) -> Any:
        return op.STFT(x, np.int64(step), window, onesided=int(onesided))

    check(short, gd.float32[1, "n", 1], sizes={"n": n})
    check(lambda x: op.DFT(x, onesided=int(onesided)), gd.float32[1, "n", 1], sizes={"n": n})
    check(lambda x: op.DFT(x, np.int64(6), onesided=int(onesided)), gd.float32[1, "n", 1], sizes={"n": n})


@given(st.lists(st.sampled_from(["conv", "pool", "resize", "pad", "crop"]), min_size=1, max_size=6), BIG_IMAGES)
def test_a_network_of_layers(layers: list[str], sizes: Sizes) -> None:
    weight = np.ones((2, 2, 3, 3), np.float32)

    def network(x: Any) -> list[Any]:
        made = []
        for layer in layers:
            match layer:
                case "conv":
                    x = op.Conv(x, weight, pads=[1] * 4, strides=[2, 1])
                case "pool":
                    x = op.MaxPool(x, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1)
                case "resize":
                    x = op.Resize(x, None, np.float32([1, 1, 1.5, 2]))
                case "pad":
                    x = op.Pad(x, [0, 0, 2, 1, 0, 0, 1, 0])
                case "crop":
                    x = x[:, :, 1:-1, 2:]
            made.append(x)
        return [*made, op.Flatten(x), op.Reshape(x, [0, -1])]

    check(network, IMAGE, sizes=sizes, known="crop" not in layers)  # else expressions grow too long in the end


SIZES = st.fixed_dictionaries({"n": st.integers(1, 6), "m": st.integers(1, 6)})


def changed(x: Any, draw: Callable[[Any], Any]) -> Any:
    """A matrix with another shape, as a program would change it."""
    rows, columns = x.shape
    small = st.integers(-3, 4)
    match draw(st.integers(0, 12)):
        case 0:
            return op.Concat(x, x, axis=draw(st.integers(0, 1)))
        case 1:
            return x[draw(small) :]
        case 2:
            return x[:, : draw(small)]
        case 3:
            return x[:: draw(st.sampled_from([-2, -1, 2]))]
        case 4:
            return x.T
        case 5:
            return x.reshape(columns, rows)
        case 6:
            return x.reshape(-1, 1)
        case 7:
            return x.reshape(rows * columns, -1).T
        case 8:
            return op.Tile(x, [1, rows])
        case 9:
            return x[: rows // 2 + 1]
        case 10:
            return op.Pad(x, [0, 1, draw(st.integers(0, 2)), 0])
        case 11:
            return x @ x.T
        case _:
            return op.Expand(op.ReduceSum(x, [0]), [columns + 1, columns])


@st.composite
def programs(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """An input, and what becomes of it step by step."""
    x = gd.input("x", gd.float32["n", "m"])
    made = [x]
    for _ in range(draw(st.integers(1, 7))):
        try:
            made.append(changed(made[-1], draw))
        except gd.GraphError:  # too long an expression, or -1 beside a size of 0
            break
    return x, made


@given(programs(), SIZES)
def test_programs(program: tuple[Any, list[Any]], sizes: Sizes) -> None:
    x, made = program
    arrays = run(made, [x], sizes)
    assume(arrays is not None and all(array.size for array in arrays))  # beside a size of 0, -1 has no meaning
    for tensor, array in zip(made, arrays or (), strict=True):
        check_type(tensor.type, array, dict(sizes))


def test_the_check_sees_a_wrong_promise_and_an_unknown_size() -> None:
    with pytest.raises(AssertionError, match="promised"):
        check(lambda x: gd.Tensor(_lying(x)), gd.float32["n"], sizes={"n": 2})
    with pytest.raises(AssertionError):
        check(lambda x: op.NonZero(x), gd.float32["n"], sizes={"n": 2})


def _lying(x: Any) -> Any:
    value = (-x)._v
    value.type = gd.float32["n + 1"]
    return value
