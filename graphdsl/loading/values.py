"""Values of loaded graphs, whose types are inferred for the whole model when one is first asked for."""

from collections.abc import Callable
from typing import Any

import onnx

from ..bodies import input_types
from ..errors import GraphError
from ..inference import infer
from ..ir import Graph, ModelData, Node, Value
from ..tensor.calling import Trace
from ..types import Type, from_proto


class LoadedTrace(Trace):
    """The trace that a loaded graph's values belong to; it finds their types when one is first asked for."""

    __slots__ = ("_settle",)

    def __init__(self, label: str, parent: Trace | None, settle: Callable[[], None] | None) -> None:
        super().__init__(label, parent)
        self._settle = settle
        self.released = parent is None

    def settle(self) -> None:
        """Infer the types of all values of the model."""
        outermost: Any = self
        while outermost.parent is not None:
            outermost = outermost.parent
        settle, outermost._settle = outermost._settle, None
        if settle is not None:
            settle()


class LoadedValue(Value):
    """An output of a loaded node: its type is inferred when it is first asked for."""

    __slots__ = ("_type",)

    def __init__(self, type: Type | None, node: Node | None, index: int, owner: object) -> None:
        self._type = type
        self.node = node
        self.index = index
        self.owner = owner
        self.name = None

    @property
    def type(self) -> Type | None:
        """The type; None where it cannot be known."""
        if self._type is None:
            self.owner.settle()  # type: ignore[attr-defined]  # a LoadedTrace
        return self._type

    @type.setter
    def type(self, found: Type | None) -> None:
        self._type = found

    @property
    def type_so_far(self) -> Type | None:
        """The type if it was inferred already; asking for it infers nothing."""
        return self._type


def settle_types(graph: Graph) -> None:
    """Infer the types of a loaded graph's values, node by node; where that fails, what the file declares counts."""
    for node in graph.nodes:
        for body in node.bodies if node.attributes else ():
            try:
                kinds = () if node.schema.is_bare else input_types(node.schema, node.inputs, node.attributes)
            except ValueError:  # attributes that contradict the inputs, as gd.check says
                kinds = ()
            for entry, kind in zip(body.inputs, kinds, strict=False):
                if entry.type is None:
                    entry.type = kind
            settle_types(body)
        types: list[Type | None] = []
        for value in node.inputs:
            types.append(None if value is None else value.type)  # noqa: PERF401  # takes half as long
        try:
            found = infer(node.schema, node.inputs, tuple(types), node.attributes, len(node.outputs), None)
        except GraphError:
            found = ()
        for value in node.outputs:
            kind = found[value.index] if value.index < len(found) else None
            if kind is None and value in graph.declared:
                kind = declared_type(onnx.ValueInfoProto.FromString(graph.declared[value]))
            value.type = kind


def is_loaded(model: ModelData) -> bool:
    """Whether a model was read from a file, so that the names of its dimensions are only hints."""
    return any(isinstance(value.owner, LoadedTrace) for value in model.graph.inputs)


def declared_type(info: onnx.ValueInfoProto) -> Type | None:
    """The type that a file says of a value, if it says one."""
    return from_proto(info.type) if info.HasField("type") else None
