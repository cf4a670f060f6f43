"""What operators need to be called so that they accept: shapes, contents and attributes that fit what is there already.

A hint proposes; whether the operator accepts is the constructor's answer, as for any call. Operators without a hint
are taken for elementwise.
"""

from typing import Any

import numpy as np
from onnx import AttributeProto

from ....allowed import allowed_values
from ....attributes import from_attribute
from ....schemas import Schema
from ....types import TensorType, as_dtype, from_text
from ..calls import Call, Hint, axes_of, axis_of, elementwise
from . import along_axes, moving, others, products, recurrent, windows

HINTS: dict[str, Hint] = {
    **products.HINTS,
    **windows.HINTS,
    **along_axes.HINTS,
    **moving.HINTS,
    **recurrent.HINTS,
    **others.HINTS,
}
"""The hints of the default domain's operators."""

IMAGES = frozenset(
    {
        *("Conv", "ConvInteger", "ConvTranspose", "DeformConv", "QLinearConv", "MaxPool", "AveragePool", "LpPool"),
        *("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LRN", "InstanceNormalization", "GroupNormalization"),
        *("DepthToSpace", "SpaceToDepth", "Resize", "GridSample", "MaxRoiPool", "MaxUnpool", "RoiAlign"),
    }
)
"""Operators on tensors of a batch, channels and space."""

MATRICES = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "Trilu", "BatchNormalization", "Det"})
"""Operators on two axes or more."""


_DTYPES = frozenset({"dtype", "output_datatype", "output_dtype"})
"""Attributes that are the dtype of the output."""

_CODES = [as_dtype(name).code for name in ("float32", "float64", "int64", "int32", "float16", "uint8", "int8", "bool")]
"""What these are given, as far as the operator takes it."""


_FLAGS = frozenset(
    {
        *("saturate", "keepdims", "select_last_index", "ceil_mode", "count_include_pad", "exclusive", "reverse"),
        *("largest", "sorted", "center_point_box", "align_corners", "antialias", "exclude_outside", "inverse"),
        *("onesided", "fmod", "allowzero", "periodic", "upper", "noop_with_empty_axes", "is_causal", "interleaved"),
        *("detect_negative", "detect_positive", "unidirectional", "input_forget", "training_mode", "new_axis"),
        "is_case_sensitive",
    }
)
"""Attributes that are 0 or 1; with another number, a cast of ONNX Runtime leaves what memory held."""


def is_elementwise(schema: Schema) -> bool:
    """Whether an operator is taken for elementwise: there is no hint of it."""
    return bool(schema.domain) or schema.name not in HINTS


def complete(call: Call) -> None:
    """Choose the shapes and contents of open inputs, and the attributes that are wanted."""
    if not is_elementwise(call.schema):
        HINTS[call.schema.name](call)
    elementwise(call)
    for attribute in sorted(call.wanted - call.attributes.keys()):
        found = _guess(call, attribute)
        if found is not None:
            call.attributes[attribute] = found


def _guess(call: Call, name: str) -> Any:
    """A value of an attribute of which nothing is known but its kind."""
    choices, spec = call.choices, call.schema.attributes.get(name)
    if spec is None:
        return None
    listed = allowed_values(call.schema.domain, call.schema.name, name, call.schema.since)
    shape = call.shapes[0] if call.shapes else None
    rank = len(shape or ())
    if listed is not None and spec.kind in (AttributeProto.STRING, AttributeProto.INT):
        return choices.pick(listed)
    match spec.kind:
        case AttributeProto.INT if name == "axis":
            return axis_of(call, rank)
        case AttributeProto.INT if name in _DTYPES:
            kinds = [from_text(text) for text in call.schema.outputs[0].types]
            codes = {kind.dtype.code for kind in kinds if isinstance(kind, TensorType)}
            return choices.pick([code for code in _CODES if code in codes] or [1])
        case AttributeProto.INT if name == "stash_type":
            return 1  # float32, in which all compute
        case AttributeProto.INT:
            return choices.pick([1, 0] if name in _FLAGS else [1, 0, 2])
        case AttributeProto.FLOAT:
            usual = from_attribute(spec.default) if spec.default is not None else 1.0
            return choices.pick([usual, 0.5, 2.0, 0.1, -1.0, 0.0, 1.0])
        case AttributeProto.INTS if name == "axes":
            return axes_of(call, rank)
        case AttributeProto.INTS:
            return tuple(1 + choices.below(2) for _ in range(rank))
        case AttributeProto.FLOATS:
            return tuple(choices.pick([1.0, 0.5]) for _ in range(rank))
        case AttributeProto.STRING:
            return from_attribute(spec.default) if spec.default is not None else "a"
        case AttributeProto.TENSOR:
            return np.array([choices.pick([0.0, 1.0])], np.float32)
    return None
