"""Hints for what slides windows over images, cuts pieces out of them or stretches them."""

import math
from collections.abc import Sequence

import numpy as np

from ..calls import Call, Hint, Shape, image_of


def _windows(call: Call, spatial: Shape, kernel: Shape | None) -> None:
    """Strides, dilations and pads of what slides a window."""
    choices, count = call.choices, len(spatial)
    call.attribute("auto_pad", lambda: choices.favouring(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"], 4))
    call.attribute("kernel_shape", lambda: kernel or tuple(1 + choices.below(min(dim, 3) or 1) for dim in spatial))
    strides = call.attribute("strides", lambda: tuple(1 + choices.below(3) for _ in spatial)) or (1,) * count
    call.attribute("dilations", lambda: tuple(1 + choices.below(2) for _ in spatial))
    if call.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        call.wanted.discard("pads")  # which it says
    call.attribute("pads", lambda: tuple(choices.below(2) for _ in range(2 * count)))
    call.attribute("output_padding", lambda: tuple(choices.below(stride) for stride in strides))
    for name in ("ceil_mode", "count_include_pad", "storage_order"):
        call.attribute(name, lambda: choices.below(2))


def _groups(call: Call, channels: int, name: str = "group") -> int:
    """A number that channels are divided by."""
    options = [group for group in (1, channels, 2) if group and channels % group == 0]
    return call.attribute(name, lambda: call.choices.pick(options)) or 1


def _kernel(call: Call, spatial: Shape) -> Shape:
    """The sizes of a window: as the attribute says, else chosen."""
    return tuple(call.attributes.get("kernel_shape", ())) or tuple(
        1 + call.choices.below(min(size, 3) or 1) for size in spatial
    )


def _conv(weight: int = 1) -> Hint:
    """Convolutions whose weights are the input at a place."""

    def hint(call: Call) -> None:
        image, choices = image_of(call), call.choices
        turned = call.schema.name == "ConvTranspose"
        channels, spatial = image[1] if len(image) > 1 else 1, image[2:]
        group = _groups(call, channels)
        weights = call.shapes[weight]
        if weights is None:
            made = group * (1 + choices.below(2))
            parts = (channels, made // group) if turned else (made, channels // group)
            weights = call.shapes[weight] = (*parts, *_kernel(call, spatial))
        if "output_shape" in call.wanted:
            call.wanted -= {"auto_pad", "pads"}  # which it says
        _windows(call, spatial, weights[2:])
        call.attribute("output_shape", lambda: _spread(call, spatial, weights[2:]))
        made = weights[0] if not turned else weights[1] * group if len(weights) > 1 else 1
        call.form((made,), "B")
        call.form((made,) if choices.one_in(3) else (), "w_scale", "w_zero_point")
        call.form((), "x_scale", "x_zero_point", "y_scale", "y_zero_point")

    return hint


def _spread(call: Call, spatial: Shape, kernel: Shape) -> Shape:
    """A shape that ConvTranspose may give: all that it makes, or one less along an axis."""
    ones = (1,) * len(spatial)
    strides, dilations = (call.attributes.get(name, ones) for name in ("strides", "dilations"))
    more = call.attributes.get("output_padding", (0,) * len(spatial))
    whole = [
        stride * (size - 1) + beyond + (k - 1) * dilation + 1
        for size, k, stride, dilation, beyond in zip(spatial, kernel, strides, dilations, more, strict=False)
    ]
    return tuple(max(size - call.choices.below(2), 1) for size in whole)


def _causal_conv(call: Call) -> None:
    choices, weights = call.choices, call.shapes[1]
    channels = weights[0] if weights else 1 + choices.below(3)
    given = call.shape(0, (1 + choices.below(2), channels, 1 + choices.below(4)))
    if len(given) != 3:
        return
    batch, channels, _ = given
    size = call.shape(1, (channels, 1, 1 + choices.below(3)))[-1]
    call.form((channels,), "bias")
    call.form((batch, channels, size - 1), "past_state")


def _deform_conv(call: Call) -> None:
    image, choices = image_of(call, plane=True), call.choices
    channels, spatial = image[1], image[2:]
    group = _groups(call, channels)
    weights = call.shape(1, (group * (1 + choices.below(2)), channels // group, *_kernel(call, spatial)))
    kernel = weights[2:]
    _windows(call, spatial, kernel)
    fields = _groups(call, channels, "offset_group")
    ones = (1,) * len(spatial)
    strides, dilations = (call.attributes.get(name, ones) for name in ("strides", "dilations"))
    pads = call.attributes.get("pads", (0,) * (2 * len(spatial)))
    out = _slid(spatial, kernel, strides, dilations, pads)
    count = math.prod(kernel)
    call.form((image[0], fields * count * len(kernel), *out), "offset")
    call.form((image[0], fields * count, *out), "mask")
    call.form(weights[:1], "B")


def _slid(
    spatial: Shape, kernel: Shape, strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int]
) -> Shape:
    """How often a window fits along each axis."""
    count = len(spatial)
    padded = [size + pads[axis] + pads[axis + count] for axis, size in enumerate(spatial)]
    return tuple(
        max((size - dilation * (k - 1) - 1) // stride + 1, 0)
        for size, k, stride, dilation in zip(padded, kernel, strides, dilations, strict=False)
    )


def _pool(call: Call) -> None:
    image = image_of(call)
    _windows(call, image[2:], None)
    call.attribute("p", lambda: 1 + call.choices.below(3))


def _unpool(call: Call) -> None:
    choices = call.choices
    image = image_of(call, plane=True)
    spatial = image[2:]
    call.attribute("kernel_shape", lambda: (2,) * len(spatial))
    call.attribute("strides", lambda: (2,) * len(spatial))
    strides = call.attributes.get("strides", (1,) * len(spatial))
    kernel = call.attributes.get("kernel_shape", (2,) * len(spatial))
    room = min((size - 1) * (s - 1) + k - 1 for size, s, k in zip(spatial, strides, kernel, strict=False))
    sides = [choices.below(2) if room > 0 else 0 for _ in spatial]  # cut off at the front
    pads = call.attribute("pads", lambda: (*sides, *[0] * len(spatial))) or (0,) * (2 * len(spatial))
    # no place is written twice: indices count through the whole output
    cut = [pads[at] + pads[at + len(spatial)] for at in range(len(spatial))]
    out = [(size - 1) * s + k - less for size, s, k, less in zip(spatial, strides, kernel, cut, strict=False)]
    total, count = math.prod(out), math.prod(spatial)
    step = max(total // max(count, 1), 1)
    first = choices.below(step)
    lines = np.arange(math.prod(image[:2]))[:, None] * total + np.arange(count)[None, :] * step + first
    call.content("I", lines, image)
    call.content("output_shape", [*image[:2], *out])


def _roi_pool(call: Call) -> None:
    choices, image = call.choices, image_of(call, plane=True)
    count = 1 + choices.below(2)
    corners = [[choices.below(max(size, 1)) for size in (image[-1], image[-2])] for _ in range(count)]
    if call.schema.name == "MaxRoiPool":
        call.content("rois", [[choices.below(image[0]), 0, 0, *corner] for corner in corners])
    else:
        call.content("rois", [[0, 0, *(at + 1 for at in corner)] for corner in corners])
        call.content("batch_indices", [choices.below(image[0]) for _ in range(count)])
    call.attribute("pooled_shape", lambda: (1 + choices.below(2), 1 + choices.below(2)))
    for name in ("output_height", "output_width", "sampling_ratio"):
        call.attribute(name, lambda: 1 + choices.below(2))
    call.attribute("spatial_scale", lambda: choices.pick([1.0, 0.5]))


def _columns(call: Call) -> None:
    choices = call.choices
    count = 1 + choices.below(2)
    known = call.known("image_shape")
    image = [3 + choices.below(2) for _ in range(count)] if known is None else known.ravel().tolist()
    known = call.known("block_shape")
    block = [1 + choices.below(2) for _ in image] if known is None else known.ravel().tolist()
    call.content("image_shape", image)
    call.content("block_shape", block)
    call.attribute("strides", lambda: tuple(1 + choices.below(2) for _ in image))
    call.attribute("dilations", lambda: tuple(1 + choices.below(2) for _ in image))
    call.attribute("pads", lambda: tuple(choices.below(2) for _ in range(2 * len(image))))
    ones = (1,) * len(image)
    strides, dilations = (call.attributes.get(name, ones) for name in ("strides", "dilations"))
    places = _slid(tuple(image), tuple(block), strides, dilations, call.attributes.get("pads", (0,) * (2 * len(image))))
    call.shape(0, (1 + choices.below(2), math.prod(block) * (1 + choices.below(2)), math.prod(places)))


def _grid(call: Call) -> None:
    choices = call.choices
    image = image_of(call)
    if len(image) < 4:
        call.shapes[0] = image = (*image, *(3,) * (4 - len(image)))
    spatial = image[2:]
    call.form((image[0], *(1 + choices.below(3) for _ in spatial), len(spatial)), "grid")


def _affine(call: Call) -> None:
    choices = call.choices
    known, theta = call.known("size"), call.shapes[0]
    rank = known.size - 2 if known is not None else theta[1] if theta is not None and len(theta) == 3 else 2
    batch = int(known[0]) if known is not None else theta[0] if theta else 1 + choices.below(2)
    call.shape(0, (batch, rank, rank + 1))
    call.content("size", [batch, 1 + choices.below(2), *(1 + choices.below(3) for _ in range(rank))])


def _blocks(call: Call) -> None:
    choices = call.choices
    block = call.attribute("blocksize", lambda: 2) or 2
    deep = call.schema.name == "DepthToSpace"
    plain = (
        (1, block * block * (1 + choices.below(2)), 2, 3) if deep else (1, 2, block * (1 + choices.below(2)), block * 2)
    )
    call.shape(0, plain)
    call.attribute("mode", lambda: choices.pick(["DCR", "CRD"]))


def _resize(call: Call) -> None:
    choices, shape = call.choices, image_of(call)
    call.content("roi", np.zeros(0))
    call.attribute("mode", lambda: choices.pick(["nearest", "linear", "cubic"]))
    given = call.place("sizes")
    if given is not None:
        call.content("sizes", [*shape[:2], *(1 + choices.below(6) for _ in shape[2:])])
    else:
        call.content("scales", [1.0, 1.0, *(choices.pick([1.0, 2.0, 0.5]) for _ in shape[2:])])


HINTS: dict[str, Hint] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger"), _conv()),
    "QLinearConv": _conv(3),
    "DeformConv": _deform_conv,
    "CausalConvWithState": _causal_conv,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LRN"), _pool),
    "MaxUnpool": _unpool,
    **dict.fromkeys(("MaxRoiPool", "RoiAlign"), _roi_pool),
    "Col2Im": _columns,
    "GridSample": _grid,
    "AffineGrid": _affine,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    "Resize": _resize,
}
