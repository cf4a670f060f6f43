"""What is inferred of named dimensions holds when the model runs: every expression, for random sizes and attributes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
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
