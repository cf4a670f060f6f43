"""What operators demand of their inputs' shapes, where ONNX's inference does not look, or says no more than "no".

Each demand names the inputs, the axes and the sizes that do not fit. Only known sizes are compared: a named or unknown
dimension may still turn out right when the model runs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, pairwise
from math import prod
from typing import Any

from .contents import known_array
from .ir import Value, constant_array
from .schemas import Schema
from .types import Shape, TensorType


class Call:
    """What a demand looks at: the shapes, constant values and names of the inputs, and the attributes."""

    def __init__(self, schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> None:
        self.names = input_names(schema, inputs)
        self.shapes = [v.type.shape if v is not None and isinstance(v.type, TensorType) else None for v in inputs]
        self.constants = [known_array(v) if constant_array(v) is None else constant_array(v) for v in inputs]
        self.attributes = attributes

    def shape(self, index: int) -> Shape | None:
        """The shape of an input; None where it is absent or of unknown rank."""
        return self.shapes[index] if index < len(self.shapes) else None

    def size(self, index: int, axis: int) -> int | None:
        """The size of an axis of an input, where it is known to be an int."""
        shape = self.shape(index)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        size = shape[axis]
        return size if isinstance(size, int) else None

    def ints(self, name: str) -> list[int] | None:
        """The elements of a constant vector of integers, by the input's name."""
        index = next((i for i, own in self.names.items() if own == name), None)
        array = None if index is None else self.constants[index]
        return None if array is None or array.ndim != 1 else [int(item) for item in array]


Demand = Callable[[Call], str | None]


def input_names(schema: Schema, inputs: Sequence[Value | None]) -> dict[int, str]:
    """The schema's names of the inputs that are present, by index, numbered where an input is variadic."""
    names: dict[int, str] = {}
    for index, value in enumerate(inputs):
        if value is not None:
            formal = schema.input(index)
            names[index] = formal.name + (f"[{index - len(schema.inputs) + 1}]" if formal.variadic else "")
    return names


def unmet(schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> str | None:
    """Which demand that ONNX's inference does not enforce these inputs do not meet; None where nothing is found."""
    demand = _UNCHECKED.get(schema.name)
    if demand is None or schema.domain or schema.since < _SINCE.get(schema.name, 1):
        return None
    return demand(Call(schema, inputs, attributes))


def cause(schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any], native: str) -> str | None:
    """Why these inputs were refused with a message of ONNX's inference, in more words than it has; or None."""
    demand = None if schema.domain else _UNCHECKED.get(schema.name) or _ENFORCED.get(schema.name)
    if demand is None:
        demand = next((found for pattern, found in _BY_MESSAGE if re.search(pattern, native)), None)
    return None if demand is None else demand(Call(schema, inputs, attributes))


def _differ(call: Call, left: tuple[int, int], right: tuple[int, int]) -> str | None:
    """Whether an axis of one input, as (input, axis), has another size than an axis of another."""
    sizes = call.size(*left), call.size(*right)
    if None in sizes or sizes[0] == sizes[1]:
        return None
    (i, i_axis), (j, j_axis) = left, right
    first = f"{call.names[i]} has size {sizes[0]} on axis {i_axis}"
    return f"{first} and {call.names[j]} has size {sizes[1]} on axis {j_axis}; they must be equal"


def _first(findings: Sequence[str | None]) -> str | None:
    return next((finding for finding in findings if finding), None)


# Broadcasting


def _clash(left: Shape, right: Shape) -> int | None:
    """The last axis, counted from the end, on which two shapes do not broadcast."""
    for axis in range(-1, -min(len(left), len(right)) - 1, -1):
        a, b = left[axis], right[axis]
        if isinstance(a, int) and isinstance(b, int) and a != b and 1 not in (a, b):
            return axis
    return None


