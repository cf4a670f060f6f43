"""The value of one node on constants: in NumPy where data only moves, else in a worker process.

The runtime may die of a node (the least integer divided by -1 ends its process), so it does not run here. Where it is
not installed, ONNX's reference evaluator takes its place.
"""

import hashlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import onnx
from onnx import helper

from ..apart import POOL, Crash, Job, Limits
from ..attributes import to_attribute
from ..ir import Node
from ..ir_versions import least_ir_version
from ..types import TensorType, tensor_type, to_proto
from ..walk import Survey

MOVES = frozenset({
    "ConstantOfShape", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape",
    "Shape", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that move elements and compute none, so that NumPy's answer is the runtime's, bit for bit."""

_PLAINLY = (("graph_optimization_level", "ORT_DISABLE_ALL"), ("intra_op_num_threads", 1))
_LIMITS = Limits(seconds=60)


def evaluate(node: Node, arrays: Sequence[np.ndarray | None], version: int) -> list[np.ndarray] | None:
    """The outputs of a node on these inputs; None where it fails, takes too long or kills the process that runs it."""
    proto = _model_of(node, version)
    feeds = {f"i{index}": array for index, array in enumerate(arrays) if array is not None}
    if node.schema.name in MOVES:
        return _referred(proto, feeds)
    return _computed(proto, feeds)


def _computed(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """The outputs as the runtime computes them, or the evaluator where there is no runtime, or no kernel in it."""
    if _has_runtime():
        raw = proto.SerializeToString()
        answer = POOL.run(Job(hashlib.sha256(raw).digest(), raw, _PLAINLY), feeds, _LIMITS)
        if isinstance(answer, list):
            return answer if all(isinstance(value, np.ndarray) for value in answer) else None
        if isinstance(answer, Crash) or answer.loaded:
            return None
    return _referred(proto, feeds)


@cache
def _has_runtime() -> bool:
    """Whether ONNX Runtime can run in a process of its own."""
    return hasattr(os, "fork") and importlib.util.find_spec("onnxruntime") is not None


def _referred(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """The outputs as ONNX's reference evaluator computes them; None where it fails."""
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in ReferenceEvaluator(proto).run(None, dict(feeds))]
    except Exception:
        return None


def _model_of(node: Node, version: int) -> onnx.ModelProto:
    """A model of one node without bodies: inputs `i0`, `i1`, ..., outputs `o0`, ..."""
    made = onnx.NodeProto(op_type=node.schema.name, domain=node.schema.domain)
    made.input.extend([f"i{index}" if value is not None else "" for index, value in enumerate(node.inputs)])
    made.output.extend([f"o{index}" for index in range(len(node.outputs))])
    for name, value in node.attributes.items():
        spec = node.schema.attributes.get(name)
        made.attribute.append(to_attribute(name, value, spec.kind if spec else None))
    given = [
        onnx.ValueInfoProto(name=f"i{index}", type=to_proto(value.type))
        for index, value in enumerate(node.inputs)
        if value is not None and value.type is not None
    ]
    kinds = [value.type for value in node.outputs]
    gives = [
        onnx.ValueInfoProto(name=f"o{index}", type=to_proto(tensor_type(kind.dtype)))
        for index, kind in enumerate(kinds)
        if isinstance(kind, TensorType)
    ]
    imports = {"": version, node.schema.domain: node.schema.version} if node.schema.domain else {"": version}
    types = {*kinds, *(value.type for value in node.inputs if value is not None)}
    return helper.make_model(
        helper.make_graph([made], "one", given, gives),
        ir_version=least_ir_version(Survey({}, types), imports),
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in imports.items()],
    )
