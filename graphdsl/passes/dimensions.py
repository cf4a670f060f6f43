"""Passes that give a model's dimensions other sizes or names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ..dims import Dim
from ..errors import BuildError, InferenceError, TypeSpecError, nearest
from ..inference import infer
from ..ir import Graph, Input, Node, Value
from ..loading import opened
from ..models import Model
from ..sites import at, caller
from ..transforming import sweep
from ..types import TensorType, Type, tensor_type
from .declared_types import declaration, declared_type, merged
from .pipeline import Source, unchanged


def fix_dimensions(source: Source, sizes: Mapping[str, int]) -> Model:
    """The model with named dimensions of its inputs fixed: `{"batch": 1}`.

    Types are inferred again, and what outputs declare follows.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> gd.passes.fix_dimensions(gd.build({"y": gd.op.Concat(x, x, axis=0)}), {"n": 4})["y"].shape
    (8, 3)

    Raises:
        BuildError: no input has such a dimension, or the size is no int of 0 and more.
        InferenceError: an operator refuses what comes to it then.
    """
    model = opened(source)
    known = {
        name
        for value in model.graph.inputs
        if isinstance(value.type, TensorType)
        for dim in value.type.shape or ()
        if isinstance(dim, Dim)
        for name in dim.symbols
    }
    for name, size in sizes.items():
        if name not in known:
            raise BuildError(
                f"gd.passes.fix_dimensions: no input has a dimension {name!r}{nearest(str(name), known)}; there is "
                + (", ".join(map(repr, sorted(known))) or "none that is named")
                + at(caller())
            )
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise BuildError(f"gd.passes.fix_dimensions: {name!r} is {size!r}, not an int of 0 or more" + at(caller()))

    def fixed(kind: Type | None) -> Type | None:
        if not isinstance(kind, TensorType) or kind.shape is None:
            return kind
        return tensor_type(kind.dtype, [d.substitute(sizes) if isinstance(d, Dim) else d for d in kind.shape])

    def declared(old: Type | None, inferred: Type | None) -> Type | None:
        return merged(fixed(old), inferred)

    return _with_inputs(model, {value: fixed(value.type) for value in model.graph.inputs}, declared)


def free_dimensions(source: Source, names: Mapping[str, Mapping[int, str | None]]) -> Model:
    """The model with sizes of its inputs named, or unknown: `{"image": {0: "batch", 2: "height"}}`.

    Types are inferred again, and outputs declare what comes of it. A size that the model itself holds as a constant, as
    in a Reshape to `[1, -1]`, stays what it is; look at the outputs' shapes to see.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[1, 3])
    >>> gd.passes.free_dimensions(gd.build({"y": gd.op.Concat(x, x, axis=0)}), {"x": {0: "n"}})["y"].shape
    (Dim('2*n'), 3)

    Raises:
        BuildError: there is no such input, or it has no such axis.
        InferenceError: an operator refuses what comes to it then.
    """
    model = opened(source)
    known = {value.name: value for value in model.graph.inputs}
    kinds: dict[Input, Type | None] = {}
    for name, axes in names.items():
        entry = known.get(name)
        what = "gd.passes.free_dimensions"
        if entry is None:
            raise BuildError(
                f"{what}: the model has no input {name!r}{nearest(str(name), map(str, known))}" + at(caller())
            )
        kind = entry.type
        if not isinstance(kind, TensorType) or kind.shape is None:
            raise BuildError(f"{what}: {name!r} is {kind!r}, whose axes are not known" + at(caller()))
        if entry.default is not None:
            raise BuildError(f"{what}: {name!r} has a default, which is of one size" + at(caller()))
        shape: list[Any] = list(kind.shape)
        for axis, dim in axes.items():
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise BuildError(f"{what}: {name!r} is {kind!r}, which has no axis {axis!r}" + at(caller()))
            shape[axis] = dim
        try:
            kinds[entry] = tensor_type(kind.dtype, shape)
        except TypeSpecError as error:
            raise BuildError(f"{what}: {name!r}: {error}" + at(caller())) from None
    return _with_inputs(model, kinds, lambda old, inferred: inferred)


def _with_inputs(
    model: Model, kinds: Mapping[Input, Type | None], declared: Callable[[Type | None, Type | None], Type | None]
) -> Model:
    """The model with inputs of other types; `declared` says what to declare of a value that was declared."""
    made: dict[Value, Value] = {}
    for entry in model.graph.inputs:
        kind = kinds.get(entry, entry.type)
        if kind is not entry.type:
            twin = Input(entry.name, kind, entry.owner, entry.site, entry.default)
            twin.raw = entry.raw
            made[entry] = twin
    if not made:
        return model

    def follow(old: Node, new: Node) -> None:
        try:
            _infer(new)
        except InferenceError as error:
            try:
                _infer(old)
            except InferenceError:
                return  # it was refused before, so this is not our doing
            raise InferenceError(str(error)) from None

    def finish(graph: Graph) -> Graph:
        found = {
            value: raw if isinstance(value, Input) and value.type is None else _redeclared(raw, value.type, declared)
            for value, raw in graph.declared.items()
        }
        return replace(graph, declared=MappingProxyType(found))

    changed = sweep(model, unchanged, follow, values=made, finish=finish)
    inputs = [made.get(value, value) for value in model.graph.inputs]
    said = dict(changed.graph.declared)
    for old, new in made.items():
        raw = model.graph.declared.get(old)
        said.pop(old, None)
        if raw is not None:
            said[new] = declaration(raw, new.type)
    graph = replace(
        changed.graph,
        inputs=tuple([value for value in inputs if isinstance(value, Input)]),
        declared=MappingProxyType(said),
    )
    return replace(changed, graph=graph)


def _redeclared(raw: bytes, kind: Type | None, declared: Callable[[Type | None, Type | None], Type | None]) -> bytes:
    return declaration(raw, declared(declared_type(raw), kind))


def _infer(node: Node) -> None:
    types = tuple([None if value is None else value.type for value in node.inputs])
    infer(node.schema, node.inputs, types, node.attributes, len(node.outputs), node.site)
