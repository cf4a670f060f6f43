"""The rules of shapes: every expression that they give holds when the model runs, for random sizes and attributes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sized import Sizes, check

import graphdsl as gd
from graphdsl import op

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


def test_the_check_sees_a_wrong_promise_and_an_unknown_size() -> None:
    with pytest.raises(AssertionError, match="promised"):
        check(lambda x: gd.Tensor(_lying(x)), gd.float32["n"], sizes={"n": 2})
    with pytest.raises(AssertionError):
        check(lambda x: op.NonZero(x), gd.float32["n"], sizes={"n": 2})


def _lying(x: Any) -> Any:
    value = (-x)._v
    value.type = gd.float32["n + 1"]
    return value
