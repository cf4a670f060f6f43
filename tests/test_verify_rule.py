"""`verify.rule`: which rules it refutes, how, and what it says of those that it does not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rulebook import RIGHT, WRONG
from support import in_part

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.passes import rules
from graphdsl.verify.judging import Judgement
from graphdsl.verify.verdicts import message


def rule(pattern: Callable[..., Any], function: Callable[..., Any], name: str = "it") -> gd.Rule:
    return gd.rule(pattern, name=name)(function)


def refuted(of: gd.Rule, **options: Any) -> verify.Refuted:
    """The refutation of a rule."""
    with pytest.raises(verify.Refuted) as caught:
        verify.rule(of, **options)
    return caught.value


_SAMPLE = [
    "a wrong axis",
    "log of softmax",
    "a lost broadcast",
    "a cast that rounds",
    "an integer overflow",
    "lost pads",
]
_STAND = ["reassociation", "a reciprocal", "sigmoid written out", "gemm"]


@pytest.mark.parametrize("name", in_part(WRONG, _SAMPLE))
def test_a_wrong_rule_is_refuted(name: str, seed: int) -> None:
    found = refuted(WRONG[name], seed=seed)
    assert str(found).startswith(f"rule {name!r}: ")


@pytest.mark.parametrize("name", in_part(RIGHT, _STAND))
def test_a_right_rule_is_let_stand(name: str, seed: int) -> None:
    verdict = verify.rule(RIGHT[name], examples=100, seed=seed)
    assert verdict.judged >= 40 and verdict.tried["instances"]["fired"] > 20


def test_a_refutation_is_small_and_tells_the_models() -> None:
    found = refuted(WRONG["swapped operands"])
    assert found.before is not None and found.after is not None
    assert [node.op_type for node in found.before.graph.nodes] == ["Sub"]
    assert sorted(found.feeds) == ["x", "y"] and all(array.size <= 2 for array in found.feeds.values())
    assert sorted(np.concatenate([found.feeds["x"], found.feeds["y"]]).tolist()) == [0, 0, 0, 1]
    lines = str(found).splitlines()
    assert lines[:2] == ["rule 'swapped operands': other numbers, by 2 of their size", "  output 'result'"]
    assert lines[-6:] == [
        *[f"  for {name} = array({found.feeds[name].tolist()}, float32)" for name in "xy"],
        "  the pattern was",
        "    result = Sub (x, y)",
        "  and became",
        "    result = Sub (y, x)",
    ]


def test_a_refutation_says_where_large_arrays_differ() -> None:
    before = np.zeros((4, 5), np.float32)
    before[2, 1] = np.nan
    after = before.copy()
    after[3, 4] = 1
    text = message("models", Judgement("refuted", "other numbers", 0, before, after), {}, None, "y")
    assert text.splitlines()[-1] == "    at [3, 4]: 0.0 before, 1.0 after"


def test_the_script_of_a_refutation_runs_on_its_own_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "repro.py"
    file.write_text(refuted(WRONG["an integer overflow"]).script, encoding="utf-8")
    root = str(Path(gd.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root}, timeout=120
    )
    assert done.returncode == 1 and "graphdsl.verify.Refuted: models 'before' and 'after': other values" in done.stderr


def test_the_verdict_is_a_short_table() -> None:
    verdict = verify.rule(RIGHT["gemm"], examples=30)
    lines = str(verdict).splitlines()
    assert lines[0] == "rule 'gemm': not refuted"
    assert lines[1].split()[0] == "agree"
    assert {"instances", "dtypes", "ranks", "opsets"} <= {line.split()[0] for line in lines[1:]}
    assert verdict.tried["ranks"].keys() == {"2"} and "float32" in verdict.tried["dtypes"]


def test_a_condition_narrows_what_is_tried() -> None:
    def only_ones(x: gd.Tensor, c: gd.Tensor) -> gd.Tensor | None:
        return x if c.value is not None and c.shape == () and c.value == 1 else None

    verdict = verify.rule(rule(lambda x, c: op.Mul(x, c), only_ones), examples=60)
    assert verdict.judged > 30 and verdict.tried["instances"]["declined"] > verdict.tried["instances"]["fired"] > 0
    found = refuted(rule(lambda x, c: op.Mul(x, c), lambda x, c: x if c.value is not None and c.shape == () else None))
    assert found.judgement.reason.startswith("other ")


def test_a_rule_that_never_fires_is_reported_with_the_reasons() -> None:
    with pytest.raises(verify.Unfired) as caught:
        verify.rule(rule(lambda x: op.Relu(x), lambda x: None))
    assert str(caught.value) == (
        "rule 'it' fired on none of 1600 instances of its pattern, so nothing is known of it:\n"
        "  declined (1600): the rule declined"
    )


def raising(error: Exception) -> Callable[..., Any]:
    def function(x: gd.Tensor) -> None:
        raise error

    return function


def test_what_no_opset_has_refutes_and_what_only_some_have_is_told() -> None:
    pattern = lambda x: op.Relu(x)  # noqa: E731
    found = refuted(rule(pattern, lambda x: op.Cast(x)), examples=30)
    assert found.judgement.reason.startswith("the rule's function fails: SignatureError: Cast: attribute 'to' is req")
    found = refuted(rule(pattern, lambda x: op.Gulp(x)), examples=30)
    assert found.judgement.reason == "the rule's function fails: UnknownOperator: ONNX has no operator 'Gulp'"
    twice = lambda x: op.Squeeze(op.Unsqueeze(op.Relu(x), [0]), axes=[0])  # noqa: E731
    verdict = verify.rule(rule(pattern, twice), examples=30)
    assert verdict.judged and all("at opset" in reason for reason in verdict.tried["unwritable"])


def test_a_function_that_fails_refutes() -> None:
    found = refuted(rule(lambda x, y: op.MatMul(x, y), lambda x, y: op.MatMul(op.Unsqueeze(y, [7]), x), "far"))
    assert str(found).startswith("rule 'far': the rule's function fails: InferenceError: Unsqueeze: ")
    assert found.before is not None and found.feeds == {}
    found = refuted(rule(lambda x: op.Relu(x), raising(AssertionError())), examples=30)
    assert found.judgement.reason == "the rule's function fails: AssertionError"
    found = refuted(rule(lambda x: op.Relu(x), lambda x: (x, x)))
    assert found.judgement.reason == "the pattern has 1 outputs, the replacement 2"


def test_only_a_rule_is_taken() -> None:
    with pytest.raises(gd.RuleError, match=r"verify.rule takes a rule made by @gd.rule, got 3"):
        verify.rule(3)  # type: ignore[arg-type]
    with pytest.raises(gd.RuleError, match=r"rule 'gelu' can be written at none of the opsets \[13\]: 'Gelu' exists"):
        verify.rule(rule(lambda x: op.Gelu(x), lambda x: x, "gelu"), opsets=[13])


def test_operators_that_the_runtime_is_too_old_for_are_tried_in_the_reference() -> None:
    def attend(q: Any, k: Any, v: Any, d: Any) -> Any:
        return op.LinearAttention(q, k, v, None, d, q_num_heads=2, kv_num_heads=1, update_rule="gated")

    def forget_nothing(q: Any, k: Any, v: Any, d: Any) -> Any:
        return op.LinearAttention(q, k, v, q_num_heads=2, kv_num_heads=1, update_rule="linear")

    verdict = verify.rule(rule(attend, attend), examples=60)
    assert verdict.judged > 30 and verdict.tried["opsets"].keys() == {"28"}
    refuted(rule(attend, forget_nothing))


def test_opsets_can_be_chosen() -> None:
    verdict = verify.rule(RIGHT["relu twice"], opsets=[9, 15], examples=60)
    assert verdict.tried["opsets"].keys() == {"9", "15"}


# What patterns may hold


def test_optional_inputs() -> None:
    def pattern(x: Any, low: Any = None, high: Any = None) -> Any:
        return op.Clip(op.Clip(x, low, high), low, high)

    def once(x: gd.Tensor, low: gd.Tensor | None, high: gd.Tensor | None) -> gd.Tensor:
        return op.Clip(x, low, high)

    assert verify.rule(rule(pattern, once), opsets=[21], examples=60).judged > 30
    refuted(rule(pattern, lambda x, low, high: op.Clip(x, low)), opsets=[21])


def test_variadic_inputs() -> None:
    pattern = lambda *xs, a: op.Relu(op.Concat(*xs, axis=a))  # noqa: E731
    assert verify.rule(rule(pattern, lambda *xs, a: op.Concat(*map(op.Relu, xs), axis=a)), examples=60).judged > 30
    refuted(rule(pattern, lambda *xs, a: op.Relu(op.Concat(*xs[::-1], axis=a))))


def test_several_outputs() -> None:
    def pattern(x: Any, a: Any) -> Any:
        return op.Split(x, axis=a, num_outputs=2, outputs=2)

    assert verify.rule(rule(pattern, lambda x, a: op.Split(x, axis=a, num_outputs=2)), examples=40).judged > 10
    found = refuted(rule(pattern, lambda x, a: op.Split(x, axis=a, num_outputs=2)[::-1]))
    assert found.judgement.reason


def test_choices_of_patterns() -> None:
    pattern = lambda x: op.Relu(gd.any_of(op.Relu(x), op.Abs(x)))  # noqa: E731
    found = refuted(rule(pattern, lambda x: op.Relu(x)))
    assert [node.op_type for node in found.before.graph.nodes] == ["Abs", "Relu"]  # type: ignore[union-attr]
    right = lambda x: op.Relu(gd.any_of(op.Relu(x), op.Max(x)))  # noqa: E731
    assert verify.rule(rule(right, lambda x: op.Relu(x)), examples=60).judged > 30


def test_all_other_attributes() -> None:
    def pattern(x: Any, w: Any, **attrs: Any) -> Any:
        return op.Neg(op.Conv(x, w, **attrs))

    assert verify.rule(rule(pattern, lambda x, w, **attrs: op.Conv(x, op.Neg(w), **attrs)), examples=60).judged > 30
    refuted(rule(pattern, lambda x, w, **attrs: op.Conv(x, op.Neg(w))))


def test_conditions_on_types() -> None:
    def pattern(x: Any = gd.float32["n", 3], y: Any = gd.float32[3]) -> Any:
        return x * y

    verdict = verify.rule(rule(pattern, lambda x, y: y * x), examples=30)
    assert verdict.tried["dtypes"].keys() == {"float32"} and verdict.tried["ranks"].keys() == {"2"}
    found = refuted(rule(pattern, lambda x, y: x + y))
    assert found.feeds["x"].shape[1:] == (3,) and found.feeds["y"].shape == (3,)


def test_lists_and_bitwise_operators() -> None:
    flat = rule(lambda x: op.Reshape(x, [-1]), lambda x: op.Squeeze(op.Flatten(x, axis=0), [0]))
    assert verify.rule(flat, opsets=[13, 21], examples=30).judged > 10
    assert verify.rule(rule(lambda x, y: x & y, lambda x, y: y & x), examples=60).judged > 30
    refuted(rule(lambda x, y: x & y, lambda x, y: x))


def test_local_functions_of_a_domain_of_ones_own() -> None:
    @gd.function(domain="my.rules")
    def scaled(a: gd.Tensor, b: gd.Tensor) -> gd.Tensor:
        return 2 * a + b

    assert verify.rule(rule(lambda x, y: scaled(x, y), lambda x, y: x + x + y), examples=30).judged > 10
    refuted(rule(lambda x, y: scaled(x, y), lambda x, y: x + y + y))


def test_operators_with_a_numpy_body() -> None:
    @gd.custom_op("my.rules::Twice")
    def twice(x: Any) -> Any:
        return x

    twice.numpy(lambda x: x + x)

    assert verify.rule(rule(lambda x=gd.float32: twice(x), lambda x: x + x), examples=30).judged > 10
    refuted(rule(lambda x=gd.float32: twice(x), lambda x: x * x))


def test_operators_that_nothing_computes_are_reported() -> None:
    @gd.custom_op("my.rules::Mystery")
    def mystery(x: Any) -> Any:
        return x

    with pytest.raises(verify.Unfired, match="none of its instances could be judged"):
        verify.rule(rule(lambda x: mystery(x), lambda x: x))


def lstm(x: Any, w: Any, r: Any, b: Any = None, n: Any = None, h: Any = None, c: Any = None, **more: Any) -> Any:
    """An LSTM with all its inputs but peepholes; the pattern of some rules."""
    return op.LSTM(x, w, r, b, n, h, c, **more, outputs=3)


def without(name: str) -> Callable[..., Any]:
    """An LSTM that loses an attribute."""

    def function(x: Any, w: Any, r: Any, b: Any, n: Any, h: Any, c: Any, **more: Any) -> Any:
        return lstm(x, w, r, b, n, h, c, **{key: value for key, value in more.items() if key != name})

    return function


def swapped(x: Any, w: Any, r: Any, b: Any, n: Any, h: Any, c: Any, **more: Any) -> Any:
    """An LSTM that gives its last states in the other order."""
    y, last, cell = lstm(x, w, r, b, n, h, c, **more)
    return y, cell, last


@pytest.mark.parametrize("name", ["direction", "clip", "activations", "input_forget"])
def test_an_attribute_of_an_lstm_is_lost(name: str) -> None:
    assert refuted(rule(lstm, without(name))).judgement.reason.startswith("other numbers")


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x, w, r, b, n, h, c, **more: lstm(x, w, r, b, None, h, c, **more), id="lengths"),
        pytest.param(lambda x, w, r, b, n, h, c, **more: lstm(x, w, r, b, n, h, None, **more), id="the cell"),
        pytest.param(lambda x, w, r, b, n, h, c, **more: lstm(x, w, r, b, n, c, h, **more), id="swapped states"),
        pytest.param(swapped, id="swapped outputs"),
    ],
)
def test_inputs_and_outputs_of_an_lstm_are_lost_or_swapped(function: Callable[..., Any]) -> None:
    refuted(rule(lstm, function))


def test_right_rules_of_recurrent_operators() -> None:
    def pattern(x: Any, w: Any, r: Any, b: Any, n: Any) -> Any:
        return op.LSTM(x, w, r, b, hidden_size=n, outputs=1)

    def without_bias(x: gd.Tensor, w: gd.Tensor, r: gd.Tensor, b: gd.Tensor, n: int) -> gd.Tensor | None:
        return op.LSTM(x, w, r, hidden_size=n, outputs=1) if b.value is not None and not b.value.any() else None

    assert verify.rule(rule(pattern, without_bias), examples=60).judged > 40

    def turned(x: Any, w: Any, r: Any, n: Any) -> Any:
        y = op.GRU(op.Transpose(x, perm=[1, 0, 2]), w, r, hidden_size=n, outputs=1)
        return op.Transpose(y, perm=[2, 0, 1, 3])

    batch_first = lambda x, w, r, n: op.GRU(x, w, r, hidden_size=n, layout=1, outputs=1)  # noqa: E731
    assert verify.rule(rule(turned, batch_first), opsets=[21], examples=60).judged > 20


def test_sequences_and_optionals() -> None:
    first = lambda x, y: op.SequenceAt(op.SequenceConstruct(x, y), 0)  # noqa: E731
    assert verify.rule(rule(first, lambda x, y: x), examples=60).judged > 20
    refuted(rule(first, lambda x, y: y))
    inserted = lambda s, t: op.SequenceLength(op.SequenceInsert(s, t))  # noqa: E731
    assert verify.rule(rule(inserted, lambda s, t: op.SequenceLength(s) + 1), examples=60).judged > 30
    found = refuted(rule(inserted, lambda s, t: op.SequenceLength(s)))
    assert isinstance(found.feeds["s"], list)
    held = lambda x: op.OptionalGetElement(op.Optional(x))  # noqa: E731
    verdict = verify.rule(rule(held, lambda x: x), examples=60)
    assert verdict.agreed > 30 and not verdict.noted
    refuted(rule(lambda x: op.OptionalHasElement(op.Optional(x)), lambda x: gd.constant(False)))


def test_an_identity_may_be_of_a_sequence() -> None:
    verdict = verify.rule(rule(lambda x: op.Identity(x), lambda x: x), opsets=[21])
    assert verdict.judged > 100
    kinds = refuted(rule(lambda x: op.Identity(x), lambda x: x + 0 if isinstance(x.type, gd.SequenceType) else x))
    assert "fails" in kinds.judgement.reason


def test_sizes_that_only_a_run_decides() -> None:
    picked = lambda x, c: op.Relu(op.Compress(x, c))  # noqa: E731
    assert verify.rule(rule(picked, lambda x, c: op.Compress(op.Relu(x), c)), examples=60).judged > 30
    refuted(rule(lambda x: op.Relu(op.Unique(x)), lambda x: op.Unique(x)))


def test_constants_are_such_that_the_operator_is_defined() -> None:
    verdict = verify.rule(rule(lambda i, j: op.Div(i, j), lambda i, j: op.Div(i, j)), examples=400)
    assert verdict.undefined.total() < 0.05 * verdict.judged, verdict.undefined


def leaky(slope: float) -> gd.Rule:
    return rule(lambda x: op.LeakyRelu(x), lambda x: op.Where(x < 0, x * slope, x), "leaky")


def test_a_number_beside_an_attribute_that_holds_float32() -> None:
    """ONNX keeps attributes in float32, so that 0.01 is another number in float64."""
    assert verify.rule(leaky(float(np.float32(0.01)))).judged > 100
    found = refuted(leaky(0.01))
    assert found.feeds["x"].dtype == np.float64
    told = (
        "ONNX keeps attributes in float32: alpha of LeakyRelu is 0.009999999776482582, and the constant of float64 is "
    )
    assert f"\n  {told}0.01; write float(np.float32(0.01)), or leave float64 alone\n" in str(found)
    assert "ONNX keeps attributes" not in str(refuted(leaky(0.0100001))), "that is wrong in every dtype"
    other = rule(lambda x: x * 0.1, lambda x: x * (0.1 + 1e-12))
    assert "ONNX keeps attributes" not in str(refuted(other)), "there is no attribute"


def test_a_call_that_only_fails_after_refutes_where_it_is_computed_in_parts() -> None:
    pattern = lambda x, w, b: op.ConvTranspose(x, w, b, group=2)  # noqa: E731
    halved = lambda x, w, b: op.ConvTranspose(x, w, op.Slice(b, [0], [1], [0]), group=2)  # noqa: E731
    refuted(rule(pattern, halved))


def test_runs_without_the_type_gate() -> None:
    found = refuted(rule(lambda x: op.Relu(x), lambda x: op.Unsqueeze(op.Relu(x), [0])))
    assert found.judgement.reason.startswith("shape ")
    found = refuted(rule(lambda x, y: x < y, lambda x, y: op.Cast(x < y, to=gd.uint8)))
    assert found.judgement.reason == "uint8 instead of bool"


def test_what_is_a_flag_is_given_nothing_else() -> None:
    """A cast with `saturate=2` gives what memory held."""
    for seed in (1004, 1005, 1006):
        assert verify.rule(rules.cast_like_known, seed=seed).judged > 20
