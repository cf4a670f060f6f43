"""The rewrite: rules applied in one linear sweep after another, until none fires."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

from .. import schemas
from ..emission import Emitter
from ..errors import GraphError, RuleError
from ..garbage import undisturbed
from ..ir import (
    Function,
    Graph,
    ModelData,
    Node,
    NodeInfo,
    Origin,
    Value,
    adopt_origin,
    make_node,
    next_order,
    node_metadata,
)
from ..lookup import Tensors
from ..sites import Location, Site, at, caller, locate
from ..tensor import Tensor
from ..tensor.calling import current_trace
from ..tensor.handle import Handle
from ..transforming import forget, made_since, replacement, sweep
from ..walk import dependencies, graphs, is_random
from .conditions import type_change
from .generic import generic, untyped
from .matching import Found, Matcher
from .patterns import TracedPattern, makers
from .writing import Recipe

M = TypeVar("M", bound=ModelData)

_MOST_SWEEPS = 50
_FIRINGS_PER_NODE = 8
"""A rewrite ends after this many firings for each node of the model, and says which rules were still firing."""


class Applicable(Protocol):
    """What the engine needs of a rule."""

    name: str
    keep_shared: bool
    refine: bool
    recipe: Recipe

    def replacement(self, match: Found, traced: TracedPattern) -> Any:
        """What the rule's function returns for a match."""


class Firing(NamedTuple):
    """One application of a rule: its name, and the names of the tensors that were replaced."""

    rule: str
    tensors: tuple[str, ...]
    site: Site | None = None

    @property
    def line(self) -> Location | None:
        """Where the node that was replaced was written; None for one from a file."""
        return locate(self.site)


class Skip(NamedTuple):
    """A full match that was left alone, and why."""

    rule: str
    tensors: tuple[str, ...]
    reason: str


class _Maker(NamedTuple):
    """The firing that made a node: its number, and the rules of the unbroken chain of firings that it ends."""

    number: int
    chain: frozenset[str]


_Entry = tuple[Applicable, TracedPattern]


def names_of(model: ModelData, *, functions: bool = False) -> dict[Value, str]:
    """What each value of a model, and perhaps of its local functions, is called when it is emitted."""
    emitter = Emitter(store=lambda tensor, array: True)
    emitter.model(model)
    named = {**emitter.names, **emitter.function_names} if functions else emitter.names
    return {value: name for value, name in named.items() if value is not None}


Place = str | tuple[str, ...] | Handle
"""A tensor: by its name, by the path to one in a body, or itself."""


def producers(model: ModelData, wanted: Iterable[Place]) -> set[Node]:
    """The nodes that make the named tensors.

    Raises:
        GraphError: the model has no such tensor, or no node makes it.
    """
    tensors = Tensors(model)
    found: set[Node] = set()
    for name in wanted:
        if isinstance(name, Handle):
            value = name._v
            if value not in tensors.names:
                raise GraphError(f"{name!r} is no tensor of the model {model.graph.name!r}" + at(caller()))
        else:
            try:
                value = tensors.find(name)
            except LookupError as error:
                raise GraphError(f"the model {model.graph.name!r} has {error.args[0]}" + at(caller())) from None
        if value.node is None:
            raise GraphError(f"the tensor {name!r} is made by no node" + at(caller()))
        found.add(value.node)
    return found