def _misfit(call: Call, left: int, right: int) -> str | None:
    """Why two inputs do not broadcast with each other."""
    a, b = call.shape(left), call.shape(right)
    axis = None if a is None or b is None else _clash(a, b)
    if axis is None:
        return None
    assert a is not None and b is not None
    names = call.names[left], call.names[right]
    return (
        f"{names[0]} and {names[1]} do not broadcast: size {a[axis]} against {b[axis]} on axis {axis}; "
        f"sizes must be equal, or one of them 1{_lined_up(names[1], b, a) or _lined_up(names[0], a, b)}"
    )


def _lined_up(name: str, vector: Shape, other: Shape) -> str:
    """How to write a vector so that it goes along the one axis of the other input that has its size."""
    if len(vector) != 1 or other.count(vector[0]) != 1:
        return ""
    after = len(other) - 1 - other.index(vector[0])
    return f"; to go along axis {other.index(vector[0])}, {name} needs the shape ({vector[0]}{', 1' * after})"


def _broadcast(call: Call) -> str | None:
    return _first([_misfit(call, i, j) for i, j in combinations(range(len(call.shapes)), 2)])


def _fits_into(call: Call, index: int, target: Shape | None, what: str) -> str | None:
    """Why an input does not broadcast to a shape that stays as it is."""
    shape = call.shape(index)
    if shape is None or target is None:
        return None
    aligned = zip(reversed(shape), reversed(target), strict=False)
    grows = any(goal == 1 and isinstance(size, int) and size != 1 for size, goal in aligned)
    if len(shape) > len(target) or _clash(shape, target) is not None or grows:
        shown = "(" + ", ".join(map(str, target)) + ("," if len(target) == 1 else "") + ")"
        return f"{call.names[index]} does not broadcast to the shape {shown} of {what}"
    return None


def _slope(call: Call) -> str | None:
    return _fits_into(call, 1, call.shape(0), call.names[0])


def _scale_and_bias(call: Call) -> str | None:
    shape = call.shape(0)
    axis = call.attributes.get("axis", -1)
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    what = f"{call.names[0]} from axis {axis} on"
    return _first([_fits_into(call, index, shape[axis:], what) for index in (1, 2)])


# Products


def _matmul(call: Call) -> str | None:
    left, right = 0, 1 if len(call.shapes) == 2 else 3 if len(call.shapes) == 8 else 1
    a, b = call.shape(left), call.shape(right)
    if a is None or b is None:
        return None
    names = call.names[left], call.names[right]
    for name, shape in zip(names, (a, b), strict=True):
        if not shape:
            return f"{name} is a scalar; a matrix product takes tensors of rank 1 or more: write a * b"
    axis = -2 if len(b) > 1 else -1
    inner = _differ(call, (left, -1), (right, axis))
    if inner is not None:
        fits = len(b) > 1 and a[-1] == b[-1]
        return inner + (f"; the transpose of {names[1]} would fit" if fits else "")
    if _clash(a[:-2], b[:-2]) is not None:
        inner_axis = _clash(a[:-2], b[:-2])
        assert inner_axis is not None
        return (
            f"the batch axes of {names[0]} and {names[1]} do not broadcast: size {a[:-2][inner_axis]} against "
            f"{b[:-2][inner_axis]} on axis {inner_axis - 2}; sizes must be equal, or one of them 1"
        )
    return None


def _gemm(call: Call) -> str | None:
    flipped_a, flipped_b = bool(call.attributes.get("transA", 0)), bool(call.attributes.get("transB", 0))
    a, b = call.shape(0), call.shape(1)
    if a is None or b is None:
        return None
    for index, shape in enumerate((a, b)):
        if len(shape) != 2:
            return f"{call.names[index]} must have rank 2, but has rank {len(shape)}"
    inner = _differ(call, (0, 0 if flipped_a else 1), (1, 1 if flipped_b else 0))
    if inner is not None:
        fits = a[0 if flipped_a else 1] == b[0 if flipped_b else 1]
        return inner + (f"; transB={int(not flipped_b)} would fit" if fits else "")
    return _fits_into(call, 2, (a[1 if flipped_a else 0], b[0 if flipped_b else 1]), "the product")


