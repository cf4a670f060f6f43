"""What is wrong with a model, everything at once; and what is doubtful."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphdsl as gd
from graphdsl import op


def parsed(body: str, imports: str = '"" : 17') -> onnx.ModelProto:
    return onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {body}")


def findings(proto: onnx.ModelProto) -> tuple[str, ...]:
    with pytest.raises(gd.CheckError) as caught:
        gd.check(proto)
    return caught.value.findings


def test_every_finding_comes_at_once_with_its_node() -> None:
    proto = parsed(
        """g (float[2, 3] x) => (float[2, 3] y) {
            a = MatMul (x, x)
            b = Concat (x, x)
            c = Relu <alpha = 1.0> (x)
            d = Softmax <axis = 1.5> (x)
            e = Add (x)
            f, k = Neg (x)
            y = Relu (x)
        }"""
    )
    proto.graph.node[1].name = "join"
    found = [text.splitlines()[0] for text in findings(proto)]
    assert found[0].startswith("node MatMul ('a'): MatMul: A has size 3 on axis -1 and B has size 2 on axis -2;")
    assert found[1:] == [
        "node Concat 'join' ('b'): attribute 'axis' is required",
        "node Relu ('c'): no attribute 'alpha'; it has none",
        "node Softmax ('d'): attribute 'axis' is an int, got a float",
        "node Add ('e'): it takes 2 inputs, got 1",
        "node Neg ('f', 'k'): it has 1 output, got 2",
    ]


def test_bodies_and_functions_are_checked() -> None:
    proto = parsed(
        """g (float[2, 3] x, bool c) => (float[a, b] y, float[2, 3] z) {
            y = If (c) < then_branch = one () => (float[2, 2] t) { t = MatMul (x, x) },
                         else_branch = two () => (float[2, 3] t) { t = Neg (x) } >
            z = my.thing (x)
        }
        <domain: "my", opset_import: ["" : 17]> thing (a) => (b) { b = Concat (a, a) }""",
        '"" : 17, "my" : 1',
    )
    found = [text.splitlines()[0] for text in findings(proto)]
    assert found[0].startswith("node MatMul ('t'): MatMul: A has size 3 on axis -1 and B has size 2")
    assert found[1] == "node Concat ('b'): attribute 'axis' is required"


def test_what_only_onnx_finds_is_found() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { y = Relu (x) }")
    proto.ir_version = 99
    (text,) = findings(proto)
    assert "IR version" in text or "ir_version" in text


def test_a_finding_names_the_line_that_made_the_node() -> None:
    model = gd.build({"y": op.Relu(gd.input("x", gd.float32)) + 1})
    with pytest.raises(gd.CheckError) as caught:
        gd.check(model)
    assert "the output 'y'" in caught.value.findings[1] and "test_checking.py" in caught.value.findings[1]


def test_large_weights_of_a_file_are_left_out_and_their_shapes_are_not(tmp_path: Path) -> None:
    x = gd.input("x", gd.float32[4, 600])
    gd.build({"y": x @ np.ones((600, 600), np.float32)}).save(tmp_path / "m.onnx", external_data=True)
    assert gd.check(tmp_path / "m.onnx") == ()


# Notes


def test_names_of_sizes_that_cannot_be_right_are_noted() -> None:
    # what torch's older exporter writes of a network that shrinks its image
    proto = parsed(
        """g (float[n, 3, height, width] x, float[4, 3, 3, 3] w) => (float[n, 4, height, other] y) {
            h = Conv (x, w)
            y = Relu (h)
        }"""
    )
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["other", 4, "a", "b"]))
    notes = [note.splitlines()[0] for note in gd.check(proto)]
    assert notes == [
        "'y' is declared float32['n', 4, 'height', 'other'], where 'height' is 'height - 2', and elsewhere 'height'",
        "'h' is declared float32['other', 4, 'a', 'b'], where 'other' is 'n', and elsewhere 'width - 2'",
    ]


def test_expressions_that_are_right_are_no_note_and_are_saved() -> None:
    proto = parsed("g (float[1, 3, h, w] x, float[4, 3, 3, 3] k) => (float[1, 4, a, b] y) { y = Conv (x, k) }")
    for dim, text in zip(proto.graph.output[0].type.tensor_type.shape.dim[2:], ("h - 2", "w - 2"), strict=True):
        dim.dim_param = text
    model = gd.load(proto)
    assert model.outputs[0].shape == (1, 4, gd.Dim("h") - 2, gd.Dim("w") - 2)
    assert gd.check(model) == ()
    assert model.to_proto() == proto
    part = gd.build({"z": model["y"] * 2}, opset=17).to_proto()
    assert [d.dim_param for d in part.graph.output[0].type.tensor_type.shape.dim][2:] == ["h - 2", "w - 2"]


def test_sizes_that_exporters_write_for_unknown_ones_are_unknown() -> None:
    proto = parsed("g (float[a, b, 3] x) => (float[a, b, 3] y) { y = Relu (x) }")
    first, second, _ = proto.graph.input[0].type.tensor_type.shape.dim
    first.dim_value, second.dim_param = -1, "?"
    model = gd.load(proto)
    assert model.inputs[0].shape == (None, None, 3)
    assert gd.check(model)[0] == "'x' is declared with a size of -1, which is taken as unknown"
    assert model.to_proto() == proto
    assert model(np.ones((2, 5, 3), np.float32)).shape == (2, 5, 3)


def test_every_node_that_the_runtime_cannot_run_is_noted() -> None:
    x, y = gd.input("x", gd.int16[2]), gd.input("y", gd.float64[3])
    model = gd.build({"a": op.Relu(x), "b": op.Gelu(y), "c": op.Abs(y)})
    first, second = gd.check(model)
    assert first.startswith("ONNX Runtime here cannot run Relu: ONNX Runtime ")
    assert "has no kernel of Relu (since opset 14) for these types" in first and "test_checking.py" in first
    assert second.startswith("ONNX Runtime here cannot run Gelu: ") and "test_checking.py" in second


def test_a_model_that_the_runtime_refuses_as_a_whole_is_one_note() -> None:
    model = gd.build({"y": op.Relu(gd.input("x", gd.float32[2]))}, opset=28)
    (note,) = gd.check(model)
    assert "write gd.convert_opset(model, 26)" in note
    assert gd.check(gd.convert_opset(model, 26)) == ()
