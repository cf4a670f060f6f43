"""What an attribute means for a node where it is absent: its default, or a value that depends on the inputs.

ONNX specification, Operators.md: the attributes of each operator. `onnx.defs` knows most defaults; those that are
written in prose ("absent means ones along each spatial axis") are here. An attribute without a default is in one of
the two tables, or what its absence means is not known; a test goes through the attributes of all operators, and holds
the values against ONNX's reference.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..attributes import from_attribute
from ..ir import Node, Reference
from ..types import TensorType


class Unknown:
    """The value of an attribute that cannot be computed for a node."""

    def __repr__(self) -> str:
        return "a value that is not known"


UNKNOWN = Unknown()


def effective(node: Node, name: str) -> Any:
    """The value that an attribute has for a node; None where absence is a meaning of its own."""
    if name in node.attributes:
        value = node.attributes[name]
        return UNKNOWN if isinstance(value, Reference) else value
    return default(node, name)


def default(node: Node, name: str) -> Any:
    """The value that an attribute has for a node when it is absent."""
    schema = node.schema
    spec = schema.attributes.get(name)
    if spec is not None and spec.default is not None:
        return from_attribute(spec.default)
    if schema.domain == "ai.onnx.ml":
        return None  # tables, of which an operator has one of several, and what may be left out of a model
    if schema.domain:
        return UNKNOWN
    rule = RULES.get((schema.name, name))
    if rule is not None:
        return rule(node)
    return None if name in _OWN_EVERYWHERE or name in _OWN.get(schema.name, ()) else UNKNOWN


def _sizes(node: Node, index: int = 0) -> tuple[Any, ...] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    kind = value.type if value is not None else None
    return kind.shape if isinstance(kind, TensorType) else None


def _axes(node: Node) -> Any:
    shape = _sizes(node)
    return UNKNOWN if shape is None else tuple(range(len(shape)))


def _reversed_axes(node: Node) -> Any:
    shape = _sizes(node)
    return UNKNOWN if shape is None else tuple(reversed(range(len(shape))))


def _rank(node: Node) -> Any:
    shape = _sizes(node)
    return UNKNOWN if shape is None else len(shape)


def _window_rank(node: Node) -> int | None:
    """The number of spatial axes of what slides a window."""
    if "kernel_shape" in node.attributes:
        return len(node.attributes["kernel_shape"])
    shape = _sizes(node)
    return None if shape is None else len(shape) - 2


def _ones(node: Node) -> Any:
    rank = _window_rank(node)
    return UNKNOWN if rank is None else (1,) * rank


def _zeros(node: Node) -> Any:
    rank = _window_rank(node)
    return UNKNOWN if rank is None else (0,) * rank


def _zero_pads(node: Node) -> Any:
    rank = _window_rank(node)
    padded = node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in node.attributes
    return UNKNOWN if rank is None or padded else (0,) * (2 * rank)


def _block_rank(node: Node) -> int | None:
    shape = _sizes(node, 2)
    return shape[0] if shape is not None and isinstance(shape[0], int) else None


def _block_ones(node: Node) -> Any:
    rank = _block_rank(node)
    return UNKNOWN if rank is None else (1,) * rank


def _block_pads(node: Node) -> Any:
    rank = _block_rank(node)
    return UNKNOWN if rank is None else (0,) * (2 * rank)


def _kernel(weight: int) -> Callable[[Node], Any]:
    def rule(node: Node) -> Any:
        shape = _sizes(node, weight)
        if shape is None or not all(isinstance(size, int) for size in shape[2:]):
            return UNKNOWN
        return shape[2:]

    return rule


def _axes_of_one(node: Node) -> Any:
    shape = _sizes(node)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return UNKNOWN
    return tuple([axis for axis, size in enumerate(shape) if size == 1])


def _equal_parts(node: Node) -> Any:
    shape, count = _sizes(node), len(node.outputs)
    axis = node.attributes.get("axis", 0)
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    return (size // count,) * count if isinstance(size, int) and size % count == 0 else UNKNOWN


def _dtype_of_input(node: Node) -> Any:
    value = node.inputs[0] if node.inputs else None
    kind = value.type if value is not None else None
    return kind.dtype.code if isinstance(kind, TensorType) else UNKNOWN


def _hidden_size(node: Node) -> Any:
    shape = _sizes(node, 2)
    return shape[-1] if shape and isinstance(shape[-1], int) else UNKNOWN


def _activations(*names: str) -> Callable[[Node], Any]:
    return lambda node: names * (1 + (node.attributes.get("direction") == "bidirectional"))


def _zero(node: Node) -> Any:
    return np.zeros(1, np.float32)


RULES: dict[tuple[str, str], Callable[[Node], Any]] = {
    ("Transpose", "perm"): _reversed_axes,
    ("ConvTranspose", "output_padding"): _zeros,
    ("Squeeze", "axes"): _axes_of_one,
    ("Split", "split"): _equal_parts,
    ("Shape", "end"): _rank,
    ("Concat", "axis"): lambda node: 1,
    ("ConstantOfShape", "value"): _zero,
    ("SequenceEmpty", "dtype"): lambda node: 1,
    ("LSTM", "activations"): _activations("Sigmoid", "Tanh", "Tanh"),
    ("GRU", "activations"): _activations("Sigmoid", "Tanh"),
    ("Col2Im", "pads"): _block_pads,
    ("Col2Im", "strides"): _block_ones,
    ("Col2Im", "dilations"): _block_ones,
}
"""What absence means, computed from the inputs and the other attributes, by operator and attribute."""

for _name in ("Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "DeformConv"):
    RULES[_name, "kernel_shape"] = _kernel(3 if _name == "QLinearConv" else 1)
for _name in (
    *("Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "DeformConv"),
    *("MaxPool", "AveragePool", "LpPool", "MaxUnpool"),
):
    RULES[_name, "strides"] = RULES[_name, "dilations"] = _ones
    RULES[_name, "pads"] = _zero_pads
for _name in (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSum", "ReduceSumSquare", "Resize", "CenterCropPad"),
):
    RULES[_name, "axes"] = _axes
for _name in ("EyeLike", "RandomNormalLike", "RandomUniformLike", "Bernoulli"):
    RULES[_name, "dtype"] = _dtype_of_input
for _name in ("RNN", "GRU", "LSTM"):
    RULES[_name, "hidden_size"] = _hidden_size

_OWN_EVERYWHERE = frozenset({"seed", "consumed_inputs", "ignore_index"})
_OWN: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater"), ("axis",)),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), ("clip",)),
    **dict.fromkeys(("Compress", "Unique"), ("axis",)),
    "Constant": (
        *("value", "sparse_value", "value_float", "value_floats"),
        *("value_int", "value_ints", "value_string", "value_strings"),
    ),
    "Clip": ("min", "max"),
    "ConvTranspose": ("output_shape",),
    "Split": ("num_outputs",),
    "StringNormalizer": ("stopwords",),
    "StringSplit": ("delimiter", "maxsplit"),
    "TfIdfVectorizer": ("pool_int64s", "pool_strings", "weights"),
}
"""Attributes whose absence is a meaning of its own, which no value has: no clipping, a seed of the runtime's choice."""
