"""Model to `ModelProto`: where names are decided, and the IR version.

The same program gives the same bytes, and they equal what `onnx.helper` gives for the same names: attributes are
sorted, absent ones dropped, nodes unnamed unless the model names them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .attributes import to_attribute
from .errors import BuildError
from .ir import SEALED, Function, Graph, ModelData, Node, Value
from .sites import locate
from .types import TensorType, to_proto
from .walk import Survey, constants, functions, survey

NUMBER = "gd#"
"""What the names of numbered nodes start with: runtimes put text around the names of nodes that they rewrite."""

Store = Callable[[onnx.TensorProto, np.ndarray], bool]
"""Puts an initializer's data elsewhere than into the proto; False where it does not want to."""


class Names(dict[Value | None, str]):
    """The names of the values in scope: empty for an absent input, made up for a constant when it is first met."""

    def __init__(self, constant: Callable[[Value], str]) -> None:
        super().__init__({None: ""})
        self._constant = constant

    def __missing__(self, value: Value) -> str:
        return self._constant(value)


class Emitter:
    """Emits one model: names are unique over the graph and all its bodies."""

    def __init__(self, *, locations: bool = False, numbered: bool = False, store: Store | None = None) -> None:
        self.names = Names(self._name_constant)
        """What each value is called in the emitted model."""
        self.numbered: list[Node] | None = [] if numbered else None
        """The nodes by the numbers that name them, where a runtime's messages must lead back to them."""
        self._locations = locations
        self._store = store
        self._taken: set[str] = set()
        self._counters: dict[str, int] = {}
        self._top: Any = None
        self._overloads: dict[Function, str] = {}

    def model(self, model: ModelData) -> onnx.ModelProto:
        """The model as a proto."""
        proto = helper.make_model(
            onnx.GraphProto(name=model.graph.name),
            ir_version=model.ir_version,
            opset_imports=[helper.make_opsetid(d, v) for d, v in model.opset_imports.items()],
        )
        self._top = proto.graph
        self._overloads = _number_overloads(model.functions)
        self._graph(model.graph, proto.graph)
        for field, text in (
            ("producer_name", model.producer),
            ("producer_version", model.producer_version),
            ("domain", model.domain),
            ("doc_string", model.doc),
        ):
            if text:
                setattr(proto, field, text)
        if model.model_version:
            proto.model_version = model.model_version
        _metadata(proto.metadata_props, model.metadata.items())
        for function in model.functions:
            inner = Emitter(locations=self._locations)
            inner.numbered = self.numbered
            inner._overloads = self._overloads
            inner._function(function, model.opset_imports, proto.functions.add())
        return proto

    def _graph(self, graph: Graph, proto: Any, *, is_body: bool = False) -> None:
        names = self.names
        for value in graph.inputs:
            names[value] = self._free(value.name or "input")
            info = proto.input.add()
            info.name = names[value]
            if value.type is not None:
                info.type.CopyFrom(to_proto(value.type))
            if value.default is not None:
                self._initializer(self._top.initializer.add(), names[value], value.default)
        chosen, copies = self._name_outputs(graph, is_body)
        for constant in graph.constants:
            names[constant]
        self._nodes(graph.nodes, proto)
        for copied, name in copies:
            proto.node.add(op_type="Identity", input=[names[copied]], output=[name])
        for name, output in zip(chosen, graph.outputs, strict=True):
            info = proto.output.add()
            info.name = name
            if output.value.type is not None:
                info.type.CopyFrom(to_proto(output.value.type))
        if graph.doc:
            proto.doc_string = graph.doc
        _metadata(proto.metadata_props, graph.metadata)

    def _nodes(self, nodes: Iterable[Node], proto: Any) -> None:
        names, taken = self.names, self._taken
        add, name_of, counters = proto.node.add, names.__getitem__, self._counters
        described = self._locations or self.numbered is not None
        for node in nodes:
            operator = node.schema.name
            made = add()
            made.op_type = operator
            made.input.extend(map(name_of, node.inputs))
            for value in node.outputs:
                name = names.get(value)
                if name is None:
                    name = value.name
                    if not name:
                        counters[operator] = number = counters.get(operator, -1) + 1
                        name = f"{operator}_{number}"
                    if name in taken:
                        name = self._free(value.name) if value.name else self._count(operator)
                    taken.add(name)
                    names[value] = name
                made.output.append(name)
            if node.schema.domain:
                made.domain = node.schema.domain
            if node.attributes:
                self._attributes(node, made)
            if described or node.info is not None:
                self._describe(node, made)
            if node.schema.function is not None and (overload := self._overloads[node.schema.function]):
                made.overload = overload

    def _name_outputs(self, graph: Graph, is_body: bool) -> tuple[list[str], list[tuple[Value, str]]]:
        """Name the outputs, before all other values: their names, and the copies that Identity nodes make."""
        outputs = graph.outputs
        copies: list[tuple[Value, str]] = []
        chosen: list[str] = []
        for index, (name, value) in enumerate(outputs):
            own = value.name if value.name != SEALED else None
            known = self.names.get(value)
            elsewhere = known is not None or (is_body and value.node is None)
            if name is not None and name == known and name not in chosen:  # an input, handed through under its name
                chosen.append(name)
                continue
            wanted = name or (None if elsewhere else own)
            if wanted is None or (wanted in self._taken and name is None):
                default = "output" if len(outputs) == 1 else f"output_{index}"
                wanted = self._free(default, {value.name for node in graph.nodes for value in node.outputs})
            else:
                if wanted in self._taken and is_body:
                    wanted = self._free(wanted)
                elif wanted in self._taken:
                    raise BuildError(f"the output name {wanted!r} is taken by an input or another output")
                self._taken.add(wanted)
            chosen.append(wanted)
            if not elsewhere and (own is None or own == wanted):
                if value.node is None:  # a constant: it becomes an initializer of this name
                    self._top_constant(value, wanted)
                else:
                    self.names[value] = wanted
            else:
                copies.append((value, wanted))
        return chosen, copies

    def _attributes(self, node: Node, made: Any) -> None:
        specs = node.schema.attributes
        for name, value in node.attributes.items():
            spec = specs.get(name)
            made.attribute.append(to_attribute(name, value, spec.kind if spec else None, self._body))

    def _body(self, graph: Graph) -> onnx.GraphProto:
        proto = onnx.GraphProto(name=graph.name)
        self._graph(graph, proto, is_body=True)
        return proto

    def _describe(self, node: Node, made: Any) -> None:
        if node.info is not None:
            made.name, made.doc_string, made.overload = node.info.name, node.info.doc, node.info.overload
            _metadata(made.metadata_props, node.info.metadata)
        if self.numbered is not None:
            made.name = f"{NUMBER}{len(self.numbered)}"
            self.numbered.append(node)
        if self._locations:
            location = locate(node.site)
            if location is not None:
                _metadata(made.metadata_props, [("graphdsl.location", str(location))])

    def _function(self, function: Function, model_imports: Mapping[str, int], proto: Any) -> None:
        """A local function; it has no initializers, so its constants are Constant nodes."""
        graph = function.graph
        proto.domain, proto.name = function.domain, function.name
        proto.overload = self._overloads[function]
        for value in graph.inputs:
            self.names[value] = self._free(value.name or "input")
            proto.input.append(self.names[value])
        for constant in constants(graph):
            name = self.names[constant] = self._free(constant.name) if constant.name else self._count("const")
            made = proto.node.add(op_type="Constant", output=[name])
            assert constant.array is not None
            made.attribute.append(to_attribute("value", constant.array, onnx.AttributeProto.TENSOR))
        chosen, copies = self._name_outputs(graph, is_body=True)
        self._nodes(graph.nodes, proto)
        for copied, name in copies:
            proto.node.add(op_type="Identity", input=[self.names[copied]], output=[name])
        proto.output.extend(chosen)
        proto.attribute.extend(function.attributes)
        for name, value in function.defaults.items():
            proto.attribute_proto.append(to_attribute(name, value, function.kinds.get(name)))
        used = {schema.domain for schema in survey(graph).operators} | {""}
        imports = function.opset_imports or {d: v for d, v in model_imports.items() if d in used}
        proto.opset_import.extend([helper.make_opsetid(domain, version) for domain, version in imports.items()])
        if function.doc:
            proto.doc_string = function.doc
        _metadata(proto.metadata_props, function.metadata)

    # Names

    def _free(self, wanted: str, avoid: Iterable[str | None] = ()) -> str:
        """The wanted name, or the first of `name_1`, `name_2`, ... that is not taken."""
        name, taken = wanted, self._taken
        while name in taken or name in avoid:
            self._counters[wanted] = number = self._counters.get(wanted, 0) + 1
            name = f"{wanted}_{number}"
        taken.add(name)
        return name

    def _count(self, stem: str) -> str:
        """The first of `Stem_0`, `Stem_1`, ... that is not taken."""
        taken, counters = self._taken, self._counters
        number = counters.get(stem, -1) + 1
        name = f"{stem}_{number}"
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        counters[stem] = number
        taken.add(name)
        return name

    def _name_constant(self, value: Value) -> str:
        if value.array is None:
            raise BuildError(f"{value!r} is used, but is neither made in this graph nor one of its inputs")
        name = self._free(value.name) if value.name else self._count("const")
        self._top_constant(value, name)
        return name

    def _top_constant(self, value: Value, name: str) -> None:
        """Constants belong to no body: they are initializers of the outermost graph, each once."""
        assert value.array is not None
        self.names[value] = name
        self._initializer(self._top.initializer.add(), name, value.array)

    def _initializer(self, proto: onnx.TensorProto, name: str, array: np.ndarray) -> None:
        if self._store is not None:
            proto.name = name
            if self._store(proto, array):
                return
        fill_tensor(proto, name, array)


