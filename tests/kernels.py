"""The one place that knows where ONNX Runtime's CPU build has no kernel for an operator, dies, or errs.

test_kernels.py holds all of it against the runtime, so a runtime that has learnt something is noticed. What errs is
told in docs/upstream.md with the smallest model that shows it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import graphdsl as gd
from graphdsl import op
from graphdsl.errors import RunError
from graphdsl.ir import Node, constant_array
from graphdsl.renewal import called_again
from graphdsl.types import DTYPES as KNOWN
from graphdsl.types import TensorType
from graphdsl.verify.evaluation import Evaluation
from graphdsl.verify.known import known
from graphdsl.verify.origins import origins
from graphdsl.verify.runtime_faults import collects_strings
from graphdsl.walk import graphs

INTEGERS = [gd.int8, gd.int16, gd.int32, gd.int64, gd.uint8, gd.uint16, gd.uint32, gd.uint64]
FLOATS = [gd.float16, gd.float32, gd.float64]
DTYPES = [gd.bool, *INTEGERS, *FLOATS]
"""The dtypes that NumPy and ONNX share and the runtime computes with."""

_FLOAT64 = "Acos Acosh Asin Asinh Atan Atanh Cosh Erf Sinh Tan"
_SMALL = "Max Min"

MISSING: dict[str, frozenset[gd.DType]] = {
    **dict.fromkeys(_FLOAT64.split(), frozenset({gd.float64})),
    **dict.fromkeys(_SMALL.split(), frozenset({gd.int16, gd.uint16})),
    "BitShift": frozenset({gd.uint16}),
    "Where": frozenset({gd.bool, gd.int16, gd.uint16, gd.uint64}),
}
"""The dtypes that the specification lets an elementwise operator take and that no kernel computes, at opset 21."""

_LARGE = frozenset({gd.uint32, gd.uint64})

MISSING_ALONG_AXES: dict[str, frozenset[gd.DType]] = {
    **dict.fromkeys(("CumSum", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _LARGE),
    **dict.fromkeys(("ArgMax", "ArgMin"), _LARGE | {gd.int16, gd.uint16}),
    "NonZero": _LARGE | {gd.float64, gd.int8, gd.int16, gd.uint16},
    "TopK": _LARGE | {gd.uint16},
}
"""The same for operators that work along axes, and have no kernel for bfloat16 either."""

BFLOAT16 = frozenset({"Cast", "Identity", "IsInf", "IsNaN", "Sign"})
"""The elementwise operators that have a kernel for bfloat16."""

DEADLY: dict[str, frozenset[gd.DType]] = {
    "Div": frozenset({gd.int32, gd.int64}),
    "Mod": frozenset({gd.int32, gd.int64}),
}
"""Where dividing the least integer by -1 kills the process (SIGFPE on x86-64)."""


def lacking(model: gd.Model) -> list[tuple[str, gd.DType]]:
    """The nodes of a model that have no kernel, as operator and dtype."""
    found = []
    for node in model.nodes:
        kind = node.inputs[1 if node.op_type == "Where" else 0].type
        dtype = kind.dtype if isinstance(kind, TensorType) else None
        if dtype in MISSING.get(node.op_type, ()) or (dtype is gd.bfloat16 and node.op_type not in BFLOAT16):
            found.append((node.op_type, dtype))
    return found


def divisible(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where integers may be divided: not by zero, which the runtime refuses, nor the least by -1, which may kill it."""
    least = np.iinfo(a.dtype).min
    return (b != 0) & ~((a == least) & (b == -1)) if least < 0 else b != 0


def exact_power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where a power of integers comes out right: the runtime computes it in float64 and saturates where NumPy wraps."""
    most = min(2**53, np.iinfo(a.dtype).max)
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    small = [0 <= e <= 2**53 and (abs(x) < 2 or (e < 64 and abs(x**e) <= most)) for x, e in pairs]
    return np.array(small, np.bool_).reshape(a.shape)


def exact_fmod(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Where fmod of integers comes out right: the runtime computes it in float64."""
    held = [(abs(x.astype(object)) <= 2**53) for x in arrays]
    return np.logical_and.reduce(np.broadcast_arrays(*held)).astype(np.bool_)


