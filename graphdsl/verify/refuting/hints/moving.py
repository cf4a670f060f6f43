"""Hints for what moves elements: shapes, pieces, indices, and tensors made of numbers alone."""

import math
from typing import Any

import numpy as np

from ..calls import Call, Hint, axes_of, axis_of, broadcastable, size


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
    if choices.one_in(4):  # whole axes
        starts, ends = [0] * len(axes), [2**31 - 1] * len(axes)
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


def _pad(call: Call) -> None:
    choices, shape = call.choices, call.shape()
    call.attribute("mode", lambda: choices.favouring(["constant", "reflect", "edge"], 2))
    call.setting("axes", lambda: axes_of(call, len(shape)))
    known = call.known("axes")
    count = len(shape) if known is None else known.size
    amounts = [0, 1, 2, 0, -1, -2] if choices.one_in(3) else [0, 1, 0, 2]
    amounts = [choices.pick(amounts)] if choices.one_in(4) else amounts  # on every side the same
    call.setting("pads", lambda: tuple(choices.pick(amounts) for _ in range(2 * count)))
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
    rank = len(call.shape())
    call.content("depth", 3)
    call.shape(2, (2,))
    call.attribute("axis", lambda: axis_of(call, rank + 1))


def _gather_nd(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, tuple(max(dim, 1) for dim in call.base) or (3,))
    batch = call.attribute("batch_dims", lambda: choices.below(2) if len(shape) > 1 else 0) or 0
    depth = 1 + choices.below(max(len(shape) - batch, 1))
    form = (*shape[:batch], *choices.pick([(), (2,), (1,), (2, 2)]), depth)
    spots = [choices.below(max(dim, 1)) for _ in range(math.prod(form[:-1])) for dim in shape[batch : batch + depth]]
    call.content("indices", spots, form) if len(spots) == math.prod(form) else None


def _scatter(call: Call) -> None:
    """Updates along an axis, each at a place of its own: which of two at one place stays is left open."""
    choices = call.choices
    shape = call.shape(0, tuple(max(dim, 1) for dim in call.base) or (3,))
    axis = (call.attribute("axis", lambda: axis_of(call, len(shape))) or 0) % max(len(shape), 1)
    length = shape[axis] if axis < len(shape) else 1
    known = call.shapes[2] if len(call.shapes) > 2 else None
    count = known[axis] if known is not None and axis < len(known) else 1 + choices.below(max(length, 1))
    form = known if known is not None else tuple(count if at == axis else dim for at, dim in enumerate(shape))
    line = (np.arange(count) + choices.below(max(length, 1))) % max(length, 1)
    places = np.broadcast_to(line.reshape([-1 if at == axis else 1 for at in range(len(form))]), form)
    call.content("indices", places)
    index = call.place("indices")
    found = call.shapes[index] if index is not None else None
    call.form(found if found is not None else form, "updates")


def _scatter_nd(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, tuple(max(dim, 1) for dim in call.base) or (3,))
    depth = 1 + choices.below(max(len(shape), 1))
    spots = choices.shuffled(list(np.ndindex(*shape[:depth]))) or [(0,) * depth]
    call.content("indices", np.array(spots[: 1 + choices.below(3)]).reshape(-1, depth))
    index = call.place("indices")
    found = call.shapes[index] if index is not None else None
    if found:
        call.form((*found[:-1], *shape[found[-1] :]), "updates")


def _compress(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, call.base or (3,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    length = math.prod(shape) if axis is None else shape[axis] if -len(shape) <= axis < len(shape) else 1
    call.content("condition", [choices.below(2) for _ in range(choices.below(length + 1) or length)])


def _reverse_sequence(call: Call) -> None:
    shape = call.shape(0, call.base if len(call.base) > 1 else (2, 3))
    first = call.attribute("batch_axis", lambda: call.choices.below(2))
    call.attribute("time_axis", lambda: 1 - (1 if first is None else first))
    batch = call.attributes.get("batch_axis", 1)
    call.form(shape[batch : batch + 1], "sequence_lens")


def _tensor_scatter(call: Call) -> None:
    choices = call.choices
    base = call.base if len(call.base) > 2 else (2, 3, 2)
    shape = call.shape(0, tuple(max(dim, 1) for dim in base))
    call.attribute("axis", lambda: choices.pick(range(1, len(shape))))
    axis = call.attributes.get("axis", -2) % len(shape)
    count = 1 + choices.below(shape[axis])
    update = call.shape(1, tuple(count if at == axis else dim for at, dim in enumerate(shape)))
    room = shape[axis] - update[axis] + 1 if axis < len(update) else 1
    mode = call.attribute("mode", lambda: choices.pick(["linear", "circular"]))
    room = shape[axis] if mode == "circular" else room  # what stands out comes in again at the front
    call.content("write_indices", [choices.below(max(room, 1)) for _ in range(shape[0])])


def _eye(call: Call) -> None:
    call.shape(0, (*call.base, 2, 3)[:2])
    call.attribute("k", lambda: call.choices.pick([0, 1, -1]))


def _center(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, call.base or (3,))
    axes = call.attribute("axes", lambda: axes_of(call, len(shape)))
    call.content("shape", [1 + choices.below(4) for _ in (shape if axes is None else axes)])


HINTS: dict[str, Hint] = {
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
    "GatherND": _gather_nd,
    **dict.fromkeys(("Scatter", "ScatterElements"), _scatter),
    "ScatterND": _scatter_nd,
    "Compress": _compress,
    "ReverseSequence": _reverse_sequence,
    "TensorScatter": _tensor_scatter,
    "Pad": _pad,
    "CenterCropPad": _center,
    "Expand": _expand,
    "Tile": _tile,
    "Shape": _shape_of,
    "ConstantOfShape": _filled,
    "EyeLike": _eye,
    "Trilu": _trilu,
    "OneHot": _onehot,
}
