"""Functions that are called with several types: their bodies as they hold for all of them."""

from dataclasses import replace
from types import MappingProxyType

from ..ir import Function, Graph, Input, ModelData, Node, Output, Value, make_node
from ..tensor.calling import Trace
from ..types import without_sizes
from ..walk import functions, graphs, operators


def generic(model: ModelData) -> list[Function]:
    """The functions that are called with other types than those that they were traced with, and what they call."""
    if not model.functions:
        return []
    found: dict[Function, None] = {}
    for part in (model.graph, *(function.graph for function in model.functions)):
        for graph in graphs(part):
            for node in graph.nodes:
                function = node.schema.function
                if function is not None and function not in found and not _traced_for(function, node):
                    found[function] = None
    for function in list(found):
        found.update(dict.fromkeys(functions(operators(function.graph))))
    return list(found)


def _traced_for(function: Function, node: Node) -> bool:
    given: list[Value | None] = [*node.inputs, *[None] * (len(function.graph.inputs) - len(node.inputs))]
    return all(
        formal.type is None or (value is not None and value.type is formal.type)
        for formal, value in zip(function.graph.inputs, given, strict=False)
        if formal.type is not None or value is not None
    )


def untyped(graph: Graph, values: dict[Value, Value] | None = None, around: Trace | None = None) -> Graph:
    """A function's body as it holds for inputs of any type; sizes in its inner bodies are unknown too."""
    values = {} if values is None else values
    trace = Trace(graph.name, around)
    kinds = [None if around is None or value.type is None else without_sizes(value.type) for value in graph.inputs]
    inputs = tuple([Input(v.name, t, trace, v.site, v.default) for v, t in zip(graph.inputs, kinds, strict=True)])
    values.update(zip(graph.inputs, inputs, strict=True))
    nodes: list[Node] = []
    for node in graph.nodes:
        taken = tuple([None if value is None else values.get(value, value) for value in node.inputs])
        attributes = node.attributes
        if node.bodies:
            held = {n: untyped(v, values, trace) if isinstance(v, Graph) else v for n, v in attributes.items()}
            attributes = MappingProxyType(held)
        made = make_node(node.schema, taken, attributes, (None,) * len(node.outputs), trace, node.site, node.info)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            values[old], new.name = new, old.name
        nodes.append(made)
    outputs = tuple([Output(name, values.get(value, value)) for name, value in graph.outputs])
    free = tuple([values.get(value, value) for value in graph.captures])
    return replace(graph, inputs=inputs, nodes=tuple(nodes), outputs=outputs, captures=free)
