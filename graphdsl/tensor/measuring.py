"""Sizes as values: dimensions, and lists that hold dimensions or tensors, computed when the model runs.

Each computation is made once for a trace, and found again in the traces inside it: a branch uses what was computed
around it, never the reverse.
"""

from collections.abc import Mapping, Sequence
from numbers import Number
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from ..contents import contents
from ..dims import Dim, is_never_negative
from ..errors import SignatureError, UnsupportedError
from ..ir import Value
from ..schemas import Schema, in_force
from ..sites import Site, at
from ..types import DType, TensorType, int64
from . import lifting
from .handle import Handle


class Maker(Protocol):
    """The trace that makes the nodes."""

    memo: Any
    parent: Any
    closed: bool

    def call(
        self, schema: Schema, inputs: Sequence[Any], attributes: Mapping[str, Any], count: int, site: Site | None
    ) -> tuple[Value, ...]:
        """Make a node."""

    def admit(self, value: Value, site: Site | None) -> None:
        """Check that a value may be used here."""


Part = Value | int
"""A size: a value of shape `(1,)`, or a number."""


def once(trace: Maker, site: Site | None, name: str, *inputs: Part, **attributes: Any) -> Value:
    """The output of an operator on int64 vectors: the one that this trace, or one around it, has made already."""
    schema = in_force(name)
    key = (schema, inputs, *attributes.items())
    outer: Any = trace
    while outer is not None:
        found: Value | None = outer.memo.get(key)
        if found is not None:
            return found
        outer = None if outer.closed else outer.parent
    given = [Handle(part) if isinstance(part, Value) else np.array([part], np.int64) for part in inputs]
    (made,) = trace.call(schema, given, MappingProxyType(attributes), 1, site)
    trace.memo[key] = made
    return made


def size_of(trace: Maker, value: Value, axis: int, site: Site | None) -> Value:
    """The size of one axis, of shape `(1,)` (ONNX Shape)."""
    if "start" in in_force("Shape").attributes:
        return once(trace, site, "Shape", value, end=axis + 1, start=axis)
    return once(trace, site, "Gather", once(trace, site, "Shape", value), axis, axis=0)


def computed(trace: Maker, dim: Dim, site: Site | None) -> Value:
    """A dimension, of shape `(1,)`: computed as `Tensor.shape`, and arithmetic since, recorded that it can be.

    Raises:
        UnsupportedError: the dimension does not come from a tensor's shape.
    """
    if dim.origin is None:
        raise UnsupportedError(
            f"the dimension {dim.text!r} does not say which tensor it is a size of; "
            "write x.shape[axis] of a tensor that has it" + at(site)
        )
    done: dict[int, Part] = {}
    todo = [dim.origin]
    while todo:
        origin = todo[-1]
        match origin:
            case int():
                done[id(origin)] = origin
            case (Value() as value, int() as axis):
                done[id(origin)] = size_of(trace, value, axis, site)
            case (str() as function, left, right):
                waiting = [side for side in (right, left) if id(side) not in done]
                if waiting:
                    todo += waiting
                    continue
                done[id(origin)] = _arithmetic(trace, site, function, done[id(left)], done[id(right)])
        todo.pop()
    result = done[id(dim.origin)]
    assert isinstance(result, Value)
    return result


_OPERATORS = {"+": "Add", "-": "Sub", "*": "Mul"}


def _arithmetic(trace: Maker, site: Site | None, function: str, left: Part, right: Part) -> Value:
    if function in _OPERATORS:
        return once(trace, site, _OPERATORS[function], left, right)
    positive = _is_never_negative(left) and _is_never_negative(right)
    if function == "%" and not positive:
        return once(trace, site, "Mod", left, right)
    if not positive:  # Div rounds towards zero, so what Mod leaves is taken away before
        left = once(trace, site, "Sub", left, once(trace, site, "Mod", left, right))
    quotient = once(trace, site, "Div", left, right)
    if function == "//":
        return quotient
    return once(trace, site, "Sub", left, once(trace, site, "Mul", quotient, right))


def _is_never_negative(part: Part) -> bool:
    if isinstance(part, int):
        return part >= 0
    elements = contents(part)
    return elements is not None and elements[0] is not None and is_never_negative(elements[0])


