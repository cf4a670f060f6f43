"""Rules, the rewrite that applies them, and matches without one."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar, overload

from .. import schemas
from ..errors import GraphError, RuleError, nearest
from ..garbage import undisturbed
from ..ir import Graph, ModelData, Node, Value
from ..loading import Source, load
from ..models import Model
from ..sites import at, caller
from ..tensor import Tensor
from ..tensor.handle import Handle
from ..walk import graphs
from .engine import Engine, Firing, Place, Skip, producers
from .lineage import names_of
from .matching import Found, Matcher
from .patterns import TracedPattern
from .writing import Recipe

M = TypeVar("M", bound=ModelData)


_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
_VARIADIC = inspect.Parameter.VAR_POSITIONAL
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


class Match(NamedTuple):
    """A place where a pattern fits: the root node, what its parameters stand for, and the nodes in between.

    `bindings` holds by name what the pattern's parameters stand for: tensors, and values of attributes.
    """

    root: Node
    bindings: Mapping[str, Any]
    interior: tuple[Node, ...]

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that the root makes."""
        return tuple(map(Tensor, self.root.outputs))


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
        self._parameters = _checked_parameters(function, pattern, name)

    def replacement(self, match: Found, traced: TracedPattern) -> Any:
        """What the rule's function returns for a match."""
        bindings, attributes = match.bindings, traced.attributes
        arguments: list[Any] = []
        keywords: dict[str, Any] = {}
        for name, kind in self._parameters:
            value = bindings[name]
            held = value if name in attributes else _held(value)
            if kind is _PLAIN:
                arguments.append(held)
            elif kind is _VARIADIC:
                arguments.extend(held)
            elif kind is _KEYWORD:
                keywords[name] = held
            else:
                keywords.update(held)
        return self.function(*arguments, **keywords)

    def explain(self, model: ModelData | Source, at: Place) -> str:
        """What the rule does at the node that makes a tensor: where its pattern stops fitting, or why it is left alone.

        >>> import graphdsl as gd
        >>> @gd.rule(lambda x: gd.op.Relu(gd.op.Relu(x)))
        ... def relu_once(x):
        ...     return gd.op.Relu(x)
        >>> x = gd.input("x", gd.float32[3])
        >>> relu_once.explain(gd.build({"y": gd.op.Relu(gd.op.Abs(x))}), "y")
        "rule 'relu_once' does not match at 'y': the node is Abs, and the pattern needs Relu"

        Raises:
            GraphError: the model has no such tensor, or no node makes it.
        """
        model = _read(model)
        (node,) = producers(model, [at])
        version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
        found = self.recipe.at(version)
        if isinstance(found, GraphError):
            return f"rule {self.name!r} cannot be written at opset {version}: {found}"
        matcher = Matcher(found, _homes(model).get)
        if matcher.match(node) is None:
            return f"rule {self.name!r} does not match at {at!r}: {matcher.reason}"
        engine = Engine(model, [self], {node}, strict=False)
        engine.run(model)
        alone = [skip.reason for skip in engine.skipped] if not engine.firings else []
        return f"rule {self.name!r} matches at {at!r}" + (f", and is left alone: {alone[0]}" if alone else "")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuleError(f"{self.name!r} is a rule: apply it with gd.rewrite(model, {self.name})" + at(caller()))

    def __repr__(self) -> str:
        return f"<rule {self.name!r}>"


def _checked_parameters(function: Callable[..., Any], pattern: Callable[..., Any], name: str) -> list[tuple[str, Any]]:
    """The parameters of a rule's function, each with its kind.

    Raises:
        RuleError: the pattern lacks one, or the function takes it in a way in which it cannot be given.
    """
    known = inspect.signature(pattern).parameters
    found = [(n, parameter.kind) for n, parameter in inspect.signature(function).parameters.items()]
    for label, kind in found:
        if label not in known:
            raise RuleError(
                f"rule {name!r}: the pattern has no parameter {label!r}{nearest(label, known)}; it has "
                + ", ".join(map(repr, sorted(known)))
                + at(caller())
            )
        for star, what in ((_VARIADIC, "*"), (inspect.Parameter.VAR_KEYWORD, "**")):
            if kind is star and known[label].kind is not star:
                raise RuleError(f"rule {name!r}: {what}{label} is plain {label!r} in the pattern" + at(caller()))
    return [(label, _PLAIN if kind is inspect.Parameter.POSITIONAL_ONLY else kind) for label, kind in found]


def _held(value: Any) -> Any:
    """What a parameter that stands for tensors is, as users hold it; absent inputs are None."""
    if isinstance(value, Value):
        return Tensor(value)
    return tuple([_held(item) for item in value]) if isinstance(value, tuple) else value


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


