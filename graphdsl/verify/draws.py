"""The draws on which two sides are compared: ordinary numbers in half of them, and special ones often enough.

An extreme number hides what ordinary ones show, and what only a NaN or an overflow shows is shown by one of a kind. So
a draw is ordinary, or ordinary but for a few numbers of one kind, or whatever the input takes.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from time import monotonic
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from ..inlining import inline
from ..ir import ModelData
from ..types import DType, as_dtype
from .choices import Choices, Chooser, Drawn, at_random
from .inputs import fed, studied
from .judging import Judgement
from .ranges import demands

T = TypeVar("T")

PLAIN = frozenset({"nan", "infinity", "subnormal", "extreme"})
"""The edges that ordinary draws leave out."""

ORDINARY, ANY = "ordinary", "any"

SPECIAL = ("nan", "infinity", "large", "extreme", "subnormal")
"""Kinds of draws with a few special numbers."""


def kinds(without: Iterable[str]) -> list[str]:
    """The kinds of draws that there are, where some edges are left out."""
    left_out = frozenset(without)
    return [ORDINARY, ANY, *[name for name in SPECIAL if name not in left_out]]


@cache
def _specials(dtype: DType) -> dict[str, np.ndarray]:
    """Special floats by the edge that they are."""
    known: Any = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    most, least, tiny = (float(x) for x in (known.max, known.smallest_normal, known.smallest_subnormal))
    groups = {
        "nan": [np.nan],
        "infinity": [np.inf, -np.inf],
        "large": [100.0, -100.0, 1e3, -1e3, 1e4, -1e4],
        "extreme": [most, -most, least, -least, most / 2],
        "subnormal": [tiny, -tiny, least / 2],
    }
    with np.errstate(all="ignore"):
        return {name: np.array(numbers).astype(dtype.numpy) for name, numbers in groups.items()}


@cache
def _edges(dtype: DType) -> np.ndarray:
    """Integers near which arithmetic overflows."""
    known = np.iinfo(dtype.numpy)
    low, high = int(known.min), int(known.max)
    return np.array([high, low, high // 2 + 1, low // 2, high - 1, high // 3], dtype.numpy)


_free: "weakref.WeakKeyDictionary[ModelData, frozenset[str | None]]" = weakref.WeakKeyDictionary()
"""The inputs of models of whose values no operator demands anything."""


def _unbounded(model: ModelData) -> frozenset[str | None]:
    found = _free.get(model)
    if found is None:
        plain = inline(model) if model.functions else model
        bounded = {s.name for s, uses in demands(plain).items() if any(use.range({}) is not None for use in uses)}
        found = _free[model] = frozenset(value.name for value in plain.graph.inputs) - bounded
    return found


@st.composite
def draws(
    draw: st.DrawFn,
    model: ModelData,
    kind: str,
    without: Iterable[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Feeds of a model, of one kind, as a Hypothesis strategy."""
    return drawn(Drawn(draw), model, kind, without, sizes)


def drawn(
    source: Chooser,
    model: ModelData,
    kind: str,
    without: Iterable[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Draw feeds of a model, of one kind."""
    left_out = frozenset(without)
    found = fed(source, studied(model), left_out if kind == ANY else PLAIN | left_out, sizes or {})
    if kind not in (ANY, ORDINARY):
        # what is special in all inputs at once may hide what it shows in one of them
        chosen = [name for name in found if source.flag()] if len(found) > 1 else []
        for name in chosen or list(found):
            free = name in _unbounded(model) and "extreme" not in left_out
            found[name] = _spiced(source, found[name], kind, free=free)
    return found


def _spiced(source: Chooser, item: Any, kind: str, *, free: bool) -> Any:
    """An array with up to three special numbers, if it has floats, or integers that may be anything; so in a list."""
    if isinstance(item, list):
        return [_spiced(source, element, kind, free=free) for element in item]
    if not isinstance(item, np.ndarray) or not item.size or item.dtype.kind in "bOUSc":
        return item
    dtype = as_dtype(item.dtype)
    if dtype.kind == "float" and dtype.bits >= 16:
        numbers = _specials(dtype)[kind]
    elif item.dtype.kind in "iu" and free:
        numbers = _edges(dtype)
    else:
        return item
    copied = item.copy()
    for _ in range(source.between(1, 3)):
        number, place = divmod(source.between(0, item.size * len(numbers) - 1), item.size)
        copied.reshape(-1)[place] = numbers[number]
    return copied


class Found(Exception):
    """A refutation on the way through Hypothesis, which makes its example small."""

    def __init__(self, feeds: Mapping[str, Any], judgement: Judgement, of: Any = None, kind: str = ORDINARY) -> None:
        self.feeds, self.judgement, self.of, self.kind = feeds, judgement, of, kind


class _Enough(BaseException):
    """The end of a search that has found something, and tried to make it smaller for long enough."""


_SHRINKS = 300
"""How often what was found is tried to be made smaller."""

_SECONDS = 60.0
"""How long that may take at the most; what is found should not depend on how busy a machine is."""


def quietly(examples: int) -> settings:
    """The settings of a search that reports nothing itself, and that follows from its seed alone."""
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
    )


def tried(test: Callable[[T], None], make: Callable[[Choices], T], *, examples: int, seed: int) -> Found | None:
    """The first example found on which a test raises `Found`, of so many random ones; None where it raises on none.

    This takes a fraction of what `search` takes for few examples, and makes nothing small.
    """
    try:
        for example in at_random(make, seed, examples):
            test(example)
    except Found as found:
        return found
    return None


def search(
    test: Callable[..., None], strategies: Sequence[Any], *, examples: int, seed: int, shrinks: int = _SHRINKS
) -> Found | None:
    """The smallest example found on which a test raises `Found`; None where it raises on none."""
    smallest: list[Found] = []
    calls = 0
    started = 0.0

    def watched(drawn: Any) -> None:
        nonlocal calls, started
        if smallest:
            calls += 1
            if calls > shrinks or monotonic() - started > _SECONDS:
                raise _Enough
        try:
            test(drawn)
        except Found as found:
            started = started or monotonic()
            smallest[:] = [found]  # what Hypothesis tries after the first is smaller
            raise

    decorate: Any = given(st.tuples(*strategies))
    try:
        quietly(examples)(seeded(seed)(decorate(watched)))()
    except (Exception, _Enough):  # an end in the middle of a test surprises Hypothesis too
        if not smallest:
            raise
    return smallest[0] if smallest else None
