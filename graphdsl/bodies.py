"""The types of what operators with bodies return, from the graphs in their attributes.

ONNX specification, Operators.md: the sections of these four operators.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from .ir import Graph, Value
from .schemas import Schema
from .types import (
    OptionalType,
    SequenceType,
    Shape,
    TensorType,
    Type,
    float32,
    float64,
    int64,
    may_be,
    optional,
    sequence,
    tensor_type,
)
from .types import bool as bool_

Inputs = tuple[Value | None, ...]
Types = tuple[Type | None, ...]
T = TypeVar("T")


def join(left: Type | None, right: Type | None) -> Type | None:
    """The type of a value that is of one type or of the other: dimensions that differ become unknown.

    Raises:
        ValueError: no type holds both.
    """
    if left is right or left is None or right is None:
        return left if left is right else None
    if isinstance(left, TensorType) and isinstance(right, TensorType) and left.dtype is right.dtype:
        return tensor_type(left.dtype, _join_shapes(left.shape, right.shape))
    if isinstance(left, SequenceType) and isinstance(right, SequenceType):
        inner = join(left.element, right.element)
        return None if inner is None else sequence(inner)
    if isinstance(left, OptionalType) and isinstance(right, OptionalType):
        inner = join(left.element, right.element)
        return None if inner is None else optional(inner)
    raise ValueError(f"{left!r} and {right!r}")


def carry(before: Type | None, after: Type | None) -> tuple[Type | None, Type | None]:
    """The types of a state that is of one type before a round and of the other after it: in the body, and in the end.

    A state that begins as an optional may go on as what the optional holds.

    Raises:
        ValueError: no type holds both.
    """
    if isinstance(before, OptionalType) and after is not None and not isinstance(after, OptionalType):
        inner = join(before.element, after)
        return (None if inner is None else optional(inner)), inner
    joined = join(before, after)
    return joined, joined


def _join_shapes(left: Shape | None, right: Shape | None) -> Shape | None:
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple([a if a == b else None for a, b in zip(left, right, strict=True)])


def without_axis(kind: Type | None, axis: int) -> Type | None:
    """The type of one slice of a tensor along an axis.

    Raises:
        ValueError: the tensor has no such axis.
    """
    if not isinstance(kind, TensorType) or kind.shape is None:
        return tensor_type(kind.dtype) if isinstance(kind, TensorType) else kind
    if not -len(kind.shape) <= axis < len(kind.shape):
        raise ValueError(f"it goes along axis {axis}, which {kind!r} does not have")
    dims = list(kind.shape)
    del dims[axis]
    return tensor_type(kind.dtype, dims)


def _stacked(kind: Type | None, length: Any, axis: int = 0) -> Type | None:
    if not isinstance(kind, TensorType):
        return kind
    if kind.shape is None:
        return tensor_type(kind.dtype)
    dims = list(kind.shape)
    dims.insert(axis if axis >= 0 else len(dims) + 1 + axis, length)
    return tensor_type(kind.dtype, dims)


def output_types(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> Types | None:
    """The types of the outputs of an operator that has bodies; None where the operator is another.

    Raises:
        ValueError: the bodies do not fit the inputs or each other.
    """
    rule = _RULES.get((schema.domain, schema.name))
    return rule(schema, inputs, attributes) if rule is not None else None


def _counted(count: int, what: str, plural: str = "") -> str:
    return f"{count} {what if count == 1 else plural or what + 's'}"


def _types(graph: Graph) -> list[Type | None]:
    return [value.type for _, value in graph.outputs]


def _check_scalar(value: Value | None, dtype: Any, what: str) -> None:
    kind = value.type if value is not None else None
    if kind is None:
        return
    if not isinstance(kind, TensorType) or kind.dtype is not dtype:
        raise ValueError(f"{what} is a scalar of {dtype}, got {kind!r}")
    if kind.shape is not None and any(isinstance(d, int) and d != 1 for d in kind.shape):
        raise ValueError(f"{what} is a scalar of {dtype}, got {kind!r}")


def _if(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> Types:
    _check_scalar(inputs[0], bool_, "cond")
    one, other = _types(attributes["then_branch"]), _types(attributes["else_branch"])
    if len(one) != len(other):
        raise ValueError(
            f"then_branch returns {_counted(len(one), 'tensor')}, else_branch {len(other)}; both return as many"
        )
    found: list[Type | None] = []
    for index, (left, right) in enumerate(zip(one, other, strict=True)):
        try:
            found.append(join(left, right))
        except ValueError:
            raise ValueError(
                f"output {index} is {left!r} in then_branch and {right!r} in else_branch; cast one of them"
            ) from None
    return tuple(found)


def _loop(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> Types:
    _check_scalar(inputs[0] if inputs else None, int64, "the trip count M")
    _check_scalar(inputs[1] if len(inputs) > 1 else None, bool_, "cond")
    body: Graph = attributes["body"]
    states = inputs[2:]
    found = _types(body)
    if len(body.inputs) != len(states) + 2:
        raise ValueError(
            f"body takes {len(body.inputs)} parameters, and gets {len(states) + 2}: the iteration number, the "
            f"condition and {_counted(len(states), 'state tensor')}"
        )
    if len(found) < len(states) + 1:
        raise ValueError(
            f"body returns {_counted(len(found), 'tensor')}, and at least {len(states) + 1} are needed: the condition, "
            f"then {_counted(len(states), 'state tensor')}, then what is collected"
        )
    _check_scalar(body.outputs[0].value, bool_, "the condition that body returns")
    collected = [_stacked(kind, None) for kind in found[len(states) + 1 :]]
    return (*_states(body, states, 2, found[1 : len(states) + 1]), *collected)


def _states(body: Graph, states: Inputs, offset: int, after: list[Type | None]) -> list[Type | None]:
    result: list[Type | None] = []
    for index, (state, kind) in enumerate(zip(states, after, strict=True)):
        before = state.type if state is not None else None
        try:
            result.append(carry(before, kind)[1])
        except ValueError:
            name = body.inputs[offset + index].name or f"state {index}"
            raise ValueError(
                f"the state {name!r} is {before!r} before the first iteration and {kind!r} after one; cast it in body"
            ) from None
    return result


def scan_axes(attributes: Mapping[str, Any], count: int, which: str = "input") -> list[int]:
    """The axes along which Scan goes through what it scans, or collects outputs.

    Raises:
        ValueError: there are not as many axes.
    """
    axes = list(attributes.get(f"scan_{which}_axes") or [0] * count)
    if len(axes) != count:
        raise ValueError(f"scan_{which}_axes names {_counted(len(axes), 'axis', 'axes')}, for {count} scanned {which}s")
    return axes


def scan_parts(schema: Schema, inputs: tuple[T, ...], attributes: Mapping[str, Any]) -> tuple[tuple[T, ...], ...]:
    """The state and scanned inputs of Scan, or their types; its first version begins with the sequences' lengths."""
    given = inputs[1:] if schema.since == 8 else inputs
    if "num_scan_inputs" not in attributes:
        raise ValueError(
            "'num_scan_inputs' is required: how many of the inputs, the last ones, are scanned; the others are state"
        )
    states = len(given) - attributes["num_scan_inputs"]
    if states < 0:
        raise ValueError(f"num_scan_inputs is {attributes['num_scan_inputs']}, of {_counted(len(given), 'input')}")
    return given[:states], given[states:]


