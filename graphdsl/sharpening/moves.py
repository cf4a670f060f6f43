"""Shapes of what joins, cuts, repeats and rearranges tensors, and of what makes tensors of given sizes.

ONNX specification, Operators.md: the operators named below.
"""

from collections.abc import Sequence
from math import ceil

from ..dims import Axis, Dim, ceil_div, is_never_negative, maximum, minimum
from ..types import Shape
from .call import Call, Proposal, Unknown, axis_of, if_short, size_of

_END = 2**31 - 1
"""A bound of a slice from here on is past the end of every axis; exporters write the largest int32 or int64."""

_STAND_IN = "size of axis"
"""What a size that is not known is called while it may still cancel out."""


@if_short
def _total(shape: Sequence[Axis]) -> Axis:
    """How many elements a shape has."""
    total: Axis = 1
    for size in shape:
        if size == 0:
            return 0
        total = None if total is None or size is None else total * size
    return total


def _changed(shape: Shape, changes: dict[int, Axis]) -> list[Axis]:
    return [changes.get(axis, size) for axis, size in enumerate(shape)]


def concat(call: Call) -> Proposal:
    """Concat: the sum along the axis; the other sizes are equal."""
    shapes = call.shapes()
    axis = axis_of(call.attribute("axis", 1), shapes[0])
    if any(len(shape) != len(shapes[0]) for shape in shapes):
        raise Unknown
    found = [next((s for s in sizes if s is not None), None) for sizes in zip(*shapes, strict=True)]
    total: Axis = 0
    for shape in shapes:
        size = shape[axis]
        total = None if total is None or size is None else total + size
    found[axis] = total
    return [found]


def split(call: Call) -> Proposal:
    """Split, by sizes or into equal parts, of which the last may be smaller from opset 18 on."""
    shape = call.shape(0)
    axis = axis_of(call.attribute("axis", 0), shape)
    size = shape[axis]
    parts = call.elements(1) if call.has(1) else call.attribute("split")
    if parts is None and size is not None:
        part = ceil_div(size, call.count)
        parts = [part] * (call.count - 1) + [size - part * (call.count - 1)]
    if parts is None or len(parts) != call.count:
        raise Unknown
    return [_changed(shape, {axis: size_of(part)}) for part in parts]


def reshape(call: Call) -> Proposal:
    """Reshape: a size computed when the model runs is taken to be that size, and neither 0 nor -1."""
    shape = call.shape(0)
    target = call.elements(1) if call.has(1) else call.attribute("shape")
    if target is None:
        raise Unknown
    # a size that is not known stands for itself until it is known to cancel out
    own = [Dim(f"{_STAND_IN} {axis}") if size is None else size for axis, size in enumerate(shape)]
    copies = not call.attribute("allowzero", 0)
    found: list[Axis] = []
    for place, item in enumerate(target):
        if copies and isinstance(item, int) and item == 0:
            found.append(own[place] if place < len(own) else None)
        else:
            found.append(size_of(item))
    if -1 in target:
        rest = [size for place, size in enumerate(found) if target[place] != -1]
        whole, known = _total(own), _total(rest)
        if whole is not None and known is not None and known != 0:
            found[target.index(-1)] = whole // known
    return [[None if isinstance(size, Dim) and _STAND_IN in size.text else size for size in found]]


