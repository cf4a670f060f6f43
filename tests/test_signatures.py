"""Calls that do not fit: names, arity, attributes, the forms of other opsets; and what the messages say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto

import graphdsl as gd
from graphdsl import op, schemas
from graphdsl.schemas import Schema

x = gd.input("x", gd.float32["n", 3])
image = gd.input("image", gd.float32[1, 3, 8, 8])
weights = np.zeros((4, 3, 3, 3), np.float32)
axes = gd.input("axes", gd.int64[1])


def refusal(call: Callable[[], Any], kind: type[Exception] = gd.SignatureError) -> str:
    """The message of a refused call, without the line of this file that it ends with."""
    with pytest.raises(kind) as caught:
        call()
    message, _, place = str(caught.value).rpartition("\n  at ")
    assert place.startswith("tests/test_signatures.py:"), f"the message does not end with the user's line: {place}"
    return message


def node(made: Any) -> Any:
    """The node that made a tensor, or the first of several."""
    return (made[0] if isinstance(made, tuple) else made)._v.node


# Names


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: op.Cnov, "ONNX has no operator 'Cnov'; did you mean 'Conv'?"),
        (lambda: op.conv, "ONNX has no operator 'conv'; did you mean 'Conv'?"),
        (lambda: op.Zzz, "ONNX has no operator 'Zzz'"),
        (lambda: op.Scaler, "ONNX has no operator 'Scaler'; it exists in domain 'ai.onnx.ml'"),
        (lambda: op.BiasGelu, "ONNX has no operator 'BiasGelu'; it exists in domain 'com.microsoft'"),
        (
            lambda: gd.opset(17).Gelu,
            "'Gelu' exists since opset 20, and this is opset 17; write gd.opset(20).Gelu",
        ),
        (
            lambda: gd.opset(10).Upsample,
            (
                "'Upsample' was withdrawn at opset 10, and this is opset 10; it exists up to opset 9: write "
                "gd.opset(9).Upsample"
            ),
        ),
        (
            lambda: op.Scatter(x, axes, x),
            (
                "'Scatter' was withdrawn at opset 11, and this is opset 21; it exists up to opset 10: write "
                "gd.opset(10).Scatter"
            ),
        ),
        (
            lambda: gd.domain("ai.onnx.ml", 4).TreeEnsemble,
            (
                "'TreeEnsemble' exists since version of 'ai.onnx.ml' 5, and this is version of 'ai.onnx.ml' 4; write "
                "gd.domain('ai.onnx.ml', 5).TreeEnsemble"
            ),
        ),
        (
            lambda: gd.domain("ai.onnx.ml", 3).LabelEncodr,
            "ONNX has no operator 'LabelEncodr' in domain 'ai.onnx.ml'; did you mean 'LabelEncoder'?",
        ),
        (
            lambda: gd.domain("com.microsoft", 1).Gleu,
            "ONNX has no operator 'Gleu' in domain 'com.microsoft'; did you mean 'Gelu'?",
        ),
        (
            lambda: gd.domain("org.nowhere", 1).Debug,
            (
                "no operator 'Debug' is known in domain 'org.nowhere'; declare it with "
                "@gd.custom_op('org.nowhere::Debug') and its type rule, or define it with @gd.function"
            ),
        ),
    ],
)
def test_an_operator_that_does_not_exist(call: Callable[[], Any], message: str) -> None:
    assert refusal(call, gd.UnknownOperator) == message


def test_an_unknown_operator_is_an_attribute_error() -> None:
    assert not hasattr(op, "Cnov") and hasattr(op, "Conv")
    assert not hasattr(op, "__wrapped__")
    assert getattr(gd.opset(13), "Gelu", None) is None


def test_a_newer_operator_called_at_the_opset_in_force() -> None:
    with gd.opset(17):
        message = refusal(lambda: op.Gelu(x), gd.UnknownOperator)
    assert message == "'Gelu' exists since opset 20, and this is opset 17; write gd.opset(20).Gelu"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: op.Conv(image, weights, padz=[1]),
            (
                "Conv: no attribute or input 'padz'; did you mean 'pads'?; it takes (X, W, B=None; auto_pad=..., "
                "dilations=..., group=..., kernel_shape=..., pads=..., strides=...)"
            ),
        ),
        (
            lambda: op.Relu(x, outptus=1),
            "Relu: no attribute or input 'outptus'; it takes (X)",
        ),
    ],
)
def test_an_attribute_that_does_not_exist(call: Callable[[], Any], message: str) -> None:
    assert refusal(call) == message


# Arity


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: op.Relu(), "Relu takes 1 input, got 0; it takes (X)"),
        (lambda: op.Relu(x, x), "Relu takes 1 input, got 2; it takes (X)"),
        (lambda: op.Where(x, x), "Where takes 3 inputs, got 2; it takes (condition, X, Y)"),
        (lambda: op.Clip(x, 0, 1, 2), "Clip takes 1 to 3 inputs, got 4; it takes (input, min=None, max=None)"),
        (lambda: op.Concat(axis=0), "Concat takes at least 1 input, got 0; it takes (*inputs; axis)"),
        (lambda: op.Conv(image, None), "Conv: input 'W' is required, got None"),
        (lambda: op.Conv(X=image, W=None), "Conv: input 'W' is required, got None"),
        (lambda: op.Conv(None, weights), "Conv: input 'X' is required, got None"),
        (lambda: op.Concat(x, None, axis=0), "Concat: input 'inputs' is required, got None"),
        (lambda: op.Concat(x, None, x, axis=0), "Concat: input 'inputs' is required, got None"),
        (lambda: op.Conv(image, weights, W=weights), "Conv: input 'W' is given twice"),
        (lambda: op.Concat(x, x), "Concat: attribute 'axis' is required; it takes (*inputs; axis)"),
        (lambda: op.Cast(x, to=None), "Cast: attribute 'to' is required; it takes (input; saturate=..., to)"),
        (lambda: op.Relu(x, outputs=2), "Relu has 1 output, got outputs=2"),
        (lambda: op.MaxPool(image, kernel_shape=[2, 2], outputs=3), "MaxPool has 1 to 2 outputs, got outputs=3"),
        (lambda: op.TopK(x, [1], outputs=1), "TopK has 2 to 2 outputs, got outputs=1"),
        (lambda: op.Split(x, outputs=0), "Split has at least 1 outputs, got outputs=0"),
        (lambda: op.MaxPool(image, kernel_shape=[2, 2], outputs=True), "MaxPool has 1 to 2 outputs, got outputs=True"),
        (lambda: gd.opset(13).Split(x), "Split has as many outputs as you ask for; write outputs=n"),
    ],
)
def test_a_call_of_another_arity(call: Callable[[], Any], message: str) -> None:
    assert refusal(call) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: op.Relu(object),
            "Relu: input 'X': expected a tensor, an array or a number, got <class 'object'> (type)",
        ),
        (
            lambda: op.Relu([x, x]),
            (
                "Relu: input 'X': element 0 of the list is float32['n', 3], not a single number; join vectors with "
                "op.Concat(..., axis=0), stack tensors with np.stack"
            ),
        ),
        (lambda: op.Add(x, "a"), "Add: input 'B': 'a' does not fit float32"),
        (
            lambda: op.Reshape(x, [1.5]),
            "Reshape: input 'shape': [1.5] does not fit int64; cast the tensor first, as in t.astype(gd.float32)",
        ),
    ],
)
def test_what_is_no_input(call: Callable[[], Any], message: str) -> None:
    assert refusal(call) == message


# Forms that changed between opsets


def changed_names() -> list[tuple[str, str, Schema, Schema]]:
    """Each name that is an attribute at one opset and an input at a later one: the last old and the first new form."""
    found = []
    for name in schemas.operators(""):
        history: dict[int, Schema] = {}
        for version in range(1, schemas.NEWEST_OPSET + 1):
            try:
                schema = schemas.lookup("", name, version)
            except gd.UnknownOperator:
                continue
            history[schema.since] = schema
        for changed in {attribute for schema in history.values() for attribute in schema.attributes}:
            old = [schema for schema in history.values() if changed in schema.attributes][-1]
            later = [schema for schema in history.values() if schema.since > old.since]
            new = [schema for schema in later if changed in {formal.name for formal in schema.inputs}]
            if new:
                found.append((name, changed, old, new[0]))
    return sorted(found, key=lambda item: item[:2])


@pytest.mark.parametrize(
    ("name", "changed", "old", "new"), changed_names(), ids=lambda v: v if isinstance(v, str) else None
)
def test_an_attribute_that_became_an_input(name: str, changed: str, old: Schema, new: Schema) -> None:
    """At the old opset a tensor is refused with the form to write; at the new one a list becomes the input."""
    sample: Any = 0.5 if old.attributes[changed].kind == AttributeProto.FLOAT else 0
    listed = old.attributes[changed].kind in (AttributeProto.INTS, AttributeProto.FLOATS)
    sample = [sample] * 2 if listed else sample
    tensor = gd.constant(sample)
    message = refusal(lambda: getattr(gd.opset(old.since), name)(x, **{changed: tensor}))
    words = "a list of " if listed else "a"
    assert message.startswith(f"{name}: attribute {changed!r} is {words}")
    assert message.endswith(
        f"(Tensor); write the values, or tensor.value of a constant; it is an input, which may be a tensor, since "
        f"opset {new.since}"
    )
    index = [p.name for p in new.inputs].index(changed)
    others = {p.name: x for p in new.inputs[1:] if p.required and p.name != changed}
    try:
        made = getattr(gd.opset(new.since), name)(x, **{changed: sample}, **others)
    except gd.InferenceError as error:  # the sample need not make sense, but it must have become the input
        assert f"{changed} " in str(error).splitlines()[1]
    else:
        assert np.array_equal(node(made).inputs[index].array, sample)


def test_those_names_are_found() -> None:
    names = {(name, changed) for name, changed, _, _ in changed_names()}
    assert {("Squeeze", "axes"), ("Clip", "min"), ("Dropout", "ratio"), ("Pad", "pads"), ("DFT", "axis")} <= names
    assert {("ReduceSum", "axes"), ("Upsample", "scales"), ("Split", "split"), ("Slice", "ends")} <= names


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gd.opset(11).Squeeze(image, [0]),
            "Squeeze takes 1 input, got 2; at opset 11 'axes' is an attribute: write axes=...",
        ),
        (
            lambda: gd.opset(6).Clip(x, 0, 1),
            "Clip takes 1 input, got 3; at opset 6 'min' and 'max' are attributes: write min=..., max=...",
        ),
        (
            lambda: gd.opset(9).TopK(x, [1], k=1),
            "TopK takes 1 input, got 2; at opset 9 'k' is an attribute: write k=...",
        ),
        (
            lambda: gd.opset(7).Upsample(image, [1.0, 1.0, 2.0, 2.0], scales=[1.0, 1.0, 2.0, 2.0]),
            "Upsample takes 1 input, got 2; at opset 7 'scales' is an attribute: write scales=...",
        ),
        (
            lambda: gd.opset(9).TopK(x, [1]),
            "TopK: attribute 'k' is required; at opset 9 'k' is an attribute: write k=...",
        ),
        (
            lambda: op.TopK(x, k=1),
            (
                "TopK: attribute 'k' exists up to opset 9, and this is opset 21; did you mean 'K'?; it takes (X, K; "
                "axis=..., largest=..., sorted=...)"
            ),
        ),
        (
            lambda: gd.opset(9).TopK(x, K=[1]),
            "TopK: input 'K' exists since opset 10, and this is opset 9; did you mean 'k'?; it takes (X; axis=..., k)",
        ),
        (
            lambda: op.Pad(x, [0, 0, 1, 1], value=0.0),
            (
                "Pad: attribute 'value' exists up to opset 10, and this is opset 21; it takes (data, pads, "
                "constant_value=None, axes=None; mode=...)"
            ),
        ),
        (
            lambda: gd.opset(13).Relu(x, consumed_inputs=[0]),
            "Relu: attribute 'consumed_inputs' exists up to opset 5, and this is opset 13; it takes (X)",
        ),
        (
            lambda: op.Cast(x, to=gd.float16, round_mode="up"),
            (
                "Cast: attribute 'round_mode' exists since opset 24, and this is opset 21; it takes (input; "
                "saturate=..., to)"
            ),
        ),
    ],
)
def test_a_form_of_another_opset(call: Callable[[], Any], message: str) -> None:
    assert refusal(call) == message


# Attributes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: op.Conv(image, weights, pads=1), "Conv: attribute 'pads' is a list of ints, got 1 (int); write [1]"),
        (
            lambda: op.Conv(image, weights, pads=[1.5] * 4),
            "Conv: attribute 'pads' is a list of ints, got [1.5, 1.5, 1.5, 1.5] (list)",
        ),
        (lambda: op.Conv(image, weights, group="1"), "Conv: attribute 'group' is an int, got '1' (str)"),
        (
            lambda: op.Conv(image, weights, group=2**63),
            "Conv: attribute 'group' is an int, got 9223372036854775808 (int)",
        ),
        (lambda: op.Elu(x, alpha=True), "Elu: attribute 'alpha' is a float, got True (bool)"),
        (
            lambda: op.Constant(value_strings="ab"),
            "Constant: attribute 'value_strings' is a list of str, got 'ab' (str); write ['ab']",
        ),
        (lambda: op.Einsum(x, equation=3), "Einsum: attribute 'equation' is a str, got 3 (int)"),
        (lambda: op.Cast(x, to="float16"), "Cast: attribute 'to' is an int, got 'float16' (str); write gd.float16"),
        (lambda: op.Cast(x, to="floaty"), "Cast: attribute 'to' is an int, got 'floaty' (str)"),
        (lambda: op.Optional(type=3.5), "Optional: attribute 'type' is a type, got 3.5 (float)"),
        (
            lambda: op.Conv(image, weights, pads=axes),
            (
                "Conv: attribute 'pads' is a list of ints, got <Tensor 'axes' int64[1]> (Tensor); write the values, or "
                "tensor.value of a constant"
            ),
        ),
    ],
)
def test_an_attribute_of_another_kind(call: Callable[[], Any], message: str) -> None:
    assert refusal(call) == message


# Opsets


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gd.opset(0),
            f"opset 0 is not known; onnx {onnx.__version__} defines opsets 1 to {schemas.NEWEST_OPSET}",
        ),
        (
            lambda: gd.opset(99),
            f"opset 99 is not known; onnx {onnx.__version__} defines opsets 1 to {schemas.NEWEST_OPSET}",
        ),
        (
            lambda: gd.opset("13"),
            f"opset '13' is not known; onnx {onnx.__version__} defines opsets 1 to {schemas.NEWEST_OPSET}",
        ),
        (
            lambda: gd.opset(True),
            f"opset True is not known; onnx {onnx.__version__} defines opsets 1 to {schemas.NEWEST_OPSET}",
        ),
        (lambda: gd.domain("ai.onnx.ml", 0), "the version of domain 'ai.onnx.ml' is a positive int, not 0"),
        (lambda: gd.domain("ai.onnx.ml", 2.0), "the version of domain 'ai.onnx.ml' is a positive int, not 2.0"),
        (lambda: gd.domain(3, 1), "a domain's name is a str, not 3"),
    ],
)
def test_an_opset_that_does_not_exist(call: Callable[[], Any], message: str) -> None:
    assert refusal(call, gd.OpsetError) == message
