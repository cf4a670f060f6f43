"""ONNX's own backend suite, rebuilt through the language; backend.py says what is asked of each case.

A sample runs by default, all cases with `pytest -m full`. The counts are printed, and docs/backend.md has them.
"""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import backend
import numpy as np
import onnx
import onnxruntime
import pytest
from backend import Case, Verdict, contradicts, differences, is_precise, judge, reason, report
from onnx import helper
from pages import ROOT
from workers import Crash, each

import graphdsl as gd
from graphdsl import op
from graphdsl.types import to_proto

PAGE = (ROOT / "docs" / "backend.md").read_text(encoding="utf-8")


def judged(cases: list[Case], capsys: pytest.CaptureFixture[str]) -> list[Verdict]:
    """The verdicts, which are printed too; any that is bad fails the test."""
    verdicts = backend.judge_all(cases)
    with capsys.disabled():
        print(f"\n{report(verdicts)}")
    assert [(verdict.name, verdict.problems) for verdict in verdicts if verdict.problems] == []
    names = {case.name for case in cases}
    assert {verdict.name for verdict in verdicts if verdict.excused} == backend.EXCUSED.keys() & names
    return verdicts


def test_a_sample_of_the_suite(capsys: pytest.CaptureFixture[str]) -> None:
    judged([*backend.sample(backend.node_cases(), 7), *backend.stored_cases()[::7]], capsys)


