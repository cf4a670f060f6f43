"""The model that users hold: what it says of itself, its tensors by name, its nodes, its text."""

import dataclasses
import gc
import weakref
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import graphdsl as gd
from graphdsl import op, printing


@gd.model
def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
    return {"out": (a * x).named("c") + b}


# What it says of itself


def test_the_properties_of_a_model() -> None:
    assert [t.name for t in linear_func.inputs] == ["a", "x", "b"]
    assert [t.type for t in linear_func.outputs] == [gd.float32[10, 10]]
    assert linear_func.output_names == ("out",)
    assert linear_func.name == "linear_func"
    assert linear_func.opset == 21
    assert linear_func.opset_imports == {"": 21}
    assert linear_func.ir_version == 10
    assert linear_func.functions == ()
    assert linear_func.metadata == {}


def test_output_names_are_those_of_the_proto() -> None:
    x = gd.input("x", gd.float32["n"])
    model = gd.build([x * 2, (x + 1).named("more"), x, x])
    assert model.output_names == ("output_0", "more", "output_2", "output_3")
    assert model.output_names == tuple(info.name for info in model.to_proto().graph.output)


def test_repr_is_one_short_line() -> None:
    assert repr(linear_func) == (
        "<Model 'linear_func'(a: float32[10, 10], x: float32[10, 10], b: float32[10, 10]), 2 nodes, opset 21>"
    )


def test_nodes_are_read_as_plain_python_values() -> None:
    x = gd.input("x", gd.float32["n", 3, 10, 10])
    weight = np.ones((8, 3, 3, 3), np.float32)
    (conv,) = gd.build(op.Conv(x, weight, pads=np.array([1, 1, 1, 1]), auto_pad="NOTSET")).nodes
    assert conv.op_type == "Conv"
    assert conv.domain == ""
    assert dict(conv.attributes) == {"auto_pad": "NOTSET", "pads": (1, 1, 1, 1)}
    assert [type(v) for v in conv.attributes["pads"]] == [int] * 4
    image, kernel = conv.inputs
    assert image is not None
    assert kernel is not None
    assert (image.name, image.type) == ("x", gd.float32["n", 3, 10, 10])
    assert kernel.array is not None
    assert np.array_equal(kernel.array, weight)
    assert repr(image) == "<input 'x': float32['n', 3, 10, 10]>"
    assert repr(conv.outputs[0]) == "<output 0 of Conv: float32['n', 8, 10, 10]>"
    assert repr(conv) == "<Conv node, 2 inputs, 1 outputs>"


def test_an_absent_input_of_a_node_is_none() -> None:
    x = gd.input("x", gd.float32["h", "w"])
    (resize,) = gd.build(op.Resize(x, None, np.float32([2, 2]))).nodes
    assert [value is None for value in resize.inputs] == [False, True, False]


# Tensors by name


def test_a_tensor_is_found_by_its_name() -> None:
    assert linear_func["c"].is_same(linear_func["c"])
    assert linear_func["a"].is_same(linear_func.inputs[0])
    assert linear_func["out"].is_same(linear_func.outputs[0])
    assert linear_func["c"].type == gd.float32[10, 10]


def test_every_name_in_the_proto_finds_its_tensor() -> None:
    flag, x = gd.input("flag", gd.bool[()]), gd.input("x", gd.float32["n"])
    both = op.If(flag, then_branch=lambda: (x * 2).named("doubled"), else_branch=lambda: op.Relu(x) - 3)
    model = gd.build({"y": both, "same": both, "handed": x})
    proto = model.to_proto().graph
    for node in proto.node:
        for name in node.output:
            assert model[name].type == both.type or name == "handed"
    for tensor in proto.initializer:
        assert model[tensor.name].value is not None
    assert model["doubled"].type == gd.float32["n"]
    assert model["same"].is_same(model["y"])
    assert model["handed"].is_same(model["x"])


