"""Model to `ModelProto`: where names are decided.

The same program gives the same bytes, and they equal what `onnx.helper` gives for the same names: attributes are
sorted, absent ones dropped, nodes unnamed unless the model names them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .attributes import to_attribute
from .errors import BuildError
from .garbage import undisturbed
from .ir import SEALED, Constant, Function, Graph, Input, Kept, ModelData, Node, Value, clash
from .messages import fill_metadata, fill_tensor, lacks_data, shell
from .sites import LOCATION, locate
from .types import (
    TensorType,
    Type,
    float8e8m0,
    int2,
    int4,
    to_proto,
    uint2,
    uint4,
    without_sizes,
)
from .walk import arguments, constants, functions, operators
from .wire import field, starts_with

NUMBER = "gd#"
"""What the names of numbered nodes start with: runtimes put text around the names of nodes that they rewrite."""

_VALUE_INFO, _NAME = 13, 1
"""Field numbers in `GraphProto`, and in `ValueInfoProto`."""

_NONE: Collection[Value] = ()

_WITHOUT_IDENTITY = frozenset({float8e8m0, int2, int4, uint2, uint4})
"""Dtypes that ONNX Runtime casts, though it has no kernel that copies them."""

Store = Callable[[onnx.TensorProto, np.ndarray], bool]
"""Puts an initializer's data elsewhere than into the proto; False where it does not want to.

