"""What a rule of shapes looks at: one call of an operator, its inputs' shapes and what is known of their elements."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeAlias

from ..contents import Elements, contents
from ..demands import input_names
from ..dims import Axis, Dim
from ..errors import TypeSpecError
from ..ir import Opaque, Reference, Value
from ..schemas import Schema
from ..types import Shape, TensorType

P = ParamSpec("P")


class Unknown(Exception):
    """A rule has nothing to say, because something that it needs is not known."""


_LONGEST = 4096
"""Vectors of shapes, sizes and the like are shorter than this; others say nothing that could be followed."""


class Call:
    """One call of an operator."""

    def __init__(
        self, schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any], count: int
    ) -> None:
        self.schema = schema
        self.inputs = inputs
        self.attributes = attributes
        self.count = count
        """How many outputs it has."""

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def shape(self, index: int) -> Shape:
        """The shape of an input.

        Raises:
            Unknown: it is absent or its rank is not known.
        """
        kind = self.inputs[index].type if self.has(index) else None  # type: ignore[union-attr]
        if not isinstance(kind, TensorType) or kind.shape is None:
            raise Unknown
        return kind.shape

    def shapes(self) -> list[Shape]:
        """The shapes of all inputs."""
        return [self.shape(index) for index in range(len(self.inputs))]

    def elements(self, index: int) -> list[Any]:
        """What is known of the elements of an input: numbers, `Dim`s, and None where one is not known.

        Raises:
            Unknown: it is absent or no vector or scalar of known length.
        """
        if not self.has(index):
            raise Unknown
        found: Elements | None = contents(self.inputs[index])
        if found is not None and found.ndim <= 1:
            return list(found.flat)
        match self.shape(index):
            case ():
                return [None]
            case (int() as length,) if length <= _LONGEST:
                return [None] * length
        raise Unknown

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is where it is absent; text as str.

        Raises:
            Unknown: its value is given only by the caller of a function.
        """
        found = self.attributes.get(name, default)
        if isinstance(found, (Opaque, Reference)):
            raise Unknown
        return found.decode() if isinstance(found, bytes) else found

    def name(self, index: int) -> str:
        """What messages call an input."""
        return input_names(self.schema, self.inputs)[index]


Proposal: TypeAlias = "Sequence[Sequence[Axis] | None]"
"""A shape for each output, None for one of which a rule says nothing."""


def axis_of(axis: int, shape: Sequence[Axis]) -> int:
    """An axis counted from the front.

    Raises:
        Unknown: there is no such axis.
    """
    if not -len(shape) <= axis < len(shape):
        raise Unknown
    return axis % len(shape)


def if_short(compute: Callable[P, Axis]) -> Callable[P, Axis]:
    """A function of sizes that answers None where the expression would become too long."""

    @wraps(compute)
    def computed(*args: P.args, **keywords: P.kwargs) -> Axis:
        try:
            return compute(*args, **keywords)
        except TypeSpecError:
            return None

    return computed


def size_of(element: Any) -> Axis:
    """An element of a shape as a size; None for what is none."""
    return element if isinstance(element, Dim) or (isinstance(element, int) and element >= 0) else None
