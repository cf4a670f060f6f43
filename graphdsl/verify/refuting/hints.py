"""What operators need to be called so that they accept: shapes, contents and attributes that fit what is there already.

A hint proposes; whether the operator accepts is the constructor's answer, as for any call. Operators without a hint
are taken for elementwise.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto

from ...allowed import allowed_values
from ...attributes import from_attribute
from .calls import Call, Shape, axes_of, axis_of, broadcastable, elementwise, size


def _along_axis(call: Call) -> None:
    rank = len(call.shape())
    call.attribute("axis", lambda: axis_of(call, rank))


def _matmul(call: Call) -> None:
    choices = call.choices
    left, right = call.shapes[0], call.shapes[1]
    if left is None:
        if right is None:
            left = call.shapes[0] = call.base if len(call.base) >= 1 else (2,)
        else:
            inner = right[-2] if len(right) > 1 else right[0] if right else 1
            left = call.shapes[0] = (
                *right[:-2][: choices.below(3)],
                *([size(choices)] if choices.below(4) else []),
                inner,
            )
    if right is None:
        inner = left[-1] if left else 1
        kind = choices.below(6)
        outer = size(choices)
        batch = left[:-2] if kind in (2, 3) else ()
        call.shapes[1] = (
            (inner,) if kind == 5 else (*batch, inner, left[-2] if len(left) > 1 and kind in (0, 2) else outer)
        )


def _gemm(call: Call) -> None:
    choices = call.choices
    flips = [bool(call.attribute(name, lambda: choices.below(2))) for name in ("transA", "transB")]
    for name in ("alpha", "beta"):
        call.attribute(name, lambda: choices.pick([1.0, 0.5, 2.0, -1.0, 0.0]))
    inner, rows, columns = size(choices), size(choices), size(choices)
    for index, flip in enumerate(flips):
        shape = call.shapes[index]
        if shape is not None and len(shape) == 2:
            one, other = reversed(shape) if flip else shape
            rows, inner, columns = (one, other, columns) if index == 0 else (rows, one, other)
    for index, (flip, plain) in enumerate(zip(flips, ((rows, inner), (inner, columns)), strict=True)):
        call.shape(index, (plain[1], plain[0]) if flip else plain)
    if call.place("C") is not None and call.shapes[2] is None:
        call.shapes[2] = choices.pick([(rows, columns), (columns,), (1, columns), (rows, 1), (), (1,)])


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
    call.wanted.discard("output_shape")
    for name in ("ceil_mode", "count_include_pad", "storage_order"):
        call.attribute(name, lambda: choices.below(2))


def _image(call: Call) -> Shape:
    """The shape of an input with a batch, channels and space."""
    if call.shapes[0] is None:
        base = call.base if len(call.base) >= 3 else (*call.base, 2, 3, 4, 4)[: 3 + call.choices.below(2)]
        return call.shape(0, tuple(max(dim, 1) for dim in base))
    return call.shape()


def _conv(call: Call) -> None:
    image, choices = _image(call), call.choices
    channels, spatial = image[1] if len(image) > 1 else 1, image[2:]
    groups = [group for group in (1, channels, 2) if group and channels % group == 0]
    group = call.attribute("group", lambda: choices.pick(groups)) or 1
    weights = call.shapes[1]
    if weights is None:
        kernel = tuple(call.attributes.get("kernel_shape", ())) or tuple(
            1 + choices.below(min(d, 3) or 1) for d in spatial
        )
        made = group * (1 + choices.below(2))
        parts = (made, channels // group) if call.schema.name == "Conv" else (channels, made // group)
        weights = call.shapes[1] = (*parts, *kernel)
    _windows(call, spatial, weights[2:])
    made = weights[0] if call.schema.name == "Conv" else weights[1] * group if len(weights) > 1 else 1
    call.shape(2, (made,)) if call.place("B") is not None else None


def _pool(call: Call) -> None:
    image = _image(call)
    _windows(call, image[2:], None)
    call.attribute("p", lambda: 1 + call.choices.below(3))


def _channelwise(call: Call) -> None:
    image = _image(call) if call.schema.name != "BatchNormalization" or len(call.base) < 2 else call.shape()
    channels = image[1] if len(image) > 1 else 1
    for index in range(1, len(call.shapes)):
        if call.dtypes[index] is not None:
            call.shape(index, (channels,))
    call.attribute("epsilon", lambda: call.choices.pick([1e-5, 1e-3, 0.1]))
    call.attribute("momentum", lambda: call.choices.pick([0.9, 0.5]))


def _normalised(call: Call) -> None:
    shape = call.shape()
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    tail = shape[axis if axis is not None else -1 :]
    for index in (1, 2):
        if index < len(call.shapes) and call.dtypes[index] is not None:
            call.shape(index, tail)
    call.attribute("epsilon", lambda: call.choices.pick([1e-5, 1e-3, 0.1]))


def _transpose(call: Call) -> None:
    rank = len(call.shape())
    call.attribute("perm", lambda: tuple(reversed(call.choices.shuffled(range(rank)))))


def _reshape(call: Call) -> None:
    choices, shape = call.choices, call.shape()
    total = math.prod(shape)
    zero = call.attribute("allowzero", lambda: choices.below(2))
    options: list[Any] = [(-1,), (total,), tuple(reversed(shape)), shape, (*shape, 1), (1, *shape)]
    if len(shape) > 1:
        options += [(shape[0] * shape[1], *shape[2:]), (*shape[:-2], -1), (shape[0], -1)]
        if not zero:
            options += [(0, -1), (0, *shape[1:])]
    if total and total % 2 == 0:
        options += [(2, -1), (total // 2, 2)]
    call.setting("shape", lambda: choices.pick(options))


def _flatten(call: Call) -> None:
    rank = len(call.shape())
    call.attribute("axis", lambda: call.choices.pick([1 if rank else 0, *range(-rank, rank + 1)]))


def _squeeze(call: Call) -> None:
    choices = call.choices
    if call.shapes[0] is None:
        base = [dim for dim in call.base if dim != 1]
        for _ in range(1 + choices.below(2)):
            base.insert(choices.below(len(base) + 1), 1)
        call.shapes[0] = tuple(base)
    shape = call.shape()
    ones = [axis for axis, dim in enumerate(shape) if dim == 1]
    chosen = ones[: 1 + choices.below(len(ones))] if ones else []
    call.setting("axes", lambda: tuple(axis - len(shape) if choices.one_in(3) else axis for axis in chosen))


def _unsqueeze(call: Call) -> None:
    choices, rank = call.choices, len(call.shape())
    count = 1 + choices.below(2)
    chosen = choices.shuffled(range(rank + count))[:count]
    if call.version < 13:
        chosen.sort()
    call.setting("axes", lambda: tuple(axis - rank - count if choices.one_in(4) else axis for axis in chosen))


def _concat(call: Call) -> None:
    choices = call.choices
    first = next((shape for shape in call.shapes if shape is not None), None) or call.base or (2,)
    axis = call.attribute("axis", lambda: axis_of(call, len(first)))
    for index, shape in enumerate(call.shapes):
        if shape is None:
            dims = list(first)
            if axis is not None and -len(dims) <= axis < len(dims) and choices.one_in(2):
                dims[axis] = size(choices)
            call.shapes[index] = tuple(dims)


def _split(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, call.base or (4,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    length = shape[axis or 0] if -len(shape) <= (axis or 0) < len(shape) else 0
    count = max(call.count, 1)

    def parts() -> tuple[int, ...]:
        cuts = sorted(choices.below(length + 1) for _ in range(count - 1))
        return tuple(b - a for a, b in zip([0, *cuts], [*cuts, length], strict=True))

    if call.shapes[0] is not None and length < count and call.shape() == call.base and 0 not in call.contents:
        dims = list(shape)
        dims[axis or 0] = length = count * 2
        call.shapes[0] = tuple(dims)
    call.setting("split", parts)
    call.attribute("num_outputs", lambda: count)


def _slice(call: Call) -> None:
    choices, shape = call.choices, call.shape(0, call.base or (4,))
    known = call.known("axes")
    axes = tuple(int(a) for a in known.ravel()) if known is not None else call.attributes.get("axes")
    if axes is None:
        axes = (
            axes_of(call, len(shape))
            if call.place("axes") is not None or "axes" in call.wanted
            else tuple(range(len(shape)))
        )
        axes = axes[: 1 + choices.below(2)] if choices.one_in(2) else axes
    lengths = [shape[axis] if -len(shape) <= axis < len(shape) else 1 for axis in axes]
    steps = [choices.favouring([1, -1, 2, -2], 3) if call.place("steps") is not None else 1 for _ in axes]
    starts = [choices.pick([0, 1, -1, 2, -2, length, 100][: 7 if length else 1]) for length in lengths]
    ends = [choices.pick([length, 2**31 - 1, -1, 1, 2, -2, 0]) for length in lengths]
    for name, numbers in (("starts", starts), ("ends", ends), ("axes", list(axes)), ("steps", steps)):
        call.setting(name, lambda numbers=numbers: tuple(numbers))  # type: ignore[misc]


def _gather(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, tuple(max(dim, 1) for dim in call.base) or (3,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape))) or 0
    length = shape[axis] if -len(shape) <= axis < len(shape) else 1
    form = choices.pick([(), (1,), (2,), (2, 2), (0,)])
    numbers = [choices.pick([0, -1, *range(length)]) if length else 0 for _ in range(math.prod(form))]
    call.content("indices", numbers if form else numbers[0], form)


def _gather_elements(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, tuple(max(dim, 1) for dim in call.base) or (3,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape))) or 0
    length = shape[axis] if -len(shape) <= axis < len(shape) else 1
    numbers = [choices.below(length) if length else 0 for _ in range(math.prod(shape))]
    call.content("indices", numbers, shape)


def _reduce(call: Call) -> None:
    choices, shape = call.choices, call.shape()
    call.attribute("keepdims", lambda: choices.below(2))
    call.attribute("noop_with_empty_axes", lambda: choices.below(2))
    call.attribute("axis", lambda: axis_of(call, len(shape)))
    call.attribute("select_last_index", lambda: choices.below(2))
    call.setting("axes", lambda: axes_of(call, len(shape)))


def _pad(call: Call) -> None:
    choices, shape = call.choices, call.shape()
    call.attribute("mode", lambda: choices.favouring(["constant", "reflect", "edge"], 2))
    call.setting("axes", lambda: axes_of(call, len(shape)))
    known = call.known("axes")
    count = len(shape) if known is None else known.size
    call.setting("pads", lambda: tuple(choices.pick([0, 1, 2, 0, -1]) for _ in range(2 * count)))
    for name in ("constant_value", "value"):
        if name in call.schema.attributes:
            call.attribute(name, lambda: choices.pick([0.0, 1.0]))
        elif call.place(name) is not None:
            call.shape(call.place(name) or 0, ())


def _expand(call: Call) -> None:
    choices, shape = call.choices, call.shape()
    larger = tuple(size(choices) if dim == 1 else dim for dim in shape)
    options = [shape, (1,) * len(shape), larger, (size(choices), *shape), broadcastable(choices, shape)]
    call.setting("shape", lambda: choices.pick(options))


def _tile(call: Call) -> None:
    shape = call.shape()
    call.setting("repeats", lambda: tuple(call.choices.pick([1, 2, 3, 0]) for _ in shape))


def _scalars(*names: str, numbers: Sequence[Any] | None = None) -> Callable[[Call], None]:
    """Operators of a tensor and scalars."""

    def hint(call: Call) -> None:
        call.shape()
        for name in names:
            index = call.place(name)
            if index is not None and call.shapes[index] is None:
                if numbers is None:
                    call.shapes[index] = ()
                else:
                    call.content(name, call.choices.pick(list(numbers)))

    return hint


def _cumsum(call: Call) -> None:
    shape = call.shape(0, call.base or (3,))
    call.content("axis", axis_of(call, len(shape)))
    for name in ("exclusive", "reverse"):
        call.attribute(name, lambda: call.choices.below(2))


def _topk(call: Call) -> None:
    choices, shape = call.choices, call.shape(0, call.base or (3,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    length = shape[axis if axis is not None else -1]
    call.content("K", [choices.below(length + 1)]) if "K" in [p.name for p in call.schema.inputs] else None
    call.attribute("k", lambda: choices.below(length + 1))
    for name in ("largest", "sorted"):
        call.attribute(name, lambda: choices.pick([1, 0]))


def _blocks(call: Call) -> None:
    choices = call.choices
    block = call.attribute("blocksize", lambda: 2) or 2
    deep = call.schema.name == "DepthToSpace"
    plain = (
        (1, block * block * (1 + choices.below(2)), 2, 3) if deep else (1, 2, block * (1 + choices.below(2)), block * 2)
    )
    call.shape(0, plain)
    call.attribute("mode", lambda: choices.pick(["DCR", "CRD"]))


def _prelu(call: Call) -> None:
    shape = call.shape()
    if call.shapes[1] is None:
        tail = shape[call.choices.below(len(shape) + 1) :]
        call.shapes[1] = tuple(1 if call.choices.one_in(3) else dim for dim in tail)


def _quantize(call: Call) -> None:
    choices = call.choices
    shape = call.shape()
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    along = shape[axis if axis is not None else 1 :][:1] if shape else ()
    form = along if choices.one_in(3) and len(shape) > 1 else ()
    for index in (1, 2):
        if index < len(call.shapes) and call.dtypes[index] is not None and call.shapes[index] is None:
            known = call.shapes[1] if index == 2 else None
            call.shapes[index] = known if known is not None else form
    for index, numbers in ((1, [0.5, 0.25, 2.0, 0.1]), (2, [0, 3, 10])):
        if index < len(call.shapes) and index not in call.contents and call.dtypes[index] is not None:
            dtype = call.dtypes[index]
            assert dtype is not None
            shape_ = call.shapes[index] or ()
            call.contents[index] = np.full(shape_, choices.pick(numbers)).astype(dtype.numpy)


def _dropout(call: Call) -> None:
    call.shape()
    call.content("ratio", call.choices.pick([0.5, 0.0, 0.1]))
    call.content("training_mode", call.choices.favouring([False, True], 2))
    call.attribute("ratio", lambda: call.choices.pick([0.5, 0.0]))
    call.attribute("seed", lambda: 0)


def _resize(call: Call) -> None:
    choices, shape = call.choices, _image(call)
    call.content("roi", np.zeros(0))
    call.attribute("mode", lambda: choices.pick(["nearest", "linear"]))
    given = call.place("sizes")
    if given is not None:
        call.content("sizes", [*shape[:2], *(1 + choices.below(6) for _ in shape[2:])])
    else:
        call.content("scales", [1.0, 1.0, *(choices.pick([1.0, 2.0, 0.5]) for _ in shape[2:])])


def _shape_of(call: Call) -> None:
    rank = len(call.shape())
    for name in ("start", "end"):
        call.attribute(name, lambda: call.choices.pick(range(-rank, rank + 1)))


def _filled(call: Call) -> None:
    shape = call.base
    call.setting("input", lambda: shape)
    call.attribute("value", lambda: np.array([call.choices.pick([0.0, 1.0, 0.5])], np.float32))


def _trilu(call: Call) -> None:
    call.shape(0, call.base if len(call.base) >= 2 else (3, 3))
    call.content("k", call.choices.pick([0, 1, -1, 2]))
    call.attribute("upper", lambda: call.choices.pick([1, 0]))


def _onehot(call: Call) -> None:
    call.shape()
    call.content("depth", 3)
    call.shape(2, (2,))
    call.attribute("axis", lambda: -1)


def _einsum(call: Call) -> None:
    equation = call.attributes.get("equation", "")
    letters: dict[str, int] = {}
    terms = str(equation).replace(" ", "").partition("->")[0].split(",")
    for term, shape in zip(terms, call.shapes, strict=False):
        if shape is not None and len(shape) == len(term):
            letters.update(zip(term, shape, strict=True))
    for index, term in enumerate(terms):
        if index < len(call.shapes) and call.shapes[index] is None:
            call.shapes[index] = tuple(
                letters.setdefault(letter, size(call.choices)) for letter in term if letter != "."
            )


def _range(call: Call) -> None:
    for name, numbers in (("start", [0, 1]), ("limit", [5, 3]), ("delta", [1, 2])):
        call.content(name, call.choices.pick(numbers))


def _shift(call: Call) -> None:
    elementwise(call)
    call.attribute("direction", lambda: call.choices.pick(["LEFT", "RIGHT"]))


_HINTS: dict[str, Callable[[Call], None]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "LRN"), _pool),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channelwise),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalised),
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"), _along_axis),
    "Pad": _pad,
    "Expand": _expand,
    "Tile": _tile,
    "Clip": _scalars("min", "max"),
    "CumSum": _cumsum,
    "TopK": _topk,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    "PRelu": _prelu,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    "Dropout": _dropout,
    "Resize": _resize,
    "Shape": _shape_of,
    "ConstantOfShape": _filled,
    "Trilu": _trilu,
    "OneHot": _onehot,
    "Einsum": _einsum,
    "Range": _range,
    "BitShift": _shift,
}

IMAGES = frozenset(
    {
        *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "LRN"),
        *("InstanceNormalization", "DepthToSpace", "SpaceToDepth", "Resize"),
    }
)
"""Operators on tensors of a batch, channels and space."""

MATRICES = frozenset({"MatMul", "Gemm", "Trilu", "BatchNormalization", "Det"})
"""Operators on two axes or more."""


def complete(call: Call) -> None:
    """Choose the shapes and contents of open inputs, and the attributes that are wanted."""
    name = call.schema.name
    own = not call.schema.domain
    hint = _HINTS.get(name) if own else None
    if hint is None and own and (name.startswith("Reduce") or name in ("ArgMax", "ArgMin")):
        hint = _reduce
    if hint is not None:
        hint(call)
    elementwise(call)
    for attribute in sorted(call.wanted - call.attributes.keys()):
        found = _guess(call, attribute)
        if found is not None:
            call.attributes[attribute] = found


def _guess(call: Call, name: str) -> Any:
    """A value of an attribute of which nothing is known but its kind."""
    choices, spec = call.choices, call.schema.attributes.get(name)
    if spec is None:
        return None
    listed = allowed_values(call.schema.domain, call.schema.name, name, call.schema.since)
    shape = call.shapes[0] if call.shapes else None
    rank = len(shape or ())
    if listed is not None and spec.kind in (AttributeProto.STRING, AttributeProto.INT):
        return choices.pick(listed)
    match spec.kind:
        case AttributeProto.INT if name == "axis":
            return axis_of(call, rank)
        case AttributeProto.INT:
            return choices.pick([1, 0, 2])
        case AttributeProto.FLOAT:
            usual = from_attribute(spec.default) if spec.default is not None else 1.0
            return choices.pick([usual, 0.5, 2.0, 0.1, -1.0, 0.0, 1.0])
        case AttributeProto.INTS if name == "axes":
            return axes_of(call, rank)
        case AttributeProto.INTS:
            return tuple(1 + choices.below(2) for _ in range(rank))
        case AttributeProto.FLOATS:
            return tuple(choices.pick([1.0, 0.5]) for _ in range(rank))
        case AttributeProto.STRING:
            return from_attribute(spec.default) if spec.default is not None else "a"
        case AttributeProto.TENSOR:
            return np.array([choices.pick([0.0, 1.0])], np.float32)
    return None