def flatten(call: Call) -> Proposal:
    """Flatten: the axes before and from one on, each joined to one."""
    shape = call.shape(0)
    axis = call.attribute("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return [[_total(shape[:axis]), _total(shape[axis:])]]


def expand(call: Call) -> Proposal:
    """Expand: the input's shape and the one given broadcast."""
    shape, target = list(call.shape(0)), call.elements(1)
    rank = max(len(shape), len(target))
    own = [1] * (rank - len(shape)) + shape
    other = [1] * (rank - len(target)) + [size_of(item) for item in target]
    return [[_common(a, b) for a, b in zip(own, other, strict=True)]]


def _common(left: Axis, right: Axis) -> Axis:
    """The size of an axis on which two sizes broadcast."""
    if left == right or right == 1:
        return left
    if left == 1:
        return right
    for size in (left, right):
        if isinstance(size, int) and size > 1:
            return size
    return None


def tile(call: Call) -> Proposal:
    """Tile from opset 6 on."""
    shape, repeats = call.shape(0), call.elements(1)
    if len(shape) != len(repeats):
        raise Unknown
    return [[None if size is None or n is None else size * n for size, n in zip(shape, repeats, strict=True)]]


def pad(call: Call) -> Proposal:
    """Pad: pads in front of all axes, then behind."""
    shape = call.shape(0)
    pads = call.elements(1) if call.has(1) else call.attribute("pads", call.attribute("paddings"))
    axes = call.elements(3) if call.has(3) else list(range(len(shape)))
    if pads is None or len(pads) != 2 * len(axes) or None in axes:
        raise Unknown
    changes: dict[int, Axis] = {}
    for place, axis in enumerate(axes):
        size, begin, end = shape[axis_of(axis, shape)], pads[place], pads[place + len(axes)]
        changes[axis % len(shape)] = None if None in (size, begin, end) else size + begin + end
    return [_changed(shape, changes)]


def slice_(call: Call) -> Proposal:
    """Slice: bounds count from the end where they are negative, and are cut off at the ends of the axis."""
    shape = call.shape(0)
    if call.has(1):
        starts, ends = call.elements(1), call.elements(2)
        axes = call.elements(3) if call.has(3) else list(range(len(starts)))
        steps = call.elements(4) if call.has(4) else [1] * len(starts)
    else:
        starts, ends = call.attribute("starts"), call.attribute("ends")
        axes, steps = call.attribute("axes", range(len(starts))), [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or None in axes:
        raise Unknown
    changes: dict[int, Axis] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis_of(axis, shape)]
        changes[axis % len(shape)] = None if size is None else _sliced(size, start, end, step)
    return [_changed(shape, changes)]


@if_short
def _sliced(size: int | Dim, start: Axis, end: Axis, step: Axis) -> Axis:
    if not isinstance(step, int) or step == 0:
        return None
    if start == 0 and step == 1 and isinstance(end, int) and end >= _END:
        return size
    first, last = _position(start, size), _position(end, size)
    if first is None or last is None:
        return None
    # what lies between the larger of the starts and the smaller of the ends; max(a, b) - c is the largest of all a - c
    if step > 0:
        lengths = [e - s for e in (last, size) for s in (first, 0)]
        length = maximum(0, minimum(*lengths))
    else:
        if isinstance(end, int) and end >= _END:  # ONNX Runtime errs here (docs/upstream.md)
            return None
        before = -1 if isinstance(end, int) and end <= -_END else maximum(last, -1)
        lengths = [s - before for s in (maximum(first, 0), size - 1)]
        length = maximum(0, minimum(*lengths))
    return ceil_div(length, abs(step))


def _position(bound: Axis, size: int | Dim) -> Axis:
    """Where a bound lies, counted from the start; None where its sign is not known."""
    if isinstance(bound, int) and bound >= _END:
        return size
    if bound is None or is_never_negative(bound):
        return bound
    return size + bound if is_never_negative(-bound - 1) else None


def squeeze(call: Call) -> Proposal:
    """Squeeze of the axes named."""
    shape = call.shape(0)
    axes = call.elements(1) if call.has(1) else call.attribute("axes")
    if axes is None:
        if not all(isinstance(size, int) for size in shape):
            raise Unknown
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    if None in axes:
        raise Unknown
    gone = {axis_of(axis, shape) for axis in axes}
    return [[size for axis, size in enumerate(shape) if axis not in gone]]


def unsqueeze(call: Call) -> Proposal:
    """Unsqueeze: the axes named are those of the result."""
    shape = call.shape(0)
    axes = call.elements(1) if call.has(1) else call.attribute("axes")
    if axes is None or None in axes:
        raise Unknown
    rank = len(shape) + len(axes)
    new = {axis % rank for axis in axes}
    rest = iter(shape)
    return [[1 if axis in new else next(rest) for axis in range(rank)]]


def depth_to_space(call: Call) -> Proposal:
    """DepthToSpace."""
    (batch, depth, height, width), block = _image(call)
    return [[batch, _over(depth, block * block), *[None if s is None else s * block for s in (height, width)]]]


def space_to_depth(call: Call) -> Proposal:
    """SpaceToDepth."""
    (batch, depth, height, width), block = _image(call)
    return [[batch, None if depth is None else depth * block * block, _over(height, block), _over(width, block)]]


def _image(call: Call) -> tuple[Shape, int]:
    shape = call.shape(0)
    if len(shape) != 4:
        raise Unknown
    return shape, call.attribute("blocksize")


def _over(size: Axis, number: int) -> Axis:
    return None if size is None else size // number


def top_k(call: Call) -> Proposal:
    """TopK, with the count as an input from opset 10 on."""
    shape = call.shape(0)
    count = call.elements(1)[0] if call.has(1) else call.attribute("k")
    found = _changed(shape, {axis_of(call.attribute("axis", -1), shape): size_of(count)})
    return [found, found]


def one_hot(call: Call) -> Proposal:
    """OneHot: a new axis of the depth."""
    found: list[Axis] = list(call.shape(0))
    depth = call.elements(1)[0]
    axis = call.attribute("axis", -1)
    found.insert(axis if axis >= 0 else len(found) + 1 + axis, size_of(depth))
    return [found]


def gather_nd(call: Call) -> Proposal:
    """The shape of the indices but for the last axis, then what each of them leaves of the data."""
    data, indices = call.shape(0), call.shape(1)
    depth = indices[-1]
    if not isinstance(depth, int):
        raise Unknown
    return [(*indices[:-1], *data[call.attribute("batch_dims", 0) + depth :])]


def filled(call: Call) -> Proposal:
    """ConstantOfShape."""
    return [[size_of(item) for item in call.elements(0)]]


def range_(call: Call) -> Proposal:
    """Range."""
    (start,), (limit,), (delta,) = call.elements(0), call.elements(1), call.elements(2)
    if start is None or limit is None or delta is None or isinstance(delta, Dim) or delta == 0:
        raise Unknown
    if isinstance(delta, float):
        return [[max(0, ceil((limit - start) / delta))]]
    between = limit - start if delta > 0 else start - limit
    return [[ceil_div(maximum(0, between), abs(delta))]]


def center_crop_pad(call: Call) -> Proposal:
    """CenterCropPad: the axes named get the sizes given."""
    shape, sizes = call.shape(0), call.elements(1)
    axes = call.attribute("axes", range(len(shape)))
    if len(axes) != len(sizes):
        raise Unknown
    return [_changed(shape, {axis_of(a, shape): size_of(s) for a, s in zip(axes, sizes, strict=True)})]
