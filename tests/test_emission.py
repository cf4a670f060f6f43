"""Emission gives the bytes that onnx.helper gives for the same names."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import graphdsl as gd
from graphdsl import op


def as_helper(model: gd.Model, nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto] = []) -> bytes:  # noqa: B006
    """The same model written with make_graph and make_model."""
    infos = [
        [
            helper.make_tensor_value_info(
                name, tensor.dtype.code, [str(d) if not isinstance(d, int) else d for d in tensor.shape]
            )
            for name, tensor in zip(names, tensors, strict=True)
        ]
        for names, tensors in (([t.name for t in model.inputs], model.inputs), (model.output_names, model.outputs))
    ]
    graph = helper.make_graph(nodes, model.name, infos[0], infos[1], initializers)
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", model.opset)],
        ir_version=model.ir_version,
        producer_name=model.producer,
    )
    return made.SerializeToString()


def test_the_linear_function_byte_for_byte() -> None:
    a, x, b = (gd.input(n, gd.float32[10, 10]) for n in "axb")
    model = gd.build({"out": (a * x).named("c") + b}, inputs=[a, x, b], name="linear_func")
    nodes = [helper.make_node("Mul", ["a", "x"], ["c"]), helper.make_node("Add", ["c", "b"], ["out"])]
    assert model.to_proto().SerializeToString() == as_helper(model, nodes)


def test_a_network_byte_for_byte() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    shape = np.array([0, -1], np.int64)

    @gd.model(opset=17)
    def network(image: gd.float32["n", 3, 8, 8], scale: gd.float32[()]):
        h = op.Conv(image, gd.constant(w, "w"), pads=[1, 1, 1, 1], auto_pad="NOTSET").named("h")
        r = op.LeakyRelu(h, alpha=0.3).named("r")
        p, where = op.MaxPool(r, kernel_shape=[2, 2], strides=[2, 2], outputs=2)
        flat = op.Reshape(p.named("p"), gd.constant(shape, "shape")).named("flat")
        left, right = op.Split(flat, num_outputs=None, axis=1, split=gd.constant(np.array([64, 64]), "halves"))
        joined = op.Concat(left.named("l"), right.named("r2"), axis=-1).named("joined")
        return {"y": joined * scale, "where": where}

    nodes = [
        helper.make_node("Conv", ["image", "w"], ["h"], pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        helper.make_node("LeakyRelu", ["h"], ["r"], alpha=0.3),
        helper.make_node("MaxPool", ["r"], ["p", "where"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["p", "shape"], ["flat"]),
        helper.make_node("Split", ["flat", "halves"], ["l", "r2"], axis=1),
        helper.make_node("Concat", ["l", "r2"], ["joined"], axis=-1),
        helper.make_node("Mul", ["joined", "scale"], ["y"]),
    ]
    initializers = [
        numpy_helper.from_array(w, "w"),
        numpy_helper.from_array(shape, "shape"),
        numpy_helper.from_array(np.array([64, 64]), "halves"),
    ]
    assert network.to_proto().SerializeToString() == as_helper(network, nodes, initializers)


def test_every_kind_of_attribute_byte_for_byte() -> None:
    x = gd.input("x", gd.float32[2])
    tensor = np.float32([1, 2])
    values = {
        "Constant": [
            {"value": tensor},
            {"value_int": 3},
            {"value_ints": [1, 2]},
            {"value_float": 0.1},
            {"value_floats": [0.1, 2]},
            {"value_string": "text"},
            {"value_strings": ["a", "b"]},
        ]
    }
    for attributes in values["Constant"]:
        model = gd.build({"y": x, "c": op.Constant(**attributes)})
        (name, given) = next(iter(attributes.items()))
        wanted = numpy_helper.from_array(tensor) if name == "value" else given
        if name == "value_floats":
            wanted = [0.1, 2.0]
        made = helper.make_node("Constant", [], ["c"], **{name: wanted})
        assert model.to_proto().graph.node[0].SerializeToString() == made.SerializeToString(), name
    optional = op.Optional(type=gd.float32["n"])
    node = gd.build({"o": optional}).to_proto().graph.node[0]
    assert node.attribute[0].tp == helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"])


def test_a_long_chain_byte_for_byte() -> None:
    a, x, b = (gd.input(n, gd.float32[4]) for n in "axb")
    h, nodes, last = x, [], "x"
    for i in range(500):
        product, total = f"m{i}", f"s{i}" if i < 499 else "out"
        h = (a * h).named(product) + b
        if i < 499:
            h = h.named(total)
        nodes += [helper.make_node("Mul", ["a", last], [product]), helper.make_node("Add", [product, "b"], [total])]
        last = total
    model = gd.build({"out": h}, inputs=[a, x, b])
    assert model.to_proto().SerializeToString() == as_helper(model, nodes)


def test_locations_are_kept_in_metadata_when_asked() -> None:
    x = gd.input("x", gd.float32[2])
    model = gd.build({"y": op.Relu(x)})
    assert not model.to_proto().graph.node[0].metadata_props
    (entry,) = model.to_proto(locations=True).graph.node[0].metadata_props
    assert entry.key == "graphdsl.location"
    assert "tests/test_emission.py:" in entry.value
    assert entry.value.endswith('model = gd.build({"y": op.Relu(x)})')


def test_bodies_use_the_constants_of_the_model_once() -> None:
    x, flag = gd.input("x", gd.float32[2]), gd.input("flag", gd.bool[()])
    y = op.If(flag, then_branch=lambda: x * 2.5, else_branch=lambda: x + 2.5)
    proto = gd.build({"y": y}).to_proto()
    onnx.checker.check_model(proto, full_check=True)
    assert [i.name for i in proto.graph.initializer] == ["const_0"]
    assert all(not attribute.g.initializer for attribute in proto.graph.node[0].attribute)
