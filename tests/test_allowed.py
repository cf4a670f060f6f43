"""Attribute values that the standard lists: each is in its text, none is missing, and misspelt ones are refused."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from calls import all_schemas
from onnx import AttributeProto

import graphdsl as gd
from graphdsl import allowed, op, schemas
from graphdsl.allowed import allowed_values, objection
from graphdsl.operators import default_value
from graphdsl.schemas import Schema

image = gd.input("image", gd.float32[1, 4, 8, 8])
SCALES = np.array([1, 1, 2, 2], np.float32)

ANYTHING = {
    ("", "Cast", "to"): "opset 1 names a dtype; inference refuses other words",
    ("", "Constant", "value_string"): "a value",
    ("", "Constant", "value_strings"): "values",
    ("", "Einsum", "equation"): "an expression",
    ("", "RegexFullMatch", "pattern"): "a regular expression",
    ("", "StringNormalizer", "locale"): "depends on the machine",
    ("", "StringNormalizer", "stopwords"): "words",
    ("", "StringSplit", "delimiter"): "any text",
    ("", "TfIdfVectorizer", "pool_strings"): "words",
    ("ai.onnx.ml", "CategoryMapper", "cats_strings"): "labels",
    ("ai.onnx.ml", "CategoryMapper", "default_string"): "a label",
    ("ai.onnx.ml", "DictVectorizer", "string_vocabulary"): "words",
    ("ai.onnx.ml", "LabelEncoder", "classes_strings"): "labels",
    ("ai.onnx.ml", "LabelEncoder", "default_string"): "a label",
    ("ai.onnx.ml", "LabelEncoder", "keys_strings"): "labels",
    ("ai.onnx.ml", "LabelEncoder", "values_strings"): "labels",
    ("ai.onnx.ml", "LinearClassifier", "classlabels_strings"): "labels",
    ("ai.onnx.ml", "OneHotEncoder", "cats_strings"): "labels",
    ("ai.onnx.ml", "SVMClassifier", "classlabels_strings"): "labels",
    ("ai.onnx.ml", "TreeEnsembleClassifier", "classlabels_strings"): "labels",
    ("ai.onnx.ml", "ZipMap", "classlabels_strings"): "labels",
    ("ai.onnx.preview.training", "Gradient", "xs"): "names of tensors",
    ("ai.onnx.preview.training", "Gradient", "y"): "a name of a tensor",
    ("ai.onnx.preview.training", "Gradient", "zs"): "names of tensors",
}
"""The text attributes of the standard that take any text, and why."""


def listed() -> Iterator[tuple[Schema, str, allowed.Values]]:
    """Every attribute with a list of values, at every version."""
    for schema in all_schemas():
        for name in schema.attributes:
            values = allowed_values(schema.domain, schema.name, name, schema.since)
            if values is not None:
                yield schema, name, values


def text_of(schema: Schema, name: str) -> str:
    """Where the standard lists the values: the attribute's text, for activations the operator's."""
    return schema.doc if name == "activations" else schema.attributes[name].doc


def mentions(text: str, value: str | int) -> bool:
    """Whether a text has a value as a word of its own."""
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(str(value))}(?![A-Za-z0-9_])", text) is not None


@pytest.mark.parametrize(("schema", "name", "values"), list(listed()), ids=lambda v: v if isinstance(v, str) else None)
def test_each_value_is_in_the_text_of_the_standard(schema: Schema, name: str, values: allowed.Values) -> None:
    practice = allowed._at(allowed._PRACTICE.get((schema.domain, schema.name, name)), schema.since) or ()
    text = text_of(schema, name)
    for value in values:
        assert mentions(text, value) or value in practice, f"{value!r} is not in the text"
    for value in practice:
        assert not mentions(text, value), f"the text has {value!r}: it is no exception"
    default = default_value(schema.attributes[name])
    if default is not None and (schema.label, schema.since, default) != ("GRU", 1, "foward"):  # sic
        assert set(default if isinstance(default, tuple) else [default]) <= set(values)


def test_the_search_does_not_take_parts_of_words() -> None:
    assert mentions("one of 'sum', mean", "sum") and mentions("NONE,' or", "NONE")
    assert not mentions("summed", "sum") and not mentions("SOFTMAX_ZERO", "SOFTMAX") and not mentions("10", 1)


def test_the_lists_are_used() -> None:
    used = {(s.domain, s.name, name) for s, name, _ in listed()}
    known = {(s.domain, s.name) for s in all_schemas()}
    assert used == {
        (domain, operator, name)
        for domain, operators in allowed._DOMAINS.items()
        for operator, attributes in operators.items()
        for name, versions in attributes.items()
        if (domain, operator) in known and min(versions) <= schemas.newest(domain)
    }


@pytest.mark.parametrize("schema", all_schemas(), ids=lambda s: f"{s.label}-{s.since}")
def test_every_text_attribute_has_a_list_or_takes_any_text(schema: Schema) -> None:
    """A new version of onnx with a new attribute, or a new version of an operator with other values, is noticed."""
    for name, spec in schema.attributes.items():
        if spec.kind in (AttributeProto.STRING, AttributeProto.STRINGS):
            known = allowed_values(schema.domain, schema.name, name, schema.since) is not None
            assert known != ((schema.domain, schema.name, name) in ANYTHING)


@pytest.mark.parametrize(
    ("schema", "name", "values"),
    [item for item in listed() if item[0].attributes[item[1]].kind == AttributeProto.STRING],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_no_quoted_word_of_the_text_is_missing(schema: Schema, name: str, values: allowed.Values) -> None:
    """Words that the text writes in quotes or backticks are values, or known to be something else."""
    words = set(re.findall(r"[\"'`]+([A-Za-z_0-9]+),?[\"'`]+", text_of(schema, name)))
    other = {"mode", "roi", "sizes", "scales", "axes", "i", "w", "linear", "sequence_length", "max_sequence_length"}
    other |= {"scale", "x_original", "x_resized", "length_original", "length_resized", "output_width", "round_int"}
    other |= {"output_width_int", "nearest", "keep_aspect_ratio_policy"}
    assert words - other <= set(values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: op.Resize(image, None, SCALES, mode="cubc"),
            "Resize: attribute 'mode' is one of 'nearest', 'linear', 'cubic', got 'cubc'; did you mean 'cubic'?",
        ),
        (
            lambda: op.DepthToSpace(image, blocksize=2, mode="dcr"),
            "DepthToSpace: attribute 'mode' is one of 'DCR', 'CRD', got 'dcr'; did you mean 'DCR'?",
        ),
        (
            lambda: gd.opset(18).Pad(image, [1] * 8, mode="wrap"),
            "Pad: attribute 'mode' is one of 'constant', 'reflect', 'edge', got 'wrap', which exists since opset 19",
        ),
        (
            lambda: op.Conv(image, np.zeros((1, 4, 3, 3), "f"), auto_pad="SAME"),
            "Conv: attribute 'auto_pad' is one of 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID', got 'SAME'",
        ),
        (
            lambda: op.RNN(
                np.zeros((1, 1, 1), "f"), np.zeros((1, 1, 1), "f"), np.zeros((1, 1, 1), "f"), direction="backward"
            ),
            "RNN: attribute 'direction' is one of 'forward', 'reverse', 'bidirectional', got 'backward'",
        ),
        (
            lambda: gd.opset(16).GridSample(image, np.zeros((1, 2, 2, 2), "f"), mode="linear"),
            (
                "GridSample: attribute 'mode' is one of 'bilinear', 'nearest', 'bicubic', got 'linear', which exists "
                "since opset 20"
            ),
        ),
        (
            lambda: op.GridSample(image, np.zeros((1, 2, 2, 2), "f"), mode="bilinear"),
            (
                "GridSample: attribute 'mode' is one of 'linear', 'nearest', 'cubic', got 'bilinear'; did you mean "
                "'linear'?"
            ),
        ),
        (
            lambda: op.LSTM(
                np.zeros((1, 1, 1), "f"),
                np.zeros((1, 4, 1), "f"),
                np.zeros((1, 4, 1), "f"),
                activations=["Sigmoid", "Tanh", "Thanh"],
            ),
            (
                "LSTM: attribute 'activations' is one of 'Relu', 'Tanh', 'Sigmoid', 'Affine', 'LeakyRelu', "
                "'ThresholdedRelu', 'ScaledTanh', 'HardSigmoid', 'Elu', 'Softsign', 'Softplus', got 'Thanh'; did you "
                "mean 'Tanh'?"
            ),
        ),
        (
            lambda: op.Unique(image, sorted=2),
            "Unique: attribute 'sorted' is one of 0, 1, got 2",
        ),
        (
            lambda: gd.domain("ai.onnx.ml", 1).LinearRegressor(image, post_transform="SOFTMAX_"),
            (
                "ai.onnx.ml::LinearRegressor: attribute 'post_transform' is one of 'NONE', 'SOFTMAX', 'LOGISTIC', "
                "'SOFTMAX_ZERO', 'PROBIT', got 'SOFTMAX_'; did you mean 'SOFTMAX'?"
            ),
        ),
    ],
)
def test_a_value_that_is_not_listed(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.SignatureError) as caught:
        call()
    assert str(caught.value).split("\n  at ")[0] == message


def test_what_has_no_list() -> None:
    assert allowed_values("", "Einsum", "equation", 12) is None
    assert allowed_values("mine", "Conv", "auto_pad", 1) is None
    assert allowed_values("", "Resize", "coordinate_transformation_mode", 10) is None
    assert objection("", "Einsum", "equation", 12, "ij->") is None


def test_bytes_are_compared_too() -> None:
    assert objection("", "BitShift", "direction", 11, b"\xff") is not None


# What ONNX Runtime runs beyond the texts


def _loads(operator: str, opset: int, **attributes: Any) -> str:
    """What ONNX Runtime says of a resize with these attributes: nothing where it loads it."""
    inputs = ["x", "scales"] if opset < 11 else ["x", "", "scales"]
    if operator == "Upsample" and opset < 9:
        inputs, attributes = ["x"], attributes | {"scales": [1.0, 1.0, 2.0, 2.0]}
    node = onnx.helper.make_node(operator, inputs, ["y"], **attributes)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [info("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        [info("y", onnx.TensorProto.FLOAT, [1, 4, 16, 16])],
        [onnx.numpy_helper.from_array(SCALES, "scales")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    try:
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("operator", "opset", "name", "value"),
    [
        ("Upsample", 7, "mode", "cubic"),
        ("Upsample", 9, "mode", "cubic"),
        ("Resize", 10, "mode", "cubic"),
        ("Resize", 13, "coordinate_transformation_mode", "tf_half_pixel_for_nn"),
        ("Resize", 18, "coordinate_transformation_mode", "tf_half_pixel_for_nn"),
        ("Resize", 19, "coordinate_transformation_mode", "tf_half_pixel_for_nn"),
    ],
)
def test_what_the_runtime_runs_beyond_the_texts_is_allowed(operator: str, opset: int, name: str, value: str) -> None:
    assert objection("", operator, name, opset, value) is None
    assert _loads(operator, opset, **{name: value}) == ""
    assert "not supported" in (said := _loads(operator, opset, **{name: value + "x"})) or "It can only be" in said


def test_every_exception_is_tested_on_the_runtime() -> None:
    found = {
        (o, since, n, v)
        for (_, o, n), versions in allowed._PRACTICE.items()
        for since, vs in versions.items()
        for v in vs
    }
    assert found == {
        ("Upsample", 7, "mode", "cubic"),
        ("Resize", 10, "mode", "cubic"),
        ("Resize", 13, "coordinate_transformation_mode", "tf_half_pixel_for_nn"),
    }
