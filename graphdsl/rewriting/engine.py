"""The rewrite: rules applied in one linear sweep after another, until none fires."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from .. import schemas
from ..errors import GraphError, RuleError
from ..generic import generic
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
    named_tuple,
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
from .lineage import Lineage
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


_Maker = tuple[str, "_Maker | None"]
"""The firing that made a node: the rule's name, and the firing before it in the unbroken chain that it ends."""

_Table = dict[tuple[str, str], list[tuple[Applicable, TracedPattern]]]
"""The rules by the operators that their roots are, as written at an opset."""


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
    """The state of a rewrite: what made which node, what happened."""

    def __init__(
        self, model: ModelData, rules: Sequence[Applicable], allowed: set[Node] | None, *, strict: bool
    ) -> None:
        self.unproven = 0
        self.lineage = Lineage(model)
        self._rules = rules
        self._strict = strict
        self._allowed = allowed
        """The nodes at which rules may fire, as the model has them, or a rule made them; None for all."""
        self._fired: list[tuple[str, tuple[Value, ...], Site | None]] = []
        self._skipped: dict[Any, tuple[str, tuple[Value, ...], str]] = {}
        self._unwritable: dict[tuple[str, str], Skip] = {}
        self._makers: dict[Node, _Maker] = {}
        """The firing that made a node, for those that a rule made."""
        self._tables: dict[int, _Table] = {}
        self._roots: set[str] = set()
        """The operators that rules end in."""
        self._unfinished = False
        """Whether another sweep may find what this one could not: each node was met after all that it depends on."""
        nodes = sum(len(graph.nodes) for part in _parts(model) for graph in graphs(part))
        self._budget = 1000 + _FIRINGS_PER_NODE * nodes

    def run(self, model: M) -> M:
        """The model after sweeps until nothing fires, or the budget ends it."""
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
        label = self.lineage.label
        return tuple(
            [named_tuple(Firing, (name, tuple(map(label, values)), site)) for name, values, site in self._fired]
        )

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """What was left alone in the last sweep, and rules that cannot be written at an opset of the model."""
        gone = set(self.lineage.gone)
        lasting = [entry for entry in self._skipped.values() if not entry[1] or entry[1][0].node not in gone]
        found = [Skip(name, tuple(map(self.lineage.label, values)), reason) for name, values, reason in lasting]
        return (*self._unwritable.values(), *found)

    def _table(self, version: int) -> _Table:
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
        bodies = generic(model)
        self.lineage.begin([graph for part in _parts(model, bodies) for graph in graphs(part)])
        version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
        for imports in (model.opset_imports, *[function.opset_imports for function in model.functions]):
            self._roots.update(name for _, name in self._table(imports.get("", version)))
        return sweep(model, self._visit, self.lineage.renew, bodies=bodies)

    def _visit(self, node: Node) -> Sequence[Value] | None:
        """What takes the node's place after all rules that fire on it, and on what they made."""
        if node.schema.name not in self._roots:
            return None
        table = self._table(schemas.opset_in_force())
        first = self._fire(node, table)
        if first is None:
            return None
        found, made = first
        made = self._next(made, table)
        if not made:
            return found
        values: dict[Value, Value] = {}
        queue = deque(made)
        while queue:
            current = queue.popleft()
            inputs = tuple([None if value is None else _last(values, value) for value in current.inputs])
            if inputs != current.inputs:
                types = tuple([value.type for value in current.outputs])
                renewed = make_node(
                    current.schema, inputs, current.attributes, types, current_trace(), current.site, current.info
                )
                self.lineage.renew(current, renewed)
                values.update(zip(current.outputs, renewed.outputs, strict=True))
                current = renewed
            again = self._fire(current, table)
            if again is not None:
                values.update(zip(current.outputs, again[0], strict=True))
                queue.extendleft(reversed(self._next(again[1], table)))
        return [_last(values, value) for value in found]

    def _next(self, made: list[Node], table: _Table) -> list[Node]:
        """The nodes to look at after a firing; where there are bodies, the next sweep looks at all of them."""
        looks = False
        for new in made:
            if new.schema.may_have_bodies and new.bodies:
                self._unfinished = True
                return []
            looks = looks or (new.schema.domain, new.schema.name) in table
        return made if looks else []

    # One match

    def _fire(self, node: Node, table: _Table) -> tuple[tuple[Value, ...], list[Node]] | None:
        """Apply the first rule that fires on a node: the new values, and the nodes made for them."""
        if self._allowed is not None and self.lineage.origin(node) not in self._allowed:
            return None
        entries = table.get((node.schema.domain, node.schema.name), ())
        made_by = None
        for item, traced in entries:
            if traced.needed:
                made_by = makers(node) if made_by is None else made_by
                if not traced.may_fit(made_by):
                    continue
            matcher = Matcher(traced, self.lineage.home)
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

    def _refusal(self, item: Applicable, match: Found, traced: TracedPattern, maker: _Maker | None) -> str | None:
        """Why a full match is left alone, if it is."""
        uses = self.lineage.uses
        if len(match.root.outputs) > len(traced.places):
            for index, value in enumerate(match.root.outputs):
                if index not in traced.places and uses(value):
                    self._unfinished = True
                    return f"its output {self.lineage.label(value)!r} is used, and not in the pattern"
        shared = self._shared(match) if match.interior else None
        if shared:
            for bound in match.bindings.values():
                for leaf in bound if isinstance(bound, tuple) else (bound,):
                    if isinstance(leaf, Value) and leaf in shared:
                        return f"{self.lineage.label(leaf)!r} is both inside the match and an input of it"
            for value, elsewhere in () if item.keep_shared else shared.items():
                if elsewhere:
                    self._unfinished = True
                    return f"{self.lineage.label(value)!r} is used elsewhere"
        link = maker
        while link is not None:
            if link[0] == item.name:
                return "it would undo or repeat what it just made"
            link = link[1]
        if len(self._fired) >= self._budget:
            return f"the rewrite ended after {len(self._fired)} firings, with this rule still firing"
        return None

    def _shared(self, match: Found) -> dict[Value, bool]:
        """The values inside a match that are used more than once, or beside others of one node; whether elsewhere."""
        shared = {}
        for node in match.interior:
            for value in node.outputs:
                count = self.lineage.uses(value)
                if count != 1 or len(node.outputs) > 1:
                    inside = match.root.inputs.count(value) + sum([n.inputs.count(value) for n in match.interior])
                    shared[value] = count > max(inside, 1)
        return shared

    def _maker(self, match: Found) -> _Maker | None:
        """The firing that made all of a match, if one did."""
        origin = self.lineage.origin
        maker = self._makers.get(origin(match.root))
        for node in match.interior if maker is not None else ():
            if self._makers.get(origin(node)) is not maker:
                return None
        return maker

    def _apply(
        self, item: Applicable, match: Found, traced: TracedPattern, maker: _Maker | None
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
            if trace.memo.data:  # type: ignore[attr-defined]  # its own length takes long to ask for
                forget(trace)
        if returned is None:
            return "the rule declined"
        found = self._values(item, node, traced, returned)
        made, _ = made_since(mark, found, node)
        if node in made:
            made.remove(node)
        unproven = False
        for place in traced.places:
            problem, unsure = type_change(node.outputs[place].type, found[place].type, refine=item.refine)
            if problem and self._strict:
                raise RuleError(f"rule {item.name!r}: {self._shown(node)}: {problem}{at(node.site)}" + at(caller()))
            if problem:
                return problem
            unproven = unproven or unsure
        problem = self._randomness(match, made) if traced.may_draw else None
        if problem:
            return problem
        self.unproven += unproven
        self._record(item, node, found, made, maker)
        return found, made

    def _values(self, item: Applicable, node: Node, traced: TracedPattern, returned: Any) -> tuple[Value, ...]:
        """What a rule returned, one value for each output of the root; those that nothing uses stay as they are."""
        if isinstance(returned, Handle) and len(node.outputs) == 1:  # nearly all
            return (returned._v,)
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
            if not any(value in kept or self.lineage.uses(value) > count for value, count in lost.items()):
                gone.add(node)
        return gone

    def _record(
        self, item: Applicable, node: Node, found: Sequence[Value], made: Sequence[Node], before: _Maker | None
    ) -> None:
        self._fired.append((item.name, node.outputs, node.site))
        if made:
            maker = (item.name, before)
            metadata = node_metadata(node) if node.info is not None else ()
            for new in made:
                self._makers[new] = maker
                origin = named_tuple(Origin, (item.name, new.site))
                adopt_origin(new, node.site or new.site, named_tuple(NodeInfo, ("", "", metadata, None, origin)))
            if self._allowed is not None:
                self._allowed.update(made)
        self.lineage.replace(node, found, made)

    def _skip(self, item: Applicable, node: Node, reason: str) -> None:
        self._skipped[item.name, node.outputs, reason] = (item.name, node.outputs, reason)

    def _shown(self, node: Node) -> str:
        return ", ".join([repr(self.lineage.label(value)) for value in node.outputs])


def _last(values: Mapping[Value, Value], value: Value) -> Value:
    while value in values:
        value = values[value]
    return value


def _parts(model: ModelData, bodies: Mapping[Function, Graph] | None = None) -> list[Graph]:
    """The graph of a model and those of its functions."""
    return [model.graph, *((bodies or {}).get(f, f.graph) for f in model.functions)]