def _scan(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> Types:
    body: Graph = attributes["body"]
    states, scanned = scan_parts(schema, inputs, attributes)
    if len(body.inputs) != len(states) + len(scanned):
        raise ValueError(
            f"body takes {len(body.inputs)} parameters, and gets {len(states) + len(scanned)}: "
            f"{_counted(len(states), 'state tensor')} and a slice of each of {_counted(len(scanned), 'scanned input')}"
        )
    found = _types(body)
    if len(found) < len(states):
        raise ValueError(
            f"body returns {_counted(len(found), 'tensor')}, fewer than the {_counted(len(states), 'state tensor')}"
        )
    batched = schema.since == 8
    axes = [1] * len(scanned) if batched else scan_axes(attributes, len(scanned))
    length, batch = None, None
    for value, axis in zip(scanned, axes, strict=True):
        kind = value.type if value is not None else None
        if isinstance(kind, TensorType) and kind.shape and -len(kind.shape) <= axis < len(kind.shape):
            length = kind.shape[axis] if length is None else length
            batch = kind.shape[0] if batch is None else batch
    after = found[: len(states)]
    outs = scan_axes(attributes, len(found) - len(states), "output")
    collected = [_stacked(kind, length, axis) for kind, axis in zip(found[len(states) :], outs, strict=True)]
    if batched:
        after = [_stacked(kind, batch) for kind in after]
        collected = [_stacked(kind, batch) for kind in collected]
    return (*_states(body, states, 0, after), *collected)


def _sequence_map(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> Types:
    body: Graph = attributes["body"]
    if len(body.inputs) != len(inputs):
        raise ValueError(f"body takes {len(body.inputs)} parameters, and gets {len(inputs)}: an element of each input")
    return tuple([None if kind is None else sequence(kind) for kind in _types(body)])


def _scores(types: Types, attributes: Mapping[str, Any]) -> Type | None:
    """The type of the attention scores of FlexAttention, which its bodies take and return."""
    query, key = types[:2]
    if not isinstance(query, TensorType):
        return None
    dtype = attributes.get("softmax_precision") or (float64 if query.dtype is float64 else float32)
    if query.shape is None or len(query.shape) != 4:
        return tensor_type(dtype)
    longest = key.shape[2] if isinstance(key, TensorType) and key.shape and len(key.shape) == 4 else None
    return tensor_type(dtype, [*query.shape[:3], longest])


def _flex_attention(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> None:
    """ONNX infers the output; what its inference does not see are the bodies."""
    scores = _scores(tuple([None if value is None else value.type for value in inputs]), attributes)
    for name in ("score_mod", "prob_mod"):
        found = _types(attributes[name]) if name in attributes else [scores]
        if len(found) != 1 or not may_be(found[0], scores):
            raise ValueError(f"{name} returns one tensor of the type that it takes, {scores!r}; it returns {found!r}")


_RULES: dict[tuple[str, str], Callable[[Schema, Inputs, Mapping[str, Any]], Types | None]] = {
    ("", "If"): _if,
    ("", "Loop"): _loop,
    ("", "Scan"): _scan,
    ("", "SequenceMap"): _sequence_map,
    ("ai.onnx.preview", "FlexAttention"): _flex_attention,
}


class Parameters(NamedTuple):
    """The types of what a body takes, in order: what comes first, states, and the rest."""

    first: Types
    states: Types
    """Their types may change from one round to the next; see `carry`."""
    rest: Types
    leading: int = 0
    """How many outputs of the body come before the states."""


def has_known_bodies(schema: Schema) -> bool:
    """Whether it is known what the bodies of an operator take."""
    return (schema.domain, schema.name) in _PARAMETERS and not schema.is_bare


def parameters(schema: Schema, types: Types, attributes: Mapping[str, Any]) -> Parameters:
    """What a body takes, from the types of its operator's inputs.

    Raises:
        ValueError: the inputs do not fit the attributes.
    """
    return _PARAMETERS[schema.domain, schema.name](schema, types, attributes)


def _loop_parameters(schema: Schema, types: Types, attributes: Mapping[str, Any]) -> Parameters:
    return Parameters((tensor_type(int64, []), tensor_type(bool_, [])), types[2:], (), leading=1)


def _scan_parameters(schema: Schema, types: Types, attributes: Mapping[str, Any]) -> Parameters:
    states, scanned = scan_parts(schema, types, attributes)
    axes = scan_axes(attributes, len(scanned))
    if schema.since == 8:
        states, scanned = (tuple([without_axis(kind, 0) for kind in part]) for part in (states, scanned))
        axes = [0] * len(scanned)
    return Parameters((), states, tuple([without_axis(kind, axis) for kind, axis in zip(scanned, axes, strict=True)]))


def _element_parameters(schema: Schema, types: Types, attributes: Mapping[str, Any]) -> Parameters:
    if types and types[0] is not None and not isinstance(types[0], SequenceType):
        raise ValueError(
            f"input_sequence is {types[0]!r}, and a sequence is needed; make one with op.SplitToSequence or "
            "op.SequenceConstruct"
        )
    return Parameters((), (), tuple([kind.element if isinstance(kind, SequenceType) else kind for kind in types]))


_PARAMETERS: dict[tuple[str, str], Callable[[Schema, Types, Mapping[str, Any]], Parameters]] = {
    ("", "If"): lambda schema, types, attributes: Parameters((), (), ()),
    ("", "Loop"): _loop_parameters,
    ("", "Scan"): _scan_parameters,
    ("", "SequenceMap"): _element_parameters,
    ("ai.onnx.preview", "FlexAttention"): lambda schema, types, attributes: Parameters(
        (), (), (_scores(types, attributes),)
    ),
}


def input_types(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> Types:
    """What is known of the types of a body's inputs before the body is; empty for other operators."""
    if not has_known_bodies(schema):
        return ()
    known = parameters(schema, tuple([None if value is None else value.type for value in inputs]), attributes)
    return (*known.first, *[_of_any_shape(kind) for kind in known.states], *known.rest)


def _of_any_shape(kind: Type | None) -> Type | None:
    return tensor_type(kind.dtype) if isinstance(kind, TensorType) else kind
