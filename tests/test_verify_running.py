"""Models run apart: what comes of a run, of a crash, of running out of time or memory."""

import os
import select
import signal
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings

import graphdsl as gd
from graphdsl import op, schemas, verify
from graphdsl.apart import POOL, Worker
from graphdsl.verify import interpreters

MIN = -(2**63)


def quotient() -> gd.Model:
    a, b = gd.input("a", gd.int64["n"]), gd.input("b", gd.int64["n"])
    return gd.build({"c": op.Div(a, b)}, inputs=[a, b])


def endless() -> gd.Model:
    x = gd.input("x", gd.int64[()])
    return gd.build({"y": op.Loop(None, True, x, body=lambda i, going, s: (s > -1, s + 1))})


@pytest.mark.parametrize("witness", verify.WITNESSES)
def test_every_witness_takes_another_value_than_a_default(witness: str) -> None:
    text = "g (float[2] x, float[2] b) => (float[2] y) <float[2] b = {1, 2}> { y = Add (x, b) }"
    model = gd.load(onnx.parser.parse_model(f'<ir_version: 3, opset_import: ["" : 9]> {text}'))
    x, b = np.float32([1, 1]), np.float32([4, 4])
    found = verify.run(model, {"x": x, "b": b}, witness=witness)
    np.testing.assert_array_equal(found["y"], [5, 5])


@pytest.mark.parametrize("witness", verify.WITNESSES)
def test_every_witness_gives_the_outputs_by_name(witness: str) -> None:
    x = gd.input("x", gd.float32["n"])
    model = gd.build({"twice": x * 2, "positive": x > 0})
    found = verify.run(model, {"x": np.array([1, -2], np.float32)}, witness)
    assert isinstance(found, dict)
    assert {name: array.tolist() for name, array in found.items()} == {"twice": [2, -4], "positive": [True, False]}


def test_a_crash_is_an_answer_and_the_next_run_goes_on() -> None:
    model = quotient()
    for _ in range(2):
        assert verify.run(model, {"a": [MIN], "b": [-1]}) == verify.Crash("SIGFPE")
        assert verify.run(model, {"a": [7], "b": [2]}) == {"c": np.array([3])}


def test_a_refusal_says_whether_the_model_was_loaded() -> None:
    failed = verify.run(quotient(), {"a": [7], "b": [0]})
    assert isinstance(failed, verify.Refusal) and failed.loaded and "division by zero" in failed.message
    refused = verify.run(gd.build(op.Erf(gd.input("x", gd.float64[1]))), {"x": [1]})
    assert isinstance(refused, verify.Refusal) and not refused.loaded and "NOT_IMPLEMENTED" in refused.message


def test_a_run_that_takes_too_long_is_ended() -> None:
    model = endless()
    assert verify.run(model, {"x": 0}, seconds=0.5) == verify.Crash("more than 0.5 s")
    assert verify.run(model, {"x": -5}, seconds=20) == {"y": np.array(-4)}


def test_a_run_that_takes_too_much_memory_is_refused() -> None:
    size = gd.input("size", gd.int64[1])
    model = gd.build(op.ConstantOfShape(size, value=np.array([1], np.float32)))
    found = verify.run(model, {"size": [1 << 33]}, memory=4 << 30)  # allocators reserve a gigabyte and more
    assert isinstance(found, verify.Refusal | verify.Crash)
    small = verify.run(model, {"size": [3]}, memory=4 << 30)
    assert isinstance(small, dict) and small["output"].tolist() == [1, 1, 1]


def test_sequences_strings_optionals_and_foreign_dtypes_pass_between_the_processes() -> None:
    words, items = gd.input("words", gd.string[2]), gd.input("items", gd.sequence(gd.float32["n"]))
    model = gd.build({"w": op.Identity(words), "i": op.Identity(items), "n": op.SequenceLength(items)})
    found = verify.run(model, {"words": ["a", "é"], "items": [np.zeros(2, np.float32)] * 2})
    assert isinstance(found, dict)
    assert found["w"].tolist() == ["a", "é"] and len(found["i"]) == 2 and found["n"] == 2
    half = gd.input("half", gd.bfloat16[2])
    array = np.array([0.5, 2], gd.bfloat16.numpy)
    same = verify.run(gd.build({"y": op.Identity(half)}), {"half": array})
    assert isinstance(same, dict) and same["y"].dtype == gd.bfloat16.numpy and same["y"].tolist() == [0.5, 2]