The tensor has its name and, where it came from a file, all that this says but the data; a new one has nothing else yet.
"""


class Names(dict[Value | None, str]):
    """The names of the values in scope: empty for an absent input, made up for a constant when it is first met."""

    def __init__(self, constant: Callable[[Value], str]) -> None:
        super().__init__({None: ""})
        self._constant = constant

    def __missing__(self, value: Value) -> str:
        return self._constant(value)


class _Scope(set[str]):
    """The names taken in a body, and in what encloses it."""

    def __init__(self, outer: set[str]) -> None:
        super().__init__()
        self._outer = outer

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._outer


class Emitter:
    """Emits one model: a name is unique in its graph and all that encloses it."""

    def __init__(self, *, locations: bool = False, numbered: bool = False, store: Store | None = None) -> None:
        self.names = Names(self._name_constant)
        """What each value is called in the emitted model."""
        self.function_names: dict[Value | None, str] = {}
        """What each value of a local function is called there."""
        self.numbered: list[Node] | None = [] if numbered else None
        """The nodes by the numbers that name them, where a runtime's messages must lead back to them."""
        self._locations = locations
        self._store = store
        self._outermost: set[str] = set()
        self._taken = self._outermost
        self._counters: dict[str, int] = {}
        self._top: Any = None
        self._overloads: dict[Function, str] = {}
        self._later: frozenset[str] = frozenset()
        """In a body: names of outputs of enclosing graphs that the node with the body makes, or nodes after it."""
        self._in_function = False
        """Whether bodies are those of a function, which holds for other sizes than it was traced with."""
        self._given: Callable[[], Mapping[Value, set[Type | None]]] = dict
        """The types that come to the inputs of functions, which are looked up only where a function copies."""
        self._entries: Sequence[Value] = ()
        """The inputs of the function."""

    @undisturbed()
    def model(self, model: ModelData) -> onnx.ModelProto:
        """The model as a proto."""
        proto = shell(model)
        if self._locations:
            proto.ir_version = max(proto.ir_version, 10)  # nodes have metadata since
        self._top = proto.graph
        self._overloads = _number_overloads(model.functions)
        self._graph(model.graph, proto.graph)
        given = cache(lambda: arguments(model.graph, *(function.graph for function in model.functions)))
        for function in model.functions:
            inner = Emitter(locations=self._locations)
            inner.numbered = self.numbered
            inner._overloads = self._overloads
            inner._given = given
            inner._function(function, model.opset_imports, proto.functions.add())
            self.function_names.update(inner.names)
        return proto

    def _graph(self, graph: Graph, proto: Any, *, is_body: bool = False) -> None:
        names = self.names
        if graph.extras:
            proto.MergeFromString(graph.extras)
        proto.name = graph.name
        for entry in graph.inputs:
            name = names[entry] = self._free(entry.name or "input")
            self._declare(graph, entry, name, proto.input.add())
            if entry.default is not None and entry not in graph.initializers:
                self._stored(self._top, name, entry.default, entry.raw)
        chosen, copies = self._name_outputs(graph, is_body)
        for value in graph.initializers:
            self._listed(value, proto)
        self._nodes(graph, proto)
        for copied, name in copies:
            self._copy(copied, name, proto.node.add())
        for name, (_, value) in zip(chosen, graph.outputs, strict=True):
            self._declare(graph, value, name, proto.output.add())
        if graph.declared:
            ends = {*graph.inputs, *(value for _, value in graph.outputs)}
            unchanged: list[bytes] = []
            for value, raw in graph.declared.items():
                if value in ends or value not in names:
                    continue
                if not starts_with(raw, _NAME, names[value]):
                    info = onnx.ValueInfoProto.FromString(raw)
                    info.name = names[value]
                    raw = info.SerializeToString()
                unchanged += (field(_VALUE_INFO, len(raw)), raw)
            proto.MergeFromString(b"".join(unchanged))

    def _declare(self, graph: Graph, value: Value, name: str, info: Any) -> None:
        """What a graph says of a value: as a file has it, else its type."""
        raw = graph.declared.get(value)
        if raw is not None:
            info.MergeFromString(raw)
            if info.name == name:
                return
        elif value.type is not None:
            info.type.CopyFrom(to_proto(without_sizes(value.type) if self._in_function else value.type))
        info.name = name

    def _listed(self, value: Value, proto: Any) -> None:
        """An initializer that a graph lists itself, used or not."""
        known = self.names.get(value)
        if isinstance(value, Input):
            assert value.default is not None and known is not None
            self._stored(proto, known, value.default, value.raw)
        elif known is None:
            assert isinstance(value, Constant)
            name = self.names[value] = self._free(value.name) if value.name else self._count("const")
            self._constant(value, name, proto)

    def _nodes(self, graph: Graph, proto: Any) -> None:
        names, taken = self.names, self._taken
        add, name_of, counters = proto.node.add, names.__getitem__, self._counters
        described = self._locations or self.numbered is not None
        unchanged: list[bytes] = []
        number = proto.DESCRIPTOR.fields_by_name["node"].number
        later = self._later
        places: dict[Node | None, int] = {}
        for node in graph.nodes:
            info = node.info
            kept = info.kept if info is not None else None
            if kept is not None:
                if kept.attributes is not node.attributes:
                    kept = None
                elif kept.is_whole and not described and self._keeps_names(node, kept):
                    unchanged += (field(number, len(kept.raw)), kept.raw)
                    continue
            if unchanged:
                proto.MergeFromString(b"".join(unchanged))
                unchanged.clear()
            made = add()
            operator = node.schema.name
            if node.attributes and node.bodies:
                places = places or {other: index for index, other in enumerate(graph.nodes)}
                ends = [value for _, value in graph.outputs if places.get(value.node, -1) >= places[node]]
                self._later = frozenset(name for name in later if not set.__contains__(taken, name))
                self._later |= {names[value] for value in ends if value in names}
            if kept is not None:
                absent = self._restore(node, kept, made)
            else:
                absent = _NONE
                made.op_type = operator
                made.input.extend(map(name_of, node.inputs))
            for value in node.outputs:
                name = names.get(value)
                if value in absent:
                    name = ""
                elif name is None:
                    name = value.name
                    if not name:
                        counters[operator] = count = counters.get(operator, -1) + 1
                        name = f"{operator}_{count}"
                    if name in taken and not (kept is not None and self._may_stand(name)):
                        name = self._free(value.name) if value.name else self._count(operator)
                    taken.add(name)
                    names[value] = name
                made.output.append(name)
            if kept is None:
                if node.schema.domain:
                    made.domain = node.schema.domain
                if node.attributes:
                    self._attributes(node, made)
            if described or info is not None:
                self._describe(node, made, kept is not None)
            if node.schema.function is not None and (overload := self._overloads[node.schema.function]):
                made.overload = overload
        self._later = later
        if unchanged:
            proto.MergeFromString(b"".join(unchanged))

    def _may_stand(self, name: str) -> bool:
        """Whether a tensor of a loaded body may keep a name that stands outside for what is made only later."""
        return name in self._later and not set.__contains__(self._taken, name)

    def _keeps_names(self, node: Node, kept: Kept) -> bool:
        """Whether a loaded node's tensors keep the names that they have in its file; if so, its outputs get them."""
        names, taken = self.names, self._taken
        if node.schema.function is not None or tuple(map(names.__getitem__, node.inputs)) != kept.inputs:
            return False
        outputs = node.outputs
        for place, name in enumerate(kept.outputs):
            if name:
                value = outputs[place]
                known = names.get(value)
                if (known or value.name) != name:
                    return False
                if known is None and name in taken and not self._may_stand(name):
                    return False
        for place, name in enumerate(kept.outputs):
            if name:
                taken.add(name)
                names[outputs[place]] = name
        return True

    def _name_outputs(self, graph: Graph, is_body: bool) -> tuple[list[str], list[tuple[Value, str]]]:
        """Name the outputs, before all other values: their names, and the copies that are made for some."""
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
                    own = None if own == wanted else own
                    if not (_is_kept(value) and self._may_stand(wanted)):
                        wanted = self._free(wanted)
                elif wanted in self._taken:
                    raise BuildError(f"the output name {wanted!r} is taken by an input or another output")
                self._taken.add(wanted)
            chosen.append(wanted)
            if not elsewhere and (own is None or own == wanted):
                if value.node is None:  # a constant: it becomes an initializer of this name
                    assert isinstance(value, Constant)
                    self._constant(value, wanted, self._top)
                else:
                    self.names[value] = wanted
            else:
                copies.append((value, wanted))
        return chosen, copies

    def _copy(self, value: Value, name: str, made: Any) -> None:
        """A node that gives a value another name: Identity, or CastLike where only that runs."""
        kinds = self._kinds(value)
        small = any(isinstance(kind, TensorType) and kind.dtype in _WITHOUT_IDENTITY for kind in kinds)
        made.op_type = "CastLike" if small else "Identity"
        made.input.extend([self.names[value]] * (2 if small else 1))
        made.output.append(name)

    def _kinds(self, value: Value) -> Collection[Type | None]:
        """The types that a value may have: in a function that is called with several, all that come to it."""
        if value.type is not None or not self._entries:
            return {value.type}
        given = self._given()
        return given[value] if value in given else {kind for entry in self._entries for kind in given.get(entry, ())}

    def _attributes(self, node: Node, made: Any) -> None:
        specs = node.schema.attributes
        for name, value in node.attributes.items():
            spec = specs.get(name)
            made.attribute.append(to_attribute(name, value, spec.kind if spec else None, self._body))

    def _restore(self, node: Node, kept: Kept, made: Any) -> Collection[Value]:
        """A loaded node from the bytes that it was read from: only names and bodies can have changed.

        The answer are the outputs that the file leaves out.
        """
        made.MergeFromString(kept.raw)
        inputs = tuple(map(self.names.__getitem__, node.inputs))
        if kept.inputs != inputs:
            made.input[:] = inputs
        absent = [value for value, name in zip(node.outputs, kept.outputs, strict=True) if not name]
        del made.output[:]
        if node.bodies:
            for attribute in made.attribute:
                held = node.attributes[attribute.name]
                if isinstance(held, Graph):
                    attribute.g.CopyFrom(self._body(held))
                elif attribute.type == onnx.AttributeProto.GRAPHS:
                    attribute.graphs.extend(map(self._body, held))
        return absent

    def _body(self, graph: Graph) -> onnx.GraphProto:
        """A branch or loop body; its names are free again outside it."""
        proto = onnx.GraphProto(name=graph.name)
        outer = self._taken
        self._taken = _Scope(outer)
        try:
            self._graph(graph, proto, is_body=True)
        finally:
            self._taken = outer
        return proto

    def _describe(self, node: Node, made: Any, kept: bool) -> None:
        if node.info is not None and not kept:
            made.name, made.doc_string = node.info.name, node.info.doc
            fill_metadata(made.metadata_props, node.info.metadata)
        if self.numbered is not None:
            made.name = f"{NUMBER}{len(self.numbered)}"
            self.numbered.append(node)
        if self._locations:
            location = locate(node.site)
            if location is not None:
                fill_metadata(made.metadata_props, [(LOCATION, str(location))])
            origin = node.info.origin if node.info is not None else None
            if origin is not None:
                rule = f"{origin.rule}, {written}" if (written := locate(origin.site)) else origin.rule
                fill_metadata(made.metadata_props, [("graphdsl.rule", rule)])

    def _function(self, function: Function, model_imports: Mapping[str, int], proto: Any) -> None:
        """A local function; it has no initializers, so its constants are Constant nodes."""
        self._in_function = True
        graph = function.graph
        if function.extras:
            proto.MergeFromString(function.extras)
        proto.domain, proto.name = function.domain, function.name
        if self._overloads[function]:
            proto.overload = self._overloads[function]
        self._entries = graph.inputs
        for entry in graph.inputs:
            self.names[entry] = self._free(entry.name or "input")
            proto.input.append(self.names[entry])
        for constant in constants(graph):
            name = self.names[constant] = self._free(constant.name) if constant.name else self._count("const")
            made = proto.node.add(op_type="Constant", output=[name])
            assert constant.array is not None
            made.attribute.append(to_attribute("value", constant.array, onnx.AttributeProto.TENSOR))
        chosen, copies = self._name_outputs(graph, is_body=True)
        self._nodes(graph, proto)
        for copied, name in copies:
            self._copy(copied, name, proto.node.add())
        proto.output.extend(chosen)
        proto.attribute.extend(function.attributes)
        for name, value in function.defaults.items():
            proto.attribute_proto.append(to_attribute(name, value, function.kinds.get(name)))
        used = {schema.domain for schema in operators(graph)} | {""}
        imports = function.opset_imports or {d: v for d, v in model_imports.items() if d in used}
        proto.opset_import.extend([helper.make_opsetid(domain, version) for domain, version in imports.items()])
        if function.doc:
            proto.doc_string = function.doc
        for value, raw in graph.declared.items():
            if value in self.names:
                info = proto.value_info.add()
                info.MergeFromString(raw)
                info.name = self.names[value]

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
        if not isinstance(value, Constant):
            raise BuildError(f"{value!r} is used, but is neither made in this graph nor one of its inputs")
        name = self._free(value.name) if value.name else self._count("const")
        self._outermost.add(name)
        self._constant(value, name, self._top)
        return name

    def _constant(self, value: Constant, name: str, proto: Any) -> None:
        """A constant as an initializer; it belongs to no body, so it stands in the outermost graph, unless listed."""
        self.names[value] = name
        if value.array is None:
            made = proto.sparse_initializer.add()
            made.MergeFromString(value.raw or b"")
            made.values.name = name
        else:
            self._stored(proto, name, value.array, value.raw)

    def _stored(self, proto: Any, name: str, array: np.ndarray, raw: bytes | None) -> None:
        """An initializer of a graph: as a file had it, or new; its data elsewhere, if the store wants it so.

        The data of bodies' own initializers stays with them: nobody looks for it elsewhere.
        """
        made = proto.initializer.add(name=name)
        if raw is not None:
            made.MergeFromString(raw)
            made.name = name
            if not array.size or not lacks_data(made):
                return
        if self._store is not None and proto is self._top and self._store(made, array):
            return
        if raw is None:
            fill_tensor(made, name, array)
        else:
            made.raw_data = array.tobytes()


