"""Comparing a node and what lies behind it with a pattern.

Goals wait on a list; where a goal can be met in several ways, the others are remembered, and tried when a later goal
cannot be met. Nothing recurses, so patterns may be as deep as graphs are.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..ir import Node, Reference, Value, constant_array, named_tuple
from ..schemas import Schema
from ..types import Type
from .conditions import fits, literal_fits, same_attribute, same_constant
from .effective import UNKNOWN, default, effective
from .patterns import Captured, Literal, Made, NodePattern, Pattern, TracedPattern, Variable

MOST_STEPS = 20_000
"""Comparisons at one place before a pattern is given up as too ambiguous."""


class Found(NamedTuple):
    """A place where a pattern fits: the root node, what its parameters stand for, and the nodes in between."""

    root: Node
    bindings: Mapping[str, Any]
    interior: tuple[Node, ...]


_Goal = tuple[Any, Any, Any, int, Any]
"""A comparison to be made, and the goals after it: of a pattern with input `index` of a node, or with the root.

In order: a `Pattern`, None for an absent input, or `_CLOSE`; the value, or the root; the node whose input it is, or
None for the root; the index; the next goal, or None. A plain tuple, since very many are made.
"""

_CLOSE = object()
"""Stands first in a goal after those of a separate part, so they are all met: its other ways need not be tried.

