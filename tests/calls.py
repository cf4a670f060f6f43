"""The least legal call of every operator at every version: made from its schema, and from what schemas do not say."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import AttributeProto

import graphdsl as gd
from graphdsl import schemas
from graphdsl.schemas import FOREVER, Schema
from graphdsl.types import MapType, OptionalType, SequenceType, TensorType, Type, from_text, tensor_type

CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
"""Operators whose attributes are callables; they have tests of their own."""

RANKS = (2, 4, 3, 1, 0, 5)
"""The ranks that are tried, all inputs alike, for an operator of which nothing else is known."""

_MODES = np.array([0], np.uint8)
_FLOATS = np.array([1], np.float32)


class Needs(NamedTuple):
    """What an operator needs beyond its schema."""

    shapes: Mapping[str, tuple[Any, ...]] = {}
    """Shapes of inputs by name."""
    types: Mapping[str, str] = {}
    """For a type variable, the only type to try."""
    inputs: tuple[str, ...] = ()
    """Optional inputs that are given all the same."""
    attributes: Mapping[str, Any] = {}
    """Attributes that are needed, or whose sample value does not do."""
    count: int = 0
    """How many variadic inputs; else as few as the schema allows, but one."""


NEEDS: dict[str, Needs] = {
    "Adam": Needs(count=4, attributes={"outputs": 3}),
    "BitCast": Needs(types={"T1": "tensor(float)"}, attributes={"to": gd.int32}),
    "BitShift": Needs(attributes={"direction": "LEFT"}),
    "CastMap": Needs(types={"T1": "map(int64,tensor(float))"}, attributes={"cast_to": "TO_FLOAT"}),
    "CategoryMapper": Needs(types={"T1": "tensor(int64)"}, attributes={"cats_int64s": [1], "cats_strings": ["a"]}),
    "Col2Im": Needs(shapes={"input": (None, None, None), "image_shape": (2,), "block_shape": (2,)}),
    "Constant": Needs(attributes={"value": _FLOATS}),
    "DictVectorizer": Needs(types={"T1": "map(int64,tensor(float))"}, attributes={"int64_vocabulary": [1]}),
    "Einsum": Needs(attributes={"equation": "ij->ji"}),
    "DequantizeLinear": Needs(types={"T2": "tensor(float)"}),
    "LabelEncoder": Needs(
        types={"T1": "tensor(int64)"},
        attributes={"keys_int64s": [1], "values_floats": [1.0], "classes_strings": ["a"]},
    ),
    "LinearAttention": Needs(attributes={"update_rule": "linear"}),
    "MaxRoiPool": Needs(shapes={"X": (None, None, None, None)}, attributes={"pooled_shape": [1, 1]}),
    "Momentum": Needs(count=3, attributes={"mode": "standard", "outputs": 2}),
    "NegativeLogLikelihoodLoss": Needs(shapes={"input": (None, None, None), "target": (None, None)}),
    "OneHotEncoder": Needs(attributes={"cats_int64s": [1]}),
    "Optional": Needs(inputs=("input",)),
    "Pad": Needs(shapes={"data": (None, None)}, attributes={"pads": [1, 1, 1, 1], "paddings": [1, 1, 1, 1]}),
    "RandomNormalLike": Needs(attributes={"dtype": gd.float32}),
    "RandomUniformLike": Needs(attributes={"dtype": gd.float32}),
    "Resize": Needs(inputs=("scales",), shapes={"X": (None, None), "scales": (2,), "roi": (4,)}),
    "ReverseSequence": Needs(shapes={"sequence_lens": (None,)}),
    "RoiAlign": Needs(shapes={"X": (None, None, None, None), "rois": (None, 4), "batch_indices": (None,)}),
    "SequenceInsert": Needs(types={"S": "seq(tensor(float))", "T": "tensor(float)"}),
    "Split": Needs(attributes={"outputs": 2}),
    "TfIdfVectorizer": Needs(attributes={"mode": "TF"}),
    "TreeEnsemble": Needs(
        types={"T": "tensor(float)"},
        attributes={"nodes_modes": _MODES, "nodes_splits": _FLOATS, "leaf_weights": _FLOATS},
    ),
    "TreeEnsembleClassifier": Needs(attributes={"classlabels_int64s": [0, 1]}),
    "ZipMap": Needs(attributes={"classlabels_int64s": [0, 1]}),
}

_SAMPLES = {
    AttributeProto.INT: 1,
    AttributeProto.FLOAT: 1.0,
    AttributeProto.STRING: "FLOAT",  # Cast names dtypes so at opset 1; nobody else minds
    AttributeProto.TENSOR: _FLOATS,
    AttributeProto.INTS: [1],
    AttributeProto.FLOATS: [1.0],
    AttributeProto.STRINGS: ["a"],
    AttributeProto.TYPE_PROTO: gd.float32[1],
}


class Call(NamedTuple):
    """A call that is to be made."""

    inputs: list[Any]
    keywords: dict[str, Any]


def all_schemas() -> list[Schema]:
    """Every operator of every domain at every version that defined or changed it, but withdrawals and control flow."""
    natives = [s for s in onnx.defs.get_all_schemas_with_history() if not s.deprecated and s.name not in CONTROL_FLOW]
    natives.sort(key=lambda s: (s.domain, s.name, s.since_version))
    return [schemas.lookup(s.domain, s.name, s.since_version) for s in natives]


def namespace(schema: Schema) -> Any:
    """Where a schema's operator is called at its own version."""
    return gd.domain(schema.domain, schema.since) if schema.domain else gd.opset(schema.since)


