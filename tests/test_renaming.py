"""Tensors under other names: everything else stays, and names that are taken are refused."""

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
    h = Mul (x, w)
    b = If (c) <
        then_branch = one () => (float[2] t) { s = Neg (h) t = Abs (s) },
        else_branch = two () => (float[2] t) { t = Abs (h) }
    >
    y = Add (b, h)
}"""


def parsed() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


def under(names: dict[str, str], graph: onnx.GraphProto) -> None:
    """Write names into a graph and its bodies, one string after the other."""
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = names.get(named.name, named.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            under(names, attribute.g)


@pytest.mark.parametrize(
    "names",
    [
        {"x": "image"},
        {"w": "weight"},
        {"h": "scaled"},
        {"y": "features"},
        {"x": "a", "w": "b", "h": "d", "y": "e", "b": "f", "c": "g"},
        {"x": "w", "w": "x"},
    ],
)
def test_a_model_under_other_names_is_the_one_written_with_them(names: dict[str, str]) -> None:
    expected = parsed()
    under(names, expected.graph)
    model = gd.load(parsed())
    renamed = gd.rename(model, names)
    assert renamed.to_proto() == expected
    assert model.to_proto() == parsed()


def test_a_tensor_in_a_body_is_named_by_its_path() -> None:
    renamed = gd.rename(gd.load(parsed()), {("b", "then_branch", "s"): "negated"})
    assert renamed["b", "then_branch", "negated"].shape == (2,)
    assert "negated = Neg" in onnx.printer.to_text(renamed.to_proto())
    ending = gd.rename(gd.load(parsed()), {("b", "else_branch", "t"): "last"})
    assert [node.op_type for node in ending["b"]._v.node.attributes["else_branch"].nodes] == ["Abs"]
    assert "(float[2] last)" in onnx.printer.to_text(ending.to_proto())
    x = np.float32([1, -2])
    np.testing.assert_array_equal(ending(x, False), gd.load(parsed())(x, False))


def test_built_models_are_renamed_too_and_keep_their_lines_and_types() -> None:
    x = gd.input("x", gd.float32["n"])
    h = op.Relu(x)
    model = gd.build({"y": h * 2, "z": x})
    renamed = gd.rename(model, {"Relu_0": "positive", "y": "twice", "z": "same"})
    assert renamed.output_names == ("twice", "same")
    assert renamed["positive"].shape == ("n",)
    assert renamed.nodes[0].site == h._v.site
    assert [node.op_type for node in renamed.to_proto().graph.node] == ["Relu", "Mul", "Identity"]
    np.testing.assert_array_equal(renamed.run({"x": [1, -1]})["twice"], [2, 0])


def test_quantization_annotations_and_declared_types_follow() -> None:
    proto = parsed()
    annotation = proto.graph.quantization_annotation.add(tensor_name="h")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [2]))
    made = gd.rename(gd.load(proto), {"h": "k", "w": "scale"}).to_proto().graph
    (annotation,) = made.quantization_annotation
    assert (annotation.tensor_name, annotation.quant_parameter_tensor_names[0].value) == ("k", "scale")
    assert [info.name for info in made.value_info] == ["k"]


def test_weights_are_not_copied() -> None:
    model = gd.load(parsed())
    assert gd.weights_of(gd.rename(model, {"w": "v"}))["v"] is gd.weights_of(model)["w"]


def test_a_tensor_that_a_model_holds_is_renamed_as_the_error_says() -> None:
    x = gd.input("x", gd.float32[2])
    y = x * 2
    model = gd.build({"y": y + 1})
    with pytest.raises(gd.NameConflict, match=r"write gd\.rename"):
        y.named("twice")
    assert gd.rename(model, {"Mul_0": "twice"})["twice"].shape == (2,)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"x": "h"}, "gd.rename: 'x' cannot be named 'h': another tensor has this name"),
        ({"x": "t"}, "gd.rename: 'x' cannot be named 't': another tensor has this name"),
        ({"x": "q", "w": "q"}, "gd.rename: 'x' and 'w' cannot both be named 'q'"),
        ({"x": ""}, "gd.rename: 'x': a name is a non-empty str, not ''"),
        ({"X": "q"}, "has no tensor 'X'; did you mean 'x'?"),
        ({"t": "q"}, "2 tensors 't', in bodies; write model['b', 'then_branch', 't']"),
        ([("x", "y")], "gd.rename takes a dict from old names to new ones, got list"),
    ],
)
def test_what_cannot_be_renamed_is_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        gd.rename(gd.load(parsed()), names)
    assert message in str(caught.value)


def test_names_that_training_information_mentions_are_refused() -> None:
    proto = parsed()
    proto.training_info.add().update_binding.add(key="w", value="w_new")
    with pytest.raises(gd.NameConflict, match="training information mentions 'w' and 'w_new', which is not renamed"):
        gd.rename(gd.load(proto), {"w": "v"})
    assert gd.rename(gd.load(proto), {"x": "v"}).inputs[0].name == "v"
