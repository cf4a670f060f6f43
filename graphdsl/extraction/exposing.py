"""Intermediate tensors as further outputs."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from ..errors import GraphError
from ..ir import Output, Value
from ..loading import Source
from ..models import Model
from ..sites import at, caller
from .calls import opened_calls
from .naming import Named, found, prepared
from .tapping import tapped

_MAGIC = frozenset("*?[")


def expose(model: Model | Source, *names: Any) -> Model:
    """The model with intermediate tensors as further outputs, behind those that it has.

    >>> import graphdsl as gd
    >>> a, x, b = (gd.input(name, gd.float32[2]) for name in "axb")
    >>> model = gd.build({"out": (a * x).named("c") + b})
    >>> gd.expose(model, "c").output_names
    ('out', 'c')

    Args:
        model: A model, or what `gd.load` takes.
        names: Tensors of the model; their names; patterns (`"*/Conv_output_0"`, as in `fnmatch`), which stand for all
            tensors made by nodes; operators (`op.Conv`), which stand for all that their nodes make; paths. What is an
            output already stays one. What a path leads to is stacked over the rounds of a loop; for a branch it is a
            list, empty where another is taken; a call of a function on the way is replaced by the body.

    Raises:
        GraphError: the model has no such tensor; a pattern or an operator fits none; a tensor cannot be led out of its
            body.
    """
    whole, added = chosen(prepared(model), names, "gd.expose")
    present = {value for _, value in whole.graph.outputs}
    outputs = [Output(name, value) for name, value, _ in added if value not in present]
    if not outputs:
        return whole
    return replace(whole, graph=replace(whole.graph, outputs=(*whole.graph.outputs, *outputs)))


def chosen(model: Model, wanted: Iterable[Any], what: str) -> tuple[Model, list[Named]]:
    """The tensors that names, patterns, operators and paths stand for, each once, in the order asked for.

    With them the model that has them as tensors of its graph: another one where they lie in functions or bodies.

    Raises:
        GraphError: something stands for no tensor, or for one that cannot be led out of its body.
    """
    opened = opened_calls(model, wanted, what)
    whole, result = opened.model, dict[Value, Named]()
    for item in opened.wanted:
        for named in _meant(whole, item, what):
            result.setdefault(named.value, named)
    inner = [tensor for tensor in result.values() if tensor.path]
    if not inner:
        return whole, list(result.values())
    names = [tensor.spelled for tensor in result.values()]
    for index, name in enumerate(names):
        if isinstance(name, tuple):
            whole, led_out = tapped(whole, found(whole, name, what), what)
            names[index] = led_out.name
    return whole, [found(whole, name, what) for name in names]


def _meant(model: Model, item: Any, what: str) -> list[Named]:
    if callable(item) and hasattr(item, "__name__"):
        return _all(model, lambda value, _: value.node is not None and value.node.op_type == item.__name__, item, what)
    if isinstance(item, str) and item not in model._tensors.known and not _MAGIC.isdisjoint(item):
        return _all(model, lambda _, name: fnmatchcase(name, item), item, what)
    return [found(model, item, what)]


def _all(model: Model, fits: Callable[[Value, str], bool], item: Any, what: str) -> list[Named]:
    names = model._tensors.names
    made = [value for node in model.graph.nodes for value in node.outputs if value in names]
    fitting = [Named(names[value], value) for value in made if fits(value, names[value])]
    if not fitting:
        label = repr(item) if isinstance(item, str) else f"an output of {item.__name__}"
        raise GraphError(f"{what}: no tensor of model {model.name!r} is {label}" + at(caller()))
    return fitting