def _einsum(call: Call) -> str | None:
    terms = str(call.attributes["equation"]).replace(" ", "").partition("->")[0].split(",")
    met: dict[str, tuple[int, int, int]] = {}
    for index, term in enumerate(terms):
        shape = call.shape(index)
        if shape is None or "." in term or len(term) != len(shape):
            continue
        for axis, letter in enumerate(term):
            size = call.size(index, axis)
            if size is None or size == 1:
                continue
            i, a, other = met.setdefault(letter, (index, axis, size))
            if other != size:
                places = f"{other} on axis {a} of {call.names[i]} and {size} on axis {axis} of {call.names[index]}"
                return f"the index {letter!r} of the equation has size {places}"
    return None


# Convolution, pooling and normalisation


def _lists(call: Call) -> str | None:
    """Attributes of a convolution or pooling that are lists must have a value, or two, for each spatial axis."""
    shape = call.shape(0)
    if shape is None or len(shape) < 3:
        return _spatial(call)
    spatial = len(shape) - 2
    for name in ("kernel_shape", "strides", "dilations", "output_padding", "pads"):
        given = call.attributes.get(name)
        wanted = 2 * spatial if name == "pads" else spatial
        if given is not None and len(given) != wanted:
            per = "two for each" if name == "pads" else "one for each"
            of = f"{call.names[0]} has rank {spatial + 2}, so {spatial} spatial axes"
            return f"{name} has {len(given)} values and needs {wanted}, {per} spatial axis ({of})"
    return None


def _window(call: Call) -> str | None:
    """The lists, and the window must fit once into the padded input."""
    shape, weight = call.shape(0), call.shape(1)
    problem = _lists(call)
    padded = call.attributes.get("auto_pad", "NOTSET") == "NOTSET" and not call.attributes.get("ceil_mode")
    if problem or shape is None or not padded:
        return problem
    spatial = len(shape) - 2
    kernel = call.attributes.get("kernel_shape") or (None if weight is None else weight[2:])
    pads = call.attributes.get("pads", (0,) * (2 * spatial))
    dilations = call.attributes.get("dilations", (1,) * spatial)
    for axis, width in enumerate(kernel or ()):
        size = call.size(0, axis + 2)
        if size is None or not isinstance(width, int) or axis >= spatial:
            continue
        have, need = size + pads[axis] + pads[axis + spatial], (width - 1) * dilations[axis] + 1
        if have < need:
            return f"axis {axis + 2} of {call.names[0]} has size {have} with its pads, and the kernel needs {need}"
    return None


def _convolution(call: Call) -> str | None:
    weight = call.shape(1)
    kernel = call.attributes.get("kernel_shape")
    if kernel and weight is not None and len(weight) == len(kernel) + 2:
        for axis, wanted in enumerate(kernel, 2):
            size = call.size(1, axis)
            if size not in (None, wanted):
                return f"kernel_shape={list(kernel)}, but {call.names[1]} has size {size} on axis {axis}"
    bias = _differ(call, (2, 0), (1, 0)) if 2 in call.names else None
    return _window(call) or bias


def _transposed_convolution(call: Call) -> str | None:
    return _differ(call, (0, 1), (1, 0)) or _lists(call)


def _per_channel(call: Call) -> str | None:
    return _first([_differ(call, (0, 1), (index, 0)) for index in range(1, len(call.shapes)) if index in call.names])


def _per_axis_scale(call: Call) -> str | None:
    scale = call.shape(1)
    if scale is None or len(scale) != 1 or scale[0] == 1 or call.attributes.get("block_size"):
        return None
    return _differ(call, (0, call.attributes.get("axis", 1)), (1, 0))


def _spatial(call: Call) -> str | None:
    shape = call.shape(0)
    if shape is not None and len(shape) < 3:
        return f"{call.names[0]} has rank {len(shape)}; it needs (batch, channels, spatial axes ...), at least 3"
    return None