_PRODUCTS = frozenset({"ConvInteger", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
"""Products that may be what lies in memory where they are over nothing."""


def from_memory(model: gd.Model, feeds: Mapping[str, Any]) -> bool:
    """Whether the runtime gives what lies in memory for some tensor: other values each time, whatever runs before."""
    plain = gd.inline(model)
    nodes = [node for graph in graphs(plain.graph) for node in graph.nodes]
    if any(node.op_type == "Loop" and collects_strings(node) for node in nodes):
        return True
    products = [node for node in nodes if node.op_type in _PRODUCTS]
    if not products:
        return False
    try:
        values = Evaluation(plain, feeds, wide=False).values
    except RunError:
        return False
    return any(node.inputs[0] in values and not values[node.inputs[0]].size for node in products)


def errs(model: gd.Model, feeds: Mapping[str, Any]) -> bool:
    """Whether a node shows a known fault of the runtime on the way."""
    pair = "unoptimised", "reference"
    headings = [known(origin, pair) for origin in origins(model, feeds, pair, 60) or ()]
    seen = any(heading is not None and heading.startswith("ONNX Runtime") for heading in headings)
    return seen or _collects_nothing(model, feeds)


def _collects_nothing(model: gd.Model, feeds: Mapping[str, Any]) -> bool:
    """Whether a Loop makes no round: what it collects has the sizes that are declared, and those 0 that are not."""
    plain = gd.inline(model)
    loops = [node for graph in graphs(plain.graph) for node in graph.nodes if node.op_type == "Loop"]
    try:
        values = Evaluation(plain, feeds, wide=False).values if loops else {}
    except RunError:
        return False
    collected = [value for node in loops for value in node.outputs[max(len(node.inputs) - 2, 0) :]]
    return any(np.shape(values[value])[:1] == (0,) for value in collected if value in values)


NARROW = frozenset(d for d in KNOWN if d.bits < {"float": 16, "int": 8, "uint": 8}.get(d.kind, 0))
"""The dtypes that the runtime lets only those functions take whose nodes do."""


def narrows_functions(model: gd.Model) -> bool:
    """Whether a function is given a dtype that the runtime refuses once no node of the function takes it."""
    calls = [node for graph in graphs(model.graph) for node in graph.nodes if node.schema.function is not None]
    kinds = [value.type for node in calls for value in node.inputs if value is not None]
    return any(isinstance(kind, TensorType) and kind.dtype in NARROW for kind in kinds)


_PACKING = frozenset({"Gemm", "MatMul"})
"""Products of which the runtime computes a single row otherwise where the matrix is a constant."""


def steady(model: gd.Model) -> gd.Model:
    """The model with what the runtime makes of a node the same in every place, where it does not optimise.

    Identity nodes behind each node with floats see to it. Between nodes that the runtime has in float32 alone, it
    leaves out the rounding to float16, and draws a single Identity in with them, but not two. And it has the body of a
    Scan write into rows of the output, where memory is aligned as it happens, on which the last bit of a Cos depends.
    Identity nodes before products see to it that it packs no constants, by which it adds up in another order.
    """

    def visit(node: Node, inputs: tuple[gd.Tensor | None, ...]) -> Any:
        if node.op_type in _PACKING and not node.domain:
            taken = [op.Identity(t)._v if t is not None and constant_array(t._v) is not None else t for t in inputs]
            node = called_again(node, [value._v if isinstance(value, gd.Tensor) else value for value in taken])
        made = [gd.Tensor(value) for value in node.outputs]
        kinds = [tensor.type for tensor in made]
        dtypes = [kind.dtype if isinstance(kind, TensorType) else None for kind in kinds]
        if not any(dtype in FLOATS for dtype in dtypes):
            return None
        return [
            op.Identity(op.Identity(t)) if dtype is gd.float16 else op.Identity(t) if dtype in FLOATS else t
            for t, dtype in zip(made, dtypes, strict=True)
        ]

    return gd.transform(model, visit)
