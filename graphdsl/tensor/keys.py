"""What stands in the brackets of `t[...]`, read as NumPy reads it: which item goes to which axis."""

import operator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..dims import Axis, Dim
from ..errors import IndexingError
from ..sites import at, caller
from ..types import TensorType
from .handle import Handle
from .sizes import dimension, scalar_of, shape_input

PAST_END = 2**63 - 1
"""A bound of a slice past the end of every axis."""

BEFORE_START = -(2**63)
"""A bound of a slice before the start of every axis."""


class New(NamedTuple):
    """`None`: an axis of size 1 is put in."""


class Kept(NamedTuple):
    """Axes that stay as they are: an ellipsis, or those that the key does not reach; None where the rank is unknown."""

    axes: int | None


class Part(NamedTuple):
    """A slice of one axis as ONNX Slice takes it; a bound is an int, a `Dim` or a tensor."""

    start: Any
    stop: Any
    step: int
    first: tuple[int, int] | None = None
    """A slice with step 1 that must be taken before."""


class At(NamedTuple):
    """One index of one axis: an int or a scalar tensor."""

    place: Any


class Pick(NamedTuple):
    """Several indices of one axis: an int64 array or an integer tensor, with its rank."""

    indices: Any
    rank: int


class Mask(NamedTuple):
    """A bool array or tensor over as many axes as its rank."""

    mask: Any
    rank: int


Item = New | Kept | Part | At | Pick | Mask


def read(key: Any, kind: TensorType) -> list[tuple[int, Item]]:
    """The items of a key for a tensor of this type, each with the axis of the tensor where it starts.

    Raises:
        IndexingError: the key is no index, has too many items, or an index is out of range.
    """
    entries = list(key) if isinstance(key, tuple) else [key]
    gaps = [i for i, entry in enumerate(entries) if entry is Ellipsis]
    if len(gaps) > 1:
        no_index("an index has one ellipsis ('...') at the most")
    items = [_item(entry) for entry in entries]
    gap = gaps[0] if gaps else len(items)
    if not gaps:
        items.append(Kept(None))
    if kind.shape is not None:
        used = sum(map(_width, items))
        if used > len(kind.shape):
            no_index(f"too many indices for {kind!r}: {used} for {len(kind.shape)} dimensions")
        items[gap] = Kept(len(kind.shape) - used)
    elif any(_width(item) for item in items[gap:]):
        no_index(
            f"an index after '...' needs the number of dimensions, which {kind!r} does not say; declare them where the "
            "tensor enters, as in gd.float32['n', None]"
        )
    placed: list[tuple[int, Item]] = []
    axis = 0
    for item in items:
        placed += _fitted(item, axis, kind)
        axis += _width(item)
    return placed


def _width(item: Any) -> int:
    """How many axes of the tensor an item takes."""
    match item:
        case New():
            return 0
        case Kept(axes):
            return axes or 0
        case Mask(_, rank):
            return rank
    return 1