def least_calls(schema: Schema) -> Iterator[Call]:
    """Calls with as few inputs and attributes as possible, such that each type variable takes all its types."""
    choices = _choices(schema)
    ranks: tuple[int, ...] = RANKS
    for number in range(max((len(texts) for texts in choices.values()), default=1)):
        chosen = {variable: texts[number % len(texts)] for variable, texts in choices.items()}
        ranks = (_rank(schema, chosen, ranks),)
        yield _call(schema, chosen, ranks[0])


def _choices(schema: Schema) -> dict[str, list[str]]:
    """The types that each type variable of an input may take."""
    only = _needs(schema).types
    found = {f.type_str: sorted(f.types, key=lambda text: (text != "tensor(float)", text)) for f in schema.inputs}
    return {variable: [only[variable]] if variable in only else texts for variable, texts in found.items()}


def _needs(schema: Schema) -> Needs:
    return NEEDS.get(schema.name, Needs())


def _rank(schema: Schema, chosen: Mapping[str, str], ranks: tuple[int, ...]) -> int:
    """The first rank that inference accepts; the last one where it accepts none, whose error then says why."""
    for rank in ranks[:-1]:
        try:
            call = _call(schema, chosen, rank)
            getattr(namespace(schema), schema.name)(*call.inputs, **call.keywords)
        except gd.InferenceError:
            continue
        return rank
    return ranks[-1]


def _call(schema: Schema, chosen: Mapping[str, str], rank: int) -> Call:
    needs = _needs(schema)
    inputs: list[Any] = []
    last = max(
        (i for i, f in enumerate(schema.inputs) if f.required or f.variadic or f.name in needs.inputs), default=-1
    )
    for formal in schema.inputs[: last + 1]:
        count = max(needs.count, formal.least, 1) if formal.variadic else 1
        if not (formal.required or formal.variadic or formal.name in needs.inputs):
            inputs.append(None)
            continue
        kind = from_text(chosen[formal.type_str])
        assert kind is not None, f"{schema.label}: no type {chosen[formal.type_str]}"
        shaped = _shaped(kind, needs.shapes.get(formal.name, (None,) * rank))
        inputs += [gd.input(f"{formal.name}_{number}", shaped) for number in range(count)]
    keywords = {n: _SAMPLES[spec.kind] for n, spec in schema.attributes.items() if spec.required}
    if schema.most_outputs == FOREVER:
        keywords["outputs"] = max(1, schema.least_outputs)
    known = {*schema.attributes, "outputs"}
    keywords |= {name: value for name, value in needs.attributes.items() if name in known}
    return Call(inputs, keywords)


def _shaped(kind: Type, shape: tuple[Any, ...]) -> Type:
    """A type whose tensors have this shape."""
    match kind:
        case TensorType():
            return tensor_type(kind.dtype, shape)
        case SequenceType():
            return gd.sequence(_shaped(kind.element, shape))
        case OptionalType():
            return gd.optional(_shaped(kind.element, shape))
        case MapType():
            return gd.map_of(kind.key, _shaped(kind.element, ()))
    return kind
