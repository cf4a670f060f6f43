"""What onnxscript's rewriter and ONNX's optimizer are known to rewrite, restated as rules of ours.

Each case is a rule, the text of a graph before, and its nodes after; both compute the same. Not restated: what has
several roots (two slices that become a Split, three projections that become one), which no pattern of ours can say.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op

OPSET = 18


class Case(NamedTuple):
    """A rule, and what it makes of a graph."""

    rule: gd.Rule
    before: str
    after: list[str]
    exact: bool = True


def restated(
    pattern: Callable[..., Any], before: str, *after: str, exact: bool = True, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a case of a rule's function."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        CASES[function.__name__] = Case(gd.rule(pattern, **options)(function), before, list(after), exact)
        return function

    return decorate


CASES: dict[str, Case] = {}


def only(tensor: gd.Tensor | None) -> Any:
    """The number that a constant of one element holds; None where it is no such constant."""
    return None if tensor is None or tensor.value is None or tensor.value.size != 1 else tensor.value.item()


def wider(dtype: gd.DType, than: gd.DType) -> bool:
    return dtype.kind == than.kind == "float" and dtype.bits >= than.bits


@restated(
    lambda x, a, b: op.Cast(op.Cast(x, to=a), to=b),
    "(float[3] x) => (float16[3] y) { a = Cast <to = 11> (x) y = Cast <to = 10> (a) }",
    "y = Cast <to = 10> (x)",
)
def cast_of_cast(x, a, b):
    inner = {gd.float64.code: gd.float64, gd.float32.code: gd.float32}.get(a)
    return op.Cast(x, to=b) if inner is not None and wider(inner, x.dtype) else None


@restated(
    lambda x, t: op.Cast(x, to=t),
    "(float[3] x) => (float[3] y) { a = Cast <to = 1> (x) y = Neg (a) }",
    "y = Neg (x)",
)
def cast_to_the_same(x, t):
    return x if x.dtype.code == t else None


@restated(
    lambda x, s: op.Expand(x, s),
    "(float[2, 3] x) => (float[2, 3] y) <int64[2] s = {2, 3}> { a = Expand (x, s) y = Neg (a) }",
    "y = Neg (x)",
)
def expand_to_the_same(x, s):
    return x if s.value is not None and tuple(s.value.tolist()) == x.shape else None


@restated(
    lambda x, s, t: op.Reshape(op.Reshape(x, s), t),
    "(float[2, 6] x) => (float[4, 3] y) <int64[1] s = {12}, int64[2] t = {4, 3}> "
    "{ a = Reshape (x, s) y = Reshape (a, t) }",
    "y = Reshape (x, t)",
)
def reshape_of_reshape(x, s, t):
    return op.Reshape(x, t) if t.value is not None and (t.value > 0).all() else None


@restated(
    lambda x, p: op.Transpose(x, perm=p),
    "(float[2, 3] x) => (float[2, 3] y) { a = Transpose <perm = [0, 1]> (x) y = Neg (a) }",
    "y = Neg (x)",
)
def transpose_of_nothing(x, p):
    return x if list(p) == sorted(p) else None


@restated(
    lambda x, p, q: op.Transpose(op.Transpose(x, perm=p), perm=q),
    "(float[2, 3, 4] x) => (float[4, 2, 3] y) "
    "{ a = Transpose <perm = [1, 2, 0]> (x) y = Transpose <perm = [1, 2, 0]> (a) }",
    "y = Transpose <perm = [2, 0, 1]> (x)",
)
def transpose_of_transpose(x, p, q):
    return op.Transpose(x, perm=[p[i] for i in q])


@restated(
    lambda x, a, b: op.Unsqueeze(op.Unsqueeze(x, a), b),
    "(float[3] x) => (float[1, 1, 3] y) <int64[1] a = {0}, int64[1] b = {1}> "
    "{ c = Unsqueeze (x, a) y = Unsqueeze (c, b) }",
    "y = Unsqueeze (x, const_0)",
)
def unsqueeze_of_unsqueeze(x, a, b):
    first, second = only(a), only(b)
    if first is None or second is None or first < 0 or second < 0:
        return None
    return op.Unsqueeze(x, sorted([first + (first >= second), second]))


@restated(
    lambda x, a, s: op.Reshape(op.Squeeze(x, a), s),
    "(float[1] x) => (float[1] y) <int64[1] a = {0}, int64[1] s = {1}> { c = Squeeze (x, a) y = Reshape (c, s) }",
    "y = Identity (x)",
)
def squeeze_and_back(x, a, s):
    return op.Identity(x) if x.shape == (1,) and s.value is not None and s.value.tolist() in ([1], [-1]) else None


@restated(
    lambda x, a: op.Flatten(x, axis=a),
    "(float[2, 3, 4] x) => (float[2, 12] y) { y = Flatten (x) }",
    "y = Reshape (x, const_0)",
)
def flatten_to_reshape(x, a):
    rows = int(np.prod(x.shape[:a])) if x.shape and all(isinstance(d, int) for d in x.shape) else None
    return None if rows is None else op.Reshape(x, [rows, -1])


@restated(
    lambda s, v, t: op.Cast(op.ConstantOfShape(s, value=v), to=t),
    "(int64[2] s) => (int64[a, b] y) { a = ConstantOfShape <value = float[1] {3}> (s) y = Cast <to = 7> (a) }",
    "y = ConstantOfShape <value = int64[1] {3}> (s)",
)
def cast_of_constant_of_shape(s, v, t):
    return op.ConstantOfShape(s, value=v.astype(np.int64)) if t == gd.int64.code else None


@restated(
    lambda s, t: op.Cast(op.ConstantOfShape(s), to=t),
    "(int64[2] s) => (int64[a, b] y) { a = ConstantOfShape (s) y = Cast <to = 7> (a) }",
    "y = ConstantOfShape <value = int64[1] {0}> (s)",
)
def cast_of_zeros(s, t):
    return op.ConstantOfShape(s, value=np.zeros(1, np.int64)) if t == gd.int64.code else None


@restated(
    lambda x, begin, end, axes, step: op.Slice(x, begin, end, axes, step),
    "(float[4, 3] x) => (float[4, 3] y) <int64[1] b = {0}, int64[1] e = {9223372036854775807}, int64[1] a = {0}, "
    "int64[1] s = {1}> { c = Slice (x, b, e, a, s) y = Neg (c) }",
    "y = Neg (x)",
)
def slice_of_all(x, begin, end, axes, step):
    whole = only(begin) == 0 and only(step) == 1 and only(axes) is not None
    return x if whole and (only(end) or 0) >= x.shape[only(axes)] else None


@restated(
    lambda x, w, b, scale, bias, mean, var, e: op.BatchNormalization(
        op.Conv(x, w, b), scale, bias, mean, var, epsilon=e
    ),
    "(float[1, 1, 4, 4] x) => (float[1, 2, 3, 3] y) <float[2, 1, 2, 2] w = {1, 2, 3, 4, 5, 6, 7, "
    "8}, float[2] b = {1, 2}, "
    "float[2] s = {0.5, 2}, float[2] o = {1, 0}, float[2] m = {0.5, 1}, float[2] v = {1, 4}> "
    "{ c = Conv (x, w, b) y = BatchNormalization <epsilon = 0.0> (c, s, o, m, v) }",
    "y = Conv (x, const_0, const_1)",
    exact=False,
)
def batch_norm_into_conv(x, w, b, scale, bias, mean, var, e):
    parts = [t.value for t in (w, b, scale, bias, mean, var)]
    if any(part is None for part in parts):
        return None
    weight, shift, gain, offset, centre, spread = parts
    factor = gain / np.sqrt(spread + np.float32(e))
    return op.Conv(x, weight * factor.reshape(-1, 1, 1, 1), (shift - centre) * factor + offset)


@restated(
    lambda x, w, b, scale, bias, mean, var: op.BatchNormalization(op.Gemm(x, w, b), scale, bias, mean, var),
    "(float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {1, 2, 3, 4}, float[2] b = {1, 2}, float[2] s = {0.5, 2}, "
    "float[2] o = {1, 0}, float[2] m = {0.5, 1}, float[2] v = {1, 4}> "
    "{ c = Gemm (x, w, b) y = BatchNormalization (c, s, o, m, v) }",
    "y = Gemm (x, const_0, const_1)",
    exact=False,
)
def batch_norm_into_gemm(x, w, b, scale, bias, mean, var):
    factor = scale.value / np.sqrt(var.value + np.float32(1e-5))
    return op.Gemm(x, w.value * factor, (b.value - mean.value) * factor + bias.value)


@restated(
    lambda x, w, s, o: op.Conv(x * s + o, w),
    "(float[1, 1, 4, 4] x) => (float[1, 1, 3, 3] y) <float s = {2}, float o = {1}, float[1, 1, 2, 2] w = {1, 2, 3, 4}> "
    "{ a = Mul (x, s) b = Add (a, o) y = Conv (b, w) }",
    "y = Conv (x, const_0, const_1)",
    exact=False,
)
def affine_into_conv(x, w, s, o):
    if only(s) is None or only(o) is None or w.value is None:
        return None
    return op.Conv(x, w.value * np.float32(only(s)), w.value.sum(axis=(1, 2, 3)) * np.float32(only(o)))


@restated(
    lambda x: x * op.Clip(x + 3, 0, 6) / 6,
    "(float[5] x) => (float[5] y) <float three = {3}, float zero = {0}, float six = {6}> "
    "{ a = Add (x, three) b = Clip (a, zero, six) c = Mul (x, b) y = Div (c, six) }",
    "y = HardSwish (x)",
    exact=False,
)
def hard_swish(x):
    return op.HardSwish(x)


@restated(
    lambda x, p, w, **attrs: op.Conv(op.Pad(x, p), w, **attrs),
    "(float[1, 1, 3, 3] x) => (float[1, 1, 4, 4] y) <int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}, "
    "float[1, 1, 2, 2] w = {1, 2, 3, 4}> { a = Pad (x, p) y = Conv <group = 1> (a, w) }",
    "y = Conv <group = 1, pads = [1, 1, 1, 1]> (x, w)",
)
def pad_into_conv(x, p, w, **attrs):
    if p.value is None or p.value[[0, 1, 4, 5]].any() or "pads" in attrs or "auto_pad" in attrs:
        return None
    return op.Conv(x, w, pads=p.value[[2, 3, 6, 7]].tolist(), **attrs)


@restated(lambda x: op.Relu(op.Relu(x)), "(float[3] x) => (float[3] y) { a = Relu (x) y = Relu (a) }", "y = Relu (x)")
def relu_of_relu(x):
    return op.Relu(x)


@restated(
    lambda x, lo, hi: op.Relu(op.Clip(x, lo, hi)),
    "(float[3] x) => (float[3] y) <float lo = {-1}, float hi = {2}> { a = Clip (x, lo, hi) y = Relu (a) }",
    "y = Clip (x, const_0, hi)",
)
def relu_of_clip(x, lo, hi):
    return None if only(lo) is None else op.Clip(x, np.float32(max(only(lo), 0)), hi)


@restated(
    lambda x, lo, hi: op.Max(op.Min(x, hi), lo),
    "(float[3] x) => (float[3] y) <float lo = {-1}, float hi = {2}> { a = Min (x, hi) y = Max (a, lo) }",
    "y = Clip (x, lo, hi)",
)
def min_and_max_to_clip(x, lo, hi):
    return op.Clip(x, lo, hi) if lo.rank == hi.rank == 0 and None not in (lo.value, hi.value) else None


@restated(
    lambda a, b, c: op.Gemm(a, b, c),
    "(float[2, 3] a, float[3, 4] b, float[4] c) => (float[2, 4] y) { y = Gemm (a, b, c) }",
    "MatMul_0 = MatMul (a, b)",
    "y = Add (MatMul_0, c)",
    exact=False,
)
def gemm_to_matmul(a, b, c):
    return a @ b + c


@restated(
    lambda a, b, c, p: op.Transpose(a, perm=p) @ b + c,
    "(float[3, 2] a, float[3, 4] b, float[4] c) => (float[2, 4] y) "
    "{ t = Transpose (a) m = MatMul (t, b) y = Add (c, m) }",
    "y = Gemm <transA = 1> (a, b, c)",
    exact=False,
)
def transposed_matmul_to_gemm(a, b, c, p):
    return op.Gemm(a, b, c, transA=1) if a.rank == b.rank == 2 and p == (1, 0) else None


@restated(
    lambda x, s, y: op.Expand(x, s) + y,
    "(float[3] x, float[2, 3] z) => (float[2, 3] y) <int64[2] s = {2, 3}> { a = Expand (x, s) y = Add (z, a) }",
    "y = Add (x, z)",
)
def expand_before_add(x, s, y):
    return x + y if s.value is not None and tuple(s.value.tolist()) == y.shape else None


@restated(
    lambda x, w, b: op.Conv(x, w, b),
    "(float[1, 1, 3, 3] x, float[2, 1, 2, 2] w) => (float[1, 2, 2, 2] y) <float[2] b = {0, 0}> { y = Conv (x, w, b) }",
    "y = Conv (x, w)",
)
def bias_of_zeros(x, w, b):
    return op.Conv(x, w) if b.value is not None and not b.value.any() else None


@restated(
    lambda x: gd.any_of(x + np.float32(-0.0), x - 0, x * 1, x / 1),
    "(float[3] x) => (float[3] y) <float zero = {0}, float one = {1}> "
    "{ a = Sub (x, zero) b = Mul (one, a) c = Div (b, one) y = Neg (c) }",
    "y = Neg (x)",
)
def neutral_elements(x):
    return x


@restated(
    lambda x, ratio=None: op.Dropout(x, ratio),
    "(float[3] x) => (float[3] y) <float r = {0.5}> { a = Dropout (x, r) y = Neg (a) }",
    "y = Neg (x)",
)
def dropout_at_inference(x, ratio):
    return x


@restated(
    lambda x, s, e: x * op.Reciprocal(op.Sqrt(op.ReduceMean(x**2, [-1]) + e)) * s,
    "(float[2, 4] x, float[4] s) => (float[2, 4] y) <float two = {2}, float e = {0.00001}, int64[1] axis = {-1}> "
    "{ a = Pow (x, two) b = ReduceMean (a, axis) c = Add (b, e) d = Sqrt (c) f = Reciprocal (d) g = Mul (x, f) "
    "y = Mul (s, g) }",
    "LpNormalization_0 = LpNormalization (x)",
    "Mul_0 = Mul (LpNormalization_0, const_0)",
    "y = Mul (Mul_0, s)",
    exact=False,
)
def root_mean_square(x, s, e):
    """The operator itself is of opset 23, so the norm of opset 1 stands in: x / |x| * sqrt(n)."""
    return op.LpNormalization(x) * np.float32(np.sqrt(x.shape[-1])) * s if (only(e) or 1) < 1e-4 else None


@restated(
    lambda *xs, a: op.Concat(op.Concat(*xs, axis=a), axis=a),
    "(float[2] x, float[3] z) => (float[5] y) { a = Concat <axis = 0> (x, z) y = Concat <axis = 0> (a) }",
    "y = Concat <axis = 0> (x, z)",
)
def concat_of_concat(*xs, a):
    return op.Concat(*xs, axis=a)


@restated(
    lambda x, a: op.Log(op.Softmax(x, axis=a)),
    "(float[2, 3] x) => (float[2, 3] y) { a = Softmax (x) y = Log (a) }",
    "y = LogSoftmax <axis = -1> (x)",
    exact=False,
)
def log_of_softmax(x, a):
    return op.LogSoftmax(x, axis=a)


@restated(
    lambda x, a: op.Unsqueeze(op.ReduceSum(x, a, keepdims=0), a),
    "(float[2, 3] x) => (float[2, 1] y) <int64[1] a = {1}> "
    "{ b = ReduceSum <keepdims = 0> (x, a) y = Unsqueeze (b, a) }",
    "y = ReduceSum <keepdims = 1> (x, a)",
)
def reduce_and_unsqueeze(x, a):
    return op.ReduceSum(x, a, keepdims=1)


@restated(
    lambda a, b, c, p: op.Gemm(a, op.Transpose(b, perm=p), c),
    "(float[2, 3] a, float[4, 3] b, float[4] c) => (float[2, 4] y) "
    "{ t = Transpose <perm = [1, 0]> (b) y = Gemm (a, t, c) }",
    "y = Gemm <transB = 1> (a, b, c)",
)
def transpose_into_gemm(a, b, c, p):
    return op.Gemm(a, b, c, transB=1) if p == (1, 0) else None


@restated(
    lambda x, w, b: op.Conv(x, w) + b,
    "(float[1, 1, 3, 3] x, float[2, 1, 2, 2] w) => (float[1, 2, 2, 2] y) <float[1, 2, 1, 1] b = {1, 2}> "
    "{ a = Conv (x, w) y = Add (a, b) }",
    "y = Conv (x, w, const_0)",
    exact=False,
)
def bias_into_conv(x, w, b):
    if b.value is None or b.value.shape != (1, w.shape[0], 1, 1):
        return None
    return op.Conv(x, w, b.value.reshape(-1))


@restated(
    lambda x: gd.any_of(op.Ceil(op.Ceil(x)), op.Ceil(op.Floor(x)), op.Ceil(op.Round(x))),
    "(float[3] x) => (float[3] y) { a = Ceil (x) b = Ceil (a) c = Ceil (b) y = Neg (c) }",
    "c = Ceil (x)",
    "y = Neg (c)",
)
def idempotent(x):
    return op.Ceil(x)


@restated(
    lambda x, i: op.Gather(op.Shape(x), i),
    "(float[2, 3] x) => (int64[1] y) <int64[1] i = {1}> { s = Shape (x) a = Gather (s, i) y = Neg (a) }",
    "y = Neg (const_0)",
)
def size_that_is_known(x, i):
    size = x.shape[only(i)] if only(i) is not None else None
    return gd.constant(np.full(i.shape, size, np.int64)) if isinstance(size, int) else None


def nodes(model: gd.Model) -> list[str]:
    """The nodes of a model as its text shows them, without the types."""
    lines = str(model).split("{\n", 1)[1].splitlines()
    return [line.split("#")[0].strip() for line in lines if " = " in line]


def feeds(model: gd.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    drawn = {}
    for tensor in model.inputs:
        shape = [size if isinstance(size, int) else 2 for size in tensor.shape or ()]
        array = rng.normal(size=shape) * 2 if tensor.dtype.kind == "float" else np.full(shape, 2)
        drawn[tensor.name or ""] = array.astype(tensor.dtype.numpy)
    return drawn


@pytest.mark.parametrize("name", CASES)
def test_a_known_rewrite(name: str) -> None:
    case = CASES[name]
    model = gd.load(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {OPSET}]> g {case.before}'))
    result = gd.rewrite(model, case.rule)
    assert nodes(result.model) == case.after, result
    assert list(result.applied) == [name]
    onnx.checker.check_model(result.model.to_proto(), full_check=True)
    given = feeds(model)
    (want,), (got,) = model.run(given).values(), result.model.run(given).values()
    assert got.dtype == want.dtype
    if case.exact:
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_patterns_with_several_roots_are_refused() -> None:
    with pytest.raises(gd.RuleError, match="returns what one operator makes: an output, or several of one node"):
        gd.rule(lambda x, b, e, f: (op.Slice(x, b, e), op.Slice(x, e, f)))(lambda x: x)
