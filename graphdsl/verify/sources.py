"""Which inputs of a model hold the elements of a value: through what only moves them, into bodies and out of them."""

from collections.abc import Iterator

from ..ir import Graph, Input, ModelData, Node, Value
from ..walk import graphs

_SAME = frozenset(
    {
        *("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Expand", "Tile", "Slice", "Split"),
        *("Cast", "Gather", "GatherElements", "GatherND", "Dropout", "Compress", "DepthToSpace", "SpaceToDepth"),
    }
)
"""Operators whose result holds elements of the first input only; Cast too, of numbers that both dtypes hold."""

_ANY_OF = frozenset({"Concat", "Where", "Max", "Min", "SequenceConstruct"})
"""Operators whose result holds elements of any input."""


class Sources:
    """Where the elements of a model's values come from."""

    def __init__(self, model: ModelData) -> None:
        self._inputs = frozenset(model.graph.inputs)
        self._bodies: dict[Value, tuple[Node, Graph, int]] = {
            parameter: (node, body, place)
            for graph in graphs(model.graph)
            for node in graph.nodes
            if not node.domain
            for body in node.bodies
            for place, parameter in enumerate(body.inputs)
        }

    def of(self, value: Value) -> tuple[list[Input], list[Node]]:
        """The inputs of the model whose elements a value holds, and the casts on the way."""
        found: dict[Input, None] = {}
        casts: list[Node] = []
        seen: set[Value] = set()
        stack = [value]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            if isinstance(current, Input) and current in self._inputs:
                found[current] = None
            elif current in self._bodies:
                stack += _taken(*self._bodies[current])
            elif current.node is not None and not current.node.domain:
                if current.node.op_type == "Cast":
                    casts.append(current.node)
                stack += _given(current.node, current)
        return list(found), casts


def _taken(node: Node, body: Graph, place: int) -> Iterator[Value]:
    """The values that an input of a body takes, at first and from round to round."""
    name = node.op_type
    if name == "Loop" and place:  # the first counts the rounds
        yield from _present(node, place)
        yield body.outputs[place - 1][1]
    elif name == "Scan":
        first = _first_state(node)
        yield from _present(node, first + place)
        if place < _states(node):
            yield body.outputs[place][1]
    elif name == "SequenceMap":
        yield from _present(node, place)


def _given(node: Node, value: Value) -> Iterator[Value]:
    """The values whose elements an output of a node holds."""
    name, place = node.op_type, node.outputs.index(value)
    if name in _SAME:
        yield from _present(node, 0)
    elif name in _ANY_OF:
        yield from (item for item in node.inputs if item is not None)
    elif name in ("If", "SequenceMap"):
        yield from (body.outputs[place][1] for body in node.bodies)
    elif name == "Loop":
        if place < len(node.inputs) - 2:
            yield from _present(node, place + 2)
        yield from (body.outputs[place + 1][1] for body in node.bodies)
    elif name == "Scan":
        if place < _states(node):
            yield from _present(node, _first_state(node) + place)
        yield from (body.outputs[place][1] for body in node.bodies)


def _present(node: Node, place: int) -> Iterator[Value]:
    """An input of a node, if it is given."""
    value = node.inputs[place] if place < len(node.inputs) else None
    if value is not None:
        yield value


def _first_state(node: Node) -> int:
    """Where the inputs of a Scan begin: before opset 9 the lengths of sequences come first."""
    return 1 if node.schema.since < 9 else 0


def _states(node: Node) -> int:
    """How many values a Scan carries from row to row."""
    carried: int = len(node.inputs) - _first_state(node) - node.attributes["num_scan_inputs"]
    return carried
