"""What changed between two models, by structure: names of tensors and the order of nodes are no difference."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..emission import Emitter
from ..ir import Function, ModelData, Value
from ..loading import Source, load
from ..walk import constants
from .comparing import Comparison, body, interface, is_equal
from .reports import Change, Differences, Part

_FIELDS = ("ir_version", "producer", "producer_version", "domain", "doc", "model_version")


def diff(a: ModelData | Source, b: ModelData | Source) -> Differences:
    """What changed from one model to another: nodes, weights, types, metadata, bodies and functions.

    >>> import graphdsl as gd
    >>> from graphdsl import op
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> before = gd.build({"y": op.Softmax(x * 2.0, axis=0)})
    >>> after = gd.build({"y": op.Softmax(op.Relu(x * 2.5), axis=1)})
    >>> print(gd.diff(before, after))
    1 node added, 1 node changed, 1 weight changed
    nodes
      + Relu 'Relu_0' ('Mul_0')
      ~ Softmax 'y': attribute 'axis': 0 -> 1
    weights
      'const_0' float32[()]: max abs 0.5, max rel 0.25, it differs

    Args:
        a: The model before: a `Model`, a `ModelProto`, bytes or a path.
        b: The model after.

    Returns:
        A report: true if anything changed, text when printed, and data (`.added`, `.changed`, `.weights`, ...).

    Raises:
        LoadError: one of them is no model.
    """
    one, other = (item if isinstance(item, ModelData) else load(item) for item in (a, b))
    names = _names(one), _names(other)
    theirs = {value.name: value for value in other.graph.inputs}
    outside: dict[Value, Value] = {v: theirs[v.name] for v in one.graph.inputs if v.name in theirs}
    left = [v for v in one.graph.inputs if v not in outside]
    new = [v for v in other.graph.inputs if v not in set(outside.values())]
    if len(left) == len(new):  # renamed
        outside.update(zip(left, new, strict=True))
    found = Comparison(one.graph, other.graph, names, outside)
    inputs, outputs = interface(one.graph, other.graph, found)
    changes, functions = _functions(_with_saved_functions(one), _with_saved_functions(other))
    return found.differences(inputs=inputs, outputs=outputs, model=(*_model(one, other), *changes), functions=functions)


def _names(model: ModelData) -> Mapping[Value | None, str]:
    emitter = Emitter(store=lambda tensor, array: True)
    emitter.model(model)
    return {**emitter.names, **emitter.function_names}


def _model(one: ModelData, other: ModelData) -> list[Change]:
    found = [Change("name", one.graph.name, other.graph.name)] if one.graph.name != other.graph.name else []
    for field in _FIELDS:
        a, b = getattr(one, field), getattr(other, field)
        if a != b:
            found.append(Change(field.replace("_", " "), a, b))
    for title, before, after in (
        ("opset", one.opset_imports, other.opset_imports),
        ("metadata", one.metadata, other.metadata),
    ):
        keys = {**before, **after}
        found += [
            Change(f"{title} {key or 'ai.onnx'!r}", before.get(key), after.get(key))
            for key in keys
            if before.get(key) != after.get(key)
        ]
    return found


Key = tuple[str, str, str]


def _with_saved_functions(model: ModelData) -> ModelData:
    """The model with its functions as a file has them: the constants that those written here hold are nodes there."""
    if not any(constants(function.graph) for function in model.functions):
        return model
    empty = replace(model.graph, inputs=(), nodes=(), outputs=(), initializers=(), declared=MappingProxyType({}))
    return load(Emitter().model(replace(model, graph=empty)))


def _functions(one: ModelData, other: ModelData) -> tuple[list[Change], tuple[Part, ...]]:
    """Local functions that were added or removed, and what changed in the others."""
    names = _names(one), _names(other)
    ours, theirs = _by_key(one), _by_key(other)
    changes: list[Change] = []
    parts: list[Part] = []
    for key in {**ours, **theirs}:
        label = repr("::".join(key[:2]) + (f" ({key[2]})" if key[2] else ""))
        a, b = ours.get(key), theirs.get(key)
        if a is None or b is None:
            changes.append(Change(f"function {label}", a and "there", b and "there"))
            continue
        if sorted(a.attributes) != sorted(b.attributes):
            changes.append(Change(f"attributes of function {label}", a.attributes, b.attributes))
        for domain in sorted({*a.opset_imports, *b.opset_imports}):  # a function without has those of its model
            versions = [f.opset_imports.get(domain, m.opset_imports.get(domain)) for f, m in ((a, one), (b, other))]
            if versions[0] != versions[1]:
                changes.append(Change(f"opset {domain or 'ai.onnx'!r} of function {label}", versions[0], versions[1]))
        pairs = {name: (a.defaults.get(name), b.defaults.get(name)) for name in {**a.defaults, **b.defaults}}
        changes += [
            Change(f"default {name!r} of function {label}", *pair)
            for name, pair in pairs.items()
            if not is_equal(*pair)
        ]
        found = body(a.graph, b.graph, names, {})
        if found:
            parts.append(Part(label, found))
    return changes, tuple(parts)


def _by_key(model: ModelData) -> dict[Key, Function]:
    found: dict[Key, Function] = {}
    for function in model.functions:
        overload = function.overload or ""
        while (function.domain, function.name, overload) in found:
            overload = str(int(overload or 0) + 1) if (overload or "0").isdigit() else f"{overload}_"
        found[function.domain, function.name, overload] = function
    return found


__all__ = ["Differences", "diff"]
