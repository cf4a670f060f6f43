"""Sizes of inputs that must agree: refused where they never can, and on demand where they are not known to.

ONNX specification: Broadcasting.md; Operators.md, the operators named below.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import combinations
from typing import NamedTuple

from ..dims import Axis, is_never_negative
from ..types import Shape
from .call import Call, Unknown, axis_of

_strict: ContextVar[bool] = ContextVar("graphdsl_strict_shapes", default=False)


@contextmanager
def strict_shapes() -> Iterator[None]:
    """Refuse, for the code inside, sizes that must agree when the model runs but are not known to.

    ONNX lets a tensor of shape `(n,)` meet one of shape `(m,)`: the model fails when it runs, unless the sizes turn out
    equal or one of them 1. Inside this context such a call is refused where it is written, in this thread or task only.

    >>> import graphdsl as gd
    >>> x, y = gd.input("x", gd.float32["n"]), gd.input("y", gd.float32["m"])
    >>> (x + y).shape
    (None,)
    >>> with gd.strict_shapes():
    ...     x + y  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graphdsl.errors.InferenceError: Add: A has size n on axis 0 and B has size m on axis 0; they are not known to be ...
    """
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


class Pair(NamedTuple):
    """Two sizes that must be equal, each with its input and axis; `broadcasts`: or one of them 1."""

    left: Axis
    right: Axis
    at: tuple[int, int]
    other: tuple[int, int]
    broadcasts: bool


def check(call: Call) -> None:
    """Check that sizes which must agree can do so, or under `strict_shapes` that they do.

    Raises:
        ValueError: they cannot, or are not known to.
    """
    if call.schema.name == "Conv" and not call.schema.domain:
        _check_channels(call)
    for pair in _pairs(call):
        if differ(pair.left, pair.right) and not (pair.broadcasts and _may_be_one(pair)):
            alternative = ", or one of them 1" if pair.broadcasts else ""
            raise ValueError(f"{_sizes(call, pair)}; they must be equal{alternative}, and never are")
        if _strict.get() and _doubtful(pair):
            raise ValueError(f"{_sizes(call, pair)}; they are not known to be equal, and gd.strict_shapes is in force")


def _check_channels(call: Call) -> None:
    if not call.has(0) or not call.has(1):
        return
    try:
        have, need, groups = call.shape(0)[1], call.shape(1)[1], call.attribute("group", 1)
    except (Unknown, IndexError):
        return
    if need is not None and differ(have, need * groups):
        per = f" in each of {groups} groups" if groups != 1 else ""
        raise ValueError(f"X has {have} channels, but W expects {need}{per}")


def settled(call: Call) -> bool:
    """Whether the answer is the same under `strict_shapes` and without."""
    return not any(map(_doubtful, _pairs(call)))


def differ(left: Axis, right: Axis) -> bool:
    """Whether two sizes are never equal."""
    if left is None or right is None or left == right:
        return False
    return is_never_negative(left - right - 1) or is_never_negative(right - left - 1)


def _doubtful(pair: Pair) -> bool:
    if pair.left is None or pair.right is None or (pair.broadcasts and 1 in (pair.left, pair.right)):
        return False
    return pair.left != pair.right


def _may_be_one(pair: Pair) -> bool:
    return not (differ(pair.left, 1) and differ(pair.right, 1))


def _sizes(call: Call, pair: Pair) -> str:
    (i, i_axis), (j, j_axis) = pair.at, pair.other
    first = f"{call.name(i)} has size {pair.left} on axis {i_axis}"
    return f"{first} and {call.name(j)} has size {pair.right} on axis {j_axis}"


def _pairs(call: Call) -> Iterator[Pair]:
    rule = _RULES.get(call.schema.name)
    if rule is None or call.schema.domain or call.schema.since < _SINCE.get(call.schema.name, 7):
        return
    try:
        yield from rule(call)
    except Unknown:
        return


def _equal(call: Call, at: tuple[int, int], other: tuple[int, int]) -> Pair:
    (i, i_axis), (j, j_axis) = at, other
    left, right = call.shape(i), call.shape(j)
    i_axis, j_axis = axis_of(i_axis, left), axis_of(j_axis, right)
    return Pair(left[i_axis], right[j_axis], (i, i_axis), (j, j_axis), False)


def _aligned(shapes: Mapping[int, Shape]) -> Iterator[Pair]:
    """The pairs of sizes of inputs that broadcast: the last axes go together."""
    for (i, a), (j, b) in combinations(shapes.items(), 2):
        for back in range(1, min(len(a), len(b)) + 1):
            yield Pair(a[-back], b[-back], (i, len(a) - back), (j, len(b) - back), True)


def _broadcast(call: Call) -> Iterator[Pair]:
    return _aligned(dict(enumerate(call.shapes())))


def _product(left: int, right: int) -> Callable[[Call], Iterator[Pair]]:
    def pairs(call: Call) -> Iterator[Pair]:
        a, b = call.shape(left), call.shape(right)
        yield _equal(call, (left, -1), (right, -2 if len(b) > 1 else -1))
        yield from _aligned({left: a[:-2], right: b[:-2]})

    return pairs


def _gemm(call: Call) -> Iterator[Pair]:
    if len(call.shape(0)) == len(call.shape(1)) == 2:
        yield _equal(call, (0, 0 if call.attribute("transA", 0) else 1), (1, 1 if call.attribute("transB", 0) else 0))


def _concat(call: Call) -> Iterator[Pair]:
    first = call.shape(0)
    joined = axis_of(call.attribute("axis", 1), first)
    for index in range(1, len(call.inputs)):
        for axis in range(len(first)):
            if axis != joined:
                yield _equal(call, (0, axis), (index, axis))


_ARITHMETIC = ["Add", "Div", "Max", "Mean", "Min", "Mod", "Mul", "Pow", "Sub", "Sum"]
_LOGIC = ["And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Or", "Where", "Xor"]
_COMPARISON = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]

_RULES: dict[str, Callable[[Call], Iterator[Pair]]] = {
    **dict.fromkeys([*_ARITHMETIC, *_LOGIC, *_COMPARISON], _broadcast),
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "QLinearMatMul": _product(0, 3),
}
"""The sizes that must agree, by operator."""

_SINCE = {"Concat": 1, "Gemm": 1, "MatMul": 1, "Max": 8, "Mean": 8, "Min": 8, "Sum": 8}
"""From which version on an operator is as the rules say, where that is not opset 7."""
