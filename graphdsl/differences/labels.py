"""What nodes are, as numbers that are equal where nodes are alike: alone, with all before them, with all behind them.

Numbers are given to keys as they are met (hash-consing): equal numbers mean equal keys, and nothing is compared deeply.
A node's number forwards depends on all nodes that it needs, its number backwards on all that need it. One change in a
graph leaves the numbers forwards alone before it and the numbers backwards behind it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir import Function, Graph, Node, Opaque, Value

_SAMPLED = 1024
"""Of larger arrays, only this many bytes at both ends tell them apart; the verdict on a pair reads everything."""

_MOST_OUTPUTS = 1024


class Numbers:
    """Gives equal keys equal numbers; one for both graphs of a comparison."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._arrays: dict[int, tuple[np.ndarray, int]] = {}
        self._bodies: dict[Graph, int] = {}

    def of(self, key: Any) -> int:
        """The number of a key."""
        return self._known.setdefault(key, len(self._known))

    def array(self, array: np.ndarray) -> int:
        """The number of an array by its dtype, shape and a sample of its contents."""
        known = self._arrays.get(id(array))
        if known is None:
            known = self._arrays[id(array)] = array, self.of((array.dtype.str, array.shape, _sample(array)))
        return known[1]

    def value(self, value: Any) -> Any:
        """A key for an attribute's value."""
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, Graph):
            return self.body(value)
        if isinstance(value, Opaque):
            return value.proto.SerializeToString(deterministic=True)
        if isinstance(value, tuple) and type(value) is tuple:
            return tuple(map(self.value, value))
        # 1 and 1.0 are equal as keys, and other attributes; so are 0.0 and -0.0
        return (type(value).__name__, repr(value)) if isinstance(value, (float, int)) else value

    def body(self, graph: Graph) -> int:
        """The number of a graph by itself; what it takes from outside counts by the order in which it is met."""
        found = self._bodies.get(graph)
        if found is None:
            outside = {value: ("outside", index) for index, value in enumerate(graph.captures)}
            values: dict[Value, Any] = dict(outside)
            values.update({value: ("input", index) for index, value in enumerate(graph.inputs)})
            for node in graph.nodes:
                given = tuple([self._known_input(value, values) for value in node.inputs])
                captured = tuple([values.get(v) for body in node.bodies for v in body.captures])
                number = self.of(("node", self.exact(node), given, captured))
                values.update({value: (number, index) for index, value in enumerate(node.outputs)})
            ends = tuple([self._known_input(value, values) for _, value in graph.outputs])
            found = self._bodies[graph] = self.of(("body", len(graph.inputs), ends))
        return found

    def _known_input(self, value: Value | None, values: Mapping[Value, Any]) -> Any:
        if value is None or value in values:
            return None if value is None else values[value]
        return self.array(value.array) if value.array is not None else ("?", value.name)

    def exact(self, node: Node) -> int:
        """The number of a node alone: its operator, attributes, bodies, and the contents of its constants."""
        return self.of(("exact", *self._alone(node, self.array)))

    def shaped(self, node: Node) -> int:
        """The same, of constants only the dtypes and shapes."""
        return self.of(("shaped", *self._alone(node, lambda array: (array.dtype.str, array.shape))))

    def _alone(self, node: Node, constant: Any) -> tuple[Any, ...]:
        attributes: Any = ()
        if node.attributes:
            attributes = tuple([(name, self.value(value)) for name, value in sorted(node.attributes.items())])
        constants = tuple([None if v is None or v.array is None else constant(v.array) for v in node.inputs])
        return node.schema.domain, node.schema.name, _overload(node.schema.function), attributes, constants


def _overload(function: Function | None) -> str:
    return "" if function is None else function.overload or ""


def _sample(array: np.ndarray) -> Any:
    if array.dtype == object:
        return tuple(array.ravel()[:_SAMPLED].tolist())
    if array.nbytes <= 2 * _SAMPLED:
        return array.tobytes()
    flat = array.reshape(-1)
    count = max(1, _SAMPLED // array.itemsize)
    return flat[:count].tobytes(), flat[-count:].tobytes()


class Use(NamedTuple):
    """A use of a value: the place of the node among the graph's, and of the input; -1 for a body's."""

    node: int
    input: int


class View:
    """A graph as the matching sees it."""

    def __init__(self, graph: Graph, names: Mapping[Value | None, str]) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.names = names
        self.place = {node: place for place, node in enumerate(graph.nodes)}
        self.uses: dict[Value, list[Use]] = {}
        for place, node in enumerate(graph.nodes):
            for index, value in enumerate(node.inputs):
                if value is not None and value.array is None:
                    self.uses.setdefault(value, []).append(Use(place, index))
            for body in node.bodies if node.attributes else ():
                for value in body.captures:
                    self.uses.setdefault(value, []).append(Use(place, -1))

    def maker(self, value: Value | None) -> int | None:
        """The place of the node that makes a value; None for what comes from elsewhere."""
        return None if value is None or value.node is None else self.place.get(value.node)

    def needed(self, place: int) -> list[Value | None]:
        """The inputs of a node, and what its bodies capture."""
        node = self.nodes[place]
        found = list(node.inputs)
        for body in node.bodies if node.attributes else ():
            found += body.captures
        return found

    def name(self, place: int) -> str:
        """The name of the first output of a node that has one."""
        return next((self.names[v] for v in self.nodes[place].outputs if self.names.get(v)), "")

    def label(self, value: Value | None) -> str:
        """What a value is called."""
        return "" if value is None else self.names.get(value) or value.name or ""


def forwards(view: View, labels: Sequence[int], numbers: Numbers, outside: Mapping[Value, Any]) -> list[int]:
    """The number of each node with all that it needs; `outside` are keys for values that no node makes."""
    values: dict[Value, Any] = dict(outside)
    found: list[int] = []
    of = numbers.of
    for place, node in enumerate(view.nodes):
        needed = view.needed(place) if node.attributes else node.inputs
        given = tuple([values.get(value) for value in needed if value is not None])
        number = of((labels[place], given))
        found.append(number)
        if len(node.outputs) == 1:
            values[node.outputs[0]] = number
        else:
            values.update({value: (number, index) for index, value in enumerate(node.outputs)})
    return found


def backwards(view: View, labels: Sequence[int], numbers: Numbers) -> list[int]:
    """The number of each node with all that needs it, up to the graph's outputs."""
    ends: dict[Value, list[str]] = {}
    for name, value in view.graph.outputs:
        ends.setdefault(value, []).append(name or view.label(value))
    found = [0] * len(view.nodes)
    of, uses = numbers.of, view.uses
    for place in range(len(view.nodes) - 1, -1, -1):
        behind: list[Any] = []
        for index, value in enumerate(view.nodes[place].outputs):
            used = uses.get(value)
            if used is not None:
                behind.append((index, *sorted([(found[use.node], use.input) for use in used])))
            if value in ends:
                behind.append((index, *ends[value]))
        found[place] = of(("backwards", labels[place], *behind))
    return found
