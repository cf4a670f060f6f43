"""Tensors of a model under other names."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import onnx

from .copying import copied_graph, similar_trace
from .errors import GraphError, NameConflict
from .ir import Constant, Graph, ModelData, Output, Value
from .loading import Source, opened, settle_types
from .models import Model
from .sites import at, caller
from .walk import constants, graphs


def rename(model: Model | Source, names: Mapping[str | tuple[str, ...], str]) -> Model:
    """The model with tensors under other names: inputs, outputs, initializers and what nodes make, in bodies too.

    Nothing else changes: nodes, types, weights and what a file says stay as they are. Names may be exchanged.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2])
    >>> model = gd.rename(gd.build({"y": x * 2}), {"x": "image", "y": "features"})
    >>> model.inputs[0].name, model.output_names
    ('image', ('features',))

    Args:
        model: A model, which is not changed, or what `gd.load` takes.
        names: From old names to new ones. A tensor in a body is named by its path, as in `model["y", "body", "t"]`.

    Raises:
        GraphError: the model has no such tensor.
        NameConflict: a new name is taken, given twice, or no name.
    """
    whole = opened(model)
    if not isinstance(names, Mapping):
        raise GraphError(
            f"gd.rename takes a dict from old names to new ones, got {type(names).__name__}" + at(caller())
        )
    known = whole._tensors.names
    wanted: dict[Value, str] = {}
    outputs = dict(zip(whole.output_names, range(len(whole.output_names)), strict=True))
    ends: dict[int, str] = {}
    freed: set[str] = set()
    for old, new in names.items():
        place = outputs.get(old) if isinstance(old, str) else None
        value = whole[old]._v
        if place is not None:
            ends[place] = new
        if place is None or known.get(value) == old:
            wanted[value] = new
        freed.add(old if isinstance(old, str) else old[-1])
    _check(names, {*known.values(), *outputs} - freed)
    _check_mentions(whole, freed)
    return _with_names(whole, wanted, ends, {k if isinstance(k, str) else k[-1]: v for k, v in names.items()})


def _check(names: Mapping[str | tuple[str, ...], str], taken: set[str]) -> None:
    """Refuse new names that are none, are taken, or are given twice."""
    first: dict[str, str | tuple[str, ...]] = {}
    for old, new in names.items():
        if not isinstance(new, str) or not new:
            raise NameConflict(f"gd.rename: {old!r}: a name is a non-empty str, not {new!r}" + at(caller()))
        if new in taken:
            raise NameConflict(
                f"gd.rename: {old!r} cannot be named {new!r}: another tensor has this name" + at(caller())
            )
        if new in first:
            raise NameConflict(f"gd.rename: {first[new]!r} and {old!r} cannot both be named {new!r}" + at(caller()))
        first[new] = old


def _check_mentions(model: ModelData, names: set[str]) -> None:
    """Refuse names that a file mentions where they are not renamed: in training and in how nodes are split up."""
    shell = onnx.ModelProto.FromString(model.extras)
    found = [
        (f"training information mentions {entry.key!r} and {entry.value!r}", {entry.key, entry.value})
        for info in shell.training_info
        for entry in (*info.initialization_binding, *info.update_binding)
    ]
    if shell.configuration:
        for graph in graphs(model.graph):
            for node in graph.nodes:
                kept = node.info.kept if node.info is not None else None
                for device in onnx.NodeProto.FromString(kept.raw).device_configurations if kept is not None else ():
                    found += [
                        (f"{node.schema.label} shards {s.tensor_name!r}", {s.tensor_name}) for s in device.sharding_spec
                    ]
    for text, mentioned in found:
        if mentioned & names:
            raise NameConflict(f"gd.rename: {text}, which is not renamed" + at(caller()))


def _with_names(model: Model, wanted: Mapping[Value, str], ends: Mapping[int, str], texts: Mapping[str, str]) -> Model:
    made: list[Graph] = []
    trace = similar_trace(model, lambda: settle_types(made[0]))
    values: dict[Value, Value] = {}
    for constant in _constants(model.graph):
        if constant in wanted and isinstance(constant, Constant) and constant.type is not None:
            renamed = Constant(constant.array, constant.type, constant.site, wanted[constant], constant.raw)
            values[constant] = renamed
    graph = copied_graph(model.graph, values, trace, wanted)
    outputs = [Output(ends.get(place, name), value) for place, (name, value) in enumerate(graph.outputs)]
    graph = replace(graph, outputs=tuple(outputs), extras=_renamed_annotations(graph.extras, texts), captures=())
    made.append(graph)
    return replace(model, graph=graph)


def _constants(graph: Graph) -> Iterator[Value]:
    yield from constants(graph)
    for inner in graphs(graph):
        yield from inner.initializers


def _renamed_annotations(extras: bytes, names: Mapping[str, str]) -> bytes:
    """What a file says of a graph, with the tensors of quantization annotations under their new names."""
    proto = onnx.GraphProto.FromString(extras)
    if not proto.quantization_annotation:
        return extras
    for annotation in proto.quantization_annotation:
        annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
        for entry in annotation.quant_parameter_tensor_names:
            entry.value = names.get(entry.value, entry.value)
    return bytes(proto.SerializeToString())


__all__ = ["rename"]
