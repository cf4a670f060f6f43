"""The pass that writes types down, and what others need to write new ones."""

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

import onnx

from ..ir import Graph, Node
from ..loading import opened
from ..models import Model
from ..tensor.calling import Trace
from ..transforming import graph_trace, sweep
from ..types import TensorType, Type, from_proto, tensor_type, to_proto
from .pipeline import Source, unchanged


def infer_types(source: Source) -> Model:
    """The model with the types of all inner tensors written into it (`value_info`), as far as they are known.

    Those that a file declares are kept where they say more. Bodies are reached, local functions have no types.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> proto = gd.passes.infer_types(gd.build(gd.op.Relu(gd.op.Concat(x, x, axis=0)))).to_proto()
    >>> [dim.dim_param or dim.dim_value for dim in proto.graph.value_info[0].type.tensor_type.shape.dim]
    ['2*n', 3]
    """
    model = opened(source)
    inside = {graph_trace(function.graph) for function in model.functions}

    def finish(graph: Graph) -> Graph:
        return graph if inside & set(_around(graph_trace(graph))) else _with_types(graph)

    return sweep(model, unchanged, finish=finish, bodies={})


def _around(trace: Trace) -> Iterator[Trace]:
    outer: Trace | None = trace
    while outer is not None:
        yield outer
        outer = outer.parent


def _with_types(graph: Graph) -> Graph:
    declared = dict(graph.declared)
    ends = {*graph.inputs, *(value for _, value in graph.outputs)}
    for node in graph.nodes:
        for value, made in zip(node.outputs, made_outputs(node), strict=True):
            if made and value not in ends and value.type is not None:
                old = declared.get(value, b"")
                declared[value] = declaration(old, merged(declared_type(old), value.type))
    return graph if declared == dict(graph.declared) else replace(graph, declared=MappingProxyType(declared))


def made_outputs(node: Node) -> tuple[bool, ...]:
    """Which outputs a node makes: a file may leave some out."""
    kept = node.info.kept if node.info is not None else None
    if kept is None or len(node.outputs) == 1:
        return len(node.outputs) * (True,)
    return tuple(map(bool, onnx.NodeProto.FromString(kept.raw).output))


def declaration(old: bytes, kind: Type | None) -> bytes:
    """What a graph says of a value (`ValueInfoProto`), with another type; the rest of it stays."""
    proto = onnx.ValueInfoProto.FromString(old)
    proto.ClearField("type")
    if kind is not None:
        proto.type.CopyFrom(to_proto(kind))
    result: bytes = proto.SerializeToString()
    return result


def declared_type(raw: bytes) -> Type | None:
    """The type that a declaration states."""
    proto = onnx.ValueInfoProto.FromString(raw)
    return from_proto(proto.type) if proto.HasField("type") else None


def merged(declared: Type | None, inferred: Type | None) -> Type | None:
    """What is inferred, with what a declaration knows besides: a rank, or sizes that are unknown."""
    if not isinstance(declared, TensorType) or not isinstance(inferred, TensorType):
        return inferred or declared
    if declared.shape is None or declared.dtype is not inferred.dtype:
        return inferred
    if inferred.shape is None:
        return declared
    if len(inferred.shape) != len(declared.shape):
        return inferred
    sizes = zip(inferred.shape, declared.shape, strict=True)
    return tensor_type(inferred.dtype, [other if size is None else size for size, other in sizes])
