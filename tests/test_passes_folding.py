"""Folding: what becomes a constant, what never does, and that ONNX's own cases give what they gave."""

import json

import backend
import numpy as np
import onnx
import pytest
from backend import Case, differences, on_reference, on_runtime
from onnx import numpy_helper
from passing import applied, lines, parsed
from workers import Crash, each

import graphdsl as gd
from graphdsl import op
from graphdsl.passes import evaluation

P = gd.passes
fold = P.fold_constants


@pytest.mark.parametrize(
    "given, gives, body, left",
    [
        ("float[3] x", "float[3] y", "a = Sqrt(k) y = Mul(x, a)", ["y = Mul(x, a)"]),
        ("float[3] x", "float[3] y", "a = Add(k, k) b = Neg(a) y = Mul(x, b)", ["y = Mul(x, b)"]),
        ("float[2,3] x", "int64[2] y", "y = Shape(x)", []),
        ("float[n,3] x", "int64 y", "s = Shape(x) i = Constant<value_int=1>() y = Gather(s, i)", []),
        ("float[n,3] x", "int64[2] y", "y = Shape(x)", ["y = Shape(x)"]),
        ("float[2,3] x", "float[2,3] y", "s = Shape(x) o = ConstantOfShape(s) y = Add(x, o)", ["y = Add(x, o)"]),
    ],
)
def test_what_depends_on_constants_alone_is_computed(given: str, gives: str, body: str, left: list[str]) -> None:
    model = parsed(f"g ({given}) => ({gives}) <float k = {{4.0}}> {{ {body} }}")
    assert [line for line in lines(applied(fold, model)) if "= Constant" not in line] == left


def test_the_constant_has_the_name_of_what_it_replaces() -> None:
    after = applied(fold, parsed("g (float x) => (float y) <float k = {4.0}> { a = Sqrt(k) y = Mul(x, a) }"))
    (tensor,) = after.to_proto().graph.initializer
    assert (tensor.name, numpy_helper.to_array(tensor)) == ("a", 2.0)


def test_what_onnx_marks_as_random_and_draws_nothing_is_folded() -> None:
    x, k = gd.input("x", gd.float32[1, 4, 1, 1]), gd.constant(np.float32([[[[1, 2], [3, 4]]]]))
    after = fold(gd.build({"y": x + op.SpaceToDepth(k, blocksize=2)}))
    assert [node.op_type for node in after.nodes] == ["Add"]


@pytest.mark.parametrize(
    "body",
    [
        "a = RandomNormalLike(k) y = Mul(x, a)",
        "a = Bernoulli(k) y = Mul(x, a)",
        "a = my.Op(k) y = Mul(x, a)",
        "a = my.f(k) y = Mul(x, a)",
        "w = Constant<value=uint8 {3}>() a = DequantizeLinear(w, k) y = Mul(x, a)",
    ],
)
def test_what_must_not_be_folded_stays(body: str) -> None:
    functions = '<domain: "my", opset_import: ["" : 17]> f (a) => (c) { c = RandomNormalLike(a) }'
    model = parsed(
        f"g (float x) => (float y) <float k = {{1.0}}> {{ {body} }}", imports=', "my" : 1', functions=functions
    )
    assert fold(model) is model


@pytest.mark.parametrize(
    "dtype, body",
    [
        ("int64", "a = Div(p, z)"),  # fails when it runs
        ("int64", "a = Div(m, n)"),  # kills the runtime's process
        ("int32", "f = Constant<value=float {3e10}>() a = Cast<to=6>(f)"),  # not defined by the standard
        ("int32", "f = Constant<value=float {nan}>() a = Cast<to=6>(f)"),
    ],
)
def test_what_fails_or_is_not_defined_is_left_alone(dtype: str, body: str) -> None:
    least = -(2**63) if dtype == "int64" else -(2**31)
    values = f"{dtype} p = {{7}}, {dtype} z = {{0}}, {dtype} m = {{{least}}}, {dtype} n = {{-1}}"
    body = body.replace("{nan}", "{0.0}")
    model = parsed(f"g ({dtype} x) => ({dtype} y) <{values}> {{ {body} y = Add(x, a) }}")
    if "float {0.0}" in body:
        proto = model.to_proto()
        proto.graph.node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32("nan"), "f"))
        model = gd.load(proto)
    assert [node.op_type for node in fold(model).nodes] == [node.op_type for node in model.nodes]


class TestTheBudget:
    HUGE = "g (float[n] x) => (float[1000000000] y) <int64[1] s = {1000000000}> { o = ConstantOfShape(s) y = Neg(o) }"

    def test_a_huge_result_is_not_made(self) -> None:
        model = parsed(self.HUGE)
        assert fold(model) is model

    def test_results_together_stay_within_it(self) -> None:
        body = " ".join(f"o{i} = ConstantOfShape(s) y{i} = Add(x, o{i})" for i in range(5))
        outputs = ", ".join(f"float[100] y{i}" for i in range(5))
        model = parsed(f"g (float[100] x) => ({outputs}) <int64[1] s = {{100}}> {{ {body} }}")
        count = lambda m: sum(node.op_type == "ConstantOfShape" for node in m.nodes)  # noqa: E731
        assert count(fold(model)) == 0
        # each takes 392 bytes more than the shape that it is made of
        assert count(fold(model, max_bytes=392 * 3)) == 2
        assert count(fold(model, max_bytes=0)) == 5

    def test_what_only_moves_takes_none(self) -> None:
        weight = np.ones((64, 32), np.float32)
        x = gd.input("x", gd.float32[1, 64])
        model = gd.build({"y": x @ op.Transpose(gd.constant(weight.T))})
        assert [node.op_type for node in fold(model, max_bytes=0).nodes] == ["MatMul"]

    def test_doubling_again_and_again_takes_it_all(self) -> None:
        c = gd.constant(np.ones(1000, np.float32))
        for _ in range(40):
            c = op.Concat(c, c, axis=0)
        model = gd.build({"y": c})
        assert 20 < len(fold(model).nodes) < 30


