"""The rules of shapes: every expression that they give holds when the model runs, for random sizes and attributes."""

import warnings
from collections.abc import Callable, Mapping
from copy import copy
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from backend import EXCUSED
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import numpy_helper
from rebuilding import output_types
from sized import Sizes, check

import graphdsl as gd
from graphdsl import op, sharpening

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


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_no_window_of_a_pool_starts_beyond_the_image(operator: str, recwarn: pytest.WarningsRecorder) -> None:
    """ONNX specification, MaxPool: windows that would start in the padding are ignored. ONNX's inference has them."""
    x = gd.input("x", gd.float32[1, 1, 2])
    model = gd.build(getattr(op, operator)(x, kernel_shape=[1], strides=[2], ceil_mode=1))
    assert model.outputs[0].shape == model(np.ones((1, 1, 2), np.float32)).shape == (1, 1, 1)
    assert not recwarn.list


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


# ONNX's own cases, their sizes given names


def named(case: Any, name_of: Callable[[str, int, int], str | None], *, keep: bool) -> tuple[Any, dict[str, Any]]:
    """The model of a case with named sizes, and the inputs that stay known; `name_of` is given input, axis and size.

    With `keep`, vectors and scalars of integers stay known, as a program would give them.
    """
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    known = {}
    for info, value in zip(model.graph.input, case.data_sets[0][0], strict=True):
        array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        if not info.type.HasField("tensor_type") or not isinstance(array, (np.ndarray, np.generic)):
            continue
        if keep and array.ndim <= 1 and array.dtype.kind in "iu":
            known[info.name] = np.asarray(array)
            continue
        for axis, (dim, size) in enumerate(zip(info.type.tensor_type.shape.dim, array.shape, strict=True)):
            if size != 1:
                dim.Clear()
                dim.dim_param = name_of(info.name, axis, size) or ""
    return model, known


def broken_promises(case: Any, name_of: Callable[[str, int, int], str | None], *, keep: bool) -> list[str]:
    """What is inferred for the outputs of a case with named sizes and is not so."""
    model, known = named(case, name_of, keep=keep)
    inputs, outputs = case.data_sets[0]
    sizes = {}
    for info, value in zip(model.graph.input, inputs, strict=True):
        for axis, size in enumerate(getattr(value, "dims", None) or getattr(value, "shape", ())):
            sizes[name_of(info.name, axis, size) or ""] = size
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = output_types(model, known)
    wrong = []
    for (name, kind), value in zip(found.items(), outputs, strict=True):
        array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        if isinstance(kind, gd.TensorType) and kind.shape is not None and isinstance(array, (np.ndarray, np.generic)):
            dims = [dim.substitute(sizes) if isinstance(dim, gd.Dim) else dim for dim in kind.shape]
            if len(dims) != array.ndim or any(d not in (None, s) for d, s in zip(dims, array.shape, strict=True)):
                wrong.append(f"{case.name}: {name} is {kind!r}, and was {array.shape}")
    return wrong


HOW: dict[str, tuple[Callable[[str, int, int], str | None], bool]] = {
    "equal sizes have one name": (lambda name, axis, size: f"s{size}", True),
    "equal sizes have one name, nothing is known": (lambda name, axis, size: f"s{size}", False),
    "every size has its name": (lambda name, axis, size: f"{name}_{axis}", True),
    "every size has its name, nothing is known": (lambda name, axis, size: f"{name}_{axis}", False),
    "no size has a name": (lambda name, axis, size: None, True),
    "nothing is known": (lambda name, axis, size: None, False),
}


@cache
def cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they cast what overflows, on purpose
        return [case for case in collect_testcases(None) if case.name not in EXCUSED]


@pytest.mark.parametrize("how", HOW)
def test_a_sample_of_onnx_s_cases_with_named_sizes(how: str) -> None:
    name_of, keep = HOW[how]
    start = list(HOW).index(how)
    assert [problem for case in cases()[start::24] for problem in broken_promises(case, name_of, keep=keep)] == []


@pytest.mark.full
@pytest.mark.parametrize("how", HOW)
def test_all_of_onnx_s_cases_with_named_sizes(how: str) -> None:
    name_of, keep = HOW[how]
    assert [problem for case in cases() for problem in broken_promises(case, name_of, keep=keep)] == []


def test_the_comparison_sees_a_broken_promise() -> None:
    case = next(case for case in cases() if case.name == "test_transpose_default")
    assert broken_promises(case, lambda name, axis, size: f"s{size}", keep=True) == []
    wrong = copy(case)
    wrong.data_sets = [(case.data_sets[0][0], [np.zeros((2, 3, 4), np.float32)])]
    (problem,) = broken_promises(wrong, lambda name, axis, size: f"s{size}", keep=True)
    assert problem == "test_transpose_default: transposed is float32['s4', 's3', 's2'], and was (2, 3, 4)"


