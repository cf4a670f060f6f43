"""What ONNX's inference does not see of one node: impossible channel counts, sums of named dimensions.

Every function here only sharpens or rejects what `onnx.shape_inference` found for the node; none may contradict it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from .ir import Value, constant_array
from .schemas import Schema
from .types import Shape, TensorType, Type, tensor_type

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


def _max_unpool(inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], types: Types) -> Types:
    """ONNX's inference stops where `output_shape` is given, even as a constant."""
    target = constant_array(inputs[2]) if len(inputs) > 2 else None
    if target is None or not isinstance(types[0], TensorType):
        return types
    return (tensor_type(types[0].dtype, [int(size) for size in target]),)


def _range(inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], types: Types) -> Types:
    """ONNX's inference counts the elements for four dtypes only."""
    bounds = [constant_array(value) for value in inputs]
    if not isinstance(types[0], TensorType) or any(bound is None or bound.size != 1 for bound in bounds):
        return types
    start, limit, delta = (float(bound.item()) for bound in bounds if bound is not None)
    if types[0].shape != (None,) or not delta:
        return types
    return (tensor_type(types[0].dtype, [max(0, math.ceil((limit - start) / delta))]),)


def _stft(inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], types: Types) -> Types:
    """ONNX's inference takes an absent `onesided` for 0; the specification's default is 1 (see docs/upstream.md)."""
    if "onesided" in attributes or not isinstance(types[0], TensorType) or types[0].shape is None:
        return types
    *before, bins, parts = types[0].shape
    return (tensor_type(types[0].dtype, [*before, None if bins is None else bins // 2 + 1, parts]),)


_RULES: dict[str, Callable[[tuple[Value | None, ...], Mapping[str, Any], Types], Types]] = {
    "Conv": _convolution,
    "MaxUnpool": _max_unpool,
    "Range": _range,
    "STFT": _stft,
}
