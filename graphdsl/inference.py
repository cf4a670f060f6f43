"""The types of one node's outputs: ONNX's own inference, memoised.

`infer` asks `onnx.shape_inference` about a single node and remembers the answer by what the answer depends on: the
input types, the attributes, and the contents of those small constant inputs that inference reads (a shape, axes, a
slice's bounds). Real models repeat types, so most nodes cost one dictionary lookup.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from .attributes import to_attribute
from .errors import InferenceError
from .ir import Value, constant_array
from .schemas import Schema
from .sharpening import sharpen
from .sites import Site, at
from .types import SequenceType, TensorType, Type, from_proto, from_text, sequence, tensor_type, to_proto, type_text

READS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""The inputs whose values inference reads, by operator; a test compares it with what onnx does when given them all."""

_MOST_READ = 4096
"""Constants of more elements than this are not shown to inference."""

_MOST_REMEMBERED = 4096
"""Answers remembered per operator; then they are forgotten and gathered anew."""


def infer(
    schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int, site: Site | None
) -> tuple[Type | None, ...]:
    """The types of a node's `count` outputs; None for one that cannot be known.

    Raises:
        InferenceError: the operator refuses these inputs; the message names them, the operator and the site.
    """
    key: Any = (tuple([None if v is None else v.type for v in inputs]), count)
    if attributes:
        key += tuple(attributes.items())
    if schema.name in READS:
        key += tuple([_contents(inputs[i]) for i in READS[schema.name] if i < len(inputs)])
    memo = schema.memo
    try:
        found: tuple[Type | None, ...] | None = memo.get(key)
    except TypeError:  # an array or a body among the attributes
        return _infer(schema, inputs, attributes, count, site)
    if found is None:
        found = _infer(schema, inputs, attributes, count, site)
        if len(memo) >= _MOST_REMEMBERED:
            memo.clear()
        memo[key] = found
    return found


def _contents(value: Value | None) -> bytes | None:
    array = constant_array(value)
    return array.tobytes() if array is not None and array.size <= _MOST_READ else None


def _infer(
    schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int, site: Site | None
) -> tuple[Type | None, ...]:
    if schema.rule is not None:
        return tuple(schema.rule(inputs, attributes, count))
    types: tuple[Type | None, ...]
    if any(v is not None and v.type is None for v in inputs) or schema.native is None:
        types = _bound(schema, inputs, count)
    else:
        try:
            types = _native(schema, inputs, attributes, count)
        except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
            raise InferenceError(_explain(schema, inputs, attributes, str(error)) + at(site)) from None
    try:
        return sharpen(schema, inputs, attributes, types)
    except ValueError as error:
        raise InferenceError(_explain(schema, inputs, attributes, str(error)) + at(site)) from None


def _native(
    schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int
) -> tuple[Type | None, ...]:
    node = onnx.NodeProto(op_type=schema.name, domain=schema.domain)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    reads = READS.get(schema.name, ())
    for i, value in enumerate(inputs):
        if value is None:
            node.input.append("")
            continue
        name = f"i{i}"
        node.input.append(name)
        assert value.type is not None
        types[name] = to_proto(value.type)
        if i in reads:
            array = constant_array(value)
            if array is not None and array.size <= _MOST_READ:
                data[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
    node.output.extend([f"o{i}" for i in range(count)])
    for name, value in attributes.items():
        spec = schema.attributes.get(name)
        node.attribute.append(to_attribute(name, value, spec.kind if spec else None))
    imports = [onnx.helper.make_opsetid(schema.domain, schema.version)]
    if schema.domain:
        imports.append(onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version()))
    assert schema.native is not None
    found = shape_inference.infer_node_outputs(schema.native, node, types, data, None, imports)
    bound: tuple[Type | None, ...] | None = None
    result: list[Type | None] = []
    for i in range(count):
        proto = found.get(f"o{i}")
        kind = None if proto is None else _known_symbols(from_proto(proto))
        if kind is None:
            bound = bound or _bound(schema, inputs, count)
            kind = bound[i]
        result.append(kind)
    return tuple(result)


def _known_symbols(kind: Type | None) -> Type | None:
    """The type without the names that inference makes up (`unk__0`), which mean nothing to anyone."""
    if isinstance(kind, TensorType) and kind.shape is not None:
        if any(str(d).startswith("unk__") for d in kind.shape):
            return tensor_type(kind.dtype, [None if str(d).startswith("unk__") else d for d in kind.shape])
    elif isinstance(kind, SequenceType):
        inner = _known_symbols(kind.element)
        return kind if inner is kind.element or inner is None else sequence(inner)
    return kind


def _bound(schema: Schema, inputs: tuple[Value | None, ...], count: int) -> tuple[Type | None, ...]:
    """What the schema's type variables alone say: the dtype of an output that shares one with an input."""
    known: dict[str, Type] = {}
    for i, value in enumerate(inputs):
        if value is not None and value.type is not None:
            known.setdefault(schema.input(i).type_str, _rankless(value.type))
    result: list[Type | None] = []
    for i in range(count):
        formal = schema.output(i)
        only = next(iter(formal.types)) if len(formal.types) == 1 else None
        result.append(known.get(formal.type_str) or (from_text(only) if only else None))
    return tuple(result)


def _rankless(kind: Type) -> Type:
    if isinstance(kind, TensorType):
        return tensor_type(kind.dtype)
    return sequence(_rankless(kind.element)) if isinstance(kind, SequenceType) else kind


def _explain(schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], native: str) -> str:
    """The message of a refused call: what is wrong, then what was given."""
    given = [(schema.input(i).name, schema.input(i), v.type) for i, v in enumerate(inputs) if v is not None]
    problem = _wrong_types(schema, given) or _cleaned(native)
    shown = ", ".join(f"{name} {kind!r}" for name, _, kind in given) or "none"
    lines = [f"{schema.label}: {problem}", f"  inputs: {shown}"]
    if attributes:
        lines.append("  attributes: " + ", ".join(f"{k}={_short(v)}" for k, v in attributes.items()))
    return "\n".join(lines)


def _wrong_types(schema: Schema, given: list[tuple[str, Any, Type | None]]) -> str | None:
    """What is wrong with the dtypes, if anything: one that is not allowed, or two that must be one."""
    first: dict[str, tuple[str, Type]] = {}
    for name, formal, kind in given:
        if kind is None:
            continue
        text = type_text(kind)
        if text not in formal.types:
            return f"{name} is {_brief(kind)}, which is not allowed; {_allowed(formal.types)}"
        if formal.variadic and not formal.homogeneous:
            continue
        other, previous = first.setdefault(formal.type_str, (name, kind))
        if type_text(previous) != text:
            left, right = _brief(previous), _brief(kind)
            both = f"{other} and {name}" if other != name else f"all of {name}"
            return f"{both} must have one dtype, got {left} and {right}; cast one of them, as in x.astype(gd.{left})"
    return None


def _brief(kind: Type) -> str:
    return repr(kind.dtype) if isinstance(kind, TensorType) else repr(kind)


def _allowed(texts: frozenset[str]) -> str:
    names: list[str] = []
    for text in sorted(texts):
        kind = from_text(text)
        names.append(_brief(kind) if kind else text)
    return f"it takes {', '.join(sorted(names))}"


def _cleaned(message: str) -> str:
    for prefix in ("[ShapeInferenceError]", "[TypeInferenceError]"):
        message = message.replace(prefix, "")
    return " ".join(message.split()).replace("Inferred shape and existing shape differ", "shapes differ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
