"""Faults of others that are known: what a campaign meets of them is counted, and not reported as new.

Each is told in docs/upstream.md, with the smallest model that shows it.
"""

import re
from typing import NamedTuple

from ..ir import ModelData, Node
from ..types import TensorType
from ..walk import graphs

_INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
_REDUCTIONS = frozenset({"ReduceSum", "ReduceProd", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceMean"})


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

FAULTS: tuple[Fault, ...] = ()


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
