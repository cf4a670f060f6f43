"""The pass that computes now what depends on constants alone."""

import math
from collections.abc import Sequence

import numpy as np

from ..contents import known_array
from ..errors import InferenceError
from ..ir import Graph, Node, Reference, Value, constant_array
from ..loading import opened
from ..models import Model
from ..schemas import opset_in_force
from ..tensor.lifting import constant
from ..tracing import replay
from ..transforming import sweep
from ..types import TensorType, string
from ..walk import graphs
from .determinism import is_deterministic
from .evaluation import MOVES, evaluate
from .outputs import made_under_their_names
from .pipeline import Source

MAX_BYTES = 16 << 20
"""What folding may add to a model unless it is told otherwise."""

_KEPT = ("Constant", "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")
"""Constants already, and what a quantized model is made of: folded, it would be none."""

_AT_MOST = {"NonZero": 8, "Compress": 1, "Unique": 8, "NonMaxSuppression": 3}
"""Operators of an output that is no longer than an input, though its size is not known: its bytes for each element."""


def fold_constants(source: Source, *, max_bytes: int = MAX_BYTES) -> Model:
    """Nodes on constants alone become constants, as do known sizes; an If whose condition is known becomes its branch.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2, 3])
    >>> model = gd.build({"y": x * gd.op.Sqrt(gd.constant(16.0)), "n": gd.op.Shape(x)})
    >>> folded = gd.passes.fold_constants(model)
    >>> [node.op_type for node in folded.nodes], folded.nodes[0].inputs[1].array, folded.graph.outputs[1].value.array
    (['Mul'], array(4., dtype=float32), array([2, 3]))

    Random operators are never folded, nor those that only others implement, nor what would fail when it runs. Values
    come from ONNX Runtime, unoptimised, where it is installed, else from ONNX's reference evaluator.

    Args:
        source: A model, a proto or a path.
        max_bytes: What the results may hold in all beyond what they are made of. A node that would exceed it stays.
    """
    model = opened(source)
    left = max_bytes
    names: dict[Value, str | None] = {}

    def follow(old: Node, new: Node) -> None:
        names.update((after, before.name) for before, after in zip(old.outputs, new.outputs, strict=True))

    def visit(node: Node) -> Sequence[Value] | None:
        nonlocal left
        found = None
        if node.schema.name == "If" and not node.domain:
            return _branch(node)
        if not _is_foldable(node):
            return None
        known = [known_array(value) if _is_whole(value) else None for value in node.outputs]
        if all(array is not None for array in known):
            found = [array for array in known if array is not None]
        elif _is_bounded(node, left):
            arrays = [constant_array(value) for value in node.inputs]
            if _is_defined(node, arrays):
                found = evaluate(node, arrays, opset_in_force())
        if found is None or not _fits(node, found):
            return None
        grown = _growth(node, sum(array.nbytes for array in found))
        if grown > left:
            return None
        left -= grown
        return [
            constant(np.ascontiguousarray(array).reshape(array.shape), node.site, names.get(value, value.name) or None)
            for value, array in zip(node.outputs, found, strict=True)
        ]

    changed = sweep(model, visit, follow)
    return model if changed is model else made_under_their_names(changed)


def _is_foldable(node: Node) -> bool:
    """Whether a node may become a constant, as far as its operator and its attributes go."""
    if node.schema.name in _KEPT or node.schema.function is not None or not is_deterministic(node.schema):
        return False
    if node.bodies or any(isinstance(value, Reference) for value in node.attributes.values()):
        return False
    return all(isinstance(value.type, TensorType) for value in node.outputs)


def _is_whole(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype.kind in ("int", "uint", "bool")


def _is_bounded(node: Node, left: int) -> bool:
    """Whether the outputs of a node on constants are known to fit into what is left of the budget."""
    if any(value is not None and constant_array(value) is None for value in node.inputs) or not node.inputs:
        return False
    if node.schema.name in _AT_MOST:
        elements = max(
            array.size * max(array.ndim, 1) for array in map(constant_array, node.inputs) if array is not None
        )
        return _growth(node, elements * _AT_MOST[node.schema.name] * len(node.outputs)) <= left
    size = 0
    for value in node.outputs:
        kind = value.type
        if not isinstance(kind, TensorType) or kind.shape is None or not all(isinstance(d, int) for d in kind.shape):
            return False
        size += math.prod(d for d in kind.shape if isinstance(d, int)) * max(kind.dtype.bits // 8, 1)
    return _growth(node, size) <= left


def _is_defined(node: Node, arrays: Sequence[np.ndarray | None]) -> bool:
    """Whether the standard says what a node gives, in dtypes that NumPy has or by moving elements only."""
    kinds = [value.type for value in (*node.inputs, *node.outputs) if value is not None]
    dtypes = [kind.dtype.numpy for kind in kinds if isinstance(kind, TensorType)]
    if node.schema.name not in MOVES and any(dtype.type.__module__ != "numpy" for dtype in dtypes):
        return False
    if node.schema.name != "Cast" or dtypes[-1].kind not in "iu" or arrays[0] is None or arrays[0].dtype.kind != "f":
        return True
    info = np.iinfo(dtypes[-1])
    with np.errstate(invalid="ignore"):
        whole = np.trunc(arrays[0].astype(np.float64))
        return bool(((whole >= info.min) & (whole <= info.max) & (np.abs(whole) < 2.0**63)).all())


def _growth(node: Node, size: int) -> int:
    """How many bytes a result takes beyond the largest constant that it is made of."""
    made_of = [array.nbytes for array in map(constant_array, node.inputs) if array is not None]
    return max(0, size - max(made_of, default=0))


def _fits(node: Node, found: Sequence[np.ndarray]) -> bool:
    """Whether results are of the types that were inferred for them; where they are not, the node is left alone."""
    if len(found) != len(node.outputs):
        return False
    for value, array in zip(node.outputs, found, strict=True):
        kind = value.type
        assert isinstance(kind, TensorType)
        text = kind.dtype is string and array.dtype.kind in "OUS"
        if not text and array.dtype != kind.dtype.numpy:
            return False
        if kind.shape is not None:
            sizes = zip(kind.shape, array.shape, strict=False)
            if len(kind.shape) != array.ndim or any(isinstance(a, int) and a != b for a, b in sizes):
                return False
    return True


def _branch(node: Node) -> Sequence[Value] | None:
    """The outputs of the branch that an If always takes, made in the graph around it."""
    condition = constant_array(node.inputs[0])
    if condition is None or condition.size != 1:
        return None
    body = node.attributes.get("then_branch" if condition.reshape(()) else "else_branch")
    if not isinstance(body, Graph):
        return None
    for graph in graphs(body):
        if any(isinstance(value, Reference) for inner in graph.nodes for value in inner.attributes.values()):
            return None  # to an attribute of the function around it
    try:
        return replay(body, ())
    except InferenceError:
        return None
