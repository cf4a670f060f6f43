"""What tests of passes share: models from text, models as lines, and whether two models give the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from backend import differences, on_runtime
from onnx import helper

import graphdsl as gd


def parsed(body: str, opset: int = 17, imports: str = "", ir: int = 8, functions: str = "") -> gd.Model:
    """A loaded model from ONNX's text form, without its header."""
    header = f'<ir_version: {ir}, opset_import: ["" : {opset}{imports}]>'
    model = onnx.parser.parse_model(f"{header} {body} {functions}")
    return gd.load(model)


def lines(model: gd.Model, graph: Any = None) -> list[str]:
    """The nodes as text, such as `y = Concat[axis=0](a, b)`; bodies are indented below their node."""
    found = []
    for node in (graph or model.to_proto().graph).node:
        attributes, bodies = [], []
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, onnx.GraphProto):
                bodies += [f"  {attribute.name}: {line}" for line in lines(model, value)]
                continue
            if isinstance(value, onnx.TensorProto):
                value = onnx.numpy_helper.to_array(value).tolist()
            if isinstance(value, bytes):
                value = value.decode()
            attributes.append(f"{attribute.name}={value}")
        shown = f"[{', '.join(attributes)}]" if attributes else ""
        domain = f"{node.domain}." if node.domain else ""
        found.append(f"{', '.join(node.output)} = {domain}{node.op_type}{shown}({', '.join(node.input)})")
        found += bodies
    return found


def interface(model: gd.Model) -> list[tuple[str, bytes]]:
    """The names and declared types of inputs and outputs, in order."""
    graph = model.to_proto().graph
    return [(info.name, info.type.SerializeToString(deterministic=True)) for info in (*graph.input, *graph.output)]


def feeds_for(model: gd.Model, seed: int = 0, size: int = 3) -> list[Any]:
    """Random arrays for a model's inputs; named dimensions are of one size."""
    rng = np.random.default_rng(seed)
    feeds = []
    for tensor in model.inputs:
        shape = [d if isinstance(d, int) else size for d in tensor.shape or ()]
        if tensor.dtype.kind == "float":
            feeds.append(rng.standard_normal(shape).astype(tensor.dtype.numpy))
        elif tensor.dtype.kind == "bool":
            feeds.append(rng.integers(0, 2, shape).astype(bool))
        else:
            feeds.append(rng.integers(1, 9, shape).astype(tensor.dtype.numpy))
    return feeds


def applied(
    function: Callable[[gd.Model], gd.Model], before: gd.Model, feeds: list[Any] | None = None, *, exact: bool = True
) -> gd.Model:
    """A model after a pass: valid, with the same inputs and outputs, and giving the same bits (or nearly the same)."""
    text, ends = before.to_proto().SerializeToString(deterministic=True), interface(before)
    after = function(before)
    assert before.to_proto().SerializeToString(deterministic=True) == text, "the model that was given has changed"
    assert interface(after) == ends
    onnx.checker.check_model(after.to_proto(), full_check=True)
    feeds = feeds_for(before) if feeds is None else feeds
    expected, found = on_runtime(before.to_proto(), feeds), on_runtime(after.to_proto(), feeds)
    if exact:
        assert differences(expected, found) == []
    else:
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    return after
