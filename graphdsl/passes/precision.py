"""The pass that computes in float16 what was computed in float32."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from .. import op, schemas
from ..entrances import inline
from ..errors import GraphError
from ..ir import Constant, Graph, Input, Node, Output, Value, constant_array
from ..loading import opened
from ..models import Model
from ..renewal import called_again
from ..sites import at, caller
from ..tensor import Tensor
from ..tensor.calling import Trace, current_trace, tracing
from ..tensor.lifting import constant
from ..transforming import graph_trace, sweep
from ..types import TensorType, Type, float16, float32, tensor_type
from .declared_types import declaration, declared_type
from .outputs import made_under_their_names
from .pipeline import Source
from .unused import dead_code
from .vanishing import lasting

_KEPT = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "BatchNormalization",
    "MeanVarianceNormalization",
)
"""Operators whose scales or variances float16 may not hold, and one that ONNX Runtime refuses in float16."""

_SCATTERS = ("ScatterElements", "ScatterND")
"""Operators that ONNX Runtime's CPU has for float16 only where they do not reduce."""


def to_float16(source: Source, *, keep: str | Iterable[str] = (), keep_io: bool = True) -> Model:
    """The model computed in float16 where it was in float32, bodies included.

    Constants beyond float16's range become its largest number, those other than zero that would vanish its smallest.
    Stays in float32: what `keep` names, inputs for which an operator has no float16 (the scales of Resize), sequences,
    what passes in and out of branches and loops, operators of which the standard knows nothing, quantization,
    BatchNormalization (fuse it first) and scattering that reduces. Local functions are put in their place first.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.passes.to_float16(gd.build({"y": gd.op.Exp(x * 2)}))
    >>> [node.op_type for node in model.nodes], model.nodes[1].outputs[0].type
    (['Cast', 'Mul', 'Exp', 'Cast'], float16[3])

    Args:
        source: A model, a proto or a path.
        keep: Operators ("Softmax"), or tensors by name, that are computed in float32.
        keep_io: Whether inputs and outputs stay float32; else they become float16 too.

    Raises:
        GraphError: `keep` names neither an operator nor a tensor of the model.
    """
    model = opened(source)
    model = inline(model) if model.functions else model
    names, nodes = _kept(model, [keep] if isinstance(keep, str) else list(keep))
    halves = _Halves(names, nodes)
    changed = sweep(model, halves.visit, halves.follow)
    if not keep_io:
        changed = _with_half_ends(changed)
    return model if changed is model else dead_code(made_under_their_names(changed))


def _kept(model: Model, keep: Sequence[str]) -> tuple[set[str], set[Node]]:
    """The operators, and the nodes, that are left alone."""
    names, nodes = set(_KEPT), set[Node]()
    known = {node.op_type for node in model.nodes} | set(schemas.operators(""))
    for name in keep:
        if name in known:
            names.add(name)
            continue
        node = model[name]._v.node
        if node is None:
            problem = f"keep={name!r} is made by no node; name what uses it"
            raise GraphError(f"gd.passes.to_float16: {problem}" + at(caller()))
        nodes.add(node)
    return names, nodes


def as_half(array: np.ndarray) -> np.ndarray:
    """An array in float16: finite numbers stay finite, and numbers other than zero stay so.

    >>> as_half(np.float32([1e9, -1e9, 1e-12, 0, np.inf])).tolist()
    [65504.0, -65504.0, 5.960464477539063e-08, 0.0, inf]
    """
    with np.errstate(over="ignore", under="ignore"):
        half = np.asarray(array).astype(np.float16)
    far = np.isinf(half) & np.isfinite(array)
    return lasting(np.where(far, np.copysign(np.float16(65504), half), half), array != 0)


def _is_single(value: Value | None) -> bool:
    return value is not None and isinstance(value.type, TensorType) and value.type.dtype is float32


