"""`verify.tensors`: arrays of a type, edge values included, that shrink to few zeros.

The values of a dtype lie in a pool of boxes, simplest first. An array is one draw of bytes, two for each element: which
box, and which value in it. This costs Hypothesis one choice for the whole array, and smaller bytes are simpler values.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from ..dims import Dim
from ..errors import SignatureError, nearest
from ..sites import at, caller
from ..types import DType, MapType, OptionalType, SequenceType, TensorType, Type, as_type, tensor_type
from .choices import Chooser, Drawn, assume

EDGES = ("nan", "infinity", "negative_zero", "subnormal", "extreme", "empty", "one")
"""What can be left out: values of floats, the ends of a dtype's range, sizes of 0 and of 1."""

LARGEST = 4
"""The largest size that a dimension without a known one gets, unless asked otherwise."""

_DRAWN = 64
"""An array of more elements is made of this many drawn ones, in an order that looks random."""

_SHARED = 16
"""How many ordinary values share a box."""

_FIRST = 4
"""How many of a dtype's edges are drawn more often than the rest: the negative zero, infinities and NaN."""

_WHOLES = range(1, 17)

_WORDS = ("", "a", "b", "A", "ab", " ", "0", "1.5", "é", "a b", "a b a", "nan", "-1", "\n", "日本", "x" * 40)


class Range(NamedTuple):
    """The values that are allowed, from the least to the greatest, both included; None where there is no bound."""

    low: float | None = None
    high: float | None = None
    nonzero: bool = False
    distinct: bool = False
    """Whether no value may come twice, of a small range of integers."""
    line: int | None = None
    """An axis along which no value may come twice, counted from the front; those below 0 count from the end."""
    grid: tuple[int, ...] = ()
    """The sizes of axes in which each row of the last axis is a place; no place may come twice."""

    @property
    def apart(self) -> bool:
        """Whether values depend on each other, so that they are not drawn one by one."""
        return self.distinct or self.line is not None or bool(self.grid)

    @property
    def alone(self) -> "Range":
        """The values that are allowed whatever the others are: along any axis of a grid; distinct ones stay so."""
        high = min(self.grid) - 1 if self.grid else self.high
        return self._replace(high=high, line=None, grid=())


ANY = Range()


def tensors(
    type: Any,
    *,
    without: Iterable[str] = (),
    low: float | None = None,
    high: float | None = None,
    sizes: Mapping[str, int] | None = None,
    largest: int = LARGEST,
) -> st.SearchStrategy[Any]:
    """Arrays of a type, as a Hypothesis strategy; lists of them for sequences, None or a value for optionals.

    >>> import numpy as np
    >>> import graphdsl as gd
    >>> from graphdsl import verify
    >>> from hypothesis import find
    >>> find(verify.tensors(gd.float32["n", 1]), lambda x: np.isnan(x).any())
    array([[nan]], dtype=float32)

    Args:
        type: A type as `gd.input` takes it. Named and unknown dimensions get sizes, a type of unknown rank gets one.
        without: Which edges to leave out: "nan", "infinity", "negative_zero", "subnormal", "extreme" (the ends of the
            range, and the smallest normal number), "empty" (sizes of 0), "one" (drawn sizes of 1).
        low, high: Bounds of the values, both included; infinities and NaN are then left out.
        sizes: Sizes of named dimensions.
        largest: The largest size that is drawn.

    Raises:
        TypeSpecError: the type cannot be read.
        SignatureError: there is no such edge, or no value within the bounds.
    """
    kind = as_type(type)
    left_out = edges(without)
    _pools(kind, left_out, Range(low, high))  # a range without values is told here, not while drawing
    return _arrays(kind, left_out, Range(low, high), dict(sizes or {}), largest)


def edges(names: Iterable[str]) -> frozenset[str]:
    """Names of edges, checked."""
    given = frozenset([names] if isinstance(names, str) else names)
    for name in sorted(given - set(EDGES)):
        raise SignatureError(
            f"there is no edge {name!r}{nearest(name, EDGES)}; there are {', '.join(map(repr, EDGES))}" + at(caller())
        )
    return given


@st.composite
def _arrays(
    draw: st.DrawFn, kind: Type, without: frozenset[str], within: Range, sizes: dict[str, int], largest: int
) -> Any:
    return value(Drawn(draw), kind, without, within, dict(sizes), largest)


