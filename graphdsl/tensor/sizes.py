"""Sizes that are known only when the model runs: dimensions as int64 tensors, and shapes made of them."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dims import Dim
from ..ir import Value
from ..schemas import opset_in_force
from ..types import TensorType
from .calling import current_trace, emit
from .elementwise import Elementwise, refuse
from .handle import Handle

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}


def axis_size(value: Value, axis: int) -> Elementwise:
    """The size of one axis when the model runs, of shape `(1,)`; one node per axis and trace (ONNX Shape)."""
    memo = current_trace().memo
    key = ("size", value, axis, opset_in_force())
    found = memo.get(key)
    if found is None:
        whole = Elementwise(value)
        if opset_in_force() >= 15:
            (found,) = emit("Shape", whole, start=axis, end=axis + 1)
        else:
            (found,) = emit("Gather", Elementwise(emit("Shape", whole)[0]), np.array([axis]), axis=0)
        memo[key] = found
    return Elementwise(found)


def dimension(dim: Dim) -> Elementwise:
    """A dimension when the model runs, of shape `(1,)`: computed as `Tensor.shape` recorded that it can be.

    Raises:
        UnsupportedError: the dimension does not come from a tensor's shape.
    """
    done: list[Any] = []
    todo: list[Any] = [dim.origin]
    while todo:
        match todo.pop():
            case None:
                refuse(
                    f"the dimension {str(dim)!r} does not say which tensor it is a size of",
                    "write x.shape[axis] of a tensor that has it",
                )
            case int() as number:
                done.append(number)
            case (Value() as value, int() as axis):
                done.append(axis_size(value, axis))
            case (str() as name, left, right):
                todo += [_ARITHMETIC[name], right, left]
            case compute:
                right = done.pop()
                done.append(compute(done.pop(), right))
    result = done.pop()
    assert isinstance(result, Elementwise)
    return result


def scalar_of(part: Elementwise) -> Any:
    """A tensor of shape `(1,)` without its axis."""
    return part._emit("Squeeze", part, axes=[0])


def shape_input(dims: Sequence[Any]) -> Any:
    """What an operator takes as a shape: a list where all dims are ints, else an int64 tensor made when the model runs.

    Each dim is an int, a `Dim` of a tensor's shape, or an integer tensor of one element.

    Raises:
        UnsupportedError: a dim is nothing of the kind.
    """
    parts: list[Any] = []
    for dim in dims:
        if isinstance(dim, Dim):
            parts.append(dimension(dim))
        elif isinstance(dim, Handle):
            parts.append(_one_element(dim))
        elif parts and isinstance(parts[-1], list):
            parts[-1].append(operator.index(dim))
        else:
            parts.append([operator.index(dim)])
    if not parts or (len(parts) == 1 and isinstance(parts[0], list)):
        return parts[0] if parts else []
    if len(parts) == 1:
        return parts[0]
    arrays = [np.array(part, np.int64) if isinstance(part, list) else part for part in parts]
    return Elementwise(emit("Concat", *arrays, axis=0)[0])


def _one_element(size: Any) -> Any:
    kind = size.type
    if not isinstance(kind, TensorType) or kind.dtype.kind not in ("int", "uint") or kind.shape not in ((), (1,)):
        refuse(
            f"a tensor that gives a size is an integer scalar, not {kind!r}",
            "write t.astype(gd.int64), t.reshape(()) or, for a whole shape, t.reshape(sizes) with a 1-D tensor of them",
        )
    part = Elementwise(size._v).astype(np.int64)
    return part if kind.shape else part._emit("Unsqueeze", part, axes=[0])