def test_models_of_one_structure_share_a_session() -> None:
    first, second = quotient(), quotient()
    worker = Worker(1 << 32)
    try:
        from graphdsl.verify import witnesses

        jobs = []
        original, POOL.run = POOL.run, lambda job, feeds, limits: jobs.append(job) or worker.run(job, feeds, 20)
        try:
            for model in (first, second):
                witnesses.run(model, {"a": [7], "b": [2]})
        finally:
            POOL.run = original
        assert jobs[0].digest == jobs[1].digest
        # what is known is not sent again
        assert worker._known == {jobs[0].digest}
    finally:
        worker.close()


def test_threads_have_workers_of_their_own() -> None:
    model = quotient()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda n: verify.run(model, {"a": [n], "b": [1]}), range(8)))
    assert [outcome["c"].tolist() for outcome in found if isinstance(outcome, dict)] == [[n] for n in range(8)]


def test_a_worker_that_is_killed_from_outside_is_replaced() -> None:
    model = quotient()
    verify.run(model, {"a": [7], "b": [2]})
    for worker in POOL._idle:
        os.kill(worker._keeper.pid, signal.SIGKILL)
        worker._keeper.wait()
    assert verify.run(model, {"a": [7], "b": [2]}) == {"c": np.array([3])}


def test_an_answer_that_comes_as_time_is_up_is_not_that_of_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = quotient()
    assert verify.run(model, {"a": [7], "b": [2]}) == {"c": np.array([3])}

    def late(*ends: Any) -> Any:
        select.select(*ends)
        return [], [], []

    with monkeypatch.context() as patch:
        patch.setattr("graphdsl.apart.select", SimpleNamespace(select=late))
        assert verify.run(model, {"a": [8], "b": [2]}, seconds=5) == verify.Crash("more than 5 s")
    for number in (9, 11, 13):
        assert verify.run(model, {"a": [number], "b": [1]}) == {"c": np.array([number])}


def test_the_answer_to_a_run_that_was_interrupted_is_not_that_of_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*ends: Any) -> Any:
        raise KeyboardInterrupt

    model = quotient()
    with monkeypatch.context() as patch:
        patch.setattr("graphdsl.apart.select", SimpleNamespace(select=interrupted))
        with pytest.raises(KeyboardInterrupt):
            verify.run(model, {"a": [8], "b": [2]})
    for number in (9, 11):
        assert verify.run(model, {"a": [number], "b": [1]}) == {"c": np.array([number])}


def test_an_unknown_witness_is_refused() -> None:
    with pytest.raises(gd.SignatureError, match=r"there is no witness 'referenec'; did you mean 'reference'\?"):
        verify.run(quotient(), {"a": [7], "b": [2]}, "referenec")


def agreeing(name: str, witness: str) -> int:
    """How many runs of an operator by NumPy or torch were compared with the runtime, or with the reference."""
    first = schemas.since("", name)[0]
    found = verify.campaign(
        [name],
        dtypes=["float32", "int32", "bool", "int8"],
        opsets=[max(first, schemas.DEFAULT_OPSET)],
        examples=4 if settings.default.max_examples < 100 else 200,
        witnesses=("reference" if first > 26 else "unoptimised", witness),
        executor=verify.InProcess(),
    )
    assert [f"{result.task}: {result.reason}\n{result.repro}" for result in found.findings] == []
    return sum(result.ran.get(witness, 0) for result in found.results)


@pytest.mark.parametrize("name", interpreters.NUMPY)
def test_numpy_means_what_the_operator_does(name: str) -> None:
    assert agreeing(name, "numpy") > 0


@pytest.mark.parametrize("name", interpreters._torch()[1])
def test_torch_means_what_the_operator_does(name: str) -> None:
    assert agreeing(name, "torch") > 0


def test_torch_refuses_the_integers_of_which_it_makes_floats() -> None:
    """The error function of an integer is one to ONNX, up to opset 12."""
    with gd.opset(12):
        model = gd.build({"y": op.Erf(gd.input("x", gd.int32[1]))}, opset=12)
    found = verify.run(model, {"x": [1]}, "torch")
    assert isinstance(found, verify.Refusal) and "torch's erf of integers is a float" in str(found)


@pytest.mark.parametrize("witness, name", [("numpy", "Softmax"), ("torch", "Softmax"), ("torch", "LogSoftmax")])
def test_operators_that_meant_something_else_once_are_refused_there(witness: str, name: str) -> None:
    """Up to opset 12, the axis of Softmax made a matrix of the tensor."""
    for opset, kind in ((12, verify.Refusal), (13, dict)):
        x = gd.input("x", gd.float32[2, 2, 2])
        model = gd.build({"y": getattr(gd.opset(opset), name)(x, axis=1)}, opset=opset)
        assert isinstance(verify.run(model, {"x": np.zeros((2, 2, 2), np.float32)}, witness), kind)
