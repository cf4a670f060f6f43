"""Instances of a rule: the pattern as a model on inputs of its own, and the same model with the rule applied."""

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ... import schemas
from ...building import build
from ...building import input as new_input
from ...dims import Dim
from ...errors import GraphError, InferenceError, SignatureError, UnknownOperator
from ...ir import Node, Value
from ...models import Model
from ...renewal import called_again
from ...rewriting.matching import Found, Matcher
from ...rewriting.patterns import Captured, TracedPattern
from ...rewriting.rules import Rule
from ...tensor import Tensor
from ...tensor.calling import ROOT
from ...tensor.handle import Handle
from ...types import DType, may_be, tensor_type
from ..arrays import ANY, Range, array
from ..choices import Choices
from ..ranges import Use, demand_of
from .calls import Call, Shape, size, sizes
from .hints import IMAGES, MATRICES, complete, is_elementwise
from .plans import TENSOR, Contradiction, Leaf, Plan, Step, form_of, formed, innermost


class Instance(NamedTuple):
    """A pattern made into a model, and that model with the rule applied once."""

    before: Model
    after: Model
    known: Model
    """The first of them with all shapes known, from which inputs are drawn."""
    fixed: Mapping[str, np.ndarray]
    """Inputs whose contents the operators demand."""
    traits: Mapping[str, str]
    """What is special about it, for the verdict: its dtype, rank and opset."""
    dtypes: str
    """The dtypes of its operators, in order."""
    form: tuple[Any, ...]
    """What it looks like with and without the rule, whatever its sizes and numbers."""
    keeps_types: bool
    """Whether the outputs may have the types with the rule that they have without it, where all sizes are known."""
    chosen: bytes
    """The bytes that chose it, no more."""

    @property
    def is_empty(self) -> bool:
        """Whether some input has no elements."""
        kinds = [innermost(value.type) for value in self.known.graph.inputs]
        return any(kind is not None and 0 in (kind.shape or ()) for kind in kinds)


class Misfit(NamedTuple):
    """Why choices made no instance: a stage (`"no instance"`, `"no match"`, `"declined"`, `"unwritable"`), and more."""

    stage: str
    reason: str


class Broken(NamedTuple):
    """An instance on which the rule's function fails, or returns what cannot take the root's place."""

    before: Model
    known: Model
    fixed: Mapping[str, np.ndarray]
    reason: str
    chosen: bytes


def instance(rule: Rule, versions: Sequence[int], raw: bytes) -> Instance | Misfit | Broken:
    """The instance that some bytes choose."""
    choices = Choices(raw)
    version = choices.favouring(versions, len(versions))
    traced = rule.recipe.at(version)
    assert not isinstance(traced, GraphError)
    with schemas.opset_forced(version), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of shapes that only a run decides
        try:
            plan = Plan(traced, choices)
            made = _Making(plan, choices)
        except Contradiction:
            return Misfit("no instance", "no dtypes fit")
        except GraphError as error:
            return Misfit("no instance", _first(error))
        return _applied(rule, traced, made, version, raw[: choices.used])


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


class _Facts(NamedTuple):
    """What is known of an input of a call: its shape if it is not open, its dtype, its contents if they are fixed."""

    shape: Shape | None
    dtype: DType | None
    content: np.ndarray | None


_ABSENT = _Facts(None, None, None)


