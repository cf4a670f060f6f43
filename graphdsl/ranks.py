"""The rank of an output that the types of the inputs alone determine, where ONNX's inference waits for their values.

Reducing along two axes takes two away, whichever they are; padding leaves as many as there were. Nothing here is asked
unless ONNX's inference and the rules of `sharpening` have left a rank unknown.

ONNX specification, Operators.md: the operators named below.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .dims import Axis
from .ir import Value
from .schemas import Schema
from .types import Shape, TensorType, Type, tensor_type

Inputs = tuple[Value | None, ...]
Attributes = Mapping[str, Any]
Rule = Callable[[Inputs, Attributes], "list[Axis] | Shape | None"]


def with_ranks(
    schema: Schema, inputs: Inputs, attributes: Attributes, types: tuple[Type | None, ...]
) -> tuple[Type | None, ...]:
    """The types, with the shapes that are known in the place of unknown ranks."""
    rule = _RULES.get(schema.name) if not schema.domain else None
    if rule is None or not any(isinstance(kind, TensorType) and kind.shape is None for kind in types):
        return types
    shape = rule(inputs, attributes)
    if shape is None:
        return types
    return tuple(
        tensor_type(kind.dtype, list(shape)) if isinstance(kind, TensorType) and kind.shape is None else kind
        for kind in types
    )


def _shape(inputs: Inputs, index: int) -> Shape | None:
    value = inputs[index] if index < len(inputs) else None
    return value.type.shape if value is not None and isinstance(value.type, TensorType) else None


def _length(inputs: Inputs, index: int) -> int | None:
    """How many elements a vector has; None where that, or whether it is one, is unknown."""
    shape = _shape(inputs, index)
    return shape[0] if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None


def _unknown(rank: int | None) -> list[Axis] | None:
    return None if rank is None or rank < 0 else [None] * rank


def _of_rank(rank: int) -> Rule:
    return lambda inputs, attributes: _unknown(rank)


def _same(inputs: Inputs, attributes: Attributes) -> list[Axis] | None:
    shape = _shape(inputs, 0)
    return None if shape is None else _unknown(len(shape))


def _along(inputs: Inputs, attributes: Attributes) -> list[Axis] | None:
    """The first input's shape, but for the axis that is split."""
    shape, axis = _shape(inputs, 0), attributes.get("axis", 0)
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    dims = list(shape)
    dims[axis] = None
    return dims


def _except(inputs: Inputs, attributes: Attributes) -> list[Axis] | None:
    """The first input's shape, but for the axes that are named; without names for all."""
    shape = _shape(inputs, 0)
    axes = attributes.get("axes")
    if shape is None or axes is None or not all(-len(shape) <= axis < len(shape) for axis in axes):
        return _same(inputs, attributes)
    changed = {axis % len(shape) for axis in axes}
    return [None if index in changed else dim for index, dim in enumerate(shape)]


def _more(inputs: Inputs, attributes: Attributes) -> list[Axis] | None:
    shape, axes = _shape(inputs, 0), _length(inputs, 1)
    return None if shape is None or axes is None else _unknown(len(shape) + axes)


def _fewer(inputs: Inputs, attributes: Attributes) -> list[Axis] | None:
    shape, axes = _shape(inputs, 0), _length(inputs, 1)
    return None if shape is None or axes is None else _unknown(len(shape) - axes)


def _reduced(inputs: Inputs, attributes: Attributes) -> list[Axis] | None:
    shape, axes = _shape(inputs, 0), _length(inputs, 1)
    if "axes" in attributes:
        axes = len(attributes["axes"])
    elif len(inputs) < 2 or inputs[1] is None:
        axes = 0
    if attributes.get("keepdims", 1):
        return _same(inputs, attributes)
    if axes == 0:  # all axes, or none
        return _same(inputs, attributes) if attributes.get("noop_with_empty_axes", 0) else []
    return None if shape is None or axes is None else _unknown(len(shape) - axes)


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

_RULES: dict[str, Rule] = {
    "BlackmanWindow": _of_rank(1),
    "CenterCropPad": _except,
    "HammingWindow": _of_rank(1),
    "HannWindow": _of_rank(1),
    "MaxUnpool": _same,
    "MelWeightMatrix": _of_rank(2),
    "Pad": _same,
    "STFT": _of_rank(4),
    "Split": _along,
    "Squeeze": _fewer,
    "Tile": _same,
    "Unsqueeze": _more,
    **{f"Reduce{name}": _reduced for name in _REDUCTIONS},
}
