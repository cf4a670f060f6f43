"""Rules on which the rule refuter was not tuned: what other rule sets do, restated, and the same with one mistake each.

onnxscript's rewriter, onnxoptimizer, onnxslim and ONNX Runtime's own optimiser have rules of these kinds.
"""

from typing import Any

import numpy as np

import graphdsl as gd
from graphdsl import op

WRONG: dict[str, gd.Rule] = {}
RIGHT: dict[str, gd.Rule] = {}


def _held(name: str, pattern: Any, right: Any, wrong: Any) -> None:
    RIGHT[name] = gd.rule(pattern, name=name)(right)
    WRONG[name] = gd.rule(pattern, name=f"{name}, wrong")(wrong)


_held(
    "sum of one axis after another",
    lambda x, a, b: op.ReduceSum(op.ReduceSum(x, a, keepdims=1), b, keepdims=1),
    lambda x, a, b: op.ReduceSum(x, op.Concat(a, b, axis=0), keepdims=1) if _disjoint(x, a, b) else None,
    lambda x, a, b: op.ReduceSum(x, a, keepdims=1) if _disjoint(x, a, b) else None,
)


def _alike(x: gd.Tensor, y: gd.Tensor) -> bool:
    return x.shape is not None and x.shape == y.shape and None not in x.shape


def _disjoint(x: gd.Tensor, a: gd.Tensor, b: gd.Tensor) -> bool:
    if a.value is None or b.value is None or x.rank is None or not a.value.size or not b.value.size:
        return False
    return not {int(i) % x.rank for i in a.value} & {int(i) % x.rank for i in b.value}


_held(
    "transpose moves through a unary operator",
    lambda x, p: op.Transpose(op.Exp(x), perm=p),
    lambda x, p: op.Exp(op.Transpose(x, perm=p)),
    lambda x, p: op.Exp(op.Transpose(x, perm=p[::-1])),
)
_held(
    "product of transposed matrices",
    lambda x, y: op.MatMul(op.Transpose(x, perm=[1, 0]), op.Transpose(y, perm=[1, 0])),
    lambda x, y: op.Transpose(op.MatMul(y, x), perm=[1, 0]),
    lambda x, y: op.Transpose(op.MatMul(x, y), perm=[1, 0]),
)
_held(
    "a sum of products with one matrix",
    lambda x, y, w: op.MatMul(x, w) + op.MatMul(y, w),
    lambda x, y, w: op.MatMul(x + y, w) if _alike(x, y) else None,
    lambda x, y, w: op.MatMul(x, w + w) if _alike(x, y) else None,
)
_held(
    "clip of clip",
    lambda x, a, b: op.Clip(op.Clip(x, a, b), a, b),
    lambda x, a, b: op.Clip(x, a, b),
    lambda x, a, b: op.Clip(x, b, a),
)
_held(
    "clip as relu",
    lambda x: op.Max(x, 0),
    lambda x: op.Relu(x) if x.dtype in (gd.float32, gd.float64) else None,
    lambda x: op.Abs(x),
)
_held(
    "minus of minus",
    lambda x, y: x - (-y),
    lambda x, y: x + y,
    lambda x, y: y - x,
)
_held(
    "softmax of a shifted tensor",
    lambda x: op.Softmax(x - op.ReduceMax(x, [-1], keepdims=1), axis=-1),
    lambda x: op.Softmax(x, axis=-1),
    lambda x: op.Softmax(x - op.ReduceMax(x, [0], keepdims=1), axis=0),
)
_held(
    "a concat of slices",
    lambda x, a: op.Concat(x, x, axis=a),
    lambda x, a: op.Concat(op.Identity(x), x, axis=a),
    lambda x, a: op.Concat(x, x, axis=0),
)
_held(
    "where with a negated condition",
    lambda c, x, y: op.Where(op.Not(c), x, y),
    lambda c, x, y: op.Where(c, y, x),
    lambda c, x, y: op.Where(c, x, y),
)
_held(
    "cast of a comparison",
    lambda x, y: op.Cast(x > y, to=gd.float32) * 2,
    lambda x, y: op.Where(x > y, np.float32(2), np.float32(0)),
    lambda x, y: op.Where(x >= y, np.float32(2), np.float32(0)),
)
_held(
    "squares",
    lambda x: op.Pow(x, 2),
    lambda x: x * x if x.dtype.kind == "float" else None,
    lambda x: x + x if x.dtype.kind == "float" else None,
)
_held(
    "flatten as reshape",
    lambda x: op.Flatten(x, axis=1),
    lambda x: op.Reshape(x, [0, -1]) if x.rank and x.rank > 1 and None not in x.shape and 0 not in x.shape else None,
    lambda x: op.Reshape(x, [-1, 1]) if x.rank and x.rank > 1 else None,
)
_held(
    "unsqueeze before squeeze",
    lambda x, a: op.Squeeze(op.Unsqueeze(x, a), a),
    lambda x, a: x,
    lambda x, a: op.Squeeze(x),
)
_held(
    "hard swish",
    lambda x: x * op.HardSigmoid(x, alpha=1 / 6, beta=0.5),
    lambda x: op.HardSwish(x) if x.dtype in (gd.float32, gd.float16) else None,
    lambda x: op.HardSwish(x * 2) if x.dtype in (gd.float32, gd.float16) else None,
)
_held(
    "elementwise and of a value with itself",
    lambda x: op.And(x, x),
    lambda x: x,
    lambda x: op.Not(x),
)
_held(
    "global average",
    lambda x: op.GlobalAveragePool(x),
    lambda x: op.ReduceMean(x, list(range(2, x.rank)), keepdims=1) if x.rank and x.rank > 2 else None,
    lambda x: op.ReduceMean(x, list(range(1, x.rank)), keepdims=1) if x.rank and x.rank > 2 else None,
)
