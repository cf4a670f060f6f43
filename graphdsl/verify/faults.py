"""What is said of a known fault of others, and what its conditions may ask of the node that shows it."""

import re
from collections.abc import Callable, Sequence
from itertools import combinations
from math import log
from typing import Any, NamedTuple

import numpy as np

from ..types import as_dtype
from .arrays import limits
from .origins import Origin


class Fault(NamedTuple):
    """A known fault of an operator, as a node shows it at which two witnesses differ."""

    heading: str
    """Its heading in docs/upstream.md."""
    operators: frozenset[str]
    witnesses: frozenset[str]
    """Who errs: one of the two that differ."""
    reason: str
    """A pattern that the reason begins with."""
    dtypes: frozenset[str]
    """Of the first input; empty for any."""
    where: Callable[[Origin], Any]
    """What attributes, values and the size of the difference have to be like."""

    def explains(self, origin: Origin, pair: Sequence[str]) -> bool:
        """Whether it is why the two witnesses, or the one that crashed, do what they do at this node."""
        return (
            origin.node.op_type in self.operators
            and not origin.node.domain
            and len(self.witnesses & set(pair)) == 1
            and re.match(self.reason, origin.difference.reason) is not None
            and (not self.dtypes or origin.dtype in self.dtypes)
            and bool(self.where(origin))
        )


# What is seen

VALUES, NUMBERS, NAN, INFINITIES = "other values", "numbers that differ", "NaN at", "infinities"
SHAPES, DTYPES, LENGTHS = "shapes", "dtypes", "sequences of other lengths"
ANY_NUMBERS = f"{VALUES}|{NUMBERS}|{NAN}|{INFINITIES}"
CRASH = r"\w+ crashed: SIGFPE"

# Who errs

RUNTIME = frozenset({"onnxruntime", "unoptimised"})
REFERENCE = frozenset({"reference"})
TORCH = frozenset({"torch"})

FLOATS = "float16 bfloat16 float32 float64"
INTEGERS = "int8 int16 int32 int64 uint8 uint16 uint32 uint64"


def always(origin: Origin) -> bool:
    """Whatever attributes and values are."""
    return True


def fault(
    witnesses: frozenset[str],
    heading: str,
    operators: str,
    reason: str,
    dtypes: str = "",
    where: Callable[[Origin], Any] = always,
) -> Fault:
    """A known fault; operators and dtypes are written in one text, spaces between."""
    return Fault(heading, frozenset(operators.split()), witnesses, reason, frozenset(dtypes.split()), where)


# Of values


def size(array: Any) -> float:
    """The largest number of an array, NaN and infinities aside."""
    sizes = np.abs(np.asarray(array, np.float64))
    return float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))


def is_finite(array: Any) -> bool:
    """Whether an array holds neither infinities nor NaN."""
    return bool(np.isfinite(np.asarray(array).astype(np.complex128)).all())


def has_nan(array: Any) -> bool:
    """Whether an array holds NaN."""
    return bool(np.isnan(np.asarray(array).astype(np.float64)).any())


def axes(o: Origin) -> list[int]:
    """The axes that a reduction is given."""
    given = next((v for v in (o.input("axes"), o.attribute("axes"), o.attribute("axis")) if v is not None), ())
    return [int(axis) for axis in np.ravel(given)]


def reached(o: Origin) -> float:
    """What a reduction may reach on its way, signs aside."""
    sizes = np.abs(o.x.astype(np.float64))
    if o.node.op_type == "ReduceProd":
        return float(np.prod(np.maximum(sizes, 1)))
    return float(np.sum(sizes**2 if o.node.op_type in ("ReduceSumSquare", "ReduceL2") else sizes))


def epsilon(o: Origin) -> float:
    """The distance from 1 to the next number of the dtype."""
    return float(limits(as_dtype(o.dtype)).eps)


def most(o: Origin) -> float:
    """The largest number of the dtype."""
    return float(limits(as_dtype(o.dtype)).max)


def inexact(o: Origin, number: float) -> bool:
    """Whether float64 does not hold an integer of this size exactly, or the dtype not at all."""
    return number >= min(2.0**53, most(o))


def strays(o: Origin) -> bool:
    """Whether powers of differences of the first input may be more or less than its dtype holds, and so are lost."""
    power, ends = max(2, o.attribute("p") or 0), limits(as_dtype(o.dtype))
    if float(o.x.size * (2 * size(o.x)) ** power) > float(ends.max):
        return True
    lost = (o.x.size * float(ends.smallest_normal)) ** (1 / power)  # the root of what is too small for the dtype
    if o.node.op_type == "LpNormalization":  # whose result is of the size of 1
        return bool(np.min(np.abs(o.x), where=o.x != 0, initial=np.inf) <= lost)
    return o.node.op_type in ("LpPool", "ReduceL2") and o.difference.gap <= lost


def underflows(o: Origin) -> bool:
    """Whether some exponential of a difference may fall below the normal range of the dtype."""
    return 2 * size(o.x) > -0.9 * log(float(limits(as_dtype(o.dtype)).smallest_normal))


def differ_in_halves(numbers: Sequence[Any]) -> bool:
    """Whether two int64 have the same upper halves, and lower ones that compare otherwise with a sign."""
    pairs = combinations(numbers, 2)
    return any(bool(np.any((a >> 32 == b >> 32) & ((a ^ b) >> 31 & 1 == 1))) for a, b in pairs)


def largest_gate(o: Origin) -> float:
    """What a recurrent operator may give a gate."""
    x, w, r = (size(item) for item in o.inputs[:3])
    b, h = (size(item) if item is not None else 0.0 for item in (o.input("B"), o.input("initial_h")))
    return float(o.x.shape[-1] * x * w + o.inputs[2].shape[-1] * r * max(h, 1.0) + 2 * b)


def largest_power(o: Origin) -> float:
    """The largest power that Pow is to give, signs aside."""
    return size(np.abs(o.x.astype(np.float64)) ** o.inputs[1].astype(np.float64))


def windows(o: Origin, name: str, otherwise: int) -> set[int]:
    """The values of an attribute of a pool along its axes."""
    return set(o.attribute(name) or (otherwise,))


def is_plain(o: Origin) -> bool:
    """Whether a pool has neither strides nor dilations, which the reference then computes by other code."""
    return windows(o, "strides", 1) == {1} == windows(o, "dilations", 1)
