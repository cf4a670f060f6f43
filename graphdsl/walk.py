"""Every traversal of a graph. None recurses over depth: creation order is already a topological order."""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from .ir import Constant, Function, Graph, Input, Node, Value
from .schemas import Schema

_by_order = attrgetter("order")


def dependencies(node: Node) -> Iterator[Value]:
    """The values a node needs: its inputs, and what the bodies in its attributes capture."""
    for value in node.inputs:
        if value is not None:
            yield value
    for body in node.bodies:
        yield from body.captures


def reachable(outputs: Iterable[Value], within: object = None) -> tuple[list[Node], list[Input]]:
    """The nodes and graph inputs that the outputs need, in creation order; only those of one owner, if it is given."""
    found: set[Node] = set()
    inputs: set[Input] = set()
    stack = list(outputs)
    while stack:
        value = stack.pop()
        node = value.node
        if within is not None and value.owner is not within:
            continue
        if node is None:
            if isinstance(value, Input):
                inputs.add(value)
        elif node not in found:
            found.add(node)
            needed = dependencies(node) if node.attributes else node.inputs
            stack.extend([value for value in needed if value is not None and value.node not in found])
    return sorted(found, key=_by_order), sorted(inputs, key=_by_order)


def captured(nodes: Iterable[Node], inputs: Iterable[Value], outputs: Iterable[Value]) -> tuple[Value, ...]:
    """The values that come from outside: used by the nodes or outputs, but made by neither nodes nor inputs.

    Constants are not captured: each graph that uses one has it.
    """
    nodes = list(nodes)
    own: set[Value] = set(inputs)
    for node in nodes:
        own.update(node.outputs)
    free: dict[Value, None] = {}
    for node in nodes:
        for value in dependencies(node):
            if value not in own and not isinstance(value, Constant):
                free[value] = None
    for value in outputs:
        if value not in own and not isinstance(value, Constant):
            free[value] = None
    return tuple(free)


def operators(*parts: Graph) -> dict[Schema, Node]:
    """The operators of graphs and all bodies inside them, each with the first node that calls it."""
    first: dict[Schema, Node] = {}
    for part in parts:
        for inner in graphs(part):
            for node in inner.nodes:
                if node.schema not in first:
                    first[node.schema] = node
    return first


def functions(graph: Graph) -> tuple[Function, ...]:
    """The local functions that a graph calls, also from bodies and from other functions, in order of first use."""
    found: dict[Function, None] = {}
    stack = [graph]
    while stack:
        called = [schema.function for schema in operators(stack.pop()) if schema.function is not None]
        new = [function for function in called if function not in found]
        found.update(dict.fromkeys(new))
        stack.extend(function.graph for function in reversed(new))
    return tuple(found)


def constants(graph: Graph) -> tuple[Constant, ...]:
    """The constants that a graph and its bodies use, each once, in order of first use."""
    found: dict[Constant, None] = {}
    for inner in graphs(graph):
        for node in inner.nodes:
            found.update(dict.fromkeys(value for value in node.inputs if isinstance(value, Constant)))
        found.update(dict.fromkeys(value for _, value in inner.outputs if isinstance(value, Constant)))
    return tuple(found)


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and all bodies inside it, each once, outermost first."""
    stack = [graph]
    while stack:
        current = stack.pop()
        yield current
        for node in reversed(current.nodes):
            if node.attributes:
                stack.extend(reversed(node.bodies))
