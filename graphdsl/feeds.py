"""What a model is given to run on: checked against its inputs, every problem found named, before a runtime sees it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .dims import Dim
from .errors import FeedError, SignatureError, TypeSpecError, nearest
from .ir import Input
from .sites import at, caller
from .tensor.handle import Handle
from .tensor.lifting import adopt
from .types import DTYPES, DType, MapType, OptionalType, SequenceType, TensorType, Type, as_dtype, string

FOREIGN = frozenset(dtype.numpy for dtype in DTYPES if dtype.numpy.type.__module__ != "numpy")
"""The dtypes that NumPy, and so ONNX Runtime's Python API, lacks."""

_PYTHON = (bool, int, float, complex, str, bytes, list, tuple)


class _Unfit(Exception):
    """Why a value is not one that its input takes."""


def by_name(inputs: Sequence[Input], given: Sequence[Any], named: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The arguments of a call by the names of the inputs that they are for.

    Raises:
        FeedError: there are too many, or one is given twice.
    """
    names = [value.name or "" for value in inputs]
    if len(given) > len(names):
        takes = f"{len(names)} input{'' if len(names) == 1 else 's'} ({', '.join(names)})" if names else "no inputs"
        raise FeedError(f"{label} takes {takes}, got {len(given)}" + at(caller()))
    for item in given:
        if isinstance(item, Mapping) and any(name in names for name in item):
            raise FeedError(f"{label} is called on arrays; with a dict by name, write model.run(feeds)" + at(caller()))
    feeds: dict[str, Any] = dict(zip(names, given, strict=False))
    twice = [name for name in named if name in feeds]
    if twice:
        raise FeedError(f"{label}: input {twice[0]!r} is given by place and by name" + at(caller()))
    return feeds | dict(named)


def report(problems: Sequence[str], label: str) -> None:
    """Raise the error of what was found, all of it, if anything was.

    Raises:
        FeedError: there are problems.
    """
    if problems:
        head = f"{label}: " if len(problems) == 1 else f"{label}:\n  "
        raise FeedError(head + "\n  ".join(problems) + at(caller()))


def check_names(inputs: Sequence[Input], feeds: Mapping[str, Any], needed: Iterable[Input]) -> list[str]:
    """What is wrong with the names of the feeds: unknown ones, and inputs that are needed and not there."""
    names = [value.name or "" for value in inputs]
    problems = []
    for name in feeds:
        if name not in names:
            takes = f"it takes {', '.join(map(repr, names))}" if names else "it takes none"
            problems.append(f"there is no input {name!r}{nearest(str(name), names)}; {takes}")
    return problems + [
        f"input {value.name!r} ({value.type!r}) is missing"
        for value in needed
        if value.name not in feeds and value.default is None and not isinstance(value.type, OptionalType)
    ]


def checked(
    inputs: Sequence[Input],
    feeds: Mapping[str, Any],
    label: str,
    *,
    needed: Iterable[Input] | None = None,
    symbols: bool = True,
) -> dict[str, Any]:
    """The feeds as arrays of the declared dtypes (lists for sequences, None for an absent optional), by input name.

    Python numbers, text and lists adopt the input's dtype; arrays keep theirs. Inputs that have a default, or that are
    not `needed`, may be left out. With `symbols`, dimensions of one name must be of one size.

    Raises:
        FeedError: they do not fit the inputs; the message names every problem.
    """
    problems = check_names(inputs, feeds, inputs if needed is None else needed)
    result: dict[str, Any] = {}
    sizes: dict[str, tuple[int, str]] = {}
    computed: list[tuple[Dim, int, str]] = []
    for value in inputs:
        name = value.name or ""
        if name in feeds:
            try:
                result[name] = _fit(feeds[name], value.type, name)
            except _Unfit as unfit:
                problems.append(str(unfit))
                continue
        elif isinstance(value.type, OptionalType):
            result[name] = None
        if symbols and isinstance(value.type, TensorType) and value.type.shape:
            array = result.get(name, value.default)
            if array is not None:
                problems += _same_sizes(value.type.shape, array.shape, name, sizes, computed)
    report(problems + _computed_sizes(sizes, computed), label)
    return result


def _fit(value: Any, kind: Type | None, name: str) -> Any:
    """A value as the runtime takes it for an input of this type."""
    if isinstance(value, Handle):
        raise _Unfit(f"input {name!r}: got a tensor of a graph; run takes arrays, and model(...) takes tensors")
    if isinstance(kind, TensorType):
        return _array(value, kind, name)
    if isinstance(kind, OptionalType):
        return None if value is None else _fit(value, kind.element, name)
    if isinstance(kind, SequenceType):
        if not isinstance(value, (list, tuple)):
            raise _Unfit(f"input {name!r} is {kind!r}: a list of arrays, got {_shown(value)}")
        if isinstance(kind.element, TensorType) and kind.element.dtype.numpy in FOREIGN and value:
            raise _Unfit(f"input {name!r} is {kind!r}, and ONNX Runtime's Python API takes no lists of such arrays")
        return [_fit(item, kind.element, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(kind, MapType):
        if not isinstance(value, Mapping):
            raise _Unfit(f"input {name!r} is {kind!r}: a dict, got {_shown(value)}")
        return dict(value)
    if kind is None:
        return np.asarray(value)
    raise _Unfit(f"input {name!r} is {kind!r}, and ONNX Runtime's Python API takes no values of this type")


def _array(value: Any, kind: TensorType, name: str) -> np.ndarray:
    wanted = kind.dtype
    if type(value) is np.ndarray and value.dtype == wanted.numpy and wanted is not string:
        _check_shape(value.shape, kind, name)
        return value
    array = _adopted(value, kind, name) if isinstance(value, _PYTHON) else _own(value, kind, name)
    if wanted is string:
        array = _text(array, kind, name)
    else:
        try:
            dtype: DType | None = as_dtype(array.dtype)
        except TypeSpecError:
            dtype = None
        if dtype is not wanted:
            write = f"{name if name.isidentifier() else 'array'}.astype({_numpy_name(wanted)})"
            raise _Unfit(f"input {name!r} is {kind!r}, got {_an(array.dtype.name)} array; write {write}")
        if not array.dtype.isnative:  # which the runtime would read as if it were
            array = array.astype(wanted.numpy)
    _check_shape(array.shape, kind, name)
    return array


def _adopted(value: Any, kind: TensorType, name: str) -> np.ndarray:
    """A Python number, text or list as an array of the input's dtype."""
    try:
        if kind.dtype is string:
            return np.array(value, dtype=object)
        array = adopt(value, kind.dtype).array
    except (SignatureError, ValueError, TypeError, OverflowError):
        raise _Unfit(f"input {name!r} is {kind!r}, which cannot hold {_shown(value)}") from None
    assert array is not None
    return array


def _own(value: Any, kind: TensorType, name: str) -> np.ndarray:
    """An array, or what can be read as one, in its own dtype."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise _Unfit(f"input {name!r}: got a masked array, whose mask would be lost; write {name}.filled(...)")
    if not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "__array__"):
        raise _Unfit(f"input {name!r} is {kind!r}, got {_shown(value)}")
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _Unfit(f"input {name!r}: {type(value).__name__} cannot be read as an array: {error}") from None


def _text(array: np.ndarray, kind: TensorType, name: str) -> np.ndarray:
    """An array of text as the runtime takes it: Python `str` objects."""
    if array.dtype.kind not in "OUST":
        raise _Unfit(f"input {name!r} is {kind!r}, got {_an(array.dtype.name)} array; it takes str objects")
    result = np.empty(array.shape, dtype=object)
    for place, item in np.ndenumerate(array):
        if isinstance(item, bytes):
            try:
                item = item.decode()
            except UnicodeDecodeError:
                raise _Unfit(f"input {name!r}: {_shown(item)} is not UTF-8, which ONNX text is") from None
        elif not isinstance(item, str):
            raise _Unfit(f"input {name!r} is {kind!r}, got {_shown(item)} in the array; it takes str objects")
        result[place] = item
    return result


def _check_shape(shape: tuple[int, ...], kind: TensorType, name: str) -> None:
    if kind.shape is None:
        return
    if len(shape) != len(kind.shape):
        raise _Unfit(
            f"input {name!r} is {kind!r}, got shape {shape}: {len(shape)} dimension{'' if len(shape) == 1 else 's'}, "
            f"not {len(kind.shape)}"
        )
    for axis, (wanted, size) in enumerate(zip(kind.shape, shape, strict=True)):
        if isinstance(wanted, int) and wanted != size:
            raise _Unfit(f"input {name!r} is {kind!r}, got shape {shape}: dimension {axis} is {size}, not {wanted}")


def _same_sizes(
    dims: tuple[Any, ...],
    shape: tuple[int, ...],
    name: str,
    sizes: dict[str, tuple[int, str]],
    computed: list[tuple[Dim, int, str]],
) -> list[str]:
    """Bind the named dimensions of one input; what differs from an earlier one is a problem."""
    problems = []
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        where = f"in input {name!r} (dimension {axis})"
        if not isinstance(dim, Dim):
            continue
        if not dim.is_symbol:
            computed.append((dim, size, where))
            continue
        first, place = sizes.setdefault(dim.text, (size, where))
        if first != size:
            problems.append(f"dimension {dim.text!r} is {first} {place}, but {size} {where}")
    return problems


def _computed_sizes(sizes: Mapping[str, tuple[int, str]], computed: Iterable[tuple[Dim, int, str]]) -> list[str]:
    """The dimensions given as expressions (`2*n`) that do not come out as the sizes of the named ones say."""
    known = {name: size for name, (size, _) in sizes.items()}
    problems = []
    for dim, size, where in computed:
        try:
            wanted = dim.substitute(known)
        except ZeroDivisionError:
            continue
        if isinstance(wanted, int) and wanted != size:
            because = ", ".join(f"{name!r} is {known[name]}" for name in sorted(dim.symbols))
            problems.append(f"dimension {dim.text!r} is {size} {where}, not {wanted}: {because}")
    return problems


def _numpy_name(dtype: DType) -> str:
    module = "np" if dtype.numpy.type.__module__ == "numpy" else "ml_dtypes"
    return f"{module}.{dtype.numpy.name}"


def _an(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" and not name.startswith("uint") else f"a {name}"


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
