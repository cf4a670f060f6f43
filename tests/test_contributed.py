"""ONNX Runtime's own operators: their types are asked of the runtime, which is imported only then."""

import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import graphdsl as gd
from graphdsl import contributed, schemas

ms = gd.domain("com.microsoft", 1)
x = gd.input("x", gd.float32["n", 3, None])


def refusal(call: Any) -> list[str]:
    with pytest.raises(gd.InferenceError) as caught:
        call()
    return str(caught.value).splitlines()[:-1]


@pytest.fixture
def forgetful() -> Any:
    """The schema of Gelu, with an empty memory before and after."""
    schema = schemas.lookup("com.microsoft", "Gelu", 1)
    schema.memo.clear()
    yield schema
    schema.memo.clear()


def test_shapes_come_from_the_runtime() -> None:
    assert ms.Gelu(x).type == gd.float32["n", 3, None]
    assert ms.FusedMatMul(np.zeros((2, 3), "f"), np.zeros((4, 3), "f"), transB=1).type == gd.float32[2, 4]
    assert ms.Gelu(gd.input("s", gd.float64[()])).type == gd.float64[()]
    assert ms.MurmurHash3(gd.input("w", gd.string["n"])).type == gd.uint32["n"]


def test_unknown_rank_is_no_scalar() -> None:
    made = ms.Gelu(gd.input("u", gd.float32))
    assert made.rank is None and made.dtype == gd.float32


def test_several_outputs() -> None:
    values, indices, counts = ms.Unique(gd.input("v", gd.float32["n"]))
    assert (values.type, indices.type, counts.type) == (gd.float32[None], gd.int64["n"], gd.int64[None])


def test_operators_without_a_kernel_here_are_typed_too() -> None:
    half = gd.input("h", gd.float16["b", "s", 8])
    assert ms.Attention(half, np.zeros((8, 24), np.float16), np.zeros(24, np.float16), num_heads=2).type == half.type


def test_constants_are_shown() -> None:
    assert ms.ExpandDims(gd.input("e", gd.float32[2, 3]), np.int32(1)).type == gd.float32[2, 1, 3]
    assert ms.ExpandDims(gd.input("e", gd.float32[2, 3]), np.int32(0)).type == gd.float32[1, 2, 3]
    assert ms.Range(np.float32(0), np.float32(5), np.float32(1)).type == gd.float32[5]


def test_names_that_the_runtime_makes_up_are_dropped(monkeypatch: pytest.MonkeyPatch, forgetful: Any) -> None:
    monkeypatch.setattr(contributed, "_outputs", lambda model: [("tensor(float)", ["n", "Gelu_o0_dim_1", 7])])
    assert ms.Gelu(x).type == gd.float32["n", None, 7]


def test_a_refusal_names_inputs_types_and_line() -> None:
    assert refusal(lambda: ms.Gelu(gd.input("i", gd.int32[3]))) == [
        "com.microsoft::Gelu: X is int32, which is not allowed; it takes float16, bfloat16, float32, float64",
        "  inputs: X int32[3]",
    ]
    assert refusal(lambda: ms.FusedMatMul(np.zeros((2, 3), "f"), np.zeros((4, 3), "f"))) == [
        "com.microsoft::FusedMatMul: Incompatible dimensions for matrix multiplication",
        "  inputs: A float32[2, 3], B float32[4, 3]",
    ]
    assert refusal(lambda: ms.EngramGate(*[x] * 6))[0] == "com.microsoft::EngramGate: key must have rank 4"


def test_names_and_arity_are_checked_as_everywhere() -> None:
    with pytest.raises(gd.SignatureError, match=r"^com\.microsoft::Gelu takes 1 input, got 2; it takes \(X\)\n  at "):
        ms.Gelu(x, x)
    with pytest.raises(gd.SignatureError, match=r"no attribute or input 'transb'; did you mean 'transB'\?; it takes"):
        ms.FusedMatMul(x, x, transb=1)


def test_each_question_is_asked_once(monkeypatch: pytest.MonkeyPatch, forgetful: Any) -> None:
    asked = []
    original = contributed._outputs
    monkeypatch.setattr(contributed, "_outputs", lambda model: asked.append(model) or original(model))
    for _ in range(3):
        ms.Gelu(x)
    assert len(asked) == 1


def test_what_the_runtime_cannot_say_is_unknown() -> None:
    made = ms.ReduceSumInteger(gd.input("i", gd.int8[2, 3]), axes=[0], keepdims=0)
    assert made.type is None
    with pytest.raises(gd.BuildError, match=r"\(made by com\.microsoft::ReduceSumInteger\) is not known"):
        gd.build(made)


def test_a_model_with_such_an_operator_runs_and_has_the_types_inferred() -> None:
    inputs = gd.input("a", gd.float32["n", 4]), gd.input("b", gd.float32["m", 4])
    made = ms.FusedMatMul(*inputs, transB=1, alpha=0.5)
    model = gd.build({"y": ms.QuickGelu(made)})
    assert model.opset_imports == {"": 21, "com.microsoft": 1}
    proto = model.to_proto()
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    a, b = np.ones((2, 4), "f"), np.ones((3, 4), "f")
    (found,) = session.run(None, {"a": a, "b": b})
    assert np.allclose(found, 2 / (1 + np.exp(-1.702 * 2)))
    assert made.type == gd.float32["n", "m"] and found.shape == (2, 3)


# Without the runtime


def test_without_the_runtime_type_variables_say_the_dtype(monkeypatch: pytest.MonkeyPatch, forgetful: Any) -> None:
    monkeypatch.setattr(contributed, "_runtime", lambda: None)
    made = ms.Gelu(x)
    assert made.rank is None and made.dtype == gd.float32


def test_without_the_runtime_the_operators_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_contributed", dict)
    monkeypatch.setattr(schemas, "_found", {})
    with pytest.raises(gd.UnknownOperator) as caught:
        gd.domain("com.microsoft", 1).NoSuchThing  # noqa: B018
    assert str(caught.value).split("\n")[0] == (
        "the operators of 'com.microsoft' are known from ONNX Runtime, which is not installed: no 'NoSuchThing'"
    )


def test_the_runtime_is_imported_only_for_such_operators() -> None:
    program = """
import sys
import graphdsl as gd
from graphdsl import op
x = gd.input("x", gd.float32[3])
op.Relu(x)
gd.domain("ai.onnx.ml", 1).Scaler(x)
gd.domain("com.microsoft", 1)
assert "onnxruntime" not in sys.modules
gd.domain("com.microsoft", 1).Gelu(x)
assert "onnxruntime" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# All of them


@pytest.mark.parametrize("name", schemas.operators("com.microsoft"))
def test_every_operator_has_a_signature_and_a_text(name: str) -> None:
    function = getattr(ms, name)
    schema = schemas.lookup("com.microsoft", name, 1)
    parameters = [parameter.rstrip("_") for parameter in inspect.signature(function).parameters]
    assert parameters[: len(schema.inputs)] == [formal.name for formal in schema.inputs]
    assert set(schema.attributes) <= set(parameters)
    first = function.__doc__.splitlines()[0]
    assert first == f"com.microsoft::{name}, as of opset 1 (ONNX Runtime, ContribOperators.md)."


def test_attributes_and_defaults_are_read() -> None:
    schema = schemas.lookup("com.microsoft", "FusedMatMul", 1)
    assert schema.attributes["alpha"].kind == onnx.AttributeProto.FLOAT
    assert inspect.signature(ms.FusedMatMul).parameters["alpha"].default == 1.0
    assert schemas.lookup("com.microsoft", "Attention", 1).attributes["num_heads"].required
