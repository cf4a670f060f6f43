"""Rules, and the rewrite that applies them: one linear sweep after another until nothing fires."""

import inspect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, Generic, NamedTuple, TypeVar, overload

from .. import schemas
from ..emission import Emitter
from ..errors import GraphError, RuleError, nearest
from ..ir import ModelData, Node, Value, next_order
from ..sites import Location, at, caller, locate
from ..tensor import Tensor
from ..tensor.calling import current_trace
from ..transforming import made_since, replacement, sweep
from ..types import TensorType, Type
from ..walk import dependencies, graphs
from .matching import Match, Matcher
from .patterns import Recipe, TracedPattern

M = TypeVar("M", bound=ModelData)

_MOST_SWEEPS = 20
_FIRINGS_PER_NODE = 8
"""A rewrite ends after this many firings for each node of the model, and says which rules were still firing."""


class Rule:
    """A pattern and what to put in its place. Made by `@gd.rule`."""

    def __init__(
        self, function: Callable[..., Any], pattern: Callable[..., Any], *, name: str, keep_shared: bool, refine: bool
    ) -> None:
        update_wrapper(self, function)
        self.name = name
        self.keep_shared = keep_shared
        self.refine = refine
        self.function = function
        self.recipe = Recipe(pattern, f"rule {name!r}")
        known = set(inspect.signature(pattern).parameters)
        parameters = inspect.signature(function).parameters
        self._takes = [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
        unknown = [n for n in self._takes if n not in known]
        if unknown:
            raise RuleError(
                f"rule {name!r}: the pattern has no parameter {unknown[0]!r}{nearest(unknown[0], known)}; it has "
                + ", ".join(map(repr, sorted(known)))
                + at(caller())
            )

    def replacement(self, match: Match, traced: TracedPattern) -> Any:
        """What the rule's function returns for a match."""
        arguments: list[Any] = []
        keywords: dict[str, Any] = {}
        parameters = inspect.signature(self.function).parameters
        for name in self._takes:
            value = match.bindings[name]
            held = tuple(map(_handle, value)) if isinstance(value, tuple) and name not in traced.attributes else value
            held = _handle(held) if isinstance(held, Value) else held
            kind = parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                arguments.extend(held)
            elif kind is inspect.Parameter.KEYWORD_ONLY:
                keywords[name] = held
            else:
                arguments.append(held)
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                keywords.update(match.bindings.get(name) or {})
        return self.function(*arguments, **keywords)

    def explain(self, model: ModelData, at: str) -> str:
        """Why the rule's pattern fits, or where it stops fitting, at the node that makes a tensor.

        Raises:
            GraphError: the model has no such tensor.
        """
        node = _producers(model, [at])[at]
        found = self.recipe.at(model.opset_imports.get("", schemas.DEFAULT_OPSET))
        if isinstance(found, GraphError):
            return f"rule {self.name!r} cannot be written at opset {model.opset_imports.get('')}: {found}"
        matcher = Matcher(found, node.outputs[0].owner)
        match = matcher.match(node)
        if match is None:
            return f"rule {self.name!r} does not match at {at!r}: {matcher.reason}"
        return f"rule {self.name!r} matches at {at!r}"

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuleError(f"{self.name!r} is a rule: apply it with gd.rewrite(model, {self.name})" + at(caller()))

    def __repr__(self) -> str:
        return f"<rule {self.name!r}>"


def _handle(value: Any) -> Any:
    return Tensor(value) if isinstance(value, Value) else value


@overload
def rule(pattern: Callable[..., Any], /) -> Callable[[Callable[..., Any]], Rule]: ...
@overload
def rule(
    pattern: Callable[..., Any], /, *, name: str | None = ..., keep_shared: bool = ..., refine: bool = ...
) -> Callable[[Callable[..., Any]], Rule]: ...
def rule(
    pattern: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    keep_shared: bool = False,
    refine: bool = False,
) -> Callable[[Callable[..., Any]], Rule]:
    """A rewrite rule: where the pattern fits, what the decorated function returns takes its place.

    The pattern is a callable in the language itself; its parameters stand for tensors or, where used so, for attribute
    values. The function gets what they stand for by name, and returns the new tensors, or None to leave the match
    alone.

    >>> import graphdsl as gd
    >>> @gd.rule(lambda x, y: x + y)
    ... def add_to_sub(x, y):
    ...     return x - y
    >>> x = gd.input("x", gd.float32[3])
    >>> gd.rewrite(gd.build(x * x + x), add_to_sub).applied
    {'add_to_sub': 1}

    Args:
        pattern: Returns an operator's output, or several outputs of one operator.
        name: What results call it; by default the function's name.
        keep_shared: Match even where a value inside the match is used elsewhere; that value then stays.
        refine: Allow a replacement whose type is known more precisely.

    Raises:
        RuleError: the pattern uses what is not one ONNX node, or the function has parameters that it lacks.
        SignatureError, UnknownOperator: the pattern fits no opset.
    """
    if not callable(pattern):
        raise RuleError(f"gd.rule takes a pattern, as in @gd.rule(lambda x, y: x + y), got {pattern!r}" + at(caller()))

    def decorate(function: Callable[..., Any]) -> Rule:
        return Rule(function, pattern, name=name or function.__name__, keep_shared=keep_shared, refine=refine)

    return decorate


class Firing(NamedTuple):
    """One application of a rule: the rule's name, the tensors that were replaced, where the old node was written."""

    rule: str
    tensors: tuple[str, ...]
    line: Location | None


class Skip(NamedTuple):
    """A full match that was left alone, and why."""

    rule: str
    tensors: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class RewriteResult(Generic[M]):
    """What a rewrite did."""

    model: M
    firings: tuple[Firing, ...] = ()
    skipped: tuple[Skip, ...] = ()
    unproven: int = 0
    """Firings that replaced a tensor of partly unknown type by one as unknown."""
    applied: dict[str, int] = field(default_factory=dict)
    """How often each rule fired, by its name."""

    def __str__(self) -> str:
        lines = [f"{name}: {count}" for name, count in self.applied.items()] or ["no rule fired"]
        lines += [f"left alone at {', '.join(s.tensors)}: {s.rule}: {s.reason}" for s in self.skipped]
        return "\n".join(lines)


def rewrite(model: M, *rules: Rule, at: str | Iterable[str] | None = None, strict: bool = False) -> RewriteResult[M]:
    """The model with rules applied until none fires, in bodies and local functions too.

    Args:
        model: Not changed.
        rules: Tried in this order at each node.
        at: The tensors (by name) whose nodes may be replaced; by default all.
        strict: Raise where a match would change a tensor's type, instead of leaving it alone.

    Raises:
        GraphError: `at` names a tensor that the model does not have.
        RuleError: with `strict`, a replacement has another type.
    """
    for item in rules:
        if not isinstance(item, Rule):
            raise RuleError(f"gd.rewrite takes rules made by @gd.rule, got {item!r}" + _here())
    allowed = None if at is None else set(_producers(model, [at] if isinstance(at, str) else list(at)).values())
    engine = _Engine(model, rules, allowed, strict)
    for _ in range(_MOST_SWEEPS):
        before = len(engine.fired)
        model = engine.sweep(model)
        if len(engine.fired) == before:
            break
    return RewriteResult(
        model,
        tuple(engine.fired),
        tuple(engine.skipped.values()),
        engine.unproven,
        dict(Counter(f.rule for f in engine.fired)),
    )


def _here() -> str:
    return at(caller())


def _names(model: ModelData) -> dict[Value, str]:
    emitter = Emitter(store=lambda tensor, array: True)
    emitter.model(model)
    return {value: name for value, name in emitter.names.items() if value is not None}


def _producers(model: ModelData, wanted: Sequence[str]) -> dict[str, Node]:
    """The nodes that make the named tensors."""
    by_name = {name: value for value, name in _names(model).items()}
    by_name.update({n: v for n, v in model.graph.outputs if n is not None})
    found: dict[str, Node] = {}
    for name in wanted:
        value = by_name.get(name)
        if value is None:
            raise GraphError(f"the model {model.graph.name!r} has no tensor {name!r}{nearest(name, by_name)}" + _here())
        if value.node is None:
            raise GraphError(f"the tensor {name!r} is made by no node" + _here())
        found[name] = value.node
    return found


class _Maker(NamedTuple):
    """The firing that made a node: its rule, and the firings before it in an unbroken chain."""

    chain: frozenset[str]
    number: int


class _Engine:
    """The state of a rewrite: who uses what, what made which node, what happened."""

    def __init__(self, model: ModelData, rules: Sequence[Rule], allowed: set[Node] | None, strict: bool) -> None:
        self.fired: list[Firing] = []
        self.skipped: dict[Any, Skip] = {}
        self.unproven = 0
        self._strict = strict
        self._allowed = allowed
        self._makers: dict[Node, _Maker] = {}
        self._labels = _names(model)
        self._uses: Counter[Value] = Counter()
        self._rules: dict[tuple[str, str], list[tuple[Rule, TracedPattern]]] = {}
        self._budget = 1000 + _FIRINGS_PER_NODE * sum(len(graph.nodes) for graph in graphs(model.graph))
        version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
        for item in rules:
            found = item.recipe.at(version)
            if isinstance(found, GraphError):
                self.skipped[item.name] = Skip(item.name, (), f"it cannot be written at opset {version}: {found}")
                continue
            for key in {(root.schema.domain, name) for root in found.roots for name in root.names}:
                self._rules.setdefault(key, []).append((item, found))

    def sweep(self, model: M) -> M:
        self._uses = Counter()
        for part in (model.graph, *(function.graph for function in model.functions)):
            for graph in graphs(part):
                for node in graph.nodes:
                    self._uses.update(dependencies(node))
                self._uses.update(value for _, value in graph.outputs)
                self._uses.update(value for _, value in graph.outputs)  # an output is never an inner value only
        self._renewed: dict[Node, Node] = {}
        return sweep(model, self._visit, self._follow)

    def _follow(self, old: Node, new: Node) -> None:
        """A node was made anew on other inputs: it is used, named and was made as before."""
        for before, after in zip(old.outputs, new.outputs, strict=True):
            self._uses[after] = self._uses[before]
            if before in self._labels:
                self._labels[after] = self._labels[before]
        if old in self._makers:
            self._makers[new] = self._makers[old]
        if self._allowed is not None and old in self._allowed:
            self._allowed.add(new)

    def _visit(self, node: Node) -> Sequence[Value] | None:
        """What takes the node's place after all rules that fire on it, and on what they made."""
        if (node.schema.domain, node.schema.name) not in self._rules:
            return None
        first = self._fire(node)
        if first is None:
            return None
        ends = first[0]
        values: dict[Value, Value] = {}
        queue = deque(first[1])
        while queue:
            current = queue.popleft()
            inputs = [values.get(v, v) if v is not None else None for v in current.inputs]
            if any(a is not b for a, b in zip(inputs, current.inputs, strict=True)):
                handles = [None if v is None else Tensor(v) for v in inputs]
                made = current_trace().call(
                    current.schema, handles, current.attributes, len(current.outputs), current.site, current.info
                )
                renewed = made[0].node
                assert renewed is not None
                self._follow(current, renewed)
                values.update(zip(current.outputs, made, strict=True))
                current = renewed
            found = self._fire(current)
            if found is not None:
                values.update(zip(current.outputs, found[0], strict=True))
                queue.extendleft(reversed(found[1]))
        result = []
        for value in ends:
            while value in values:
                value = values[value]
            result.append(value)
        return result

    def _fire(self, node: Node) -> tuple[tuple[Value, ...], list[Node]] | None:
        """Apply the first rule that fires on a node: the new values, and the nodes made for them."""
        if self._allowed is not None and node not in self._allowed:
            return None
        for item, traced in self._rules.get((node.schema.domain, node.schema.name), ()):
            match = Matcher(traced, node.outputs[0].owner).match(node)
            if match is None:
                continue
            reason = self._refusal(item, match, traced)
            if reason is not None:
                self._skip(item, node, reason)
                continue
            mark = next_order()
            returned = item.replacement(match, traced)
            if returned is None:
                self._skip(item, node, "the rule declined")
                continue
            found = self._values(item, node, traced, returned)
            if found is None:
                continue
            made = [new for new in made_since(mark, found, node) if new is not node]
            if any(new.order < mark for new in made):
                made = [new for new in made if new.order > mark]
            self._record(item, match, found, made)
            return found, made
        return None

    def _refusal(self, item: Rule, match: Match, traced: TracedPattern) -> str | None:
        """Why a full match is left alone, if it is."""
        leaves = {v for v in match.bindings.values() if isinstance(v, Value)}
        leaves |= {v for b in match.bindings.values() if isinstance(b, tuple) for v in b if isinstance(v, Value)}
        matched = {match.root, *match.interior}
        for inner in match.interior:
            for value in inner.outputs:
                if value in leaves:
                    return f"{self._label(value)!r} is both inside the match and an input of it"
                if not item.keep_shared:
                    inside = sum(list(node.inputs).count(value) for node in matched)
                    if self._uses[value] > inside:
                        return f"{self._label(value)!r} is used elsewhere"
        makers = {self._makers.get(node) for node in matched}
        if len(makers) == 1:
            (maker,) = makers
            if maker is not None and item.name in maker.chain:
                return "it would undo or repeat what it just made"
        if len(self.fired) >= self._budget:
            return f"the rewrite ended after {len(self.fired)} firings, with this rule still firing"
        return None

    def _values(self, item: Rule, node: Node, traced: TracedPattern, returned: Any) -> tuple[Value, ...] | None:
        items = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if len(traced.places) != len(items):
            counts = f"the pattern has {len(traced.places)} outputs, the replacement {len(items)}"
            raise RuleError(f"rule {item.name!r}: {counts}" + _here())
        full: list[Any] = [Tensor(value) for value in node.outputs]
        for place, value in zip(traced.places, items, strict=True):
            full[place] = value
        for index, value in enumerate(node.outputs):
            if index not in traced.places and self._uses[value]:
                self._skip(item, node, f"its output {self._label(value)!r} is used, and not in the pattern")
                return None
        found = replacement(node, full, f"rule {item.name!r}")
        unproven = False
        for place in traced.places:
            old, new = node.outputs[place].type, found[place].type
            problem, unsure = _type_changed(old, new, item.refine)
            if problem:
                if self._strict:
                    raise RuleError(f"rule {item.name!r}: {problem}{at(node.site)}" + _here())
                self._skip(item, node, problem)
                return None
            unproven = unproven or unsure
        self.unproven += unproven
        return found

    def _record(self, item: Rule, match: Match, found: Sequence[Value], made: Sequence[Node]) -> None:
        node = match.root
        tensors = tuple(self._label(value) for value in node.outputs)
        self.fired.append(Firing(item.name, tensors, locate(node.site)))
        makers = {self._makers.get(n) for n in (node, *match.interior)}
        before = next(iter(makers)) if len(makers) == 1 else None
        chain = (before.chain if before is not None else frozenset()) | {item.name}
        maker = _Maker(chain, len(self.fired))
        for new in made:
            self._makers[new] = maker
            self._uses.update(dependencies(new))
            if self._allowed is not None:
                self._allowed.add(new)
        for old, new_value in zip(node.outputs, found, strict=True):
            if new_value is not old:
                self._uses[new_value] += self._uses[old]
                if old in self._labels:
                    self._labels.setdefault(new_value, self._labels[old])
        self._drop(node)

    def _drop(self, root: Node) -> None:
        """The root is gone: what only it used is used no more."""
        stack = [root]
        while stack:
            node = stack.pop()
            for value in dependencies(node):
                self._uses[value] -= 1
                made = value.node
                if made is not None and self._uses[value] == 0 and not any(self._uses[v] for v in made.outputs):
                    stack.append(made)

    def _label(self, value: Value) -> str:
        made = value.node.schema.name if value.node is not None else "value"
        return self._labels.get(value) or value.name or f"output {value.index} of a new {made}"

    def _skip(self, item: Rule, node: Node, reason: str) -> None:
        tensors = tuple(self._label(value) for value in node.outputs)
        self.skipped[item.name, tensors, reason] = Skip(item.name, tensors, reason)


def _type_changed(old: Type | None, new: Type | None, refine: bool) -> tuple[str | None, bool]:
    """What a replacement changes of a type, if anything; and whether part of it is not known to be the same."""
    if old is new:
        unknown = isinstance(old, TensorType) and (old.shape is None or None in old.shape)
        return None, old is None or unknown
    problem = f"{old!r} would become {new!r}"
    if not isinstance(old, TensorType) or not isinstance(new, TensorType) or old.dtype is not new.dtype:
        return problem, False
    if refine and old.shape is None:
        return None, True
    if not refine or new.shape is None or old.shape is None or len(new.shape) != len(old.shape):
        return problem, False
    if all(a is None or a == b for a, b in zip(old.shape, new.shape, strict=True)):
        return None, None in old.shape
    return problem, False


def find(model: ModelData, pattern: Callable[..., Any]) -> list[Match]:
    """Every place where a pattern fits, in order, bodies and local functions included; nothing is changed.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build({"y": (x + 1) * (x + 2)})
    >>> [match.root.op_type for match in gd.find(model, lambda a, b: a + b)]
    ['Add', 'Add']
    """
    traced = Recipe(pattern, "the pattern").at(model.opset_imports.get("", schemas.DEFAULT_OPSET))
    if isinstance(traced, GraphError):
        raise traced
    found: list[Match] = []
    for part in (model.graph, *(function.graph for function in model.functions)):
        for graph in graphs(part):
            for node in graph.nodes:
                match = Matcher(traced, node.outputs[0].owner).match(node)
                if match is not None:
                    found.append(match)
    return found
