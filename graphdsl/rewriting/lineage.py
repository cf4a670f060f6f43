"""What stands in whose place during a rewrite: who uses it, where it lies, and what the model before called it.

A node behind a replacement is made anew on its new inputs, and nothing else about it changes. So only that is noted of
it, which is cheap, and what is asked about it is looked up for the node that it was: rules fire at few places.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from ..emission import Emitter
from ..ir import Graph, ModelData, Node, Value
from ..walk import dependencies


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
        """How often a value is used; one that was made anew counts as what it was at first."""
        self._homes: dict[Node, Graph] = {}
        """The graph of each node that was there when the sweep began, or was made by a rule."""
        self._was: dict[Value, Value] = {}
        """What a rule took away first for a value, as far as anybody asked."""
        self._read = 0
        """How many of `replaced` are in `_was`."""

    def begin(self, parts: Iterable[Graph]) -> None:
        """Begin a sweep: count the uses of the values of graphs. An output counts twice: it is never inner only."""
        uses = Counter[Value | None]()
        homes = self._homes = {}
        self.gone = []
        for graph in parts:
            homes.update(dict.fromkeys(graph.nodes, graph))
            uses.update(chain.from_iterable([node.inputs for node in graph.nodes]))
            for body in [body for node in graph.nodes if node.attributes for body in node.bodies]:
                uses.update(body.captures)
            for _, value in graph.outputs:
                uses[value] += 2
        self._uses = dict(uses)

    # Lookups

    def first(self, node: Node) -> Node:
        """The node as the sweep began with it, or as a rule made it, before its inputs changed."""
        homes, renewed = self._homes, self.renewed
        while node not in homes and node in renewed:
            node = renewed[node]
        return node

    def origin(self, node: Node) -> Node:
        """The node as the model had it, or as a rule made it."""
        renewed = self.renewed
        while node in renewed:
            node = renewed[node]
        return node

    def home(self, node: Node) -> Graph | None:
        """The graph that a node lies in."""
        return self._homes.get(self.first(node))

    def uses(self, value: Value) -> int:
        """How often a value is used, twice where it is an output of a graph."""
        return self._uses.get(self._counted(value), 0)

    def _counted(self, value: Value) -> Value:
        """The value that the uses of one are counted for."""
        return value if value.node is None else self.first(value.node).outputs[value.index]

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
        self.renewed[new] = old

    def replace(self, root: Node, found: Sequence[Value], made: Iterable[Node]) -> None:
        """A rule put values in the place of a node's, and made nodes for them."""
        uses, homes, counted = self._uses, self._homes, self._counted
        home = homes[root] if root in homes else homes[self.first(root)]
        for new in made:
            homes[new] = home
            for value in dependencies(new) if new.attributes else new.inputs:
                if value is not None and value.node is not None:
                    one = value if value.node in homes else counted(value)
                    uses[one] = uses.get(one, 0) + 1
        for old in root.outputs:
            value = found[old.index]
            if value is not old:
                before, after = counted(old), counted(value)
                uses[after] = uses.get(after, 0) + uses.pop(before, 0)
                self.replaced.append((old, value))
        self._drop(root)

    def _drop(self, root: Node) -> None:
        """The root is gone: what only it used is used no more."""
        uses, homes, stack = self._uses, self._homes, [root]
        while stack:
            node = stack.pop()
            self.gone.append(node)
            for value in dependencies(node) if node.attributes else node.inputs:
                made = value.node if value is not None else None
                if value is None or made is None:
                    continue
                outputs = made.outputs if made in homes else self.first(made).outputs
                one = outputs[value.index]
                uses[one] = left = uses[one] - 1
                if not left and (len(outputs) == 1 or not any(map(uses.get, outputs))):
                    stack.append(made)
