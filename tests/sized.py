"""Runs on inputs whose named dimensions have given sizes, to check what was promised of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from hypothesis import reject
from onnxruntime.capi import onnxruntime_pybind11_state as state
from twins import check_type

import graphdsl as gd
from graphdsl.dims import Dim

Sizes = Mapping[str, int]
REFUSALS = (state.Fail, state.InvalidArgument, state.NotImplemented, state.RuntimeException)


def array_of(kind: Any, sizes: Sizes) -> np.ndarray:
    """An array that a type with these sizes takes, its unknown dimensions 2: small whole numbers."""
    dims = [2 if dim is None else dim.substitute(sizes) if isinstance(dim, Dim) else dim for dim in kind.shape]
    array: np.ndarray = (np.arange(int(np.prod(dims, dtype=int))) % 5).reshape(dims).astype(kind.dtype.numpy)
    return array


def run(tensors: Sequence[Any], inputs: Sequence[Any], sizes: Sizes) -> list[np.ndarray] | None:
    """The tensors' arrays when the model runs on inputs of these sizes; None where ONNX Runtime refuses the call."""
    model = gd.build({f"out_{i}": tensor for i, tensor in enumerate(tensors)}, inputs=inputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = {tensor.name: array_of(tensor.type, sizes) for tensor in inputs}
    try:
        session = ort.InferenceSession(
            model.to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(array) for array in session.run(None, feeds)]
    except REFUSALS:
        return None


def check(call: Callable[..., Any], *types: Any, sizes: Sizes, opset: int = 21, known: bool = True) -> None:
    """Assert that what a call promises of its results is so for these sizes, and that nothing is left unknown."""
    with gd.opset(opset):
        inputs = [gd.input(f"x{i}", kind) for i, kind in enumerate(types)]
        returned = call(*inputs)
        tensors = returned if isinstance(returned, (tuple, list)) else [returned]
        if known:
            assert all(tensor.shape is not None and None not in tensor.shape for tensor in tensors), tensors
        arrays = run(tensors, inputs, sizes)
    if arrays is None:
        reject()
    for tensor, array in zip(tensors, arrays, strict=True):
        check_type(tensor.type, array, dict(sizes))
