"""The part of a model between tensors: from the outputs against the edges, up to the inputs."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from types import MappingProxyType

import onnx

from ..copying import copied_input, copied_nodes, similar_trace
from ..errors import GraphError
from ..garbage import undisturbed
from ..ir import Constant, Graph, Input, Node, Output, Value
from ..loading import settle_types
from ..lookup import Tensors, own_names
from ..models import Model
from ..sites import Site, at, caller
from ..types import TensorType, Type, from_proto, to_proto
from ..walk import between, constants, functions, operators
from .missing import missing_inputs
from .naming import Named, several


def in_order(model: Model, inputs: Iterable[Input]) -> list[Input]:
    """Inputs as the model lists them; those of bodies behind."""
    order = {value: place for place, value in enumerate(model.graph.inputs)}
    return sorted(inputs, key=lambda value: (order.get(value, len(order)), value.order))


def cut(whole: Model, starts: Sequence[Named], ends: Sequence[Named], what: str) -> tuple[Model, list[Named]]:
    """The part of a model between tensors that were looked up, and those inputs that it does not need."""
    site = caller()
    _check(starts, ends, what, site)
    stops = {start.value: start for start in starts}
    needed, reached, met = between([end.value for end in ends], stops)
    lacking = [value for value in in_order(whole, reached) if value.default is None]
    if lacking:
        raise missing_inputs(whole, lacking, starts, ends, what, site)
    with undisturbed():
        graph = _Part(whole, ends[0].path, what, site).graph(needed, in_order(whole, reached), starts, ends)
    used = set(functions(operators(graph)))
    part = replace(whole, graph=graph, functions=tuple([f for f in whole.functions if f in used]))
    return part, [start for start in starts if start.value not in met]


def _check(starts: Sequence[Named], ends: Sequence[Named], what: str, site: Site | None) -> None:
    """Refuse inputs that are listed twice, and cuts through several bodies at once."""
    if not ends:
        raise GraphError(f"{what}: there are no outputs to compute; list at least one" + at(site))
    seen: dict[Value, Named] = {}
    for start in starts:
        first = seen.setdefault(start.value, start)
        if first is not start:
            also = "" if first.name == start.name else f", also as {first.name!r}"
            raise GraphError(f"{what}: the input {start.name!r} is listed twice{also}" + at(site))
    deepest = max(ends, key=lambda end: len(end.path))
    place = deepest.path
    for item in (*ends, *starts):
        apart = item.path != place if item in ends else item.path != place[: len(item.path)]
        if apart:
            raise GraphError(
                f"{what}: {item.spelled!r} and {deepest.spelled!r} lie in different graphs; the outputs lie in one "
                "graph, and the inputs there or around it" + at(site)
            )


def _named(constant: Constant, name: str) -> Constant:
    assert constant.type is not None
    return Constant(constant.array, constant.type, constant.site, name, constant.raw)


def renamed(model: Model, what: str) -> Model:
    """The model with every tensor named as it is emitted; the same one if that is so already."""
    if own_names(model.graph) is not None:
        return model
    starts = [Named(str(value.name), value) for value in model.graph.inputs if value.default is None]
    return cut(model, starts, several(model, model.output_names, what), what)[0]


class _Part:
    """Makes the graph of one part."""

    def __init__(self, whole: Model, path: tuple[str, ...], what: str, site: Site | None) -> None:
        self._whole = whole
        self._what = what
        self._site = site
        self._tensors = whole._tensors
        self._around = self._tensors.graphs(path)
        self._spares: set[str] = set()
        self._data: dict[str, Graph] = {}
        self._trace = similar_trace(whole, lambda: settle_types(self._data["graph"]))

    def graph(
        self, needed: set[Node], defaults: Iterable[Input], starts: Sequence[Named], ends: Sequence[Named]
    ) -> Graph:
        whole, tensors = self._whole.graph, self._tensors
        values: dict[Value, Value] = {}
        inputs = [self._input(start, values) for start in starts]
        for value in defaults:
            inputs.append(copied_input(value, tensors.names[value], self._trace))
            values[value] = inputs[-1]
        for constant, name in tensors.renamed_constants.items():
            if constant not in values:
                values[constant] = _named(constant, name)
        nodes = tensors.nodes.ordered(needed)
        nodes += [node for graph in self._around[1:] for node in graph.nodes if node in needed]
        made = copied_nodes(nodes, values, self._trace, tensors.names, self._spare)
        outputs = self._outputs(ends, values)
        part = Graph(whole.name, tuple(inputs), made, outputs)
        used = set(constants(part))
        extras, parameters = _annotations(whole, tensors, values, used)
        used |= parameters
        for constant in used:
            values.setdefault(constant, constant)
        carried = {*used, *(value for value in inputs if value.default is not None)}
        listed = [values[value] for value in tensors.initializers.ordered(values)]
        self._data["graph"] = replace(
            part,
            initializers=tuple([value for value in listed if value in carried]),
            declared=MappingProxyType(self._declared(values, part)),
            extras=extras,
        )
        return self._data["graph"]

    def _input(self, start: Named, values: dict[Value, Value]) -> Input:
        value = start.value
        if isinstance(value, Input):
            made = copied_input(value, start.name, self._trace)
        else:
            made = Input(start.name, self._type(start), self._trace, value.site)
        values[value] = made
        return made

    def _type(self, start: Named) -> Type:
        """The type of a tensor that is cut at."""
        value = start.value
        kind = self._known_type(value)
        if kind is None:
            made = f", made by {value.node.schema.label}," if value.node else ""
            raise GraphError(
                f"{self._what}: the type of {start.name!r}{made} is not known, and a model declares the types of its "
                "inputs; cut elsewhere" + at(value.site) + at(self._site)
            )
        return kind

    def _known_type(self, value: Value) -> Type | None:
        """The type that is inferred; what a file declares where that says more, but it may be out of date."""
        raw = next((graph.declared[value] for graph in self._around if value in graph.declared), b"")
        declared = from_proto(onnx.ValueInfoProto.FromString(raw).type)
        unranked = value.type is None or (isinstance(value.type, TensorType) and value.type.shape is None)
        return declared if declared is not None and unranked else value.type

    def _spare(self, value: Value) -> str:
        """A name for the output of a node in whose place an input came, or for the copy of an output."""
        name = stem = self._tensors.names.get(value) or "unused"
        number = 0
        while name in self._tensors.known or name in self._spares:
            number += 1
            name = f"{stem}_{number}"
        self._spares.add(name)
        return name

    def _declared(self, values: Mapping[Value, Value], part: Graph) -> dict[Value, bytes]:
        """What the file says of the part's values, with the inferred types of those that became ends."""
        ends = {*part.inputs, *(value for _, value in part.outputs)}
        whole = self._whole.graph
        old_ends = {*whole.inputs, *(value for _, value in whole.outputs)}
        said = [(value, whole.declared[value]) for value in self._tensors.declared.ordered(values)]
        for graph in self._around[1:]:
            said += [(value, raw) for value, raw in graph.declared.items() if value in values]
        found: dict[Value, bytes] = {}
        for value, raw in said:
            new = values[value]
            became_end = new in ends and value not in old_ends
            found[new] = _retyped(raw, self._known_type(value)) if became_end else raw
        return found

    def _outputs(self, ends: Sequence[Named], values: Mapping[Value, Value]) -> tuple[Output, ...]:
        """The outputs under their names; one that is asked for again is a copy with a name of its own."""
        outputs: list[Output] = []
        names: set[str] = set()
        for name, value, _ in ends:
            if name in names:
                name = self._spare(value)
            names.add(name)
            outputs.append(Output(name, values.get(value, value)))
        return tuple(outputs)


def _retyped(raw: bytes, kind: Type | None) -> bytes:
    """What a file says of a value, with another type."""
    info = onnx.ValueInfoProto.FromString(raw)
    if kind is None or from_proto(info.type) is kind:
        return raw
    info.type.CopyFrom(to_proto(kind))
    return bytes(info.SerializeToString())


def _annotations(
    whole: Graph, tensors: Tensors, values: Mapping[Value, Value], carried: Set[Value]
) -> tuple[bytes, set[Constant]]:
    """What else a file says of the graph, with the quantization of what the part has; and the parameters of that."""
    proto = onnx.GraphProto.FromString(whole.extras)
    if not proto.quantization_annotation:
        return whole.extras, set()
    kept = []
    parameters: set[Constant] = set()
    for annotation in proto.quantization_annotation:
        value = tensors.known.get(annotation.tensor_name)
        if value is not None and (value in values or value in carried):
            kept.append(annotation)
            named = [tensors.known.get(entry.value) for entry in annotation.quant_parameter_tensor_names]
            parameters.update(value for value in named if isinstance(value, Constant))
    del proto.quantization_annotation[:]
    proto.quantization_annotation.extend(kept)
    return bytes(proto.SerializeToString()), parameters
