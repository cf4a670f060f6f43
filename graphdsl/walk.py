"""Every traversal of a graph. None recurses over depth: creation order is already a topological order."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from operator import attrgetter
from typing import NamedTuple

from .ir import Constant, Function, Graph, Input, Node, Value
from .schemas import Schema
from .types import Type

_by_order = attrgetter("order")


def needs(node: Node) -> Sequence[Value | None]:
    """What a node refers to: its inputs, None for absent ones, and what the bodies in its attributes capture."""
    if not node.schema.may_have_bodies:  # nearly all
        return node.inputs
    return node.inputs + tuple([value for body in node.bodies for value in body.captures])


def dependencies(node: Node) -> list[Value]:
    """The values a node needs: its inputs, and what the bodies in its attributes capture."""
    return [value for value in needs(node) if value is not None]


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
            stack.extend([value for value in needs(node) if value is not None and value.node not in found])
    return sorted(found, key=_by_order), sorted(inputs, key=_by_order)


class Between(NamedTuple):
    """What outputs need where some values are given."""

    nodes: set[Node]
    inputs: dict[Input, None]
    """The inputs of graphs that are needed besides the given values."""
    met: set[Value]
    """The given values that are needed."""


def between(outputs: Iterable[Value], stops: Collection[Value]) -> Between:
    """What the outputs need where the values `stops` are given: the walk against the edges ends there."""
    found: set[Node] = set()
    inputs: dict[Input, None] = {}
    met: set[Value] = set()
    stack = list(outputs)
    while stack:
        value = stack.pop()
        if value in stops:
            met.add(value)
            continue
        node = value.node
        if node is None:
            if isinstance(value, Input):
                inputs[value] = None
        elif node not in found:
            found.add(node)
            stack.extend(dependencies(node))
    return Between(found, inputs, met)


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


class Survey(NamedTuple):
    """What the nodes of graphs and of all bodies inside them use, gathered in one pass."""

    operators: dict[Schema, Node]
    """Each operator, with the first node that calls it."""
    types: set[Type | None]
    """The types of what is made there or handed in and out, and of what operators take that ONNX does not bound."""
    graphs: int = 0
    """How many graphs there are, bodies included."""


def survey(*parts: Graph) -> Survey:
    """What graphs use; the functions that they call are parts of their own."""
    operators: dict[Schema, Node] = {}
    types: set[Type | None] = set()
    count = 0
    for part in parts:
        for graph in graphs(part):
            count += 1
            types.update([value.type for value in graph.inputs])
            types.update([value.type for _, value in graph.outputs])
            for node in graph.nodes:
                if node.schema.native is None:
                    types.update([value.type for value in node.inputs if value is not None])
                if node.schema not in operators:
                    operators[node.schema] = node
                for value in node.outputs:
                    types.add(value.type)
    return Survey(operators, types, count)


def deepest(graph: Graph) -> tuple[int, Node | None]:
    """How deep bodies are nested in a graph, and the node that has the innermost one."""
    depth, owner = 0, None
    level: list[tuple[Node | None, Graph]] = [(None, graph)]
    while level:
        owner = level[0][0]
        level = [(node, body) for _, outer in level for node in outer.nodes if node.attributes for body in node.bodies]
        depth += bool(level)
    return depth, owner


def operators(*parts: Graph) -> dict[Schema, Node]:
    """The operators of graphs and bodies, each with the first node that calls it; no type is asked for."""
    first: dict[Schema, Node] = {}
    for part in parts:
        for graph in graphs(part):
            for node in graph.nodes:
                first.setdefault(node.schema, node)
    return first


def is_random(node: Node) -> bool:
    """Whether a node, or one in its bodies or the function that it calls, may compute something else each time."""
    if node.schema.function is None and not node.schema.may_have_bodies:  # nearly all
        return not node.schema.deterministic
    stack, seen = [node], set[Function]()
    while stack:
        current = stack.pop()
        schema = current.schema
        if current.bodies:
            stack.extend(inner for body in current.bodies for inner in body.nodes)
        elif schema.function is not None:
            if schema.function not in seen:
                seen.add(schema.function)
                stack.extend(schema.function.graph.nodes)
        elif not schema.deterministic:
            return True
    return False


def functions(called_operators: Iterable[Schema]) -> tuple[Function, ...]:
    """The local functions among operators, and those that they call in turn, in order of first use."""
    found: dict[Function, None] = {}
    stack = [called_operators]
    while stack:
        called = [schema.function for schema in stack.pop() if schema.function is not None]
        new = [function for function in dict.fromkeys(called) if function not in found]
        found.update(dict.fromkeys(new))
        stack.extend(operators(function.graph) for function in reversed(new))
    return tuple(found)


def callees_first(functions: Iterable[Function]) -> list[Function]:
    """Functions in an order in which each comes after those that it calls."""
    order: dict[Function, None] = {}
    stack = [(function, False) for function in reversed(list(functions))]
    while stack:
        function, ready = stack.pop()
        if ready or function in order:
            order.setdefault(function)
            continue
        stack.append((function, True))
        called = [schema.function for schema in operators(function.graph) if schema.function is not None]
        stack.extend((callee, False) for callee in called if callee not in order)
    return list(order)


def arguments(*parts: Graph) -> dict[Value, set[Type | None]]:
    """The types of what calls of local functions give to their inputs; None for one left out or that nobody knows."""
    found: dict[Value, set[Type | None]] = {}
    for part in parts:
        for graph in graphs(part):
            for node in graph.nodes:
                entries = node.schema.function.graph.inputs if node.schema.function is not None else ()
                for entry, value in zip_longest(entries, node.inputs[: len(entries)]):
                    found.setdefault(entry, set()).add(None if value is None else value.type)
    return found


def expanded_size(graph: Graph) -> int:
    """How many nodes a graph has, bodies included, when all calls of local functions are expanded."""
    sizes: dict[Function, int] = {}
    stack: list[tuple[Function | None, Graph]] = [(None, graph)]
    total = 0
    while stack:
        function, part = stack[-1]
        called = [node.schema.function for inner in graphs(part) for node in inner.nodes]
        waiting = [callee for callee in dict.fromkeys(called) if callee is not None and callee not in sizes]
        if waiting:
            stack += [(callee, callee.graph) for callee in waiting]
            continue
        total = sum(1 if callee is None else sizes[callee] for callee in called)
        if function is not None:
            sizes[function] = total
        stack.pop()
    return total


def constants(graph: Graph) -> tuple[Constant, ...]:
    """The constants that a graph and its bodies use, each once, in order of first use."""
    found: dict[Constant, None] = {}
    for inner in graphs(graph):
        for node in inner.nodes:
            for value in node.inputs:
                if isinstance(value, Constant):
                    found[value] = None
        for _, value in inner.outputs:
            if isinstance(value, Constant):
                found[value] = None
    return tuple(found)


def used(graph: Graph) -> set[Value | None]:
    """The values that the nodes and outputs of a graph and its bodies use; None too, where an input is absent."""
    found: set[Value | None] = set()
    for inner in graphs(graph):
        found.update(chain.from_iterable([node.inputs for node in inner.nodes]))
        found.update([value for _, value in inner.outputs])
    return found


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and all bodies inside it, each once, outermost first."""
    stack = [graph]
    while stack:
        current = stack.pop()
        yield current
        for node in [node for node in current.nodes if node.schema.may_have_bodies][::-1]:
            stack.extend(reversed(node.bodies))
