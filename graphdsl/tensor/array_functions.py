"""NumPy's functions on tensors: `np.where(c, t, u)`, `np.concatenate([t, u])` and `np.sum(t)` make nodes.

What tensors have as a method does the same as that method; the others here are composed; all the rest is refused with
what to write, so that none of NumPy's functions ever asks for the values of a tensor.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .calling import emit
from .elementwise import Elementwise, is_operand, refuse, same_dtype
from .sizes import shape_input
from .ufuncs import Ufuncs

_METHODS: dict[str, str] = {
    **{
        name: name
        for name in (
            *("all", "any", "argmax", "argmin", "argsort", "clip", "copy", "cumprod", "cumsum", "diagonal"),
            *("dot", "max", "mean", "min", "nonzero", "prod", "ravel", "repeat", "reshape", "round", "sort", "squeeze"),
            *("std", "sum", "swapaxes", "take", "trace", "transpose", "var"),
        )
    },
    "amax": "max",
    "amin": "min",
    "around": "round",
    "astype": "astype",
}
"""Functions that do what a method does, of the tensor that is their first argument."""

_ATTRIBUTES = {"matrix_transpose": "mT", "ndim": "ndim", "real": "real", "shape": "shape", "size": "size"}
"""Functions that read an attribute."""

_ADVICE: dict[str, str] = {
    "append": "write np.concatenate([a, b], axis=...)",
    "apply_along_axis": "write the function on whole tensors, or op.Scan",
    "argwhere": "write op.Transpose(op.NonZero(t))",
    "array_equal": "write (a == b).all()",
    "array_repr": "write repr(t)",
    "array_str": "write str(t)",
    "array2string": "write str(t), or format what the model returns",
    "average": "write (t * weights).sum() / weights.sum()",
    "bincount": "write op.OneHot(t, depth, [0, 1]).sum(0)",
    "copyto": "a tensor never changes: write np.where(condition, new, t)",
    "cov": "write it with @ and .mean()",
    "cross": "write it with slices of the last axis",
    "diff": "write t[1:] - t[:-1]",
    "fill_diagonal": "a tensor never changes: write np.where(op.EyeLike(t, dtype=gd.bool), value, t)",
    "full": "write op.Expand(value, shape)",
    "in1d": "write (a[:, None] == b).any(-1)",
    "inner": "write a @ b, or np.einsum",
    "interp": "write op.Resize, or op.GridSample",
    "isin": "write (a[..., None] == b).any(-1)",
    "kron": "write np.multiply.outer and reshape",
    "median": "write t.sort() and index it",
    "norm": "write np.sqrt((t * t).sum(axis)), or op.ReduceL2(t, axes)",
    "pad": "write op.Pad(t, [before..., after...], value)",
    "put": "a tensor never changes: write op.ScatterElements(t, indices, values)",
    "put_along_axis": "a tensor never changes: write op.ScatterElements(t, indices, values, axis=axis)",
    "roll": "write np.concatenate([t[-n:], t[:-n]])",
    "rot90": "write np.flip(t.swapaxes(0, 1), 0)",
    "save": "build a model and write model.save(path)",
    "take_along_axis": "write op.GatherElements(t, indices, axis=axis)",
    "tensordot": "write np.einsum",
    "unique": "write op.Unique(t, outputs=n)",
    "vdot": "write (a * b).sum()",
}
"""What to write instead of functions that tensors do not have."""

_COMPOSED: dict[str, Callable[..., Any]] = {}


class ArrayFunctions(Ufuncs):
    """NumPy's functions, called with tensors.

    >>> import graphdsl as gd
    >>> x, y = gd.input("x", gd.float32["n", 3]), gd.input("y", gd.float32["n", 3])
    >>> np.where(x > y, x, 0), np.stack([x, y]), np.sum(x, axis=1)
    (<Tensor float32['n', 3]>, <Tensor float32[2, 'n', 3]>, <Tensor float32['n']>)
    """

    __slots__ = ()

    def __array_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """What NumPy calls for its own functions (NEP 18) of which an argument is, or holds, a tensor."""
        name = function.__name__
        if function.__module__ in ("numpy", "numpy.linalg"):
            if name in _COMPOSED:
                return _COMPOSED[name](*args, **kwargs)
            if args and isinstance(args[0], Elementwise):
                if name in _METHODS:
                    return getattr(args[0], _METHODS[name])(*args[1:], **kwargs)
                if name in _ATTRIBUTES and len(args) == 1 and not kwargs:
                    return getattr(args[0], _ATTRIBUTES[name])
        instead = "write it with the methods and operators of tensors, or with the operators of ONNX, op.X"
        label = f"{function.__module__.replace('numpy', 'np', 1)}.{name}"
        refuse(f"{label} on a tensor", _ADVICE.get(name, instead))


def _composed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function as NumPy's function of the same name; a keyword of NumPy's that it lacks is refused."""
    name = function.__name__
    known = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]

    def checked(*args: Any, **kwargs: Any) -> Any:
        for key in kwargs:
            if key not in known:
                refuse(f"np.{name}(..., {key}=...) on a tensor", "leave it out; a tensor has no such choice")
        return function(*args, **kwargs)

    _COMPOSED[name] = checked
    return function