class _Making:
    """The nodes of an instance, made step by step."""

    def __init__(self, plan: Plan, choices: Choices) -> None:
        self._choices = choices
        self._named: dict[str, int] = {}
        self.fixed: dict[str, np.ndarray] = {}
        self._shapes: dict[Leaf, Shape] = {}
        self._contents: dict[Leaf, np.ndarray] = {}
        self._attributes: dict[str, Any] = {}
        self._arrays: dict[Leaf, np.ndarray] = {}
        self._results: dict[Step, tuple[Tensor, ...]] = {}
        self._tensors: dict[Leaf, Tensor] = {}
        self._base = self._base_shape(plan)
        self._constant = self._chosen_constants(plan)
        calls = [self._step(step) for step in plan.steps]
        self.known = self._part(plan)
        self.vague = self._make_vague(plan, calls) if choices.flag() else frozenset()
        """What is not known of inputs."""
        self.part = self._part(plan)
        self.dtype = next((leaf.dtype for leaf in plan.leaves), None)
        """The dtype of the first parameter."""
        names = [dtype.name for step in plan.steps for dtype in step.dtypes.values()]
        self.dtypes = " ".join(name for name, _ in groupby(names))
        """All dtypes of operators, in order; equal ones in a row are one."""

    def _chosen_constants(self, plan: Plan) -> dict[Leaf, bool]:
        """Which parameters stand for constants: none, each by chance, all but the first, or all."""
        kind = self._choices.pick([0, 1, 2, 1, 2, 3])
        if kind == 1:
            return {leaf: bool(self._choices.below(2)) for leaf in plan.leaves}
        return {leaf: kind == 3 or (kind == 2 and place > 0) for place, leaf in enumerate(plan.leaves)}

    def _base_shape(self, plan: Plan) -> Shape:
        choices = self._choices
        operators = {step.schema.name for step in plan.steps if not step.schema.domain}
        if operators & IMAGES:
            return (
                1 + choices.below(2),
                1 + choices.below(4),
                *(2 + choices.below(4) for _ in range(1 + choices.pick([1, 0, 2, 1]))),
            )
        rank = choices.pick([2, 3, 1, 4, 2]) if operators & MATRICES else choices.pick([1, 2, 3, 0, 2, 4])
        return sizes(choices, rank)

    def _step(self, step: Step) -> Mapping[str, Any]:
        """Complete the call of a step, make what is new to it, and call; the answer is the attributes."""
        facts = [_ABSENT if given is None else self._facts(given) for given in step.inputs]
        contents = {index: fact.content for index, fact in enumerate(facts) if fact.content is not None}
        attributes, wanted = self._known_attributes(step)
        shapes, dtypes = [fact.shape for fact in facts], [fact.dtype for fact in facts]
        call = Call(self._choices, step.schema, shapes, dtypes, contents, attributes, wanted, self._base, step.count)
        for index, given in enumerate(step.inputs):
            if isinstance(given, Leaf) and given.literal is not None and call.shapes[index] is None:
                call.shapes[index] = self._literal_shape(call, index)
        complete(call)
        for index, given in enumerate(step.inputs):
            if isinstance(given, Leaf) and given not in self._tensors:
                self._leaf(given, call, index)
        if "to" in wanted and "T2" in step.dtypes:
            call.attributes["to"] = step.dtypes["T2"].code
        for name, value in step.pattern.attributes.items():
            if isinstance(value, Captured) and name in call.attributes:
                self._attributes.setdefault(value.label, call.attributes[name])
        return self._call(step, call.attributes)

    def _facts(self, given: Leaf | tuple[Step, int]) -> "_Facts":
        """What is known of an input."""
        if isinstance(given, Leaf):
            literal = given.literal.given if given.literal is not None else None
            if isinstance(literal, (np.ndarray, list, tuple)):
                array = np.asarray(literal)
                return _Facts(array.shape, given.dtype, array)
            if given not in self._shapes and given.variable is not None:
                self._condition(given)
            return _Facts(self._shapes.get(given), given.dtype, self._contents.get(given))
        tensor = self._results[given[0]][given[1]]
        kind = innermost(tensor.type)
        if kind is None or kind.shape is None:
            raise SignatureError("a rank inside the pattern is not known")
        # what only a run decides is taken for 1, beside which other sizes are chosen that broadcast with anything
        shape = tuple(dim if isinstance(dim, int) else 1 for dim in kind.shape)
        return _Facts(shape, kind.dtype, tensor.value)

    def _literal_shape(self, call: Call, index: int) -> Shape:
        """The shape of a literal: most often a scalar, never one that widens the other operand."""
        others = [shape for i, shape in enumerate(call.shapes) if i != index and shape is not None]
        rank = len(others[0]) if others else 0
        kind = self._choices.below(6)
        if not is_elementwise(call.schema):  # an axis, a place, a size
            return (1,) if kind == 5 else ()
        if kind < 4 or not rank:
            return ()
        return (1,) * (1 + self._choices.below(rank)) if kind == 4 else tuple(others[0])

    def _condition(self, leaf: Leaf) -> None:
        """Give a parameter the shape that its condition says."""
        assert leaf.variable is not None
        condition = innermost(leaf.variable.condition)
        if condition is not None and condition.shape is not None:
            found = []
            for dim in condition.shape:
                if isinstance(dim, Dim):
                    for name in dim.symbols:
                        self._named.setdefault(name, size(self._choices))
                    substituted = dim.substitute({name: self._named[name] for name in dim.symbols})
                    found.append(int(substituted) if isinstance(substituted, int) else size(self._choices))
                else:
                    found.append(dim if isinstance(dim, int) else size(self._choices))
            self._shapes[leaf] = tuple(found)

    def _known_attributes(self, step: Step) -> tuple[dict[str, Any], list[str]]:
        known: dict[str, Any] = {}
        wanted: list[str] = []
        for name, value in step.pattern.attributes.items():
            if not isinstance(value, Captured):
                known[name] = value
            elif value.label in self._attributes:
                known[name] = self._attributes[value.label]
            else:
                required = step.schema.attributes[name].required
                if required or not self._choices.one_in(4):  # absent, it has its default
                    wanted.append(name)
        if step.pattern.rest is not None:
            for name, spec in step.schema.attributes.items():
                if name not in step.pattern.attributes and (spec.required or self._choices.below(2)):
                    wanted.append(name)
        return known, wanted

    def _leaf(self, leaf: Leaf, call: Call, index: int) -> None:
        """Make what stands for a parameter or for a number of the pattern, as the first call that takes it wants it."""
        shape, content, dtype = call.shapes[index] or (), call.contents.get(index), leaf.dtype
        assert dtype is not None
        self._shapes[leaf] = shape
        if leaf.literal is not None:
            given = leaf.literal.given
            with np.errstate(all="ignore"):
                self._arrays[leaf] = np.broadcast_to(np.asarray(given), shape).astype(dtype.numpy)
        elif content is not None:
            self._contents[leaf] = content
            if not self._choices.one_in(3):
                self._arrays[leaf] = content
            else:
                self.fixed[leaf.label] = content
        elif self._constant[leaf] and leaf.form == TENSOR:
            self._arrays[leaf] = constant(self._choices, dtype, shape, _demanded(call, index))
        if leaf in self._arrays:
            array = self._arrays[leaf].copy()
            array.flags.writeable = False
            self._tensors[leaf] = _lifted(array)
        else:
            self._tensors[leaf] = new_input(leaf.label, formed(tensor_type(dtype, shape), leaf.form))

    def _call(self, step: Step, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call a step's operator, and answer with its attributes as the node keeps them."""
        inputs = tuple(
            None if g is None else self._tensors[g] if isinstance(g, Leaf) else self._results[g[0]][g[1]]
            for g in step.inputs
        )
        if step.schema.maker is not None:  # the body depends on the types
            returned = step.schema.maker(*inputs, **attributes)
            self._results[step] = returned if isinstance(returned, tuple) else (returned,)
            return attributes
        normal = {
            name: ROOT.attribute(step.schema, name, step.schema.attributes[name].kind, value, None)
            if name in step.schema.attributes
            else value
            for name, value in sorted(attributes.items())
        }
        made = ROOT.call(step.schema, inputs, normal, _outputs(step), None)
        self._results[step] = tuple(map(Tensor, made))
        return normal

    def _part(self, plan: Plan) -> tuple[Node, list[Tensor]]:
        """The root, and the tensors that stand for parameters and are inputs."""
        root = self._results[plan.root][0]._v.node
        assert root is not None
        inputs = [leaf for leaf in plan.leaves if leaf not in self._arrays and leaf in self._tensors]
        return root, [self._tensors[leaf] for leaf in inputs]

    def _make_vague(self, plan: Plan, calls: Sequence[Mapping[str, Any]]) -> frozenset[str]:
        """Make everything anew on inputs of which less is known, of each something else or of all the same.

        The answer is what is not known: nothing, where operators refuse.
        """
        kept = self._tensors, self._results
        used = set()
        self._tensors = dict(self._tensors)
        alike = self._choices.pick([_NAMED, _UNKNOWN, _UNRANKED]) if self._choices.flag() else None
        for leaf, tensor in kept[0].items():
            condition = innermost(leaf.variable.condition) if leaf.variable is not None else None
            conditioned = condition is not None and condition.shape is not None
            how = alike or self._choices.pick([_NAMED, None, _UNKNOWN, _NAMED, _UNRANKED])
            if how and leaf not in self._arrays and leaf.label not in self.fixed and not conditioned:
                self._tensors[leaf] = new_input(leaf.label, _vague(tensor.type, how))
                used.add(how)
        self._results = {}
        try:
            for step, attributes in zip(plan.steps, calls, strict=True):
                self._call(step, attributes)
        except GraphError:  # what only known sizes allow
            self._tensors, self._results = kept
            return frozenset()
        return frozenset(used)


_NAMED, _UNKNOWN, _UNRANKED = "named sizes", "unknown sizes", "unknown ranks"


def _vague(kind: Any, how: str) -> Any:
    """A type of which less is known: equal sizes have one name, or no size is known, or not even the rank."""
    inner = innermost(kind)
    assert inner is not None
    if inner.shape is None or how == _UNRANKED:
        known = tensor_type(inner.dtype)
    elif how == _UNKNOWN:
        known = tensor_type(inner.dtype, (None,) * len(inner.shape))
    else:
        named = [f"d{dim}" if isinstance(dim, int) and dim > 1 else dim for dim in inner.shape]
        known = tensor_type(inner.dtype, named)
    return formed(known, form_of(kind))


def _outputs(step: Step) -> int:
    least = step.schema.least_outputs
    return max(step.count, least, 1) if step.schema.rule is None else 0


def _lifted(array: np.ndarray) -> Tensor:
    from ...tensor.lifting import constant as lifted

    return Tensor(lifted(array, None))


def _demanded(call: Call, index: int) -> Range:
    """The values that an operator takes as one of its inputs."""
    demand = demand_of(call.schema.name, call.schema.input(index).name) if not call.schema.domain else None
    if demand is None:
        return ANY
    types = [
        None if dtype is None or shape is None else tensor_type(dtype, shape)
        for dtype, shape in zip(call.dtypes, call.shapes, strict=True)
    ]
    return demand(Use(call.schema.name, tuple(types), call.attributes, {}, index)) or ANY


def constant(choices: Choices, dtype: DType, shape: Shape, within: Range = ANY) -> np.ndarray:
    """The contents of a constant: ones, zeros, one number, several; what the range allows, if there is one."""
    if within != ANY:
        number = choices.byte()
        random = np.random.default_rng(number)
        return array(Choices(more=lambda: random.bytes(64)) if number else Choices(), dtype, shape, within=within)
    count = math.prod(shape)
    kind = choices.below(16)
    numbers: Any
    if dtype.kind == "string":
        return np.full(shape, choices.pick(["a", "", "b"]), object)
    if dtype.kind == "bool":
        return np.array([choices.below(2) for _ in range(count)] if kind > 7 else [kind % 2] * count, np.bool_).reshape(
            shape
        )
    if kind < 8:
        other = 3 if dtype.kind == "uint" else -1
        numbers = [(1, 0, 2, other, 1, -0.0, 2, other)[kind]] * count
    else:
        random = np.random.default_rng(choices.byte())
        numbers = random.integers(1 if dtype.kind == "uint" or kind < 12 else -5, 6, count)
        if dtype.kind == "float" and kind > 9:
            numbers = random.standard_normal(count) * (1 if kind < 14 else 4)
    return np.asarray(numbers).astype(dtype.numpy).reshape(shape)


def _applied(
    rule: Rule, traced: TracedPattern, made: _Making, version: int, chosen: bytes
) -> Instance | Misfit | Broken:
    """The rule applied to an instance of its pattern."""
    root, inputs = made.part
    names = ["result"] if len(traced.places) == 1 else [f"result_{place}" for place in traced.places]
    try:
        known = _model(made.known, names, traced, version)
        before = known if not made.vague else _model(made.part, names, traced, version)
    except GraphError as error:
        return Misfit("no instance", _first(error))
    outputs = {name: Tensor(root.outputs[place]) for name, place in zip(names, traced.places, strict=True)}
    matcher = Matcher(traced, dict.fromkeys(before.graph.nodes, before.graph).get)
    match = matcher.match(root)
    if match is None:
        return Misfit("no match", matcher.reason)
    try:
        returned = rule.replacement(match, traced)
    except Exception as error:
        if isinstance(error, _UNWRITABLE) and _is_writable(rule, match, traced):
            return Misfit("unwritable", f"at opset {version}: {_first(error)}")
        said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])  # a bare assert says nothing
        return Broken(before, known, made.fixed, f"the rule's function fails: {said}", chosen)
    if returned is None:
        return Misfit("declined", "the rule declined")
    items = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    if len(items) != len(names):
        return Broken(
            before, known, made.fixed, f"the pattern has {len(names)} outputs, the replacement {len(items)}", chosen
        )
    try:
        tensors = [
            item if isinstance(item, Handle) else _adopted(item, old)
            for item, old in zip(items, outputs.values(), strict=True)
        ]
        after = build(dict(zip(names, tensors, strict=True)), inputs=inputs, name="after", opset=version)
    except GraphError as error:
        return Broken(before, known, made.fixed, f"the replacement makes no model: {_first(error)}", chosen)
    kind = innermost(made.known[0].outputs[0].type)
    rank = len(kind.shape) if kind is not None and kind.shape is not None else None
    traits = {"dtypes": str(made.dtype), "ranks": str(rank), "opsets": str(version)}
    sides = [tuple(node.schema.label for node in model.graph.nodes) for model in (before, after)]
    form = (*sides, tuple(value.name for value in before.graph.inputs), made.vague)
    plain = {less._v: more._v for less, more in zip(inputs, made.known[1], strict=True) if less is not more}
    keeps_types = _keeps_types(known, after, plain)
    return Instance(before, after, known, made.fixed, traits, made.dtypes, form, keeps_types, chosen)


