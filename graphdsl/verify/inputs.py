"""`verify.feeds`: what a model can be run on, drawn as a whole."""

import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ..dims import Dim
from ..inlining import inline
from ..ir import Input, ModelData
from ..loading import Source, load
from ..types import OptionalType, SequenceType, TensorType, Type
from .arrays import ANY, LARGEST, Range, edges, size, value
from .choices import Chooser, Drawn, assume
from .ranges import Demanded, demands, dimensions, meet


def feeds(
    model: ModelData | Source,
    *,
    without: Iterable[str] = (),
    sizes: Mapping[str, int] | None = None,
    largest: int = LARGEST,
) -> st.SearchStrategy[dict[str, Any]]:
    """Values for all inputs of a model, as a Hypothesis strategy of dicts for `model.run`.

    Dimensions of one name have one size, and no size that follows from them is negative. Where an input is an index, an
    axis, a size or the divisor of integers, directly or through operators that only move elements, its values are such
    that the operator is defined. Inputs with a default are left out at times.

    >>> import graphdsl as gd
    >>> from graphdsl import op, verify
    >>> from hypothesis import find
    >>> table, index = gd.input("table", gd.float32["n", 2]), gd.input("index", gd.int64[1])
    >>> model = gd.build(op.Gather(table, index))
    >>> find(verify.feeds(model), lambda feeds: feeds["index"].max() > 0)
    {'table': array([[0., 0.],
           [0., 0.]], dtype=float32), 'index': array([1])}

    Args:
        model: A model, or what `gd.load` takes.
        without: Which edges to leave out, as for `verify.tensors`.
        sizes: Sizes of named dimensions.
        largest: The largest size that is drawn; sizes that the model needs to be larger are.

    Raises:
        LoadError: the model cannot be read.
    """
    subject = model if isinstance(model, ModelData) else load(model)
    return _feeds(studied(subject), edges(without), dict(sizes or {}), largest)


class Study(NamedTuple):
    """What drawing feeds needs to know of a model."""

    inputs: tuple[Input, ...]
    demanded: Mapping[str, list[Demanded]]
    """By input, the uses that bound its values."""
    computed: list[Dim]
    """Sizes inside the model that follow from named ones."""
    known: tuple[int, ...]
    """The sizes of inputs that are fixed: what others should be like."""


_studies: "weakref.WeakKeyDictionary[ModelData, Study]" = weakref.WeakKeyDictionary()


def studied(model: ModelData) -> Study:
    """What drawing feeds needs to know of a model, found once."""
    found = _studies.get(model)
    if found is None:
        plain = inline(model) if model.functions else model
        bounded = {source.name or "": uses for source, uses in demands(plain).items()}
        kinds = [kind for kind in (value.type for value in model.graph.inputs) if isinstance(kind, TensorType)]
        known = tuple(dict.fromkeys(dim for kind in kinds for dim in kind.shape or () if isinstance(dim, int)))
        found = _studies[model] = Study(model.graph.inputs, bounded, dimensions(plain), known)
    return found


@st.composite
def _feeds(
    draw: st.DrawFn, study: Study, without: frozenset[str], sizes: dict[str, int], largest: int
) -> dict[str, Any]:
    return fed(Drawn(draw), study, without, sizes, largest)


def fed(
    source: Chooser, study: Study, without: frozenset[str], sizes: Mapping[str, int], largest: int = LARGEST
) -> dict[str, Any]:
    """Draw values for all inputs of a model that was studied."""
    given, fixed = dict(sizes), frozenset(sizes)
    names = dict.fromkeys(
        name
        for value in study.inputs
        for dim in _dims(value.type)
        if isinstance(dim, Dim)
        for name in sorted(dim.symbols)
    )
    for name in names:
        if name not in given:
            given[name] = size(source, without, [*study.known, *given.values()], largest)
    _grow(given, fixed, study.computed)
    drawn: dict[str, Any] = {}
    for parameter in study.inputs:
        if parameter.default is not None and source.flag():
            continue
        assert parameter.type is not None, "the types of a model's inputs are known"
        drawn[parameter.name or ""] = value(
            source, parameter.type, without, _range(study, parameter, given), given, largest
        )
    return drawn


def _grow(sizes: dict[str, int], fixed: frozenset[str], computed: Iterable[Dim]) -> None:
    """Make named sizes as large as it takes that no size that follows from them is negative."""
    for _ in range(64):
        small = [dim for dim in computed if _is_negative(dim, sizes)]
        names = {name for dim in small for name in dim.symbols & sizes.keys() if name not in fixed}
        if not small:
            return
        if not names:
            break
        for name in names:
            sizes[name] += 1
    assume(False)


def _is_negative(dim: Dim, sizes: Mapping[str, int]) -> bool:
    try:
        found = dim.substitute(sizes)
    except ZeroDivisionError:
        return True
    return isinstance(found, int) and found < 0


def _range(study: Study, source: Input, sizes: Mapping[str, int]) -> Range:
    found = ANY
    for use in study.demanded.get(source.name or "", ()):
        bound = use.range(sizes)
        if bound is not None:
            found = meet(found, bound)
    return found


def _dims(kind: Type | None) -> tuple[Any, ...]:
    while isinstance(kind, (SequenceType, OptionalType)):
        kind = kind.element
    return (kind.shape or ()) if isinstance(kind, TensorType) else ()