def value(
    source: Chooser,
    kind: Type,
    without: frozenset[str] = frozenset(),
    within: Range = ANY,
    sizes: dict[str, int] | None = None,
    largest: int = LARGEST,
) -> Any:
    """Draw a value of a type. Named dimensions that `sizes` lacks are drawn and put there."""
    sizes = {} if sizes is None else sizes
    if isinstance(kind, TensorType):
        return array(source, kind.dtype, shape(source, kind, without, sizes, largest), without, within)
    if isinstance(kind, SequenceType):
        count = source.between(0 if "empty" not in without else 1, 3)
        return [value(source, kind.element, without, within, sizes, largest) for _ in range(count)]
    if isinstance(kind, OptionalType):
        return value(source, kind.element, without, within, sizes, largest) if source.flag() else None
    if isinstance(kind, MapType):
        keys = array(source, kind.key, (source.between(1, 3),), without, ANY)
        return {key: _plain(value(source, kind.element, without, within, sizes, largest)) for key in keys.tolist()}
    raise SignatureError(f"no strategy makes values of {kind!r}; draw a tensor, and make it of that in the model")


def _plain(item: Any) -> Any:
    """A map's value as ONNX Runtime takes it: a Python number for a scalar."""
    return item.item() if isinstance(item, np.ndarray) and not item.ndim else item


def shape(
    source: Chooser, kind: TensorType, without: frozenset[str], sizes: dict[str, int], largest: int = LARGEST
) -> tuple[int, ...]:
    """Draw a shape that a type takes. Sizes that are not given are most often those of other dimensions, so that
    tensors fit each other."""
    if kind.shape is None:
        kind = tensor_type(kind.dtype, (None,) * source.between(0, 3))
    found = []
    for dim in kind.shape or ():
        if isinstance(dim, Dim):
            for name in sorted(dim.symbols - sizes.keys()):
                sizes[name] = size(source, without, sizes.values(), largest)
            computed = dim.substitute(sizes)
            assert isinstance(computed, int)
            found.append(computed)
        else:
            found.append(dim if dim is not None else size(source, without, sizes.values(), largest))
    return tuple(found)


def size(source: Chooser, without: frozenset[str], others: Iterable[int], largest: int = LARGEST) -> int:
    """Draw the size of a dimension: one that another has already, or a new one."""
    known = [other for other in dict.fromkeys(others) if other > 1]
    least = 2 if "one" in without else 1
    drawn = source.between(0 if known else 1, 7)
    if drawn < 5 and known:
        return known[drawn % len(known)]
    if drawn == 7 and "empty" not in without:
        return 0 if source.flag() else least
    return source.between(least, max(least, largest))


def array(
    source: Chooser,
    dtype: DType,
    shape: tuple[int, ...],
    without: frozenset[str] = frozenset(),
    within: Range = ANY,
) -> np.ndarray:
    """Draw an array of a dtype and shape."""
    if dtype.kind == "complex":
        part = tensor_type("float32" if dtype.bits == 64 else "float64").dtype
        real, imaginary = (array(source, part, shape, without, within) for _ in range(2))
        joined = np.empty(shape, dtype.numpy)
        joined.real, joined.imag = real, imaginary
        return joined
    count = prod(shape)
    if not count:
        return np.empty(shape, dtype.numpy)
    if within.apart and within.low is not None and within.high is not None:
        return _apart(source, shape, within, int(within.low), int(within.high)).astype(dtype.numpy)
    found = pool(dtype, without, within)
    reaches = found.reaches
    reach = reaches[source.between(0, len(reaches) - 1)] if len(reaches) > 1 else reaches[0]
    length = min(count, _DRAWN)
    raw = np.frombuffer(source.take(2 * length), np.uint8).astype(np.int64)
    boxes = raw[::2] * reach >> 8
    places = found.starts[boxes] + (raw[1::2] * found.sizes[boxes] >> 8)
    if count > length:
        places = places[(np.arange(count, dtype=np.uint64) * np.uint64(2654435761) >> np.uint64(16)) % length]
    chosen: np.ndarray = found.values[places]
    return chosen.reshape(shape)


def _apart(source: Chooser, shape: tuple[int, ...], within: Range, low: int, high: int) -> np.ndarray:
    """Draw integers of which some may not be equal: a piece of a permutation for each part that holds these."""
    if within.grid:
        sizes = tuple(min(size, high + 1) for size in within.grid)
        rows = _permuted(source, range(prod(sizes)), prod(shape[:-1]))
        found = np.stack(np.unravel_index(rows, sizes), -1).reshape(shape)
    elif within.line is not None:
        sizes = (high + 1,)
        others = shape[: within.line] + shape[within.line + 1 :]
        lines = [_permuted(source, range(high + 1), shape[within.line]) for _ in range(prod(others))]
        found = np.moveaxis(np.reshape(lines, (*others, shape[within.line])), -1, within.line)
    else:
        return _permuted(source, range(low, high + 1), prod(shape)).reshape(shape)
    assume(low <= 0)
    if low < 0 and source.flag():  # the same places, counted from the end
        found = found - np.asarray(sizes)
        assume(int(found.min()) >= low)
    return found


