"""Calls of local functions replaced by the functions' bodies."""

from dataclasses import replace
from typing import TypeVar

from . import schemas
from .ir import Input, ModelData, Output
from .tensor.calling import Trace, tracing
from .tracing import close_graph, replay
from .walk import operators

M = TypeVar("M", bound=ModelData)


def inline(model: M) -> M:
    """The model made anew without calls of local functions, to compute with; `gd.inline` keeps what it says besides."""
    graph = model.graph
    trace = Trace(f"model {graph.name!r}", None)
    with schemas.opset_forced(model.opset_imports.get("", schemas.DEFAULT_OPSET)), tracing(trace):
        inputs = tuple([Input(value.name, value.type, trace, value.site, value.default) for value in graph.inputs])
        values = replay(graph, inputs, expand=True)
    outputs = tuple([Output(name, value) for (name, _), value in zip(graph.outputs, values, strict=True)])
    closed = close_graph(graph.name, trace, inputs, outputs)
    trace.released = True
    used = {schema.domain for schema in operators(closed)} | {""}
    return replace(
        model,
        graph=replace(closed, extras=graph.extras),
        functions=(),
        opset_imports={domain: version for domain, version in model.opset_imports.items() if domain in used},
    )
