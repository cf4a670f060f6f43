"""Comparing a node and what lies behind it with a pattern."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..ir import Node, Value, constant_array
from ..schemas import Schema
from ..types import TensorType, Type
from .effective import UNKNOWN, default, effective
from .patterns import (
    COMMUTATIVE,
    Captured,
    Choice,
    Literal,
    Made,
    NodePattern,
    Pattern,
    TracedPattern,
    Variable,
)

Bindings = Mapping[str, Any]

_MOST_STEPS = 20_000
"""Comparisons at one place before a pattern is given up as too ambiguous."""


class Match(NamedTuple):
    """A place where a pattern fits: the root node, what its parameters stand for, and the nodes in between."""

    root: Node
    bindings: Bindings
    interior: tuple[Node, ...]


class _State(NamedTuple):
    bindings: dict[str, Any]
    nodes: tuple[Node, ...]

    def bind(self, label: str, value: Any) -> "_State":
        return _State(self.bindings | {label: value}, self.nodes)


class Matcher:
    """One attempt to match, which remembers where it stopped."""

    def __init__(self, pattern: TracedPattern, home: object) -> None:
        self._pattern = pattern
        self._home = home
        self._steps = 0
        self.furthest = -1
        self.reason = ""

    def match(self, root: Node) -> Match | None:
        """The first way in which the pattern fits at a node."""
        start = _State({}, ())
        found = next(self._root(self._pattern.root, root, start), None)
        if found is None:
            return None
        bindings = dict(found.bindings)
        for label in self._pattern.variables:
            bindings.setdefault(label, None)
        interior = tuple(node for node in dict.fromkeys(found.nodes) if node is not root)
        return Match(root, bindings, interior)

    def _fail(self, state: _State, reason: str) -> None:
        if len(state.nodes) > self.furthest:
            self.furthest, self.reason = len(state.nodes), reason

    def _root(self, pattern: Any, root: Node, state: _State) -> Iterator[_State]:
        if isinstance(pattern, NodePattern):
            yield from self._node(pattern, root, state)
            return
        for option in pattern.options:
            if isinstance(option, Made):
                yield from self._root(option.by, root, state)
            elif isinstance(option, Choice):
                yield from self._root(option, root, state)

    def _node(self, pattern: NodePattern, node: Node, state: _State) -> Iterator[_State]:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            self.reason = "the pattern is too ambiguous here"
            return
        if node.schema.name not in pattern.names or node.schema.domain != pattern.schema.domain:
            self._fail(state, f"{_made_by(node)}, and the pattern needs {pattern.label}")
            return
        attributed = self._attributes(pattern, node, state)
        if attributed is None:
            return
        inner = _State(attributed.bindings, (*state.nodes, node))
        given = list(node.inputs)
        orders = [given]
        if node.schema.name in COMMUTATIVE and not node.schema.domain and len(given) == 2 and given[0] is not given[1]:
            orders.append([given[1], given[0]])
        for order in orders:
            yield from self._inputs(pattern, node, order, inner)

    def _inputs(self, pattern: NodePattern, node: Node, given: list[Value | None], state: _State) -> Iterator[_State]:
        wanted = list(pattern.inputs)
        if wanted and isinstance(wanted[-1], Variable) and wanted[-1].star:
            star = wanted.pop()
            assert isinstance(star, Variable)
            rest = tuple(given[len(wanted) :])
            given = given[: len(wanted)]
            bound = state.bindings.get(star.label)
            if bound is not None and bound != rest:
                self._fail(state, f"{star.label!r} stands for other inputs elsewhere in the pattern")
                return
            state = state.bind(star.label, rest)
        given += [None] * (len(wanted) - len(given))
        if len(given) > len(wanted) and any(value is not None for value in given[len(wanted) :]):
            extra = node.schema.input(len(wanted)).name if node.schema.inputs else str(len(wanted))
            self._fail(state, f"{node.schema.label} has the input {extra!r}, which the pattern does not mention")
            return
        yield from self._each(list(zip(wanted, given, strict=False)), 0, node, state)

    def _each(
        self, pairs: list[tuple[Pattern | None, Value | None]], index: int, node: Node, state: _State
    ) -> Iterator[_State]:
        if index == len(pairs):
            yield state
            return
        pattern, value = pairs[index]
        for found in self._value(pattern, value, node, index, state):
            yield from self._each(pairs, index + 1, node, found)

    def _value(
        self, pattern: Pattern | None, value: Value | None, user: Node, index: int, state: _State
    ) -> Iterator[_State]:
        where = f"{user.schema.label}: the input {user.schema.input(index).name!r}"
        if pattern is None:
            if value is None:
                yield state
            else:
                self._fail(state, f"{where} is given, and absent in the pattern")
        elif isinstance(pattern, Variable):
            yield from self._variable(pattern, value, where, state)
        elif value is None:
            self._fail(state, f"{where} is absent")
        elif isinstance(pattern, Literal):
            if _literal_fits(pattern.given, value, user):
                yield state
            else:
                self._fail(state, f"{where} is not the constant {pattern.given!r}")
        elif isinstance(pattern, Choice):
            for option in pattern.options:
                yield from self._value(option, value, user, index, state)
        elif isinstance(pattern, Made):
            made = value.node
            if made is None:
                self._fail(state, f"{where} is no node's output, and the pattern needs {pattern.by.label}")
            elif value.owner is not self._home:
                self._fail(state, f"{where} comes from an enclosing graph")
            elif value.index != pattern.place:
                self._fail(state, f"{where} is output {value.index} of {made.schema.label}, not {pattern.place}")
            else:
                yield from self._node(pattern.by, made, state)

    def _variable(self, pattern: Variable, value: Value | None, where: str, state: _State) -> Iterator[_State]:
        if value is None and not pattern.absent:
            self._fail(state, f"{where} is absent")
            return
        if pattern.label in state.bindings:
            bound = state.bindings[pattern.label]
            if bound is value or _same_constant(bound, value):
                yield state
            else:
                self._fail(state, f"{where} is not the value that {pattern.label!r} stands for")
            return
        if pattern.condition is not None and value is not None and not fits(value.type, pattern.condition):
            self._fail(state, f"{where} is {value.type!r}, and {pattern.label!r} must be {pattern.condition!r}")
            return
        yield state.bind(pattern.label, value)

    def _attributes(self, pattern: NodePattern, node: Node, state: _State) -> _State | None:
        label = node.schema.label
        for name, wanted in pattern.attributes.items():
            have = effective(node, name)
            if have is UNKNOWN:
                self._fail(state, f"{label}: what an absent {name!r} means cannot be computed here")
                return None
            if isinstance(wanted, Captured):
                bound = state.bindings.get(wanted.label, UNKNOWN)
                if bound is not UNKNOWN and not same_attribute(bound, have):
                    self._fail(state, f"{label}: {name}={have!r} is not what {wanted.label!r} stands for, {bound!r}")
                    return None
                state = state.bind(wanted.label, have)
            elif not same_attribute(wanted, have):
                self._fail(state, f"{label}: {name} is {have!r}, and the pattern says {wanted!r}")
                return None
        others = {name: value for name, value in node.attributes.items() if name not in pattern.attributes}
        if pattern.rest is not None:
            return state.bind(pattern.rest, others)
        for name, value in others.items():
            usual = default(node, name)
            if usual is UNKNOWN:
                self._fail(state, f"{label}: whether {name}={value!r} is the default cannot be computed here")
                return None
            if not same_attribute(value, usual):
                self._fail(
                    state, f"{label}: {name} is {value!r}, and the pattern does not mention it (default {usual!r})"
                )
                return None
        return state


def fits(kind: Type | None, condition: Type) -> bool:
    """Whether a type is certain to meet a condition: its dtype, rank and known sizes."""
    if not isinstance(condition, TensorType) or not isinstance(kind, TensorType):
        return kind is condition
    if kind.dtype is not condition.dtype:
        return False
    if condition.shape is None:
        return True
    if kind.shape is None or len(kind.shape) != len(condition.shape):
        return False
    return all(
        not isinstance(want, int) or have == want for have, want in zip(kind.shape, condition.shape, strict=True)
    )


def same_attribute(one: Any, other: Any) -> bool:
    """Whether two attribute values are one: arrays by dtype and bytes, floats as float32 has them."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
            return False
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float) and isinstance(other, float) and one != one and other != other:
        return True
    return type(one) is type(other) and bool(one == other)


