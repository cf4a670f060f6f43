"""Every traversal of a graph. None recurses over depth: creation order is already a topological order."""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from .ir import Constant, Graph, Input, Node, Value
from .schemas import Schema

_by_order = attrgetter("order")


def dependencies(node: Node) -> Iterator[Value]:
    """The values a node needs: its inputs, and what the bodies in its attributes capture."""
    for value in node.inputs:
        if value is not None:
            yield value
    for body in node.bodies:
        yield from body.captures


def reachable(outputs: Iterable[Value], stop: frozenset[Value] = frozenset()) -> tuple[list[Node], list[Input]]:
    """The nodes and graph inputs that the outputs need, in creation order; the walk ends at a value of `stop`."""
    found: set[Node] = set()
    inputs: set[Input] = set()
    stack = [value for value in outputs if value not in stop]
    while stack:
        value = stack.pop()
        node = value.node
        if node is None:
            if isinstance(value, Input):
                inputs.add(value)
        elif node not in found:
            found.add(node)
            for needed in dependencies(node) if node.attributes else node.inputs:
                if needed is not None and needed.node not in found and needed not in stop:
                    stack.append(needed)
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


def operators(graph: Graph) -> dict[Schema, Node]:
    """The operators of a graph and all bodies inside it, each with the first node that calls it."""
    first: dict[Schema, Node] = {}
    for inner in graphs(graph):
        for node in inner.nodes:
            if node.schema not in first:
                first[node.schema] = node
    return first


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and all bodies inside it, each once, outermost first."""
    stack = [graph]
    while stack:
        current = stack.pop()
        yield current
        for node in reversed(current.nodes):
            if node.attributes:
                stack.extend(reversed(node.bodies))
