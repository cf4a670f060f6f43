"""Faults of others that are known: what a campaign meets of them is counted, and not reported as new.

Each is told in docs/upstream.md, with the smallest model that shows it.
"""

import re
from typing import NamedTuple

from ..ir import ModelData, Node
from ..types import TensorType
from ..walk import graphs


class Fault(NamedTuple):
    """A known fault: which operators with which dtypes, between whom, and what is seen of it."""

    heading: str
    """Its heading in docs/upstream.md."""
    operators: frozenset[str]
    dtypes: frozenset[str] | None
    """Of the first input; None for any."""
    witnesses: frozenset[str]
    """Who errs: one of the two that differ."""
    reason: str = ""
    """A pattern that the reason matches."""


_RUNTIME = frozenset({"onnxruntime", "unoptimised"})
_REFERENCE = frozenset({"reference"})


def _fault(
    heading: str, operators: str, dtypes: str = "", *, witnesses: frozenset[str] = _RUNTIME, reason: str = ""
) -> Fault:
    return Fault(heading, frozenset(operators.split()), frozenset(dtypes.split()) or None, witnesses, reason)


_WIDE = "int32 int64 uint32 uint64"

FAULTS: tuple[Fault, ...] = (
    _fault("ONNX Runtime: Gather of strings takes the first string of each row only", "Gather", "string"),
    _fault(
        "ONNX Runtime: reductions of empty tensors ignore negative axes",
        "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ArgMax ArgMin",
        reason="shapes",
    ),
    _fault(
        "ONNX Runtime: ReduceSum and ReduceProd of int64 are computed in float64",
        "ReduceSum ReduceProd ReduceMean ReduceSumSquare ReduceL1 ReduceL2",
        _WIDE,
        reason="other values",
    ),
    _fault(
        "ONNX Runtime: Einsum of int64 is computed in float64 where it sums", "Einsum", _WIDE, reason="other values"
    ),
    _fault("ONNX Runtime: powers of integers are computed in float64 and saturate", "Pow", _WIDE),
    _fault("ONNX Runtime: Mod with fmod=1 of 64-bit integers is computed in float64", "Mod", "int64 uint64"),
    _fault("ONNX Runtime: Sign of a float16 NaN is 0", "Sign", "float16", reason="NaN"),
    _fault(
        "ONNX Runtime: the least integer divided by -1 kills the process", "Div Mod", "int32 int64", reason="SIGFPE"
    ),
    _fault("ONNX Runtime: Shrink is computed in float32", "Shrink"),
    _fault(
        "ONNX Runtime: MeanVarianceNormalization of equal numbers is NaN", "MeanVarianceNormalization", reason="NaN"
    ),
    _fault("ONNX Runtime: StringSplit splits at spaces only", "StringSplit"),
    _fault("ONNX Runtime: pooling by `auto_pad` forgets dilations", "MaxPool AveragePool LpPool", reason="shapes"),
    _fault(
        "ONNX: operators that the reference evaluator computes wrongly",
        "AffineGrid ConvTranspose DeformConv Erf GRU GlobalMaxPool GridSample LRN LSTM LayerNormalization LpNormalization "
        "MaxPool Optional QuantizeLinear RNN ReduceSumSquare Resize StringNormalizer",
        witnesses=_REFERENCE,
    ),
)


def known(model: ModelData, pair: tuple[str, ...], reason: str) -> str | None:
    """The heading of the known fault that a model may have met; None where there is none."""
    nodes = [node for graph in graphs(model.graph) for node in graph.nodes]
    for fault in FAULTS:
        if (
            fault.witnesses & set(pair)
            and re.search(fault.reason, reason)
            and any(_meets(fault, node) for node in nodes)
        ):
            return fault.heading
    return None


def _meets(fault: Fault, node: Node) -> bool:
    if node.op_type not in fault.operators:
        return False
    kind = node.inputs[0].type if node.inputs and node.inputs[0] is not None else None
    return fault.dtypes is None or (isinstance(kind, TensorType) and kind.dtype.name in fault.dtypes)
