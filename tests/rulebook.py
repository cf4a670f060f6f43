"""Rules that are right and rules that are wrong, each by its name, for the tests of the rule refuter.

They say in our words what rule sets of optimisers do, and what such rules get wrong. Other rules, on which the refuter
was never tuned, are in `held_out.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import graphdsl as gd
from graphdsl import op

WRONG: dict[str, gd.Rule] = {}
RIGHT: dict[str, gd.Rule] = {}


def _into(book: dict[str, gd.Rule], name: str, pattern: Callable[..., Any], function: Callable[..., Any]) -> None:
    book[name] = gd.rule(pattern, name=name)(function)


def _wrong(name: str, pattern: Callable[..., Any], function: Callable[..., Any]) -> None:
    _into(WRONG, name, pattern, function)


def _right(name: str, pattern: Callable[..., Any], function: Callable[..., Any]) -> None:
    _into(RIGHT, name, pattern, function)


def is_float(x: gd.Tensor) -> bool:
    return x.dtype.kind == "float"


def softmax_written_out(x: gd.Tensor, a: int) -> gd.Tensor:
    powers = np.exp(x - op.ReduceMax(x, [a]))
    return powers / op.ReduceSum(powers, [a])


_wrong("swapped operands", lambda x, y: x - y, lambda x, y: y - x)
_wrong("swapped factors", lambda x, y: op.Div(x, y), lambda x, y: op.Div(y, x))
_wrong("swapped matrices", lambda x, y: op.MatMul(x, y), lambda x, y: op.MatMul(y, x))
_wrong("a lost attribute", lambda x, a: op.LeakyRelu(x, alpha=a), lambda x: op.LeakyRelu(x))
_wrong("lost keepdims", lambda x, a, k: op.ReduceSum(x, a, keepdims=k), lambda x, a: op.ReduceSum(x, a))
_wrong("lost pads", lambda x, w, b, p: op.Conv(x, w, b, pads=p), lambda x, w, b: op.Conv(x, w, b))
_wrong(
    "lost padding of the output",
    lambda x, w, s, p: op.ConvTranspose(x, w, strides=s, output_padding=p),
    lambda x, w, s: op.ConvTranspose(x, w, strides=s),
)
_wrong("lost strides", lambda x, w, s: op.Conv(x, w, strides=s), lambda x, w: op.Conv(x, w))
_wrong(
    "a lost epsilon",
    lambda x, e, **attrs: op.BatchNormalization(x, e, e, e, e, **attrs),
    lambda x, e: op.BatchNormalization(x, e, e, e, e),
)
_wrong("a wrong axis", lambda x, a: op.Softmax(x, axis=a), lambda x: op.Softmax(x, axis=-1))
_wrong(
    "composed in the wrong order",
    lambda x, p, q: op.Transpose(op.Transpose(x, perm=p), perm=q),
    lambda x, p, q: op.Transpose(x, perm=[q[i] for i in p]),
)
_wrong("the root of a square", lambda x: op.Sqrt(x * x), lambda x: x)
_wrong("exp of log", lambda x: op.Exp(op.Log(x)), lambda x: x)
_wrong("log of softmax", lambda x, a: op.LogSoftmax(x, axis=a), lambda x, a: op.Log(op.Softmax(x, axis=a)))
_wrong("a lost broadcast", lambda x, y: x * 0 + y, lambda x, y: y)
_wrong("a branch that is smaller", lambda x, y: op.Where(x == x, y, y), lambda x, y: y)
_wrong(
    "a cast that rounds",
    lambda x: op.Cast(op.Cast(x, to=gd.float16), to=gd.float32),
    lambda x: op.Cast(x, to=gd.float32),
)
_wrong("a cast that truncates", lambda x, a: op.Cast(op.Cast(x, to=gd.int32), to=a), lambda x, a: op.Cast(x, to=a))
_wrong("an integer overflow", lambda x: op.Div(x * 2, 2), lambda x: x)
_wrong("an approximation", lambda x: op.Gelu(x), lambda x: op.Gelu(x, approximate="tanh"))
_wrong("a rougher approximation", lambda x: op.Gelu(x), lambda x: x * op.Sigmoid(x * 1.702))
_wrong("a coefficient", lambda x: x * 0.5, lambda x: x * 0.5000005)
_wrong("half of De Morgan", lambda x, y: op.Not(op.And(x, y)), lambda x, y: op.And(op.Not(x), op.Not(y)))
_wrong("absorption", lambda x, y: op.Min(op.Max(x, y), y), lambda x, y: x)
_wrong("less for less or equal", lambda x, y: x < y, lambda x, y: op.Not(y < x))
_wrong("comparisons of NaN", lambda x, y: op.Not(x < y), lambda x, y: x >= y)
_wrong("relu for abs", lambda x: op.Relu(x), lambda x: op.Abs(x))
_wrong("floor for round", lambda x: op.Floor(x), lambda x: op.Round(x) if x.dtype != gd.bfloat16 else None)
_wrong("what is infinite", lambda x: op.IsInf(x), lambda x: op.IsNaN(x - x))
_wrong("a product with zero", lambda x: x * 0.0, lambda x: op.Expand(op.CastLike(0.0, x), op.Shape(x)))
_wrong("another dtype", lambda x, y: x < y, lambda x, y: op.Cast(x < y, to=gd.int32))
_wrong("a condition that is too weak", lambda x, s: op.Reshape(x, s), lambda x, s: x if s.shape == (x.rank,) else None)

_wrong("a choice that a NaN decides otherwise", lambda x, y: op.Where(x < y, x, y), lambda x, y: op.Min(x, y))
_wrong(
    "an expansion to twos",
    lambda x, s: op.Expand(x, s),
    lambda x, s: x if s.value is not None and np.all(s.value == 2) else None,
)
_wrong(
    "sizes that nobody knows", lambda x, s: op.Expand(x, s), lambda x, s: x if x.type is op.Expand(x, s).type else None
)
_wrong("a dropout that trains", lambda x, r, t: op.Dropout(x, r, t), lambda x: x)
_wrong("a required attribute left out", lambda x, y: op.CastLike(x, y), lambda x: op.Cast(x))
_wrong(
    "a cast through a dtype of few digits",
    lambda x, a, b: op.Cast(op.Cast(x, to=a), to=b),
    lambda x, a, b: op.Cast(x, to=b) if a == gd.bfloat16.code else None,
)
_wrong(
    "a cast that loses the sign",
    lambda x, a, b: op.Cast(op.Cast(x, to=a), to=b),
    lambda x, a, b: op.Cast(x, to=b) if x.dtype.kind == "int" and a in (gd.uint16.code, gd.uint64.code) else None,
)

_right("commutation", lambda x, y: x + y, lambda x, y: y + x)
_right("reassociation", lambda x, y, z: (x + y) + z, lambda x, y, z: x + (y + z))
_right("reassociation of products", lambda x, y, z: (x * y) * z, lambda x, y, z: x * (y * z))
_right(
    "reassociation of matrices",
    lambda x, y, z: op.MatMul(op.MatMul(x, y), z),
    lambda x, y, z: op.MatMul(x, op.MatMul(y, z)) if x.rank == y.rank == z.rank == 2 else None,
)
_right("De Morgan", lambda x, y: op.Not(op.And(x, y)), lambda x, y: op.Or(op.Not(x), op.Not(y)))
_right("De Morgan's other law", lambda x, y: op.Not(op.Or(x, y)), lambda x, y: op.And(op.Not(x), op.Not(y)))
_right("a reciprocal", lambda x, y: x / y, lambda x, y: x * op.Reciprocal(y) if is_float(x) else None)
_right("sigmoid written out", lambda x: op.Sigmoid(x), lambda x: 1 / (1 + np.exp(-x)))
_right("sigmoid fused", lambda x: op.Reciprocal(op.Exp(-x) + 1), lambda x: op.Sigmoid(x))
_right(
    "gemm",
    lambda x, y: op.MatMul(x, y),
    lambda x, y: op.Gemm(x, y) if x.rank == y.rank == 2 and is_float(x) else None,
)
_right("gemm undone", lambda a, b, c: op.Gemm(a, b, c), lambda a, b, c: a @ b + c)
_right("tanh by sigmoid", lambda x: op.Tanh(x), lambda x: 2 * op.Sigmoid(2 * x) - 1)
_right("softmax written out", lambda x, a: op.Softmax(x, axis=a), softmax_written_out)
_right("relu twice", lambda x: op.Relu(op.Relu(x)), lambda x: op.Relu(x))
_right("neg twice", lambda x: op.Neg(op.Neg(x)), lambda x: x)
_right("a difference", lambda x, y: x + op.Neg(y), lambda x, y: x - y)
_right("a double", lambda x: x * 2, lambda x: x + x)
_right("not less", lambda x, y: op.Not(x < y), lambda x, y: x >= y if not is_float(x) else None)
_right("the other way round", lambda x, y: x > y, lambda x, y: y < x)
_right("abs of neg", lambda x: op.Abs(op.Neg(x)), lambda x: op.Abs(x))
_right(
    "relu before transpose",
    lambda x, p: op.Relu(op.Transpose(x, perm=p)),
    lambda x, p: op.Transpose(op.Relu(x), perm=p),
)
_right("log softmax fused", lambda x, a: op.Log(op.Softmax(x, axis=a)), lambda x, a: op.LogSoftmax(x, axis=a))
_right("a common factor", lambda x, y, z: x * y + x * z, lambda x, y, z: x * (y + z))
_right("the root of a square is abs", lambda x: op.Sqrt(x * x), lambda x: op.Abs(x))
_right(
    "a scale into weights",
    lambda x, w, s: op.Conv(x, w) * s,
    lambda x, w, s: op.Conv(x, w * s) if s.shape == () else None,
)
