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
        self.names = names
        """What each value is called, those of bodies included."""
        self.known: dict[str, Value] = {}
        """The tensors by name; one in bodies only where no other has its name."""
        self._twice: set[str] = set()
        for value, name in names.items():
            if value is not None:
                if name in self.known:
                    self._twice.add(name)
                self.known[name] = value
        for value in (*graph.inputs, *(value for node in graph.nodes for value in node.outputs)):
            if value in names:  # the outermost tensor of a name is meant
                self.known[names[value]] = value
                self._twice.discard(names[value])
        self.known.update(outputs)

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
            if wanted not in self.known:
                raise LookupError(f"no tensor {wanted!r}{nearest(str(wanted), self.known)}")
            return self.known[wanted]
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
        label = repr(self.names.get(outer, ""))
        body = outer.node.attributes.get(attribute) if outer.node else None
        if not isinstance(body, Graph):
            held = [key for _, key, _ in _bodies([outer.node])] if outer.node else []
            hint = f"; it has {', '.join(map(repr, held))}" if held else ""
            raise LookupError(f"no body {attribute!r} in the node that makes {label}{hint}")
        known = {self.names[value]: value for value in _own(body) if value in self.names}
        if name not in known:
            raise LookupError(f"no tensor {name!r} in {attribute!r} of {label}{nearest(str(name), known)}")
        return known[name]

    def graphs(self, path: tuple[str, ...]) -> list[Graph]:
        """The graph that a path leads into, behind those that enclose it, the outermost first."""
        found = [self._graph]
        for end in range(1, len(path), 2):
            outer = self.find(path[:end])
            body = outer.node.attributes[path[end]] if outer.node else None
            assert isinstance(body, Graph)
            found.append(body)
        return found

    def _paths(self, name: str) -> Iterator[tuple[str, ...]]:
        """The paths to all tensors of a name inside bodies."""
        stack: list[tuple[tuple[str, ...], Graph]] = [((), self._graph)]
        while stack:
            path, graph = stack.pop()
            if path and any(self.names.get(value) == name for value in _own(graph)):
                yield (*path, name)
            for node, attribute, body in reversed(list(_bodies(graph.nodes))):
                stack.append(((*path, self.names[node.outputs[0]], attribute), body))


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
