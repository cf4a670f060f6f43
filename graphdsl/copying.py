"""Nodes made anew on other values, as they are: of the same types, names and bytes, and without inference.

It serves where what takes a value's place has that value's type, so that nothing behind it changes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .ir import Graph, Input, ModelData, Node, NodeInfo, Output, Value, make_node
from .loading import LoadedTrace, LoadedValue
from .tensor.calling import Trace
from .transforming import graph_trace
from .walk import captured


def inner_trace(label: str, parent: Trace) -> Trace:
    """The trace of a body that is copied; types stay unknown until they are asked for, where they were."""
    return LoadedTrace(label, parent, None) if isinstance(parent, LoadedTrace) else Trace(label, parent)


def similar_trace(model: ModelData, settle: Callable[[], None]) -> Trace:
    """A trace for a part of a model: where types are found when they are asked for, so are those of the part."""
    label = f"model {model.graph.name!r}"
    if isinstance(graph_trace(model.graph), LoadedTrace):
        return LoadedTrace(label, None, settle)
    trace = Trace(label, None)
    trace.released = True
    return trace


def copied_nodes(
    nodes: Iterable[Node],
    values: dict[Value, Value],
    trace: Trace,
    names: Mapping[Any, str],
    spare: Callable[[Value], str | None] = lambda value: None,
) -> tuple[Node, ...]:
    """Nodes made anew in a trace; `values` says what stands for which old value, and learns the new ones.

    `names` are those of old values, where they differ from their own. An output that `values` knows already keeps what
    stands for it; the new one, which nobody uses, has the name that `spare` says.
    """
    made: list[Node] = []
    lazily = isinstance(trace, LoadedTrace)
    for node in nodes:
        inputs = tuple([None if value is None else values.get(value, value) for value in node.inputs])
        attributes, info = node.attributes, node.info
        if attributes and node.bodies:
            attributes, info = _with_bodies(node, values, trace, names)
        if lazily:
            types = tuple([v.type_so_far if isinstance(v, LoadedValue) else v.type for v in node.outputs])
            new = make_node(node.schema, inputs, attributes, types, trace, node.site, info, LoadedValue)
        else:
            types = tuple([value.type for value in node.outputs])
            new = make_node(node.schema, inputs, attributes, types, trace, node.site, info)
        for old, value in zip(node.outputs, new.outputs, strict=True):
            if old in values:
                value.name = spare(old)
            else:
                value.name = names.get(old, old.name)
                values[old] = value
        made.append(new)
    return tuple(made)


def copied_input(value: Input, name: str | None, trace: Trace) -> Input:
    """An input of a graph, with its default, made anew in a trace."""
    made = Input(name, value.type, trace, value.site, value.default)
    made.raw = value.raw
    return made


def copied_graph(graph: Graph, values: dict[Value, Value], trace: Trace, names: Mapping[Any, str]) -> Graph:
    """A body made anew in a trace of its own; `values` are those around it, and learns what is inside."""
    inputs = tuple([copied_input(value, names.get(value, value.name), trace) for value in graph.inputs])
    values.update(zip(graph.inputs, inputs, strict=True))
    nodes = copied_nodes(graph.nodes, values, trace, names)
    outputs = tuple(
        [
            Output(names.get(value, name) if name and name == value.name else name, values.get(value, value))
            for name, value in graph.outputs
        ]
    )
    return replace(
        graph,
        inputs=inputs,
        nodes=nodes,
        outputs=outputs,
        captures=captured(nodes, inputs, [value for _, value in outputs]),
        initializers=tuple([values.get(value, value) for value in graph.initializers]),
        declared=MappingProxyType({values.get(value, value): raw for value, raw in graph.declared.items()}),
    )


def _with_bodies(
    node: Node, values: dict[Value, Value], trace: Trace, names: Mapping[Any, str]
) -> tuple[Mapping[str, Any], NodeInfo | None]:
    """The attributes of a node with its bodies made anew; what a file says of the node holds for them too."""

    def copied(value: Any) -> Any:
        if isinstance(value, Graph):
            return copied_graph(value, values, inner_trace(value.name, trace), names)
        if isinstance(value, tuple) and any(isinstance(item, Graph) for item in value):
            return tuple([copied(item) for item in value])
        return value

    attributes = MappingProxyType({name: copied(value) for name, value in node.attributes.items()})
    info = node.info
    if info is not None and info.kept is not None and info.kept.attributes is node.attributes:
        info = info._replace(kept=info.kept._replace(attributes=attributes))
    return attributes, info
