"""Faults planted into exported models: at one module, one number or attribute is other than it should be."""

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Conv": {"pads": [0, 0, 2, 2]},
    "Gemm": {"alpha": 1.01},
    "BatchNormalization": {"epsilon": 0.05},
    "LayerNormalization": {"epsilon": 0.05},
    "LSTM": {"clip": 0.2},
}
"""By operator: an attribute with a wrong value that keeps the shapes."""


class Fault(NamedTuple):
    """One fault: what is wrong, the name of the node that has it, and the model."""

    what: str
    node: str
    model: onnx.ModelProto


def module_of(node: NodeProto) -> str:
    """The path of the innermost module that a node came from, as its metadata or else its name says it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            return str(ast.literal_eval(entry.value)[-2])
    path = ""
    for part in node.name.split("/")[1:-1]:
        parent = path.rpartition(".")[2]  # in a sequence, "/convs/convs.2/Conv"
        path = f"{path}.{part.removeprefix(parent + '.')}" if path else part
    return path


def faults(model: onnx.ModelProto, path: str) -> Iterator[Fault]:
    """A scaled weight, a shifted bias and a changed attribute, as far as the nodes of a module have them."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    mine = [(place, node) for place, node in enumerate(model.graph.node) if module_of(node) == path]
    held = [
        (place, index, arrays[name])
        for place, node in mine
        for index, name in enumerate(node.input)
        if name in arrays and arrays[name].dtype == np.float32 and arrays[name].size > 1 and node.op_type != "Shape"
    ]
    weights = sorted(held, key=lambda item: -item[2].ndim)  # the weight has most axes; of several, the first
    if weights:
        place, index, array = weights[0]
        yield _changed(model, "weight", place, _input(index, array * np.float32(1.01)))
    for place, index, array in held:
        if (array.ndim == 1 and (place, index) != weights[0][:2]) or (index == 3 and array.ndim == 2):
            shifted = array.copy()
            shifted.reshape(-1)[0] += 0.1
            yield _changed(model, "bias", place, _input(index, shifted))
            break
    for place, node in mine:
        pads = [list(attribute.ints) for attribute in node.attribute if attribute.name == "pads"]
        if node.op_type in ATTRIBUTES and (node.op_type != "Conv" or pads == [[1, 1, 1, 1]]):
            yield _changed(model, "attribute", place, _attributes(ATTRIBUTES[node.op_type]))
            break


def _changed(
    model: onnx.ModelProto, what: str, place: int, change: Callable[[onnx.GraphProto, NodeProto], None]
) -> Fault:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    node = copy.graph.node[place]
    change(copy.graph, node)
    return Fault(what, node.name, copy)


def _input(index: int, array: np.ndarray) -> Callable[[onnx.GraphProto, NodeProto], None]:
    """One node's input takes an array of its own; others that shared the old one keep it."""

    def change(graph: onnx.GraphProto, node: NodeProto) -> None:
        name = f"{node.input[index]}#changed"
        graph.initializer.append(numpy_helper.from_array(array, name))
        node.input[index] = name

    return change


def _attributes(values: dict[str, Any]) -> Callable[[onnx.GraphProto, NodeProto], None]:
    def change(graph: onnx.GraphProto, node: NodeProto) -> None:
        kept = [attribute for attribute in node.attribute if attribute.name not in values]
        del node.attribute[:]
        node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in values.items())])

    return change
