"""A model as a chain of models."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import GraphError
from ..ir import Node, Value
from ..loading import Source
from ..models import Model
from ..sites import at as at_site
from ..sites import caller
from ..walk import between, dependencies
from .cutting import cut
from .naming import Named, listed, outermost, prepared, several

_WHAT = "gd.split"


def split(model: Model | Source, at: Iterable[Any]) -> tuple[Model, ...]:
    """A chain of models that together compute what the model does: each takes what the one before returns.

    A part returns what it was asked to end with and whatever else later parts need, inputs of the model included.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2])
    >>> model = gd.build({"y": (x * 2).named("twice") + x})
    >>> first, second = gd.split(model, at=["twice"])
    >>> first.output_names, second(*first([1, 2]))
    (('twice', 'x'), array([3., 6.], dtype=float32))

    Args:
        model: A model, or what `gd.load` takes.
        at: Where to cut, in the order of the graph: a tensor, or a list of tensors to cut at together, for each cut.

    Raises:
        GraphError: the model has no such tensor, or nothing lies between two cuts.
    """
    whole = prepared(model)
    names = whole._tensors.names
    ends = several(whole, whole.output_names, _WHAT)
    cuts = [outermost(several(whole, item, _WHAT), _WHAT) for item in listed(at)]
    stages = _stages([*cuts, ends])
    starts = [Named(names[value], value) for value in whole.graph.inputs if value.default is None]
    parts: list[Model] = []
    for goals, later in zip([*cuts, ends], _needed_later(stages, ends), strict=True):
        crossing = _crossing(whole, starts, stages[len(parts)], later)
        first = {goal.value: goal for goal in goals if goal.value in later}
        handed = [*first.values(), *(Named(names[value], value) for value in crossing if value not in first)]
        is_last = len(parts) == len(cuts)
        parts.append(cut(whole, starts, ends if is_last else handed, _WHAT)[0])
        starts = handed
    return tuple(parts)


def _stages(goals: Sequence[Sequence[Named]]) -> list[set[Node]]:
    """The nodes of each part: what its goals need and no part before has.

    Raises:
        GraphError: a part has none.
    """
    stages: list[set[Node]] = []
    done: set[Node] = set()
    for index, aims in enumerate(goals):
        needed = between([aim.value for aim in aims], ()).nodes
        stages.append(needed - done)
        done |= needed
        if not stages[-1] and len(goals) > 1:
            label = ", ".join(repr(aim.name) for aim in aims)
            where = "the start of the model" if index == 0 else ", ".join(repr(aim.name) for aim in goals[index - 1])
            raise GraphError(
                f"{_WHAT}: nothing lies between {where} and {label}; give the cuts in the order of the graph"
                + at_site(caller())
            )
    return stages


def _needed_later(stages: Sequence[set[Node]], ends: Iterable[Named]) -> list[set[Value]]:
    """For each part, the values that parts behind it use, or the model returns."""
    needed = {end.value for end in ends}
    found: list[set[Value]] = []
    for stage in reversed(stages):
        found.append(set(needed))
        needed.update(value for node in stage for value in dependencies(node))
    return found[::-1]


def _crossing(whole: Model, starts: Iterable[Named], stage: set[Node], later: set[Value]) -> list[Value]:
    """What a part hands on: of what it makes and takes, what is needed later."""
    made = [value for node in whole.graph.nodes if node in stage for value in node.outputs]
    return [value for value in (*made, *(start.value for start in starts)) if value in later]