def _tensors(items: Iterable[Any], what: str) -> list[Any]:
    """Operands as tensors of one dtype; Python numbers and lists adopt that of the first tensor."""
    given = list(items)
    like = next(item for item in given if isinstance(item, Elementwise))
    tensors = [like._tensor(item, what) for item in given]
    same_dtype(what, *tensors)
    return tensors


def _like(*items: Any) -> Any:
    return next(item for item in items if isinstance(item, Elementwise))


@_composed
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """Elements of x where the condition is true, else of y (ONNX Where)."""
    if x is None and y is None:
        return condition.nonzero()
    like = _like(x, y, condition)
    if isinstance(x, Elementwise) or isinstance(y, Elementwise):
        x, y = _tensors((x, y), "np.where")
    mask = like._tensor(condition, "np.where") if isinstance(condition, Elementwise) else np.asarray(condition)
    if isinstance(mask, np.ndarray):
        mask = mask.astype(np.bool_)
    elif mask.dtype.kind != "bool":
        mask = mask != 0
    return like._emit("Where", mask, x, y)


@_composed
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """The slices of a tensor along an axis at which a condition is true (ONNX Compress)."""
    like = _like(a, condition)
    return like._tensor(a, "np.compress").compress(condition, axis)


@_composed
def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    """Tensors joined along an axis (ONNX Concat)."""
    tensors = _tensors(arrays, "np.concatenate")
    if axis is None:
        tensors, axis = [tensor.ravel() for tensor in tensors], 0
    return tensors[0]._emit("Concat", *tensors, axis=operator.index(axis))


@_composed
def stack(arrays: Any, axis: int = 0) -> Any:
    """Tensors joined along a new axis."""
    tensors = _tensors(arrays, "np.stack")
    return concatenate([expand_dims(tensor, axis) for tensor in tensors], axis)


@_composed
def vstack(tup: Any) -> Any:
    """Tensors joined along axis 0, vectors as rows."""
    return concatenate([_rows(tensor) for tensor in _tensors(tup, "np.vstack")])


def _rows(tensor: Any) -> Any:
    rank = tensor._known_rank("np.vstack")
    return tensor if rank > 1 else expand_dims(tensor, tuple(range(2 - rank)))


@_composed
def hstack(tup: Any) -> Any:
    """Tensors joined along axis 1, vectors along their only one."""
    tensors = [t if t._known_rank("np.hstack") else expand_dims(t, 0) for t in _tensors(tup, "np.hstack")]
    return concatenate(tensors, 0 if tensors[0].rank == 1 else 1)


