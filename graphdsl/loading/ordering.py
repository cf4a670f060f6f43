"""The nodes of a file in an order in which each comes after what it needs."""

from collections.abc import Iterator

import onnx

from ..errors import LoadError


def in_order(protos: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes so that each comes after those it needs: in the file's order, if that is one.

    Raises:
        LoadError: nodes need each other in a circle.
    """
    made = {name: index for index, proto in enumerate(protos) for name in proto.output if name}
    waits = [{made[name] for name in _needs(proto) if name in made} for proto in protos]
    if all(not wanted or max(wanted) < index for index, wanted in enumerate(waits)):
        return protos
    order: list[onnx.NodeProto] = []
    opened, done = [False] * len(protos), [False] * len(protos)
    for start in range(len(protos)):
        stack = [start]
        while stack:
            index = stack[-1]
            waiting = [] if done[index] else [other for other in sorted(waits[index]) if not done[other]]
            if waiting and opened[index]:
                raise LoadError(f"the nodes that make {', '.join(protos[index].output)!r} need each other in a circle")
            if waiting:
                opened[index] = True
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            if not done[index]:
                done[index] = True
                order.append(protos[index])
    return order


def _needs(proto: onnx.NodeProto) -> Iterator[str]:
    """The names that a node uses, those that its bodies capture included, but not those that are the bodies' own."""
    nothing: frozenset[str] = frozenset()
    stack = [(proto, nothing)]
    while stack:
        node, inner = stack.pop()
        yield from (name for name in node.input if name not in inner)
        for attribute in node.attribute:
            if attribute.type not in HOLDS_GRAPHS:
                continue
            for graph in (attribute.g, *attribute.graphs):
                own = inner.union(
                    (info.name for info in graph.input),
                    (tensor.name for tensor in graph.initializer),
                    (tensor.values.name for tensor in graph.sparse_initializer),
                    (name for made in graph.node for name in made.output),
                )
                yield from (info.name for info in graph.output if info.name not in own)
                stack.extend((made, own) for made in graph.node)


HOLDS_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
"""The kinds of attributes that hold bodies."""