def _made_by(node: Node) -> str:
    return f"the node is {node.schema.label}"


def _same_constant(one: Value | None, other: Value | None) -> bool:
    a, b = constant_array(one), constant_array(other)
    return a is not None and b is not None and same_attribute(a, b)


def _literal_fits(given: Any, value: Value, user: Node) -> bool:
    """Whether a constant is the literal of a pattern, and does not widen what it is combined with."""
    array = constant_array(value)
    if array is None or array.dtype.kind in "OUS":
        return False
    if isinstance(given, (np.ndarray, np.generic)):
        literal = np.asarray(given)
        return literal.shape == array.shape and _equal(array, literal)
    return array.size > 0 and _equal(array, np.asarray(given)) and not _widens(value, array, user)


def _equal(array: np.ndarray, literal: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        cast = literal.astype(array.dtype)
        if array.dtype.kind in "iub" and not bool(np.all(cast.astype(np.float64) == literal.astype(np.float64))):
            return False  # 0.5 is no integer
    if array.dtype.kind not in "iub" and not bool(np.all(np.signbit(array) == np.signbit(cast))):
        return False
    return bool(np.all(array == cast))


def _widens(value: Value, array: np.ndarray, user: Node) -> bool:
    """Whether an operand that repeats one number makes the result larger than the other operand is."""
    others = [v for v in user.inputs if v is not None and v is not value]
    if array.ndim == 0 or not others:
        return False
    kind = others[0].type
    if not isinstance(kind, TensorType) or kind.shape is None:
        return True
    if array.ndim > len(kind.shape):
        return True
    tail = kind.shape[len(kind.shape) - array.ndim :]
    return any(size not in (1, have) for size, have in zip(array.shape, tail, strict=True))


def operator_key(schema: Schema) -> tuple[str, str]:
    """What rules are looked up by."""
    return schema.domain, schema.name
