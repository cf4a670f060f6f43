"""Attribute values that the standard lists one by one, and that neither its checker nor its inference enforces.

The lists are those of the attributes' texts (Operators.md, Operators-ml.md), by the opset from which each holds. Where
ONNX Runtime has always run a value that the text of that opset does not list, and exporters write it, `_PRACTICE`
allows it too. The attributes of `com.microsoft` are not listed: they change with the runtime.
"""

from collections.abc import Mapping
from typing import TypeAlias

from .errors import nearest

Values: TypeAlias = tuple[str, ...] | tuple[int, ...]

_AUTO_PAD = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
_DIRECTION = ("forward", "reverse", "bidirectional")
_ACTIVATION = (
    *("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu"),
    *("Softsign", "Softplus"),
)
_REDUCTION = ("none", "sum", "mean")
_POST_TRANSFORM = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_KERNEL = ("LINEAR", "POLY", "RBF", "SIGMOID")
_BRANCHES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "LEAF")
_AGGREGATE = ("AVERAGE", "SUM", "MIN", "MAX")
_ROUND_MODE = ("up", "down", "nearest")
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")
_SWITCH = (0, 1)

_DEFAULT_DOMAIN: dict[str, dict[str, dict[int, Values]]] = {
    "Attention": {"qk_matmul_output_mode": {23: (0, 1, 2, 3)}},
    "AveragePool": {"auto_pad": {1: _AUTO_PAD}},
    "BitShift": {"direction": {11: ("LEFT", "RIGHT")}},
    "Cast": {"round_mode": {24: _ROUND_MODE}},
    "CastLike": {"round_mode": {24: _ROUND_MODE}},
    "CausalConvWithState": {"activation": {27: ("silu", "swish", "none")}},
    "Conv": {"auto_pad": {1: _AUTO_PAD}},
    "ConvInteger": {"auto_pad": {10: _AUTO_PAD}},
    "ConvTranspose": {"auto_pad": {1: _AUTO_PAD}},
    "DepthToSpace": {"mode": {11: ("DCR", "CRD")}},
    "GRU": {"activations": {1: _ACTIVATION}, "direction": {1: _DIRECTION}, "layout": {14: _SWITCH}},
    "Gelu": {"approximate": {20: ("none", "tanh")}},
    "GridSample": {
        "mode": {16: ("bilinear", "nearest", "bicubic"), 20: ("linear", "nearest", "cubic")},
        "padding_mode": {16: ("zeros", "border", "reflection")},
    },
    "ImageDecoder": {"pixel_format": {20: ("RGB", "BGR", "Grayscale")}},
    "LSTM": {"activations": {1: _ACTIVATION}, "direction": {1: _DIRECTION}, "layout": {14: _SWITCH}},
    "LinearAttention": {"update_rule": {27: ("linear", "gated", "delta", "gated_delta")}},
    "LpPool": {"auto_pad": {1: _AUTO_PAD}},
    "MaxPool": {"auto_pad": {1: _AUTO_PAD}},
    "NegativeLogLikelihoodLoss": {"reduction": {12: _REDUCTION}},
    "NonMaxSuppression": {"center_point_box": {10: _SWITCH}},
    "Pad": {"mode": {1: ("constant", "reflect", "edge"), 19: ("constant", "reflect", "edge", "wrap")}},
    "QLinearConv": {"auto_pad": {10: _AUTO_PAD}},
    "RNN": {"activations": {1: _ACTIVATION}, "direction": {1: _DIRECTION}, "layout": {14: _SWITCH}},
    "Resize": {
        "coordinate_transformation_mode": {
            11: (*_COORDINATES, "tf_half_pixel_for_nn"),
            13: _COORDINATES,
            19: (*_COORDINATES, "half_pixel_symmetric"),
        },
        "keep_aspect_ratio_policy": {18: ("stretch", "not_larger", "not_smaller")},
        "mode": {10: ("nearest", "linear"), 11: ("nearest", "linear", "cubic")},
        "nearest_mode": {11: ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")},
    },
    "ReverseSequence": {"batch_axis": {10: _SWITCH}, "time_axis": {10: _SWITCH}},
    "RoiAlign": {
        "coordinate_transformation_mode": {16: ("half_pixel", "output_half_pixel")},
        "mode": {10: ("avg", "max")},
    },
    "STFT": {"onesided": {17: _SWITCH}},
    "ScatterElements": {"reduction": {16: ("none", "add", "mul"), 18: ("none", "add", "mul", "max", "min")}},
    "ScatterND": {"reduction": {16: ("none", "add", "mul"), 18: ("none", "add", "mul", "max", "min")}},
    "SoftmaxCrossEntropyLoss": {"reduction": {12: _REDUCTION}},
    "SpaceToDepth": {"mode": {28: ("DCR", "CRD")}},
    "StringNormalizer": {"case_change_action": {10: ("LOWER", "UPPER", "NONE")}},
    "TensorScatter": {"mode": {24: ("linear", "circular")}},
    "TfIdfVectorizer": {"mode": {9: ("TF", "IDF", "TFIDF")}},
    "Unique": {"sorted": {11: _SWITCH}},
    "Upsample": {"mode": {1: ("nearest", "bilinear"), 7: ("nearest", "linear")}},
}

_ML: dict[str, dict[str, dict[int, Values]]] = {
    "CastMap": {"cast_to": {1: ("TO_FLOAT", "TO_STRING", "TO_INT64")}, "map_form": {1: ("DENSE", "SPARSE")}},
    "LinearClassifier": {"post_transform": {1: _POST_TRANSFORM}},
    "LinearRegressor": {"post_transform": {1: _POST_TRANSFORM}},
    "Normalizer": {"norm": {1: ("MAX", "L1", "L2")}},
    "SVMClassifier": {"kernel_type": {1: _KERNEL}, "post_transform": {1: _POST_TRANSFORM}},
    "SVMRegressor": {"kernel_type": {1: _KERNEL}, "post_transform": {1: _POST_TRANSFORM}},
    "TreeEnsemble": {"aggregate_function": {5: (0, 1, 2, 3)}, "post_transform": {5: (0, 1, 2, 3, 4)}},
    "TreeEnsembleClassifier": {"nodes_modes": {1: _BRANCHES}, "post_transform": {1: _POST_TRANSFORM}},
    "TreeEnsembleRegressor": {
        "aggregate_function": {1: _AGGREGATE},
        "nodes_modes": {1: _BRANCHES},
        "post_transform": {1: _POST_TRANSFORM},
    },
}

_DOMAINS: Mapping[str, Mapping[str, Mapping[str, Mapping[int, Values]]]] = {
    "": _DEFAULT_DOMAIN,
    "ai.onnx.ml": _ML,
    "ai.onnx.preview.training": {"Momentum": {"mode": {1: ("nesterov", "standard")}}},
}

_PRACTICE: Mapping[tuple[str, str, str], Mapping[int, Values]] = {
    # listed at opset 11 only; TensorFlow's converter goes on writing it
    ("", "Resize", "coordinate_transformation_mode"): {13: ("tf_half_pixel_for_nn",)},
    # listed from Resize-11 on; PyTorch's exporter writes it at opsets 9 and 10
    ("", "Resize", "mode"): {10: ("cubic",), 11: ()},
    ("", "Upsample", "mode"): {7: ("cubic",)},
}
"""Values beyond the standard's that ONNX Runtime runs, by the opset from which they are allowed here."""


def _at(versions: Mapping[int, Values] | None, since: int) -> Values | None:
    found: Values | None = None
    for first, values in (versions or {}).items():
        if first <= since:
            found = values
    return found


def allowed_values(domain: str, operator: str, attribute: str, since: int) -> Values | None:
    """The values of an attribute of the operator version of opset `since`; None where any will do."""
    operators = _DOMAINS.get(domain)
    if operators is None or operator not in operators:  # nearly all
        return None
    listed = _at(operators[operator].get(attribute), since)
    if listed is None:
        return None
    return (*listed, *(_at(_PRACTICE.get((domain, operator, attribute)), since) or ()))


def objection(domain: str, operator: str, attribute: str, since: int, value: object) -> str | None:
    """What is wrong with an attribute's value, or an item of it; None where it is allowed."""
    allowed = allowed_values(domain, operator, attribute, since)
    if allowed is None:
        return None
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, (str, bytes, int)) and item not in allowed:
            later = [first for first, values in _DOMAINS[domain][operator][attribute].items() if item in values]
            hint = f", which exists since opset {later[0]}" if later and later[0] > since else ""
            close = "" if hint else nearest(str(item), [str(name) for name in allowed])
            return f"attribute {attribute!r} is one of {', '.join(map(repr, allowed))}, got {item!r}{hint}{close}"
    return None
