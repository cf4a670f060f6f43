"""A model's tensors by name, and by path into the bodies of its nodes."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Generic, TypeVar

from .emission import Emitter
from .errors import nearest
from .ir import Constant, Graph, ModelData, Node, Value
from .walk import constants

_MOST_PATHS = 3
"""How many of the tensors of one name a message shows."""


T = TypeVar("T", bound=Hashable)


class Places(Generic[T]):
    """What a graph lists, so that a few of it can be put in order without looking at all of it each time."""

    def __init__(self, listed: Iterable[T]) -> None:
        self._listed = tuple(listed)
        self._places: dict[T, int] | None = None

    def ordered(self, chosen: Collection[T]) -> list[T]:
        """Those that are chosen, in order; none that the graph does not list."""
        if len(chosen) * _FEW > len(self._listed):
            return [item for item in self._listed if item in chosen]
        if self._places is None:
            self._places = {item: place for place, item in enumerate(self._listed)}
        places = self._places
        return sorted((item for item in chosen if item in places), key=places.__getitem__)


_FEW = 16
"""Looking at so many things takes as long as putting one in order."""


class Tensors:
    """The tensors of a model and of the bodies in it, by their own names or those that emission gives them."""

    def __init__(self, model: ModelData) -> None:
        graph = model.graph
        names, called = own_names(graph) or emitted_names(model)
        self.output_names = tuple(called)
        outputs = dict(zip(called, (value for _, value in graph.outputs), strict=True))
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

    @cached_property
    def nodes(self) -> Places[Node]:
        """The nodes of the graph."""
        return Places(self._graph.nodes)

    @cached_property
    def initializers(self) -> Places[Value]:
        """The constants, and inputs with a default, that the graph lists."""
        return Places(self._graph.initializers)

    @cached_property
    def declared(self) -> Places[Value]:
        """The values of which a file says something."""
        return Places(self._graph.declared)

    @cached_property
    def inner(self) -> Mapping[Value, tuple[str, ...]]:
        """The paths to the bodies that the tensors lie in which are not outermost."""
        found: dict[Value, tuple[str, ...]] = {}
        stack: list[tuple[tuple[str, ...], Graph]] = [((), self._graph)]
        while stack:
            path, graph = stack.pop()
            if path:
                found.update((value, path) for value in _own(graph))
            for node, attribute, body in _bodies([node for node in graph.nodes if node.bodies]):
                makes = next((self.names[value] for value in node.outputs if value in self.names), "")
                stack.append(((*path, makes, attribute), body))
        return found

    @cached_property
    def renamed_constants(self) -> Mapping[Constant, str]:
        """The constants that have another name than their own, which most often is none."""
        found = {value: name for value, name in self.names.items() if isinstance(value, Constant)}
        return {value: name for value, name in found.items() if value.name != name}

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


Names = tuple[dict[Value | None, str], list[str]]
"""The names of values, and those of a graph's outputs."""


def emitted_names(model: ModelData) -> Names:
    """The names that emission gives."""
    emitter = Emitter(store=lambda tensor, array: True)
    proto = emitter.model(model)
    return emitter.names, [info.name for info in proto.graph.output]


def own_names(graph: Graph) -> Names | None:
    """The names that emission will give, where it only has to take those that the values have, as in loaded models.

    Not where a value has none, where two of one name meet, or where an output needs a copy: then emission decides.
    """
    names: dict[Value | None, str] = {None: ""}
    stack: list[tuple[Graph, tuple[set[str], ...]]] = [(graph, ())]
    while stack:
        part, outer = stack.pop()
        own = dict.fromkeys(_own(part), "") | dict.fromkeys(part.initializers, "")
        for value in own:
            name = value.name
            if name:
                own[value] = name
            elif name is not None or not _is_absent(value):
                return None
        taken = set(own.values())
        present: dict[Value | None, str] = {value: name for value, name in own.items() if name}
        if len(taken) - ("" in taken) < len(present) or any(not taken.isdisjoint(around) for around in outer):
            return None
        for name, value in part.outputs:
            if value not in present or name not in (None, value.name) or (outer and value.node is None):
                return None
        if len(dict.fromkeys(part.outputs)) < len(part.outputs):
            return None
        names.update(present)
        taken.discard("")
        stack.extend((body, (*outer, taken)) for node in part.nodes if node.attributes for body in node.bodies)
    unlisted = [constant for constant in constants(graph) if constant not in names]
    if unlisted:
        everything = set(names.values())
        for constant in unlisted:
            if not constant.name or constant.name in everything:
                return None
            everything.add(constant.name)
            names[constant] = constant.name
    return names, [names[value] for _, value in graph.outputs]


def _is_absent(value: Value) -> bool:
    """Whether a file leaves this output of a node out."""
    info = value.node.info if value.node is not None else None
    return info is not None and info.kept is not None and not info.kept.outputs[value.index]
