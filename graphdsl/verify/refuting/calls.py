"""A call of an operator that is being completed, and the choices that all operators share: sizes, shapes, axes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...attributes import from_attribute
from ...schemas import Schema
from ...types import DType
from ..choices import Choices

Shape = tuple[int, ...]

Hint: TypeAlias = "Callable[[Call], None]"
"""Chooses what a call of one operator leaves open."""

_SIZES = (2, 3, 1, 4, 2, 3, 5, 1, 2, 3, 1, 4, 2, 3, 2, 0)
"""Sizes of new dimensions, the simplest first, the likely ones more than once."""


class Call:
    """A call of an operator that is being completed: what is known, and places for what is not."""

    def __init__(
        self,
        choices: Choices,
        schema: Schema,
        shapes: Sequence[Shape | None],
        dtypes: Sequence[DType | None],
        contents: Mapping[int, np.ndarray],
        attributes: Mapping[str, Any],
        wanted: Sequence[str],
        base: Shape,
        count: int,
    ) -> None:
        self.choices = choices
        self.schema = schema
        self.shapes = list(shapes)
        """The shapes of the inputs; None where one is absent or open."""
        self.dtypes = list(dtypes)
        """The dtypes of the inputs; None where one is absent."""
        self.contents = dict(contents)
        """The contents of inputs that must be so, those that a hint chose included."""
        self.attributes = dict(attributes)
        """The attributes; those that are wanted and have none yet are open."""
        self.wanted = set(wanted)
        self.base = base
        """The shape of what nothing else determines."""
        self.count = count
        """How many outputs are asked for."""

    @property
    def version(self) -> int:
        """The opset from which the operator is as it is."""
        return self.schema.since

    def place(self, name: str) -> int | None:
        """The index of an input by its name in the schema, if it is given."""
        for index, parameter in enumerate(self.schema.inputs):
            if parameter.name == name:
                return index if index < len(self.dtypes) and self.dtypes[index] is not None else None
        return None

    def shape(self, index: int = 0, default: Shape | None = None) -> Shape:
        """The shape of an input, which is chosen now if it is open."""
        if index >= len(self.shapes):
            return default if default is not None else self.base
        found = self.shapes[index]
        if found is None:
            found = self.shapes[index] = default if default is not None else self.base
        return found

    def content(self, name: str, numbers: Any, shape: Shape | None = None) -> None:
        """Choose the contents of an open input, by its name in the schema; nothing where it is absent or known."""
        index = self.place(name)
        if index is None or self.shapes[index] is not None:
            return
        dtype = self.dtypes[index]
        assert dtype is not None
        array = np.asarray(numbers).astype(dtype.numpy)
        self.contents[index] = array if shape is None else array.reshape(shape)
        self.shapes[index] = self.contents[index].shape

    def form(self, shape: Shape, *names: str) -> None:
        """Give open inputs a shape, by their names in the schema; nothing where one is absent or has a shape."""
        for name in names:
            index = self.place(name)
            if index is not None:
                self.shape(index, shape)

    def known(self, name: str) -> np.ndarray | None:
        """The contents of an input, where they are known."""
        index = self.place(name)
        return None if index is None else self.contents.get(index)

    def attribute(self, name: str, options: Callable[[], Any]) -> Any:
        """An attribute: as it is given, else chosen now if it is open, else its default."""
        if name in self.attributes:
            return self.attributes[name]
        if name in self.wanted:
            self.attributes[name] = options()
            return self.attributes[name]
        spec = self.schema.attributes.get(name)
        return from_attribute(spec.default) if spec is not None and spec.default is not None else None

    def setting(self, name: str, options: Callable[[], Any]) -> Any:
        """What is an attribute at some opsets and an input at others: chosen for whichever it is here."""
        if name in self.schema.attributes:
            return self.attribute(name, options)
        index = self.place(name)
        if index is None:
            return None
        if index not in self.contents and self.shapes[index] is None:
            self.content(name, options())
        found = self.contents.get(index)
        return None if found is None else tuple(found.ravel().tolist())


def size(choices: Choices) -> int:
    """The size of a dimension."""
    return choices.pick(_SIZES)


def sizes(choices: Choices, rank: int) -> Shape:
    """A shape of a rank."""
    return tuple(size(choices) for _ in range(rank))


def broadcastable(choices: Choices, shape: Shape) -> Shape:
    """A shape that broadcasts with another one: most often the same, at times one that makes it larger."""
    kind = choices.below(16)
    if kind == 13 or (kind < 5 and 1 in shape and choices.one_in(3)):
        return tuple(size(choices) if dim == 1 else dim for dim in shape)
    if kind < 5:
        return shape
    if kind < 7:
        return shape[choices.below(len(shape) + 1) :]
    if kind < 9:
        return tuple(1 if choices.one_in(2) else dim for dim in shape)
    if kind < 12 and shape:  # a vector along one axis, as biases are
        axis = choices.below(len(shape))
        along = size(choices) if shape[axis] == 1 and choices.one_in(2) else shape[axis]
        vector = tuple(along if place == axis else 1 for place in range(len(shape)))
        return vector[choices.below(axis + 1) :]
    if kind < 13:
        return ()
    return (size(choices), *shape) if kind < 15 else (1,) * (len(shape) + 1)


def elementwise(call: Call) -> None:
    """Operators whose inputs broadcast."""
    reference = next((shape for shape in call.shapes if shape is not None), None)
    first = True
    for index, shape in enumerate(call.shapes):
        if shape is None and call.dtypes[index] is not None:
            plain = reference is None and first
            call.shapes[index] = call.base if plain else broadcastable(call.choices, reference or call.base)
            reference = reference if reference is not None else call.shapes[index]
            first = False


def image_of(call: Call, *, plane: bool = False) -> Shape:
    """The shape of the first input, with a batch, channels and space: of two axes at the least, if so asked."""
    if call.shapes[0] is None:
        base = call.base if len(call.base) >= 3 else (*call.base, 2, 3, 4, 4)[: 3 + call.choices.below(2)]
        if plane:
            base = (*base[:4], *(3,) * (4 - len(base)))
        return call.shape(0, tuple(max(dim, 1) for dim in base))
    return call.shape()


def axis_of(call: Call, rank: int) -> int:
    """An axis of a rank, counted from either end."""
    return call.choices.pick([-1, *range(rank), *range(-rank, -1)]) if rank else 0


def axes_of(call: Call, rank: int) -> tuple[int, ...]:
    """Some axes, each once: any, or the last ones, as normalisations have them."""
    choices = call.choices
    if choices.one_in(3) and rank:
        return tuple(range(-1 - choices.below(rank), 0))
    chosen = [axis for axis in choices.shuffled(range(rank)) if choices.below(2) == 0] or [0][:rank]
    return tuple(axis - rank if choices.one_in(3) else axis for axis in chosen)
