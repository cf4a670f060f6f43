"""The cuts that are easily got wrong: each is right by ONNX's checker, ONNX Runtime and the whole model's values."""

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from benchmarks.cuts import Case, cases, is_valid, judge, session, with_graphdsl, with_onnx

CASES = {case.name: case for case in cases()}
CALLED = CASES["functions: called by one in a body"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_cut_is_right(case: Case) -> None:
    assert judge(case, with_graphdsl) == "right"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_cut_is_a_model(case: Case) -> None:
    whole = case.sorted or case.model
    assert is_valid(whole, full_check=False)
    assert session(whole).get_outputs()


def test_the_judge_objects() -> None:
    plain = CASES["an output is an input"]
    whole = plain.model
    assert judge(plain, lambda *_: whole) == "other inputs"
    assert judge(plain, lambda model, *_: with_graphdsl(model, ["b", "z"], ["b"])) == "other outputs"

    def changed(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
        part = with_graphdsl(model, inputs, outputs)
        part.graph.node[0].op_type = "Sub"
        return part

    assert judge(plain, changed) == "wrong values"
    assert judge(CASES["an If captures nodes and weights, nested too"], with_onnx) == "invalid model"
    assert judge(CASES["a needed graph input is not listed"], with_onnx) == "invalid model"
    assert judge(CASES["the output is an initializer"], with_onnx) == "error"
    needed = CASES["a needed graph input is not listed"]
    assert judge(needed, lambda model, *_: with_graphdsl(model, ["a", "z"], ["y"])) == "a part that runs without it"

    def silent(*_: object) -> onnx.ModelProto:
        raise ValueError("no")

    assert judge(needed, silent) == "error without its name"


@pytest.mark.parametrize(
    ("name", "spoil", "objection"),
    [
        ("quantization annotations", lambda part: part.graph.ClearField("quantization_annotation"), "the annotation"),
        ("what model, graph and nodes say besides", lambda part: part.graph.node[0].ClearField("name"), "a node says"),
        ("what model, graph and nodes say besides", lambda part: part.ClearField("model_version"), "the model says"),
        ("functions: overloads", lambda part: part.functions.add().CopyFrom(part.functions[0]), "invalid model"),
        ("functions: none is needed", lambda part: part.functions.extend(CALLED.model.functions), "other functions"),
        ("a sparse initializer", lambda part: part.graph.ClearField("sparse_initializer"), "invalid model"),
    ],
)
def test_the_judge_looks_at_what_a_case_is_about(name: str, spoil: Callable[..., Any], objection: str) -> None:
    def spoiled(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
        part = with_graphdsl(model, inputs, outputs)
        spoil(part)
        return part

    assert objection in judge(CASES[name], spoiled)
