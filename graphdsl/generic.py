"""Functions whose calls differ in types or attributes: their bodies with what is known in all calls.

A function is shared by all traces that make the same nodes, and its values have the types of the first one.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from . import schemas
from .bodies import join
from .errors import GraphError
from .inference import infer
from .ir import Function, Graph, Input, ModelData, Node, Output, Reference, Value, make_node
from .tensor.calling import Trace
from .types import Type, without_sizes
from .walk import arguments, callees_first, graphs


def generic(model: ModelData) -> dict[Function, Graph]:
    """The bodies as they hold for all calls, of the functions whose own types do not."""
    found: dict[Function, Graph] = {}
    if not model.functions:
        return found
    given = arguments(model.graph)
    for function in reversed(callees_first(model.functions)):
        body = function.graph
        kinds = [e.type if e.type is None else _joined(given.get(e, (e.type,))) for e in body.inputs]
        if kinds != [entry.type for entry in body.inputs] or _depends_on_attributes(body):
            with schemas.opset_forced(
                function.opset_imports.get("", model.opset_imports.get("", schemas.DEFAULT_OPSET))
            ):
                body = found[function] = _retyped(body, kinds, {}, None)
        for entry, types in arguments(body).items():
            given.setdefault(entry, set()).update(types)
    return found


def _joined(given: Iterable[Type | None]) -> Type | None:
    """What the types that come to an input have in common."""
    first, *others = given
    for kind in others:
        try:
            first = join(first, kind)
        except ValueError:
            return None
    return first


def _depends_on_attributes(graph: Graph) -> bool:
    """Whether types in a function are those of one value of an attribute."""
    return any(
        _types(node, node.inputs) != [value.type for value in node.outputs]
        for inner in graphs(graph)
        for node in inner.nodes
        if any(isinstance(value, Reference) for value in node.attributes.values())
        and any(value.type is not None for value in node.outputs)
    )


def _types(node: Node, inputs: Sequence[Value | None]) -> list[Type | None]:
    """The types of a node's outputs on other inputs."""
    kinds = tuple([None if value is None else value.type for value in inputs])
    try:
        found = infer(node.schema, tuple(inputs), kinds, node.attributes, len(node.outputs), node.site)
    except GraphError:
        found = ()
    return [*found[: len(node.outputs)], *[None] * (len(node.outputs) - len(found))]


def _retyped(graph: Graph, kinds: Sequence[Type | None], values: dict[Value, Value], around: Trace | None) -> Graph:
    """A body on inputs of other types; the inputs of bodies inside keep dtypes and ranks, which they declare."""
    trace = Trace(graph.name, around)
    inputs = tuple([Input(v.name, t, trace, v.site, v.default) for v, t in zip(graph.inputs, kinds, strict=True)])
    values.update(zip(graph.inputs, inputs, strict=True))
    nodes: list[Node] = []
    for node in graph.nodes:
        taken = tuple([None if value is None else values.get(value, value) for value in node.inputs])
        attributes = node.attributes
        if node.bodies:
            held = {name: _body(v, values, trace) if isinstance(v, Graph) else v for name, v in attributes.items()}
            attributes = MappingProxyType(held)
        made = make_node(node.schema, taken, attributes, (None,) * len(node.outputs), trace, node.site, node.info)
        for old, new, kind in zip(node.outputs, made.outputs, _types(made, taken), strict=True):
            values[old], new.name, new.type = new, old.name, kind
        nodes.append(made)
    outputs = tuple([Output(name, values.get(value, value)) for name, value in graph.outputs])
    free = tuple([values.get(value, value) for value in graph.captures])
    declared = MappingProxyType({values.get(value, value): raw for value, raw in graph.declared.items()})
    return Graph(graph.name, inputs, tuple(nodes), outputs, free, graph.initializers, declared, graph.extras)


def _body(graph: Graph, values: dict[Value, Value], around: Trace) -> Graph:
    kinds = [None if value.type is None else without_sizes(value.type) for value in graph.inputs]
    return _retyped(graph, kinds, values, around)
