"""Parts of protos that need no names of values: what a model says of itself, the data of tensors, metadata."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .ir import ModelData


def shell(model: ModelData) -> onnx.ModelProto:
    """The model without graph and functions: what a file said of it, where that still holds."""
    proto = helper.make_model(onnx.GraphProto(), ir_version=model.ir_version, opset_imports=[])
    if model.extras:
        proto = onnx.ModelProto.FromString(model.extras)
        proto.ir_version = model.ir_version
    if imported(proto) != dict(model.opset_imports):
        del proto.opset_import[:]
        proto.opset_import.extend([helper.make_opsetid(d, v) for d, v in model.opset_imports.items()])
    for name, text in (
        ("producer_name", model.producer),
        ("producer_version", model.producer_version),
        ("domain", model.domain),
        ("doc_string", model.doc),
        ("model_version", model.model_version),
    ):
        if getattr(proto, name) != text:
            setattr(proto, name, text)
    if {entry.key: entry.value for entry in proto.metadata_props} != dict(model.metadata):
        del proto.metadata_props[:]
        fill_metadata(proto.metadata_props, model.metadata.items())
    proto.graph.SetInParent()
    return proto


def imported(proto: onnx.ModelProto | onnx.FunctionProto) -> dict[str, int]:
    """The opset imports by domain, the default one under its empty name."""
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in proto.opset_import}


_RAW_KINDS = "biufc"


def fill_tensor(proto: onnx.TensorProto, name: str, array: np.ndarray) -> None:
    """Write an array into a `TensorProto`, as `numpy_helper.from_array` does, without a copy more than needed."""
    if array.dtype.kind in _RAW_KINDS and array.dtype.isnative:
        proto.dims.extend(array.shape)
        proto.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        proto.raw_data = array.tobytes()
        proto.name = name
    else:
        proto.CopyFrom(numpy_helper.from_array(array, name))


def lacks_data(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's own data fields are all empty, as they are where its raw data was taken out."""
    fields = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
    return not any(len(getattr(tensor, field)) for field in fields)


def fill_metadata(target: Any, pairs: Iterable[tuple[str, str]]) -> None:
    """Add entries to a field `metadata_props`."""
    for key, value in pairs:
        entry = target.add()
        entry.key, entry.value = key, value
