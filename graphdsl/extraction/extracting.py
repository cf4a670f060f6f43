"""`gd.extract`: what its arguments mean, and the cut."""

import warnings
from collections.abc import Sequence
from typing import Any

from ..ir import Value
from ..loading import Source
from ..models import Model
from ..walk import between
from .calls import opened_calls
from .cutting import cut, in_order
from .naming import Named, listed, prepared, several


def extract(model: Model | Source, inputs: Any = None, outputs: Any = None) -> Model:
    """The part of a model between `inputs` and `outputs`, under the same names and with what it needs of the rest.

    The walk goes from the outputs against the edges and stops at the inputs. Weights, functions and captured tensors
    come along; an input that was made by a node gets the type that it has there.

    >>> import graphdsl as gd
    >>> a, x, b = (gd.input(name, gd.float32[10, 10]) for name in "axb")
    >>> model = gd.build({"out": (a * x).named("c") + b})
    >>> gd.extract(model, inputs=["c", "b"], outputs=["out"])
    <Model 'graph'(c: float32[10, 10], b: float32[10, 10]), 1 nodes, opset 21>

    Args:
        model: A model, or what `gd.load` takes.
        inputs: Names of tensors, paths into a body (`("y", "then_branch", "t")`) or tensors of the model, in the order
            that the part takes them; by default the inputs that the outputs need. One that nothing needs is kept, with
            a warning.
        outputs: The same for what the part returns; by default the model's outputs. In a body, all lie in the same one.

    Raises:
        MissingInputs: the outputs need an input that is not listed; the message says by which path, and which cuts
            would do.
        GraphError: the model has no such tensor, or one that is cut at has no known type.
    """
    whole = prepared(model)
    goals = listed(whole.output_names if outputs is None else outputs)
    opened = opened_calls(whole, [*goals, *listed(inputs or ())], "gd.extract")
    ends = several(opened.model, opened.wanted[: len(goals)], "gd.extract")
    if inputs is None:
        starts = _needed(opened.model, ends, several(opened.model, opened.formals, "gd.extract"))
    else:
        starts = several(opened.model, opened.wanted[len(goals) :], "gd.extract")
    part, unused = cut(opened.model, starts, ends, "gd.extract")
    if unused:
        names = ", ".join(repr(start.name) for start in unused)
        warnings.warn(f"gd.extract: the outputs do not need {names}, kept as input", stacklevel=2)
    return part


def _needed(whole: Model, ends: Sequence[Named], formals: Sequence[Named]) -> list[Named]:
    """What outputs need from outside their graph or function: its inputs, and in a body what that captures."""
    graph = whole._tensors.graphs(ends[0].path)[-1] if ends else whole.graph
    around = {formal.value for formal in formals} or set(graph.captures)
    _, reached, met = between([end.value for end in ends], around)
    needed: list[Value] = [value for value in in_order(whole, reached) if value.default is None]
    needed += [value for value in [formal.value for formal in formals] or graph.captures if value in met]
    return [Named(whole._tensors.names[value], value) for value in needed]