def function_bytes(function: Function, opset: int) -> bytes:
    """What a function says, types and overload apart: functions with equal bytes are one."""
    emitter = Emitter()
    proto = onnx.FunctionProto()
    emitter._overloads = dict.fromkeys(functions(survey(function.graph).operators), "") | {function: ""}
    emitter._function(function, {"": opset}, proto)
    called = [str(id(inner)).encode() for inner in functions(survey(function.graph).operators)]
    return b"\0".join([proto.SerializeToString(deterministic=True), *called])


def _number_overloads(called: tuple[Function, ...]) -> dict[Function, str]:
    """The overloads that tell functions of one name apart: none for the first, then "1", "2", ...

    Raises:
        BuildError: two functions that have nothing to do with each other share a name.
    """
    first: dict[tuple[str, str], list[Function]] = {}
    overloads: dict[Function, str] = {}
    for function in called:
        same = first.setdefault((function.domain, function.name), [])
        if same and same[0].origin is not function.origin:
            raise BuildError(f"two functions are named '{function.domain}::{function.name}'; rename one of them")
        overloads[function] = function.overload if function.overload is not None else str(len(same) or "")
        same.append(function)
    return overloads


_RAW_KINDS = "biufc"


def fill_tensor(proto: onnx.TensorProto, name: str, array: np.ndarray) -> None:
    """Write an array into a `TensorProto`, as `numpy_helper.from_array` does, without a copy more than needed."""
    if array.dtype.kind in _RAW_KINDS and array.dtype.isnative:
        proto.dims.extend(array.shape)
        proto.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        proto.raw_data = array.tobytes()
        proto.name = name
    else:
        proto.CopyFrom(numpy_helper.from_array(array, name))


