"""Types of operators that `onnx.defs` declares without inference: most of opset 1, a few later, seven of ai.onnx.ml.

Where a later version of the operator has inference and reads its call in the same way, that one is asked
(`stand_in`). For the others `output_shape` says what the specification says (Operators.md, Operators-ml.md).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import onnx
from onnx.defs import OpSchema

from .ir import Value
from .schemas import Schema, since
from .types import TensorType, Type, tensor_type

_ML = "ai.onnx.ml"

_READS_OTHERWISE = {"Cast", "Concat", "LpPool", "Pad", "Reshape", "Upsample"}
"""Operators of opset 1 whose next version takes other attributes or inputs, or demands more."""


@cache
def _later(domain: str, name: str, version: int) -> OpSchema | None:
    for later in since(domain, name):
        if later > version:
            schema = onnx.defs.get_schema(name, later, domain)
            if schema.has_type_and_shape_inference_function:
                return schema
    return None


_WRONG = {("", "Slice", 10)}
"""Operators whose inference is wrong: Slice-10 gives a sliced axis the named dimension of the whole (upstream.md)."""


def has_inference(schema: Schema) -> bool:
    """Whether ONNX answers for this version of an operator itself."""
    native = schema.native
    known = native is not None and native.has_type_and_shape_inference_function
    return known and (schema.domain, schema.name, schema.since) not in _WRONG


def stand_in(schema: Schema) -> OpSchema | None:
    """The schema whose inference answers for an operator that has none of its own, if there is one."""
    if not schema.domain and schema.since == 1 and schema.name in _READS_OTHERWISE:
        return None
    return _later(schema.domain, schema.name, schema.since)


def adapt(node: onnx.NodeProto, schema: Schema, other: OpSchema) -> None:
    """Give a call the form of its stand-in: without the attributes that it lacks, with the defaults of our version."""
    given = {spec.name: spec.default for spec in schema.attributes.values() if spec.default is not None}
    given |= {attribute.name: attribute for attribute in node.attribute}
    kinds: dict[str, Any] = {name: spec.type for name, spec in other.attributes.items()}
    kept = [attribute for name, attribute in given.items() if name in kinds and int(kinds[name]) == attribute.type]
    del node.attribute[:]
    node.attribute.extend(kept)


def output_types(
    schema: Schema, inputs: Sequence[Value | None], attributes: Mapping[str, Any], known: Sequence[Type | None]
) -> tuple[Type | None, ...]:
    """The output types, given what the schema's type variables alone say of them."""
    if schema.name == "Gradient" and schema.domain == "ai.onnx.preview.training":  # as many outputs as tensors in `xs`
        return tuple([value.type if value is not None else None for value in inputs[: len(known)]])
    rule = _RULES.get((schema.domain, schema.name))
    first = inputs[0].type if inputs and inputs[0] is not None else None
    if rule is None or not isinstance(first, TensorType):
        return tuple(known)
    return (rule(first, attributes, known[0]), *known[1:])


def _as_first(first: TensorType, _: Mapping[str, Any], known: Type | None) -> Type | None:
    return tensor_type(known.dtype, first.shape) if isinstance(known, TensorType) else known


def _cast(first: TensorType, attributes: Mapping[str, Any], _: Type | None) -> Type | None:
    code = onnx.TensorProto.DataType.Value(str(attributes["to"]).upper())  # opset 1 names the dtype: "FLOAT"
    return tensor_type(code, first.shape)


def _reshape(_: TensorType, attributes: Mapping[str, Any], known: Type | None) -> Type | None:
    wanted = attributes.get("shape")  # at opset 1, 0 copies an axis and -1 is what is left
    if wanted is None or not isinstance(known, TensorType):
        return known
    return tensor_type(known.dtype, [size if size > 0 else None for size in wanted])


def _same_rank(first: TensorType, _: Mapping[str, Any], known: Type | None) -> Type | None:
    if first.shape is None or not isinstance(known, TensorType):
        return known
    return tensor_type(known.dtype, [None] * len(first.shape))


def _rows(columns: Callable[[Mapping[str, Any]], int | None]) -> Callable[..., Type | None]:
    """The rule of a table of float32: a row for each row of the input, which may be a single row of rank 1."""

    def rule(first: TensorType, attributes: Mapping[str, Any], known: Type | None) -> Type | None:
        rows = None if first.shape is None else first.shape[0] if len(first.shape) > 1 else 1
        return tensor_type("float32", [rows, columns(attributes)])

    return rule


_RULES: dict[tuple[str, str], Callable[[TensorType, Mapping[str, Any], Type | None], Type | None]] = {
    ("", "Cast"): _cast,
    ("", "Concat"): _same_rank,
    ("", "GroupNormalization"): _as_first,
    ("", "LpPool"): _same_rank,
    ("", "MeanVarianceNormalization"): _as_first,
    ("", "Pad"): _same_rank,
    ("", "Reshape"): _reshape,
    ("", "Upsample"): _same_rank,
    (_ML, "FeatureVectorizer"): _rows(lambda a: sum(a["inputdimensions"]) if "inputdimensions" in a else None),
    (_ML, "Imputer"): _as_first,
    (_ML, "LinearRegressor"): _rows(lambda a: a.get("targets", 1)),
    (_ML, "Normalizer"): _as_first,
    (_ML, "SVMRegressor"): _rows(lambda a: 1),
    (_ML, "Scaler"): _as_first,
}