def _is_kept(value: Value) -> bool:
    """Whether a loaded node makes it."""
    return value.node is not None and value.node.info is not None and value.node.info.kept is not None


def is_readable(model: ModelData) -> bool:
    """Whether protobuf reads the model back, which it does not if bodies and types are nested too deep."""
    proto = Emitter(store=lambda tensor, array: True).model(model)
    try:
        onnx.ModelProto.FromString(proto.SerializeToString())
    except Exception:  # protobuf's DecodeError has no public name in all its versions
        return False
    return True


def names_inside(function: Function) -> dict[Value | None, str]:
    """What the values of a function are called in its body."""
    emitter = Emitter()
    emitter._overloads = dict.fromkeys(functions(operators(function.graph)), "") | {function: ""}
    emitter._function(function, {}, onnx.FunctionProto())
    return emitter.names


def function_bytes(function: Function, opset: int) -> bytes:
    """What a function says, types and overload apart: functions with equal bytes are one."""
    emitter = Emitter()
    proto = onnx.FunctionProto()
    emitter._overloads = dict.fromkeys(functions(operators(function.graph)), "") | {function: ""}
    emitter._function(function, {"": opset}, proto)
    called = [str(id(inner)).encode() for inner in functions(operators(function.graph))]
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
        if any(clash(function, other) for other in same):
            raise BuildError(f"two functions are named '{function.domain}::{function.name}'; rename one of them")
        overloads[function] = function.overload if function.overload is not None else str(len(same) or "")
        same.append(function)
    return overloads