class Engine:
    """The state of a rewrite: who uses what, what made which node, what happened."""

    def __init__(
        self, model: ModelData, rules: Sequence[Applicable], allowed: set[Node] | None, *, strict: bool
    ) -> None:
        self.unproven = 0
        self.replaced: dict[Value, Value] = {}
        """What stands in the place of a value that a rule took away."""
        self.renewed: dict[Node, Node] = {}
        """The node that each one is in whose place it was made, for others of its inputs had been replaced."""
        self._before = model
        self._rules = rules
        self._strict = strict
        self._allowed = allowed
        """The nodes at which rules may fire, as they were made at first, see `_origin`; None for all."""
        self._fired: list[tuple[str, tuple[Value, ...], Site | None]] = []
        self._skipped: dict[Any, tuple[str, tuple[Value, ...], str]] = {}
        self._unwritable: dict[tuple[str, str], Skip] = {}
        self._makers: dict[Node, _Maker] = {}
        """The firing that made a node, for those that a rule made."""
        self._was: dict[Value, Value] = {}
        """What a rule took away for a value."""
        self._names: dict[Value, str] | None = None
        self._tables: dict[int, dict[tuple[str, str], list[_Entry]]] = {}
        self._uses: Counter[Value | None] = Counter()
        """How often a value is used; one that was made anew counts as what it was at first, see `_first`."""
        self._homes: dict[Node, Graph] = {}
        """The graph of each node that was there when the sweep began, or was made by a rule."""
        self._roots: set[str] = set()
        """The operators that rules end in."""
        self._gone: set[Node] = set()
        """The nodes that were in use when the sweep began, and are no more."""
        self._unfinished = False
        """Whether another sweep may find what this one could not: each node was met after all that it depends on."""
        nodes = sum(len(graph.nodes) for part in _parts(model) for graph in graphs(part))
        self._budget = 1000 + _FIRINGS_PER_NODE * nodes

    def run(self, model: M) -> M:
        """The model after sweeps until nothing fires, or the budget ends it."""
        with undisturbed():
            return self._run(model)

    def _run(self, model: M) -> M:
        version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
        self._table(version)
        for _ in range(_MOST_SWEEPS):
            before = len(self._fired)
            self._skipped.clear()
            self._unfinished = False
            model = self._sweep(model)
            fired = [name for name, _, _ in self._fired[before:]]
            if not fired or not self._unfinished or len(self._fired) >= self._budget:
                return model
        for name in dict.fromkeys(fired):
            reason = f"the rewrite ended after {_MOST_SWEEPS} sweeps, with this rule still firing"
            self._skipped[name, reason] = (name, (), reason)
        return model

    @property
    def firings(self) -> tuple[Firing, ...]:
        """What fired, in order."""
        return tuple([Firing(name, tuple(map(self._label, values)), site) for name, values, site in self._fired])

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """What was left alone in the last sweep, and rules that cannot be written at an opset of the model."""
        lasting = [entry for entry in self._skipped.values() if not entry[1] or entry[1][0].node not in self._gone]
        found = [Skip(name, tuple(map(self._label, values)), reason) for name, values, reason in lasting]
        return (*self._unwritable.values(), *found)

    def _table(self, version: int) -> dict[tuple[str, str], list[_Entry]]:
        """The rules by the operators that their roots are, as written at an opset."""
        table = self._tables.get(version)
        if table is not None:
            return table
        table = self._tables[version] = {}
        for item in self._rules:
            found = item.recipe.at(version)
            if isinstance(found, GraphError):
                reason = f"it cannot be written at opset {version}: {found}"
                self._unwritable[item.name, reason] = Skip(item.name, (), reason)
                continue
            for key in dict.fromkeys((root.schema.domain, name) for root in found.roots for name in sorted(root.names)):
                table.setdefault(key, []).append((item, found))
        return table

    # One sweep

    def _sweep(self, model: M) -> M:
        bodies = {f: untyped(f.graph) for f in generic(model)}
        self._uses, self._homes, self._gone = Counter(), {}, set()
        for part in _parts(model, bodies):
            for graph in graphs(part):
                self._survey(graph)
        version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
        for imports in (model.opset_imports, *[function.opset_imports for function in model.functions]):
            self._roots.update(name for _, name in self._table(imports.get("", version)))
        return sweep(model, self._visit, self._follow, bodies=bodies)

    def _survey(self, graph: Graph) -> None:
        """Count the uses of a graph's values; an output counts twice, since it is never an inner value only."""
        uses = self._uses
        self._homes.update(dict.fromkeys(graph.nodes, graph))
        uses.update(chain.from_iterable([node.inputs for node in graph.nodes]))
        for body in [body for node in graph.nodes if node.attributes for body in node.bodies]:
            uses.update(body.captures)
        for _, value in graph.outputs:
            uses[value] += 2

    def _follow(self, old: Node, new: Node) -> None:
        """A node was made anew on other inputs: it is used, named and was made as before."""
        self.renewed[new] = old

    def _first(self, node: Node) -> Node:
        """The node as the sweep began with it, or as a rule made it, before its inputs changed."""
        homes, renewed = self._homes, self.renewed
        while node not in homes and node in renewed:
            node = renewed[node]
        return node

    def _origin(self, node: Node) -> Node:
        """The node as the model had it, or as a rule made it."""
        renewed = self.renewed
        while node in renewed:
            node = renewed[node]
        return node

    def _home(self, node: Node) -> Graph | None:
        """The graph that a node lies in."""
        return self._homes.get(self._first(node))

    def _counted(self, value: Value) -> Value:
        """The value that the uses of one are counted for."""
        node = value.node
        return value if node is None or node in self._homes else self._first(node).outputs[value.index]

    def _visit(self, node: Node) -> Sequence[Value] | None:
        """What takes the node's place after all rules that fire on it, and on what they made."""
        if node.schema.name not in self._roots:
            return None
        table = self._table(schemas.opset_in_force())
        first = self._fire(node, table)
        if first is None:
            return None
        queue = deque(self._next(first[1]))
        if not any((new.schema.domain, new.schema.name) in table for new in queue):
            return first[0]
        values: dict[Value, Value] = {}
        while queue:
            current = queue.popleft()
            inputs = tuple([None if value is None else _last(values, value) for value in current.inputs])
            if any(a is not b for a, b in zip(inputs, current.inputs, strict=True)):
                types = tuple([value.type for value in current.outputs])
                renewed = make_node(
                    current.schema, inputs, current.attributes, types, current_trace(), current.site, current.info
                )
                self._follow(current, renewed)
                values.update(zip(current.outputs, renewed.outputs, strict=True))
                current = renewed
            found = self._fire(current, table)
            if found is not None:
                values.update(zip(current.outputs, found[0], strict=True))
                queue.extendleft(reversed(self._next(found[1])))
        return [_last(values, value) for value in first[0]]

    def _next(self, made: list[Node]) -> list[Node]:
        """The nodes to look at after a firing; where there are bodies, the next sweep looks at all of them."""
        if any(new.bodies for new in made):
            self._unfinished = True
            return []
        return made

    # One match

    def _fire(
        self, node: Node, table: Mapping[tuple[str, str], list[_Entry]]
    ) -> tuple[tuple[Value, ...], list[Node]] | None:
        """Apply the first rule that fires on a node: the new values, and the nodes made for them."""
        if self._allowed is not None and self._origin(node) not in self._allowed:
            return None
        entries = table.get((node.schema.domain, node.schema.name), ())
        made_by = makers(node) if entries else ()
        for item, traced in entries:
            if not traced.may_fit(made_by):
                continue
            matcher = Matcher(traced, self._home)
            match = matcher.match(node)
            if match is None:
                if matcher.exhausted:
                    self._skip(item, node, matcher.reason)
                continue
            maker = self._maker(match)
            reason = self._refusal(item, match, traced, maker)
            if reason is None:
                found = self._apply(item, match, traced, maker)
                if not isinstance(found, str):
                    return found
                reason = found
            self._skip(item, node, reason)
        return None

    def _refusal(
        self, item: Applicable, match: Found, traced: TracedPattern, maker: "_Maker | None"
    ) -> str | None:
        """Why a full match is left alone, if it is."""
        uses = self._uses
        if len(match.root.outputs) > len(traced.places):
            for index, value in enumerate(match.root.outputs):
                if index not in traced.places and uses.get(self._counted(value)):
                    self._unfinished = True
                    return f"its output {self._label(value)!r} is used, and not in the pattern"
        matched = (match.root, *match.interior)
        if match.interior:
            leaves: list[Any] = []
            for bound in match.bindings.values():
                leaves += bound if isinstance(bound, tuple) else (bound,)
            for inner in match.interior:
                for value in inner.outputs:
                    if any(value is leaf for leaf in leaves):
                        return f"{self._label(value)!r} is both inside the match and an input of it"
                    if not item.keep_shared:
                        inside = sum([node.inputs.count(value) for node in matched])
                        if uses.get(self._counted(value), 0) > inside:
                            self._unfinished = True
                            return f"{self._label(value)!r} is used elsewhere"
        if maker is not None and item.name in maker.chain:
            return "it would undo or repeat what it just made"
        if len(self._fired) >= self._budget:
            return f"the rewrite ended after {len(self._fired)} firings, with this rule still firing"
        return None

    def _maker(self, match: Found) -> _Maker | None:
        """The firing that made all of a match, if one did."""
        maker = self._makers.get(self._origin(match.root))
        for node in match.interior if maker is not None else ():
            if self._makers.get(self._origin(node)) is not maker:
                return None
        return maker

    def _apply(
        self, item: Applicable, match: Found, traced: TracedPattern, maker: "_Maker | None"
    ) -> tuple[tuple[Value, ...], list[Node]] | str:
        """Let a rule make its replacement: the new values and nodes, or why they cannot take the match's place."""
        node = match.root
        mark = next_order()
        try:
            returned = item.replacement(match, traced)
        except Exception as error:
            error.add_note(f"in rule {item.name!r}, at {self._shown(node)}{at(node.site)}")
            raise
        finally:
            trace = current_trace()
            if trace.memo:
                forget(trace)
        if returned is None:
            return "the rule declined"
        found = self._values(item, node, traced, returned)
        made = [new for new in made_since(mark, found, node) if new is not node]
        unproven = False
        for place in traced.places:
            problem, unsure = type_change(node.outputs[place].type, found[place].type, refine=item.refine)
            if problem and self._strict:
                raise RuleError(f"rule {item.name!r}: {self._shown(node)}: {problem}{at(node.site)}" + at(caller()))
            if problem:
                return problem
            unproven = unproven or unsure
        problem = self._randomness(match, made)
        if problem:
            return problem
        self.unproven += unproven
        self._record(item, node, found, made, maker)
        return found, made

    def _values(self, item: Applicable, node: Node, traced: TracedPattern, returned: Any) -> tuple[Value, ...]:
        """What a rule returned, one value for each output of the root; those that nothing uses stay as they are."""
        items = returned if isinstance(returned, (tuple, list)) else (returned,)
        if len(traced.places) != len(items):
            counts = f"the pattern has {len(traced.places)} outputs, the replacement {len(items)}"
            raise RuleError(f"{item.recipe.label}: {counts}" + at(caller()))
        if len(items) > 1 or len(node.outputs) > 1:
            full: list[Any] = [Tensor(value) for value in node.outputs]
            for place, value in zip(traced.places, items, strict=True):
                full[place] = value
            items = full
        return replacement(node, items, item.recipe.label)

    def _randomness(self, match: Found, made: Sequence[Node]) -> str | None:
        """Why random operators would be drawn more or less often than before, if they would."""
        matched = (match.root, *match.interior)
        if not any(map(is_random, matched)):
            return None
        old = [node for node in matched if is_random(node)]
        new = [node for node in made if is_random(node)]
        gone = self._dropped(match, made)
        lasting = [node for node in old if node not in gone]
        if new and (lasting or len(new) > len(old)):
            return f"{new[0].schema.label}, a random operator, would be there twice"
        if new and len(new) < len(old):
            return f"{len(old)} random operators would become {len(new)}"
        return None

    def _dropped(self, match: Found, made: Sequence[Node]) -> set[Node]:
        """The matched nodes that nothing needs once the replacement is there."""
        kept = {value for node in made for value in dependencies(node)}
        gone: set[Node] = {match.root}
        for node in sorted(match.interior, key=lambda node: -node.order):
            lost = {value: sum([n.inputs.count(value) for n in gone]) for value in node.outputs}
            uses = [(value, self._uses.get(self._counted(value), 0)) for value in lost]
            if not any(value in kept or count > lost[value] for value, count in uses):
                gone.add(node)
        return gone

    def _record(
        self, item: Applicable, node: Node, found: Sequence[Value], made: Sequence[Node], before: "_Maker | None"
    ) -> None:
        self._fired.append((item.name, node.outputs, node.site))
        if made:
            chain = frozenset((item.name,)) if before is None else before.chain | {item.name}
            maker, home = _Maker(len(self._fired), chain), self._homes[self._first(node)]
            metadata = node_metadata(node) if node.info is not None else ()
            uses = self._uses
            for new in made:
                self._makers[new] = maker
                self._homes[new] = home
                for value in dependencies(new) if new.attributes else new.inputs:
                    if value is not None:
                        value = self._counted(value)
                        uses[value] = uses.get(value, 0) + 1
                if self._allowed is not None:
                    self._allowed.add(new)
                origin = Origin(item.name, new.site)
                adopt_origin(new, node.site or new.site, NodeInfo("", "", metadata, None, origin))
        for old, new_value in zip(node.outputs, found, strict=True):
            if new_value is not old:
                before, after = self._counted(old), self._counted(new_value)
                self._uses[after] = self._uses.get(after, 0) + self._uses.get(before, 0)
                self._uses[before] = 0
                self.replaced[old] = new_value
                self._was.setdefault(new_value, old)
        self._drop(node)

    def _drop(self, root: Node) -> None:
        """The root is gone: what only it used is used no more."""
        stack = [root]
        while stack:
            node = stack.pop()
            self._gone.add(node)
            for value in dependencies(node) if node.attributes else node.inputs:
                if value is None:
                    continue
                counted = self._counted(value)
                left = self._uses[counted] = self._uses[counted] - 1
                made = value.node
                if not left and made is not None and not any(map(self._uses.get, self._first(made).outputs)):
                    stack.append(made)

    def _skip(self, item: Applicable, node: Node, reason: str) -> None:
        self._skipped[item.name, node.outputs, reason] = (item.name, node.outputs, reason)

    # Names

    def _shown(self, node: Node) -> str:
        return ", ".join([repr(self._label(value)) for value in node.outputs])

    def _label(self, value: Value) -> str:
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
        return before.outputs[value.index] if before is not None else self._was.get(value)


def _last(values: Mapping[Value, Value], value: Value) -> Value:
    while value in values:
        value = values[value]
    return value


def _parts(model: ModelData, bodies: Mapping[Function, Graph] | None = None) -> list[Graph]:
    """The graph of a model and those of its functions."""
    return [model.graph, *((bodies or {}).get(f, f.graph) for f in model.functions)]