@dataclass(frozen=True)
class RewriteResult(Generic[M]):
    """What a rewrite did."""

    model: M
    """The model with the replacements; the one given where nothing fired."""
    firings: tuple[Firing, ...] = ()
    skipped: tuple[Skip, ...] = ()
    unproven: int = 0
    """Firings that replaced a tensor of partly unknown type by one as unknown."""
    applied: dict[str, int] = field(default_factory=dict)
    """How often each rule fired, by its name."""
    before: M | None = field(default=None, repr=False)
    """The model that was rewritten."""
    replaced: tuple[tuple[Value, Value], ...] = field(default=(), repr=False)
    """Each value that a rule took away, with what stands in its place; `tensors` says it by name."""
    renewed: Mapping[Node, Node] = field(default_factory=dict, repr=False)
    """The node that each one is in whose place it was made, for others of its inputs had been replaced."""

    @property
    def tensors(self) -> dict[str, str]:
        """Which tensor of the model stands for which of the model before: the name after by the name before.

        What is in neither a replacement nor its way is there under its own name; what lay inside a match and is gone is
        not there.
        """
        if self.before is None:
            return {}
        after, found = names_of(self.model), {}
        now = dict(self.replaced)
        for new, old in self.renewed.items():
            now.update(zip(old.outputs, new.outputs, strict=True))
        for value, name in names_of(self.before).items():
            while value in now:
                value = now[value]
            if value in after:
                found[name] = after[value]
        return found

    def __str__(self) -> str:
        lines = [f"{name}: {count}" for name, count in self.applied.items()] or ["no rule fired"]
        lines += [f"left alone at {', '.join(s.tensors)}: {s.rule}: {s.reason}" for s in self.skipped]
        return "\n".join(lines)


@overload
def rewrite(
    model: M, *rules: Rule, at: Place | Iterable[Place] | None = ..., strict: bool = ...
) -> RewriteResult[M]: ...
@overload
def rewrite(
    model: Source, *rules: Rule, at: Place | Iterable[Place] | None = ..., strict: bool = ...
) -> RewriteResult[Model]: ...
def rewrite(
    model: Any, *rules: Rule, at: Place | Iterable[Place] | None = None, strict: bool = False
) -> RewriteResult[Any]:
    """The model with rules applied until none fires, in bodies and local functions too.

    A match is left alone, and listed with the reason in `skipped`, where others use a value inside it, the type of an
    output would change, a random operator would be drawn more or less often, or it would undo what it just made; so a
    rewrite always ends.

    >>> import graphdsl as gd
    >>> @gd.rule(lambda x: x * 1)
    ... def drop_one(x):
    ...     return x
    >>> x = gd.input("x", gd.float32[3])
    >>> result = gd.rewrite(gd.build({"y": (x * 1.0) * (x + 1.0)}), drop_one)
    >>> [node.op_type for node in result.model.nodes], result.applied
    (['Add', 'Mul'], {'drop_one': 1})

    Args:
        model: A model, a proto or a path; not changed.
        rules: Tried in this order at each node.
        at: The tensors (themselves, by name, or by path into a body) whose nodes may be replaced; by default all.
        strict: Raise where a match would change a tensor's type, instead of leaving it alone.

    Raises:
        GraphError: `at` names a tensor that the model does not have.
        RuleError: with `strict`, a replacement has another type; or a rule returns another number of tensors than its
            pattern.
    """
    for item in rules:
        if not isinstance(item, Rule):
            raise RuleError(f"gd.rewrite takes rules made by @gd.rule, got {item!r}" + _here())
    alone = isinstance(at, (str, tuple, Handle)) or not isinstance(at, Iterable)
    wanted: Any = [at] if alone else at
    model = _read(model)
    engine = Engine(model, rules, None if at is None else producers(model, wanted), strict=strict)
    with undisturbed():
        after = engine.run(model)
        firings = engine.firings
        applied = dict(Counter([firing.rule for firing in firings]))
        steps = tuple(engine.lineage.replaced), MappingProxyType(engine.lineage.renewed)
        return RewriteResult(after, firings, engine.skipped, engine.unproven, applied, model, *steps)


def _read(model: ModelData | Source) -> ModelData:
    return model if isinstance(model, ModelData) else load(model)


def _here() -> str:
    return at(caller())


def _homes(model: ModelData) -> dict[Node, Graph]:
    """The graph that each node lies in."""
    parts = (model.graph, *(function.graph for function in model.functions))
    return {node: graph for part in parts for graph in graphs(part) for node in graph.nodes}


def find(model: ModelData | Source, pattern: Callable[..., Any]) -> list[Match]:
    """Every place where a pattern (or the pattern of a rule) fits, in order; nothing is changed.

    Bodies and local functions are searched too.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build({"y": (x + 1) * (x + 2)})
    >>> [match.bindings["b"].value.item() for match in gd.find(model, lambda a, b: a + b)]
    [1.0, 2.0]

    Raises:
        GraphError: the pattern cannot be written at the opset of the model.
        RuleError: it is no pattern.
    """
    if not callable(pattern):
        raise RuleError(f"gd.find takes a pattern, as in lambda x, y: x + y, or a rule, got {pattern!r}" + _here())
    model = _read(model)
    recipe = pattern.recipe if isinstance(pattern, Rule) else Recipe(pattern, "the pattern")
    version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
    parts = [(model.graph, version), *((f.graph, f.opset_imports.get("", version)) for f in model.functions)]
    home, found = _homes(model).get, list[Match]()
    for part, opset in parts:
        traced = recipe.at(opset)
        if isinstance(traced, GraphError):
            raise traced
        names = {(root.schema.domain, name) for root in traced.roots for name in root.names}
        for graph in graphs(part):
            for node in graph.nodes:
                if (node.schema.domain, node.schema.name) in names:
                    match = Matcher(traced, home).match(node)
                    if match is not None:
                        bound = match.bindings.items()
                        held = {name: value if name in traced.attributes else _held(value) for name, value in bound}
                        found.append(Match(node, MappingProxyType(held), match.interior))
    return found
