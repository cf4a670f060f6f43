"""The elements of small tensors that are made of shapes, followed through the graph as far as they are known.

A model computes sizes with nodes: Shape, Gather, Mul, Concat, then Reshape. `contents` reads such a computation: the
elements of the shape come out as ints, as dimension expressions, or as None where they are known only when the model
runs. Nothing is run; each operator has a rule for arrays of such elements.
"""

import weakref
from collections.abc import Callable, Iterable
from functools import reduce
from math import prod
from typing import Any, TypeAlias

import numpy as np

from .dims import Dim, is_never_negative, maximum, minimum
from .errors import TypeSpecError
from .ir import Opaque, Reference, Value, constant_array
from .types import DType, TensorType

Element: TypeAlias = int | float | bool | Dim | None
Elements: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""A read-only array of objects: ints, floats, bools, `Dim`s, and None for an element that is not known."""

MOST = 1024
"""Tensors of more elements than this are not followed."""

_met: "weakref.WeakKeyDictionary[Value, Elements | None]" = weakref.WeakKeyDictionary()


def contents(value: Value | None) -> Elements | None:
    """What is known of the elements of a small tensor; None where nothing is."""
    if value is None:
        return None
    todo = [value]
    while todo:
        current = todo[-1]
        if current not in _met:
            waiting = [source for source in _sources(current) if source not in _met]
            if waiting:
                todo += waiting
                continue
            _met[current] = _elements(current)
        todo.pop()
    return _met[value]


def known_array(value: Value | None) -> np.ndarray | None:
    """The data of a small tensor all of whose elements are known now, constant or computed from known sizes."""
    elements = contents(value)
    if elements is None or any(element is None or isinstance(element, Dim) for element in elements.flat):
        return None
    assert value is not None and isinstance(value.type, TensorType)
    return elements.astype(value.type.dtype.numpy)


def _rule(value: Value) -> "_Rule | None":
    """The rule for the elements of a value, if it is one to be followed: a small tensor that a known operator makes."""
    if value.node is None or value.node.schema.native is None or _small_shape(value) is None:
        return None
    return None if value.node.schema.domain else _RULES.get(value.node.schema.name)


def _sources(value: Value) -> list[Value]:
    """The values whose elements the elements of a value are made of."""
    rule = _rule(value)
    if rule is None or rule in (_shape, _size):
        return []
    assert value.node is not None
    return [source for source in value.node.inputs if source is not None]


def _small_shape(value: Value) -> tuple[int, ...] | None:
    """The shape of a tensor of few numbers; None where it is anything else."""
    kind = value.type
    if (
        not isinstance(kind, TensorType)
        or kind.shape is None
        or kind.dtype.kind not in ("int", "uint", "bool", "float")
    ):
        return None
    sizes = [size for size in kind.shape if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(kind.shape) and prod(sizes) <= MOST else None


def _elements(value: Value) -> Elements | None:
    shape = _small_shape(value)
    if shape is None:
        return None
    array = constant_array(value)
    if array is not None:
        return _frozen(array.astype(object))
    rule = _rule(value)
    if rule is None:
        return None
    assert isinstance(value.type, TensorType)
    dtype = value.type.dtype
    try:
        found = rule(Step(value, shape))
    except (TypeSpecError, ZeroDivisionError, IndexError, ValueError):  # not known, too long, or a call that cannot be
        return None
    elements = _each(lambda element: element if _fits(element, dtype) else None, found)
    if elements.shape != shape or (elements.size and all(element is None for element in elements.flat)):
        return None
    return _frozen(elements)


def _frozen(elements: Elements) -> Elements:
    elements.flags.writeable = False
    return elements


def _fits(element: Element, dtype: DType) -> bool:
    """Whether an element of a result is what it would be in the dtype: integers must not have wrapped around."""
    if isinstance(element, Dim):  # sizes are taken to be below 2**31
        return dtype.bits >= 32 and (dtype.kind == "int" or (dtype.kind == "uint" and is_never_negative(element)))
    if isinstance(element, int) and not isinstance(element, bool):
        info = np.iinfo(dtype.numpy) if dtype.numpy.kind in "iu" else None
        return info is not None and info.min <= element <= info.max
    return element is not None


def _each(function: Callable[..., Element], *arrays: Any) -> Elements:
    """A function of elements, applied to arrays that broadcast."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)


