"""Tensors inside branches and loops, led out of them: stacked over the rounds of a loop, listed for a branch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .. import schemas
from ..errors import GraphError
from ..ir import Graph, Node, NodeInfo, Output, Value, make_node
from ..models import Model
from ..sites import at, caller
from ..tensor.calling import Trace
from ..transforming import graph_trace, sweep
from ..types import SequenceType, TensorType, Type, sequence, tensor_type
from .naming import Named, sweep_with

_SEQUENCES_IN_IF = 13
"""The first opset at which branches may return sequences."""

_SCAN_STACKS = 9
"""The first opset at which a Scan stacks what its body returns, without a batch around it."""


def tapped(model: Model, tensor: Named, what: str) -> tuple[Model, Named]:
    """The model that makes a tensor of a body a tensor of the outermost graph, and that tensor.

    Raises:
        GraphError: it cannot be led out; the message says why.
    """
    tensors = model._tensors
    path = (*tensor.path, tensor.name)
    levels: list[tuple[Node, str]] = []
    for end in range(1, len(tensor.path), 2):
        node = tensors.find(path[:end]).node
        assert node is not None
        levels.append((node, path[end]))
    value = tensor.value
    current = {node: index for index, (node, _) in enumerate(levels)}

    def follow(old: Node, new: Node) -> None:
        if old in current:
            current[new] = current[old]

    def visit(node: Node) -> Sequence[Value] | None:
        nonlocal value
        index = current.get(node)
        if index is None:
            return None
        refuse = _Refusal(path, what)
        body = node.attributes[levels[index][1]]
        if value.node is not None and value.node not in set(body.nodes):
            raise refuse("it is made by nodes that nothing needs")
        made = _with_output(node, levels[index][1], value, model.opset, refuse)
        value = made.outputs[-1]
        return made.outputs[:-1]

    outermost = levels[0][0].outputs[0]
    swept = sweep_with(model, outermost, lambda whole: sweep(whole, visit, follow, same_types=True))
    name = "/".join(path)
    taken = tensors.known
    while name in taken:
        name += "_"
    value.name = name
    return swept, Named(name, value)


class _Refusal:
    """Says why a tensor cannot be led out of a body."""

    def __init__(self, path: tuple[str, ...], what: str) -> None:
        self._path = path
        self._what = what

    def __call__(self, reason: str) -> GraphError:
        return GraphError(f"{self._what}: {self._path!r} cannot be led out of its body: {reason}" + at(caller()))


def _with_output(node: Node, attribute: str, value: Value, opset: int, refusal: _Refusal) -> Node:
    """A node with one output more: what its body makes of a value."""
    attributes = dict(node.attributes)
    if node.op_type == "If" and not node.domain:
        attributes, kind = _listed(attributes, attribute, value, opset, refusal)
    elif node.op_type in ("Loop", "Scan") and not node.domain:
        if node.op_type == "Scan" and opset < _SCAN_STACKS:
            raise refusal(f"a Scan of opset {opset} has a batch around it")
        if not isinstance(value.type, TensorType):
            raise refusal(f"it is {value.type!r}, and {node.op_type} stacks tensors")
        attributes[attribute] = _ending_with(attributes[attribute], value)
        for name in ("scan_output_axes", "scan_output_directions"):
            if name in attributes:
                attributes[name] = (*attributes[name], 0)
        kind = tensor_type(value.type.dtype, None if value.type.shape is None else (None, *value.type.shape))
    else:
        raise refusal(f"{node.schema.label} does not hand on what its bodies make")
    types = (*(output.type for output in node.outputs), kind)
    held = MappingProxyType(attributes)
    return make_node(node.schema, node.inputs, held, types, node.outputs[0].owner, node.site, _info(node, held))


def _listed(
    attributes: dict[str, Any], attribute: str, value: Value, opset: int, refusal: _Refusal
) -> tuple[dict[str, Any], Type]:
    """Branches of which one returns a list of the value, the other an empty one."""
    if opset < _SEQUENCES_IN_IF:
        raise refusal(f"branches return sequences since opset {_SEQUENCES_IN_IF}, the model is of {opset}")
    kind = value.type
    if isinstance(kind, SequenceType):  # from a branch further inside
        dtype, whole = kind.element, kind
    elif isinstance(kind, TensorType):
        dtype, whole = kind, sequence(kind)
    else:
        raise refusal(f"its type, {kind!r}, is none that a sequence holds")
    for name, body in attributes.items():
        trace = graph_trace(body)
        if name != attribute:
            assert isinstance(dtype, TensorType)
            attributes[name] = _called(body, trace, opset, "SequenceEmpty", (), {"dtype": dtype.dtype.code}, whole)
        elif isinstance(kind, SequenceType):
            attributes[name] = _ending_with(body, value)
        else:
            attributes[name] = _called(body, trace, opset, "SequenceConstruct", (value,), {}, whole)
    return attributes, whole


def _called(
    body: Graph, trace: Trace, opset: int, operator: str, inputs: tuple[Value, ...], attributes: Any, kind: Type
) -> Graph:
    """A body that returns what an operator makes at its end, too."""
    schema = schemas.lookup("", operator, opset)
    node = make_node(schema, inputs, MappingProxyType(attributes), (kind,), trace, None)
    return _ending_with(replace(body, nodes=(*body.nodes, node)), node.outputs[0])


def _ending_with(body: Graph, value: Value) -> Graph:
    return replace(body, outputs=(*body.outputs, Output(None, value)))


def _info(node: Node, attributes: Mapping[str, Any]) -> NodeInfo | None:
    """What a file says of a node, of one with another output too."""
    info = node.info
    if info is None or info.kept is None or info.kept.attributes is not node.attributes:
        return info
    kept = info.kept._replace(attributes=attributes, outputs=(*info.kept.outputs, "tap"))
    return info._replace(kept=kept)