def branches() -> gd.Model:
    """Tensors of one name in two branches, in the graph, and in a branch of a branch."""
    flag, x = gd.input("flag", gd.bool[()]), gd.input("x", gd.float32["n"])

    def inner() -> Any:
        return op.If(
            flag,
            then_branch=lambda: op.Sigmoid((-x).named("deep")),
            else_branch=lambda: op.Tanh((x * 3).named("t")),
        ).named("nested")

    first = op.If(
        flag,
        then_branch=lambda: op.Relu((x * 2).named("t")) + inner(),
        else_branch=lambda: op.Exp((x - 1).named("s")) + (x + 1).named("t"),
    )
    return gd.build({"y": (first.sum()).named("s"), "first": first}, name="branches")


def test_a_tensor_says_what_it_is_called() -> None:
    x = gd.input("x", gd.float32["n"])
    y = op.If(x.sum() > 0, then_branch=lambda: x * 2 + 1, else_branch=lambda: x)
    model = gd.build({"y": y, "again": y, "x": x})
    assert [model.name_of(value) for node in model.nodes for value in node.outputs] == ["ReduceSum_0", "Greater_0", "y"]
    assert model.name_of(model["Greater_0"]) == "Greater_0" and model.name_of(x) == "x"
    inner = model["y", "then_branch", "Mul_0"]
    assert inner.name is None and model.name_of(inner) == "Mul_0"
    for stranger in (x + 1, None, "x"):
        with pytest.raises(gd.GraphError, match=r"is no tensor of model 'graph'\n.*test_models\.py"):
            model.name_of(stranger)  # type: ignore[arg-type]


def test_the_outermost_of_two_tensors_of_one_name_is_found() -> None:
    assert branches()["s"].type == gd.float32[()]


def test_a_tensor_in_a_body_is_found_by_its_path() -> None:
    model = branches()
    makers = {
        ("first", "then_branch", "t"): "Mul",
        ("first", "else_branch", "t"): "Add",
        ("first", "else_branch", "s"): "Sub",
        ("first", "then_branch", "nested", "then_branch", "deep"): "Neg",
        ("first", "then_branch", "nested", "else_branch", "t_1"): "Mul",
        ("first",): "If",
    }
    for path, maker in makers.items():
        node = model[path]._v.node
        assert node is not None
        assert (path, node.op_type) == (path, maker)
    assert model["deep"].is_same(model["first", "then_branch", "nested", "then_branch", "deep"])
    assert model["t_1"].is_same(model["first", "then_branch", "nested", "else_branch", "t_1"])