def _metadata(target: Any, pairs: Iterable[tuple[str, str]]) -> None:
    for key, value in pairs:
        entry = target.add()
        entry.key, entry.value = key, value


# The IR version

_BY_OPSET = {("" if d == "ai.onnx" else d, v): ir for (d, v), ir in helper.OP_SET_ID_VERSION_MAP.items()}
_BY_DTYPE = {
    "bfloat16": 4,
    "float4e2m1": 11,
    "float8e8m0": 12,
    "int4": 10,
    "uint4": 10,
    "int2": 13,
    "uint2": 13,
} | dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"), 9)


def least_ir_version(
    graph: Graph, used: Survey, opset_imports: Mapping[str, int], called: tuple[Function, ...] = ()
) -> int:
    """The least IR version that has the opsets and all that the model uses (ONNX specification, Versioning.md)."""
    least = 4  # initializers need not be inputs
    for domain, version in opset_imports.items():
        known = [ir for (d, v), ir in _BY_OPSET.items() if d == domain and v >= version]
        least = max(least, min(known, default=3))
    if called:
        overloaded = len({(f.domain, f.name) for f in called}) < len(called)
        least = max(least, 10 if overloaded else 8)
    if graph.metadata or any(info.metadata or info.overload for info in used.infos):
        least = max(least, 10)
    for kind in used.types:
        if isinstance(kind, TensorType):
            least = max(least, _BY_DTYPE.get(kind.dtype.name, 3))
    return least
