"""NumPy's indexing, and its methods that pick elements by index."""

from typing import Any, NoReturn, Self

import numpy as np

from ..types import TensorType, same_dims
from .elementwise import refuse
from .handle import Handle
from .keys import At, Item, Kept, Mask, New, Part, Pick, in_range, index_array, no_index, read
from .reducing import Reducing, no_keywords
from .sizes import axis_size, scalar_of, shape_input

_NO_STORE = (
    "write op.Where(mask, value, t) for a mask, op.ScatterND(t, indices, value) for index arrays, or op.Concat of the "
    "parts before and after a slice"
)


class Indexing(Reducing):
    """`t[...]` and the methods `take`, `compress`, `nonzero`, `repeat`, `diagonal` and `trace`."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Self:
        """Elements by NumPy's rules: integers, slices, `...`, None, integer arrays and tensors, and masks.

        An integer or one index array is a Gather, slices are one Slice, None is an Unsqueeze, several index arrays are
        a GatherND, a mask is a Compress or NonZero and GatherND.

        >>> import graphdsl as gd
        >>> x = gd.input("x", gd.float32["n", 5, 6])
        >>> x[0, ::-2], x[..., [0, 2, -1]], x[None, :, 1:3, 0]
        (<Tensor float32[3, 6]>, <Tensor float32['n', 5, 3]>, <Tensor float32[1, 'n', 2]>)

        Raises:
            IndexingError: the key is no index, has too many items, or an index is out of range.
        """
        kind = self._v.type
        if kind is None:
            refuse("indexing a tensor of unknown type", "declare what makes it with @gd.custom_op and a type rule")
        if not isinstance(kind, TensorType):
            refuse(f"indexing {kind!r}, which is no tensor", "write op.SequenceAt(s, i) for a sequence")
        placed = read(key, kind)
        taken = [axis for axis, item in placed if isinstance(item, At)]
        result = self
        for axis, item in reversed(placed):  # from the last axis on, so that the numbers of the others stay
            if isinstance(item, At):
                result = result._emit("Gather", result, item.place, axis=axis)
        rest = [(axis - sum(t < axis for t in taken), item) for axis, item in placed]
        result = result._sliced([(axis, item) for axis, item in rest if isinstance(item, Part)])
        picks = [(axis, item) for axis, item in rest if isinstance(item, (Pick, Mask))]
        items = [item for _, item in placed]
        if not picks:
            return result._expanded(items, None, 0)
        block, lead = _block(items)
        result, width = result._picked(picks, lead)
        found: Self = result._expanded(items, block, width)
        return found

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        refuse("t[i] = value: a tensor never changes", _NO_STORE)

    def __delitem__(self, key: Any) -> NoReturn:
        refuse("del t[i]: a tensor never changes", "select what stays, as in t[keep]")

    def _sliced(self, parts: list[tuple[int, Part]]) -> Self:
        first = [(axis, Part(*part.first, 1)) for axis, part in parts if part.first is not None]
        result = self._sliced(first) if first else self
        if not parts:
            return result
        steps = [part.step for _, part in parts]
        return result._emit(
            "Slice",
            result,
            starts=shape_input([part.start for _, part in parts]),
            ends=shape_input([part.stop for _, part in parts]),
            axes=[axis for axis, _ in parts],
            steps=None if steps == [1] * len(steps) else steps,
        )

    def _picked(self, picks: list[tuple[int, Any]], lead: int) -> tuple[Any, int]:
        """Elements by index arrays and masks, whose own axes come after `lead` others; and how many axes those are."""
        (axis, only), *more = picks
        if not more and (isinstance(only, Pick) or only.rank == 1):
            if isinstance(only, Pick):
                result, width = self._emit("Gather", self, only.indices, axis=axis), only.rank
            else:
                result, width = self._emit("Compress", self, only.mask, axis=axis), 1
            return result._moved(axis, lead, width), width
        axes = [axis + i for axis, item in picks for i in range(item.rank if isinstance(item, Mask) else 1)]
        indices, width = _stacked(self, [item for _, item in picks])
        front = self
        if axes != list(range(len(axes))):
            others = [i for i in range(self._known_rank("index arrays behind other axes")) if i not in axes]
            front = self._emit("Transpose", self, perm=[*axes, *others])
        result = front._emit("GatherND", front, indices)
        return result._moved(0, lead, width), width

    def _moved(self, start: int, to: int, width: int) -> Self:
        """With `width` neighbouring axes moved, so that they begin elsewhere."""
        if start == to:
            return self
        order = list(range(self._known_rank("index arrays parted by slices")))
        block = order[start : start + width]
        others = [i for i in order if i not in block]
        return self._emit("Transpose", self, perm=[*others[:to], *block, *others[to:]])

    def _expanded(self, items: list[Item], block: int | None, width: int) -> Self:
        """With the new axes of a key; the axes of its index arrays come before item `block`."""
        axes: list[int] = []
        place = 0
        for i, item in enumerate(items):
            if i == block:
                place += width
            match item:
                case New():
                    axes.append(place)
                    place += 1
                case Kept(None):  # of a tensor of unknown rank: new axes behind it are counted from the end
                    axes += range(i + 1 - len(items), 0)
                    break
                case Kept(int() as kept):
                    place += kept
                case Part():
                    place += 1
        return self._emit("Unsqueeze", self, axes=axes) if axes else self

    def take(self, indices: Any, axis: int | None = None, *, mode: str = "raise", out: None = None) -> Self:
        """Elements by index along an axis, or of `ravel()` (ONNX Gather); negative indices count from the end.

        >>> import graphdsl as gd
        >>> gd.input("x", gd.float32["n", 3]).take([2, 0], axis=1)
        <Tensor float32['n', 2]>

        Raises:
            IndexingError: an index is known now and out of range.
        """
        no_keywords("take", {"out": out})
        if mode != "raise":
            refuse(f"take(mode={mode!r})", "write t.take(i % n) for 'wrap', t.take(i.clip(0, n - 1)) for 'clip'")
        if axis is None:
            return self.ravel().take(indices, 0)
        along = self._axis(axis, "take")
        kind = self._v.type
        assert isinstance(kind, TensorType)
        found: Any = index_array(indices)
        size = None if kind.shape is None else kind.shape[along]
        return self._emit("Gather", self, in_range(found, along, size, kind), axis=along)

    def compress(self, condition: Any, axis: int | None = None, *, out: None = None) -> Self:
        """The elements along an axis, or of `ravel()`, where a condition of one axis holds (ONNX Compress)."""
        no_keywords("compress", {"out": out})
        if not isinstance(condition, Handle):
            return self.take(np.asarray(condition).astype(bool).nonzero()[0], axis)
        if condition.dtype.kind != "bool" or condition.rank not in (1, None):
            refuse(f"compress() by {condition.type!r}", "the condition is a bool tensor of one axis")
        along = None if axis is None else self._axis(axis, "compress")
        return self._emit("Compress", self, condition, axis=along)

    def nonzero(self) -> tuple[Any, ...]:
        """The int64 indices of the elements that are not zero, one tensor per axis (ONNX NonZero)."""
        rank = self._known_rank("nonzero() (write op.NonZero(t))")
        if not rank:
            refuse("nonzero() of a scalar", "write t.reshape(1).nonzero()")
        return _rows(self, rank)

    def repeat(self, repeats: Any, axis: int | None = None) -> Self:
        """Each element along an axis, or of `ravel()`, several times in a row (ONNX Gather).

        `repeats` is an int or, where the size of the axis is known, one int for each element.
        """
        if axis is None:
            return self.ravel().repeat(repeats, 0)
        along = self._axis(axis, "repeat")
        if isinstance(repeats, Handle):
            refuse("repeat() as often as a tensor says", "write t.take(indices, axis=axis) with the indices to repeat")
        counts = np.asarray(repeats)
        if counts.dtype.kind not in "iu" or counts.ndim > 1 or (counts < 0).any():
            refuse(f"repeat({repeats!r})", "write how often as an int, or as a list of ints")
        size = None if self.shape is None else self.shape[along]
        if isinstance(size, int):
            if counts.ndim and counts.size not in (1, size):
                no_index(f"repeat: {counts.size} counts for axis {along} of {self.type!r}")
            index: Any = np.repeat(np.arange(size), counts)
        elif counts.size != 1:
            refuse("repeat() by a list of counts along an axis of unknown size", "write an int, or t.take(indices)")
        else:
            self._known_rank("repeat")
            count = int(counts.reshape(()))
            index = _range(scalar_of(axis_size(self._v, along)) * count) // max(count, 1)
        return self._emit("Gather", self, index, axis=along)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Self:
        """The diagonal of two axes, as the last axis of the result; `offset` above the main one (ONNX GatherND)."""
        rank = self._known_rank("diagonal")
        first, second = self._axes((axis1, axis2), "diagonal")
        others = [i for i in range(rank) if i not in (first, second)]
        rows, columns = max(0, -offset), max(0, offset)
        shape = self.shape or ()
        height, width = shape[first], shape[second]
        steps: Any
        if isinstance(height, int) and isinstance(width, int):
            steps = np.arange(max(0, min(height - rows, width - columns)))
        else:
            sizes = [scalar_of(axis_size(self._v, i)) for i in (first, second)]
            least = self._emit("Min", sizes[0] - rows, sizes[1] - columns)
            steps = _range(least)
        picked = self.transpose([first, second, *others])[steps + rows, steps + columns]
        return picked._moved(0, rank - 2, 1)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, *, dtype: Any = None, out: None = None) -> Self:
        """The sum of `diagonal`, in the tensor's own dtype."""
        no_keywords("trace", {"out": out})
        return self.diagonal(offset, axis1, axis2).sum(-1, dtype=dtype)


