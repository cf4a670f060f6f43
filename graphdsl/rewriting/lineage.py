"""What stands in whose place during a rewrite: who uses it, where it lies, and what the model before called it.

A node behind a replacement is made anew on its new inputs, and nothing else about it changes: what is known of its
place goes over to the new one. What the model before called it is looked up through the nodes that it was.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from ..emission import Emitter
from ..ir import Graph, ModelData, Node, Value
from ..walk import needs


def names_of(model: ModelData, *, functions: bool = False) -> dict[Value, str]:
    """What each value of a model, and perhaps of its local functions, is called when it is emitted."""
    emitter = Emitter(store=lambda tensor, array: True)
    emitter.model(model)
    named = {**emitter.names, **emitter.function_names} if functions else emitter.names
    return {value: name for value, name in named.items() if value is not None}


class Lineage:
    """The nodes and values of a model while it is rewritten, sweep after sweep."""

    def __init__(self, model: ModelData) -> None:
        self.replaced: list[tuple[Value, Value]] = []
        """Each value that a rule took away, with what stands in its place."""
        self.renewed: dict[Node, Node] = {}
        """The node that each one is in whose place it was made, for others of its inputs had been replaced."""
        self.gone: list[Node] = []
        """The nodes that were in use when the sweep began, and are no more."""
        self._before = model
        self._names: dict[Value, str] | None = None
        self._uses: dict[Value | None, int] = {}
        """How often a value is used."""
        self._homes: dict[Node, Graph] = {}
        """The graph that a node lies in; of none where no graph sees the values of another."""
        self.home: Callable[[Node], Graph | None] = self._homes.get
        """Tells the graph that a node lies in; None for all where no graph sees the values of another."""
        self._was: dict[Value, Value] = {}
        """What a rule took away first for a value, as far as anybody asked."""
        self._read = 0
        """How many of `replaced` are in `_was`."""

    def begin(self, parts: Sequence[Graph]) -> None:
        """Begin a sweep: count the uses of the values of graphs. An output counts twice: it is never inner only."""
        uses = Counter[Value | None]()
        self._homes.clear()
        self.gone = []
        nested = any(graph.captures for graph in parts)
        for graph in parts:
            if nested:
                self._homes.update(dict.fromkeys(graph.nodes, graph))
            uses.update(chain.from_iterable(map(needs, graph.nodes)))
            for _, value in graph.outputs:
                uses[value] += 2
        self._uses = dict(uses)  # which is read and written quicker than a Counter

    # Lookups

    def origin(self, node: Node) -> Node:
        """The node as the model had it, or as a rule made it."""
        renewed = self.renewed
        while node in renewed:
            node = renewed[node]
        return node

    def uses(self, value: Value) -> int:
        """How often a value is used, twice where it is an output of a graph."""
        return self._uses.get(value, 0)

    def label(self, value: Value) -> str:
        """What the model before called a value, or the one in whose place it stands."""
        if value.name:
            return value.name
        if self._names is None:
            self._names = names_of(self._before, functions=True)
        first: Value | None = value
        while first is not None and first not in self._names:
            first = self._earlier(first)
        made = value.node.schema.name if value.node is not None else "value"
        return (self._names.get(first) if first is not None else None) or f"output {value.index} of a new {made}"

    def _earlier(self, value: Value) -> Value | None:
        """The value whose place this one took, if it took one."""
        before = self.renewed.get(value.node) if value.node is not None else None
        if before is not None:
            return before.outputs[value.index]
        while self._read < len(self.replaced):
            old, new = self.replaced[self._read]
            self._was.setdefault(new, old)
            self._read += 1
        return self._was.get(value)

    # What happens

    def renew(self, old: Node, new: Node) -> None:
        """A node was made anew on other inputs: it is used, named and was made as before."""
        uses = self._uses
        self.renewed[new] = old
        if self._homes:
            self._homes[new] = self._homes[old]
        for value in old.outputs:
            uses[new.outputs[value.index]] = uses.get(value, 0)

    def replace(self, root: Node, found: Sequence[Value], made: Iterable[Node]) -> None:
        """A rule put values in the place of a node's, and made nodes for them."""
        uses, homes = self._uses, self._homes
        for new in made:
            if homes:
                homes[new] = homes[root]
            for value in needs(new):
                uses[value] = uses.get(value, 0) + 1
        for old in root.outputs:
            value = found[old.index]
            if value is not old:
                uses[value] = uses.get(value, 0) + uses.pop(old, 0)
                self.replaced.append((old, value))
        self._drop(root)

    def _drop(self, root: Node) -> None:
        """The root is gone: what only it used is used no more."""
        uses, stack = self._uses, [root]
        while stack:
            node = stack.pop()
            self.gone.append(node)
            for value in needs(node):
                uses[value] = left = uses.get(value, 0) - 1
                if not left and value is not None and value.node is not None:
                    outputs = value.node.outputs
                    if len(outputs) == 1 or not any(map(uses.get, outputs)):
                        stack.append(value.node)
