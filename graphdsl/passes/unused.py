"""Passes that drop what nothing uses: nodes, initializers, functions, opset imports."""

from collections.abc import Iterable
from dataclasses import replace

from ..ir import Graph, Input
from ..loading import opened
from ..models import Model
from ..transforming import live_nodes, sweep
from ..walk import captured, constants, functions, operators
from .pipeline import Source, unchanged


def dead_code(source: Source) -> Model:
    """Nodes go that no output needs, in bodies and local functions too.

    >>> import graphdsl as gd
    >>> import onnx
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) { u = Exp(x) y = Relu(x) }'
    >>> [node.op_type for node in gd.passes.dead_code(onnx.parser.parse_model(text)).nodes]
    ['Relu']
    """
    return sweep(opened(source), unchanged, finish=_without_dead)


def _without_dead(graph: Graph) -> Graph:
    ends = [value for _, value in graph.outputs]
    live = live_nodes(graph.nodes, ends)
    if len(live) == len(graph.nodes):
        return graph
    nodes = tuple([node for node in graph.nodes if node in live])
    free = captured(nodes, graph.inputs, ends) if graph.captures else ()
    return replace(graph, nodes=nodes, captures=free)


def unused_initializers(source: Source) -> Model:
    """Initializers go that nothing uses; an input that has one as its default stays.

    >>> import graphdsl as gd
    >>> import onnx
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) <float w = {1}> { y = Relu(x) }'
    >>> model = onnx.parser.parse_model(text)
    >>> len(model.graph.initializer), len(gd.passes.unused_initializers(model).to_proto().graph.initializer)
    (1, 0)
    """
    return sweep(opened(source), unchanged, finish=_without_unused)


def _without_unused(graph: Graph) -> Graph:
    if not graph.initializers:
        return graph
    used = set(constants(graph))
    listed = tuple([value for value in graph.initializers if isinstance(value, Input) or value in used])
    return graph if len(listed) == len(graph.initializers) else replace(graph, initializers=listed)


def unused_functions(source: Source) -> Model:
    """Local functions go that nothing calls.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build(gd.marker(x * 2, "doubled"))
    >>> unmarked = gd.transform(model, lambda node, inputs: inputs[0] if node.op_type == "Debug" else None)
    >>> len(unmarked.functions), len(gd.passes.unused_functions(unmarked).functions)
    (1, 0)
    """
    model = opened(source)
    called = set(functions(operators(model.graph)))
    kept = tuple([function for function in model.functions if function in called])
    return model if len(kept) == len(model.functions) else replace(model, functions=kept)


def unused_opsets(source: Source) -> Model:
    """Opset imports go whose domains no node uses; ONNX's own domain stays.

    >>> import graphdsl as gd
    >>> import onnx
    >>> text = '<ir_version: 8, opset_import: ["": 17, "my": 1]> g (float[3] x) => (float[3] y) { y = Relu(x) }'
    >>> dict(gd.passes.unused_opsets(onnx.parser.parse_model(text)).opset_imports)
    {'': 17}
    """
    model = opened(source)
    used = _domains([model.graph, *(function.graph for function in model.functions)])
    kept = {domain: version for domain, version in model.opset_imports.items() if domain in used}
    return model if kept == dict(model.opset_imports) else replace(model, opset_imports=kept)


def _domains(graphs: Iterable[Graph]) -> set[str]:
    return {"", *(schema.domain for schema in operators(*graphs))}
