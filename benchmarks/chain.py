"""The chain `h = a * h + b`, written with each library; every builder returns the serialised model.

What a builder does is what its documentation shows for a graph made node by node. A builder imports its library when
it is made, so that a missing one is known before anything is measured.
"""

from collections.abc import Callable

import numpy as np

Builder = Callable[[int], bytes]
"""From the number of nodes (even) to the bytes of the model."""

OPSET, IR_VERSION = 21, 10


def graphdsl() -> Builder:
    """graphdsl; every node's type is inferred, and where it was written is recorded."""
    import graphdsl as gd

    def build(nodes: int) -> bytes:
        a, x, b = (gd.input(name, gd.float32[10, 10]) for name in "axb")
        h = x
        for _ in range(nodes // 2):
            h = a * h + b
        model = gd.build({"out": h}, inputs=[a, x, b], name="chain")
        return model.to_proto().SerializeToString()

    return build


def onnx_helper() -> Builder:
    """onnx.helper, with the names that graphdsl gives, so that both make the same bytes; nothing is inferred."""
    from onnx import TensorProto, helper

    def build(nodes: int) -> bytes:
        made, last, h = [], nodes // 2 - 1, "x"
        for i in range(nodes // 2):
            product, total = f"Mul_{i}", f"Add_{i}" if i < last else "out"
            made.append(helper.make_node("Mul", ["a", h], [product]))
            made.append(helper.make_node("Add", [product, "b"], [total]))
            h = total
        graph = helper.make_graph(
            made,
            "chain",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, 10]) for name in "axb"],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [10, 10])],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="graphdsl",
        )
        return bytes(model.SerializeToString())

    return build


def onnx_ir() -> Builder:
    """onnx-ir's tape; nothing is inferred."""
    import onnx_ir as ir

    def build(nodes: int) -> bytes:
        a, x, b = (ir.val(name, dtype=ir.DataType.FLOAT, shape=(10, 10)) for name in "axb")
        tape = ir.tape.Tape()
        h = x
        for _ in range(nodes // 2):
            h = tape.op("Add", [tape.op("Mul", [a, h]), b])
        h.name, h.dtype, h.shape = "out", ir.DataType.FLOAT, ir.Shape((10, 10))
        graph = ir.Graph([a, x, b], [h], nodes=tape.nodes, opset_imports={"": OPSET}, name="chain")
        return bytes(ir.to_proto(ir.Model(graph, ir_version=IR_VERSION)).SerializeToString())

    return build


def onnxscript() -> Builder:
    """onnxscript's GraphBuilder; infers types where it can."""
    import onnx_ir as ir
    from onnxscript import GraphBuilder

    def build(nodes: int) -> bytes:
        graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="chain")
        builder = GraphBuilder(graph)
        a, x, b = (builder.input(name, dtype=ir.DataType.FLOAT, shape=(10, 10)) for name in "axb")
        h = x
        for _ in range(nodes // 2):
            h = builder.op.Add(builder.op.Mul(a, h), b)
        builder.add_output(h, "out")
        return bytes(ir.to_proto(ir.Model(graph, ir_version=IR_VERSION)).SerializeToString())

    return build


def spox() -> Builder:
    """spox; every node's type is inferred. It ends with an Identity node that names the output."""
    import spox
    import spox.opset.ai.onnx.v21 as op

    def build(nodes: int) -> bytes:
        a, x, b = (spox.argument(spox.Tensor(np.float32, (10, 10))) for _ in "axb")
        h = x
        for _ in range(nodes // 2):
            h = op.add(op.mul(a, h), b)
        return bytes(spox.build({"a": a, "x": x, "b": b}, {"out": h}).SerializeToString())

    return build


BUILDERS: dict[str, Callable[[], Builder]] = {
    "onnx.helper": onnx_helper,
    "graphdsl": graphdsl,
    "onnx-ir": onnx_ir,
    "onnxscript": onnxscript,
    "spox": spox,
}
INFERS = {"onnx.helper": "no", "graphdsl": "yes", "onnx-ir": "no", "onnxscript": "in part", "spox": "yes"}


def available() -> tuple[dict[str, Builder], list[str]]:
    """The builders whose libraries are installed, and the names of the others."""
    found, missing = {}, []
    for name, make in BUILDERS.items():
        try:
            found[name] = make()
        except ImportError:
            missing.append(name)
    return found, missing
