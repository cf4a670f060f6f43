"""What a pattern leaves open, settled so far as types go: which alternatives, how many inputs, and all dtypes.

The types of a pattern hang together by the type variables of its operators' schemas. They are found before anything is
made: places that must have one type form a class, and each class gets one that all its places allow: first whether it
is a tensor, a sequence or an optional, then the dtype.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ... import schemas
from ...rewriting.patterns import Choice, Literal, Made, NodePattern, Pattern, TracedPattern, Variable
from ...schemas import Parameter, Schema
from ...types import DTYPES, DType, OptionalType, SequenceType, TensorType, Type, as_dtype, from_text, tensor_type
from ...types import optional as optional_of
from ...types import sequence as sequence_of
from ..choices import Choices

T = TypeVar("T")

_PREFERRED = (
    *(
        "float32",
        "int64",
        "float64",
        "int32",
        "float16",
        "bool",
        "uint8",
        "int8",
        "uint64",
        "int16",
        "uint32",
        "uint16",
    ),
    *("string", "bfloat16"),
)
"""Dtypes that instances have, the usual ones first; others only where nothing else is allowed."""

_USUAL = tuple(next(dtype for dtype in DTYPES if dtype.name == name) for name in _PREFERRED)


_ALL = "all"
"""The one type variable of operators that have no schema in ONNX, which mostly take and give one dtype."""


Form = tuple[str, ...]
"""What stands around tensors: nothing, `("sequence",)`, `("optional",)` or `("optional", "sequence")`."""

TENSOR: Form = ()
"""The form of a tensor itself."""

_ELEMENTS = {
    **dict.fromkeys(("SequenceConstruct", "SequenceAt", "SequenceInsert"), ("S", "T")),
    **dict.fromkeys(("ConcatFromSequence", "SplitToSequence"), ("S", "T")),
    **dict.fromkeys(("Optional", "OptionalGetElement"), ("O", "V")),
}
"""The type variables of operators that put things into others, or take them out: their elements have one dtype."""


class Contradiction(Exception):
    """No dtypes fit the places of a pattern."""


class Leaf:
    """A place that the pattern leaves open: a parameter, or one of the inputs that a `*parameter` stands for."""

    def __init__(self, label: str, variable: Variable | None, literal: Literal | None = None) -> None:
        self.label = label
        self.variable = variable
        self.literal = literal
        """The constant that must stand here, for a literal."""
        self.form: Form = TENSOR
        """Whether it is a tensor, or what holds tensors."""
        self.dtype: DType | None = None
        """Its dtype, or that of the tensors in it."""


class Step:
    """One operator to call: its inputs are leaves, outputs of earlier steps, or absent."""

    def __init__(self, pattern: NodePattern, schema: Schema, inputs: list["Leaf | tuple[Step, int] | None"]) -> None:
        self.pattern = pattern
        self.schema = schema
        self.inputs = inputs
        self.count = max(pattern.count, 1)
        """How many outputs are needed."""
        self.dtypes: dict[str, DType] = {}
        """The dtypes of the type variables."""


class Plan:
    """An instance of a pattern before shapes and attributes: its steps in order."""

    def __init__(self, traced: TracedPattern, choices: Choices) -> None:
        self.steps: list[Step] = []
        self.leaves: list[Leaf] = []
        self.absent: list[str] = []
        """Parameters that stand for no input."""
        self.stars: dict[str, list[Leaf]] = {}
        self._choices = choices
        self._known: dict[Any, Any] = {}
        self.root = self._chosen_root(traced.root)
        self.root.count = max(self.root.count, *[place + 1 for place in traced.places])
        _settle(self, choices)

    def _chosen_root(self, pattern: Pattern) -> Step:
        while isinstance(pattern, Choice):
            pattern = self._choices.pick([option for option in pattern.options if isinstance(option, (Made, Choice))])
        assert isinstance(pattern, Made)
        return self._step(pattern.by)

    def _step(self, pattern: NodePattern) -> Step:
        if pattern in self._known:
            found: Step = self._known[pattern]
            return found
        inputs: list[Any] = []
        for given in pattern.inputs:
            if isinstance(given, Variable) and given.star:
                inputs += self._star(given, pattern, len(pattern.inputs) - 1)
            else:
                inputs.append(None if given is None else self._value(given))
        name = pattern.schema.name
        if len(pattern.names) > 1:
            name = self._choices.pick(sorted(pattern.names, key=lambda other: (other != name, other)))
        schema = pattern.schema
        if name != schema.name:
            schema = schemas.in_force(name)
        while inputs and inputs[-1] is None:
            inputs.pop()
        made = self._known[pattern] = Step(pattern, schema, inputs)
        self.steps.append(made)
        return made

    def _star(self, variable: Variable, pattern: NodePattern, before: int) -> list[Leaf]:
        if variable.label not in self.stars:
            least = max(pattern.schema.least_inputs - before, 0)
            most = pattern.schema.most_inputs - before
            count = min(max(least, self._choices.pick([2, 1, 3, 2, 0])), most)
            found = [Leaf(f"{variable.label}_{index}", variable) for index in range(count)]
            self.stars[variable.label] = found
            self.leaves += found
        return self.stars[variable.label]

    def _value(self, pattern: Pattern) -> Any:
        if isinstance(pattern, Choice):
            return self._value(self._choices.pick(pattern.options))
        if isinstance(pattern, Made):
            step = self._step(pattern.by)
            step.count = max(step.count, pattern.place + 1)
            return step, pattern.place
        if pattern in self._known:
            return self._known[pattern]
        leaf: Leaf | None = None
        if isinstance(pattern, Literal):
            leaf = Leaf(f"literal {len(self._known)}", None, pattern)
        elif isinstance(pattern, Variable):
            if pattern.absent and self._choices.one_in(3):
                self.absent.append(pattern.label)
            else:
                leaf = Leaf(pattern.label, pattern)
                self.leaves.append(leaf)
        self._known[pattern] = leaf
        return leaf


# Dtypes


class _Classes(Generic[T]):
    """Places that have one thing in common, and what each class allows."""

    def __init__(self) -> None:
        self._parents: dict[Any, Any] = {}
        self.allowed: dict[Any, frozenset[T]] = {}

    def find(self, place: Any) -> Any:
        while self._parents.get(place, place) != place:
            place = self._parents[place]
        return place

    def __contains__(self, place: Any) -> bool:
        return place in self._parents

    def restrict(self, place: Any, allowed: frozenset[T] | None) -> None:
        root = self.find(place)
        self._parents.setdefault(root, root)
        if allowed is not None:
            self.allowed[root] = self.allowed.get(root, allowed) & allowed

    def join(self, one: Any, other: Any) -> None:
        left, right = self.find(one), self.find(other)
        self._parents.setdefault(left, left)
        if left != right:
            self._parents[right] = left
            self.restrict(left, self.allowed.pop(right, None))

    def roots(self) -> Iterator[Any]:
        seen = set()
        for place in list(self._parents):
            root = self.find(place)
            if root not in seen:
                seen.add(root)
                yield root


class _Place(NamedTuple):
    """A place of a type: a type variable of a step or a leaf, the types that it allows, and where it stands as well."""

    key: Any
    types: frozenset[Type] | None
    same: Any = None


def _settle(plan: Plan, choices: Choices) -> None:
    """Give each leaf its form, and each leaf and type variable its dtype.

    Raises:
        Contradiction: some place allows none.
    """
    places = [place for step in plan.steps for place in _places(step)]
    forms = _classes(places, lambda types, key: _forms(types))
    formed_so = {root: _picked(choices, sorted(allowed), 6) for root, allowed in forms.allowed.items()}
    in_form = {key: formed_so.get(forms.find(key), TENSOR) for key, *_ in places}
    dtypes = _classes(places, lambda types, key: _dtypes(types, in_form[key]))
    for step in plan.steps:
        one, other = _ELEMENTS.get(step.schema.name, ("", ""))
        if one and not step.schema.domain:
            dtypes.join((step, one), (step, other))
        if "to" in step.pattern.attributes and isinstance(step.pattern.attributes["to"], int):
            dtypes.restrict((step, "T2"), frozenset({as_dtype(step.pattern.attributes["to"])}))
        for made in step.schema.outputs:
            if (step, made.type_str) in dtypes:
                continue
            tensors = _dtypes(_types(made.types), TENSOR)
            if tensors:  # an attribute decides, such as `to` of Cast
                dtypes.restrict((step, made.type_str), tensors)
    found: dict[Any, DType] = {}
    for root in dtypes.roots():
        allowed = dtypes.allowed.get(root, frozenset(_USUAL))
        options = [dtype for dtype in _USUAL if dtype in allowed] or sorted(allowed, key=lambda dtype: dtype.code)
        found[root] = _picked(choices, options, 1 + len(options) // 2)
    for step in plan.steps:
        for parameter in (*step.schema.inputs, *step.schema.outputs):
            root = dtypes.find((step, parameter.type_str))
            if root in found:
                step.dtypes[parameter.type_str] = found[root]
        for given in step.inputs:
            if isinstance(given, Leaf):
                given.dtype, given.form = found[dtypes.find(given)], in_form[given]


def _places(step: Step) -> Iterator[_Place]:
    """The places of a step's inputs, each beside what stands there."""
    for index, given in enumerate(step.inputs):
        if given is None:
            continue
        formal = step.schema.input(index) if step.schema.rule is None else None
        slot = (step, _ALL) if formal is None else _slot(step, formal, index)
        types = _types(formal.types) if formal is not None and formal.types else None
        if isinstance(given, Leaf):
            yield _Place(given, _of_leaf(given))
            yield _Place(slot, types, given)
        else:
            earlier, output = given
            source = earlier.schema.output(output) if earlier.schema.rule is None else None
            made = (earlier, _ALL) if source is None else (earlier, source.type_str)
            yield _Place(made, _types(source.types) if source is not None and source.types else None)
            yield _Place(slot, types, made)