@pytest.mark.full
def test_the_whole_suite(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = judged([*backend.node_cases(), *backend.stored_cases()], capsys)
    assert set(backend.EXCUSED) <= {verdict.name for verdict in verdicts}
    if f"onnx {onnx.__version__} and ONNX Runtime {onnxruntime.__version__}" in PAGE:
        assert report(verdicts) in PAGE


def test_every_excuse_is_explained() -> None:
    assert [name for name in backend.EXCUSED if f"`{name}`" not in PAGE] == []
    assert [name for name in backend.DECIDED_BY_DATA if f"`{name}`" not in PAGE] == []


# The judge is judged


def relu(outputs: Any = None) -> Case:
    x = gd.input("x", gd.float32[2])
    model = gd.build({"y": op.Relu(x)}).to_proto() if outputs is None else outputs
    return Case("relu", model, [np.array([-1, 2], np.float32)])


def test_a_case_that_is_rebuilt_well_has_no_problems() -> None:
    verdict = judge(relu())
    assert (verdict.problems, verdict.engine, verdict.precision) == ([], "runtime", "types")
    assert (verdict.checked, verdict.reason, verdict.operators) == ("fully", "", ["Relu"])


@pytest.mark.parametrize(
    "build, problem",
    [
        (lambda x: op.Neg(x), "output 0: other values:\n[ 1. -2.]\nnot\n[0. 2.]"),
        (lambda x: op.Cast(op.Relu(x), to=gd.float64), "output 'y' is inferred as float64[2], declared as float32[2]"),
        (lambda x: op.Concat(x, x, axis=0), "output 'y' is inferred as float32[4], declared as float32[2]"),
        (lambda x: op.Relu(op.Slice(x, [0], gd.input("n", gd.int64[1]))), "output 'y' is inferred as float32[None],"),
        (lambda x: op.Reshape(op.Relu(x), [3]), "not rebuilt: Reshape"),
    ],
)
def test_a_case_that_is_rebuilt_otherwise_has(
    build: Callable[[Any], Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: onnx.ModelProto, types: Any = None) -> gd.Model:
        return gd.build({"y": build(gd.input("x", gd.float32[2]))})

    monkeypatch.setattr(backend, "rebuild", wrong)
    found = judge(relu()).problems
    assert any(item.startswith(problem) for item in found), found


def test_a_model_that_the_checker_refuses_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    class Invalid:
        def to_proto(self) -> onnx.ModelProto:
            proto = relu().model
            proto.graph.node[0].op_type = "Relo"
            return proto

    monkeypatch.setattr(backend, "rebuild", lambda model, types=None: Invalid())
    assert judge(relu()).problems[0].startswith("the checker refuses it: No Op registered for Relo")


def test_a_rebuilt_model_that_does_not_run_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(model: onnx.ModelProto, types: Any = None) -> gd.Model:
        x = gd.input("x", gd.float32[2])
        return gd.build({"y": op.Reshape(x, op.Size(op.NonZero(x)).reshape(1) + 2)}, types=gd.float32[2])

    monkeypatch.setattr(backend, "rebuild", failing)
    assert any(p.startswith("the runtime runs the original only: ") for p in judge(relu()).problems)


def test_what_the_runtime_does_not_take_runs_in_the_reference_evaluator() -> None:
    x = gd.input("x", gd.float32[2])
    newest = gd.build({"y": gd.opset(27).Relu(x)}, opset=27).to_proto()
    verdict = judge(relu(newest))
    assert (verdict.problems, verdict.engine) == ([], "reference")
    assert verdict.reason == "an opset newer than the runtime's"


def test_what_is_random_is_compared_by_kind() -> None:
    x = gd.input("x", gd.float32[2])
    model = gd.build({"y": gd.opset(22).Bernoulli(x)}, opset=28).to_proto()
    verdict = judge(Case("noise", model, [np.full(2, 0.5, np.float32)]))
    assert (verdict.problems, verdict.engine) == ([], "reference, random")


@pytest.mark.parametrize(
    "one, other, different",
    [
        ([np.array([1.0])], [np.array([1.0])], False),
        ([np.array([np.nan])], [np.array([np.nan])], False),
        ([np.array([0.0])], [np.array([-0.0])], True),
        ([np.array([1.0])], [np.array([1.0], np.float32)], True),
        ([np.array([1.0])], [np.array([[1.0]])], True),
        ([np.array([1.0])], [np.array([1.0]), np.array([1.0])], True),
        ([np.array(["a"], object)], [np.array(["b"], object)], True),
        ([[np.array([1.0])]], [[np.array([1.0])]], False),
        ([[np.array([1.0])]], [[np.array([2.0])]], True),
        ([[np.array([1.0])]], [np.array([1.0])], True),
        ([None], [None], False),
        ([("bfloat16", (1,), b"\1\0")], [("bfloat16", (1,), b"\1\1")], True),
    ],
)
def test_outputs_differ_by_a_bit_a_dtype_or_a_shape(one: list[Any], other: list[Any], different: bool) -> None:
    assert bool(differences(one, other)) is different


@pytest.mark.parametrize(
    "inferred, declared, precise, wrong",
    [
        (gd.float32[2, 3], gd.float32[2, 3], True, False),
        (gd.float32[2, 3], gd.float32["n", 3], True, False),
        (gd.float32["n", 3], gd.float32[2, 3], False, False),
        (gd.float32[None], gd.float32["n"], True, False),
        (gd.float32, gd.float32[2], False, False),
        (gd.float32, gd.float32, True, False),
        (gd.float32[2, 4], gd.float32[2, 3], False, True),
        (gd.float32[2], gd.float32[2, 1], False, True),
        (gd.float64[2], gd.float32[2], False, True),
        (gd.sequence(gd.float32[2]), gd.sequence(gd.float32[2]), True, False),
        (gd.sequence(gd.float32), gd.sequence(gd.float32[2]), False, False),
        (gd.sequence(gd.float32[2]), gd.optional(gd.float32[2]), False, True),
    ],
)
def test_types_are_less_precise_or_wrong(inferred: Any, declared: Any, precise: bool, wrong: bool) -> None:
    one, other = (to_proto(gd.input("x", kind).type) for kind in (inferred, declared))
    assert is_precise(one, other) is precise
    assert contradicts(one, other) is wrong


def test_sizes_that_nothing_hides_must_be_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gd.input("x", gd.float32[2])
    chosen = gd.build({"y": op.Compress(x, np.array([True, True]))}, types=gd.float32[2]).to_proto()
    case = Case("chosen", chosen, [np.ones(2, np.float32)])
    assert (judge(case).problems, judge(case).precision) == ([], "data")
    monkeypatch.setattr(backend, "DECIDED_BY_DATA", {})
    assert judge(case).problems == ["its sizes are not inferred, and no operator is known to hide them"]


def test_only_the_known_problem_is_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "rebuild", lambda model, types=None: gd.build({"y": -gd.input("x", gd.float32[2])}))
    monkeypatch.setattr(backend, "EXCUSED", {"relu": "output 0: other values"})
    assert (judge(relu()).problems, len(judge(relu()).excused)) == ([], 1)
    monkeypatch.setattr(backend, "EXCUSED", {"relu": "output 1"})
    assert (len(judge(relu()).problems), judge(relu()).excused) == (1, [])


def test_a_report_counts_and_names() -> None:
    verdicts = [
        Verdict("a", engine="runtime", precision="types", checked="fully"),
        Verdict("b", engine="reference", precision="data", checked="fully", reason="too new", declared=["y"]),
        Verdict("c", ["bad"], reason="too new", excuse="nor here"),
        Verdict("d", excused=["known\nmore"]),
    ]
    assert report(verdicts).splitlines() == [
        "4 cases: 2 pass, 1 are excused, 1 fail",
        "  run alike by: nothing 2, runtime 1, reference 1",
        "  declared sizes follow from: nothing 2, types 1, data 1",
        "  accepted by the checker: fully 2, nothing 2",
        "  outputs whose rank had to be declared: 1",
        "  not run by ONNX Runtime:",
        "        2 too new",
        "  nor by the reference evaluator:",
        "        1 nor here",
        "FAILED c: bad",
        "excused d: known",
    ]


def test_reasons_group_messages() -> None:
    assert reason("... Could not find an implementation for Add(7) node") == reason("Failed to find kernel for X(1)")
    assert reason("a message\nthat nobody knows") == "other: a message that nobody knows"


# Workers


def work(item: int) -> int:
    """What a worker does with an item in these tests: some kill it."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGFPE)
    if item == 5:
        os._exit(7)
    return item * item


def test_a_dead_worker_is_a_finding() -> None:
    results = dict(each(work, list(range(8)), processes=2))
    crashes = {place: result for place, result in results.items() if isinstance(result, Crash)}
    assert crashes == {3: Crash("SIGFPE"), 5: Crash("exit code 7")}
    assert {place: result for place, result in results.items() if place not in crashes} == {
        place: place * place for place in (0, 1, 2, 4, 6, 7)
    }
    assert list(each(work, [])) == []


_sessions: list[Any] = []


def forget(item: int) -> int:
    """Forget a session that has threads."""
    signal.alarm(60)
    _sessions.clear()
    return item


def test_a_worker_may_forget_the_sessions_of_the_other_process() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    proto = gd.build(op.Exp(gd.input("x", gd.float32[2]))).to_proto()
    _sessions.append(onnxruntime.InferenceSession(proto.SerializeToString(), options))
    time.sleep(1)  # until its threads sleep
    assert dict(each(forget, [1])) == {0: 1}


def test_a_crash_of_the_runtime_fails_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def deadly(case: Case) -> Verdict:
        if case.name == "deadly":
            os.abort()
        return Verdict(case.name)

    monkeypatch.setattr(backend, "judge", deadly)
    verdicts = backend.judge_all([relu(), relu()._replace(name="deadly"), relu()], processes=1)
    assert [verdict.problems for verdict in verdicts] == [[], ["the process died: SIGABRT"], []]


# Other ways to write


def test_local_functions_are_rebuilt_too() -> None:
    """The suite has none; this model has overloads, references to attributes, and a function that calls another."""

    @gd.function(domain="my")
    def scaled(a: gd.Tensor, *, factor: float = 3.0, axes: list[int]) -> gd.Tensor:
        return op.Transpose(a * op.CastLike(factor, a) if a.dtype == gd.float32 else a, perm=axes)

    @gd.function(domain="my")
    def twice(a: gd.Tensor) -> gd.Tensor:
        return op.If(
            a.sum() > 0, then_branch=lambda: scaled(a, axes=[1, 0]), else_branch=lambda: scaled(a, axes=[0, 1])
        )

    x, y = gd.input("x", gd.float32[2, 2]), gd.input("y", gd.float64[2, 2])
    model = gd.build({"a": twice(x), "b": scaled(x, factor=2, axes=[1, 0]), "c": scaled(y, axes=[0, 1])}).to_proto()
    assert len(model.functions) == 3
    ordered = onnx.ModelProto()
    ordered.CopyFrom(model)
    del ordered.functions[:]
    ordered.functions.extend(sorted(model.functions, key=lambda function: function.name == "twice"))
    case = Case("functions", ordered, [np.array([[1, 2], [3, 4]], np.float32), np.ones((2, 2))])
    verdict = judge(case)
    assert (verdict.problems, verdict.engine) == ([], "runtime")


def test_the_sample_has_all_of_control_flow_and_sequences() -> None:
    plain = [relu()._replace(name=str(index)) for index in range(10)]
    x = gd.input("x", gd.sequence(gd.float32[2]))
    lists = Case("lists", gd.build({"n": op.SequenceLength(x)}).to_proto(), [])
    c = gd.input("c", gd.bool[()])
    branch = Case("branch", gd.build(op.If(c, then_branch=lambda: 1, else_branch=lambda: 2)).to_proto(), [])
    names = [case.name for case in backend.sample([*plain, lists, branch], 4)]
    assert names == ["0", "4", "8", "lists", "branch"]


def test_the_suite_is_as_large_as_the_page_says() -> None:
    match = re.search(r"all ([\d,]+) node cases", PAGE)
    assert match is not None
    kinds = Counter(case.name.partition("/")[0] for case in backend.stored_cases())
    assert kinds == {"simple": 23, "pytorch-operator": 35, "pytorch-converted": 82}
    assert helper.VERSION_TABLE
