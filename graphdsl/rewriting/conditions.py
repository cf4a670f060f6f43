"""When a value or attribute of a graph is what a pattern asks for."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..dims import Dim
from ..ir import Node, Value, constant_array
from ..types import OptionalType, SequenceType, TensorType, Type, as_dtype
from .patterns import Literal, size_label

_BROADCASTING = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "And", "Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater"),
        *("GreaterOrEqual", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", "Max", "Min", "Sum", "Mean", "Where"),
        "PRelu",
    }
)
"""Operators whose output has the broadcast shape of all inputs (ONNX specification, Broadcasting.md)."""


def fits(kind: Type | None, condition: Type, known: Mapping[str, Any]) -> dict[str, int | Dim | None] | None:
    """What a condition's named dimensions are, where a type is certain to meet it: dtype, rank and sizes; else None.

    `known` says what the names are already; a name that stands twice is one size, which must be known.
    """
    if not isinstance(condition, TensorType) or not isinstance(kind, TensorType):
        return {} if kind is condition else None
    if kind.dtype is not condition.dtype:
        return None
    if condition.shape is None:
        return {}
    if kind.shape is None or len(kind.shape) != len(condition.shape):
        return None
    found: dict[str, int | Dim | None] = {}
    for have, want in zip(kind.shape, condition.shape, strict=True):
        if isinstance(want, int):
            if have != want:
                return None
        elif want is not None:
            label = size_label(want)
            stands = label in found or label in known
            if stands and (have is None or have != found.get(label, known.get(label))):
                return None
            found[label] = have
    return found


def same_attribute(one: Any, other: Any) -> bool:
    """Whether two attribute values are one: arrays by dtype and bytes, floats as float32 has them."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and _same_array(one, other)
    if isinstance(one, float) and isinstance(other, float) and one != one and other != other:
        return True
    return type(one) is type(other) and bool(one == other)


def _same_array(one: np.ndarray, other: np.ndarray) -> bool:
    if one is other:
        return True
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(np.array_equal(one, other)) if one.dtype.kind in "OU" else one.tobytes() == other.tobytes()


def same_constant(one: Value | None, other: Value | None) -> bool:
    """Whether two values are constants of equal dtype, shape and bytes."""
    a, b = constant_array(one), constant_array(other)
    return a is not None and b is not None and _same_array(a, b)


def literal_fits(literal: Literal, value: Value, user: Node) -> bool:
    """Whether a constant is the literal of a pattern, and does not widen what it is combined with.

    A number fits a constant of any shape that holds only this number, after a cast to the constant's dtype; an array
    or list fits one of its dtype and shape.
    """
    given = literal.given
    array = constant_array(value)
    if array is None or array.dtype.kind in "OUS":
        return False
    if isinstance(given, np.ndarray):
        return _same_array(array, given)
    if array.dtype not in literal.casts:
        literal.casts[array.dtype] = _cast(np.asarray(given), array.dtype)
    cast = literal.casts[array.dtype]
    if cast is None or array.size == 0:
        return False
    return array.tobytes() == cast * array.size and not _widens(value, array, user)


def _cast(wanted: np.ndarray, dtype: np.dtype) -> bytes | None:
    """A number in a dtype, as bytes; None where that has no such number: 0.5 is no integer."""
    with np.errstate(all="ignore"):
        cast = wanted.astype(dtype)
        if as_dtype(dtype).kind not in ("float", "complex") and not bool(np.all(cast == wanted)):
            return None
    return cast.tobytes()


def _widens(value: Value, array: np.ndarray, user: Node) -> bool:
    """Whether an operand that repeats one number may make the result larger than the other operands do."""
    if array.ndim == 0 or user.schema.domain or user.schema.name not in _BROADCASTING:
        return False
    others = [v.type for v in user.inputs if v is not None and v is not value]
    return not any(_covers(kind, array.shape) for kind in others)


def _covers(kind: Type | None, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is at least as large as a shape along every axis, aligned from the right."""
    if not isinstance(kind, TensorType) or kind.shape is None or len(shape) > len(kind.shape):
        return False
    tail = kind.shape[len(kind.shape) - len(shape) :]
    return all(size in (1, have) for size, have in zip(shape, tail, strict=True))


def type_change(old: Type | None, new: Type | None, *, refine: bool) -> tuple[str | None, bool]:
    """What a replacement changes of a type, if anything; and whether part of it is not known to be the same."""
    if old is new:
        return None, not _is_exact(old)
    problem = f"{old!r} would become {new!r}" if old is not None else f"an unknown type would become {new!r}"
    if not refine:
        return problem, False
    if old is None:
        return None, True
    if not isinstance(old, TensorType) or not isinstance(new, TensorType) or old.dtype is not new.dtype:
        return problem, False
    if old.shape is None:
        return None, True
    if new.shape is None or len(new.shape) != len(old.shape):
        return problem, False
    if all(a is None or a == b for a, b in zip(old.shape, new.shape, strict=True)):
        return None, None in old.shape
    return problem, False


def _is_exact(kind: Type | None) -> bool:
    """Whether a type says everything: every size is known or named."""
    while not isinstance(kind, TensorType):
        if not isinstance(kind, (SequenceType, OptionalType)):
            return False
        kind = kind.element
    return kind.shape is not None and None not in kind.shape
