"""What ONNX's inference does not see of one node: impossible channel counts, sums of named dimensions.

Every function here only sharpens or rejects what `onnx.shape_inference` found for the node; none may contradict it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .ir import Value
from .schemas import Schema
from .types import Shape, TensorType, Type

Types = tuple[Type | None, ...]


def sharpen(schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], types: Types) -> Types:
    """The output types with all that is known put in.

    Raises:
        ValueError: the node cannot run; the message says why.
    """
    rule = _RULES.get(schema.name) if not schema.domain else None
    return types if rule is None else rule(inputs, attributes, types)


def _shape(inputs: tuple[Value | None, ...], index: int) -> Shape | None:
    value = inputs[index] if index < len(inputs) else None
    return value.type.shape if value is not None and isinstance(value.type, TensorType) else None


def _convolution(inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], types: Types) -> Types:
    image, weight = _shape(inputs, 0), _shape(inputs, 1)
    if image is None or weight is None or len(image) < 3 or len(weight) < 3:
        return types
    groups = attributes.get("group", 1)
    have, need = image[1], weight[1]
    if isinstance(have, int) and isinstance(need, int) and have != need * groups:
        per = f" in each of {groups} groups" if groups != 1 else ""
        raise ValueError(f"X has {have} channels, but W expects {need}{per}")
    return types


_RULES: dict[str, Callable[[tuple[Value | None, ...], Mapping[str, Any], Types], Types]] = {
    "Conv": _convolution,
}