def _classes(
    places: Iterable[_Place], part: Callable[[frozenset[Type] | None, Any], frozenset[T] | None]
) -> _Classes[T]:
    """The classes of places by a part of their types."""
    found: _Classes[T] = _Classes()
    for key, types, same in places:
        found.restrict(key, part(types, key))
        if same is not None:
            found.join(key, same)
    return found


def _picked(choices: Choices, options: Sequence[T], first: int) -> T:
    if not options:
        raise Contradiction
    return choices.favouring(options, first) if len(options) > 1 else options[0]


def _slot(step: Step, formal: Parameter, index: int) -> Any:
    return (step, formal.type_str) if formal.homogeneous or not formal.variadic else (step, index)


@cache
def _types(texts: frozenset[str]) -> frozenset[Type]:
    return frozenset(kind for kind in map(from_text, texts) if kind is not None and innermost(kind) is not None)


@cache
def _forms(types: frozenset[Type] | None) -> frozenset[Form] | None:
    """The forms of types."""
    return None if types is None else frozenset(map(form_of, types))


@cache
def _dtypes(types: frozenset[Type] | None, form: Form) -> frozenset[DType] | None:
    """The dtypes of types of a form."""
    if types is None:
        return None
    tensors = [innermost(kind) for kind in types if form_of(kind) == form]
    return frozenset(kind.dtype for kind in tensors if kind is not None)


