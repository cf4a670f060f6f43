"""Patterns as data: what the nodes of a graph are compared with."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..ir import Node, Value
from ..schemas import Schema
from ..sites import Site
from ..types import TensorType, Type

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
        """Whether it stands for any number of inputs of a variadic operator."""

    @property
    def labels(self) -> list[str]:
        """Its own name, and those of the dimensions that its type names."""
        kind = self.condition
        shape = kind.shape if isinstance(kind, TensorType) else None
        return [self.label, *[size_label(d) for d in shape or () if d is not None and not isinstance(d, int)]]


def size_label(name: object) -> str:
    """What a named dimension is bound under: no parameter can be called so."""
    return f"size {name}"


class Literal(Pattern):
    """A constant: a number (all elements equal it), or an array."""

    __slots__ = ("casts", "given")

    def __init__(self, owner: object, given: Any) -> None:
        super().__init__(owner)
        self.given = given
        self.casts: dict[Any, Any] = {}
        """A number in the dtypes of the constants that it was compared with."""


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
        site: Site | None,
        also: str | None = None,
    ) -> None:
        self.schema = schema
        self.inputs = inputs
        self.attributes = attributes
        self.count = count
        """How many outputs the call has; 0 where the operator's type rule says."""
        self.rest = rest
        """The variable that captures all other attributes."""
        self.site = site
        self.names = frozenset({schema.name} if also is None else {schema.name, also})
        """The operators that fit; two for `& | ~`, which are logical or bitwise."""
        self.commutative = not schema.domain and bool(self.names & COMMUTATIVE)
        self.ambiguous = self.commutative and len(inputs) == 2
        """Whether it may fit a node in two ways, by the order of the inputs; see `TracedPattern`."""
        self.star = next((i for i, p in enumerate(inputs) if isinstance(p, Variable) and p.star), None)
        """The place of the input that stands for any number."""
        self.nested = False
        """Whether there is a choice in what makes its inputs."""
        self.separate = False
        """Whether there is a choice in it that nothing outside depends on; see `TracedPattern`."""
        self.repeated = False
        """Whether it stands in several places, for one node."""

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.schema.label

    @property
    def labels(self) -> Iterator[str]:
        """The variables that stand in the call itself."""
        for item in self.attributes.values():
            if isinstance(item, Captured):
                yield item.label
        if self.rest is not None:
            yield self.rest
        for pattern in leaves(self.inputs):
            if isinstance(pattern, Variable):
                yield from pattern.labels

    @property
    def children(self) -> list["NodePattern"]:
        """The patterns of the nodes that make its inputs."""
        return [pattern.by for pattern in leaves(self.inputs) if isinstance(pattern, Made)]


def leaves(patterns: Iterable[Pattern | None]) -> Iterator[Pattern]:
    """The patterns, with each choice replaced by its options, in order."""
    stack: list[Pattern | None] = list(patterns)[::-1]
    while stack:
        pattern = stack.pop()
        if isinstance(pattern, Choice):
            stack.extend(reversed(pattern.options))
        elif pattern is not None:
            yield pattern


class TracedPattern:
    """A pattern at one opset: its root, the output places that it stands for, and its variables."""

    def __init__(
        self,
        root: Made | Choice,
        places: tuple[int, ...],
        attributes: Iterable[str],
        variables: Sequence[str],
        unused: frozenset[str] = frozenset(),
    ) -> None:
        self.root = root
        self.places = places
        self.attributes = frozenset(attributes)
        """The variables that stand for attribute values."""
        self.variables = variables
        self.unused = unused
        """The parameters that do not stand in it at this opset."""
        self.roots = [pattern.by for pattern in leaves([root]) if isinstance(pattern, Made)]
        """The node patterns that a match can end in."""
        self.needed = [(root.commutative, _needed(root)) for root in self.roots]
        """The inputs that nodes must make, for each root, and whether in any order; empty where a root needs none."""
        if not all(needed for _, needed in self.needed):
            self.needed = []
        self.nodes = _inner_first(self.roots)
        self.may_draw = any(not s.deterministic or s.may_have_bodies for s in [node.schema for node in self.nodes])
        """Whether a random operator may be in a match, also one in a body or function."""
        _mark_separate(self.nodes)

    def may_fit(self, makers: Sequence[str | None]) -> bool:
        """Whether the operators that make a node's inputs are those that the pattern needs."""
        for commutative, needed in self.needed:
            for index, names in needed:
                have = makers if commutative else makers[index : index + 1]
                if names.isdisjoint(have):
                    break
            else:
                return True
        return False


def makers(node: Node) -> list[str | None]:
    """The operators that make a node's inputs; None for an input that no node makes."""
    found: list[str | None] = []
    for value in node.inputs:
        maker = None if value is None else value.node
        found.append(None if maker is None else maker.schema.name)
    return found


def _needed(pattern: NodePattern) -> list[tuple[int, frozenset[str]]]:
    """The places of inputs that must be made by nodes, with the operators that these may be."""
    places = range(len(pattern.inputs) if pattern.star is None else pattern.star)
    wanted = [(index, pattern.inputs[index]) for index in places]
    return [(index, item.by.names) for index, item in wanted if isinstance(item, Made)]


def _inner_first(roots: Iterable[NodePattern]) -> list[NodePattern]:
    """The node patterns, each once and after those of its inputs."""
    order: dict[NodePattern, None] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.setdefault(node)
        elif node not in order:
            stack.append((node, True))
            stack.extend((child, False) for child in node.children)
    return list(order)


def _fits_any(inputs: Sequence[Pattern | None]) -> bool:
    """Whether inputs are other variables each, without conditions: what fits them fits in any order."""
    plain = [p.label for p in inputs if isinstance(p, Variable) and p.condition is None]
    return len(set(plain)) == len(inputs)


def _mark_separate(nodes: Sequence[NodePattern]) -> None:
    """Mark the node patterns that the rest of the pattern shares nothing with, and that can fit in several ways.

    Once such a part fits, its other ways cannot matter, so they are never tried; where it does not fit, it never will.
    That keeps matching polynomial where every variable stands once, however many operators commute.
    """
    bit = {node: 1 << place for place, node in enumerate(nodes)}
    users: dict[NodePattern, int] = dict.fromkeys(nodes, 0)
    holders: dict[str, int] = {}
    uses: dict[NodePattern, int] = dict.fromkeys(nodes, 0)
    for node in nodes:
        for label in node.labels:
            holders[label] = holders.get(label, 0) | bit[node]
        for child in node.children:
            users[child] |= bit[node]
            uses[child] += 1
    inside: dict[NodePattern, int] = {}
    several: dict[NodePattern, bool] = {}
    shared = {label: mask for label, mask in holders.items() if mask & (mask - 1)}  # in several node patterns
    joined = {child: mask for child, mask in users.items() if uses[child] > 1}
    for node in nodes:
        own = bit[node]
        for child in node.children:
            own |= inside[child]
        inside[node] = own
        choices = any(isinstance(pattern, Choice) for pattern in node.inputs)
        node.nested = choices or any(several[child] for child in node.children)
        crossing = any(mask & own and mask & ~own for mask in shared.values())
        crossing = crossing or any(bit[child] & own and mask & ~own for child, mask in joined.items())
        node.ambiguous = node.ambiguous and (crossing or not _fits_any(node.inputs))
        several[node] = node.ambiguous or node.nested
        node.repeated = uses[node] > 1
        node.separate = several[node] and not crossing and uses[node] <= 1