def _permuted(source: Chooser, whole: Sequence[int], count: int) -> np.ndarray:
    assume(count <= len(whole))
    return np.array(source.order(whole)[:count], np.int64)


# Pools


class Pool(NamedTuple):
    """Values of a dtype in boxes, simplest first."""

    values: np.ndarray
    starts: np.ndarray
    """Where each box begins among the values."""
    sizes: np.ndarray
    """How many values each holds."""
    reaches: tuple[int, ...]
    """How many boxes an array may be of: of the simple ones, of the ordinary ones too, of all."""


def _boxed(*parts: np.ndarray) -> Pool:
    """A pool of parts, the simple, ordinary and rare values: ordinary ones share boxes, the first rare have several."""
    simple, ordinary, rare = parts
    shared = -(-len(ordinary) // _SHARED)
    starts = [*range(len(simple)), *(len(simple) + _SHARED * box for box in range(shared))]
    sizes = [1] * len(simple) + [min(_SHARED, len(ordinary) - _SHARED * box) for box in range(shared)]
    places = [*range(min(len(rare), _FIRST))] * 3 + [*range(_FIRST, len(rare))]
    first = len(simple) + len(ordinary)
    reaches = (len(simple), len(starts), len(starts) + len(places))
    starts += [first + place for place in sorted(places)]
    sizes += [1] * len(places)
    assert len(starts) <= 256, "a byte tells the boxes apart"
    return Pool(
        np.concatenate(parts), np.array(starts), np.array(sizes), tuple(sorted({reach for reach in reaches if reach}))
    )


def _pools(kind: Type, without: frozenset[str], within: Range) -> None:
    """Make the pools that a type needs."""
    if isinstance(kind, (SequenceType, OptionalType, MapType)):
        _pools(kind.element, without, within)
    elif isinstance(kind, TensorType) and kind.dtype.kind != "complex":
        pool(kind.dtype, without, within)


@lru_cache(4096)
def pool(dtype: DType, without: frozenset[str] = frozenset(), within: Range = ANY) -> Pool:
    """The values of a dtype that are drawn.

    Raises:
        SignatureError: there are none within the bounds.
    """
    if dtype.kind == "string":
        words = np.empty(len(_WORDS), object)
        words[:] = _WORDS
        return _boxed(words, words[:0], words[:0])
    if dtype.kind == "bool":
        return _boxed(np.array([False, True]), np.empty(0, np.bool_), np.empty(0, np.bool_))
    simple, general, rare = _floats(dtype, within) if dtype.kind == "float" else _integers(dtype, within)
    parts = [_kept(part, dtype, without, within) for part in (simple, general, rare)]
    if dtype.kind == "float":
        # casting has made edges of what was general for larger dtypes
        marked = [_edges_among(part, dtype) for part in parts]
        simple, general, rare = (part[~mark] for part, mark in zip(parts, marked, strict=True))
        found = [part[mark] for part, mark in zip(reversed(parts), reversed(marked), strict=True)]
        parts = [simple, general, np.concatenate([*found, rare])]
    if not any(map(len, parts)):
        raise SignatureError(f"{dtype!r} has no values from {within.low} to {within.high} that are not left out")
    return _boxed(*_distinct(parts))


def _kept(values: np.ndarray, dtype: DType, without: frozenset[str], within: Range) -> np.ndarray:
    """The values that are neither left out nor out of bounds."""
    if dtype.kind == "float":
        wide = values.astype(np.float64)
        keep = np.ones(len(values), np.bool_)
        if "nan" in without:
            keep &= ~np.isnan(wide)
        if "infinity" in without:
            keep &= ~np.isinf(wide)
        if "negative_zero" in without:
            keep &= ~((wide == 0) & np.signbit(wide))
        ends = limits(dtype)
        if "subnormal" in without:
            keep &= ~((wide != 0) & (abs(wide) < float(ends.smallest_normal)))
        if "extreme" in without:
            keep &= ~np.isin(abs(wide), [float(ends.max), float(ends.smallest_normal)])
    else:
        wide = values.astype(object)
        keep = np.ones(len(values), np.bool_)
        if "extreme" in without and dtype.bits > 4:
            ends = limits(dtype)
            keep &= np.array([x not in _ends(ends) for x in wide.tolist()], np.bool_)
    if within.low is not None:
        keep &= (wide >= within.low).astype(np.bool_)
    if within.high is not None:
        keep &= (wide <= within.high).astype(np.bool_)
    if within.nonzero:
        keep &= (wide != 0).astype(np.bool_)
    return values[keep]


def limits(dtype: DType) -> Any:
    """The limits of a dtype of numbers, as `np.finfo` or `np.iinfo` tells them."""
    tell: Any = ml_dtypes.finfo if dtype.kind == "float" else ml_dtypes.iinfo
    return tell(dtype.numpy)


def _ends(ends: Any) -> set[int]:
    low, high = int(ends.min), int(ends.max)
    return {high, high - 1} | ({low, low + 1} if low else set())


def _edges_among(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Which floats are edges: NaN, infinities, the negative zero, subnormals, the ends of the range."""
    wide = values.astype(np.float64)
    ends = limits(dtype)
    small = (wide != 0) & (abs(wide) <= float(ends.smallest_normal))
    result: np.ndarray = ~np.isfinite(wide) | ((wide == 0) & np.signbit(wide)) | small | (abs(wide) == float(ends.max))
    return result


def _distinct(parts: list[np.ndarray]) -> list[np.ndarray]:
    """The parts without what comes in them or before them already; values are told apart by their bits."""
    known: set[int] = set()
    found = []
    for part in parts:
        bits = np.ascontiguousarray(part).view(f"u{part.dtype.itemsize}").tolist()
        places = []
        for place, value in enumerate(bits):
            if value not in known:
                known.add(value)
                places.append(place)
        found.append(part[places])
    return found


def _spread(within: Range, count: int = 65) -> np.ndarray:
    """Numbers over a bounded range."""
    if within.low is None or within.high is None:
        return np.empty(0)
    return np.linspace(within.low, within.high, count)


@np.errstate(all="ignore")
def _floats(dtype: DType, within: Range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Floats: simple ones, ordinary ones, and edges."""
    random = np.random.default_rng(0)
    sizes = [*_WHOLES, 0.5, 0.25, 1.5, 2.5, 0.1, 0.75]
    simple = np.array([0, *sizes, *[-size for size in sizes]])
    scales = 10.0 ** random.uniform(-3, 3, 400)
    general = np.concatenate(
        [random.normal(size=400), random.uniform(-1, 1, 200), scales * random.choice([-1, 1], 400)]
    )
    ends = limits(dtype)
    bounds = [float(x) for x in (ends.max, ends.smallest_normal, ends.smallest_subnormal, ends.eps)]
    more = [
        bounds[0] / 2,
        bounds[0] ** 0.5,
        bounds[1] ** 0.5,
        bounds[1] / 2,
        bounds[2] * 3,
        1 + bounds[3],
        1 / bounds[3],
        100.0,
        1e4,
    ]
    rare = np.array([-0.0, np.inf, -np.inf, np.nan, *[sign * size for size in (*bounds, *more) for sign in (1, -1)]])
    bounded = _spread(within)
    return tuple(part.astype(dtype.numpy) for part in (simple, np.concatenate([bounded, general]), rare))  # type: ignore[return-value]


def _integers(dtype: DType, within: Range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integers: small ones, ones of every size, and the ends of the range."""
    ends = limits(dtype)
    low, high = int(ends.min), int(ends.max)
    random = np.random.default_rng(0)
    simple = [0, *_WHOLES, *[-size for size in _WHOLES]]
    wide = random.integers(0, 2**63, 400).tolist()
    sized = [(1 if n % 2 else -1) * (n >> (i * 62 // 400)) for i, n in enumerate(wide)]
    medium = [sign * size for size in range(17, 130) for sign in (1, -1)]
    rare = [
        *_ends(ends),
        *(sign * 2**power for power in (7, 8, 15, 16, 24, 31, 32, 53, 62) for sign in (1, -1)),
        2**53 + 1,
    ]
    bounded = [int(x) for x in _spread(within)]

    def fitting(numbers: list[int]) -> np.ndarray:
        return np.array([n for n in dict.fromkeys(numbers) if low <= n <= high], object).astype(dtype.numpy)

    return fitting(simple), fitting([*bounded, *medium, *sized[::-1]]), fitting(rare)