def form_of(kind: Type) -> Form:
    """The form of a type."""
    if isinstance(kind, SequenceType):
        return ("sequence", *form_of(kind.element))
    return ("optional", *form_of(kind.element)) if isinstance(kind, OptionalType) else TENSOR


def innermost(kind: Type | None) -> TensorType | None:
    """The type of the tensors that a type holds; None where it holds none."""
    while isinstance(kind, (SequenceType, OptionalType)):
        kind = kind.element
    return kind if isinstance(kind, TensorType) else None


def formed(tensor: TensorType, form: Form) -> Type:
    """The type of a form that holds tensors of a type."""
    made: Type = tensor
    for name in reversed(form):
        made = sequence_of(made) if name == "sequence" else optional_of(made)
    return made


def _of_leaf(leaf: Leaf) -> frozenset[Type] | None:
    """The types that a parameter's condition or a literal allows, but for their shapes."""
    if leaf.variable is not None:
        condition = leaf.variable.condition
        inner = innermost(condition)
        if condition is None or inner is None:
            return None
        return frozenset({formed(tensor_type(inner.dtype), form_of(condition))})
    assert leaf.literal is not None
    return frozenset(map(tensor_type, _of_literal(leaf.literal.given)))


def _of_literal(given: Any) -> Iterable[DType]:
    """The dtypes that a constant of a pattern may have."""
    if isinstance(given, np.ndarray):
        return [as_dtype(given.dtype)]
    wanted = np.asarray(given)
    with np.errstate(all="ignore"):
        numeric = [dtype for dtype in _USUAL if dtype.kind != "string"]
        return [d for d in numeric if d.kind == "float" or bool(np.all(wanted.astype(d.numpy) == wanted))]
