"""Models read from files: nothing lost, composed like any other, refused with a reason."""

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.case.node import collect_testcases

import graphdsl as gd
from graphdsl import op

DATA = Path(onnx.backend.test.__file__).parent / "data"
FILES = sorted(DATA.rglob("*.onnx"))


def parsed(body: str, imports: str = '"" : 17') -> onnx.ModelProto:
    return onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {body}")


def same_bytes(model: gd.Model, proto: onnx.ModelProto) -> bool:
    return model.to_proto().SerializeToString() == proto.SerializeToString()


@pytest.mark.parametrize("name", ["y", "t", "later"])
def test_names_of_bodies_may_stand_for_other_tensors_outside(name: str) -> None:
    proto = parsed(
        f"""g (float[2] x, bool c) => (float[2] y) {{
            a = If (c) <
                then_branch = one () => (float[2] {name}) {{ {name} = Relu (x) }},
                else_branch = two () => (float[2] z) {{
                    z = If (c) <
                        then_branch = three () => (float[2] u) {{ {name} = Abs (x) u = Exp ({name}) }},
                        else_branch = four () => (float[2] a) {{ a = Neg (x) }}
                    >
                }}
            >
            later = Abs (a)
            y = Add (later, a)
        }}"""
    )
    onnx.checker.check_model(proto, full_check=True)
    model = gd.load(proto)
    x = np.float32([1, -2])
    np.testing.assert_array_equal(model(x, True), [2, 0])
    np.testing.assert_array_equal(model(x, False), [0, 4])
    assert same_bytes(model, proto)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_models_of_the_onnx_package_come_back_byte_for_byte(path: Path) -> None:
    proto = onnx.load(path, load_external_data=False)
    assert same_bytes(gd.load(path), proto)


def test_node_cases_come_back_byte_for_byte_and_typed() -> None:
    cases = collect_testcases(None)
    assert len(cases) > 1800
    lost = []
    for case in cases:
        model = gd.load(case.model)
        if not same_bytes(model, case.model) or any(tensor.type is None for tensor in model.outputs):
            lost.append(case.name)
    assert lost == []


def test_a_model_that_differs_is_seen_to_differ() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { y = Relu (x) }")
    model = gd.load(proto)
    proto.graph.node[0].doc_string = "changed"
    assert not same_bytes(model, proto)


def test_everything_that_a_file_says_is_kept() -> None:
    proto = parsed(
        """g (float[n] x) => (float[n] y) <float[1] w = {2}, float[1] unused = {3}> {
            h = Mul (x, w)
            dead = Abs (h)
            y = Relu (h)
        }"""
    )
    proto.producer_name, proto.producer_version, proto.domain, proto.model_version = "someone", "1.2", "here", 7
    proto.doc_string, proto.graph.doc_string, proto.graph.node[0].doc_string = "model", "graph", "node"
    proto.graph.node[0].name = "first"
    for holder in (proto, proto.graph, proto.graph.node[0], proto.graph.initializer[0], proto.graph.input[0]):
        holder.metadata_props.add(key="k", value="v")
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n"]))
    annotation = proto.graph.quantization_annotation.add(tensor_name="h")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    proto.graph.initializer[1].ClearField("raw_data")
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", TensorProto.FLOAT, [1], [5.0]), helper.make_tensor("", TensorProto.INT64, [1], [0]), [3]
    )
    proto.graph.sparse_initializer.append(sparse)
    proto.training_info.add().initialization.name = "start"
    raw = proto.SerializeToString() + b"\xa2\x06\x03abc"  # field 100, which this onnx does not know
    model = gd.load(raw)
    assert model.to_proto().SerializeToString() == onnx.ModelProto.FromString(raw).SerializeToString()
    assert b"\xa2\x06\x03abc" in model.to_proto().SerializeToString()
    assert [node.op_type for node in model.nodes] == ["Mul", "Abs", "Relu"]
    assert (model.producer, model.model_version, model.metadata) == ("someone", 7, {"k": "v"})


