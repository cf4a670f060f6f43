"""A model's tensors by name, and by path into the bodies of its nodes."""

from collections.abc import Iterator, Mapping

from .errors import nearest
from .ir import Graph, Node, Value

_MOST_PATHS = 3
"""How many of the tensors of one name a message shows."""


class Tensors:
    """The tensors of one graph and of the bodies in it, by the names that emission gave them."""

    def __init__(self, graph: Graph, names: Mapping[Value | None, str], outputs: Mapping[str, Value]) -> None:
        self._graph = graph
        self._names = names
        self._known: dict[str, Value] = {}
        self._twice: set[str] = set()
        for value, name in names.items():
            if value is not None:
                if name in self._known:
                    self._twice.add(name)
                self._known[name] = value
        for value in (*graph.inputs, *(value for node in graph.nodes for value in node.outputs)):
            if value in names:  # the outermost tensor of a name is meant
                self._known[names[value]] = value
                self._twice.discard(names[value])
        self._known.update(outputs)

    def find(self, wanted: str | tuple[str, ...]) -> Value:
        """The tensor of a name or path.

        Raises:
            LookupError: there is none, or there are several; the message is the end of a sentence.
        """
        if not isinstance(wanted, tuple):
            if wanted in self._twice:
                paths = [", ".join(map(repr, path)) for path in self._paths(wanted)]
                shown = " or ".join(f"model[{path}]" for path in paths[:_MOST_PATHS])
                raise LookupError(f"{len(paths)} tensors {wanted!r}, in bodies; write {shown}")
            if wanted not in self._known:
                raise LookupError(f"no tensor {wanted!r}{nearest(str(wanted), self._known)}")
            return self._known[wanted]
        if len(wanted) % 2 == 0:
            raise LookupError(
                f"no tensor at {wanted!r}; a path is the name of a tensor, the attribute of its node that holds a "
                "body, and the name of a tensor in that body"
            )
        value = self.find(wanted[0])
        for attribute, name in zip(wanted[1::2], wanted[2::2], strict=True):
            value = self._inside(value, attribute, name)
        return value

    def _inside(self, outer: Value, attribute: str, name: str) -> Value:
        label = repr(self._names.get(outer, ""))
        body = outer.node.attributes.get(attribute) if outer.node else None
        if not isinstance(body, Graph):
            held = [key for _, key, _ in _bodies([outer.node])] if outer.node else []
            hint = f"; it has {', '.join(map(repr, held))}" if held else ""
            raise LookupError(f"no body {attribute!r} in the node that makes {label}{hint}")
        known = {self._names[value]: value for value in _own(body) if value in self._names}
        if name not in known:
            raise LookupError(f"no tensor {name!r} in {attribute!r} of {label}{nearest(str(name), known)}")
        return known[name]

    def _paths(self, name: str) -> Iterator[tuple[str, ...]]:
        """The paths to all tensors of a name inside bodies."""
        stack: list[tuple[tuple[str, ...], Graph]] = [((), self._graph)]
        while stack:
            path, graph = stack.pop()
            if path and any(self._names.get(value) == name for value in _own(graph)):
                yield (*path, name)
            for node, attribute, body in reversed(list(_bodies(graph.nodes))):
                stack.append(((*path, self._names[node.outputs[0]], attribute), body))


def _own(graph: Graph) -> Iterator[Value]:
    """The values that a graph makes or takes."""
    yield from graph.inputs
    for node in graph.nodes:
        yield from node.outputs


def _bodies(nodes: tuple[Node, ...] | list[Node]) -> Iterator[tuple[Node, str, Graph]]:
    """The bodies of nodes, each with its node and the attribute that holds it."""
    for node in nodes:
        for attribute, value in node.attributes.items():
            if isinstance(value, Graph):
                yield node, attribute, value
