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
        self.now: dict[Value, Value] = {}
        """What stands in the place of a value that is gone."""
        self._before = model
        self._rules = rules
        self._strict = strict
        self._allowed = allowed
        self._fired: list[tuple[str, tuple[Value, ...], Site | None]] = []
        self._skipped: dict[Any, tuple[str, tuple[Value, ...], str]] = {}
        self._unwritable: dict[tuple[str, str], Skip] = {}
        self._makers: dict[Node, _Maker] = {}
        self._was: dict[Value, Value] = {}
        self._names: dict[Value, str] | None = None
        self._tables: dict[int, dict[tuple[str, str], list[_Entry]]] = {}
        self._uses: Counter[Value | None] = Counter()
        self._homes: dict[Node, Graph] = {}
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

    def _use(self, node: Node, times: int) -> None:
        for value in dependencies(node):
            self._uses[value] = self._uses.get(value, 0) + times

    def _follow(self, old: Node, new: Node) -> None:
        """A node was made anew on other inputs: it is used, named and was made as before."""
        for before, after in zip(old.outputs, new.outputs, strict=True):
            self._uses[after] = self._uses.get(before, 0)
            self.now[before] = after
            if not after.name:
                self._was[after] = before
        self._homes[new] = self._homes[old]
        if old in self._makers:
            self._makers[new] = self._makers[old]
        if self._allowed is not None and old in self._allowed:
            self._allowed.add(new)

    def _replaced(self, old: Value, new: Value) -> None:
        if old is not new:
            self.now[old] = new
            self._was.setdefault(new, old)

    def _visit(self, node: Node) -> Sequence[Value] | None:
        """What takes the node's place after all rules that fire on it, and on what they made."""
        table = self._table(schemas.opset_in_force())
        if (node.schema.domain, node.schema.name) not in table:
            return None
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
        if self._allowed is not None and node not in self._allowed:
            return None
        entries = table.get((node.schema.domain, node.schema.name), ())
        made_by = makers(node) if entries else ()
        for item, traced in entries:
            if not traced.may_fit(made_by):
                continue
            matcher = Matcher(traced, self._homes)
            match = matcher.match(node)
            if match is None:
                if matcher.exhausted:
                    self._skip(item, node, matcher.reason)
                continue
            reason = self._refusal(item, match, traced)
            if reason is None:
                found = self._apply(item, match, traced)
                if not isinstance(found, str):
                    return found
                reason = found
            self._skip(item, node, reason)
        return None

    def _refusal(self, item: Applicable, match: Found, traced: TracedPattern) -> str | None:
        """Why a full match is left alone, if it is."""
        uses = self._uses
        for index, value in enumerate(match.root.outputs):
            if index not in traced.places and uses.get(value):
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
                        if uses.get(value, 0) > inside:
                            self._unfinished = True
                            return f"{self._label(value)!r} is used elsewhere"
        maker = self._maker(match)
        if maker is not None and item.name in maker.chain:
            return "it would undo or repeat what it just made"
        if len(self._fired) >= self._budget:
            return f"the rewrite ended after {len(self._fired)} firings, with this rule still firing"
        return None

    def _maker(self, match: Found) -> _Maker | None:
        """The firing that made all of a match, if one did."""
        maker = self._makers.get(match.root)
        for node in match.interior if maker is not None else ():
            if self._makers.get(node) is not maker:
                return None
        return maker

    def _apply(
        self, item: Applicable, match: Found, traced: TracedPattern
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
        self._record(item, match, found, made)
        return found, made

    def _values(self, item: Applicable, node: Node, traced: TracedPattern, returned: Any) -> tuple[Value, ...]:
        """What a rule returned, one value for each output of the root; those that nothing uses stay as they are."""
        items = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if len(traced.places) != len(items):
            counts = f"the pattern has {len(traced.places)} outputs, the replacement {len(items)}"
            raise RuleError(f"rule {item.name!r}: {counts}" + at(caller()))
        full: list[Any] = [Tensor(value) for value in node.outputs]
        for place, value in zip(traced.places, items, strict=True):
            full[place] = value
        return replacement(node, full, f"rule {item.name!r}")

    def _randomness(self, match: Found, made: Sequence[Node]) -> str | None:
        """Why random operators would be drawn more or less often than before, if they would."""
        old = [node for node in (match.root, *match.interior) if is_random(node)]
        if not old:
            return None
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
            if not any(value in kept or self._uses.get(value, 0) > count for value, count in lost.items()):
                gone.add(node)
        return gone

    def _record(self, item: Applicable, match: Found, found: Sequence[Value], made: Sequence[Node]) -> None:
        node = match.root
        self._fired.append((item.name, node.outputs, node.site))
        before = self._maker(match)
        chain = frozenset((item.name,)) if before is None else before.chain | {item.name}
        maker, home = _Maker(len(self._fired), chain), self._homes[node]
        metadata = node_metadata(node) if node.info is not None else ()
        for new in made:
            self._makers[new] = maker
            self._homes[new] = home
            self._use(new, 1)
            if self._allowed is not None:
                self._allowed.add(new)
            adopt_origin(new, node.site or new.site, NodeInfo(metadata=metadata, origin=Origin(item.name, new.site)))
        for old, new_value in zip(node.outputs, found, strict=True):
            if new_value is not old:
                self._uses[new_value] = self._uses.get(new_value, 0) + self._uses.get(old, 0)
                self._uses[old] = 0
                self._replaced(old, new_value)
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
                left = self._uses[value] = self._uses[value] - 1
                made = value.node
                if not left and made is not None and not any(map(self._uses.get, made.outputs)):
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
        first = value
        while first not in self._names and first in self._was:
            first = self._was[first]
        made = value.node.schema.name if value.node is not None else "value"
        return self._names.get(first) or f"output {value.index} of a new {made}"


def _last(values: Mapping[Value, Value], value: Value) -> Value:
    while value in values:
        value = values[value]
    return value


def _parts(model: ModelData, bodies: Mapping[Function, Graph] | None = None) -> list[Graph]:
    """The graph of a model and those of its functions."""
    return [model.graph, *((bodies or {}).get(f, f.graph) for f in model.functions)]
