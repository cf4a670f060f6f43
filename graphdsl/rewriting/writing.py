"""Writing patterns: a callable in the language itself, traced into pattern nodes, without types."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from .. import schemas
from ..dims import Dim
from ..errors import GraphError, RuleError
from ..ir import Graph, NodeInfo, Value
from ..schemas import Schema
from ..sites import Site, at, caller
from ..tensor.calling import Trace, call, tracing
from ..tensor.handle import Handle
from ..types import TensorType, as_type, is_type
from .patterns import Captured, Choice, Literal, Made, NodePattern, Pattern, TracedPattern, Variable, leaves


class PatternTrace(Trace):
    """The trace of a pattern: it records calls, lifts nothing and infers nothing."""

    __slots__ = ("attributes", "bitwise", "rest", "tensors", "used")

    def __init__(self, label: str) -> None:
        super().__init__(label, None)
        self.handle = PatternTensor
        self.attributes: set[str] = set()
        self.tensors: set[str] = set()
        self.used: set[str] = set()
        """Parameters for all other attributes that stand in a call."""
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
        for index, pattern in enumerate(patterns):
            if isinstance(pattern, Variable) and pattern.star:
                self._check_star(pattern, index, patterns, schema, site)
        rest, self.rest = self.rest, None
        if rest is not None:
            self.used.add(rest)
        made = NodePattern(schema, patterns, attributes, count, rest, site, self.bitwise)
        return tuple([Made(self, made, index) for index in range(count or 1)])

    def binary(self, schema: Schema, left: Any, right: Any, site: Site | None) -> Value:
        """Record a call of two inputs."""
        return self.call(schema, (left, right), MappingProxyType({}), 1, site)[0]

    def _check_star(
        self, star: Variable, index: int, patterns: Sequence[Pattern | None], schema: Schema, site: Site | None
    ) -> None:
        stars = [p for p in patterns if isinstance(p, Variable) and p.star]
        if len(stars) > 1:
            raise RuleError(f"{self.label}: {schema.label} has two inputs that stand for any number" + at(site))
        if not schema.input(index).variadic:
            raise RuleError(
                f"{self.label}: '*{star.label}' stands for the inputs of a variadic operator, and the input "
                f"{schema.input(index).name!r} of {schema.label} is one value" + at(site)
            )

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
        if isinstance(value, Graph):
            raise RuleError(
                f"{self.label}: {schema.label}: a body ({name!r}) cannot stand in a pattern; capture it with "
                "**attributes, or write gd.transform" + at(site)
            )
        return super().attribute(schema, name, kind, value, site)

    @property
    def infers(self) -> bool:
        """No: a pattern has no types."""
        return False

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
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
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
        condition = None if default is None else as_type(default)
        if isinstance(condition, TensorType):
            for size in condition.shape or ():
                if isinstance(size, Dim) and not size.is_symbol:
                    raise RuleError(
                        f"{label}: {parameter.name!r}: a dimension of a condition is a number, a name or None; check "
                        f"{str(size)!r} in the function" + at(caller())
                    )
        variable = Variable(
            trace,
            parameter.name,
            condition,
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
    unused = _checked_parameters(trace, label, parameters)
    if len(values) == 1 and isinstance(values[0], Choice):
        options = list(leaves([values[0]]))
        roots = [option for option in options if isinstance(option, Made)]
        if len(roots) < len(options) or len({root.place for root in roots}) > 1:
            raise RuleError(f"{label}: the options of gd.any_of, where it is returned, are operators" + at(caller()))
        return TracedPattern(values[0], (roots[0].place,), trace.attributes, names, unused)
    made = [value for value in values if isinstance(value, Made)]
    if not made or len(made) != len(values) or any(value.by is not made[0].by for value in made):
        raise RuleError(f"{label} returns what one operator makes: an output, or several of one node" + at(caller()))
    places = tuple([value.place for value in made])
    if len(set(places)) != len(places):
        raise RuleError(f"{label} returns one output twice" + at(caller()))
    return TracedPattern(made[0], places, trace.attributes, names, unused)


def _checked_parameters(trace: PatternTrace, label: str, parameters: Sequence[inspect.Parameter]) -> frozenset[str]:
    """The parameters that the pattern does not use.

    Raises:
        RuleError: it uses one in two ways, or gives a condition for what is no tensor.
    """
    both = trace.attributes & trace.tensors
    if both:
        raise RuleError(f"{label}: {sorted(both)} stands for a tensor and for an attribute value" + at(caller()))
    for parameter in parameters:
        name = parameter.name
        if name in trace.attributes and parameter.default is not parameter.empty:
            raise RuleError(
                f"{label}: {name!r} stands for an attribute value, which takes no default; check it in the function"
                + at(caller())
            )
    return frozenset(parameter.name for parameter in parameters) - trace.attributes - trace.tensors - trace.used


class Recipe:
    """A pattern as a callable; traced once for each opset."""

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self.label = label
        self.function = function
        self._traced: dict[int, TracedPattern | GraphError] = {}
        found = self.at(schemas.opset_in_force())
        if isinstance(found, GraphError):
            others = range(schemas.NEWEST_OPSET, 0, -1)
            if isinstance(found, RuleError) or all(isinstance(self.at(n), GraphError) for n in others):
                raise found
        else:
            self._check_use(found.unused)

    def _check_use(self, unused: frozenset[str]) -> None:
        """Refuse parameters that the pattern uses at no opset; it may write an operator in another way at each."""
        for version in range(schemas.NEWEST_OPSET, 0, -1) if unused else ():
            found = self.at(version)
            unused &= found.unused if isinstance(found, TracedPattern) else unused
        if unused:
            names = ", ".join(map(repr, sorted(unused)))
            raise RuleError(f"{self.label}: the pattern does not use its parameter {names}" + at(caller()))

    def at(self, version: int) -> TracedPattern | GraphError:
        """The pattern at an opset, or why it cannot be written there."""
        found = self._traced.get(version)
        if found is None:
            try:
                with schemas.opset_forced(version):
                    found = trace_pattern(self.function, self.label)
            except GraphError as error:
                found = error
            self._traced[version] = found
        return found
