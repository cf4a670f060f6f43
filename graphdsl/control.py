"""If, Loop, Scan, SequenceMap and FlexAttention with Python callables in the place of ONNX's graphs.

A body receives and returns tensors in ONNX's order, and uses the tensors around it as it likes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import AttributeProto

from .attributes import normalise
from .bodies import carry, scan_parts, scores_type, without_axis
from .errors import BuildError, SignatureError
from .ir import Graph, Value
from .schemas import Schema
from .sites import at, caller
from .tensor import Tensor
from .tracing import as_tensor, trace_body
from .types import SequenceType, Type, int64, tensor_type
from .types import bool as bool_

Call = tuple[list[Any], dict[str, Any]]

_MOST_ROUNDS = 12
"""How often a loop body is traced until the types of its state hold; each round can only widen them."""


def with_bodies(schema: Schema, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Call:
    """A call with its callables traced to graphs; other calls stay as they are.

    Raises:
        BuildError: a body is no callable, or returns no tensors.
        SignatureError: a required body is missing.
    """
    prepare = _PREPARE.get((schema.domain, schema.name))
    return prepare(schema, list(inputs), dict(keywords)) if prepare else (list(inputs), dict(keywords))


def _positional(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> list[Any]:
    """The inputs in order, those given by name included."""
    for index, formal in enumerate(schema.inputs):
        if formal.name in keywords and formal.name not in schema.attributes:
            given = keywords.pop(formal.name)
            if formal.variadic:
                inputs.extend([None] * (index - len(inputs)))
                inputs.extend(given if isinstance(given, (list, tuple)) else [given])
            else:
                inputs.extend([None] * (index + 1 - len(inputs)))
                inputs[index] = given
    return inputs


def _body(schema: Schema, keywords: Mapping[str, Any], name: str = "body") -> Any:
    if keywords.get(name) is None:
        raise SignatureError(f"{schema.label}: {name!r} is required, a function that returns tensors" + at(caller()))
    return keywords[name]


def _if(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> Call:
    for name in ("then_branch", "else_branch"):
        keywords[name] = trace_body(_body(schema, keywords, name), schema.label, name, [])
    return inputs, keywords


def _loop(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> Call:
    inputs = _positional(schema, inputs, keywords)
    trips = None if not inputs or inputs[0] is None else as_tensor(inputs[0], "Loop: M", int64)
    going = None if len(inputs) < 2 or inputs[1] is None else as_tensor(inputs[1], "Loop: cond", bool_)
    states = [as_tensor(item, "Loop: v_initial") for item in inputs[2:]]
    function = _body(schema, keywords)
    first: list[Type | None] = [tensor_type(int64, []), tensor_type(bool_, [])]

    def trace(types: list[Type | None]) -> Graph:
        return trace_body(function, schema.label, "body", first + types)

    keywords["body"] = _settled(trace, states, after=1)
    return [trips, going, *states], keywords


def _settled(trace: Callable[[list[Type | None]], Graph], states: list[Tensor], after: int) -> Graph:
    """A body whose state keeps its types: a dimension that changes from one iteration to the next is unknown."""
    types: list[Type | None] = [state.type for state in states]
    for _ in range(_MOST_ROUNDS):
        body = trace(types)
        found: list[Type | None] = [value.type for _, value in body.outputs][after : after + len(types)]
        if len(found) != len(types):
            return body  # too few outputs: the type rule says so
        try:
            wider = [carry(before, now)[0] for before, now in zip(types, found, strict=True)]
        except ValueError:
            return body  # another dtype: the type rule says so
        if wider == types:
            return body
        types = wider
    raise BuildError("Loop: the types of the state do not settle; give the state a fixed rank" + at(caller()))


def _scan(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> Call:
    inputs = _positional(schema, inputs, keywords)
    if "num_scan_inputs" not in keywords:
        raise SignatureError(
            f"{schema.label}: 'num_scan_inputs' is required: how many of the inputs, the last ones, are scanned; "
            f"the others are state" + at(caller())
        )
    batched = schema.since == 8
    given = [as_tensor(item, "Scan") if item is not None else None for item in inputs]
    known: dict[str, Any] = {
        name: normalise(schema.attributes[name].kind, keywords[name])
        for name in ("num_scan_inputs", "scan_input_axes")
        if keywords.get(name) is not None
    }
    values: tuple[Value | None, ...] = tuple([t._v if t is not None else None for t in given])
    try:
        states, scanned = scan_parts(schema, values, known)
        axes = known.get("scan_input_axes") or [0] * len(scanned)
        slices = [
            without_axis(without_axis(_type(v), 0, "Scan"), 0, "Scan") if batched else without_axis(_type(v), a, "Scan")
            for v, a in zip(scanned, axes, strict=True)
        ]
        carried = [Tensor(v) for v in states if v is not None]
        function = _body(schema, keywords)

        def trace(types: list[Type | None]) -> Graph:
            inner = [without_axis(kind, 0, "Scan") for kind in types] if batched else types
            return trace_body(function, schema.label, "body", inner + slices)

        keywords["body"] = trace([t.type for t in carried]) if batched else _settled(trace, carried, after=0)
    except ValueError as error:
        if isinstance(error, BuildError):
            raise
        raise SignatureError(f"{schema.label}: {error}" + at(caller())) from None
    return list(given), keywords


def _type(value: Value | None) -> Type | None:
    return None if value is None else value.type


def _sequence_map(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> Call:
    inputs = _positional(schema, inputs, keywords)
    given = [as_tensor(item, "SequenceMap") for item in inputs]
    types = [t.type.element if isinstance(t.type, SequenceType) else t.type for t in given]
    keywords["body"] = trace_body(_body(schema, keywords), schema.label, "body", types)
    return list(given), keywords


def _flex_attention(schema: Schema, inputs: list[Any], keywords: dict[str, Any]) -> Call:
    inputs = _positional(schema, inputs, keywords)
    given = [as_tensor(item, schema.label) for item in inputs]
    known = {}
    if keywords.get("softmax_precision") is not None:
        known["softmax_precision"] = normalise(AttributeProto.INT, keywords["softmax_precision"])
    scores = scores_type(tuple(tensor._v for tensor in given), known)
    for name in ("score_mod", "prob_mod"):
        if keywords.get(name) is not None:
            # the standard gives the operator a function body, which sees nothing around the node
            keywords[name] = trace_body(keywords[name], schema.label, name, [scores], closed=True)
    return list(given), keywords


_PREPARE: dict[tuple[str, str], Callable[[Schema, list[Any], dict[str, Any]], Call]] = {
    ("", "If"): _if,
    ("", "Loop"): _loop,
    ("", "Scan"): _scan,
    ("", "SequenceMap"): _sequence_map,
    ("ai.onnx.preview", "FlexAttention"): _flex_attention,
}
