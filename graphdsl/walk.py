"""Every traversal of a graph. None recurses over depth: creation order is already a topological order."""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from .ir import Constant, Graph, Input, Node, Value

_by_order = attrgetter("order")


def dependencies(node: Node) -> Iterator[Value]:
    """The values a node needs: its inputs, and what the bodies in its attributes capture."""
    for value in node.inputs:
        if value is not None:
            yield value
    for body in node.bodies:
        yield from body.captures


def reachable(outputs: Iterable[Value], stop: frozenset[Value] = frozenset()) -> list[Node]:
    """The nodes that the outputs need, in creation order; the walk does not go behind a value of `stop`."""
    found: set[Node] = set()
    stack = [value.node for value in outputs if value.node is not None and value not in stop]
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found.add(node)
        for value in node.inputs if not node.attributes else dependencies(node):
            if value is not None and value.node is not None and value.node not in found and value not in stop:
                stack.append(value.node)
    return sorted(found, key=_by_order)


def leaves(nodes: Iterable[Node], outputs: Iterable[Value]) -> tuple[list[Input], list[Constant]]:
    """The inputs and constants that nodes and outputs refer to, each once, in order of first use."""
    seen: dict[Value, None] = {}
    for node in nodes:
        for value in node.inputs if not node.attributes else dependencies(node):
            if value is not None and value.node is None:
                seen[value] = None
    for value in outputs:
        if value.node is None:
            seen[value] = None
    return [v for v in seen if isinstance(v, Input)], [v for v in seen if isinstance(v, Constant)]


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


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and all bodies inside it, each once, outermost first."""
    stack = [graph]
    while stack:
        current = stack.pop()
        yield current
        for node in reversed(current.nodes):
            stack.extend(reversed(node.bodies))