# Against ONNX's inference


def t(*shape: Any) -> Any:
    """A float32 input of this shape."""
    return gd.input("t", gd.float32[shape])


def test_a_contradiction_of_onnx_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sharpening._RULES, "Tile", lambda call: [[7, 7]])
    with pytest.warns(RuntimeWarning) as caught:
        assert op.Tile(t(2, 3), np.array([1, 5])).shape == (2, 15)
    message = "Tile: ONNX infers float32[2, 15], graphdsl the shape (7, 7); one of them errs, please report it"
    assert [str(warning.message) for warning in caught] == [message]


def test_a_rule_without_an_answer_leaves_onnx_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Any) -> Any:
        raise sharpening.Unknown

    monkeypatch.setitem(sharpening._RULES, "Tile", unknown)
    assert op.Tile(t(2, "n"), np.array([1, 6])).shape == (2, None)


def onnx_infers(tensor: Any, opset: int = 21) -> list[Any]:
    """The shape that ONNX's inference finds, when nothing is declared."""
    proto = gd.build(tensor, opset=opset).to_proto()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.output[0].type.tensor_type.shape
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in found.dim]


def test_onnx_still_errs_about_attention() -> None:
    """docs/upstream.md: when this fails, ONNX is mended, and Attention may leave `sharpening._MISTAKEN`."""
    q, k = gd.input("q", gd.float32["b", 4, "n", 8]), gd.input("k", gd.float32["b", 4, "m", 8])
    y, keys, values, weights = gd.opset(24).Attention(q, k, k, outputs=4)
    assert onnx_infers(weights, 24) == ["b", 4, "n", 0]
    assert weights.shape == ("b", 4, "n", "m") and y.shape == ("b", 4, "n", 8)
    assert keys.shape == values.shape == ("b", 4, "m", 8)


def test_onnx_still_errs_about_spectra_of_a_length_given() -> None:
    """docs/upstream.md: when this fails, ONNX is mended, and DFT may leave `sharpening._MISTAKEN`."""
    spectrum = op.DFT(t(1, "n", 1), gd.input("points", gd.int64[()]), np.int64(1))
    assert onnx_infers(spectrum) == [1, "n", 2] and spectrum.shape == (1, None, 2)


@pytest.mark.parametrize("kind", [gd.int64, gd.int64["k"], gd.int64[None]])
def test_onnx_still_refuses_sizes_of_a_number_not_known(kind: Any) -> None:
    """docs/upstream.md: when this fails, ONNX is mended, and `sharpening.mistaken` may go."""
    y = op.Resize(t(1, 3, "h", "w"), None, None, gd.input("sizes", kind))
    assert y.shape == (None,) * 4
    with pytest.raises(onnx.shape_inference.InferenceError, match="Number of elements of input 'sizes'"):
        onnx_infers(y)
    with pytest.raises(gd.InferenceError, match="Resize"):
        op.Resize(t(1, 3, "h", "w"), None, None, gd.input("sizes", gd.float32["k"]))


def run_shape(tensor: Any, array: np.ndarray) -> Any:
    """The shape of a tensor when the model runs on one array."""
    return gd.build(tensor)(array).shape


def test_onnx_still_adds_output_padding_to_pads_it_chooses() -> None:
    """docs/upstream.md: when this fails, ONNX is mended, and `Window.spread` may know named axes too."""
    weight = np.ones((2, 3, 2, 2), np.float32)

    def call(x: Any) -> Any:
        return op.ConvTranspose(x, weight, strides=[2, 2], output_padding=[1, 1], auto_pad="SAME_UPPER")

    assert call(t(1, 2, 4, 4)).shape == (1, 3, 9, 9)
    assert run_shape(call(t(1, 2, "h", "w")), np.ones((1, 2, 4, 4), np.float32)) == (1, 3, 8, 8)
    assert call(t(1, 2, "h", "w")).shape == (1, 3, None, None)


def test_the_runtime_still_slices_back_to_the_largest_integer() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and moves._sliced may know the size."""
    y = op.Slice(t("n"), [2], [2**31 - 1], [0], [-1])
    assert run_shape(y, np.ones(4, np.float32)) == (3,) and y.shape == (None,)


def test_the_runtime_still_forgets_dilations_of_pools_whose_pads_it_chooses() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and windows.pooling may know the size."""
    y = op.MaxPool(t(1, 1, "h", 4), kernel_shape=[2, 2], dilations=[2, 2], auto_pad="SAME_UPPER")
    assert run_shape(y, np.ones((1, 1, 4, 4), np.float32)) == (1, 1, 3, 3) and y.shape == (1, 1, None, 4)
