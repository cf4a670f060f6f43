"""Tensors inside functions: a call is opened, so that they become tensors of the graph that holds the call."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..emission import names_inside
from ..errors import GraphError, nearest
from ..ir import Function, Node, Value
from ..models import Model
from ..sites import at, caller
from ..tensor import Tensor
from ..tensor.calling import emit
from ..tracing import replay_nodes
from ..transforming import sweep
from .cutting import renamed
from .naming import listed, sweep_with


class Opened(NamedTuple):
    """A model with calls opened, and what was asked for in terms of it."""

    model: Model
    wanted: list[Any]
    formals: list[str | tuple[str, ...]]
    """The inputs of the innermost functions that were opened, as tensors of the model."""


class _Call(NamedTuple):
    node: Node
    function: Function
    path: tuple[str, ...]
    """The path to the tensor that the call makes."""


def opened_calls(model: Model, wanted: Iterable[Any], what: str) -> Opened:
    """Open the calls that paths lead into (`("y", "my::f", "t")`), until none does.

    Raises:
        GraphError: a function has no such tensor.
    """
    items = listed(wanted)
    formals: list[str | tuple[str, ...]] = []
    is_named = False
    while True:
        call = next((found for item in items if (found := _first_call(model, item)) is not None), None)
        if call is None:
            return Opened(model, items, formals)
        if not is_named:  # so that other tensors keep their names
            model, is_named = renamed(model, what), True
            continue
        inside = {name: value for value, name in names_inside(call.function).items() if value is not None}
        within = [item for item in items if _leads_into(item, call)]
        for item in within:
            name = item[len(call.path) + 1]
            if name not in inside:
                label = f"{call.function.domain}::{call.function.name}"
                raise GraphError(
                    f"{what}: function {label!r} has no tensor {name!r}{nearest(name, inside)}" + at(caller())
                )
        model, values = _opened(model, call)
        names = model._tensors.names
        place = call.path[:-1]
        for index, item in enumerate(items):
            if item in within:
                rest = item[len(call.path) + 1 :]
                if values.get(inside[rest[0]]) not in names:
                    raise GraphError(f"{what}: {item!r} is made by nodes that nothing needs" + at(caller()))
                path = (*place, names[values[inside[rest[0]]]], *rest[1:])
                items[index] = path if len(path) > 1 else path[0]
        inner = [values[value] for value in call.function.graph.inputs if value in values]
        formals = [(*place, names[value]) if place else names[value] for value in inner if value in names]


def _first_call(model: Model, path: Any) -> _Call | None:
    """The first call that a path leads into."""
    if not isinstance(path, tuple):
        return None
    for end in range(1, len(path) - 1, 2):
        try:
            value = model._tensors.find(path[:end])
        except LookupError:
            return None
        function = value.node.schema.function if value.node is not None else None
        if value.node is not None and function is not None:
            if path[end] in (function.name, f"{function.domain}::{function.name}"):
                return _Call(value.node, function, path[:end])
            return None
    return None


def _leads_into(path: Any, call: _Call) -> bool:
    return isinstance(path, tuple) and len(path) > len(call.path) + 1 and path[: len(call.path)] == call.path


def _opened(model: Model, call: _Call) -> tuple[Model, dict[Value, Value]]:
    """The model with one call replaced by the function's body, and what stands for the values of that.

    Inputs of the function are copies of what the call is given, which are tensors of their own.
    """
    values: dict[Value, Value | None] = {}
    function = call.function

    def visit(node: Node) -> Sequence[Value] | None:
        if node is not call.node:
            return None
        for formal, given in zip(function.graph.inputs, node.inputs, strict=False):
            values[formal] = None if given is None else emit("Identity", Tensor(given))[0]
        values.update((formal, None) for formal in function.graph.inputs[len(node.inputs) :])
        replay_nodes(function.graph.nodes, values, {**function.defaults, **node.attributes})
        for inner, name in names_inside(function).items():
            new = values.get(inner) if inner is not None else None
            if new is not None and not new.name and new.node is not None:
                new.name = name
        return [found for _, value in function.graph.outputs if (found := values.get(value, value)) is not None]

    opened = sweep_with(model, model._tensors.find(call.path[0]), lambda whole: sweep(whole, visit))
    return opened, {old: new for old, new in values.items() if new is not None}
