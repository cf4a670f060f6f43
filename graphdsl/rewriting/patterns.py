"""Patterns: a callable in the language itself, traced into pattern nodes, without types."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from .. import schemas
from ..errors import GraphError, RuleError
from ..ir import NodeInfo, Value
from ..schemas import Schema
from ..sites import Site, at, caller
from ..tensor.calling import Trace, call, tracing
from ..tensor.handle import Handle
from ..types import Type, as_type, is_type

COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal", "BitwiseAnd", "BitwiseOr", "BitwiseXor"})
"""Operators of two inputs whose order does not matter."""


class Pattern(Value):
    """What a value of the graph is compared with."""

    __slots__ = ()

    def __init__(self, owner: object) -> None:
        super().__init__(None, None, 0, owner)


class Variable(Pattern):
    """Any value, the same one wherever the variable stands."""

    __slots__ = ("absent", "condition", "label", "star")

    def __init__(self, owner: object, label: str, condition: Type | None, *, absent: bool, star: bool) -> None:
        super().__init__(owner)
        self.label = label
        self.condition = condition
        """The type that the value must fit."""
        self.absent = absent
        """Whether the value may be an absent optional input."""
        self.star = star
        """Whether it stands for all the remaining inputs of a variadic operator."""


class Literal(Pattern):
    """A constant: a number (all elements equal it), or an array."""

    __slots__ = ("given",)

    def __init__(self, owner: object, given: Any) -> None:
        super().__init__(owner)
        self.given = given


class Choice(Pattern):
    """One of several patterns, the first that fits."""

    __slots__ = ("options",)

    def __init__(self, owner: object, options: tuple[Pattern, ...]) -> None:
        super().__init__(owner)
        self.options = options


class Made(Pattern):
    """Output `place` of a node that fits a pattern."""

    __slots__ = ("by", "place")

    def __init__(self, owner: object, by: "NodePattern", place: int) -> None:
        super().__init__(owner)
        self.by = by
        self.place = place


class Captured:
    """The place of an attribute variable in a pattern."""

    def __init__(self, label: str) -> None:
        self.label = label


class NodePattern:
    """A call of an operator: patterns of its inputs, values or variables of its attributes."""

    def __init__(
        self,
        schema: Schema,
        inputs: tuple[Pattern | None, ...],
        attributes: Mapping[str, Any],
        count: int,
        rest: str | None,
        also: str | None = None,
    ) -> None:
        self.schema = schema
        self.inputs = inputs
        self.attributes = attributes
        self.count = count
        self.rest = rest
        """The variable that captures all other attributes."""
        self.names = frozenset({schema.name} if also is None else {schema.name, also})
        """The operators that fit; two for `& | ~`, which are logical or bitwise."""

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.schema.label


class PatternTrace(Trace):
    """The trace of a pattern: it records calls, lifts nothing and infers nothing."""

    __slots__ = ("attributes", "bitwise", "rest", "tensors")

    def __init__(self, label: str) -> None:
        super().__init__(label, None)
        self.handle = PatternTensor
        self.attributes: set[str] = set()
        self.tensors: set[str] = set()
        self.rest: str | None = None
        self.bitwise: str | None = None

    def call(
        self,
        schema: Schema,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        count: int,
        site: Site | None,
        info: NodeInfo | None = None,
    ) -> tuple[Value, ...]:
        """Record a call as a pattern node."""
        patterns = tuple([None if item is None else self.pattern(item, schema, site) for item in inputs])
        rest, self.rest = self.rest, None
        made = NodePattern(schema, patterns, attributes, count, rest, self.bitwise)
        return tuple([Made(self, made, index) for index in range(count or 1)])

    def binary(self, schema: Schema, left: Any, right: Any, site: Site | None) -> Value:
        """Record a call of two inputs."""
        return self.call(schema, (left, right), MappingProxyType({}), 1, site)[0]

    def pattern(self, item: Any, schema: Schema | None, site: Site | None) -> Pattern:
        """What an input of a pattern node is compared with."""
        if isinstance(item, Handle):
            value = item._v
            if not isinstance(value, Pattern) or value.owner is not self:
                raise RuleError(
                    f"{self.label} uses a tensor from outside; patterns are made of their parameters" + at(site)
                )
            if isinstance(value, Variable):
                self.tensors.add(value.label)
            return value
        if isinstance(item, (bool, int, float, np.ndarray, np.generic, list, tuple)):
            return Literal(self, np.asarray(item) if isinstance(item, (list, tuple)) else item)
        where = f"{schema.label}: " if schema else ""
        raise RuleError(f"{self.label}: {where}{item!r} cannot stand in a pattern" + at(site))

    def attribute(self, schema: Schema, name: str, kind: int, value: Any, site: Site | None) -> Any:
        """An attribute's value, or the variable that captures it."""
        if isinstance(value, Handle):
            variable = value._v
            if isinstance(variable, Variable) and not variable.star:
                self.attributes.add(variable.label)
                return Captured(variable.label)
            raise RuleError(f"{self.label}: {schema.label}: attribute {name!r} is a value or a parameter" + at(site))
        return super().attribute(schema, name, kind, value, site)

    @property
    def open_ended(self) -> bool:
        """Whether the call at hand has `**attrs`, which stand for the attributes that it leaves out."""
        return self.rest is not None

    def keywords(self, keywords: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keywords of a call without the one that stands for all other attributes."""
        found = [name for name, value in keywords.items() if isinstance(value, _Rest)]
        self.rest = found[0] if found else None
        return {name: value for name, value in keywords.items() if not isinstance(value, _Rest)} if found else keywords


class _Rest:
    """What `**attrs` holds while a pattern is traced."""


class PatternTensor(Handle):
    """A parameter of a pattern, or what a pattern node makes: the operators that are one ONNX node."""

    __slots__ = ()

    def _made(self, name: str, *inputs: Any, bitwise: str | None = None) -> "PatternTensor":
        trace = self._v.owner
        assert isinstance(trace, PatternTrace)
        trace.bitwise = bitwise
        try:
            return PatternTensor(call(schemas.in_force(name), inputs, {})[0])
        finally:
            trace.bitwise = None

    def __add__(self, other: Any) -> "PatternTensor":
        return self._made("Add", self, other)

    def __radd__(self, other: Any) -> "PatternTensor":
        return self._made("Add", other, self)

    def __sub__(self, other: Any) -> "PatternTensor":
        return self._made("Sub", self, other)

    def __rsub__(self, other: Any) -> "PatternTensor":
        return self._made("Sub", other, self)

    def __mul__(self, other: Any) -> "PatternTensor":
        return self._made("Mul", self, other)

    def __rmul__(self, other: Any) -> "PatternTensor":
        return self._made("Mul", other, self)

    def __truediv__(self, other: Any) -> "PatternTensor":
        return self._made("Div", self, other)

    def __rtruediv__(self, other: Any) -> "PatternTensor":
        return self._made("Div", other, self)

    def __matmul__(self, other: Any) -> "PatternTensor":
        return self._made("MatMul", self, other)

    def __rmatmul__(self, other: Any) -> "PatternTensor":
        return self._made("MatMul", other, self)

    def __pow__(self, other: Any) -> "PatternTensor":
        return self._made("Pow", self, other)

    def __rpow__(self, other: Any) -> "PatternTensor":
        return self._made("Pow", other, self)

    def __neg__(self) -> "PatternTensor":
        return self._made("Neg", self)

    def __abs__(self) -> "PatternTensor":
        return self._made("Abs", self)

    def __eq__(self, other: object) -> "PatternTensor":  # type: ignore[override]
        return self._made("Equal", self, other)

    def __lt__(self, other: Any) -> "PatternTensor":
        return self._made("Less", self, other)

    def __le__(self, other: Any) -> "PatternTensor":
        return self._made("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> "PatternTensor":
        return self._made("Greater", self, other)

    def __ge__(self, other: Any) -> "PatternTensor":
        return self._made("GreaterOrEqual", self, other)

    def __and__(self, other: Any) -> "PatternTensor":
        return self._made("And", self, other, bitwise="BitwiseAnd")

    def __rand__(self, other: Any) -> "PatternTensor":
        return self._made("And", other, self, bitwise="BitwiseAnd")

    def __or__(self, other: Any) -> "PatternTensor":
        return self._made("Or", self, other, bitwise="BitwiseOr")

    def __ror__(self, other: Any) -> "PatternTensor":
        return self._made("Or", other, self, bitwise="BitwiseOr")

    def __invert__(self) -> "PatternTensor":
        return self._made("Not", self, bitwise="BitwiseNot")

    __hash__ = Handle.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        _not_one_node(f".{name}")

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        _not_one_node("this operator")

    __ne__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __xor__ = __rxor__ = _refused
    __lshift__ = __rshift__ = __getitem__ = __divmod__ = __round__ = _refused


def _not_one_node(what: str) -> NoReturn:
    raise RuleError(f"{what} is not one ONNX node, so a pattern cannot use it; write op.X" + at(caller()))


def any_of(*options: Any) -> PatternTensor:
    """In a pattern: any of these, tried in order.

    >>> import graphdsl as gd
    >>> from graphdsl import op
    >>> x = gd.input("x", gd.float32[3])
    >>> len(gd.find(gd.build(op.Relu(x) * x), lambda x: gd.any_of(op.Relu(x), op.Sigmoid(x))))
    1
    """
    trace = next((o._v.owner for o in options if isinstance(o, PatternTensor)), None)
    if not isinstance(trace, PatternTrace) or len(options) < 2:
        raise RuleError("gd.any_of takes two or more patterns, inside a pattern" + at(caller()))
    return PatternTensor(Choice(trace, tuple([trace.pattern(option, None, caller()) for option in options])))


class TracedPattern:
    """A pattern at one opset: the root's node pattern, the output places it stands for, the kinds of its variables."""

    def __init__(
        self, root: NodePattern | Choice, places: tuple[int, ...], trace: PatternTrace, order: list[str]
    ) -> None:
        self.root = root
        self.places = places
        self.attributes = frozenset(trace.attributes)
        self.variables = order

    @property
    def roots(self) -> list[NodePattern]:
        """The node patterns that a match can end in."""
        found: list[NodePattern] = []
        stack: list[Any] = [self.root]
        while stack:
            item = stack.pop()
            if isinstance(item, NodePattern):
                found.append(item)
            elif isinstance(item, Made):
                stack.append(item.by)
            elif isinstance(item, Choice):
                stack.extend(reversed(item.options))
        return found


def trace_pattern(function: Callable[..., Any], label: str) -> TracedPattern:
    """The pattern that a callable writes, at the opset in force.

    Raises:
        RuleError: it returns no pattern node, or uses what is not one ONNX node.
        SignatureError, UnknownOperator: an operator, attribute or input does not exist at this opset.
    """
    trace = PatternTrace(label)
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        names.append(parameter.name)
        default = None if parameter.default is parameter.empty else parameter.default
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords[parameter.name] = _Rest()
            continue
        if default is not None and not is_type(default):
            raise RuleError(
                f"{label}: the default of {parameter.name!r} is a type that it must have, or None for an input that "
                f"may be absent, not {default!r}" + at(caller())
            )
        variable = Variable(
            trace,
            parameter.name,
            None if default is None else as_type(default),
            absent=parameter.default is None,
            star=parameter.kind is parameter.VAR_POSITIONAL,
        )
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = PatternTensor(variable)
        else:
            arguments.append(PatternTensor(variable))
    with tracing(trace):
        returned = function(*arguments, **keywords)
    items = returned if isinstance(returned, (tuple, list)) else (returned,)
    values = [item._v if isinstance(item, Handle) else None for item in items]
    both = trace.attributes & trace.tensors
    if both:
        raise RuleError(f"{label}: {sorted(both)} stands for a tensor and for an attribute value" + at(caller()))
    if len(values) == 1 and isinstance(values[0], Choice):
        return TracedPattern(values[0], (0,), trace, names)
    made = [value for value in values if isinstance(value, Made)]
    if not made or len(made) != len(values) or any(value.by is not made[0].by for value in made):
        raise RuleError(f"{label} returns what one operator makes: an output, or several of one node" + at(caller()))
    return TracedPattern(made[0].by, tuple([value.place for value in made]), trace, names)


class Recipe:
    """A pattern as a callable; traced once for each opset."""

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self.label = label
        self._function = function
        self._traced: dict[int, TracedPattern | GraphError] = {}
        found = self.at(schemas.opset_in_force())
        if isinstance(found, GraphError):
            others = range(schemas.NEWEST_OPSET, 0, -1)
            if isinstance(found, RuleError) or all(isinstance(self.at(n), GraphError) for n in others):
                raise found

    def at(self, version: int) -> TracedPattern | GraphError:
        """The pattern at an opset, or why it cannot be written there."""
        found = self._traced.get(version)
        if found is None:
            try:
                with schemas.opset_forced(version):
                    found = trace_pattern(self._function, self.label)
            except GraphError as error:
                found = error
            self._traced[version] = found
        return found
