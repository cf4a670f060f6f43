"""Why inference refused a call, as the error says it: what is wrong, then what was given.

ONNX's own messages are bare ("Incompatible dimensions") and number the inputs. Here they get names and sizes, and where
`demands` can tell what does not fit what, it does. Nothing here runs unless a call has failed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .demands import cause, input_names
from .ir import Graph, Value, constant_array
from .schemas import Parameter, Schema
from .types import SequenceType, TensorType, Type, as_dtype, from_text, type_text


class Given(NamedTuple):
    """One input of a call; `name` is the schema's, numbered where the input is variadic."""

    name: str
    formal: Parameter
    value: Value


def given_inputs(schema: Schema, inputs: Sequence[Value | None]) -> dict[int, Given]:
    """The inputs that are present, by index."""
    names = input_names(schema, inputs)
    return {i: Given(names[i], schema.input(i), value) for i, value in enumerate(inputs) if value is not None}


def explain(schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any], native: str) -> str:
    """The message of a refused call; `native` is what the one who refused it said."""
    given = given_inputs(schema, inputs)
    problem = _wrong_dtypes(given.values()) or cause(schema, inputs, attributes, native)
    problem = problem or _cleaned(native, input_names(schema, inputs))
    shown = ", ".join(f"{item.name} {_described(item.value)}" for item in given.values()) or "none"
    lines = [f"{schema.label}: {problem}", f"  inputs: {shown}"]
    shown = ", ".join(f"{k}={_short(v)}" for k, v in attributes.items() if not isinstance(v, Graph))
    if shown:
        lines.append(f"  attributes: {shown}")
    return "\n".join(lines)


def check_dtypes(schema: Schema, inputs: Sequence[Value | None]) -> None:
    """What ONNX's inference checks for operators that it infers.

    Raises:
        ValueError: a type is not allowed, or two that must be one differ.
    """
    problem = _wrong_dtypes(given_inputs(schema, inputs).values())
    if problem:
        raise ValueError(problem)


def _wrong_dtypes(given: Iterable[Given]) -> str | None:
    """What is wrong with the dtypes, if anything: one that is not allowed, or two that must be one."""
    first: dict[str, Given] = {}
    for item in given:
        kind = item.value.type
        if kind is None:
            continue
        if type_text(kind) not in item.formal.types:
            return f"{item.name} is {_brief(kind)}, which is not allowed; {_allowed(item.formal.types)}"
        if item.formal.variadic and not item.formal.homogeneous:
            continue
        other = first.setdefault(item.formal.type_str, item)
        assert other.value.type is not None
        if type_text(other.value.type) != type_text(kind):
            left, right = _brief(other.value.type), _brief(kind)
            cast = f"; cast one of them, as in x.astype(gd.{left})" if isinstance(kind, TensorType) else ""
            return f"{other.name} and {item.name} must have one dtype, got {left} and {right}{cast}"
    return None


def _brief(kind: Type) -> str:
    """A type without its shape."""
    if isinstance(kind, TensorType):
        return kind.dtype.name
    return f"sequence({_brief(kind.element)})" if isinstance(kind, SequenceType) else repr(kind)


def _allowed(texts: frozenset[str]) -> str:
    kinds = [(text, from_text(text)) for text in texts]
    dtypes = sorted(
        (kind.dtype for _, kind in kinds if isinstance(kind, TensorType)), key=lambda d: (d.kind, d.bits, d.code)
    )
    others = sorted(repr(kind) if kind else text for text, kind in kinds if not isinstance(kind, TensorType))
    if len(others) > 3:  # sequences of every dtype: the first says enough
        others = [f"{others[0]} and the like"]
    return f"it takes {', '.join([*map(repr, dtypes), *others])}"


_INPUT = re.compile(r"\b[Ii]nput (\d+)\b")
_CODE = re.compile(r"\b(Sequence|Tensor)=(\d+)\b")
_REWRITTEN: tuple[tuple[str, str], ...] = (
    (r"\[(Shape|Type)InferenceError\]\s*", ""),
    (r"\(op_type:[^)]*\):?\s*", ""),
    (r" in node [\w.\[\]]*\.?$", ""),
    (r"(.*) expected to have rank (>=? ?)?(\d+) but has rank (\d+)", r"\1 must have rank \2\3, but has rank \4"),
    (r"Dimension mismatch in unification between (\d+) and (\d+)", r"two sizes that must be equal are \1 and \2"),
    (r"^Dimension of (.*) must be 1 instead of (\d+)", r"an axis of size \2 of \1 cannot be squeezed; only size 1 can"),
    (r"Invalid attribute perm \{(.*)\}, input shape = \{(.*)\}", r"perm=[\1] is no permutation of the axes of \2"),
)


def _cleaned(message: str, names: Mapping[int, str]) -> str:
    """A native message with the names of the inputs in place of their numbers."""
    text = " ".join(message.split())
    text = _INPUT.sub(lambda m: names.get(int(m.group(1)), m.group(0)), text)
    text = _CODE.sub(lambda m: f"{m.group(1)}={as_dtype(int(m.group(2)))}", text)
    for pattern, better in _REWRITTEN:
        text = re.sub(pattern, better, text)
    return text.strip().rstrip(".")


def _described(value: Value) -> str:
    """The type of an input, with the value of a small constant."""
    text = repr(value.type)
    array = constant_array(value)
    if array is not None and array.ndim <= 1 and array.size <= 8:
        text += f" = {_short(array.tolist())}"
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