@_composed
def expand_dims(a: Any, axis: Any) -> Any:
    """The tensor with axes of size 1 put in (ONNX Unsqueeze)."""
    axes = [operator.index(i) for i in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    return a._emit("Unsqueeze", a, axes=axes)


@_composed
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """The tensor with axes moved to other places (ONNX Transpose)."""
    rank = a._known_rank("np.moveaxis")
    old, new = a._axes(source, "np.moveaxis"), a._axes(destination, "np.moveaxis")
    if len(old) != len(new):
        refuse(f"np.moveaxis of {len(old)} axes to {len(new)} places", "give as many places as axes")
    order = [i for i in range(rank) if i not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return a.transpose(order)


@_composed
def flip(m: Any, axis: Any = None) -> Any:
    """The tensor with the order along axes reversed."""
    rank = m._known_rank("np.flip")
    axes = range(rank) if axis is None else m._axes(axis, "np.flip")
    return m[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(rank))]


@_composed
def broadcast_to(array: Any, shape: Any) -> Any:
    """The tensor repeated to a shape (ONNX Expand)."""
    dims = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    own = array.shape or ()
    pairs = zip(own[::-1], dims[::-1], strict=False)
    if len(own) > len(dims) or any(isinstance(a, int) and isinstance(b, int) and a not in (1, b) for a, b in pairs):
        refuse(f"np.broadcast_to of {array.type!r} to {tuple(dims)}", "only axes of size 1 can be repeated")
    return array._emit("Expand", array, shape_input(dims))


@_composed
def full_like(a: Any, fill_value: Any, dtype: Any = None) -> Any:
    """A tensor of the same shape with one value (ONNX Expand)."""
    like = a if dtype is None else a.astype(dtype)
    value = like._tensor(fill_value, "np.full_like").astype(like.dtype)
    return a._emit("Expand", value, a._emit("Shape", a))


@_composed
def zeros_like(a: Any, dtype: Any = None) -> Any:
    """A tensor of zeros of the same shape."""
    return full_like(a, False, dtype)


@_composed
def ones_like(a: Any, dtype: Any = None) -> Any:
    """A tensor of ones of the same shape."""
    return full_like(a, True, dtype)


@_composed
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """The parts of a tensor along an axis: that many equal ones (ONNX Split), or those between indices."""
    ary._known_rank("np.split")
    place = ary._axis(axis, "np.split")
    if not isinstance(indices_or_sections, int):
        bounds = [None, *map(operator.index, indices_or_sections), None]
        before = (slice(None),) * place
        return [ary[(*before, slice(a, b))] for a, b in pairwise(bounds)]
    size, parts = ary.shape[place], indices_or_sections
    if not isinstance(size, int) or parts < 1 or size % parts:
        refuse(f"np.split of an axis of size {size} into {parts}", "write op.Split(t, sizes, axis=...) with the sizes")
    values = emit("Split", ary, split=[size // parts] * parts, axis=place)
    return [type(ary)(value) for value in values]


@_composed
def tile(A: Any, reps: Any) -> Any:  # noqa: N803
    """The tensor repeated along its axes (ONNX Tile)."""
    counts = [operator.index(n) for n in (reps if isinstance(reps, (tuple, list)) else (reps,))]
    rank = A._known_rank("np.tile")
    if len(counts) > rank:
        A = expand_dims(A, tuple(range(len(counts) - rank)))  # noqa: N806
    return A._emit("Tile", A, [1] * (rank - len(counts)) + counts)


@_composed
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle of matrices (ONNX Trilu)."""
    return m._emit("Trilu", m, operator.index(k), upper=0)


@_composed
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle of matrices (ONNX Trilu)."""
    return m._emit("Trilu", m, operator.index(k), upper=1)


@_composed
def einsum(*operands: Any) -> Any:
    """A sum of products by Einstein's convention (ONNX Einsum)."""
    equation, *items = operands
    if not isinstance(equation, str):
        refuse("np.einsum with lists of axes", 'write the equation as text, as in np.einsum("ij,jk->ik", a, b)')
    tensors = _tensors(items, "np.einsum")
    return tensors[0]._emit("Einsum", *tensors, equation=equation)


@_composed
def outer(a: Any, b: Any) -> Any:
    """The products of every two elements."""
    first, second = _tensors((a, b), "np.outer")
    return np.multiply.outer(first.ravel(), second.ravel())


@_composed
def det(a: Any) -> Any:
    """The determinants of matrices (ONNX Det)."""
    return a._emit("Det", a)


@_composed
def isclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether elements are equal within `atol + rtol * abs(b)`."""
    x, y = _tensors((a, b), "np.isclose")
    close = ((abs(x - y) <= abs(y) * rtol + atol) & np.isfinite(y)) | (x == y)
    return close | (np.isnan(x) & np.isnan(y)) if equal_nan else close


@_composed
def allclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all elements are close: a bool tensor of no axes."""
    return isclose(a, b, rtol, atol, equal_nan).all()


@_composed
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """How many elements along axes are not zero."""
    truth = a if a.dtype.kind == "bool" else a != 0
    return truth.astype(np.int64).sum(axis, keepdims=keepdims)


@_composed
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """The tensor with NaN and infinities replaced by numbers."""
    if x.dtype.kind != "float":
        return x
    limits = np.finfo(x.dtype.numpy)
    for place, value in (
        (np.isnan(x), nan),
        (x == np.inf, limits.max if posinf is None else posinf),
        (x == -np.inf, limits.min if neginf is None else neginf),
    ):
        x = x._emit("Where", place, x._constant(value), x)
    return x


@_composed
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """Tensors, each repeated to the shape of all together."""
    if not all(is_operand(item) for item in args):
        refuse("np.broadcast_arrays of these", "give tensors and arrays")
    like = _like(*args)
    tensors = [like._tensor(item, "np.broadcast_arrays") for item in args]
    result = []
    for tensor in tensors:
        for other in tensors:
            if other is not tensor:
                tensor = tensor._emit("Expand", tensor, other._emit("Shape", other))
        result.append(tensor)
    return tuple(result)