def _recurrent(gates: int) -> Demand:
    def demand(call: Call) -> str | None:
        hidden = call.attributes.get("hidden_size") or call.size(2, 2)
        input_size = _differ(call, (0, 2), (1, 2))
        if input_size or hidden is None:
            return input_size
        names = call.names
        for index, axis, wanted, meaning in (
            (1, 1, gates * hidden, f"{gates} * hidden_size"),
            (2, 1, gates * hidden, f"{gates} * hidden_size"),
            (2, 2, hidden, "hidden_size"),
            (3, 1, 2 * gates * hidden, f"{2 * gates} * hidden_size"),
        ):
            size = call.size(index, axis)
            if size not in (None, wanted):
                meaning = meaning.removeprefix("1 * ")
                return f"{names[index]} has size {size} on axis {axis} and needs {meaning} = {wanted}"
        return None

    return demand


# Shapes and indices


def _concat(call: Call) -> str | None:
    shapes = [(index, shape) for index, shape in enumerate(call.shapes) if shape is not None]
    for (i, a), (j, b) in pairwise(shapes):
        if len(a) != len(b):
            return f"{call.names[i]} has rank {len(a)} and {call.names[j]} has rank {len(b)}; they must have one rank"
        joined = call.attributes.get("axis", 1)
        for axis in range(len(a)):
            difference = _differ(call, (i, axis), (j, axis)) if axis != joined % len(a) else None
            if difference and -len(a) <= joined < len(a):
                return f"{difference}, as all axes but axis={joined}"
    return None


def _reshape(call: Call) -> str | None:
    shape, target = call.shape(0), call.ints("shape")
    if shape is None or target is None:
        return None
    zero_copies = not call.attributes.get("allowzero", 0)
    wanted = []
    for axis, size in enumerate(target):
        copied = zero_copies and size == 0
        if copied and axis >= len(shape):
            return f"the 0 at {axis} of shape={target} copies axis {axis}, but {call.names[0]} has rank {len(shape)}"
        wanted.append(shape[axis] if copied else size)
    if not all(isinstance(size, int) for size in [*shape, *wanted]):
        return None
    have = prod(size for size in shape if isinstance(size, int))
    need = prod(size for size in wanted if isinstance(size, int) and size != -1)
    fits = (need != 0 and have % need == 0) if -1 in wanted else have == need
    if fits or target.count(-1) > 1:
        return None
    per = f"a multiple of {need}" if -1 in wanted else str(need)
    return f"{call.names[0]} has {have} elements, and shape={target} needs {per}"


def _expand(call: Call) -> str | None:
    shape, target = call.shape(0), call.ints("shape")
    axis = None if shape is None or target is None else _clash(shape, tuple(target))
    if axis is None:
        return None
    return f"{call.names[0]} does not broadcast to shape={target}: size {call.size(0, axis)} on axis {axis}"


def _transpose(call: Call) -> str | None:
    shape, perm = call.shape(0), call.attributes.get("perm")
    if shape is None or perm is None or sorted(perm) == list(range(len(shape))):
        return None
    return f"perm={list(perm)} is not an order of the axes 0 to {len(shape) - 1} of {call.names[0]}"


def _squeeze(call: Call) -> str | None:
    shape = call.shape(0)
    for axis in call.attributes.get("axes") or call.ints("axes") or ():
        size = call.size(0, axis)
        if size not in (None, 1):
            return f"axis {axis} of {call.names[0]} has size {size}; only axes of size 1 can be squeezed"
        if shape is not None and not -len(shape) <= axis < len(shape):
            return f"axis {axis} is out of range for {call.names[0]} of rank {len(shape)}"
    return None


def _slice(call: Call) -> str | None:
    starts = call.size(1, 0)
    for index in range(2, len(call.shapes)):
        length = call.size(index, 0) if index in call.names else None
        if starts is not None and length is not None and length != starts:
            names = call.names[1], call.names[index]
            return f"{names[0]} has {starts} values and {names[1]} has {length}; each sliced axis needs one of both"
    return None


