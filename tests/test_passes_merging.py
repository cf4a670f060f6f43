"""Passes that merge and fuse: nodes as text before and after, what stays, and what the outputs are worth."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from backend import on_runtime
from passing import applied, feeds_for, interface, lines, parsed

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.passes.rules.movement import is_lossless
from graphdsl.types import DTYPES

P = gd.passes
R = gd.passes.rules

MERGED = [
    (
        R.merge_transposes,
        "float[2,3,4] x",
        "float[3,2,4] y",
        "u = Transpose<perm=[1, 2, 0]>(x) y = Transpose<perm=[0, 2, 1]>(u)",
        ["y = Transpose[perm=[1, 0, 2]](x)"],
    ),
    (
        R.merge_transposes,
        "float[2,3] x",
        "float[2,3] y",
        "u = Transpose(x) v = Transpose(u) y = Relu(v)",
        ["y = Relu(x)"],
    ),
    (
        R.merge_reshapes,
        "float[2,3,4] x",
        "float[4,6] y",
        "a = Constant<value_ints=[6, 4]>() b = Constant<value_ints=[4, -1]>() u = Reshape(x, a) y = Reshape(u, b)",
        ["b = Constant[value_ints=[4, -1]]()", "y = Reshape(x, b)"],
    ),
    (
        R.merge_reshapes,
        "float[n,3,4] x",
        "float[n,4,3] y",
        "a = Constant<value_ints=[0, 12]>() b = Constant<value_ints=[0, 4, 3]>() u = Reshape(x, a) y = Reshape(u, b)",
        ["y = Reshape(x, b)"],
    ),
    (
        R.merge_reshapes,
        "float[2,3,4] x",
        "float[6,2,2] y",
        "a = Constant<value_ints=[6, 4]>() b = Constant<value_ints=[0, 2, 2]>() u = Reshape(x, a) y = Reshape(u, b)",
        ["y = Reshape(x, const_0)"],
    ),
    (
        R.reshape_of_flatten,
        "float[n,3,4] x",
        "float[n,4,3] y",
        "b = Constant<value_ints=[0, 4, 3]>() u = Flatten(x) y = Reshape(u, b)",
        ["y = Reshape(x, b)"],
    ),
    (
        R.reshape_of_squeeze,
        "float[2,1,6] x",
        "float[3,4] y",
        "a = Constant<value_ints=[1]>() b = Constant<value_ints=[3, -1]>() u = Squeeze(x, a) y = Reshape(u, b)",
        ["y = Reshape(x, b)"],
    ),
    (
        R.squeeze_of_unsqueeze,
        "float[2,3] x",
        "float[2,3] y",
        "a = Constant<value_ints=[0, 2]>() u = Unsqueeze(x, a) v = Squeeze(u, a) y = Relu(v)",
        ["y = Relu(x)"],
    ),
    (
        R.squeeze_of_unsqueeze,
        "float[1,3,1] x",
        "float[1,3,1] y",
        "a = Constant<value_ints=[0, -1]>() u = Squeeze(x, a) v = Unsqueeze(u, a) y = Relu(v)",
        ["y = Relu(x)"],
    ),
    (
        R.merge_casts,
        "int32[3] x",
        "float[3] y",
        "u = Cast<to=11>(x) v = Cast<to=1>(u) y = Relu(v)",
        ["v = Cast[to=1](x)", "y = Relu(v)"],
    ),
    (
        R.merge_casts,
        "float16[3] x",
        "float16[3] y",
        "u = Cast<to=1>(x) v = Cast<to=10>(u) y = Neg(v)",
        ["y = Neg(x)"],
    ),
    (
        R.merge_pads,
        "float[2,3] x",
        "float[6,3] y",
        "a = Constant<value_ints=[1, 0, 0, 0]>() b = Constant<value_ints=[1, 0, 2, 0]>() u = Pad(x, a) y = Pad(u, b)",
        ["y = Pad(x, const_0)"],
    ),
    (
        R.pad_into_conv,
        "float[1,2,5,5] x, float[3,2,3,3] w",
        "float[1,3,6,5] y",
        """a = Constant<value_ints=[0, 0, 1, 0, 0, 0, 1, 0]>() u = Pad(x, a)
        y = Conv<kernel_shape=[3, 3], pads=[0, 1, 1, 1]>(u, w)""",
        ["y = Conv[kernel_shape=[3, 3],pads=[1, 1, 2, 1]](x, w)"],
    ),
]


def named(case: Any) -> str:
    return case.name if isinstance(case, gd.Rule) else ""


@pytest.mark.parametrize("rule, given, gives, before, after", MERGED, ids=named)
def test_a_rule_merges_nodes_that_move_data(
    rule: gd.Rule, given: str, gives: str, before: str, after: list[str]
) -> None:
    model = gd.passes.constants_to_initializers(parsed(f"g ({given}) => ({gives}) {{ {before} }}"))
    result = gd.rewrite(model, rule)
    expected = [line.replace(",pads", ", pads") for line in after if "= Constant" not in line]
    assert lines(result.model) == expected
    assert result.applied == {rule.name: 1}
    applied(lambda m: gd.rewrite(m, rule).model, model)
    every_pass = gd.compose(P.merge_transposes, P.merge_reshapes, P.merge_casts, P.merge_pads)
    assert lines(every_pass(model)) == expected


@pytest.mark.parametrize(
    "given, gives, body",
    [
        (
            "float[2,3] x, int64[2] s",
            "float[a,b] y",
            "k = Constant<value_ints=[6]>() u = Reshape(x, k) y = Reshape(u, s)",
        ),
        ("float[3] x", "float[3] y", "u = Cast<to=7>(x) y = Cast<to=1>(u)"),
        ("int64[3] x", "int64[3] y", "u = Cast<to=11>(x) y = Cast<to=7>(u)"),
        ("float[3] x", "float[3] y", "u = Cast<to=10>(x) y = Cast<to=1>(u)"),
        (
            "float[5] x",
            "float[5] y",
            "a = Constant<value_ints=[-1, 0]>() b = Constant<value_ints=[1, 0]>() u = Pad(x, a) y = Pad(u, b)",
        ),
        (
            "float[5] x",
            "float[7] y",
            """a = Constant<value_ints=[1, 0]>() k = Constant<value_float=1.0>() u = Pad(x, a, k) y = Pad(u, a)""",
        ),
        ("float[5] x", "float[7] y", "a = Constant<value_ints=[1, 0]>() u = Pad<mode=\"edge\">(x, a) y = Pad(u, a)"),
        (
            "float[1,2,5] x, float[2,2,3] w",
            "float[1,2,5] y",
            "a = Constant<value_ints=[0,0,1,0,0,1]>() k = Constant<value_float=1.0>() u = Pad(x, a, k) y = Conv(u, w)",
        ),
        (
            "float[1,1,5] x, float[2,2,3] w",
            "float[1,2,3] y",
            "a = Constant<value_ints=[0,1,0,0,0,0]>() u = Pad(x, a) y = Conv(u, w)",
        ),
        (
            "float[1,2,5] x, float[2,2,3] w",
            "float[1,2,6] y",
            "a = Constant<value_ints=[0,0,1,0,0,0]>() u = Pad(x, a) y = Conv<auto_pad=\"SAME_UPPER\">(u, w)",
        ),
        (
            "float[2,3,4] x",
            "float[2,3,4] y, float[4,2,3] u",
            "u = Transpose<perm=[2, 0, 1]>(x) y = Transpose<perm=[1, 2, 0]>(u)",
        ),
    ],
)  # fmt: skip
def test_what_must_not_be_merged_stays(given: str, gives: str, body: str) -> None:
    model = P.constants_to_initializers(parsed(f"g ({given}) => ({gives}) {{ {body} }}"))
    every_pass = gd.compose(P.merge_transposes, P.merge_reshapes, P.merge_casts, P.merge_pads)
    assert lines(every_pass(model)) == lines(model)


def test_casts_that_are_called_lossless_are() -> None:
    """Held against NumPy: the values at the edges of each dtype come back from every dtype that keeps them."""
    dtypes = [d for d in DTYPES if d.kind in ("bool", "int", "uint", "float") and d.bits >= 8 and "8" not in d.name[5:]]
    for before in dtypes:
        if before.kind == "float":
            info = ml_dtypes.finfo(before.numpy)
            edges = [info.max, info.min, info.tiny, info.smallest_subnormal, 1 + info.eps, -0.0, np.inf, np.nan]
            values = np.array(edges).astype(before.numpy)
        elif before.kind == "bool":
            values = np.array([False, True])
        else:
            info = np.iinfo(before.numpy)
            values = np.array([info.min, info.max, info.max - 1, info.max // 2 + 1, 0, 1], before.numpy)
        for after in dtypes:
            with np.errstate(all="ignore"):
                back = values.astype(after.numpy).astype(before.numpy)
            kept = back.tobytes() == values.tobytes()
            assert kept or not is_lossless(before, after), (before, after)
    lossless = {(a.name, b.name) for a in dtypes for b in dtypes if a is not b and is_lossless(a, b)}
    assert {("float16", "float32"), ("int32", "float64"), ("bool", "float16"), ("uint8", "bfloat16")} <= lossless
    assert not lossless & {("int32", "float32"), ("int64", "float64"), ("bfloat16", "float16"), ("uint16", "float16")}


CONV = "float[1,1,3] x", "float[1,2,2] y", "float[2,1,2] w = {1, 2, 3, 4}, "
TRANSPOSED = "float[1,1,3] x", "float[1,2,4] y", "float[1,2,2] w = {1, 2, 3, 4}, "
STATISTICS = "float[2] s = {3, 4}, float[2] t = {1, 2}, float[2] m = {1, 2}, float[2] v = {3, 8}"
NORM = "y = BatchNormalization<epsilon=1.0, momentum=0.7>(u, s, t, m, v)"
ROWS = "float[2,4] x", "float[2,4] y", "float e = {0.5}, float two = {2}, float[4] s = {1, 2, 3, 4}, "
FUSED = [
    (R.batch_norm_into_conv, *CONV, STATISTICS, "u = Conv(x, w) " + NORM, "y = Conv(x, w_fused, w_fused_bias)"),
    (
        R.batch_norm_into_conv_transpose, *TRANSPOSED, STATISTICS, "u = ConvTranspose(x, w) " + NORM,
        "y = ConvTranspose(x, w_fused, w_fused_bias)",
    ),
    (R.add_into_conv, *CONV, "float[2,1] c = {5, 6}", "u = Conv(x, w) y = Add(c, u)", "y = Conv(x, w, c)"),
    (
        R.add_into_conv_transpose, *TRANSPOSED, "float c = {5}", "u = ConvTranspose(x, w) y = Add(u, c)",
        "y = ConvTranspose(x, w, c)",
    ),
    (
        R.mul_into_conv, *CONV, "float[2] b = {1, 1}, float[1] c = {5}", "u = Conv(x, w, b) y = Mul(u, c)",
        "y = Conv(x, w_fused, w_fused_bias)",
    ),
    (
        R.mul_into_conv_transpose, *TRANSPOSED, "float[1,2,1] c = {5, 6}", "u = ConvTranspose(x, w) y = Mul(u, c)",
        "y = ConvTranspose(x, w_fused, w_fused_bias)",
    ),
    (
        R.matmul_add_to_gemm, "float[2,3] x", "float[2,2] y", "float[3,2] w = {1,2,3,4,5,6}, ", "float[2] b = {1, 2}",
        "u = MatMul(x, w) y = Add(b, u)", "y = Gemm(x, w, b)",
    ),
    (
        R.erf_gelu, "float[4] x", "float[4] y", "float r = {1.4142135623730951}, ", "float o = {1}, float h = {0.5}",
        "a = Div(x, r) b = Erf(a) c = Add(b, o) d = Mul(x, c) y = Mul(d, h)", "y = Gelu(x)",
    ),
    (
        R.tanh_gelu, "float[4] x", "float[4] y", "float k = {0.044715}, float q = {0.7978845608028654}, ",
        "float o = {1}, float h = {0.5}, float n = {3}",
        "a = Pow(x, n) b = Mul(k, a) c = Add(x, b) d = Mul(c, q) e = Tanh(d) f = Add(o, e) g = Mul(h, x) y = Mul(g, f)",
        "y = Gelu[approximate=tanh](x)",
    ),
    (
        R.layer_norm, *ROWS, "int64[1] a = {1}",
        """m = ReduceMean(x, a) d = Sub(x, m) p = Pow(d, two) v = ReduceMean(p, a) w = Add(v, e) r = Sqrt(w)
        n = Div(d, r) y = Mul(n, s)""",
        "y = LayerNormalization[axis=-1, epsilon=0.5](x, s)",
    ),
    (
        R.layer_norm_shifted, *ROWS, "float[4] t = {4, 3, 2, 1}",
        "u = LayerNormalization<epsilon=0.5>(x, s) y = Add(t, u)",
        "y = LayerNormalization[axis=-1, epsilon=0.5](x, s, t)",
    ),
]  # fmt: skip


@pytest.mark.parametrize("rule, given, gives, weights, more, before, after", FUSED, ids=named)
def test_a_rule_fuses_nodes_that_compute(
    rule: gd.Rule, given: str, gives: str, weights: str, more: str, before: str, after: str
) -> None:
    model = parsed(f"g ({given}) => ({gives}) <{weights}{more}> {{ {before} }}", opset=20, ir=9)
    result = gd.rewrite(model, rule)
    assert lines(result.model) == [after]
    assert result.applied == {rule.name: 1}
    applied(lambda m: gd.rewrite(m, rule).model, model, exact=False)
    feeds = {"x": feeds_for(model)[0]}
    assert verify.equivalent(model, result.model, feeds=feeds).subject  # judged in float64
    assert lines(P.simplify(model)) == [after]


# Batch normalisation


def convolution(kind: str, dtype: gd.DType, group: int, *, bias: bool, seed: int = 1) -> gd.Model:
    """A convolution and what normalises it, with random constants."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype.numpy)  # noqa: E731
    x = gd.input("x", dtype[2, 4, 6, 5])
    w = gd.constant(draw(6, 4 // group, 3, 3) if kind == "Conv" else draw(4, 6 // group, 3, 3), "w")
    more = [draw(6)] if bias else []
    y = getattr(op, kind)(x, w, *more, group=group, strides=[2, 1], pads=[1, 1, 1, 1])
    scale, shift, mean, var = draw(6), draw(6), draw(6), np.abs(draw(6)) + dtype.numpy.type(0.1)
    return gd.build({"y": op.BatchNormalization(y, scale, shift, mean, var, epsilon=1e-3, momentum=0.8)})


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_batch_norm_goes_into_the_convolution(kind: str, group: int, bias: bool) -> None:
    model = convolution(kind, gd.float32, group, bias=bias)
    after = applied(P.fuse_batch_norm, model, exact=False)
    assert lines(after) == [lines(model)[0].split(" = ")[0].replace(f"{kind}_0", "y") + " = " + (
        f"{kind}[group={group}, pads=[1, 1, 1, 1], strides=[2, 1]](x, w_fused, w_fused_bias)"
    )]  # fmt: skip
    assert is_as_near(model, after)
    assert not is_as_near(model, convolution(kind, gd.float32, group, bias=bias, seed=2))


def is_as_near(before: gd.Model, after: gd.Model) -> bool:
    """Whether a model is about as near to what float64 gives as the one that it was made from."""
    feeds = feeds_for(before)
    truth = float64(before, feeds)
    errors = [np.abs(on_runtime(m.to_proto(), feeds)[0].astype(np.float64) - truth).max() for m in (before, after)]
    return bool(errors[1] <= 4 * errors[0] + 4 * np.spacing(np.float32(np.abs(truth).max())))


def float64(model: gd.Model, feeds: list[Any]) -> Any:
    """What a convolution and its normalisation come to in float64, by torch."""
    conv, norm = model.nodes
    x, *weights = [torch.from_numpy(a.astype(np.float64)) for a in (feeds[0], *(v.array for v in conv.inputs[1:]))]
    scale, shift, mean, var = [torch.from_numpy(v.array.astype(np.float64)) for v in norm.inputs[1:]]
    function = torch.nn.functional.conv2d if conv.op_type == "Conv" else torch.nn.functional.conv_transpose2d
    y = function(x, *weights, stride=(2, 1), padding=(1, 1), groups=conv.attributes["group"])
    return torch.nn.functional.batch_norm(y, mean, var, scale, shift, eps=norm.attributes["epsilon"]).numpy()


def test_batch_norm_of_other_dtypes() -> None:
    half = convolution("Conv", gd.float16, 1, bias=True)
    after = P.fuse_batch_norm(half)
    assert [node.op_type for node in after.nodes] == ["Conv"]
    assert after.nodes[0].inputs[1].array.dtype == np.float16
    (expected,), (found,) = (on_runtime(m.to_proto(), feeds_for(half)) for m in (half, after))
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=0.02, atol=0.1)


def test_batch_norm_that_trains_or_is_shared_stays() -> None:
    model = convolution("Conv", gd.float32, 1, bias=False)
    proto = model.to_proto()
    training = onnx.ModelProto.FromString(proto.SerializeToString())
    training.graph.node[1].attribute.append(onnx.helper.make_attribute("training_mode", 1))
    training.graph.node[1].output.extend(["m", "v"])
    assert len(P.fuse_batch_norm(training).nodes) == 2
    proto.graph.output.append(onnx.ValueInfoProto(name=proto.graph.node[0].output[0], type=proto.graph.output[0].type))
    assert len(P.fuse_batch_norm(proto).nodes) == 2
    statistics = gd.input("s", gd.float32[6])
    y = op.BatchNormalization(gd.input("x", gd.float32[1, 6, 2]), *[statistics] * 4)
    assert len(P.fuse_batch_norm(gd.build(y)).nodes) == 1
    infinite = convolution("Conv", gd.float32, 1, bias=False)
    infinite = gd.with_weights(infinite, {"const_2": np.full(6, np.inf, np.float32)})
    assert len(P.fuse_batch_norm(infinite).nodes) == 2


def small_convolution(change: Callable[[Any], Any], dtype: gd.DType, weight: float, bias: float = 0.0) -> gd.Model:
    """A convolution of one number, and what changes it."""
    x = gd.input("x", dtype[1, 1, 1])
    numbers = [np.full(shape, number, dtype.numpy) for shape, number in (((1, 1, 1), weight), ((1,), bias))]
    return gd.build({"y": change(op.Conv(x, *numbers))})


def scaled_by(factor: float) -> list[Callable[[Any], Any]]:
    """A product with a number, in two ways."""
    zero, one, scale = (np.float32([number]) for number in (0, 1, factor))
    return [lambda y: y * scale, lambda y: op.BatchNormalization(y, scale, zero, zero, one, epsilon=0.0)]


@pytest.mark.parametrize("way", [0, 1])
def test_no_weight_vanishes(way: int) -> None:
    """Zero times infinity is NaN."""
    model = small_convolution(scaled_by(-1e-30)[way], gd.float32, 1e-30)
    after = gd.compose(P.fuse_conv_scale, P.fuse_batch_norm)(model)
    assert after.nodes[0].inputs[1].array.tolist() == [[[-(2.0**-149)]]]
    for side in (model, after):
        assert on_runtime(side.to_proto(), [np.full((1, 1, 1), np.inf, np.float32)])[0] == -np.inf
    zero = small_convolution(scaled_by(-1e-30)[way], gd.float32, 0.0)
    assert gd.compose(P.fuse_conv_scale, P.fuse_batch_norm)(zero).nodes[0].inputs[1].array.tolist() == [[[0.0]]]


def test_a_bias_that_is_not_finite_is_not_folded() -> None:
    model = small_convolution(lambda y: y + np.float16([60000]), gd.float16, 1, 60000)
    assert [node.op_type for node in P.fuse_conv_scale(model).nodes] == ["Conv", "Add"]
    assert model(np.full((1, 1, 1), -60000, np.float16)) == 60000


# Gemm


@pytest.mark.parametrize(
    "a, b, c, fused",
    [
        ((2, 3), (3, 4), (4,), True),
        (("n", 3), (3, 4), (4,), True),
        (("n", 3), (3, 4), ("n", 1), True),
        ((2, 3), (3, 4), (), True),
        ((2, 3), (3, 4), (2, 4), True),
        ((1, 3), (3, 4), (2, 4), False),
        ((2, 3), (3, 1), (4,), False),
        ((2, 3), (3, 4), (1, 2, 4), False),
        ((5, 2, 3), (3, 4), (4,), False),
        ((2, 3), (5, 3, 4), (4,), False),
        ((2, 3), (3, 4), (None,), False),
        ((3,), (3, 4), (4,), False),
    ],
)
def test_matmul_and_add_become_gemm(a: Any, b: Any, c: Any, fused: bool) -> None:
    tensors = [gd.input(name, gd.float32[shape]) for name, shape in zip("abc", (a, b, c), strict=True)]
    for swapped in (False, True):
        product = tensors[0] @ tensors[1]
        y = tensors[2] + product if swapped else product + tensors[2]
        model = gd.build({"y": y}, inputs=tensors)
        after = P.fuse_matmul_add(model)
        assert lines(after) == (["y = Gemm(a, b, c)"] if fused else lines(model))
        if fused:
            applied(P.fuse_matmul_add, model, exact=False)


def test_integers_have_no_gemm() -> None:
    a, b = gd.input("a", gd.int32[2, 3]), gd.input("b", gd.int32[3, 4])
    assert len(P.fuse_matmul_add(gd.build({"y": a @ b + 1})).nodes) == 2


# Gelu and LayerNormalization


@pytest.mark.parametrize("form", range(6))
@pytest.mark.parametrize("dtype", [gd.float32, gd.float16], ids=str)
def test_gelu_by_erf(form: int, dtype: gd.DType) -> None:
    x = gd.input("x", dtype[3, 4])
    inner = x / 2**0.5 if form % 2 else x * 0.5**0.5
    grown = 1 + op.Erf(inner)
    y = [(x * grown) * 0.5, x * (0.5 * grown), (0.5 * x) * grown][form // 2]
    model = gd.build({"y": y})
    assert lines(P.fuse_gelu(model)) == ["y = Gelu(x)"]
    if dtype is gd.float32:
        applied(P.fuse_gelu, model, exact=False)


@pytest.mark.parametrize("form", range(4))
def test_gelu_by_tanh(form: int) -> None:
    x = gd.input("x", gd.float32[3, 4])
    k = (2 / np.pi) ** 0.5
    cube = [op.Pow(x, 3.0), x * x * x, x * (x * x), None][form]
    bent = x + 0.044715 * cube if cube is not None else x * (1 + 0.044715 * (x * x))
    model = gd.build({"y": 0.5 * x * (1 + op.Tanh(k * bent))})
    assert lines(applied(P.fuse_gelu, model, exact=False)) == ["y = Gelu[approximate=tanh](x)"]


def test_gelu_stays_before_opset_20_and_with_other_numbers() -> None:
    with gd.opset(17):
        x = gd.input("x", gd.float32[3])
        old = gd.build({"y": x * (op.Erf(x / 2**0.5) + 1) * 0.5})
    assert P.fuse_gelu(old) is old
    x = gd.input("x", gd.float32[3])
    assert len(P.fuse_gelu(gd.build({"y": x * (op.Erf(x / 1.5) + 1) * 0.5})).nodes) == 5


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("by", ["Pow", "Mul", "twice"])
@pytest.mark.parametrize("shifted", [False, True])
def test_layer_norm(opset: int, by: str, shifted: bool) -> None:
    with gd.opset(opset):
        x = gd.input("x", gd.float32["n", 3, 4])
        mean = op.ReduceMean(x, axes=[-1]) if opset < 18 else op.ReduceMean(x, [-1])
        moved = x - mean
        other = x - mean if by == "twice" else moved
        square = op.Pow(moved, 2.0) if by == "Pow" else other * other
        spread = op.ReduceMean(square, axes=[-1]) if opset < 18 else op.ReduceMean(square, [-1])
        y = moved / op.Sqrt(spread + 1e-5) * gd.constant(np.float32([1, 2, 3, 4]), "scale")
        y = y + gd.constant(np.float32([4, 3, 2, 1]), "shift") if shifted else y
        model = gd.build({"y": y})
    after = applied(P.fuse_layer_norm, model, exact=False)
    more = ", shift" if shifted else ""
    assert lines(after) == [f"y = LayerNormalization[axis=-1, epsilon=9.999999747378752e-06](x, scale{more})"]


@pytest.mark.parametrize("axes, scale", [([0], (4,)), ([-1], (3, 4)), ([-1], (1,)), ([-2], (4,))])
def test_layer_norm_over_other_axes_stays(axes: list[int], scale: tuple[int, ...]) -> None:
    x = gd.input("x", gd.float32[3, 4])
    moved = x - op.ReduceMean(x, axes)
    y = moved / op.Sqrt(op.ReduceMean(moved * moved, axes) + 1e-5) * np.ones(scale, np.float32)
    model = gd.build({"y": y})
    assert P.fuse_layer_norm(model) is model


def test_an_epsilon_that_makes_the_result_larger_stays() -> None:
    x = gd.input("x", gd.float32[3, 4])
    moved = x - op.ReduceMean(x, [-1])
    y = moved / op.Sqrt(op.ReduceMean(moved * moved, [-1]) + np.full((1, 1, 1), 1e-5, np.float32))
    model = gd.build({"y": y * np.ones(4, np.float32)})
    assert gd.rewrite(model, R.layer_norm, strict=True).model is model  # no type would change either


def test_float64_is_not_computed_in_float32() -> None:
    x = gd.input("x", gd.float64[3, 4])
    moved = x - op.ReduceMean(x, [-1])
    model = gd.build({"y": moved / op.Sqrt(op.ReduceMean(moved * moved, [-1]) + 1e-5) * np.ones(4)})
    assert P.fuse_layer_norm(model) is model


def test_all_rules_are_tested() -> None:
    fused = {case[0].name for case in FUSED}
    assert fused == {n for n in R.__all__ if getattr(R, n).function.__module__.endswith("fusion")}
    merged = {case[0].name for case in MERGED}
    assert merged == {n for n in R.__all__ if getattr(R, n).function.__module__.endswith("movement")}


def test_interfaces_are_compared() -> None:
    one = parsed("g (float[3] x) => (float[3] y) { y = Relu(x) }")
    other = parsed("g (float[3] x) => (float[n] y) { y = Relu(x) }")
    assert interface(one) != interface(other)
    with pytest.raises(AssertionError):
        applied(lambda model: other, one)
    with pytest.raises(AssertionError):
        applied(lambda model: parsed("g (float[3] x) => (float[3] y) { y = Neg(x) }"), one)