Then come the part (the pattern and the node), how many choices there were before it, and how much was bound.
"""


_Reason = tuple[Any, ...]
"""Why a comparison failed: a function that says it, and what it is to be given."""


class _Failure:
    """What a comparison that fails answers, instead of the goals that are left."""


_FAILED = _Failure()
_Goals = Any
"""The goals that are left: the first `_Goal`, None where all are met, or `_FAILED`."""


class Matcher:
    """One attempt to match a pattern at one node, which remembers where it stopped."""

    __slots__ = (
        "_bound",
        "_choices",
        "_depth",
        "_home",
        "_home_of",
        "_order",
        "_pattern",
        "_reason",
        "_separate",
        "exhausted",
        "steps",
    )

    def __init__(self, pattern: TracedPattern, home: Callable[[Node], object]) -> None:
        self._pattern = pattern
        self._home_of = home
        """Tells the graph that a node lies in."""
        self._home: object = None
        self._bound: dict[Any, Any] = {}
        """What variables stand for, by label, and which nodes the node patterns fit."""
        self._order: list[Any] = []
        """The keys of what is bound, oldest first."""
        self._choices: list[tuple[_Goals, int, tuple[NodePattern, Node] | None]] = []
        """Other ways to meet a goal: the goals left then, and how much was bound before.

        Below those of a separate part stands the part itself, without goals: when it is met, it fits nowhere.
        """
        self._separate: dict[tuple[NodePattern, Node], list[tuple[Any, Any]] | None] = {}
        """What a separate part binds at a node, or None where it does not fit."""
        self.steps = 0
        self.exhausted = False
        self._depth = -1
        self._reason: Callable[[], str] = str

    @property
    def reason(self) -> str:
        """Where the attempt that came furthest stopped."""
        if self.exhausted:
            return f"the pattern is too ambiguous here: given up after {MOST_STEPS:,} comparisons"
        return self._reason()

    def match(self, root: Node) -> Found | None:
        """The first way in which the pattern fits at a node."""
        self._home = self._home_of(root)
        goals: _Goals = (self._pattern.root, root, None, 0, None)
        while goals is not None:
            self.steps += 1
            if self.steps > MOST_STEPS:
                self.exhausted = True
                return None
            pattern, subject, user, index, rest = goals
            kind = pattern.__class__
            if kind is Variable:
                goals = self._variable(pattern, subject, user, index, rest)
            elif kind is not Made:
                goals = self._other(pattern, subject, user, index, rest)
            elif user is None:
                goals = self._node(pattern.by, subject, rest)
            else:
                goals = self._made(pattern, subject, user, index, rest)
            if goals is _FAILED:
                goals = self._retreat()
                if goals is _FAILED:
                    return None
        bound = self._bound
        interior: dict[Node, None] = {}
        for key in self._order:
            if key.__class__ is NodePattern and bound[key] is not root:
                interior[bound[key]] = None
        bindings = {}
        for label in self._pattern.variables:
            bindings[label] = bound.get(label)
        return named_tuple(Found, (root, bindings, tuple(interior)))

    def _retreat(self) -> _Goals:
        """The goals of the other way remembered last, with what was bound since forgotten."""
        while self._choices:
            goals, bound, part = self._choices.pop()
            while len(self._order) > bound:
                del self._bound[self._order.pop()]
            if part is None:
                return goals
            self._separate[part] = None
        return _FAILED

    def _fail(self, reason: Callable[..., str], *of: Any) -> _Failure:
        """Remember why, if the attempt came further than any before; most reasons are never told."""
        if len(self._order) > self._depth:
            self._depth, self._reason = len(self._order), partial(reason, *of)
        return _FAILED

    def _bind(self, key: Any, value: Any) -> None:
        self._bound[key] = value
        self._order.append(key)

    def _made(self, pattern: Made, subject: Any, user: Node, index: int, rest: _Goal | None) -> _Goals:
        """The goals that are left once a value is what a node of the pattern makes."""
        node = None if subject is None else subject.node
        if node is None:
            return self._fail(_absent, user, index) if subject is None else self._fail(_unmade, user, index, pattern)
        if subject.index != pattern.place:
            return self._fail(_other_output, user, index, subject, pattern)
        if self._home_of(node) is not self._home:
            return self._fail(_elsewhere, user, index)
        return self._node(pattern.by, node, rest)

    def _other(self, pattern: Any, subject: Any, user: Any, index: int, rest: _Goal | None) -> _Goals:
        """The goals that are left once a value is a constant, absent or one of several, or a part is closed."""
        if pattern is _CLOSE:
            self._separate[subject] = [(key, self._bound[key]) for key in self._order[index:]]
            del self._choices[user:]
            return rest
        if pattern is None:
            return rest if subject is None else self._fail(_given, user, index)
        if pattern.__class__ is Literal:
            if subject is not None and literal_fits(pattern, subject, user):
                return rest
            return self._fail(_other_constant, user, index, pattern)
        for option in reversed(pattern.options[1:]):
            self._choices.append(((option, subject, user, index, rest), len(self._order), None))
        return pattern.options[0], subject, user, index, rest

    def _variable(self, pattern: Variable, value: Value | None, user: Node, index: int, rest: _Goal | None) -> _Goals:
        """The goals that are left once a value is what a variable stands for."""
        if value is None and not pattern.absent:
            return self._fail(_absent, user, index)
        label = pattern.label
        bound = self._bound
        if label in bound:
            known = bound[label]
            if known is value or (value is not None and same_constant(known, value)):
                return rest
            return self._fail(_other_value, user, index, label)
        if pattern.condition is not None and value is not None:
            sizes = fits(value.type, pattern.condition, bound)
            if sizes is None:
                return self._fail(_other_type, user, index, value.type, pattern, self._sizes_known(pattern))
            for size in sizes.items():
                if size[0] not in bound:
                    self._bind(*size)
        bound[label] = value
        self._order.append(label)
        return rest

    def _sizes_known(self, pattern: Variable) -> str:
        """What the dimensions that a condition names are already, as the tail of a message."""
        known = [
            f"{label.removeprefix('size ')} = {self._bound[label]}"
            for label in pattern.labels[1:]
            if label in self._bound
        ]
        return f", with {', '.join(known)}" if known else ""

    def _node(self, pattern: NodePattern, node: Node, rest: _Goal | None) -> _Goals:
        """The goals that are left once a node is what a node of the pattern stands for: those of its inputs."""
        if pattern.repeated and pattern in self._bound:
            return rest if self._bound[pattern] is node else self._fail(_other_node, pattern)
        schema = node.schema
        if schema.name not in pattern.names or schema.domain != pattern.schema.domain:
            return self._fail(_other_operator, schema, pattern)
        given, other = node.inputs, None
        if pattern.ambiguous and len(given) == 2 and given[0] is not given[1]:
            swapped = given[::-1]
            if _may_fit(pattern, swapped):
                given, other = (given, swapped) if _may_fit(pattern, given) else (swapped, None)
        if pattern.separate and (other is not None or pattern.nested):
            part = pattern, node
            if part in self._separate:
                before = self._separate[part]
                if before is None:
                    return _FAILED
                for entry in before:
                    self._bind(*entry)
                return rest
            count = len(self._order)
            rest = (_CLOSE, part, len(self._choices), count, rest)
            self._choices.append((None, count, part))
        self._bound[pattern] = node
        self._order.append(pattern)
        if pattern.count and len(node.outputs) != pattern.count and schema.outputs and schema.outputs[-1].variadic:
            return self._fail(_other_count, node, pattern)
        if pattern.attributes or pattern.rest is not None or node.attributes:
            problem = self._attributes(pattern, node)
            if problem is not None:
                return self._fail(*problem)
        if other is not None:
            goals = self._inputs(pattern, node, other, rest)
            if goals is not _FAILED:
                self._choices.append((goals, len(self._order), None))
        return self._inputs(pattern, node, given, rest)

    def _inputs(self, pattern: NodePattern, node: Node, given: tuple[Value | None, ...], rest: _Goal | None) -> _Goals:
        """The goals of a node's inputs, before those that were left already."""
        wanted = pattern.inputs
        if pattern.star is not None:
            star = wanted[pattern.star]
            assert isinstance(star, Variable)
            after = len(wanted) - pattern.star - 1
            if len(given) < len(wanted) - 1:
                return self._fail(_too_few, node, given)
            middle = given[pattern.star : len(given) - after]
            if star.label not in self._bound:
                self._bind(star.label, middle)
            elif self._bound[star.label] != middle:
                return self._fail(_other_inputs, star)
            wanted = (*wanted[: pattern.star], *wanted[pattern.star + 1 :])
            given = (*given[: pattern.star], *given[len(given) - after :])
        index, present = len(given), len(wanted)
        while index > present:
            index -= 1
            if given[index] is not None:
                return self._fail(_surplus, node, index)
        while present > index:
            present -= 1
            rest = (wanted[present], None, node, present, rest)
        while index:
            index -= 1
            rest = (wanted[index], given[index], node, index, rest)
        return rest

    def _attributes(self, pattern: NodePattern, node: Node) -> "_Reason | None":
        """Bind what captures attributes; or why they do not fit."""
        for name, wanted in pattern.attributes.items():
            have = effective(node, name)
            if have is UNKNOWN:
                return (_unknown_value, node, name)
            if isinstance(wanted, Captured):
                if wanted.label not in self._bound:
                    self._bind(wanted.label, have)
                    continue
                bound = self._bound[wanted.label]
                if not same_attribute(bound, have):
                    return (_other_capture, node, name, have, wanted, bound)
            elif not same_attribute(wanted, have):
                return (_other_attribute, node, name, have, wanted)
        if pattern.rest is None and node.attributes.keys() <= pattern.attributes.keys():
            return None
        others = {name: value for name, value in node.attributes.items() if name not in pattern.attributes}
        if pattern.rest is not None:
            if pattern.rest not in self._bound:
                self._bind(pattern.rest, others)
                return None
            known = self._bound[pattern.rest]
            if known.keys() != others.keys() or not all(same_attribute(known[n], others[n]) for n in known):
                return (_other_rest, node, pattern)
            return None
        for name, value in others.items():
            usual = default(node, name)
            if usual is UNKNOWN:
                return (_unknown_default, node, name, value)
            if not same_attribute(value, usual):
                return (_not_default, node, name, value, usual)
        return None


