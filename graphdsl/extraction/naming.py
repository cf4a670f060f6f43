"""What users call tensors: names, paths into bodies, handles; found in a model, or refused with what is close."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .. import schemas
from ..errors import GraphError
from ..ir import NO_ATTRIBUTES, Output, Value, make_node
from ..loading import Source, opened
from ..models import Model
from ..sites import at, caller
from ..tensor.handle import Handle
from ..transforming import graph_trace

Name = str | tuple[str, ...] | Handle


class Named(NamedTuple):
    """A tensor of a model, the name it has there and how it was asked for."""

    name: str
    value: Value
    path: tuple[str, ...] = ()
    """Where it lies inside a body: the path without the name."""

    @property
    def spelled(self) -> str | tuple[str, ...]:
        """How users write it."""
        return (*self.path, self.name) if self.path else self.name


def prepared(model: Model | Source) -> Model:
    """The model that a tool of this package is given, with the copies that emission makes of outputs as nodes.

    An output whose tensor has another name already (an input returned under a name of its own, a tensor returned twice)
    is a tensor of its own in the emitted model, so it is one that can be cut at.
    """
    whole = opened(model)
    names, called = whole._tensors.names, whole.output_names
    outputs, nodes = list(whole.graph.outputs), list(whole.graph.nodes)
    schema = schemas.lookup("", "Identity", whole.opset)
    for index, (name, (_, value)) in enumerate(zip(called, whole.graph.outputs, strict=True)):
        if names[value] != name:
            made = make_node(schema, (value,), NO_ATTRIBUTES, (value.type,), graph_trace(whole.graph), value.site)
            made.outputs[0].name = name
            outputs[index] = Output(name, made.outputs[0])
            nodes.append(made)
    if len(nodes) == len(whole.graph.nodes):
        return whole
    return replace(whole, graph=replace(whole.graph, nodes=tuple(nodes), outputs=tuple(outputs)))


def sweep_with(model: Model, kept: Value, change: Callable[[Model], Model]) -> Model:
    """A changed model in which what makes a tensor is kept, even if nothing needs it."""
    graph = model.graph
    changed = change(replace(model, graph=replace(graph, outputs=(*graph.outputs, Output(None, kept)))))
    return replace(changed, graph=replace(changed.graph, outputs=changed.graph.outputs[:-1]))


def found(model: Model, wanted: Any, what: str) -> Named:
    """The tensor that a name, a path or a handle means.

    Raises:
        GraphError: the model has none, or several.
    """
    tensors = model._tensors
    if isinstance(wanted, Handle):
        value = wanted._v
        if value not in tensors.names:
            raise GraphError(f"{what}: {wanted!r} is no tensor of model {model.name!r}" + at(caller()))
        return Named(tensors.names[value], value, tensors.inner.get(value, ()))
    try:
        value = tensors.find(wanted)
    except LookupError as error:
        raise GraphError(f"{what}: model {model.name!r} has {error.args[0]}" + at(caller())) from None
    if isinstance(wanted, tuple):
        return Named(wanted[-1], value, wanted[:-1])
    return Named(wanted, value, tensors.inner.get(value, ()))  # one in a body, if no other has its name


def listed(given: Any) -> list[Any]:
    """The names that an argument lists: one name, or a sequence of names, paths and handles."""
    return [given] if isinstance(given, (str, Handle)) else list(given)


def several(model: Model, given: Iterable[Any], what: str) -> list[Named]:
    """The tensors of several names, in order."""
    return [found(model, item, what) for item in listed(given)]


def outermost(tensors: Sequence[Named], what: str) -> Sequence[Named]:
    """The tensors again.

    Raises:
        GraphError: one of them lies in a body.
    """
    inner = next((tensor for tensor in tensors if tensor.path), None)
    if inner is not None:
        path = (*inner.path, inner.name)
        raise GraphError(f"{what}: {path!r} lies in a body, which has values only while it runs" + at(caller()))
    return tensors


class Speller:
    """How to write each tensor: as the caller wrote it, else its name, or its path in the caller's body."""

    def __init__(self, model: Model, written: Iterable[Named]) -> None:
        self._names = model._tensors.names
        self._known: dict[Value, str | tuple[str, ...]] = {}
        path: tuple[str, ...] = ()
        for item in written:
            self._known[item.value] = item.spelled
            path = max(path, item.path, key=len)
        for depth, graph in enumerate(model._tensors.graphs(path)[1:], 1):
            for value in (*graph.inputs, *(output for node in graph.nodes for output in node.outputs)):
                if value in self._names:
                    self._known.setdefault(value, (*path[: 2 * depth], self._names[value]))

    def __call__(self, value: Value) -> Any:
        return self._known.get(value) or self._names.get(value) or value.name or "?"
