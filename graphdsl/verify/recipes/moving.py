"""Recipes of operators that move elements: shapes, pieces, indices."""

from math import prod
from typing import Any

import numpy as np

from ..arrays import Range
from ..drafts import Draft, Unfit
from .elementwise import Recipe, target, unary


def _axes_of(d: Draft, axes: Any) -> None:
    """Axes as an attribute or as the next input, as the opset has it."""
    if "axes" in d.schema.attributes:
        d.attributes["axes"] = list(axes)
    else:
        d.constant(axes)


def reshape(d: Draft) -> None:
    x = d.any()
    sizes = x.shape
    if not all(isinstance(size, int) for size in sizes):
        d.constant([0] * len(sizes) if d.flag() else [-1])
        return
    total = prod(sizes)
    shapes = [(-1,), (total,), (1, -1), tuple(reversed(sizes)), (*sizes, 1), (*sizes[:1], -1) if sizes else (1,)]
    shapes += [(total // k, k) for k in (2, 3) if total % k == 0]
    d.constant(np.array(d.pick(shapes), np.int64))
    if d.attribute("allowzero", (0, 1)) and 0 in d.inputs[1]:
        del d.attributes["allowzero"]


def transpose(d: Draft) -> None:
    rank = len(d.any(high=4).shape)
    if d.flag():
        order = list(range(rank))
        for place in range(rank - 1, 0, -1):
            other = d.number(0, place)
            order[place], order[other] = order[other], order[place]
        d.attributes["perm"] = order


def flatten(d: Draft) -> None:
    rank = len(d.any(known=True).shape)
    if d.flag():
        d.axis(rank, beyond=1)
    elif not rank:
        d.attributes["axis"] = 0


def squeeze(d: Draft) -> None:
    x = d.any(known=True, ok=lambda shape: 1 in shape, sizes=(1, 1), low=1)
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    if d.flag():
        chosen = [axis for axis in ones if d.flag()] or ones[:1]
        _axes_of(d, chosen)


def unsqueeze(d: Draft) -> None:
    rank = len(d.any().shape)
    axes = [d.number(0, rank)] if d.flag() else [0, d.number(1, rank + 1)]
    _axes_of(d, axes)


def expand(d: Draft) -> None:
    shape = d.any(known=True).shape
    wanted = [d.number(1, 3) if size == 1 else size for size in shape]
    lead = [d.number(1, 2) for _ in range(d.number(0, 1))]
    d.constant(np.array([*lead, *(size if d.number(0, 3) else 1 for size in wanted)], np.int64))


def tile(d: Draft) -> None:
    rank = len(d.any(known=True).shape)
    d.constant(np.array([d.number(1, 2) for _ in range(rank)], np.int64))


def concat(d: Draft) -> None:
    shape = d.any(low=1).shape
    axis = d.axis(len(shape))
    for _ in range(d.number(0, 2)):
        sizes = list(shape)
        if d.flag():
            sizes[axis] = d.number(1, 3)
        d.like(tuple(sizes))


def split(d: Draft) -> int:
    shape = d.any(low=1, known=True).shape
    size = shape[d.axis(len(shape))]
    if "num_outputs" in d.schema.attributes and d.flag():
        # the first parts are of one size, and none may be left empty
        count: int = d.pick([k for k in range(1, size + 1) if -(-size // k) * (k - 1) < size])
        d.attributes["num_outputs"] = count
        return count
    sizes = []
    while size:
        sizes.append(d.number(1, size))
        size -= sizes[-1]
    if "split" in d.schema.attributes:
        d.attributes["split"] = sizes
    else:
        d.constant(sizes)
    return len(sizes)


def slice_(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    axes = d.axes(len(shape))
    parts = [_part(d, shape[axis]) for axis in axes]
    for column in range(2):
        d.constant([part[column] for part in parts])
    if axes != list(range(len(axes))) or d.flag():
        d.constant([axis - len(shape) if d.flag() else axis for axis in axes])
    else:
        d.constant(axes)
    if any(part[2] != 1 for part in parts):
        d.constant([part[2] for part in parts])


def _part(d: Draft, size: int) -> tuple[int, int, int]:
    """Start, end and step of a piece that is not empty."""
    start = d.number(0, size - 1)
    step = d.pick((1, 2, -1, -2))
    if step > 0:
        end = d.pick((size, start + 1, 2**31 - 1, 2**62))
    else:
        end = -size - 1 if d.flag() or not start else start - 1
    return (start - size if d.flag() else start), end, step


def pad(d: Draft) -> None:
    mode = d.pick(("constant", "edge", "reflect"))
    shape = d.any(low=1, known=True, ok=lambda shape: mode != "reflect" or min(shape) > 1, sizes=(2, 3)).shape
    most = {"constant": 2, "edge": 2, "reflect": 1}[mode]
    pads = [d.number(0, most) for _ in range(2 * len(shape))]
    if mode == "constant" and d.flag():
        pads = [-1 if size > 2 and d.flag() else pad for pad, size in zip(pads, shape * 2, strict=True)]
    d.constant(np.array(pads, np.int64))
    if mode != "constant" or d.flag():
        d.attributes["mode"] = mode
    if mode == "constant" and d.flag():
        d.like(())


def gather(d: Draft) -> None:
    rank = len(d.any(low=1, known=True).shape)
    if d.flag():
        d.axis(rank)
    d.bind()
    d.like(tuple(d.number(1, 3) for _ in range(d.number(0, 2))))


def gather_elements(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    axis = d.axis(len(shape)) if d.flag() else 0
    d.like(tuple(d.number(1, 3) if at == axis else size for at, size in enumerate(shape)))


def gather_nd(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    batch = d.number(0, 1) if len(shape) > 1 and "batch_dims" in d.schema.attributes else 0
    if batch:
        d.attributes["batch_dims"] = batch
    depth = d.number(1, len(shape) - batch)
    d.like((*shape[:batch], *(d.number(1, 3) for _ in range(d.number(0, 1))), depth))


def scatter_elements(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    axis = d.axis(len(shape)) if d.flag() else 0
    reduction = d.attribute("reduction", ("none", "add", "mul", "max", "min")) or "none"
    count = d.number(1, shape[axis] if reduction == "none" else 3)  # no element is written twice by none
    sizes = tuple(count if at == axis else other for at, other in enumerate(shape))
    d.like(sizes)
    d.like(sizes)


def scatter_nd(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    depth = d.number(1, len(shape))
    reduction = d.attribute("reduction", ("none", "add", "mul", "max", "min")) or "none"
    count = d.number(1, 3 if reduction != "none" else min(prod(shape[:depth]), 3))
    d.like((count, depth))
    d.like((count, *shape[depth:]))


def compress(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    size = shape[d.axis(len(shape))] if d.flag() else prod(shape)
    d.constant([d.flag() for _ in range(d.number(1, size))])


def reverse_sequence(d: Draft) -> None:
    shape = d.any(low=2, known=True).shape
    first = d.number(0, 1)
    d.attributes.update(batch_axis=first, time_axis=1 - first)
    d.like((shape[first],))


def one_hot(d: Draft) -> None:
    rank = len(d.any(low=1, high=2).shape)
    if d.flag():
        d.axis(rank + 1)
    d.bind()
    # as a value that is not known until the model runs it leaves a size open
    d.constant(d.number(1, 3))
    d.bind()
    d.like((2,))


def trilu(d: Draft) -> None:
    d.any(low=2, known=True)
    if d.flag():
        d.constant(d.number(-2, 2))
    d.attribute("upper", (0, 1))


def shape_of(d: Draft) -> None:
    rank = len(d.any().shape)
    d.attribute("start", range(-1, rank + 1))
    d.attribute("end", range(-1, rank + 1))


def non_zero(d: Draft) -> None:
    d.any(low=1, known=True)


def unique(d: Draft) -> int:
    shape = d.any(low=1, known=True).shape
    if d.flag():
        d.axis(len(shape))
    d.attribute("sorted", (1, 0))
    return d.number(1, 4)


def eye_like(d: Draft) -> None:
    d.any(low=2, high=2, known=True)
    d.attribute("k", (0, 1, -1))
    if d.flag():
        target(d, "dtype")


def constant_of_shape(d: Draft) -> None:
    d.constant(np.array([d.number(1, 3) for _ in range(d.number(0, 2))], np.int64))
    if d.flag():
        dtype = target(d, "value")
        d.attributes["value"] = np.ones(1, dtype.numpy)


def constant(d: Draft) -> None:
    dtype = target(d, "value")
    array = d.array(dtype, tuple(d.number(1, 3) for _ in range(d.number(0, 2))))
    d.attributes["value"] = array


def range_(d: Draft) -> None:
    start = d.number(0, 3)
    d.bind()
    d.constant(start)
    d.constant(start + d.number(1, 5))
    d.constant(d.number(1, 2))


def depth(kind: str) -> Recipe:
    """Between depth and space, in blocks of 2."""

    def recipe(d: Draft) -> None:
        if kind == "depth":
            d.any(4, 4, known=True, ok=lambda shape: shape[1] % 4 == 0, sizes=(4, 4))
            d.attribute("mode", ("DCR", "CRD"))
        else:
            d.any(4, 4, known=True, ok=lambda shape: shape[2] % 2 == 0 == shape[3] % 2, sizes=(2, 2))
        d.attributes["blocksize"] = 2

    return recipe


def center_crop_pad(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    axes = d.axes(len(shape)) if d.flag() else None
    if axes is not None:
        d.attributes["axes"] = axes
    d.constant(np.array([d.number(1, 4) for _ in (axes if axes is not None else shape)], np.int64))


def tensor_scatter(d: Draft) -> None:
    shape = d.any(3, 3, known=True).shape
    axis = d.axis(3, beyond=0) if d.flag() else None
    at = 1 if axis is None else axis
    if at == 0:
        raise Unfit("the batch axis is no sequence")
    size = d.number(1, shape[at])
    d.like(tuple(size if place == at else other for place, other in enumerate(shape)))
    if d.flag():
        d.like((shape[0],), Range(0, shape[at] - size))


RECIPES: dict[str, Recipe] = {
    "Reshape": reshape,
    "Transpose": transpose,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Compress": compress,
    "ReverseSequence": reverse_sequence,
    "OneHot": one_hot,
    "Trilu": trilu,
    "Shape": shape_of,
    "Size": unary,
    "NonZero": non_zero,
    "Unique": unique,
    "EyeLike": eye_like,
    "ConstantOfShape": constant_of_shape,
    "Constant": constant,
    "Range": range_,
    "DepthToSpace": depth("depth"),
    "SpaceToDepth": depth("space"),
    "CenterCropPad": center_crop_pad,
    "TensorScatter": tensor_scatter,
}