def _may_fit(pattern: NodePattern, given: tuple[Value | None, ...]) -> bool:
    """Whether two inputs in this order may fit a pattern of two, as far as one look at each tells."""
    return _may_be(pattern.inputs[0], given[0]) and _may_be(pattern.inputs[1], given[1])


def _may_be(wanted: Pattern | None, value: Value | None) -> bool:
    kind = wanted.__class__
    if kind is Made:
        made = value.node if value is not None else None
        return made is not None and made.schema.name in wanted.by.names  # type: ignore[union-attr]
    return kind is not Literal or (value is not None and constant_array(value) is not None)


# Why a comparison failed: each is called only where somebody asks


def _where(user: Node, index: int) -> str:
    name = user.schema.input(index).name if user.schema.inputs else str(index)
    return f"{user.schema.label}: the input {name!r}"


def _absent(user: Node, index: int) -> str:
    return f"{_where(user, index)} is absent"


def _given(user: Node, index: int) -> str:
    return f"{_where(user, index)} is given, and absent in the pattern"


def _unmade(user: Node, index: int, pattern: Made) -> str:
    return f"{_where(user, index)} is no node's output, and the pattern needs {pattern.by.label}"


def _elsewhere(user: Node, index: int) -> str:
    return f"{_where(user, index)} comes from an enclosing graph"