def scalar(trace: Maker, part: Value, site: Site | None) -> Value:
    """A value of shape `(1,)` without its axis."""
    return _axis(trace, part, "Squeeze", site)


def _axis(trace: Maker, part: Value, operator: str, site: Site | None) -> Value:
    if "axes" in in_force(operator).attributes:
        return once(trace, site, operator, part, axes=(0,))
    return once(trace, site, operator, part, 0)


def lift(trace: Maker, item: Any, dtype: DType, site: Site | None) -> Value:
    """A dimension as a scalar of a dtype, or a list of numbers, dimensions and scalar tensors as a vector of it.

    Raises:
        SignatureError: an element is nothing of the kind, or the dtype holds no sizes.
    """
    if isinstance(item, Dim):
        return _converted(trace, scalar(trace, computed(trace, item, site), site), dtype, site)
    elements = list(item)
    parts: list[Value] = []
    place = 0
    while place < len(elements):
        run = _run(elements, place)
        if isinstance(elements[place], (Dim, Handle)):
            part = _single(trace, elements[place], place, dtype, site) if run == 1 else None
            if part is None:
                value, axis = elements[place].origin
                whole = once(trace, site, "Shape", value, end=axis + run, start=axis)
                part = _converted(trace, whole, dtype, site)
            parts.append(part)
        else:
            parts.append(_numbers(elements[place : place + run], place, dtype))
        place += run
    if len(parts) == 1:
        return parts[0]
    (joined,) = trace.call(in_force("Concat"), list(map(Handle, parts)), MappingProxyType({"axis": 0}), 1, site)
    return joined


def _run(elements: list[Any], place: int) -> int:
    """How many elements from a place on make one part: numbers, or neighbouring sizes of one tensor."""
    end = place + 1
    first = elements[place]
    if isinstance(first, Handle):
        return 1
    if not isinstance(first, Dim):
        while end < len(elements) and not isinstance(elements[end], (Dim, Handle)):
            end += 1
        return end - place
    match first.origin:
        case (Value(type=TensorType(shape=tuple() as shape)) as value, int() as axis):
            if "start" not in in_force("Shape").attributes:
                return 1
            for element, size in zip(elements[end:], shape[axis + 1 :], strict=False):
                own = isinstance(element, Dim) and element.origin == (value, axis + end - place)
                if not own and not (isinstance(element, int) and element == size):
                    break
                end += 1
    return end - place


def _single(trace: Maker, element: Any, place: int, dtype: DType, site: Site | None) -> Value:
    """An element of a list that is a dimension or a tensor, of shape `(1,)`."""
    if isinstance(element, Dim):
        return _converted(trace, computed(trace, element, site), dtype, site)
    value: Value = element._v
    if value.owner is not trace and value.owner is not None:
        trace.admit(value, site)
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape not in ((), (1,)):
        raise SignatureError(
            f"element {place} of the list is {kind!r}, not a single number; "
            "join vectors with op.Concat(..., axis=0), stack tensors with np.stack"
        )
    found = value if kind.shape else _axis(trace, value, "Unsqueeze", site)
    if kind.dtype is dtype or (kind.dtype.kind in ("int", "uint") and dtype is int64):
        return _converted(trace, found, dtype, site)
    raise SignatureError(f"element {place} of the list is {kind!r}, and {dtype} is needed; cast it first")


def _numbers(numbers: list[Any], place: int, dtype: DType) -> Value:
    for index, item in enumerate(numbers, place):
        if item is None:
            raise SignatureError(
                f"element {index} of the list is None, an unknown dimension; name it where the tensor enters, "
                "so that its .shape can be used, or compute it with op.Shape"
            )
        if not isinstance(item, (Number, np.number)):
            raise SignatureError(f"element {index} of the list is {item!r}, not a number, dimension or scalar tensor")
    return lifting.adopt(numbers, dtype)


def _converted(trace: Maker, value: Value, dtype: DType, site: Site | None) -> Value:
    if isinstance(value.type, TensorType) and value.type.dtype is dtype:
        return value
    if dtype.kind not in ("int", "uint", "float"):
        raise SignatureError(f"a size is an integer, and {dtype} is needed")
    return once(trace, site, "Cast", value, to=dtype.code)