def _split(call: Call) -> str | None:
    axis, parts = call.attributes.get("axis", 0), call.attributes.get("num_outputs")
    size = call.size(0, axis)
    if size is None or not parts or (parts - 1) * -(-size // parts) < size or size == 0:
        return None
    return f"axis {axis} of {call.names[0]} has size {size}, too few for num_outputs={parts}"


def _same_rank(call: Call) -> str | None:
    shapes = call.shape(0), call.shape(1)
    if shapes[0] is None or shapes[1] is None or len(shapes[0]) == len(shapes[1]):
        return None
    ranks = [f"{call.names[i]} has rank {len(s or ())}" for i, s in enumerate(shapes)]
    return f"{ranks[0]} and {ranks[1]}; they must have one rank"


def _unpooling(call: Call) -> str | None:
    """The lists of a pooling, and as many indices as elements along each axis."""
    shape = call.shape(0)
    sizes = [_differ(call, (0, axis), (1, axis)) for axis in range(len(shape or ()))]
    return _lists(call) or _same_rank(call) or _first(sizes)


def _scatter_elements(call: Call) -> str | None:
    shape = call.shape(1)
    axes = range(len(shape)) if shape is not None else ()
    return _same_rank(call) or _first([_differ(call, (1, axis), (2, axis)) for axis in axes])


def _blocks_of_channels(call: Call) -> str | None:
    channels, block = call.size(0, 1), call.attributes["blocksize"]
    if channels is None or block <= 0 or channels % block**2 == 0:
        return None
    return f"{call.names[0]} has {channels} channels (axis 1), which is no multiple of blocksize ** 2 = {block**2}"


def _blocks_of_space(call: Call) -> str | None:
    block = call.attributes["blocksize"]
    for axis in (2, 3):
        size = call.size(0, axis)
        if size is not None and block > 0 and size % block:
            return f"axis {axis} of {call.names[0]} has size {size}, which is no multiple of blocksize={block}"
    return None


def _axes(call: Call) -> str | None:
    """The attribute `axis` or `axes`, or the input `axes`, must name axes of the first input."""
    shape, axis = call.shape(0), call.attributes.get("axis")
    axes = call.attributes.get("axes") or call.ints("axes") or () if axis is None else [axis]
    for axis in axes:
        if shape is not None and not -len(shape) <= axis < len(shape):
            if not shape:
                return f"axis {axis} is out of range: {call.names[0]} is a scalar"
            rank = len(shape)
            return f"axis {axis} is out of range for {call.names[0]} of rank {rank}: {-rank} to {rank - 1}"
    return None


# The operators


_UNCHECKED: dict[str, Demand] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DepthToSpace": _blocks_of_channels,
    "DequantizeLinear": _per_axis_scale,
    "Einsum": _einsum,
    "GRU": _recurrent(3),
    "GatherElements": _same_rank,
    "Gemm": _gemm,
    "GlobalAveragePool": _spatial,
    "GlobalLpPool": _spatial,
    "GlobalMaxPool": _spatial,
    "InstanceNormalization": _per_channel,
    "LSTM": _recurrent(4),
    "LayerNormalization": _scale_and_bias,
    "LpNormalization": _axes,
    "MaxUnpool": _unpooling,
    "PRelu": _slope,
    "QuantizeLinear": _per_axis_scale,
    "RNN": _recurrent(1),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "Slice": _slice,
    "SpaceToDepth": _blocks_of_space,
    "Transpose": _transpose,
}
"""Demands that ONNX's inference does not enforce, or not in full: they are asked of every call."""

_SINCE = {"Gemm": 7, "PRelu": 7}
"""The opset from which on the operator broadcasts as its demand says."""

_ENFORCED: dict[str, Demand] = {
    "AveragePool": _window,
    "BatchNormalization": _per_channel,
    "Concat": _concat,
    "ConvInteger": _window,
    "Expand": _expand,
    "LpPool": _window,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MaxPool": _window,
    "QLinearMatMul": _matmul,
    "Split": _split,
    "Squeeze": _squeeze,
}
"""Demands that ONNX's inference enforces with fewer words: they explain what it refused."""

_BY_MESSAGE: tuple[tuple[str, Demand], ...] = ((r"Incompatible dimensions\.?\s*$", _broadcast), ("axis", _axes))
"""What other operators may have been refused for, by what ONNX's message looks like."""