def _other_output(user: Node, index: int, value: Value, pattern: Made) -> str:
    label = value.node.schema.label if value.node is not None else "nothing"
    return f"{_where(user, index)} is output {value.index} of {label}, not {pattern.place}"


def _other_constant(user: Node, index: int, pattern: Literal) -> str:
    return f"{_where(user, index)} is not the constant {pattern.given!r}"


def _other_value(user: Node, index: int, label: str) -> str:
    return f"{_where(user, index)} is not the value that {label!r} stands for"


def _other_type(user: Node, index: int, kind: Type | None, pattern: Variable, sizes: str) -> str:
    have = "of unknown type" if kind is None else repr(kind)
    return f"{_where(user, index)} is {have}, and {pattern.label!r} must be {pattern.condition!r}{sizes}"


def _other_node(pattern: NodePattern) -> str:
    return f"{pattern.label} is not the node that stands for it elsewhere in the pattern"


def _other_operator(schema: Schema, pattern: NodePattern) -> str:
    return f"the node is {schema.label}, and the pattern needs {pattern.label}"


def _other_count(node: Node, pattern: NodePattern) -> str:
    return f"{node.schema.label} has {len(node.outputs)} outputs, and the pattern needs {pattern.count}"


def _too_few(node: Node, given: tuple[Value | None, ...]) -> str:
    return f"{node.schema.label} has only {len(given)} inputs"


def _other_inputs(star: Variable) -> str:
    return f"{star.label!r} stands for other inputs elsewhere in the pattern"


def _surplus(node: Node, index: int) -> str:
    name = node.schema.input(index).name if node.schema.inputs else str(index)
    return f"{node.schema.label} has the input {name!r}, which the pattern does not mention"


def _unknown_value(node: Node, name: str) -> str:
    if isinstance(node.attributes.get(name), Reference):
        return f"{node.schema.label}: {name!r} is an attribute of the function, with other values in each call"
    return f"{node.schema.label}: what an absent {name!r} means cannot be computed here"


def _other_capture(node: Node, name: str, have: Any, wanted: Captured, bound: Any) -> str:
    return f"{node.schema.label}: {name}={have!r} is not what {wanted.label!r} stands for, {bound!r}"


def _other_attribute(node: Node, name: str, have: Any, wanted: Any) -> str:
    return f"{node.schema.label}: {name} is {have!r}, and the pattern says {wanted!r}"


def _other_rest(node: Node, pattern: NodePattern) -> str:
    return f"{node.schema.label}: its attributes are not those that {pattern.rest!r} stands for"


def _unknown_default(node: Node, name: str, value: Any) -> str:
    return f"{node.schema.label}: whether {name}={value!r} is the default cannot be computed here"


def _not_default(node: Node, name: str, value: Any, usual: Any) -> str:
    meant = f"default {usual!r}" if usual is not None else "absent by default"
    return f"{node.schema.label}: {name} is {value!r}, and the pattern does not mention it ({meant})"