def test_an_if_whose_condition_is_known_becomes_its_branch() -> None:
    model = parsed(
        """g (float[3] x) => (float[3] y) <bool c = {0}> {
            u = Exp(x)
            v = If (c) <then_branch = t () => (float[3] p) { p = Neg(u) },
                        else_branch = e () => (float[3] q) { w = Relu(u) q = Abs(w) }>
            y = Neg(v)
        }"""
    )
    after = applied(fold, model)
    assert lines(after) == ["u = Exp(x)", "w = Relu(u)", "q = Abs(w)", "y = Neg(q)"]


def test_bodies_are_folded() -> None:
    model = parsed(
        """g (bool c, float[3] x) => (float[3] y) <float k = {4.0}> {
            y = If (c) <then_branch = t () => (float[3] p) { r = Sqrt(k) p = Mul(x, r) },
                        else_branch = e () => (float[3] q) { q = Neg(x) }>
        }"""
    )
    assert lines(applied(fold, model))[1] == "  then_branch: p = Mul(x, r)"


def test_the_reference_evaluator_takes_the_runtime_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_has_runtime", lambda: False)
    model = parsed("g (float x) => (float y) <float k = {4.0}> { a = Sqrt(k) y = Mul(x, a) }")
    assert lines(applied(fold, model)) == ["y = Mul(x, a)"]


# ONNX's own cases, with their inputs as constants

UNFIT = {
    "test_affine_grid_2d_expanded",
    "test_affine_grid_2d_align_corners_expanded",
    "test_affine_grid_3d_expanded",
    "test_affine_grid_3d_align_corners_expanded",
}
"""Cases that give Range a `limit` of one axis; the runtime refuses them as soon as it knows that shape."""


ROUNDED = {
    "test_attention_4d_fp16_expanded",
    "test_attention_4d_gqa_with_past_and_present_fp16_expanded",
    "test_attention_4d_causal_fp16_expanded",
    "test_attention_4d_gqa_causal_nonpad_decode_fp16_expanded",
    "test_attention_24_qk_matmul_output_mode3_softmax_precision_expanded",
    "test_flexattention_fp16_expanded_ver26",
}
"""Chains of float16 nodes: the runtime computes them in float32 and does not round behind each, as folding does."""


def frozen(case: Case) -> Case:
    """A case whose arrays are initializers instead of inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    infos, feeds = list(model.graph.input), []
    del model.graph.input[:]
    for info, feed in zip(infos, case.feeds, strict=True):
        if isinstance(feed, np.ndarray):
            model.graph.initializer.append(numpy_helper.from_array(feed, info.name))
        else:
            model.graph.input.append(info)
            feeds.append(feed)
    return Case(case.name, model, feeds)


def folded_differently(case: Case) -> str:
    """What is wrong with a case whose inputs are constants, after folding; "unfolded" or "same" where nothing is."""
    case = frozen(case)
    engine = on_runtime
    try:
        expected = engine(case.model, case.feeds)
    except Exception:
        engine = on_reference
        try:
            expected = engine(case.model, case.feeds)
        except Exception:
            return "runs nowhere"
    after = fold(case.model)
    if len(after.nodes) == len(case.model.graph.node):
        return "unfolded"
    found = engine(after.to_proto(), case.feeds)
    if case.name in ROUNDED:
        assert [(a.dtype, a.shape) for a in found] == [(a.dtype, a.shape) for a in expected]
        pairs = zip(expected, found, strict=True)
        close = [np.allclose(a.astype(float), b.astype(float), rtol=0.01, atol=0.01) for a, b in pairs]
        return "same" if all(close) else "float16 values are far apart"
    return "; ".join(differences(expected, found)) or "same"


def judged(cases: list[Case]) -> dict[str, int]:
    counts: dict[str, int] = {}
    cases = [case for case in cases if case.name not in UNFIT]
    for place, result in each(folded_differently, cases):
        assert not isinstance(result, Crash), (cases[place].name, result)
        assert result in ("same", "unfolded", "runs nowhere"), (cases[place].name, result)
        counts[result] = counts.get(result, 0) + 1
    return counts


def test_a_sample_of_onnx_s_cases_gives_the_same_when_folded() -> None:
    counts = judged(backend.node_cases()[::9])
    assert counts["same"] > 120, json.dumps(counts)


@pytest.mark.full
def test_all_of_onnx_s_cases_give_the_same_when_folded() -> None:
    counts = judged(backend.node_cases())
    assert counts["same"] > 1500, json.dumps(counts)
