"""The types of ONNX Runtime's own operators (`com.microsoft`), asked of the runtime itself.

onnx declares none of these operators, so the answer comes from a model of one node that ONNX Runtime loads. Loading
checks the types and infers the shapes; kernels are not created, so operators of other devices are answered too. One
answer takes about 0.15 ms, and `inference.infer` remembers it.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .attributes import to_attribute
from .dims import Axis
from .ir import Graph, Value
from .schemas import DEFAULT_OPSET, Schema
from .types import TensorType, Type, from_text, tensor_type, to_proto

DOMAIN = "com.microsoft"
"""The domain whose types are found here."""

_IR_VERSION = 10
"""What the oldest supported ONNX Runtime reads."""


def types_of(
    schema: Schema,
    inputs: tuple[Value | None, ...],
    constants: Mapping[int, np.ndarray],
    attributes: Mapping[str, Any],
    count: int,
) -> tuple[Type | None, ...] | None:
    """The types of a node's outputs; None where ONNX Runtime is not installed or cannot say.

    Raises:
        ValueError: ONNX Runtime refuses the input types; the message is its own.
    """
    runtime = _runtime()
    if runtime is None or any(isinstance(value, Graph) for value in attributes.values()):
        return None
    model = _model(schema, inputs, constants, attributes, count)
    try:
        found = _outputs(model)
        if any(kind.startswith("tensor") and not shape for kind, shape in found):
            found = _with_ranks(model, found)
    except (runtime.Fail, runtime.InvalidGraph, runtime.InvalidArgument) as error:
        if "type inference failed, inferred types" in str(error):  # the node would have to declare its types
            return None
        raise ValueError(_own_words(str(error)).removeprefix(f"{schema.name}: ")) from None
    except Exception:
        return None
    names = {str(dim) for value in inputs if value is not None for dim in _shape(value.type)}
    return tuple([_type(kind, shape, names) for kind, shape in found])


@cache
def _runtime() -> Any:
    """The runtime's native module, which loads models without preparing them to run; None without the runtime."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError:
        return None
    return state


@cache
def _options() -> Any:
    options = _runtime().SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = _runtime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _model(
    schema: Schema,
    inputs: tuple[Value | None, ...],
    constants: Mapping[int, np.ndarray],
    attributes: Mapping[str, Any],
    count: int,
) -> onnx.ModelProto:
    """The model whose one node is the call, with outputs of undeclared types."""
    imports = [helper.make_opsetid("", DEFAULT_OPSET), helper.make_opsetid(schema.domain, schema.since)]
    model = onnx.ModelProto(ir_version=_IR_VERSION, opset_import=imports)
    graph = model.graph
    graph.name = schema.name
    node = graph.node.add(op_type=schema.name, domain=schema.domain)
    node.input.extend(["" if value is None else f"i{index}" for index, value in enumerate(inputs)])
    node.output.extend([f"o{index}" for index in range(count)])
    for name, value in attributes.items():
        spec = schema.attributes.get(name)
        node.attribute.append(to_attribute(name, value, spec.kind if spec else None))
    for index, value in enumerate(inputs):
        if index in constants:
            array = constants[index]
            code = helper.np_dtype_to_tensor_dtype(array.dtype)
            # not as raw bytes: up to ONNX Runtime 1.27 the inference of ExpandDims and Range dies of those
            graph.initializer.append(helper.make_tensor(f"i{index}", code, array.shape, array.ravel()))
        elif value is not None:
            assert value.type is not None
            graph.input.add(name=f"i{index}", type=to_proto(value.type))
    for name in node.output:
        graph.output.add(name=name)
    return model


def _outputs(model: onnx.ModelProto) -> list[tuple[str, list[Any]]]:
    """The types and shapes of a model's outputs, as the runtime shows them."""
    loaded = _runtime().InferenceSession(_options(), model.SerializeToString(), False, False)
    return [(output.type, output.shape) for output in loaded.outputs_meta]


def _with_ranks(model: onnx.ModelProto, found: list[tuple[str, list[Any]]]) -> list[tuple[str, Any]]:
    """The same with None for the shape of unknown rank, which the runtime shows as it shows a scalar's: empty.

    The two differ in the type of the tensor's own shape: `int64[0]` for a scalar, of unknown length otherwise.
    """
    asked = [index for index, (kind, shape) in enumerate(found) if kind.startswith("tensor") and not shape]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for index in asked:
        probe.graph.node.add(op_type="Shape", input=[f"o{index}"], output=[f"s{index}"])
        probe.graph.output.add(name=f"s{index}")
    lengths = dict(zip(asked, _outputs(probe)[len(found) :], strict=True))
    return [
        (kind, shape if index not in lengths or lengths[index][1] == [0] else None)
        for index, (kind, shape) in enumerate(found)
    ]


def _type(kind: str, shape: list[Any] | None, names: set[str]) -> Type | None:
    found = from_text(kind)
    if not isinstance(found, TensorType) or shape is None:
        return found
    return tensor_type(found.dtype, [dim if isinstance(dim, int) or dim in names else None for dim in shape])


def _shape(kind: Type | None) -> tuple[Axis, ...]:
    return kind.shape or () if isinstance(kind, TensorType) else ()


def _own_words(message: str) -> str:
    """The message without the runtime's codes: `[ONNXRuntimeError] : 1 : FAIL : Node () Op (X) ...`."""
    for mark in ("[ShapeInferenceError] ", "[TypeInferenceError] ", "Type Error: ", ", Error "):
        if mark in message:
            return message.partition(mark)[2]
    return re.sub(r"^Node \(\) Op \(\w+\) ", "", message.partition(" : FAIL : ")[2] or message)