def _block(items: list[Item]) -> tuple[int, int]:
    """Before which item the axes of the index arrays come in the result, and behind how many axes that are kept.

    They take the place of the arrays where those stand side by side (integers count as arrays then), else the front.
    """
    arrays = [i for i, item in enumerate(items) if isinstance(item, (Pick, Mask, At))]
    block = arrays[0] if arrays[-1] - arrays[0] == len(arrays) - 1 else 0
    kept = [1 if isinstance(item, Part) else item.axes for item in items[:block] if isinstance(item, (Kept, Part))]
    return block, sum(count or 0 for count in kept)


def _rows(condition: Any, rank: int) -> tuple[Any, ...]:
    """The indices of true elements, one tensor per axis."""
    truth = condition.astype(np.bool_)
    found = truth._emit("NonZero", truth)
    return tuple([found._emit("Gather", found, np.int64(i), axis=0) for i in range(rank)])


def _range(stop: Any) -> Any:
    """The integers from 0 to a scalar tensor."""
    return stop._emit("Range", np.int64(0), stop, np.int64(1))


def _stacked(tensor: Any, picks: list[Any]) -> tuple[Any, int]:
    """Index arrays and masks as one input of GatherND, of shape `(*common, arrays)`, and the rank of `common`."""
    if len(picks) == 1:  # a mask
        mask = picks[0].mask
        found = mask._emit("NonZero", mask)
        return found._emit("Transpose", found, perm=[1, 0]), 1
    arrays: list[Any] = []
    width = 1
    for pick in picks:
        if isinstance(pick, Mask):
            arrays += _rows(pick.mask, pick.rank)
        else:
            arrays.append(pick.indices)
            width = max(width, pick.rank)
    arrays = _broadcast(tensor, [array.astype(np.int64) for array in arrays])
    if not any(isinstance(array, Handle) for array in arrays):
        return np.stack(arrays, -1), width
    columns = [tensor._emit("Unsqueeze", array, axes=[width]) for array in arrays]
    return tensor._emit("Concat", *columns, axis=width), width


def _broadcast(tensor: Any, arrays: list[Any]) -> list[Any]:
    """Index arrays and tensors in their common shape."""
    shapes = [array.shape for array in arrays]
    if all(same_dims(shape, shapes[0]) for shape in shapes):
        return arrays
    if all(isinstance(dim, int) for shape in shapes for dim in shape):
        try:
            common: Any = np.broadcast_shapes(*shapes)
        except ValueError:
            no_index(f"index arrays of shapes {', '.join(map(str, shapes))} have no common shape")
        return [
            array
            if array.shape == common
            else tensor._emit("Expand", array, common)
            if isinstance(array, Handle)
            else np.broadcast_to(array, common)
            for array in arrays
        ]
    whole, *others = arrays
    for other in others:
        whole = tensor._emit("Expand", whole, _shape(tensor, other))
    common = _shape(tensor, whole)
    return [tensor._emit("Expand", array, common) for array in arrays]


def _shape(tensor: Any, array: Any) -> Any:
    return tensor._emit("Shape", array) if isinstance(array, Handle) else array.shape
