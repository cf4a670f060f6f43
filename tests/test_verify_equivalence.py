"""`verify.equivalent` and `verify.matches`: what they refute, how small, and what they say of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.verify.verdicts import written

X, Y = gd.input("x", gd.float32["n"]), gd.input("y", gd.float32["n"])


def refuted(before: gd.Model, after: gd.Model, **options: Any) -> verify.Refuted:
    """The refutation of two models."""
    with pytest.raises(verify.Refuted) as caught:
        verify.equivalent(before, after, **options)
    return caught.value


def test_models_that_agree_get_a_verdict_with_counts() -> None:
    verdict = verify.equivalent(gd.build({"z": (X + Y) * 2}), gd.build({"z": X * 2 + 2 * Y}), examples=60)
    assert verdict.judged == 60 and verdict.agreed > 30
    lines = str(verdict).splitlines()
    assert lines[0] == "models 'graph' and 'graph': not refuted"
    assert lines[1] == f"  agree  {verdict.agreed}"


def test_undefined_inputs_are_counted() -> None:
    i, j = gd.input("i", gd.int32["n"]), gd.input("j", gd.int32["n"])
    quotient = gd.build({"q": op.Div(i * 2, j * 3)})
    verdict = verify.equivalent(quotient, quotient, examples=60)
    assert verdict.undefined["an integer division by zero"] > 0
    assert "undefined  " in str(verdict)


def test_places_that_are_written_twice_are_counted() -> None:
    """Where indices are computed, they may be equal; the one that is written last may stay, or the first."""
    table, places, values = gd.input("t", gd.float32[3]), gd.input("p", gd.int64[2]), gd.input("v", gd.float32[2])
    written = gd.build(op.ScatterElements(table, abs(places) % 3, values))
    verdict = verify.equivalent(written, written, examples=60)
    assert verdict.undefined["an element that ScatterElements writes twice"] > 0 and verdict.agreed > 10


def test_the_scale_of_zeros_is_counted() -> None:
    """The specification divides 0 by the difference of the largest and the least number, which is 0."""
    x = gd.input("x", gd.float32[2])
    quantized = gd.build(op.DynamicQuantizeLinear(x)[0])
    verdict = verify.equivalent(quantized, quantized, examples=60)
    assert verdict.undefined["the scale of zeros"] > 0 and verdict.agreed > 10


def test_a_refutation_tells_everything_about_the_smallest_input() -> None:
    before, after = (gd.build({"z": (x.named("a") * 3).named("b") + 1}, inputs=[X]) for x in (abs(X), -X))
    found = refuted(before, after)
    assert {name: array.tolist() for name, array in found.feeds.items()} == {"x": [1.0]}
    assert found.node is not None and found.node.startswith("Neg, which makes 'a'\n  at ")
    assert str(found) == (
        "models 'graph' and 'graph': other numbers, by 1.5 of their size\n"
        "  output 'z'\n"
        "    before: array([4.0], float32)\n"
        "    after:  array([-2.0], float32)\n"
        f"  first node that differs: {found.node}\n"
        "  for x = array([1.0], float32)"
    )


def test_the_first_node_that_differs_is_found_by_its_place_without_names() -> None:
    def build(slope: float) -> gd.Model:
        return gd.build(op.Exp(op.LeakyRelu(X * 2, alpha=slope)) + 1)

    assert (refuted(build(0.5), build(0.25)).node or "").startswith("LeakyRelu, which makes ")


def test_models_of_a_rewrite_share_their_nodes() -> None:
    @gd.rule(lambda x: op.Exp(x))
    def wrong(x: gd.Tensor) -> gd.Tensor:
        return op.Exp(x * 2)

    before = gd.build((np.exp(X + Y) * 2).named("z"))
    found = refuted(before, gd.rewrite(before, wrong).model)
    assert (found.node or "").startswith("Exp, which makes ")


def test_the_script_of_a_refutation_runs_on_its_own_and_fails(tmp_path: Path) -> None:
    found = refuted(gd.build({"z": X + Y}), gd.build({"z": X - Y}))
    file = tmp_path / "repro.py"
    file.write_text(found.script, encoding="utf-8")
    root = str(Path(gd.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root}, timeout=120
    )
    assert done.returncode == 1
    last = done.stderr[done.stderr.index("graphdsl.verify.Refuted: ") :]
    assert last.splitlines()[0] == "graphdsl.verify.Refuted: " + str(found).splitlines()[0]
    assert last.splitlines()[-1].strip() == str(found).splitlines()[-1].strip()


def test_a_single_input_can_be_judged() -> None:
    before, after = gd.build({"z": abs(X)}), gd.build({"z": X})
    assert verify.equivalent(before, after, feeds={"x": np.ones(2, np.float32)}).agreed == 1
    assert refuted(before, after, feeds={"x": np.array([-2], np.float32)}).feeds["x"].tolist() == [-2]


def test_models_of_other_interfaces_are_refused() -> None:
    one = gd.build({"z": X})
    with pytest.raises(gd.BuildError, match="only the second model has the input 'y'"):
        verify.equivalent(one, gd.build({"z": X + Y}))
    with pytest.raises(gd.BuildError, match="one model has 1 outputs and the other 2"):
        verify.equivalent(one, gd.build({"z": X, "w": X}))
    with pytest.raises(gd.BuildError, match="input 'x' is float32"):
        verify.equivalent(one, gd.build({"z": gd.input("x", gd.float64["n"])}))


def test_an_unused_input_may_be_left_out() -> None:
    assert verify.equivalent(gd.build({"z": X + 0 * Y}), gd.build({"z": X + 0 * Y}), examples=5).judged == 5
    found = refuted(gd.build({"z": X + 0 * Y}), gd.build({"z": X}), without=["infinity"])
    assert found.judgement.reason == "NaN at other places" and np.isnan(found.feeds["y"]).any()


def test_a_runtime_that_dies_on_one_side_refutes_it() -> None:
    i = gd.input("i", gd.int64[1])
    before = gd.build({"j": i}, inputs=[i])
    after = gd.build({"j": op.Div(op.Div(i, -1), -1)}, inputs=[i])
    found = refuted(before, after, feeds={"i": np.array([-(2**63)])})
    assert found.judgement.reason == "only after: the least integer divided by -1"


def test_functions_are_computed_through() -> None:
    @gd.function(domain="my.verified")
    def double(a: gd.Tensor) -> gd.Tensor:
        return a + a

    assert verify.equivalent(gd.build(double(X)), gd.build(X * 2), examples=20).agreed > 10
    refuted(gd.build(double(X)), gd.build(X * 3))


def test_a_python_function_is_right_by_definition() -> None:
    model = gd.build(np.sqrt(X) + Y, inputs=[X, Y])
    assert verify.matches(model, lambda x, y: np.sqrt(x) + y, examples=60).judged == 60
    with pytest.raises(verify.Refuted) as caught:
        verify.matches(model, lambda x, y: np.sqrt(abs(x)) + y)
    assert caught.value.judgement.reason == "NaN at other places"
    with pytest.raises(gd.BuildError, match="function '<lambda>' gives 1 values, and the model has 2 outputs"):
        verify.matches(gd.build([X, Y]), lambda x, y: [x])


def test_numbers_and_lists_of_them_are_arrays() -> None:
    verify.matches(gd.build(op.Relu(X)), lambda x: np.maximum(x, 0).tolist(), examples=20, without=["empty"])
    verify.matches(gd.build(X > 0), lambda x: (x > 0).tolist(), examples=20, without=["empty"])
    total = gd.build(op.ReduceSum(gd.input("i", gd.int32["n"]), keepdims=0))
    verify.matches(total, lambda i: int(i.sum()), examples=20, without=["extreme"])
    words = gd.input("words", gd.string["n"])
    verify.matches(gd.build(op.Identity(words)), lambda words: [str(word) for word in words], examples=20)
    rows = gd.build({"rows": op.SplitToSequence(gd.input("m", gd.float32[2, "n"]))})
    verify.matches(rows, lambda m: [m[:1], m[1:]], examples=20)
    with pytest.raises(verify.Refuted, match="int32 instead of int64"):
        verify.matches(gd.build(op.Identity(gd.input("i", gd.int32["n"]))), lambda i: i.astype(np.int64), examples=20)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda x: [np.maximum(x, 0)], "a list of arrays for one tensor; return the array itself"),
        (lambda x: (x, x), "a tuple of arrays for one tensor; return the array itself"),
        (lambda x: None, "a NoneType for a tensor; return an array of numbers or text"),
        (lambda x: {"y": x}, "a dict for a tensor; return an array of numbers or text"),
        (lambda x: x.astype(object), "an array of object for a tensor; return an array of numbers or text"),
        (lambda x: [[1], [1, 2]], "a list that is no array: setting an array element with a sequence"),
    ],
)
def test_what_is_no_array_is_refused(function: Callable[..., Any], problem: str) -> None:
    with pytest.raises(gd.BuildError, match=f"function '<lambda>' gives {problem}") as caught:
        verify.matches(gd.build(op.Relu(X)), function)
    assert "test_verify_equivalence.py" in str(caught.value)


def test_a_function_gives_as_much_as_the_model() -> None:
    with pytest.raises(gd.BuildError, match="gives one value, and the model has 2 outputs"):
        verify.matches(gd.build([X, -X]), lambda x: x)
    with pytest.raises(gd.BuildError, match="gives a ndarray for a sequence; return a list of arrays"):
        verify.matches(gd.build({"y": op.SequenceConstruct(X)}), lambda x: x)
    with pytest.raises(verify.Refuted, match="instead of string"):
        verify.matches(gd.build(op.Relu(X)), lambda x: x.astype(str))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0.1, -0.0], [np.nan, -np.inf]], np.float32),
        np.array(7, np.int8),
        np.array([True]),
        np.array(["a", "é"], object),
        np.zeros((2, 0), np.float64),
        np.array([0.1], gd.bfloat16.numpy),
        np.arange(3000, dtype=np.uint16).reshape(3, 1000),
    ],
    ids=str,
)
def test_arrays_in_scripts_are_the_same_arrays(array: np.ndarray) -> None:
    found = eval(written(array), {"np": np, "gd": gd})
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tolist() == array.tolist() if array.dtype == object else found.tobytes() == array.tobytes()
