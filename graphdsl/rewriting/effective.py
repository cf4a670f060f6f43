"""What an attribute means for a node where it is absent: its default, or a value that depends on the inputs.

ONNX specification, Operators.md: the attributes of each operator. `onnx.defs` knows most defaults; those that are
written in prose ("absent means ones along each spatial axis") are here, and a test holds them against the runtime.
"""

from collections.abc import Callable
from typing import Any

from ..attributes import from_attribute
from ..ir import Node
from ..types import TensorType


class Unknown:
    """The value of an attribute that cannot be computed for a node."""

    def __repr__(self) -> str:
        return "a value that is not known"


UNKNOWN = Unknown()


def effective(node: Node, name: str) -> Any:
    """The value that an attribute has for a node; None where absence is a meaning of its own."""
    if name in node.attributes:
        return node.attributes[name]
    return default(node, name)


def default(node: Node, name: str) -> Any:
    """The value that an attribute has for a node when it is absent."""
    spec = node.schema.attributes.get(name)
    if spec is not None and spec.default is not None:
        return from_attribute(spec.default)
    rule = _RULES.get((node.schema.name, name)) if not node.schema.domain else None
    return None if rule is None else rule(node)


def _rank(node: Node, index: int = 0) -> int | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    kind = value.type if value is not None else None
    return len(kind.shape) if isinstance(kind, TensorType) and kind.shape is not None else None


def _reversed_axes(node: Node) -> Any:
    rank = _rank(node)
    return UNKNOWN if rank is None else tuple(reversed(range(rank)))


def _ones(node: Node) -> Any:
    rank = _rank(node)
    return UNKNOWN if rank is None else (1,) * (rank - 2)


def _zero_pads(node: Node) -> Any:
    rank = _rank(node)
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return UNKNOWN
    return UNKNOWN if rank is None else (0,) * (2 * (rank - 2))


def _zeros(node: Node) -> Any:
    rank = _rank(node)
    return UNKNOWN if rank is None else (0,) * (rank - 2)


def _weight_shape(node: Node) -> Any:
    value = node.inputs[1] if len(node.inputs) > 1 else None
    kind = value.type if value is not None else None
    if not isinstance(kind, TensorType) or kind.shape is None or not all(isinstance(d, int) for d in kind.shape[2:]):
        return UNKNOWN
    return kind.shape[2:]


_CONVOLUTIONS = ("Conv", "ConvInteger", "ConvTranspose", "QLinearConv")
_POOLS = ("MaxPool", "AveragePool", "LpPool")
_RULES: dict[tuple[str, str], Callable[[Node], Any]] = {("Transpose", "perm"): _reversed_axes}
for _operator in (*_CONVOLUTIONS, *_POOLS):
    _RULES[_operator, "strides"] = _RULES[_operator, "dilations"] = _ones
    _RULES[_operator, "pads"] = _zero_pads
for _operator in ("Conv", "ConvInteger", "ConvTranspose"):
    _RULES[_operator, "kernel_shape"] = _weight_shape
_RULES["ConvTranspose", "output_padding"] = _zeros
