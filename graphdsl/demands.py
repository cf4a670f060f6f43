"""What operators demand of their inputs' shapes, where ONNX's inference does not look, or says no more than "no".

Each demand names the inputs, the axes and the sizes that do not fit. Only known sizes are compared: a named or unknown
dimension may still turn out right when the model runs.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .ir import Value, constant_array
from .schemas import Schema
from .types import Axis, Shape, TensorType


class Call(NamedTuple):
    """What a demand looks at: the inputs by index, None where absent or unknown."""

    names: Mapping[int, str]
    shapes: Sequence[Shape | None]
    constants: Sequence[np.ndarray | None]
    attributes: Mapping[str, Any]

    def shape(self, index: int) -> Shape | None:
        """The shape of an input; None where it is absent or of unknown rank."""
        return self.shapes[index] if index < len(self.shapes) else None

    def size(self, index: int, axis: int) -> int | None:
        """The size of an axis of an input, where it is known to be an int."""
        shape = self.shape(index)
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        size = shape[axis]
        return size if isinstance(size, int) else None


Demand = Callable[[Call], str | None]


def unmet(
    schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any], names: Mapping[int, str]
) -> str | None:
    """What of the operator's demands these inputs do not meet; None where nothing is found."""
    demand = _DEMANDS.get(schema.name)
    if demand is None:
        return None
    shapes = [v.type.shape if v is not None and isinstance(v.type, TensorType) else None for v in inputs]
    return demand(Call(names, shapes, [constant_array(v) for v in inputs], attributes))


def _clash(left: Shape, right: Shape) -> int | None:
    """The last axis, counted from the end, on which two shapes do not broadcast."""
    for axis in range(-1, -min(len(left), len(right)) - 1, -1):
        sizes = left[axis], right[axis]
        if all(isinstance(size, int) and size != 1 for size in sizes) and sizes[0] != sizes[1]:
            return axis
    return None


_DEMANDS: dict[str, Demand] = {}