def test_bodies_and_functions_come_back() -> None:
    proto = parsed(
        """g (float[2] x, bool c) => (float[2] y, float[2] z) {
            y = If (c) <
                then_branch = one () => (float[2] t) <float[1] w = {2}> { t = Mul (x, w) },
                else_branch = two () => (float[2] t) { t = Neg (x) }
            >
            z = my.twice (x)
        }
        <domain: "my", opset_import: ["" : 17]> twice (a) => (b) { b = Add (a, a) }""",
        '"" : 17, "my" : 1',
    )
    model = gd.load(proto)
    assert same_bytes(model, proto)
    assert model.outputs[1].shape == (2,)
    assert [f.name for f in model.functions] == ["twice"]
    found = model(np.float32([1, 2]), True)
    np.testing.assert_array_equal(found[0], [2, 4])
    np.testing.assert_array_equal(found[1], [2, 4])
    assert same_bytes(gd.load(gd.inline(model).to_proto()), gd.inline(model).to_proto())


def test_types_are_inferred_and_not_believed() -> None:
    proto = parsed("g (float[2, 3] x) => (float[9, 9] y) { h = Relu (x) y = Transpose (h) }")
    model = gd.load(proto)
    assert model["h"].shape == (2, 3)
    assert model.outputs[0].shape == (3, 2)


def test_declared_types_count_after_operators_that_nobody_knows() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { h = other.Thing (x) y = Relu (h) }", '"" : 17, "other" : 1')
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [5]))
    assert gd.load(proto).outputs[0].shape == (5,)


def test_unsorted_nodes_are_sorted() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { h = Abs (x) y = Relu (h) }")
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    model = gd.load(proto)
    assert [node.op_type for node in model.nodes] == ["Abs", "Relu"]
    np.testing.assert_array_equal(model(np.float32([-1, 2])), [1, 2])


def test_a_loaded_model_composes() -> None:
    backbone = gd.load(parsed("g (float[n, 4] x) => (float[n, 4] y) { h = Abs (x) y = Neg (h) }"))

    @gd.model(opset=17)
    def head(image: gd.float32["b", 4]):
        return backbone(image) * 2

    np.testing.assert_array_equal(head(np.full((1, 4), -3, np.float32)), np.full((1, 4), -6))
    assert head.outputs[0].shape == ("b", 4)
    tapped = gd.build({"more": backbone["h"] + 1}, opset=17)
    np.testing.assert_array_equal(tapped(np.full((1, 4), -3, np.float32)), np.full((1, 4), 4))


def test_withdrawn_operators_load() -> None:
    proto = parsed("g (float[1, 1, 2, 2] x, float[4] s) => (float[1, 1, a, b] y) { y = Upsample (x, s) }", '"" : 10')
    assert same_bytes(gd.load(proto), proto)


def test_names_of_sibling_bodies_may_repeat() -> None:
    x, flag = gd.input("x", gd.float32[2]), gd.input("flag", gd.bool[()])
    y = op.If(flag, then_branch=lambda: (x + 1).named("t"), else_branch=lambda: (x - 1).named("t"))
    bodies = [attribute.g for attribute in gd.build({"y": y}).to_proto().graph.node[0].attribute]
    assert [body.output[0].name for body in bodies] == ["t", "t"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "the model is empty"),
        (b"\xff\xff\xff", "the model: it is not an ONNX model"),
        (onnx.ModelProto(ir_version=8), "it has no graph"),
        (3, "gd.load takes a path, bytes or a ModelProto, got int"),
        ("missing.onnx", "'missing.onnx' cannot be read: No such file or directory"),
        (parsed("g (float[2] x) => (float[2] y) { y = Relu (z) }"), "Relu: the input 'z' is neither"),
        (parsed("g (float[2] x) => (float[2] y) { z = Relu (x) }"), "the output 'y' is neither"),
        (parsed("g (float[2] x) => (float[2] y) { y = Abs (x) y = Relu (x) }"), "Relu: the output 'y' is made twice"),
        (parsed("g (float[2] x) => (float[2] y) { a = Add (x, y) y = Relu (a) }"), "need each other in a circle"),
        (parsed("g (float[2] x) => (float[2] y) { y = ai.onnx.ml.Scaler (x) }"), "imports no opset of that domain"),
    ],
)
def test_what_is_no_model_is_refused(source: object, message: str) -> None:
    with pytest.raises(gd.LoadError) as caught:
        gd.load(source)
    assert message in str(caught.value)
    assert "test_loading.py" in str(caught.value)