class _Halves:
    """The float16 twins of float32 values. Each node is made in float16, and what it makes cast back.

    So every value that is handed on has the type that it had; what computes in float16 takes the twins, and most casts
    are used by nobody in the end.
    """

    def __init__(self, names: set[str], nodes: set[Node]) -> None:
        self._names = names
        self._nodes = nodes
        self._twins: dict[Value, Value] = {}
        self._cast: dict[tuple[Trace, Value], Value] = {}
        self._new: list[tuple[Trace, Value]] = []
        self._called: dict[Value, str | None] = {}

    def follow(self, old: Node, new: Node) -> None:
        """A node was made anew: it is kept, and named, as the old one is."""
        self._called.update((after, before.name) for before, after in zip(old.outputs, new.outputs, strict=True))
        if old in self._nodes:
            self._nodes.add(new)

    def visit(self, node: Node) -> Sequence[Value] | None:
        schema = node.schema
        if schema.native is None or schema.name in self._names or node in self._nodes or node.bodies:
            return None
        if any(value is not None and not isinstance(value.type, TensorType) for value in (*node.inputs, *node.outputs)):
            return None
        if node.attributes.get("reduction", "none") != "none" and schema.name in _SCATTERS:
            return None
        halved = [
            _is_single(value) and "tensor(float16)" in schema.input(index).types
            for index, value in enumerate(node.inputs)
        ]
        if not any(halved) or (schema.name == "Cast" and _is_single(node.outputs[0])):
            return None
        self._new = []
        inputs = [
            self._half(value) if value is not None and half else value
            for value, half in zip(node.inputs, halved, strict=True)
        ]
        handles = [None if value is None else Tensor(value) for value in inputs]
        made: tuple[Value, ...] = ()
        with suppress(GraphError):
            made = current_trace().call(schema, handles, node.attributes, len(node.outputs), node.site, node.info)
        if not made or any(value.type is None for value in made):
            for key in self._new:  # what was cast for this node alone is not made
                del self._cast[key]
            return None
        for old, new in zip(node.outputs, made, strict=True):
            new.name = self._called.get(old, old.name) or None
        return [self._single(new) if _is_single(old) else new for old, new in zip(node.outputs, made, strict=True)]

    def _single(self, value: Value) -> Value:
        if not isinstance(value.type, TensorType) or value.type.dtype is not float16:
            return value
        found: Value = op.Cast(Tensor(value), to=float32)._v
        self._twins[found] = value
        return found

    def _half(self, value: Value) -> Value:
        known = self._twins.get(value)
        if known is not None:
            return known
        array = constant_array(value)
        if array is not None:
            twin: Value = constant(as_half(array), value.site, value.name or None)
            self._twins[value] = twin
            return twin
        trace: Trace | None = current_trace()
        while trace is not None:
            if (trace, value) in self._cast:
                return self._cast[trace, value]
            trace = trace.parent
        source = value
        made = value.node
        if made is not None and made.schema.label == "Cast" and made.inputs[0] is not None:
            kind = made.inputs[0].type
            if isinstance(kind, TensorType) and kind.dtype.kind in ("bool", "int", "uint"):
                source = made.inputs[0]
        cast: Value = op.Cast(Tensor(source), to=float16)._v
        self._cast[current_trace(), value] = cast
        self._new.append((current_trace(), value))
        return cast


def _with_half_ends(model: Model) -> Model:
    """The model with float16 for its float32 inputs and outputs."""
    twins: dict[Value, Input] = {}
    for entry in model.graph.inputs:
        if _is_single(entry):
            default = None if entry.default is None else as_half(entry.default)
            twins[entry] = Input(entry.name, _halved(entry.type), entry.owner, entry.site, default)
    cast: dict[tuple[Trace, Value], Value] = {}

    def single(value: Value) -> Value:
        key = current_trace(), value
        if key not in cast:
            cast[key] = op.Cast(Tensor(twins[value]), to=float32)._v
        return cast[key]

    def visit(node: Node) -> Sequence[Value] | None:
        if not any(value in twins for value in node.inputs if value is not None):
            return None
        if node.schema.label == "Cast" and node.attributes["to"] == float16.code and node.inputs[0] in twins:
            return (twins[node.inputs[0]],)
        inputs = [single(value) if value is not None and value in twins else value for value in node.inputs]
        return called_again(node, inputs).outputs

    graph = model.graph
    declared: dict[Value, bytes] = dict(graph.declared)
    for old, new in twins.items():
        if old in declared:
            declared[new] = declaration(declared.pop(old), _halved(declared_type(graph.declared[old])))
    listed = tuple([twins.get(value, value) for value in graph.initializers])
    graph = replace(
        graph,
        inputs=tuple([twins.get(value, value) for value in graph.inputs]),
        declared=MappingProxyType(declared),
        initializers=listed,
    )
    swept = sweep(replace(model, graph=graph), visit)
    return replace(swept, graph=_with_half_outputs(swept, twins))


def _with_half_outputs(model: Model, twins: Mapping[Value, Input]) -> Graph:
    graph = model.graph
    outputs: list[Output] = []
    nodes, declared = list(graph.nodes), dict(graph.declared)
    with schemas.opset_forced(model.opset), tracing(graph_trace(graph)):
        for name, value in graph.outputs:
            if not _is_single(value):
                outputs.append(Output(name, value))
                continue
            made = value.node
            if value in twins:
                half: Value = twins[value]
            elif made is not None and made.schema.label == "Cast" and _is_half(made.inputs[0]):
                assert made.inputs[0] is not None
                half = made.inputs[0]
            elif isinstance(value, Constant) and value.array is not None:
                half = constant(as_half(value.array), value.site)
            else:
                half = op.Cast(Tensor(value), to=float16)._v
                half.name = ""
                assert half.node is not None
                nodes.append(half.node)
            outputs.append(Output(name or value.name, half))
            if value in declared and half not in declared:
                declared[half] = declaration(declared[value], _halved(declared_type(declared[value])))
    return replace(graph, nodes=tuple(nodes), outputs=tuple(outputs), declared=MappingProxyType(declared))


def _is_half(value: Value | None) -> bool:
    return value is not None and isinstance(value.type, TensorType) and value.type.dtype is float16


def _halved(kind: Type | None) -> Type | None:
    return tensor_type(float16, kind.shape) if isinstance(kind, TensorType) else kind
