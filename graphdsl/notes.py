"""What is doubtful about a valid model: declarations that cannot be true, nodes that ONNX Runtime here cannot run."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import onnx

from .dims import Dim
from .errors import GraphError, MissingRuntime
from .ir import Constant, Graph, Input, ModelData, Node, Output, Value, make_node
from .runtime import opens
from .sites import at
from .tensor.calling import Trace
from .types import TensorType, Type, from_proto
from .walk import expanded_size, graphs

_MOST_TRIED = 200
"""How many different nodes are tried one by one, where a model as a whole does not run."""


_MOST_EXPANDED = 20_000
"""ONNX Runtime expands functions in a time that grows with the square of their nodes: 33 s for 65,000."""


def label(node: Node) -> str:
    """A node as messages show it: the operator, the node's name, what it makes."""
    name = node.info.name if node.info is not None else ""
    outputs = ", ".join(repr(value.name) for value in node.outputs if value.name)
    parts = (node.schema.label, repr(name) if name else "", f"({outputs})" if outputs else "")
    return " ".join(part for part in parts if part)


# Declarations


def doubtful(model: ModelData) -> Iterator[str]:
    """Declarations that contradict what is inferred, in sizes or in what the names of sizes stand for."""
    for graph in graphs(model.graph):
        meanings: dict[str, Any] = {}
        for entry in model.graph.inputs:
            if isinstance(entry.type, TensorType):
                meanings.update({str(d): d for d in entry.type.shape or () if isinstance(d, Dim)})
        for value, raw in graph.declared.items():
            proto = onnx.ValueInfoProto.FromString(raw)
            negative = [d.dim_value for d in proto.type.tensor_type.shape.dim if d.dim_value < 0]
            if negative:
                yield f"{value.name!r} is declared with a size of {negative[0]}, which is taken as unknown"
            declared = from_proto(proto.type)
            if value.node is None or declared is None or value.type is None:
                continue
            if _contradicts(declared, value.type):
                yield f"{value.name!r} is declared {declared!r}, and is {value.type!r}{at(value.site)}"
            elif isinstance(declared, TensorType) and isinstance(value.type, TensorType):
                for text in _misnamed(declared, value.type, meanings):
                    yield f"{value.name!r} is declared {declared!r}, {text}{at(value.site)}"


def _contradicts(declared: Type, found: Type) -> bool:
    if not isinstance(declared, TensorType) or not isinstance(found, TensorType):
        return type(found) is not type(declared)
    if declared.dtype is not found.dtype:
        return True
    if declared.shape is None or found.shape is None:
        return False
    if len(declared.shape) != len(found.shape):
        return True
    pairs = list(zip(declared.shape, found.shape, strict=True))
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)


def _misnamed(declared: TensorType, found: TensorType, meanings: dict[str, Any]) -> Iterator[str]:
    """Names of sizes that stand for something else elsewhere; `meanings` learns what each stands for."""
    for name, size in zip(declared.shape or (), found.shape or (), strict=False):
        if isinstance(name, Dim) and size is not None:
            known = meanings.setdefault(str(name), size)
            if known != size:
                yield f"where {str(name)!r} is {_size(size)}, and elsewhere {_size(known)}"


def _size(size: Any) -> str:
    return repr(str(size)) if isinstance(size, Dim) else str(size)


# What the runtime says


def not_runnable(model: ModelData) -> Iterator[str]:
    """Why ONNX Runtime here does not load the model, if it does not: every node that is in the way."""
    if model.functions and (size := expanded_size(model.graph)) > _MOST_EXPANDED:
        yield f"not tried on ONNX Runtime, which takes very long to expand functions: they make {size} nodes"
        return
    try:
        problem = opens(model)
    except MissingRuntime:
        return
    if problem is None:
        return
    found = list(_refused_alone(model)) if _is_of_one_node(problem) else []
    yield from found or [f"ONNX Runtime here cannot run it: {problem}"]


def _is_of_one_node(problem: str) -> bool:
    """Whether it is one node that the runtime does not take, and not the model as a whole."""
    return "IR version" not in problem.partition("\n")[0] and "it is of opset" not in problem.partition("\n")[0]


def _refused_alone(model: ModelData) -> Iterator[str]:
    """The nodes that the runtime does not take as models of their own, one of each kind."""
    met: set[Any] = set()
    for graph in graphs(model.graph):
        for node in graph.nodes:
            types = tuple([None if value is None else value.type for value in node.inputs])
            key = node.schema, types, tuple(sorted(node.attributes))
            if key in met or node.bodies or len(met) >= _MOST_TRIED:
                continue
            met.add(key)
            alone = _alone(model, node)
            try:
                problem = None if alone is None else opens(alone)
            except GraphError:
                continue
            if problem is not None:
                text = problem.partition(": ")[2].partition("\n")[0]
                yield f"ONNX Runtime here cannot run {label(node)}: {text}{at(node.site)}"


def _alone(model: ModelData, node: Node) -> ModelData | None:
    """A model of one node, on inputs of the types that it has; None where they are not known."""
    trace = Trace(f"node {node.schema.label}", None)
    inputs: dict[Value, Value] = {}
    for value in node.inputs:
        if value is not None and value not in inputs:
            if value.type is None:
                return None
            known = isinstance(value, Constant)
            inputs[value] = value if known else Input(f"i{len(inputs)}", value.type, trace, None)
    if any(value.type is None for value in node.outputs):
        return None
    taken = tuple([None if value is None else inputs[value] for value in node.inputs])
    types = tuple([value.type for value in node.outputs])
    made = make_node(node.schema, taken, node.attributes, types, trace, node.site)
    ends = tuple([Output(f"o{index}", value) for index, value in enumerate(made.outputs)])
    graph = Graph("node", tuple([v for v in inputs.values() if isinstance(v, Input)]), (made,), ends)
    return replace(model, graph=graph)
