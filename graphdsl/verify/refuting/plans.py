"""What a pattern leaves open, settled so far as types go: which alternatives, how many inputs, and all dtypes.

The dtypes of a pattern hang together by the type variables of its operators' schemas. They are found before anything is
made: places that must have one dtype form a class, and each class gets one that all its places allow.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ... import schemas
from ...rewriting.patterns import Choice, Literal, Made, NodePattern, Pattern, TracedPattern, Variable
from ...schemas import Parameter, Schema
from ...types import DTYPES, DType, TensorType, as_dtype, from_text
from .choices import Choices

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
    "string",
)
"""Dtypes that instances have, the usual ones first; others only where nothing else is allowed."""

_USUAL = tuple(next(dtype for dtype in DTYPES if dtype.name == name) for name in _PREFERRED)


_ALL = "all"
"""The one type variable of operators that have no schema in ONNX, which mostly take and give one dtype."""


class Contradiction(Exception):
    """No dtypes fit the places of a pattern."""


class Leaf:
    """A place that the pattern leaves open: a parameter, or one of the inputs that a `*parameter` stands for."""

    def __init__(self, label: str, variable: Variable | None, literal: Literal | None = None) -> None:
        self.label = label
        self.variable = variable
        self.literal = literal
        """The constant that must stand here, for a literal."""
        self.dtype: DType | None = None


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


class _Classes:
    """Places that have one dtype, and what each class allows."""

    def __init__(self) -> None:
        self._parents: dict[Any, Any] = {}
        self.allowed: dict[Any, frozenset[DType]] = {}

    def find(self, place: Any) -> Any:
        while self._parents.get(place, place) != place:
            place = self._parents[place]
        return place

    def restrict(self, place: Any, allowed: frozenset[DType] | None) -> None:
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


def _settle(plan: Plan, choices: Choices) -> None:
    """Give each leaf and each type variable its dtype.

    Raises:
        Contradiction: some place allows none.
    """
    classes = _Classes()
    for step in plan.steps:
        for index, given in enumerate(step.inputs):
            if given is None:
                continue
            formal = step.schema.input(index) if step.schema.rule is None else None
            place = (step, _ALL) if formal is None else _slot(step, formal, index)
            classes.restrict(place, None if formal is None else _allowed(formal))
            if isinstance(given, Leaf):
                classes.join(place, given)
                classes.restrict(given, _of_leaf(given))
            else:
                earlier, output = given
                source = earlier.schema.output(output) if earlier.schema.rule is None else None
                made = (earlier, _ALL) if source is None else (earlier, source.type_str)
                classes.restrict(made, None if source is None else _allowed(source))
                classes.join(place, made)
        if "to" in step.pattern.attributes and isinstance(step.pattern.attributes["to"], int):
            classes.restrict((step, "T2"), frozenset({as_dtype(step.pattern.attributes["to"])}))
    found: dict[Any, DType] = {}
    for root in classes.roots():
        allowed = classes.allowed.get(root, frozenset(_USUAL))
        options = [dtype for dtype in _USUAL if dtype in allowed] or sorted(allowed, key=lambda dtype: dtype.code)
        if not options:
            raise Contradiction
        found[root] = choices.favouring(options, 1 + len(options) // 2)
    for step in plan.steps:
        for parameter in (*step.schema.inputs, *step.schema.outputs):
            root = classes.find((step, parameter.type_str))
            if root in found:
                step.dtypes[parameter.type_str] = found[root]
        for given in step.inputs:
            if isinstance(given, Leaf):
                given.dtype = found[classes.find(given)]


def _slot(step: Step, formal: Parameter, index: int) -> Any:
    return (step, formal.type_str) if formal.homogeneous or not formal.variadic else (step, index)


def _allowed(formal: Parameter) -> frozenset[DType] | None:
    return _tensors(formal.types) if formal.types else None


@cache
def _tensors(texts: frozenset[str]) -> frozenset[DType]:
    kinds = map(from_text, texts)
    return frozenset(kind.dtype for kind in kinds if isinstance(kind, TensorType))


def _of_leaf(leaf: Leaf) -> frozenset[DType] | None:
    """The dtypes that a parameter's condition or a literal allows."""
    if leaf.variable is not None:
        condition = leaf.variable.condition
        return frozenset({condition.dtype}) if isinstance(condition, TensorType) else None
    assert leaf.literal is not None
    given = leaf.literal.given
    if isinstance(given, np.ndarray):
        return frozenset({as_dtype(given.dtype)})
    wanted = np.asarray(given)
    with np.errstate(all="ignore"):
        numeric = [dtype for dtype in _USUAL if dtype.kind != "string"]
        return frozenset(d for d in numeric if d.kind == "float" or bool(np.all(wanted.astype(d.numpy) == wanted)))
