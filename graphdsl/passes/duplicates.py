"""The pass that computes once what a model computes twice."""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx

from ..attributes import from_attribute
from ..ir import Constant, Graph, ModelData, Node, Opaque, Value
from ..loading import opened
from ..models import Model
from ..schemas import Schema, in_force
from ..tensor.calling import Trace, current_trace
from ..transforming import sweep
from ..types import TensorType, type_text
from ..walk import constants, graphs
from .declared_types import made_outputs
from .determinism import is_deterministic
from .outputs import made_under_their_names
from .pipeline import Source

_DIGESTED = 1024
"""Arrays of more bytes than this are compared by a digest."""


def merge_duplicates(source: Source) -> Model:
    """Nodes go that compute what an earlier node computes; so do initializers whose bytes an earlier one has.

    Two nodes are one where operator, inputs and attributes are the same, in one graph or in a body and what encloses
    it. Never merged are nodes that are not deterministic by their schema (RandomNormal, Bernoulli, Dropout), that have
    bodies, that only others implement, or that make sequences where the opset has no Identity for two outputs of one.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build({"y": gd.op.Exp(x) * gd.op.Exp(x)})
    >>> [node.op_type for node in gd.passes.merge_duplicates(model).nodes]
    ['Exp', 'Mul']
    """
    model = opened(source)
    known: dict[Schema, bool] = {}
    seen: dict[Trace, dict[Any, Node]] = {}

    def visit(node: Node) -> Sequence[Value] | None:
        schema = node.schema
        if schema not in known:
            known[schema] = is_deterministic(schema)
        key = _key(node) if known[schema] and _may_be_copied(node) else None
        if key is None:
            return None
        here = trace = current_trace()
        while True:
            earlier = seen.get(trace, {}).get(key)
            if earlier is not None:
                return earlier.outputs
            if trace.closed or trace.parent is None:
                break
            trace = trace.parent
        seen.setdefault(here, {})[key] = node
        return None

    changed = sweep(model, visit, values=_equal_constants(model))
    return model if changed is model else made_under_their_names(changed)


def _may_be_copied(node: Node) -> bool:
    """Whether Identity takes what a node makes, which two outputs of a model need that are one value."""
    others = [value.type for value in node.outputs if not isinstance(value.type, TensorType)]
    return not others or all(type_text(kind) in in_force("Identity").inputs[0].types for kind in others if kind)


def _equal_constants(model: ModelData) -> dict[Value, Value]:
    """The constants in whose place an earlier one of the same bytes can stand; outputs keep their own."""
    parts = [model.graph, *(function.graph for function in model.functions)]
    outputs = {value for part in parts for graph in graphs(part) for _, value in graph.outputs}
    every = [value for value in dict.fromkeys(_all_constants(parts)) if value.array is not None]
    alike = Counter(value.type for value in every)  # of weights that are alone in their type, no byte is read
    first: dict[Any, Constant] = {}
    found: dict[Value, Value] = {}
    for value in every:
        if value.array is not None and alike[value.type] > 1:
            other = first.setdefault(_frozen(value.array), value)
            if other is not value and value not in outputs:
                found[value] = other
    return found


def _all_constants(parts: Sequence[Graph]) -> Iterator[Constant]:
    for part in parts:
        yield from constants(part)


def _key(node: Node) -> Any:
    """What two nodes have in common that compute the same; None for a node that has bodies."""
    try:
        attributes = [(name, _frozen(value)) for name, value in node.attributes.items() if not _is_default(node, name)]
    except TypeError:
        return None
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return node.schema, tuple(inputs), tuple(sorted(attributes)), made_outputs(node)


def _is_default(node: Node, name: str) -> bool:
    spec = node.schema.attributes.get(name)
    if spec is None or spec.default is None:
        return False
    return bool(_frozen(node.attributes[name]) == _frozen(from_attribute(spec.default)))


def _frozen(value: Any) -> tuple[str, Any]:
    """A value as part of a key, so that what is equal there is the same to ONNX: 0.0 and -0.0 are not.

    Raises:
        TypeError: it is a graph.
    """
    match value:
        case np.ndarray():
            return "array", (str(value.dtype), value.shape, _content(value))
        case float():
            return "float", struct.pack("d", value)
        case tuple():
            return "tuple", tuple(map(_frozen, value))
        case Opaque():
            return "opaque", value.proto.SerializeToString(deterministic=True)
        case onnx.SparseTensorProto():
            return "sparse", value.SerializeToString(deterministic=True)
        case bool() | int() | str() | bytes():
            return type(value).__name__, value
        case Graph():
            raise TypeError("a graph has no key")
    return type(value).__name__, repr(value)


def _content(array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        return tuple(array.ravel().tolist())
    data = np.ascontiguousarray(array)
    if data.nbytes <= _DIGESTED:
        return data.tobytes()
    return hashlib.blake2b(data.reshape(-1).view(np.uint8).data, digest_size=32).digest()
