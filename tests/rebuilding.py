"""ONNX models rebuilt through the public language, as a program would write them.

Each node is a call in an operator namespace with attributes as plain Python values; each subgraph is a Python callable,
each local function a `@gd.function`. Nothing of the original is used but names, plain values and the inputs' types.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

import graphdsl as gd

Scope = dict[str, Any]
"""The tensors by name, as far as they are made. The empty name is an absent input."""

_ANNOTATIONS = {
    AttributeProto.FLOAT: float,
    AttributeProto.INT: int,
    AttributeProto.STRING: str,
    AttributeProto.TENSOR: np.ndarray,
    AttributeProto.FLOATS: list[float],
    AttributeProto.INTS: list[int],
    AttributeProto.STRINGS: list[str],
}


def rebuild(model: onnx.ModelProto, types: Mapping[str, Any] | None = None) -> gd.Model:
    """The model, written again in the language; initializers that are inputs too become constants.

    `types` declares outputs, by name.
    """
    graph, outputs = _write(model, {})
    needed = {tensor.name for tensor in graph.initializer}
    inputs = [outputs[info.name] for info in graph.input if info.name not in needed]
    chosen = {info.name: outputs[info.name] for info in graph.output}
    return gd.build(chosen, inputs, name=graph.name, opset=versions(model.opset_import).get(""), types=types)


def output_types(model: onnx.ModelProto, known: Mapping[str, np.ndarray]) -> dict[str, gd.Type | None]:
    """What is inferred for the outputs where these inputs are constants."""
    graph, scope = _write(model, known)
    return {info.name: scope[info.name].type for info in graph.output}


def _write(model: onnx.ModelProto, known: Mapping[str, np.ndarray]) -> tuple[onnx.GraphProto, Scope]:
    imports, graph = versions(model.opset_import), model.graph
    writer = Writer(imports, {})
    with gd.opset(imports.get("", 21)):
        scope: Scope = {"": None}
        for info in graph.input:
            name = info.name
            scope[name] = gd.constant(known[name]) if name in known else gd.input(name, info.type)
        for function in model.functions:
            writer.functions[function.domain, function.name, function.overload] = writer.function(function)
        writer.write(graph, scope)
    return graph, scope


def versions(imports: Any) -> dict[str, int]:
    """Opset imports by domain."""
    return {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in imports}


class Writer:
    """Writes nodes: knows the versions of the domains, and the local functions by domain, name and overload."""

    def __init__(self, imports: Mapping[str, int], functions: dict[tuple[str, str, str], Callable[..., Any]]) -> None:
        self.imports = imports
        self.functions = functions

    def write(self, graph: Any, scope: Scope) -> None:
        """Make the constants and nodes of a graph or function; the scope learns their names."""
        for tensor in getattr(graph, "initializer", ()):
            scope[tensor.name] = gd.constant(numpy_helper.to_array(tensor), tensor.name)
        for node in graph.node:
            inputs = [scope[name] for name in node.input]
            attributes = {attribute.name: self._value(attribute, scope) for attribute in node.attribute}
            local = self.functions.get((node.domain, node.op_type, node.overload))
            if local is not None:
                made = local(*inputs, **attributes)
            else:
                made = self._operator(node)(*inputs, outputs=len(node.output), **attributes)
            for name, tensor in zip(node.output, made if isinstance(made, tuple) else (made,), strict=False):
                scope[name] = tensor.named(name) if name else None

    def _operator(self, node: onnx.NodeProto) -> Callable[..., Any]:
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = self.imports[domain]
        namespace = gd.domain(domain, version) if domain else gd.opset(version)
        operator: Callable[..., Any] = getattr(namespace, node.op_type)
        return operator

    def _value(self, attribute: AttributeProto, scope: Scope) -> Any:
        if attribute.ref_attr_name:
            return scope[_parameter(attribute.ref_attr_name)]
        return self._body(attribute.g, scope) if attribute.type == AttributeProto.GRAPH else plain(attribute)

    def _body(self, graph: onnx.GraphProto, outer: Scope) -> Callable[..., Any]:
        def body(*given: Any) -> list[Any]:
            scope = {**outer, **{info.name: tensor for info, tensor in zip(graph.input, given, strict=True)}}
            self.write(graph, scope)
            return [scope[info.name] for info in graph.output]

        return body

    def function(self, proto: onnx.FunctionProto) -> Callable[..., Any]:
        """The local function of a FunctionProto; functions that it calls must be known already.

        Functions of one name would be traces of one Python function, so an overload gets a name of its own.
        """
        inner = Writer(versions(proto.opset_import), self.functions)

        def function(*given: Any, **attributes: Any) -> Any:
            scope: Scope = {"": None, **dict(zip(proto.input, given, strict=True))}
            scope |= {_parameter(name): value for name, value in attributes.items()}
            inner.write(proto, scope)
            return tuple(scope[name] for name in proto.output)

        kinds = _attribute_kinds(proto)
        of = inspect.Parameter
        parameters = [of(name, of.POSITIONAL_OR_KEYWORD, default=None) for name in proto.input]
        parameters += [of(n, of.KEYWORD_ONLY, annotation=_ANNOTATIONS[kinds[n]]) for n in proto.attribute]
        parameters += [
            of(attribute.name, of.KEYWORD_ONLY, annotation=_ANNOTATIONS[attribute.type], default=plain(attribute))
            for attribute in proto.attribute_proto
        ]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        name = f"{proto.name}_{proto.overload}" if proto.overload else proto.name
        return gd.function(domain=proto.domain, name=name)(function)


def _parameter(name: str) -> str:
    """What an attribute of a function is called in its scope, apart from all tensors."""
    return f"attribute {name}"


def _attribute_kinds(proto: onnx.FunctionProto) -> dict[str, int]:
    """The kinds of a function's attributes, from the nodes that refer to them."""
    kinds: dict[str, int] = {}
    stack: list[Sequence[onnx.NodeProto]] = [proto.node]
    while stack:
        for node in stack.pop():
            for attribute in node.attribute:
                if attribute.ref_attr_name:
                    kinds[attribute.ref_attr_name] = attribute.type
                stack.append(attribute.g.node)
    return kinds


def plain(attribute: AttributeProto) -> Any:
    """The value of an attribute as a program would write it."""
    value = onnx.helper.get_attribute_value(attribute)
    match attribute.type:
        case AttributeProto.STRING:
            return value.decode()
        case AttributeProto.STRINGS:
            return [text.decode() for text in value]
        case AttributeProto.TENSOR:
            return numpy_helper.to_array(value)
        case AttributeProto.TENSORS:
            return list(map(numpy_helper.to_array, value))
        case AttributeProto.INTS | AttributeProto.FLOATS:
            return list(value)
    return value