def _item(entry: Any) -> Any:
    """One entry of a key, before it is known which axis it is for; a slice stays a slice."""
    if type(entry) is int:
        return At(entry)
    if entry is None:
        return New()
    if entry is Ellipsis:
        return Kept(None)
    if isinstance(entry, slice):
        return entry
    if isinstance(entry, Dim):
        return At(scalar_of(dimension(entry)))
    if isinstance(entry, Handle):
        return _tensor(entry)
    if isinstance(entry, (list, tuple)) and any(isinstance(e, (Handle, Dim)) for e in entry):
        return Pick(shape_input(entry), 1)
    if not isinstance(entry, (bool, int, list, tuple, np.ndarray, np.generic)):
        try:
            return At(operator.index(entry))
        except TypeError:
            _wrong(entry)
    try:
        array = np.asarray(entry)
    except ValueError:
        no_index(f"{entry!r} is no index: its rows differ in length")
    if array.size == 0 and isinstance(entry, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind == "b":
        return _mask(array, array.ndim)
    if array.dtype.kind not in "iu":
        _wrong(entry)
    return Pick(array.astype(np.int64), array.ndim) if array.ndim else At(int(array))


def index_array(indices: Any) -> Any:
    """The indices of `take`: an int, an int64 array or an integer tensor.

    Raises:
        IndexingError: they are nothing of the kind.
    """
    item = _item(indices)
    if isinstance(item, At):
        return item.place
    return item.indices if isinstance(item, Pick) else _wrong(indices)


def _wrong(entry: Any) -> NoReturn:
    shown = repr(entry)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    no_index(
        "a tensor is indexed by integers, slices, '...', None, and arrays or tensors of integers or bool, "
        f"not by {shown} ({type(entry).__name__})"
    )


def _tensor(entry: Any) -> Item:
    of = entry.type
    if not isinstance(of, TensorType) or of.dtype.kind not in ("bool", "int", "uint"):
        no_index(f"an index tensor has integers or bool, not {of!r}; write i.astype(gd.int64)")
    if of.shape is None:
        no_index(f"an index tensor has a known rank, and {of!r} has not; write i.reshape(...) with all its dimensions")
    rank = len(of.shape)
    if of.dtype.kind == "bool":
        return _mask(entry, rank)
    index = entry if of.dtype in (np.int32, np.int64) else entry.astype(np.int64)
    return Pick(index, rank) if rank else At(index)


def _mask(mask: Any, rank: int) -> Mask:
    if not rank:
        no_index("a single bool is no index here; write t[None] for True, op.If to choose when the model runs")
    return Mask(mask, rank)


def _fitted(item: Any, axis: int, kind: TensorType) -> list[tuple[int, Item]]:
    """An item checked against the axes it is for, and in the form that ONNX takes."""
    size = kind.shape[axis] if kind.shape is not None and axis < len(kind.shape) else None
    match item:
        case slice():
            return [(axis, _part(item, size))]
        case At(place):
            return [(axis, At(in_range(place, axis, size, kind)))]
        case Pick(indices, rank):
            return [(axis, Pick(in_range(indices, axis, size, kind), rank))]
        case Mask(mask, rank):
            have = mask.shape
            want = kind.shape[axis : axis + rank] if kind.shape is not None else (None,) * rank
            for i, (a, b) in enumerate(zip(have, want, strict=True)):
                if isinstance(a, int) and isinstance(b, int) and a != b:
                    no_index(f"the mask has size {a} where axis {axis + i} of {kind!r} has {b}")
            if isinstance(mask, np.ndarray):  # its indices are known now, and so is how many there are
                return [(axis + i, Pick(found, 1)) for i, found in enumerate(mask.nonzero())]
    return [(axis, item)]


def in_range(indices: Any, axis: int, size: Axis, kind: TensorType) -> Any:
    """Indices of an axis, those known now counted from the front where the size is known.

    Raises:
        IndexingError: one is out of range.
    """
    known = indices.value if isinstance(indices, Handle) else indices
    if known is None or not isinstance(size, int):
        return indices
    if isinstance(known, int):
        if not -size <= known < size:
            _out_of_range(known, axis, kind)
        return known % size
    wrong = known.ravel()[((known < -size) | (known >= size)).ravel()]
    if wrong.size:
        _out_of_range(int(wrong[0]), axis, kind)
    return indices if isinstance(indices, Handle) else np.where(known < 0, known + size, known)


def _out_of_range(index: int, axis: int, kind: TensorType) -> NoReturn:
    assert kind.shape is not None
    no_index(f"index {index} is out of range for axis {axis} of {kind!r}, whose size is {kind.shape[axis]}")


def _part(key: slice, size: Axis) -> Item:
    """A slice in the form that ONNX takes."""
    start, stop = _bound(key.start, "start"), _bound(key.stop, "stop")
    step = 1 if key.step is None else _bound(key.step, "step")
    if not isinstance(step, int):
        no_index("the step of a slice is known when the graph is written; write op.Slice for one that is not")
    if step == 0:
        no_index("the step of a slice is not 0")
    if isinstance(size, int) and isinstance(start, int | None) and isinstance(stop, int | None):
        return _known_part(slice(start, stop, step), size)
    if step > 0:
        start = 0 if start is None else start
        stop = PAST_END if stop is None or (isinstance(stop, Dim) and stop == size) else stop
        whole = isinstance(start, int) and start == 0 and isinstance(stop, int) and stop == PAST_END and step == 1
        return Kept(1) if whole else Part(start, stop, step)
    return _backward(start, stop, step)


def _known_part(key: slice, size: int) -> Item:
    start, stop, step = key.indices(size)
    count = len(range(start, stop, step))
    if count == size and step == 1:
        return Kept(1)
    if not count:
        return Part(0, 0, 1)
    return Part(start, BEFORE_START if stop < 0 else stop, step)


def _backward(start: Any, stop: Any, step: int) -> Item:
    """A slice with a negative step of an axis whose size is not known."""
    if stop is None:
        stop = BEFORE_START
    elif isinstance(stop, int) and stop in (2**31 - 1, PAST_END):
        stop += 1 if stop < PAST_END else -1  # ONNX Runtime takes these two for BEFORE_START (docs/upstream.md)
    if start is None or (isinstance(start, int) and start == -1):
        return Part(PAST_END, stop, step)
    if isinstance(start, int) and start >= 0:
        return Part(start, stop, step)
    if not isinstance(start, int) or not isinstance(stop, int):
        no_index(
            "a slice with a negative step of an axis of unknown size starts at an int; cut first, as in t[:n][::-1]"
        )
    # ONNX would move a start before the first element onto it, where Python finds nothing: cut the end off first
    first = (0, start + 1)
    if stop >= 0 or stop == BEFORE_START:
        return Part(PAST_END, stop, step, first)
    return Part(PAST_END, stop - start - 1, step, first) if stop < start else Part(0, 0, 1)


def _bound(bound: Any, which: str) -> Any:
    if bound is None or isinstance(bound, Dim):
        return bound
    if isinstance(bound, Handle):
        of = bound.type
        if not isinstance(of, TensorType) or of.dtype.kind not in ("int", "uint") or of.shape != ():
            no_index(f"the {which} of a slice is an integer scalar, not {of!r}; write i.astype(gd.int64).reshape(())")
        return bound
    try:
        return max(BEFORE_START + 1, min(operator.index(bound), PAST_END))
    except TypeError:
        no_index(f"the {which} of a slice is an int, None, a dimension or an integer scalar, not {bound!r}")


def no_index(problem: str) -> NoReturn:
    """Raise the error of an index that does not fit."""
    raise IndexingError(problem + at(caller()))
