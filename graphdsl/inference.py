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
from onnx.defs import OpSchema

from . import bodies, contributed, uninferred
from .attributes import to_attribute
from .contents import contents, known_array
from .demands import unmet
from .errors import InferenceError, SignatureError
from .ir import Graph, Reference, Value, constant_array
from .ranks import with_ranks
from .refusals import check_dtypes, explain
from .schemas import Schema
from .sharpening import is_settled, mistaken, sharpen
from .sites import Site, at
from .types import SequenceType, TensorType, Type, from_proto, from_text, sequence, tensor_type, to_proto

READS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1, 2),
    "Expand": (1,),
    "ExpandDims": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
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
    schema: Schema,
    inputs: tuple[Value | None, ...],
    types: tuple[Type | None, ...],
    attributes: Mapping[str, Any],
    count: int,
    site: Site | None,
) -> tuple[Type | None, ...]:
    """The types of a node's `count` outputs, `types` being those of its inputs; None for one that cannot be known.

    Raises:
        InferenceError: the operator refuses these inputs; the message names them, the operator and the site.
    """
    key: Any = types
    if count != 1 or attributes or schema.rule is not None or schema.name in READS:
        parts: list[Any] = [types, count]
        for name, value in attributes.items():
            parts.append(name)
            parts.append(_hashable(value))
        if schema.rule is not None:  # it may read any constant
            parts += [_hashable(constant_array(value)) for value in inputs]
        elif schema.name in READS:
            parts += [_contents(inputs[i]) for i in READS[schema.name] if i < len(inputs)]
        key = tuple(parts)
    try:
        found: tuple[Type | None, ...] | None = schema.memo.get(key)
    except TypeError:  # a body, a large array or a proto
        return _infer(schema, inputs, attributes, count, site)
    if found is None:
        found = _infer(schema, inputs, attributes, count, site)
        if not is_settled(schema, inputs, attributes):
            return found
        if len(schema.memo) >= _MOST_REMEMBERED:
            schema.memo.clear()
        schema.memo[key] = found
    return found


def _hashable(value: Any) -> Any:
    """A value as part of a key: a small array by its contents, anything else as it is."""
    if isinstance(value, Graph):
        return [value]  # which is no key: a body is met once, and would be held for nothing
    if isinstance(value, np.ndarray) and value.size <= _MOST_READ and value.dtype.kind != "O":
        return value.dtype, value.shape, value.tobytes()
    return value


def _contents(value: Value | None) -> Any:
    """What the answer depends on of an input that is read: its bytes where they are known, else what is known of it."""
    array = _small(value)
    if array is not None:
        return array.tobytes()
    elements = contents(value)
    return None if elements is None else tuple(elements.flat)


def _small(value: Value | None) -> np.ndarray | None:
    array = constant_array(value)
    if array is None:
        return known_array(value)
    return array if array.size <= _MOST_READ else None


_REFUSALS = (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError)
"""What ONNX's inference, ONNX Runtime's and our own checks raise for a call that cannot be."""


def _infer(
    schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int, site: Site | None
) -> tuple[Type | None, ...]:
    if schema.function is None and any(isinstance(value, Reference) for value in attributes.values()):
        return _constant(attributes) or _bound(schema, inputs, count)
    if schema.rule is not None:
        found = tuple(schema.rule(inputs, attributes, count))
        if count not in (0, len(found)):
            raise SignatureError(
                f"{schema.label} has {len(found)} outputs by its type rule, got outputs={count}" + at(site)
            )
        return found
    if schema.is_bare:
        return (None,) * count
    try:
        types = bodies.output_types(schema, inputs, attributes) or _asked(schema, inputs, attributes, count)
        if problem := unmet(schema, inputs, attributes):
            raise ValueError(problem)
        return with_ranks(schema, inputs, attributes, sharpen(schema, inputs, attributes, types))
    except _REFUSALS as error:
        raise InferenceError(explain(schema, inputs, attributes, str(error)) + at(site)) from None


