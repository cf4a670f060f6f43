"""A model as text: ONNX's textual form, with types behind each node and without the data of weights.

It is for reading: `gd.to_source` writes what Python can read back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .emission import Emitter
from .external import describe
from .ir import Function, Graph, ModelData, Node, Reference
from .types import from_proto, tensor_type
from .walk import constants

_MOST_LINES = 1000
"""Of more nodes or weights, the first and last are shown."""

_MOST_ITEMS = 8
"""Of longer arrays none are shown, of longer attributes the first."""

_LONGEST_TEXT = 60
_COLUMN = 60
"""Where the comments with the types start, unless the node is longer."""


def model_text(model: ModelData) -> str:
    """The text of a model."""
    held: dict[str, np.ndarray] = {}

    def hold(tensor: onnx.TensorProto, array: np.ndarray) -> bool:
        describe(tensor, array)
        held[tensor.name] = array
        return True

    proto = Emitter(store=hold).model(model)
    lines = [f"<ir_version {model.ir_version}, opset {_imports(model.opset_imports)}>"]
    lines += [f"<{_name(key)} = {_text(value)}>" for key, value in model.metadata.items()]
    lines += _graph(model.graph, proto.graph, held, "")
    for function, made in zip(model.functions, proto.functions, strict=True):
        lines += _function(function, made)
    return "\n".join(lines)


def _imports(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{_name(domain or 'ai.onnx')} {version}" for domain, version in versions.items())


def _function(function: Function, proto: Any) -> Iterator[str]:
    """The lines of a local function."""
    overload = f", overload {_name(function.overload)}" if function.overload else ""
    imports = _imports({item.domain: item.version for item in proto.opset_import})
    yield ""
    yield f"<domain {_name(function.domain)}{overload}, opset {imports}>"
    takes = [*map(_name, function.attributes), *(f"{_name(k)} = {_attribute(v)}" for k, v in function.defaults.items())]
    attributes = f" <{', '.join(takes)}>" if takes else ""
    inputs, outputs = (", ".join(map(_name, names)) for names in (proto.input, proto.output))
    yield f"{_name(proto.name)}{attributes} ({inputs}) => ({outputs})"
    held = constants(function.graph)
    yield "{"
    for value, made in zip(held, proto.node, strict=False):
        assert value.array is not None
        line = f"   {_name(made.output[0])} = Constant <value = {_attribute(value.array)}> ()"
        yield f"{line:<{_COLUMN}}  # {value.type}"
    yield from _nodes(function.graph, list(proto.node)[len(held) :], "")
    yield "}"


def _graph(graph: Graph, proto: Any, held: Mapping[str, np.ndarray], indent: str) -> Iterator[str]:
    """The lines of a graph: signature, weights, nodes."""
    takes, gives = (", ".join(map(_declared, infos)) for infos in (proto.input, proto.output))
    yield f"{indent}{_name(proto.name)} ({takes}) => ({gives})"
    if proto.initializer or proto.sparse_initializer:
        yield f"{indent}<"
        for tensor in _shortened(list(proto.initializer), "more weights"):
            yield f"{indent}   " + (tensor if isinstance(tensor, str) else _weight(tensor, held))
        for sparse in proto.sparse_initializer:
            kind = tensor_type(sparse.values.data_type, tuple(sparse.dims))
            yield f"{indent}   sparse({kind}) {_name(sparse.values.name)} = {{...}}"
        yield f"{indent}>"
    yield f"{indent}{{"
    yield from _nodes(graph, list(proto.node), indent)
    yield f"{indent}}}"


def _nodes(graph: Graph, protos: Sequence[Any], indent: str) -> Iterator[str]:
    """The lines of a graph's nodes, then of the copies that emission made of outputs."""
    inner, count = indent + "   ", len(graph.nodes)
    for pair in _shortened(list(zip(graph.nodes, protos, strict=False)), "more nodes"):
        if isinstance(pair, str):
            yield inner + pair
        else:
            node, made = pair
            yield from _node(node, made, inner)
    for made in protos[count:]:
        yield f"{inner}{_name(made.output[0])} = {made.op_type} ({', '.join(map(_name, made.input))})"


def _shortened(items: Sequence[Any], what: str) -> Sequence[Any]:
    """The items, or the first and last of many with a comment between them."""
    if len(items) <= _MOST_LINES:
        return items
    half = _MOST_LINES // 2
    return [*items[:half], f"# ... {len(items) - 2 * half:,} {what} ...", *items[-half:]]


def _node(node: Node, made: Any, indent: str) -> Iterator[str]:
    outputs = ", ".join(map(_name, made.output))
    inputs = ", ".join(map(_name, made.input))
    plain = {k: v for k, v in node.attributes.items() if not _graphs(v)}
    attributes = f" <{', '.join(f'{k} = {_attribute(v)}' for k, v in plain.items())}>" if plain else ""
    types = ", ".join(str(value.type) if value.type is not None else "?" for value in node.outputs)
    line = f"{indent}{outputs} = {_operator(node)}{attributes} ({inputs})"
    yield f"{line:<{_COLUMN}}  # {types}"
    for name, body, graph in _bodies(node.attributes, made):
        first, *rest = _graph(body, graph, {}, indent + "   ")
        yield f"{indent}   {name} = {first.lstrip()}"
        yield from rest


def _graphs(value: Any) -> bool:
    return isinstance(value, Graph) or (isinstance(value, tuple) and any(isinstance(item, Graph) for item in value))


def _bodies(attributes: Mapping[str, Any], made: Any) -> Iterator[tuple[str, Graph, Any]]:
    """The bodies of a node, each with its proto."""
    protos = {attribute.name: attribute for attribute in made.attribute}
    for name, value in attributes.items():
        if isinstance(value, Graph):
            yield name, value, protos[name].g
        elif _graphs(value):
            for index, (body, proto) in enumerate(zip(value, protos[name].graphs, strict=True)):
                yield f"{name}[{index}]", body, proto


def _declared(info: onnx.ValueInfoProto) -> str:
    kind = from_proto(info.type)
    return f"{kind} {_name(info.name)}" if kind is not None else _name(info.name)


def _weight(tensor: onnx.TensorProto, held: Mapping[str, np.ndarray]) -> str:
    """An initializer; its data is in the proto, if it is not held."""
    kind = tensor_type(tensor.data_type, tuple(tensor.dims))
    array = held.get(tensor.name)
    return f"{kind} {_name(tensor.name)} = {_array(numpy_helper.to_array(tensor) if array is None else array)}"


def _array(array: np.ndarray) -> str:
    if array.size > _MOST_ITEMS:
        return "{...}"
    return "{" + ", ".join(_text(item) for item in array.ravel().tolist()) + "}"


def _attribute(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{tensor_type(value.dtype, value.shape)} {_array(value)}"
    if isinstance(value, Reference):
        return f"@{_name(value.name)}"
    if type(value) is tuple:
        shown = [_attribute(item) for item in value[: 2 * _MOST_ITEMS]]
        return "[" + ", ".join(shown + ["..."] * (len(value) > len(shown))) + "]"
    return _text(value)


def _text(value: Any) -> str:
    """One value, on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def _operator(node: Node) -> str:
    label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return label if label.replace(".", "").isidentifier() else repr(label)


def _name(name: str) -> str:
    """A name as it is, or quoted where it would not read as one."""
    return name if name.isprintable() and not set(name) & set(" ,()=<>{}#'\"") else repr(name)
