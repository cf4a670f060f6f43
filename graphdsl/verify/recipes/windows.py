"""Recipes of operators on images and signals: convolutions, pools, resizing, spectra."""

import numpy as np

from ..arrays import Range
from ..drafts import Draft
from .elementwise import FACTORS, FLOATS, Recipe, target


def _windows(d: Draft, spatial: tuple[int, ...], *, pools: bool = False, dilated: bool = True) -> list[int]:
    """Give the attributes of sliding windows; the sizes of the kernel, which fits in what it slides over."""
    kernel = [d.number(1, min(size, 3)) for size in spatial]
    if dilated and "dilations" in d.schema.attributes and d.flag():
        dilations = [d.number(1, 2 if (size - 1) // 2 >= k - 1 else 1) for size, k in zip(spatial, kernel, strict=True)]
        d.attributes["dilations"] = dilations
    if d.flag():
        d.attributes["strides"] = [d.number(1, 2) for _ in spatial]
    if d.flag():
        d.attributes["pads"] = [d.number(0, k - 1 if pools else 1) for k in kernel * 2]
    elif d.flag() and "dilations" not in d.attributes:
        d.attributes["auto_pad"] = d.pick(("VALID", "SAME_UPPER", "SAME_LOWER"))
    return kernel


def _image(d: Draft) -> tuple[int, ...]:
    """The next input: a batch of images or lines."""
    shape: tuple[int, ...] = d.any(3, 4, known=True).shape
    return shape


def conv(d: Draft) -> None:
    shape = _image(d)
    channels = shape[1]
    group = d.pick([k for k in range(1, channels + 1) if channels % k == 0])
    kernel = _windows(d, shape[2:])
    if group > 1:
        d.attributes["group"] = group
    if d.flag():
        d.attributes["kernel_shape"] = kernel
    filters = group * d.number(1, 2)
    if d.schema.name == "ConvInteger":
        d.bind()
    d.like((filters, channels // group, *kernel))
    if d.schema.name == "ConvInteger":
        if d.flag():
            d.like(())
    elif d.flag():
        d.like((filters,))


def conv_transpose(d: Draft) -> None:
    shape = _image(d)
    channels = shape[1]
    group = d.pick([k for k in range(1, channels + 1) if channels % k == 0])
    kernel = [d.number(1, 3) for _ in shape[2:]]
    filters = d.number(1, 2)
    d.like((channels, filters, *kernel))
    if group > 1:
        d.attributes["group"] = group
    if d.flag():
        d.attributes["strides"] = [d.number(1, 2) for _ in kernel]
    if d.flag():
        # what is cut off leaves at least one element
        d.attributes["pads"] = [0 if k < 3 else d.number(0, 1) for k in kernel * 2]
    if d.flag():
        d.like((filters * group,))


def deform_conv(d: Draft) -> None:
    shape = d.any(4, 4, known=True, ok=lambda s: min(s[2:]) > 1, sizes=(2, 3)).shape
    kernel = [d.number(1, 2) for _ in range(2)]
    out = [size - k + 1 for size, k in zip(shape[2:], kernel, strict=True)]
    filters = d.number(1, 2)
    d.like((filters, shape[1], *kernel))
    d.like((shape[0], 2 * kernel[0] * kernel[1], *out), Range(-1, 1))
    if d.flag():
        d.like((filters,))


def pool(d: Draft) -> int:
    shape = _image(d)
    dilated = d.schema.name != "AveragePool" or d.schema.since >= 19
    d.attributes["kernel_shape"] = _windows(d, shape[2:], pools=True, dilated=dilated)
    # where a last window would start beyond the image, ONNX's inference counts it and nobody else does
    strides = d.attributes.get("strides", [1])
    inside = all(s <= k for s, k in zip(strides, d.attributes["kernel_shape"], strict=False))
    if inside and not {"auto_pad", "pads"} & d.attributes.keys():
        d.attribute("ceil_mode", (0, 1))
    d.attribute("count_include_pad", (0, 1))
    d.attribute("p", (1, 2, 3))
    if d.schema.name == "MaxPool" and d.flag():
        d.attribute("storage_order", (0,))
        return 2
    return 1


def global_pool(d: Draft) -> None:
    _image(d)
    d.attribute("p", (1, 2, 3))


def max_unpool(d: Draft) -> None:
    shape = d.any(4, 4, known=True).shape
    n, c, h, w = shape
    d.attributes.update(kernel_shape=[2, 2], strides=[2, 2])
    total = 2 * h * 2 * w
    # no place is written twice: indices count through the whole output
    spots = np.arange(n * c)[:, None] * total + np.arange(h * w)[None, :] * (total // (h * w))
    d.constant(spots.reshape(shape))


def max_roi_pool(d: Draft) -> None:
    n, _, h, w = d.any(4, 4, known=True).shape
    d.attributes["pooled_shape"] = [d.number(1, 2), d.number(1, 2)]
    d.constant([[d.number(0, n - 1), 0, 0, d.number(0, w - 1), d.number(0, h - 1)] for _ in range(d.number(1, 2))])


def roi_align(d: Draft) -> None:
    n, _, h, w = d.any(4, 4, known=True).shape
    count = d.number(1, 2)
    d.constant([[0, 0, d.number(1, w), d.number(1, h)] for _ in range(count)])
    d.constant([d.number(0, n - 1) for _ in range(count)])
    d.attribute("mode", ("avg",))  # ONNX Runtime warns that its "max" is wrong
    d.attribute("output_height", (1, 2))
    d.attribute("output_width", (1, 2))
    d.attribute("sampling_ratio", (1, 2))
    d.attribute("coordinate_transformation_mode", ("half_pixel", "output_half_pixel"))


def resize(d: Draft) -> None:
    shape = d.any(4, 4, known=True).shape
    mode = d.attribute("mode", ("nearest", "linear", "cubic"))
    d.attribute("coordinate_transformation_mode", ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
    if mode in (None, "nearest"):
        d.attribute("nearest_mode", ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil"))
    if mode == "cubic":
        d.attribute("cubic_coeff_a", (-0.75, -0.5))
    spatial = [d.pick((2, 1, 3)) for _ in range(2)]
    if d.schema.since < 13:
        d.constant(np.zeros(0, np.float32))
    else:
        d.skip()
    if d.flag():
        d.constant(np.array([1, 1, *spatial], np.float32))
    elif d.schema.since >= 13:
        d.skip()
        d.constant(np.array([*shape[:2], *(d.number(1, 4) for _ in range(2))], np.int64))
    else:
        d.constant(np.array([1, 1, *spatial], np.float32))


def grid_sample(d: Draft) -> None:
    shape = d.any(4, 4, known=True).shape
    modes = ("linear", "nearest", "cubic") if d.schema.since >= 20 else ("bilinear", "nearest", "bicubic")
    d.attribute("mode", modes)
    d.attribute("padding_mode", ("zeros", "border", "reflection"))
    d.attribute("align_corners", (0, 1))
    d.bind()
    d.like((shape[0], d.number(1, 2), d.number(1, 2), 2), Range(-2, 2))


def affine_grid(d: Draft) -> None:
    n = d.number(1, 2)
    d.like((n, 2, 3))
    least = 2 if d.attribute("align_corners", (0, 1)) else 1  # one pixel cannot lie at both corners
    d.constant(np.array([n, 1, d.number(least, 3), d.number(least, 3)], np.int64))


def col_to_im(d: Draft) -> None:
    size, block = [d.number(1, 3) for _ in range(2)], [1, 1]
    block = [d.number(1, min(2, extent)) for extent in size]
    count = (size[0] - block[0] + 1) * (size[1] - block[1] + 1)
    d.like((d.number(1, 2), d.number(1, 2) * block[0] * block[1], count))
    d.constant(size)
    d.constant(block)


def window_function(d: Draft) -> None:
    d.constant(d.number(1, 6))
    d.attribute("periodic", (0, 1))
    if d.flag():
        target(d, "output_datatype")


def mel_weights(d: Draft) -> None:
    for value in (d.number(1, 4), 16, 64):
        d.constant(value)
    d.bind()
    d.constant(0.0)
    d.constant(16.0)


def dft(d: Draft) -> None:
    d.any(3, 3, known=True, ok=lambda s: s[-1] == 1, sizes=(1, 1))
    if d.flag():
        d.attributes["onesided"] = 1
    if d.flag():
        d.bind()
        d.constant(d.number(1, 4))
    if d.schema.since >= 20 and d.flag():
        d.skip(2 - len(d.inputs))
        d.constant(1)
    elif "axis" in d.schema.attributes and d.flag():
        d.attributes["axis"] = 1


def stft(d: Draft) -> None:
    length = d.number(4, 8)
    d.like((d.number(1, 2), length, 1))
    d.bind()
    d.constant(d.number(1, 2))
    d.like((4,)) if d.flag() else d.skip()
    d.constant(4)
    d.attributes["onesided"] = d.number(0, 1)  # ONNX's inference forgets that it is 1 by default


def non_max_suppression(d: Draft) -> None:
    count = d.number(1, 3)
    d.like((1, count, 4), Range(0, 4))
    d.like((1, d.number(1, 2), count), Range(0, 1))
    d.constant(np.array([d.number(1, 3)], np.int64))
    if d.flag():
        d.constant(np.array([0.5], np.float32))
        if d.flag():
            d.constant(np.array([0.25], np.float32))
    d.attribute("center_point_box", (0, 1))


def attention(d: Draft) -> int:
    n, heads, q, kv, size = (d.number(1, 2) for _ in range(5))
    if d.flag():
        shapes: list[tuple[int, ...]] = [(n, heads, q, size), (n, heads, kv, size), (n, heads, kv, size)]
    else:
        shapes = [(n, q, heads * size), (n, kv, heads * size), (n, kv, heads * size)]
        d.attributes.update(q_num_heads=heads, kv_num_heads=heads)
    d.like(shapes[0])
    d.like(shapes[1])
    d.bind(among=[d.inputs[0].dtype])
    d.like(shapes[2])
    if d.flag():
        d.bind(among=[d.inputs[0].dtype])
        d.like((q, kv))
    elif d.flag():
        d.attributes["is_causal"] = 1
    d.attribute("scale", FACTORS)
    d.attribute("softcap", (2.0,))
    return 1


def linear_attention(d: Draft) -> None:
    n, length, heads, shared, keys, values = (d.number(1, 2) for _ in range(6))
    rule = d.pick(("linear", "gated", "delta", "gated_delta"))
    d.attributes.update(q_num_heads=heads * shared, kv_num_heads=heads, update_rule=rule)
    for size in (heads * shared * keys, heads * keys, heads * values):
        d.like((n, length, size))
    if d.flag():
        d.like((n, heads, keys, values))
    else:
        d.skip()
    if "gated" in rule:
        d.like((n, length, d.pick((heads, heads * keys))))
    elif "delta" in rule:
        d.skip()
    if "delta" in rule:
        d.like((n, length, d.pick((heads, 1))))
    d.attribute("scale", FACTORS)


def causal_conv(d: Draft) -> None:
    n, channels, _ = d.any(3, 3, known=True).shape
    size = d.number(1, 3)
    d.like((channels, 1, size))
    if d.flag():
        d.like((channels,))
    else:
        d.skip()
    if size > 1 and d.flag():
        d.like((n, channels, size - 1))
    d.attribute("activation", ("none", "silu", "swish"))


def rotary_embedding(d: Draft) -> None:
    n, heads, length, half = d.number(1, 2), d.number(1, 2), d.number(1, 3), d.number(1, 2)
    d.like((n, heads, length, 2 * half))
    d.like((n, length, half))
    d.like((n, length, half))
    d.attribute("interleaved", (0, 1))


def loss(d: Draft) -> int | None:
    shape = d.any(2, 3, known=True).shape
    d.bind()
    d.like((shape[0], *shape[2:]))
    if d.flag():
        d.like((shape[1],), Range(0.25, 2))
    d.attribute("reduction", ("mean", "sum", "none"))
    return d.number(1, 2) if d.schema.name == "SoftmaxCrossEntropyLoss" else None


def recurrent(gates: int, activations: int) -> Recipe:
    """RNN, GRU and LSTM, which differ in the number of gates and of functions for each direction."""

    def recipe(d: Draft) -> int:
        length, n, size, hidden = (d.number(1, 2) for _ in range(4))
        direction = d.attribute("direction", ("forward", "reverse", "bidirectional"))
        both = 2 if direction == "bidirectional" else 1
        d.attributes["hidden_size"] = hidden
        d.bind(among=[dtype for dtype in FLOATS if dtype.name != "float64"])  # which the runtime refuses when it runs
        d.like((length, n, size))
        d.like((both, gates * hidden, size))
        d.like((both, gates * hidden, hidden))
        if d.flag():
            d.like((both, 2 * gates * hidden))
        if d.flag():
            d.skip(4 - len(d.inputs))
            d.like((n,)) if d.flag() else d.skip()
            d.like((both, n, hidden))
        if d.schema.name == "GRU":
            d.attribute("linear_before_reset", (0, 1))
        if d.schema.name == "LSTM":
            d.attribute("input_forget", (0, 1))
        d.attribute("clip", (1.0,))
        if d.flag():
            d.attributes["activations"] = [d.pick(("Sigmoid", "Tanh", "Relu")) for _ in range(both * activations)]
        return d.number(1, len(d.schema.outputs))

    return recipe


RECIPES: dict[str, Recipe] = {
    **dict.fromkeys(("Conv", "ConvInteger"), conv),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), global_pool),
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow"), window_function),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), loss),
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    "MaxUnpool": max_unpool,
    "MaxRoiPool": max_roi_pool,
    "RoiAlign": roi_align,
    "Resize": resize,
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "Col2Im": col_to_im,
    "MelWeightMatrix": mel_weights,
    "DFT": dft,
    "STFT": stft,
    "NonMaxSuppression": non_max_suppression,
    "Attention": attention,
    "LinearAttention": linear_attention,
    "CausalConvWithState": causal_conv,
    "RotaryEmbedding": rotary_embedding,
    "RNN": recurrent(1, 1),
    "GRU": recurrent(3, 2),
    "LSTM": recurrent(4, 3),
}
