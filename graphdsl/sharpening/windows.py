"""Shapes of what slides a window over spatial axes: convolution, pooling; and of what stretches axes: Resize, Col2Im.

ONNX specification, Operators.md: the operators named below.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ..dims import Axis, ceil_div
from ..ir import Value
from ..schemas import Schema
from ..types import Shape, TensorType
from .call import Call, Proposal, Unknown, if_short, size_of


class Window:
    """The attributes of a window over some spatial axes."""

    def __init__(self, call: Call, kernel: Sequence[Axis]) -> None:
        count = len(kernel)
        self.kernel = kernel
        self.strides = self._list(call, "strides", [1] * count)
        self.dilations = self._list(call, "dilations", [1] * count)
        self.auto_pad = call.attribute("auto_pad", "NOTSET") or "NOTSET"
        pads = self._list(call, "pads", [0] * (2 * count))
        self.begins, self.ends = pads[:count], pads[count:]
        self.rounds_up = call.attribute("ceil_mode", 0) != 0

    @staticmethod
    def _list(call: Call, name: str, default: list[int]) -> list[int]:
        given = call.attribute(name)
        if given is not None and len(given) != len(default):
            raise Unknown
        return default if given is None else list(given)

    @property
    def same(self) -> bool:
        """Whether the pads are chosen so that the strides alone decide the size."""
        return self.auto_pad in ("SAME_UPPER", "SAME_LOWER")

    @if_short
    def places(self, axis: int, size: Axis) -> Axis:
        """How many places the window has along an axis of this size."""
        stride, width = self.strides[axis], self._width(axis)
        if size is None:
            return None
        if self.same:
            return ceil_div(size, stride)
        if width is None:
            return None
        begin, end = (0, 0) if self.auto_pad == "VALID" else (self.begins[axis], self.ends[axis])
        room = size + begin + end - width
        if not self.rounds_up:
            return room // stride + 1
        if not isinstance(width, int):
            return None
        # a window that would start in the pads behind the data does not count
        reaches = end - width + stride <= 0
        return ceil_div(room, stride) + 1 if reaches else ceil_div(size + begin, stride)

    @if_short
    def spread(self, axis: int, size: Axis, padding: int) -> Axis:
        """The size of what has this many places for the window along an axis: the inverse of `places`."""
        stride, width = self.strides[axis], self._width(axis)
        if size is None or width is None:
            return None
        whole = stride * (size - 1) + width + padding
        if self.same:  # elsewhere ONNX's inference, its reference and ONNX Runtime disagree (docs/upstream.md)
            return stride * size if isinstance(width, int) and width >= stride and padding == 0 else None
        return whole if self.auto_pad == "VALID" else whole - self.begins[axis] - self.ends[axis]

    def _width(self, axis: int) -> Axis:
        size = self.kernel[axis]
        return None if size is None else (size - 1) * self.dilations[axis] + 1


def _spatial(shape: Shape) -> Shape:
    if len(shape) < 3:
        raise Unknown
    return shape[2:]


def _window(call: Call, weight: Shape, spatial: Shape) -> Window:
    kernel = call.attribute("kernel_shape") or _spatial(weight)
    if len(kernel) != len(spatial):
        raise Unknown
    return Window(call, kernel)


def _places(window: Window, spatial: Shape) -> list[Axis]:
    return [window.places(axis, size) for axis, size in enumerate(spatial)]


def convolution(weight: int) -> Any:
    """The rule of a convolution whose weights are this input."""

    def rule(call: Call) -> Proposal:
        image, weights = call.shape(0), call.shape(weight)
        window = _window(call, weights, _spatial(image))
        return [[image[0], weights[0], *_places(window, image[2:])]]

    return rule


def transposed_convolution(call: Call) -> Proposal:
    """ConvTranspose."""
    image, weights = call.shape(0), call.shape(1)
    spatial = _spatial(image)
    window = _window(call, weights, spatial)
    channels: Axis = None if weights[1] is None else weights[1] * call.attribute("group", 1)
    sizes = call.attribute("output_shape")
    if sizes is None:
        padding = call.attribute("output_padding", (0,) * len(spatial))
        sizes = [window.spread(axis, size, padding[axis]) for axis, size in enumerate(spatial)]
    elif len(sizes) != len(spatial):
        raise Unknown
    return [[image[0], channels, *sizes]]


def pooling(call: Call) -> Proposal:
    """AveragePool, LpPool, MaxPool."""
    image = call.shape(0)
    spatial = _spatial(image)
    window = _window(call, (), spatial)
    if window.same and set(window.dilations) != {1}:  # ONNX Runtime errs here (docs/upstream.md)
        raise Unknown
    shape = [*image[:2], *_places(window, spatial)]
    return [shape] * call.count


def unpooling(call: Call) -> Proposal:
    """MaxUnpool: the inverse of a pooling, or of the shape given."""
    if call.has(2):
        return [call.elements(2)]
    image = call.shape(0)
    spatial = _spatial(image)
    window = _window(call, (), spatial)
    return [[*image[:2], *[window.spread(axis, size, 0) for axis, size in enumerate(spatial)]]]


def columns_to_image(call: Call) -> Proposal:
    """Col2Im: the channels are what is left of the blocks."""
    blocks, image = call.shape(0), call.elements(1)
    channels: Axis = blocks[1]
    for size in call.elements(2):
        channels = None if channels is None or size is None else channels // size
    return [[blocks[0], channels, *image]]


_EXACT = 2**8
"""Scales are followed where their numerator is below this: then the runtime's float32 product is exact up to 2**16."""