def _asked(
    schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int
) -> tuple[Type | None, ...]:
    """The answer of whoever knows the operator: ONNX's inference, ours in its place, or ONNX Runtime."""
    found: tuple[Type | None, ...] | None = None
    if not any(value is not None and value.type is None for value in inputs):
        read = [i for i in READS.get(schema.name, ()) if i < len(inputs)]
        for i in read:
            if _is_endless(inputs[i]):
                raise ValueError(f"{schema.input(i).name} has more elements than a tensor has axes")
        constants = {i: array for i in read if (array := _small(inputs[i])) is not None}
        native = schema.native
        if native is not None and (mistaken(schema, inputs) or not uninferred.has_inference(schema)):
            check_dtypes(schema, inputs)
            native = None if uninferred.has_inference(schema) else uninferred.stand_in(schema)
        if native is not None:
            found = _native(schema, native, inputs, constants, attributes, count)
        elif schema.native is not None:
            found = uninferred.output_types(schema, inputs, attributes, _bound(schema, inputs, count))
        elif schema.domain == contributed.DOMAIN:
            found = contributed.types_of(schema, inputs, constants, attributes, count)
    if found is None or None in found:
        bound = _bound(schema, inputs, count)
        return bound if found is None else tuple([kind or known for kind, known in zip(found, bound, strict=True)])
    return found


def _is_endless(value: Value | None) -> bool:
    """Whether a vector of sizes or axes is so long that ONNX's inference would fill the memory with dimensions."""
    kind = value.type if value is not None else None
    length = kind.shape[0] if isinstance(kind, TensorType) and kind.shape is not None and len(kind.shape) == 1 else 0
    return isinstance(length, int) and length > _MOST_AXES


_MOST_AXES = 1 << 16


def _native(
    schema: Schema,
    native: OpSchema,
    inputs: tuple[Value | None, ...],
    constants: Mapping[int, np.ndarray],
    attributes: Mapping[str, Any],
    count: int,
) -> tuple[Type | None, ...]:
    node = onnx.NodeProto(op_type=schema.name, domain=schema.domain)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for i, value in enumerate(inputs):
        if value is None:
            node.input.append("")
            continue
        name = f"i{i}"
        node.input.append(name)
        assert value.type is not None
        types[name] = to_proto(value.type)
        if i in constants:
            data[name] = numpy_helper.from_array(np.ascontiguousarray(constants[i]).reshape(constants[i].shape), name)
    node.output.extend([f"o{i}" for i in range(count)])
    for name, value in attributes.items():
        if isinstance(value, Graph):
            continue  # what it says of types, bodies.py sees to
        spec = schema.attributes.get(name)
        node.attribute.append(to_attribute(name, value, spec.kind if spec else None))
    if native is not schema.native:
        uninferred.adapt(node, schema, native)
    imports = [onnx.helper.make_opsetid(schema.domain, native.since_version)]
    if schema.domain:
        imports.append(onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version()))
    try:
        found = shape_inference.infer_node_outputs(native, node, types, data, None, imports)
    except IndexError:  # a vector's at(), beyond its end
        raise ValueError("an input holds fewer numbers than the operator reads") from None
    protos = [found.get(f"o{i}") for i in range(count)]
    for proto in protos:
        if proto is not None and any(dim.dim_value < 0 for dim in proto.tensor_type.shape.dim):
            raise ValueError("a size would be below zero")  # in a file that would stand for one that is not known
    return tuple([None if proto is None else _known_symbols(from_proto(proto)) for proto in protos])


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


def _constant(attributes: Mapping[str, Any]) -> tuple[Type, ...]:
    """The type of a Constant whose number, text or list of these is an attribute of the function around it."""
    return tuple([_CONSTANTS[name] for name in attributes if name in _CONSTANTS])


_CONSTANTS = {
    f"value_{kind}{plural}": tensor_type(dtype, (None,) if plural else ())
    for kind, dtype in (("int", "int64"), ("float", "float32"), ("string", "string"))
    for plural in ("", "s")
}


def _rankless(kind: Type) -> Type:
    if isinstance(kind, TensorType):
        return tensor_type(kind.dtype)
    return sequence(_rankless(kind.element)) if isinstance(kind, SequenceType) else kind
