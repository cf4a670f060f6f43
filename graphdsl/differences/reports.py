"""What a comparison of two models found: data, and text to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..ir import Graph, Node
from ..types import tensor_type
from .weights import Distance

_LONGEST = 60
_MOST_LINES = 50
"""Of more changes of one kind, the first are shown."""


class Change(NamedTuple):
    """One thing that is otherwise: an attribute, an input, a type, a field of the model. None where it is not there."""

    what: str
    before: Any
    after: Any
    distance: Distance | None = None
    """How far arrays are apart."""

    def __str__(self) -> str:
        how = f"{_shown(self.before)} -> {_shown(self.after)}" if self.distance is None else str(self.distance)
        return f"{self.what}: {how}"


class NodeChange(NamedTuple):
    """A node that is in one model only, or otherwise in the other; `before` or `after` is None where it is not."""

    name: str
    """The name of its first output."""
    before: Node | None
    after: Node | None
    inputs: tuple[str, ...]
    """The names of its inputs, where it is in one model only."""
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        node = self.after or self.before
        assert node is not None
        label = f"{node.schema.label} {self.name!r}"
        if self.before is not None and self.after is not None:
            return f"~ {label}: " + "; ".join(map(str, self.changes))
        given = ", ".join(repr(name) if name else "None" for name in self.inputs)
        return f"{'+' if self.before is None else '-'} {label} ({given})"


class WeightChange(NamedTuple):
    """A constant whose contents or type changed."""

    name: str
    before: np.ndarray
    after: np.ndarray
    distance: Distance | None
    """How far they are apart; None where dtype or shape changed."""

    def __str__(self) -> str:
        kind = tensor_type(self.before.dtype, self.before.shape)
        if self.distance is None:
            return f"{self.name!r}: {kind} -> {tensor_type(self.after.dtype, self.after.shape)}"
        return f"{self.name!r} {kind}: {self.distance}"


class Part(NamedTuple):
    """What changed in a body or local function."""

    name: str
    differences: "Differences"


@dataclass(frozen=True)
class Differences:
    """What changed between two models. True if anything did; `print` shows it.

    Names of tensors and the order of nodes are no difference.
    """

    model: tuple[Change, ...] = ()
    """Fields of the model: opset imports, IR version, producer, documentation, metadata."""
    inputs: tuple[Change, ...] = ()
    """Inputs by name: types, defaults, order; None is a type before or after for one that was added or removed."""
    outputs: tuple[Change, ...] = ()
    """Outputs by name: types, order, and what they come from."""
    added: tuple[NodeChange, ...] = ()
    removed: tuple[NodeChange, ...] = ()
    changed: tuple[NodeChange, ...] = ()
    """Nodes with other attributes, inputs or operators. Inputs that only lead through added or removed nodes, or come
    from what took the place of a removed one, are not counted."""
    weights: tuple[WeightChange, ...] = ()
    bodies: tuple[Part, ...] = ()
    functions: tuple[Part, ...] = ()
    """Local functions that changed; those that were added or removed are in `model`."""
    renamed: int = 0
    """How many tensors have another name; this does not count as a difference."""

    def __bool__(self) -> bool:
        found = (self.model, self.inputs, self.outputs, self.added, self.removed, self.changed, self.weights)
        return any(map(bool, (*found, self.bodies, self.functions)))

    def __str__(self) -> str:
        if not self:
            return "no differences" + (f" but the names of {_count(self.renamed, 'tensor')}" if self.renamed else "")
        return "\n".join([self.summary, *self._lines("  ")])

    @property
    def summary(self) -> str:
        """One line with the counts."""
        counts = [
            (len(self.added), "node", "added"),
            (len(self.removed), "node", "removed"),
            (len(self.changed), "node", "changed"),
            (len(self.weights), "weight", "changed"),
            (len(self.inputs), "change", "of inputs"),
            (len(self.outputs), "change", "of outputs"),
            (len(self.model), "change", "of the model"),
            (len(self.bodies), "body", "changed"),
            (len(self.functions), "function", "changed"),
        ]
        return ", ".join(f"{_count(count, noun)} {what}" for count, noun, what in counts if count)

    def _lines(self, indent: str) -> Iterator[str]:
        groups: list[tuple[str, Sequence[Any]]] = [
            ("model", self.model),
            ("inputs", self.inputs),
            ("outputs", self.outputs),
            ("nodes", (*self.removed, *self.added, *self.changed)),
            ("weights", self.weights),
        ]
        for title, items in groups:
            if items:
                yield f"{indent[2:]}{title}"
                yield from (f"{indent}{item}" for item in items[:_MOST_LINES])
                if len(items) > _MOST_LINES:
                    yield f"{indent}... and {len(items) - _MOST_LINES:,} more"
        for kind, parts in (("body", self.bodies), ("function", self.functions)):
            for part in parts[:_MOST_LINES]:
                yield f"{indent[2:]}{kind} {part.name}"
                yield from part.differences._lines(indent + "  ")


def _count(count: int, noun: str) -> str:
    plural = "bodies" if noun == "body" else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def _shown(value: Any) -> str:
    """A value on one line, cut where it is long; arrays by type."""
    if isinstance(value, np.ndarray):
        kind = tensor_type(value.dtype, value.shape)
        return f"{kind} {value.ravel().tolist()!r}" if 0 < value.size <= 8 else str(kind)
    if isinstance(value, Graph):
        return f"a graph of {_count(len(value.nodes), 'node')}"
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