def _keeps_types(known: Model, after: Model, plain: dict[Value, Value]) -> bool:
    """Whether the second model's outputs may have the types of the first one's, on inputs of known sizes."""
    values = dict(plain)
    try:
        for node in after.graph.nodes if plain else ():
            again = called_again(
                node, [values.get(value, value) if value is not None else None for value in node.inputs]
            )
            values.update(zip(node.outputs, again.outputs, strict=True))
    except InferenceError:
        return False
    pairs = zip(known.graph.outputs, after.graph.outputs, strict=True)
    return all(may_be(values.get(new, new).type, old.type) for (_, old), (_, new) in pairs)


_UNWRITABLE = (UnknownOperator, SignatureError)
"""How a call fails that the opset in force does not have."""


def _is_writable(rule: Rule, match: Found, traced: TracedPattern) -> bool:
    """Whether what a rule's function calls fits some opset; else the calls are wrong, and not the opset."""
    for version in range(schemas.NEWEST_OPSET, 6, -1):
        with schemas.opset_forced(version):
            try:
                rule.replacement(match, traced)
            except _UNWRITABLE:
                continue
            except Exception:
                return True
            return True
    return False


def _model(part: tuple[Node, list[Tensor]], names: Sequence[str], traced: TracedPattern, version: int) -> Model:
    root, inputs = part
    outputs = {name: Tensor(root.outputs[place]) for name, place in zip(names, traced.places, strict=True)}
    return build(outputs, inputs=inputs, name="before", opset=version)


def _adopted(item: Any, old: Tensor) -> Any:
    from ...tracing import as_tensor

    return as_tensor(item, "the replacement")
