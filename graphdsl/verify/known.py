"""Faults of others that are known: what a campaign meets of them is counted, and not reported as new.

Each is told in docs/upstream.md, with the smallest model that shows it.
"""

import re
from typing import NamedTuple

from ..inlining import inline
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


_WIDE = "int32 int64 uint32 uint64"


def _of_runtime(heading: str, operators: str, dtypes: str = "", reason: str = "") -> Fault:
    """A fault of ONNX Runtime."""
    known = frozenset(operators.split()), frozenset(dtypes.split()) or None
    return Fault(f"ONNX Runtime: {heading}", *known, _RUNTIME, reason)


FAULTS: tuple[Fault, ...] = (
    _of_runtime("Gather of strings takes the first string of each row only", "Gather", "string"),
    _of_runtime(
        "reductions of empty tensors ignore negative axes",
        "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ArgMax ArgMin",
        reason="shapes",
    ),
    _of_runtime(
        "ReduceSum and ReduceProd of int64 are computed in float64",
        "ReduceSum ReduceProd ReduceMean ReduceSumSquare ReduceL1 ReduceL2",
        _WIDE,
        "other values",
    ),
    _of_runtime("Einsum of int64 is computed in float64 where it sums", "Einsum", _WIDE, "other values"),
    _of_runtime("powers of integers are computed in float64 and saturate", "Pow", _WIDE),
    _of_runtime("Mod with fmod=1 of 64-bit integers is computed in float64", "Mod", "int64 uint64"),
    _of_runtime("Sign of a float16 NaN is 0", "Sign", "float16", "NaN"),
    _of_runtime("the least integer divided by -1 kills the process", "Div Mod", "int32 int64", "SIGFPE"),
    _of_runtime("ReduceMax and ReduceMin see a NaN only in the first place", "ReduceMax ReduceMin", reason="NaN"),
    _of_runtime("LogSoftmax of float64 forgets a NaN", "LogSoftmax", "float64", "NaN"),
    _of_runtime("Shrink is computed in float32", "Shrink"),
    _of_runtime("MeanVarianceNormalization of equal numbers is NaN", "MeanVarianceNormalization", reason="NaN"),
    _of_runtime(
        "windows of float64 are computed in float32", "BlackmanWindow HammingWindow HannWindow", reason="numbers"
    ),
    _of_runtime("StringSplit splits at spaces only", "StringSplit"),
    _of_runtime("pooling by `auto_pad` forgets dilations", "MaxPool AveragePool LpPool", reason="shapes"),
    Fault(
        "ONNX: operators that the reference evaluator computes wrongly",
        frozenset(
            {
                *(
                    "AffineGrid",
                    "ConvTranspose",
                    "DeformConv",
                    "Erf",
                    "GRU",
                    "GlobalMaxPool",
                    "GridSample",
                    "LRN",
                    "LSTM",
                ),
                *("LayerNormalization", "LogSoftmax", "LpNormalization", "MaxPool", "OneHot", "Optional"),
                *("QuantizeLinear", "RNN", "ReduceSumSquare", "Resize", "StringNormalizer", "Unique"),
            }
        ),
        None,
        frozenset({"reference"}),
    ),
)


def known(model: ModelData, pair: tuple[str, ...], reason: str) -> str | None:
    """The heading of the known fault that a model may have met; None where there is none."""
    whole = inline(model) if model.functions else model
    nodes = [node for graph in graphs(whole.graph) for node in graph.nodes]
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