class Step:
    """One output of a node, while its elements are worked out from those of the inputs."""

    def __init__(self, value: Value, shape: tuple[int, ...]) -> None:
        assert value.node is not None and isinstance(value.type, TensorType)
        self.value = value
        self.node = value.node
        self.shape = shape
        self.dtype = value.type.dtype

    def input(self, index: int) -> TensorType:
        """The type of an input.

        Raises:
            ValueError: there is none.
        """
        value = self.node.inputs[index]
        if value is None or not isinstance(value.type, TensorType):
            raise ValueError("no tensor")
        return value.type

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def array(self, index: int) -> Elements:
        """The elements of an input, None for those not known.

        Raises:
            ValueError: it is not small.
        """
        value = self.node.inputs[index]
        found = contents(value)
        if found is not None:
            return found
        shape = None if value is None else _small_shape(value)
        if shape is None:
            raise ValueError("not small")
        return np.full(shape, None, object)

    def arrays(self) -> list[Elements]:
        """The elements of all inputs."""
        return [self.array(index) for index in range(len(self.node.inputs))]

    def ints(self, index: int) -> list[int]:
        """The elements of an input that are all known integers.

        Raises:
            ValueError: one is not.
        """
        found = [element for element in self.array(index).flat if isinstance(element, int)]
        if len(found) != self.array(index).size:
            raise ValueError("not known")
        return found

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is where it is absent.

        Raises:
            ValueError: its value is given only by the caller of a function.
        """
        found = self.node.attributes.get(name, default)
        if isinstance(found, (Opaque, Reference)):
            raise ValueError("not known")
        return found


_Rule: TypeAlias = Callable[[Step], Elements]


# What makes elements of sizes


def _shape(step: Step) -> Elements:
    shape = step.input(0).shape
    if shape is None:
        raise ValueError("unknown rank")
    return _listed(shape[slice(step.attribute("start", 0), step.attribute("end", None))])


def _size(step: Step) -> Elements:
    shape = step.input(0).shape
    if shape is None:
        raise ValueError("unknown rank")
    return _listed([_product(shape)]).reshape(())


def _product(sizes: Iterable[Element]) -> Element:
    total: Element = 1
    for size in sizes:
        total = _times(total, size)
    return total


def _listed(elements: Iterable[Element]) -> Elements:
    items = list(elements)
    array = np.empty(len(items), object)
    array[:] = items
    return array


# What moves elements


def _as_given(step: Step) -> Elements:
    return step.array(0).reshape(step.shape)


def _concat(step: Step) -> Elements:
    return np.concatenate(step.arrays(), axis=step.attribute("axis", 1))


def _gather(step: Step) -> Elements:
    indices = np.array(step.ints(1), int).reshape(step.array(1).shape)
    return np.asarray(np.take(step.array(0), indices, axis=step.attribute("axis", 0)), dtype=object)


def _slice(step: Step) -> Elements:
    array = step.array(0)
    if "starts" in step.node.attributes:  # up to opset 9
        starts, ends = step.attribute("starts"), step.attribute("ends")
        axes, steps = step.attribute("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = step.ints(1), step.ints(2)
        axes = step.ints(3) if step.has(3) else range(len(starts))
        steps = step.ints(4) if step.has(4) else [1] * len(starts)
    for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
        array = np.take(array, range(array.shape[axis])[_bounds(start, end, by, array.shape[axis])], axis=axis)
    return array


def _bounds(start: int, end: int, by: int, size: int) -> slice:
    """The slice that means in Python what the bounds mean in ONNX, where -size - 1 and below is before the start."""
    first = start + size if start < 0 else start
    last = end + size if end < 0 else end
    if by > 0:
        return slice(max(first, 0), max(last, 0), by)
    return slice(min(max(first, 0), size - 1), last if last >= 0 else None, by)


def _split(step: Step) -> Elements:
    axis = step.attribute("axis", 0)
    before = [output.type for output in step.node.outputs[: step.value.index]]
    sizes = [kind.shape[axis] for kind in before if isinstance(kind, TensorType) and kind.shape is not None]
    start = sum(size for size in sizes if isinstance(size, int))
    if len(sizes) < len(before) or not all(isinstance(size, int) for size in sizes):
        raise ValueError("not known")
    return np.take(step.array(0), range(start, start + step.shape[axis]), axis=axis)


def _transpose(step: Step) -> Elements:
    return np.transpose(step.array(0), step.attribute("perm"))


def _expand(step: Step) -> Elements:
    return np.broadcast_to(step.array(0), step.shape)


def _tile(step: Step) -> Elements:
    return np.tile(step.array(0), step.ints(1))


def _filled(step: Step) -> Elements:
    value = step.attribute("value")
    return np.full(step.shape, 0.0 if value is None else value.reshape(()).item(), object)


def _range(step: Step) -> Elements:
    (start,), (_,), (by,) = step.ints(0), step.ints(1), step.ints(2)
    return _listed(range(start, start + by * step.shape[0], by))


def _constant(step: Step) -> Elements:
    for name in ("value_int", "value_float", "value_ints", "value_floats"):
        if name in step.node.attributes:
            return np.array(step.attribute(name), dtype=object)
    raise ValueError("not numbers")


# Arithmetic of integers


def _integers(function: Callable[..., Element]) -> _Rule:
    """The rule of an elementwise operator, on integers and bools."""

    def rule(step: Step) -> Elements:
        if any(step.input(index).dtype.kind == "float" for index in range(len(step.node.inputs))):
            raise ValueError("floats are not followed")
        return _each(function, *step.arrays())

    return rule


def _folded(function: Callable[..., Element], start: int | None = None) -> _Rule:
    """The rule of a reduction that leaves one element, or of each element alone."""

    def rule(step: Step) -> Elements:
        array = step.array(0)
        if array.shape == step.shape and array.size != 1 and step.attribute("noop_with_empty_axes", 0):
            return array
        if prod(step.shape) != 1 or step.dtype.kind == "float" or not (array.size or start is not None):
            raise ValueError("not one element")
        elements: list[Any] = list(array.flat)
        found = reduce(function, elements) if elements else start
        return _listed([found]).reshape(step.shape)

    return rule


def _each_of_many(function: Callable[[Any, Any], Element]) -> _Rule:
    """The rule of an elementwise operator of any number of inputs."""
    return _integers(lambda *sides: reduce(function, sides))


def _where_known(function: Callable[..., Element]) -> Callable[..., Element]:
    return lambda *sides: None if None in sides else function(*sides)


def _quotient(left: Any, right: Any) -> Element:
    """The quotient rounded towards zero."""
    if isinstance(right, int) and right < 0:
        left, right = -left, -right
    if isinstance(left, int) and isinstance(right, int):
        return left // right if left >= 0 else -(-left // right)
    if not is_never_negative(right):
        return None
    if is_never_negative(left):
        return left // right  # type: ignore[no-any-return]
    return -(-left // right) if is_never_negative(-left) else None


def _remainder(step: Step) -> Elements:
    truncated = step.attribute("fmod", 0)

    def remainder(left: Any, right: Any) -> Element:
        if not truncated:
            return left % right  # type: ignore[no-any-return]
        quotient = _quotient(left, right)
        return None if quotient is None else left - quotient * right

    return _integers(_where_known(remainder))(step)


def _less(left: Any, right: Any) -> bool | None:
    return True if is_never_negative(right - left - 1) else False if is_never_negative(left - right) else None


def _equal(left: Any, right: Any) -> bool | None:
    if left == right:
        return True
    return False if _less(left, right) or _less(right, left) else None


def _absolute(element: Any) -> Element:
    return element if is_never_negative(element) else -element if is_never_negative(-element) else None


def _not(element: Any) -> Element:
    return None if element is None else not element


def _both(left: Any, right: Any) -> Element:
    return False if left is False or right is False else None if None in (left, right) else True


def _either(left: Any, right: Any) -> Element:
    return _not(_both(_not(left), _not(right)))


def _choice(condition: Any, one: Element, other: Element) -> Element:
    if condition is None:
        return one if one == other else None
    return one if condition else other


def _where(step: Step) -> Elements:
    return _each(_choice, *step.arrays())


def _clip(step: Step) -> Elements:
    low, high = (step.array(i) if step.has(i) else None for i in (1, 2))
    found = step.array(0)
    if step.dtype.kind == "float" or "min" in step.node.attributes or "max" in step.node.attributes:
        raise ValueError("floats are not followed")
    if low is not None:
        found = _each(_where_known(maximum), found, low)
    return found if high is None else _each(_where_known(minimum), found, high)


def _cast(step: Step) -> Elements:
    target = step.dtype

    def cast(element: Any) -> Element:
        if isinstance(element, Dim):
            return element if target.kind in ("int", "uint") else (_less(0, element) if target.kind == "bool" else None)
        if element is None or target.numpy.kind not in "iufb":
            return None
        if isinstance(element, int) and target.kind in ("int", "uint"):
            return int(element)
        if isinstance(element, float) and target.kind in ("int", "uint"):
            return int(element) if abs(element) < 2**63 else None
        return np.asarray(element).astype(target.numpy).item()  # type: ignore[no-any-return]

    with np.errstate(invalid="ignore"):  # comparing NaN raises the processor's flag, which NumPy then reports
        return _each(cast, step.array(0))


_times = _where_known(lambda left, right: left * right)
_plus = _where_known(lambda left, right: left + right)

_RULES: dict[str, _Rule] = {
    "Abs": _integers(_where_known(_absolute)),
    "Add": _integers(_plus),
    "And": _integers(_both),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Div": _integers(_where_known(_quotient)),
    "Equal": _integers(_where_known(_equal)),
    "Expand": _expand,
    "Flatten": _as_given,
    "Gather": _gather,
    "Greater": _integers(_where_known(lambda left, right: _less(right, left))),
    "GreaterOrEqual": _integers(_where_known(lambda left, right: _not(_less(left, right)))),
    "Identity": _as_given,
    "Less": _integers(_where_known(_less)),
    "LessOrEqual": _integers(_where_known(lambda left, right: _not(_less(right, left)))),
    "Max": _each_of_many(_where_known(maximum)),
    "Min": _each_of_many(_where_known(minimum)),
    "Mod": _remainder,
    "Mul": _integers(_times),
    "Neg": _integers(_where_known(lambda element: -element)),
    "Not": _integers(_not),
    "Or": _integers(_either),
    "Range": _range,
    "ReduceMax": _folded(_where_known(maximum)),
    "ReduceMin": _folded(_where_known(minimum)),
    "ReduceProd": _folded(_times, 1),
    "ReduceSum": _folded(_plus, 0),
    "Reshape": _as_given,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _as_given,
    "Sub": _integers(_where_known(lambda left, right: left - right)),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _as_given,
    "Where": _where,
    "Xor": _integers(_where_known(lambda left, right: left != right)),
}
"""How the elements of an operator's output follow from those of its inputs."""
