"""What the ONNX specification does not define, and what it leaves open: points at which no two sides are compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Node
from ..types import DType, as_dtype

_ORDERING = frozenset(
    {"ArgMax", "ArgMin", "GlobalMaxPool", "Hardmax", "MaxPool", "NonMaxSuppression", "TopK", "Unique"}
)
"""Operators that order numbers: where NaN stands among them, the standard does not say."""

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators that draw numbers; Dropout does so where it trains."""

_WRITING = frozenset({"Scatter", "ScatterElements", "ScatterND"})
"""Operators that write to places, in no order that the standard says, and so not twice to one."""

_NEEDING_ELEMENTS = frozenset({"ReduceMax", "ReduceMin", "ReduceMean", "ArgMax", "ArgMin", "GlobalAveragePool"})


def draws_numbers(node: Node, inputs: Sequence[Any]) -> bool:
    """Whether a node draws numbers at random."""
    if node.schema.domain:
        return False
    trains = node.schema.name == "Dropout" and len(inputs) > 2 and inputs[2] is not None and bool(np.any(inputs[2]))
    return trains or node.schema.name in _RANDOM


def undefined(node: Node, inputs: Sequence[Any], target: DType | None) -> str | None:
    """What a node does with these inputs that the standard does not define; None where it defines all.

    `target` is the dtype of the first output.
    """
    name = node.schema.name
    if node.schema.domain:
        return None
    if name in ("Div", "Mod"):
        return _division(name, *inputs)
    if name in ("Cast", "CastLike"):
        return _conversion(inputs[0], target)
    if name == "Pow":
        return _power(*inputs)
    if name == "BitShift" and bool(np.any(inputs[1] >= inputs[0].dtype.itemsize * 8)):
        return "a shift by the width or more"
    reduction = node.attributes.get("reduction", "none")
    orders = name in _ORDERING or (name in _WRITING and reduction in ("max", "min", b"max", b"min"))
    if orders and any(_has_nan(item) for item in inputs):
        return f"the place of NaN in {name}"
    if name in _WRITING and reduction in ("none", b"none") and _written_twice(node, inputs):
        return f"an element that {name} writes twice"
    if name == "QuantizeLinear" and target is not None and target.kind in ("int", "uint") and _has_nan(inputs[0]):
        return "the integer for NaN"
    if name == "Reshape" and node.attributes.get("allowzero") and {0, -1} <= set(inputs[1].tolist()):
        return "a size that is left open beside a size of zero"
    if name == "DynamicQuantizeLinear" and inputs[0].size and not np.any(inputs[0]):
        return "the scale of zeros"
    if name == "AffineGrid" and node.attributes.get("align_corners") and 1 in inputs[1][2:]:
        return "the place of one pixel at both corners"
    if name in _NEEDING_ELEMENTS and isinstance(inputs[0], np.ndarray) and not inputs[0].size:
        return f"{name} of nothing" if _makes_elements(node, inputs) else None
    return None


def _makes_elements(node: Node, inputs: Sequence[Any]) -> bool:
    """Whether a reduction of an array without elements has a result with some: none of the axes that stay is empty."""
    shape, attributes = inputs[0].shape, node.attributes
    if node.schema.name == "GlobalAveragePool":
        axes: Any = range(2, len(shape))
    elif node.schema.name.startswith("Arg"):
        axes = [attributes.get("axis", 0)]
    else:
        axes = inputs[1] if len(inputs) > 1 else attributes.get("axes")
        if axes is None or not len(axes):
            return not attributes.get("noop_with_empty_axes")
    reduced = {int(axis) % len(shape) for axis in axes}
    return all(size for axis, size in enumerate(shape) if axis not in reduced)


def _written_twice(node: Node, inputs: Sequence[Any]) -> bool:
    """Whether two indices, which may count from the end, name the same place."""
    data, indices = inputs[0], np.asarray(inputs[1])
    if node.schema.name == "ScatterND":
        depth = indices.shape[-1]
        places = np.mod(indices, np.maximum(data.shape[:depth], 1)).reshape(-1, depth)
    else:
        axis = node.attributes.get("axis", 0) % data.ndim
        along = np.indices(indices.shape)
        along[axis] = np.mod(indices, max(data.shape[axis], 1))
        places = along.reshape(data.ndim, -1).T
    return len({tuple(place) for place in places.tolist()}) < len(places)


def _division(name: str, a: np.ndarray, b: np.ndarray) -> str | None:
    if a.dtype.kind not in "iu" or not a.size or not b.size:
        return None
    if bool(np.any(b == 0)):
        return "an integer division by zero"
    if a.dtype.kind == "i" and bool(np.any((a == np.iinfo(a.dtype).min) & (b == -1))):
        return "the least integer divided by -1"
    return None


def _conversion(a: Any, target: DType | None) -> str | None:
    if not isinstance(a, np.ndarray) or target is None or target.kind not in ("int", "uint") or a.dtype.kind in "biuO":
        return None
    if as_dtype(a.dtype).kind != "float":
        return None
    bits = target.bits - (target.kind == "int")
    least, most = (-(2.0**bits) if target.kind == "int" else 0.0), 2.0**bits
    numbers = np.trunc(a.astype(np.float64))
    if not bool(np.all((numbers >= least) & (numbers < most))):
        return f"a cast to {target} of what it does not hold"
    return None


def _power(a: np.ndarray, b: np.ndarray) -> str | None:
    """What is wrong with powers of integers: by integers they are exact, so as far as their dtype holds them."""
    if a.dtype.kind not in "iu" or not a.size or not b.size:
        return None
    exact = b.dtype.kind in "iu"
    if exact and bool(np.any(b < 0)):
        return "a negative power of an integer"
    a, b = np.broadcast_arrays(a, b)
    ends = np.iinfo(a.dtype)
    most = float(ends.max) if exact else min(2.0**53, ends.max)
    with np.errstate(all="ignore"):
        sizes = np.abs(a.astype(np.float64)) ** b.astype(np.float64)
    close = (sizes > most / 2) & (sizes <= 2 * most) if exact else np.zeros(sizes.shape, np.bool_)
    powers = (int(x) ** int(n) for x, n in zip(a[close], b[close], strict=True))
    if bool(np.any((sizes > most) & ~close)) or not all(ends.min <= power <= ends.max for power in powers):
        return "a power beyond its integer dtype"
    return None


def _has_nan(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind == "f" and bool(np.any(np.isnan(item)))
