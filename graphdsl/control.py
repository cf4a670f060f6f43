"""Operators with bodies, called with Python callables in the place of ONNX's graphs.

A body receives and returns tensors in ONNX's order, and uses the tensors around it as it likes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import AttributeProto

from .attributes import normalise
from .errors import SignatureError
from .ir import Graph
from .schemas import Schema
from .sites import at, caller
from .tensor import Tensor
from .tensor.handle import Handle
from .tracing import as_tensor, settled, trace_body
from .types import TensorType, Type, from_text

Call = tuple[Sequence[Any], Mapping[str, Any]]

_BODIES = {
    ("", "If"): ("then_branch", "else_branch"),
    ("", "Loop"): ("body",),
    ("", "Scan"): ("body",),
    ("", "SequenceMap"): ("body",),
    ("ai.onnx.preview", "FlexAttention"): ("score_mod", "prob_mod"),
}
"""The attributes that are bodies, by operator."""

_CLOSED = {("ai.onnx.preview", "FlexAttention")}
"""Operators that the standard gives a function body, which sees nothing around the node; so neither do their bodies."""


def takes_callable(schema: Schema, attribute: str) -> bool:
    """Whether an attribute is a body that is written as a Python callable."""
    return attribute in _BODIES.get((schema.domain, schema.name), ())


def with_bodies(schema: Schema, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Call:
    """A call with its callables traced to graphs; other calls stay as they are.

    Raises:
        BuildError: a body is no callable, or returns no tensors.
        SignatureError: a body is missing, or the inputs do not fit the attributes.
    """
    names = _BODIES.get((schema.domain, schema.name))
    if names is None:
        return inputs, keywords
    taken = dict(keywords)
    given = _tensors(schema, _positional(schema, list(inputs), taken))
    types = tuple([None if tensor is None else tensor.type for tensor in given])
    known = _known(schema, taken)
    for name in names:
        if taken.get(name) is not None:
            taken[name] = _traced(schema, name, taken[name], types, known)
        elif schema.attributes[name].required:
            what = f"{schema.label}: {name!r} is required, a function that returns tensors"
            raise SignatureError(what + at(caller()))
    return list(given), taken


def _traced(
    schema: Schema, name: str, function: Any, types: tuple[Type | None, ...], attributes: Mapping[str, Any]
) -> Graph:
    closed = (schema.domain, schema.name) in _CLOSED

    def trace(inner: Sequence[Type | None]) -> Graph:
        return trace_body(function, schema.label, name, inner, closed=closed)

    return settled(schema, types, attributes, trace)


def _positional(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> list[Any]:
    """The inputs in order, those given by name included, and absent ones as the schema counts them."""
    for index, formal in enumerate(schema.inputs):
        if formal.name in keywords and formal.name not in schema.attributes:
            given = keywords.pop(formal.name)
            if formal.variadic:
                inputs.extend([None] * (index - len(inputs)))
                inputs.extend(given if isinstance(given, (list, tuple)) else [given])
            else:
                inputs.extend([None] * (index + 1 - len(inputs)))
                if inputs[index] is not None:
                    raise SignatureError(f"{schema.label}: input {formal.name!r} is given twice" + at(caller()))
                inputs[index] = given
    optional = sum(not formal.required and not formal.variadic for formal in schema.inputs)
    return inputs + [None] * (optional - len(inputs))


def _tensors(schema: Schema, inputs: list[Any]) -> list[Tensor | None]:
    found: list[Tensor | None] = []
    for index, item in enumerate(inputs):
        formal = schema.input(index)
        if callable(item) and not isinstance(item, Handle):
            names = ", ".join(f"{name}=" for name in _BODIES[schema.domain, schema.name])
            raise SignatureError(f"{schema.label}: bodies are given by name, as {names}, not by place" + at(caller()))
        kinds = [from_text(text) for text in formal.types]
        only = kinds[0].dtype if len(kinds) == 1 and isinstance(kinds[0], TensorType) else None
        found.append(None if item is None else as_tensor(item, f"{schema.label}: input {formal.name!r}", only))
    return found


def _known(schema: Schema, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that are no bodies, as far as they are values of their kinds; the call refuses the others."""
    known: dict[str, Any] = {}
    for name, spec in schema.attributes.items():
        if spec.kind != AttributeProto.GRAPH and keywords.get(name) is not None:
            try:
                known[name] = normalise(spec.kind, keywords[name])
            except (TypeError, ValueError):
                continue
    return known