A_PATH = (
    "a path is the name of a tensor, the attribute of its node that holds a body, and the name of a tensor in that body"
)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "t",
            "2 tensors 't', in bodies; write model['first', 'else_branch', 't'] or model['first', 'then_branch', 't']",
        ),
        (("first", "then_branch", "tt"), "no tensor 'tt' in 'then_branch' of 'first'; did you mean 't'?"),
        (
            ("first", "branch", "t"),
            "no body 'branch' in the node that makes 'first'; it has 'else_branch', 'then_branch'",
        ),
        (("x", "body", "t"), "no body 'body' in the node that makes 'x'"),
        (("first", "then_branch"), f"no tensor at ('first', 'then_branch'); {A_PATH}"),
        ((), f"no tensor at (); {A_PATH}"),
        (("none", "then_branch", "t"), "no tensor 'none'"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: Any, message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        branches()[path]
    assert str(caught.value).splitlines()[0] == f"model 'branches' has {message}"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(gd.GraphError) as caught:
        linear_func["outt"]
    assert str(caught.value).splitlines()[0] == "model 'linear_func' has no tensor 'outt'; did you mean 'out'?"
    name: Any = 3
    with pytest.raises(gd.GraphError, match="model 'linear_func' has no tensor 3"):
        linear_func[name]


# Changed copies


def test_replace_keeps_the_class_and_forgets_what_was_computed() -> None:
    assert linear_func.output_names == ("out",)
    renamed = dataclasses.replace(
        linear_func,
        metadata={"key": "value"},
        graph=dataclasses.replace(
            linear_func.graph, outputs=(linear_func.graph.outputs[0]._replace(name="other"),), name="renamed"
        ),
    )
    assert type(renamed) is gd.Model
    assert renamed.output_names == ("other",)
    assert renamed.metadata == {"key": "value"}
    assert linear_func.output_names == ("out",)
    array = np.ones((10, 10), np.float32)
    assert renamed.run({"a": array, "x": array, "b": array})["other"].tolist() == (array * 2).tolist()


def test_models_are_compared_by_identity_and_cannot_be_changed() -> None:
    assert linear_func == linear_func
    assert linear_func != dataclasses.replace(linear_func)
    with pytest.raises(dataclasses.FrozenInstanceError):
        linear_func.ir_version = 8  # type: ignore[misc]


def test_weights_are_held_and_not_copied() -> None:
    weight = np.ones((300, 1000), np.float32)
    model = gd.build({"y": gd.input("x", gd.float32["n", 300]) @ weight})
    assert model.output_names == ("y",)
    assert "float32[300, 1000]" in str(model)
    held = model.nodes[0].inputs[1]
    assert held is not None
    assert held.array is not None
    assert np.shares_memory(held.array, weight)
    assert not held.array.flags.writeable


def test_a_model_is_freed_when_nobody_holds_it() -> None:
    model = gd.build({"y": gd.input("x", gd.float32["n"]) + 1})
    assert model.output_names == ("y",)
    known = weakref.ref(model)
    del model
    gc.collect()
    assert known() is None


# Called on tensors


def test_a_model_called_on_tensors_becomes_part_of_their_graph() -> None:
    @gd.model
    def twice(t: gd.float32["n"], by: gd.float32[()] = 2.0):
        return t * by

    x = gd.input("x", gd.float32["n"])
    model = gd.build({"y": twice(x) + twice(x, np.float32(3))})
    assert [node.op_type for node in model.nodes] == ["Mul", "Mul", "Add"]
    assert model([1, 2]).tolist() == [5, 10]


def test_a_call_on_tensors_names_what_is_missing() -> None:
    x = gd.input("x", gd.float32[10, 10])
    with pytest.raises(gd.FeedError) as caught:
        linear_func(x, q=x)
    assert str(caught.value).splitlines()[:-1] == [
        "model 'linear_func':",
        "  there is no input 'q'; it takes 'a', 'x', 'b'",
        "  input 'x' (float32[10, 10]) is missing",
        "  input 'b' (float32[10, 10]) is missing",
    ]


# Its text


def test_the_text_of_a_small_model() -> None:
    assert str(linear_func) == (
        "<ir_version 10, opset ai.onnx 21>\n"
        "linear_func (float32[10, 10] a, float32[10, 10] x, float32[10, 10] b) => (float32[10, 10] out)\n"
        "{\n"
        "   c = Mul (a, x)                                             # float32[10, 10]\n"
        "   out = Add (c, b)                                           # float32[10, 10]\n"
        "}"
    )


def test_the_text_shows_attributes_small_constants_and_only_the_types_of_large_ones() -> None:
    @gd.model(opset=18)
    def srcnn(image: gd.float32[1, 3, 8, 8]):
        up = op.Resize(image, None, np.float32([1, 1, 2, 2]), mode="cubic")
        weight = gd.constant(np.ones((64, 3, 9, 9), np.float32), "w1")
        features = op.Conv(up, weight, np.zeros(64, np.float32), pads=[4, 4, 4, 4])
        values, places = op.TopK(features.reshape(-1), [2])
        return {"best": values * 0.5, "at": places}

    model = dataclasses.replace(srcnn, metadata={"author": "a\nb"})
    assert str(model) == (
        "<ir_version 8, opset ai.onnx 18>\n"
        "<author = 'a\\nb'>\n"
        "srcnn (float32[1, 3, 8, 8] image) => (float32[2] best, int64[2] at)\n"
        "<\n"
        "   float32[4] const_0 = {1.0, 1.0, 2.0, 2.0}\n"
        "   float32[64, 3, 9, 9] w1 = {...}\n"
        "   float32[64] const_1 = {...}\n"
        "   int64[1] const_2 = {-1}\n"
        "   int64[1] const_3 = {2}\n"
        "   float32[()] const_4 = {0.5}\n"
        ">\n"
        "{\n"
        "   Resize_0 = Resize <mode = 'cubic'> (image, , const_0)      # float32[1, 3, 16, 16]\n"
        "   Conv_0 = Conv <pads = [4, 4, 4, 4]> (Resize_0, w1, const_1)  # float32[1, 64, 16, 16]\n"
        "   Reshape_0 = Reshape (Conv_0, const_2)                      # float32[16384]\n"
        "   TopK_0, at = TopK (Reshape_0, const_3)                     # float32[2], int64[2]\n"
        "   best = Mul (TopK_0, const_4)                               # float32[2]\n"
        "}"
    )


def test_the_text_shows_bodies_and_functions() -> None:
    @gd.function(domain="my")
    def scale(a, *, by: float = 2.0):
        return a * np.float32([1, 2]) + by

    @gd.model
    def branching(flag: gd.bool[()], x: gd.float32[2]):
        return {"y": op.If(flag, then_branch=lambda: scale(x), else_branch=lambda: op.Relu(x))}

    assert str(branching) == (
        "<ir_version 10, opset ai.onnx 21, my 1>\n"
        "branching (bool[()] flag, float32[2] x) => (float32[2] y)\n"
        "{\n"
        "   y = If (flag)                                              # float32[2]\n"
        "      else_branch = else_branch () => (float32[2] output)\n"
        "      {\n"
        "         output = Relu (x)                                    # float32[2]\n"
        "      }\n"
        "      then_branch = then_branch () => (float32[2] output)\n"
        "      {\n"
        "         output = my.scale (x)                                # float32[2]\n"
        "      }\n"
        "}\n"
        "\n"
        "<domain my, opset ai.onnx 21>\n"
        "scale <by = 2.0> (a) => (output)\n"
        "{\n"
        "   const_0 = Constant <value = float32[2] {1.0, 2.0}> ()      # float32[2]\n"
        "   Constant_0 = Constant <value_float = @by> ()               # float32[()]\n"
        "   Mul_0 = Mul (a, const_0)                                   # float32[2]\n"
        "   output = Add (Mul_0, Constant_0)                           # float32[2]\n"
        "}"
    )


def test_the_text_shows_copies_of_outputs() -> None:
    x = gd.input("x", gd.float32["n"])
    model = gd.build({"y": (x + 1).named("t"), "same": x})
    assert "   y = Identity (t)\n   same = Identity (x)\n}" in str(model)


def test_the_text_is_never_megabytes() -> None:
    x = gd.input("x", gd.float32["n"])
    y = x
    for i in range(2500):
        y = y + np.full(100, i, np.float32)
    model = gd.build({"y": op.Concat(y, *[x] * 30, axis=0), "t": op.Constant(value_ints=list(range(10_000)))})
    text = str(model)
    assert len(text) < 200_000
    assert "   # ... 1,502 more nodes ...\n" in text
    assert "   # ... 1,500 more weights ...\n" in text
    assert "value_ints = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, ...]" in text


@pytest.mark.parametrize(
    ("name", "shown"), [("a b", "'a b'"), ("a\nb", r"'a\nb'"), ("x:0/é", "x:0/é"), ("a\u202eb", r"'a\u202eb'")]
)
def test_names_that_would_not_read_as_one_are_quoted(name: str, shown: str) -> None:
    assert f"(float32['n'] {shown}) => " in str(gd.build(gd.input(name, gd.float32["n"]) + 1))


def test_a_long_value_is_cut() -> None:
    text = str(gd.build({"y": op.Identity(gd.constant(np.array(["word " * 50, "é"], object)))}))
    assert "   string[2] const_0 = {'word word word word word word word word word word word w..., 'é'}\n" in text


def test_weights_of_bodies_are_shown_with_their_bodies() -> None:
    info = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])]
    weight = [onnx.numpy_helper.from_array(np.float32([1, 2]), "w"), onnx.numpy_helper.from_array(np.ones(9), "v")]
    body = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "branch", [], info, weight)
    node = helper.make_node("If", ["c"], ["out"], then_branch=body, else_branch=body)
    inputs = [helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [2])])
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    model = gd.load(proto)
    assert "      <\n         float32[2] w = {1.0, 2.0}\n         float64[9] v = {...}\n      >\n" in str(model)
    assert model(True).tolist() == [1, 2]
    assert printing.model_text(model) == str(model)