def test_overloads_and_device_configurations_come_back() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { a = Relu (x) b = Relu (a) y = Relu (b) }")
    proto.ir_version = 11
    proto.opset_import.add(domain="my", version=2)
    for overload, operator in (("", "Neg"), ("other", "Abs")):
        nodes = [helper.make_node(operator, ["a"], ["b"])]
        function = helper.make_function("my", "f", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)])
        function.overload = overload
        proto.functions.append(function)
    for node, overload in zip(proto.graph.node, ("", "other", "other"), strict=True):
        node.op_type, node.domain, node.overload = "f", "my", overload
    proto.configuration.add(name="two", num_devices=2).device.extend(["d0", "d1"])
    device = proto.graph.node[0].device_configurations.add(configuration_id="two", pipeline_stage=1)
    device.sharding_spec.add(tensor_name="a").device.extend([0, 1])
    model = gd.load(proto)
    assert same_bytes(model, proto)
    np.testing.assert_array_equal(gd.inline(model)(np.float32([1, -2])), [1, 2])
    with pytest.raises(gd.NameConflict, match="my::f shards 'a', which is not renamed"):
        gd.rename(model, {"a": "z"})
    assert same_bytes(gd.rename(gd.rename(model, {"b": "z"}), {"z": "b"}), proto)


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.filterwarnings("ignore")
def test_what_torch_exports_comes_back(dynamo: bool, tmp_path: Path) -> None:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = torch.relu(self.conv(x))
            return h, self.out(h.mean((2, 3))).softmax(-1)

    x = torch.randn(2, 3, 9, 8)
    height = (
        {"dynamic_shapes": ({2: torch.export.Dim("height", min=5)},)} if dynamo else {"dynamic_axes": {"x": {2: "h"}}}
    )
    names = {"input_names": ["x"], "output_names": ["h", "y"]}
    torch.onnx.export(Net().eval(), (x,), str(tmp_path / "m.onnx"), dynamo=dynamo, verbose=False, **names, **height)
    model = gd.load(tmp_path / "m.onnx")
    original = onnx.load(tmp_path / "m.onnx")
    for tensor in original.graph.initializer:
        tensor.ClearField("data_location")  # which onnx sets to what it is by default
    assert same_bytes(model, original)
    size = gd.Dim("height" if dynamo else "h") - 2
    assert model.outputs[0].shape == (2, 4, size, 6)
    assert gd.check(model) == ()
    expected = model.run({"x": x.numpy()})
    for target in (21, 26):
        converted = gd.convert_opset(model, target)
        onnx.checker.check_model(converted.to_proto(), full_check=True)
        for name, found in converted.run({"x": x.numpy()}).items():
            np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)
    if dynamo:  # whose nodes say which module they come from
        kept = [node.metadata_props for node in original.graph.node]
        assert [node.metadata_props for node in gd.convert_opset(model, 21).to_proto().graph.node] == kept


def test_parts_of_several_models_join_after_what_the_messages_say() -> None:
    old = gd.load(parsed("g (float[1, 4] x) => (float[4] y) { y = Squeeze <axes = [0]> (x) }", '"" : 11'))
    new = gd.load(
        parsed("g (float[4] x) => (float[4] y) <int64[1] a = {0}> { h = Unsqueeze (x, a) y = Squeeze (h, a) }")
    )
    with pytest.raises(gd.BuildError, match=r"two inputs have this name; give one another, with gd\.rename where a"):
        gd.build({"z": old["y"] + new["y"]}, opset=17)
    other = gd.rename(old, {"x": "image"})
    with pytest.raises(gd.OpsetError, match=r"for a model of an older opset, write gd\.convert_opset\(model, 14\)"):
        gd.build({"z": other["y"] + new["y"]})
    converted = gd.convert_opset(other, 17)
    with gd.opset(17):
        joined = gd.build({"z": converted["y"] + new["y"]})
    found = joined.run({"image": np.ones((1, 4), np.float32), "x": np.ones(4, np.float32)})
    np.testing.assert_array_equal(found["z"], [2, 2, 2, 2])