@if_short
def _scaled(size: Axis, scale: Any) -> Axis:
    if size is None or not isinstance(scale, float) or scale <= 0:
        return None
    ratio = Fraction(scale)
    if ratio == 1:
        return size
    if isinstance(size, int) or ratio.numerator >= _EXACT:
        return None
    scaled: Axis = size * ratio.numerator // ratio.denominator
    return scaled


def resize(call: Call) -> Proposal:
    """Resize from opset 11 on, by scales or to sizes."""
    shape = call.shape(0)
    mode = call.attribute("coordinate_transformation_mode", "half_pixel")
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    axes = call.attribute("axes")
    axes = range(len(shape)) if axes is None else [axis % len(shape) for axis in axes]
    found: list[Axis] = [size if axis not in axes else None for axis, size in enumerate(shape)]
    for index, by_scale in ((2, True), (3, False)):
        given = _vector(call, index)
        if (
            given is None
            or len(given) != len(axes)
            or (mode == "tf_crop_and_resize" if by_scale else policy != "stretch")
        ):
            continue
        for axis, item in zip(axes, given, strict=True):
            found[axis] = _scaled(shape[axis], item) if by_scale else size_of(item)
    return [found]


def _vector(call: Call, index: int) -> list[Any] | None:
    """The elements of an input; None where it is absent, empty or of unknown length."""
    try:
        return call.elements(index) or None
    except Unknown:
        return None


def mistaken(schema: Schema, inputs: Sequence[Value | None]) -> bool:
    """Whether this is a call of Resize that ONNX's inference refuses wrongly: to `sizes` of unknown length."""
    if schema.name != "Resize" or schema.domain or len(inputs) < 4:
        return False
    kind = inputs[3].type if inputs[3] is not None else None
    return isinstance(kind, TensorType) and (
        kind.shape is None or not all(isinstance(size, int) for size in kind.shape)
    )


def upsample(call: Call) -> Proposal:
    """Upsample, and Resize at opset 10: by scales, an input or an attribute."""
    shape = call.shape(0)
    scales = call.elements(1) if call.has(1) else call.attribute("scales")
    if scales is None or len(scales) != len(shape):
        raise Unknown
    return [[_scaled(size, scale) for size, scale in zip(shape, scales, strict=True)]]
