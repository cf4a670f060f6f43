"""Every operator at every opset through `op.X`, `gd.opset(n).X` and `gd.domain(name, version).X`."""

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from calls import all_schemas, least_calls, namespace

import graphdsl as gd
from graphdsl import op, schemas
from graphdsl.schemas import Schema

x = gd.input("x", gd.float32["n", 3])
image = gd.input("image", gd.float32[1, 3, 8, 8])
weights = np.zeros((4, 3, 3, 3), np.float32)


def node(made: Any) -> Any:
    """The node that made a tensor, or the first of several."""
    return (made[0] if isinstance(made, tuple) else made)._v.node


# Every schema


@pytest.mark.parametrize("schema", all_schemas(), ids=lambda s: f"{s.label}-{s.since}")
def test_every_version_can_be_called_with_every_type_and_passes_the_checker(schema: Schema) -> None:
    calls = [
        (call, getattr(namespace(schema), schema.name)(*call.inputs, **call.keywords)) for call in least_calls(schema)
    ]
    for _, made in calls:
        assert node(made).schema.since == schema.since
        assert all(value.type is not None for value in node(made).outputs), "a type is not known"
    call, made = calls[0]
    opset = None if schema.domain else schema.since
    proto = gd.build(made, [item for item in call.inputs if item is not None], opset=opset).to_proto()
    for info in proto.graph.output:  # the checker wants a rank, which not all operators have without values
        if info.type.HasField("tensor_type") and not info.type.tensor_type.HasField("shape"):
            info.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(proto)
    assert [n.op_type for n in proto.graph.node] == [schema.name]


def test_the_schemas_are_those_of_onnx() -> None:
    natives = {(s.domain, s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history()}
    missing = natives - {(s.domain, s.name, s.since) for s in all_schemas()}
    withdrawn = {(s.domain, s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history() if s.deprecated}
    assert {name for _, name, _ in missing - withdrawn} == {"If", "Loop", "Scan", "SequenceMap"}


# Inputs and outputs


def test_an_optional_input_may_be_none_or_left_out() -> None:
    assert node(op.Clip(x, None, 1.0)).inputs[1] is None
    assert len(node(op.Clip(x)).inputs) == 1
    assert len(node(op.Clip(x, None, None)).inputs) == 1
    assert len(node(op.Conv(image, weights, None)).inputs) == 2


def test_inputs_may_be_given_by_schema_name() -> None:
    made = node(op.Clip(input=x, max=6))
    assert [None if v is None else v.type for v in made.inputs] == [x.type, None, gd.float32[()]]
    assert [v.array.tolist() for v in node(op.Squeeze(image, axes=[0])).inputs[1:]] == [[0]]
    assert node(op.Concat(inputs=[x, x], axis=0)).inputs == (x._v, x._v)
    assert node(op.Where(gd.input("c", gd.bool[3]), Y=x, X=0)).inputs[2] is x._v


def test_variadic_inputs() -> None:
    assert len(node(op.Max(x)).inputs) == 1
    assert len(node(op.Sum(x, x, 1.0, [1.0, 2.0, 3.0])).inputs) == 4
    assert op.Concat(x, np.zeros((2, 3), np.float32), axis=0).shape is not None


def test_one_output_is_a_tensor_and_several_are_a_tuple() -> None:
    assert isinstance(op.Relu(x), gd.Tensor)
    values, indices = op.TopK(x, [2])
    assert (values.type, indices.type) == (gd.float32["n", 2], gd.int64["n", 2])
    assert isinstance(op.TopK(x, [2]), tuple)


def test_outputs_says_how_many() -> None:
    assert isinstance(op.MaxPool(image, kernel_shape=[2, 2]), gd.Tensor)
    pooled, indices = op.MaxPool(image, kernel_shape=[2, 2], outputs=2)
    assert (pooled.type, indices.type) == (gd.float32[1, 3, 7, 7], gd.int64[1, 3, 7, 7])
    assert len(op.Unique(x, outputs=4)) == 4
    assert isinstance(op.Unique(x, outputs=1), gd.Tensor)


def test_without_required_outputs_all_are_given() -> None:
    assert len(op.LSTM(gd.input("s", gd.float32[5, 2, 3]), np.zeros((1, 16, 3), "f"), np.zeros((1, 16, 4), "f"))) == 3


def test_split_counts_its_outputs_where_the_call_tells() -> None:
    assert len(op.Split(x, num_outputs=3, axis=1)) == 3
    assert [t.shape for t in op.Split(x, [1, 2], axis=1)] == [("n", 1), ("n", 2)]
    assert len(gd.opset(11).Split(x, split=[1, 2], axis=1)) == 2
    assert len(op.Split(x, np.array([1, 1, 1]), axis=1)) == 3
    assert len(gd.opset(13).Split(x, outputs=3, axis=1)) == 3


# Attributes


def attribute(made: Any, name: str) -> Any:
    return node(made).attributes[name]


@pytest.mark.parametrize(
    ("made", "name", "kept"),
    [
        (lambda: op.Gather(x, [0], axis=np.int64(1)), "axis", 1),
        (lambda: op.CumSum(x, 0, exclusive=True), "exclusive", 1),
        (lambda: op.Elu(x, alpha=np.float64(0.1)), "alpha", float(np.float32(0.1))),
        (lambda: op.Elu(x, alpha=2), "alpha", 2.0),
        (lambda: op.DepthToSpace(gd.input("d", gd.float32[1, 4, 2, 2]), blocksize=2, mode="CRD"), "mode", "CRD"),
        (lambda: op.Conv(image, weights, pads=(1, 1, 1, 1)), "pads", (1, 1, 1, 1)),
        (lambda: op.Conv(image, weights, pads=np.ones(4, int)), "pads", (1, 1, 1, 1)),
        (lambda: op.Conv(image, weights, strides=[np.int32(2), 2]), "strides", (2, 2)),
        (lambda: op.Constant(value_floats=np.array([0.5, 1.5])), "value_floats", (0.5, 1.5)),
        (lambda: op.Constant(value_strings=["a", "b"]), "value_strings", ("a", "b")),
        (lambda: op.Constant(value_string=b"\xff"), "value_string", b"\xff"),
        (lambda: op.Cast(x, to=gd.int64), "to", onnx.TensorProto.INT64),
        (lambda: op.Cast(x, to=np.float16), "to", onnx.TensorProto.FLOAT16),
        (lambda: op.Cast(x, to=np.dtype("int8")), "to", onnx.TensorProto.INT8),
        (lambda: op.Cast(x, to=float), "to", onnx.TensorProto.DOUBLE),
        (lambda: op.Cast(x, to=onnx.TensorProto.BOOL), "to", onnx.TensorProto.BOOL),
        (lambda: op.RandomNormal(shape=[2], dtype=gd.float64), "dtype", onnx.TensorProto.DOUBLE),
        (lambda: op.Optional(type=gd.float32[2]), "type", gd.float32[2]),
        (lambda: op.Optional(type=gd.sequence(gd.int64)), "type", gd.sequence(gd.int64)),
    ],
)
def test_attributes_of_every_kind(made: Callable[[], Any], name: str, kept: Any) -> None:
    found = attribute(made(), name)
    assert found == kept and type(found) is type(kept)


@pytest.mark.parametrize(
    "value", [np.array([1.5], "f"), np.float32(1.5), [1.5], onnx.numpy_helper.from_array(np.array([1.5], "f"))]
)
def test_a_tensor_attribute_is_an_array_a_number_a_list_or_a_proto(value: Any) -> None:
    kept = attribute(op.Constant(value=value), "value")
    assert kept.dtype == np.float32 and kept.ravel().tolist() == [1.5]


def test_an_attribute_given_as_none_is_left_out() -> None:
    assert not node(op.Transpose(x, perm=None)).attributes


def test_a_sparse_attribute() -> None:
    values = onnx.helper.make_tensor("values", onnx.TensorProto.FLOAT, [1], [3.0])
    indices = onnx.helper.make_tensor("indices", onnx.TensorProto.INT64, [1], [2])
    sparse = onnx.helper.make_sparse_tensor(values, indices, [5])
    made = op.Constant(sparse_value=sparse)
    proto = gd.build(made).to_proto()
    onnx.checker.check_model(proto)
    assert proto.graph.node[0].attribute[0].sparse_tensor == sparse
    assert made.type == gd.float32[5]


# Opsets and domains


def test_the_opset_in_force() -> None:
    assert node(op.Squeeze(image, axes=[0])).schema.since == 21
    with gd.opset(11):
        assert node(op.Squeeze(image, axes=[0])).schema.since == 11
        with gd.opset(13):
            assert node(op.Squeeze(image, axes=[0])).schema.since == 13
        assert node(op.Squeeze(image, axes=[0])).schema.since == 11
        assert node(gd.opset(21).Squeeze(image, axes=[0])).schema.since == 21
    assert node(op.Squeeze(image, axes=[0])).schema.since == 21


def test_a_function_of_op_means_the_opset_in_force_when_it_is_called() -> None:
    squeeze = op.Squeeze
    with gd.opset(11):
        assert node(squeeze(image, axes=[0])).schema.since == 11


def test_one_opset_entered_by_two_threads_and_twice_by_one() -> None:
    thirteen, seen = gd.opset(13), []
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with thirteen:
            inside.set()
            done.wait()
            seen.append(schemas.opset_in_force())
        seen.append(schemas.opset_in_force())

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with thirteen, gd.opset(11), thirteen:
        assert schemas.opset_in_force() == 13
    assert schemas.opset_in_force() == schemas.DEFAULT_OPSET
    done.set()
    thread.join()
    assert seen == [13, schemas.DEFAULT_OPSET]


def test_an_error_inside_leaves_the_opset() -> None:
    with pytest.raises(ZeroDivisionError), gd.opset(11):
        raise ZeroDivisionError
    assert schemas.opset_in_force() == schemas.DEFAULT_OPSET


def test_the_default_domain_has_two_names() -> None:
    assert node(gd.domain("ai.onnx", 13).Relu(x)).schema is node(gd.domain("", 13).Relu(x)).schema


def test_another_domain() -> None:
    encoder = gd.domain("ai.onnx.ml", 3).LabelEncoder
    made = encoder(gd.input("s", gd.string["n"]), keys_strings=["a", "b"], values_int64s=[0, 1])
    assert made.type == gd.int64["n"]
    model = gd.build({"y": made})
    onnx.checker.check_model(model.to_proto())
    assert model.opset_imports == {"": 21, "ai.onnx.ml": 3}


def test_namespaces_list_their_operators() -> None:
    assert {"Conv", "Relu", "opset", "domain"} <= set(dir(op)) and "Upsample" not in dir(op)
    assert "Upsample" in dir(gd.opset(9)) and "Gelu" not in dir(gd.opset(9))
    assert dir(gd.domain("ai.onnx.ml", 3))[:2] == ["ArrayFeatureExtractor", "Binarizer"]
    assert repr(gd.opset(9)) == "<operators of 'ai.onnx' at version 9>"
    with gd.opset(9):
        assert "Upsample" in dir(op)


# Types that are no dense tensors, and dtypes that few operators take


def test_sequences() -> None:
    made = op.SequenceConstruct(x, x)
    assert made.type == gd.sequence(gd.float32["n", 3])
    assert op.SequenceAt(made, 0).type == gd.float32["n", 3]
    assert op.SequenceLength(made).type == gd.int64[()]
    assert op.SequenceInsert(op.SequenceEmpty(dtype=gd.float32), x).type is not None
    assert op.SplitToSequence(x, [1, 2], axis=1).type == gd.sequence(gd.float32["n", None])
    assert op.ConcatFromSequence(made, axis=0).type == gd.float32[None, 3]


def test_optionals() -> None:
    made = op.Optional(x)
    assert made.type == gd.optional(gd.float32["n", 3])
    assert op.OptionalGetElement(made).type == gd.float32["n", 3]
    assert op.OptionalHasElement(made).type == gd.bool[()]
    assert op.OptionalHasElement().type == gd.bool[()]
    assert op.Optional(type=gd.sequence(gd.int64[2])).type == gd.optional(gd.sequence(gd.int64[2]))


def test_strings() -> None:
    words = gd.input("words", gd.string["n"])
    assert op.StringConcat(words, ["a"]).type == gd.string["n"]
    assert op.StringNormalizer(["a", "b"], case_change_action="UPPER").dtype == gd.string
    parts, counts = op.StringSplit(words, delimiter=" ")
    assert (parts.type, counts.type) == (gd.string["n", None], gd.int64["n"])
    assert op.Equal(words, "a").type == gd.bool["n"]


def test_complex_numbers_and_small_dtypes() -> None:
    assert op.Concat(np.zeros(2, np.complex64), np.zeros(3, np.complex64), axis=0).type == gd.complex64[5]
    for dtype in (gd.float8e4m3fn, gd.float8e5m2, gd.int4, gd.uint4):
        assert op.Cast(x, to=dtype).type == dtype["n", 3]
    assert gd.opset(23).Cast(x, to=gd.float4e2m1).dtype == gd.float4e2m1
    assert gd.opset(25).Cast(x, to=gd.int2).dtype == gd.int2
    if schemas.NEWEST_OPSET >= 28:
        assert gd.opset(28).Cast(x, to=gd.float6e2m3).dtype == gd.float6e2m3
    assert op.QuantizeLinear(x, np.float32(0.1), output_dtype=gd.int4).type == gd.int4["n", 3]
    assert op.DequantizeLinear(gd.input("q", gd.int4[4]), np.float32(0.1)).type == gd.float32[4]


def test_maps() -> None:
    table = gd.input("table", gd.map_of(gd.string, gd.float32))
    ml = gd.domain("ai.onnx.ml", 1)
    assert ml.DictVectorizer(table, string_vocabulary=["a"]).dtype == gd.float32
    assert ml.ZipMap(x, classlabels_strings=["a", "b", "c"]).type == gd.sequence(gd.map_of(gd.string, gd.float32[()]))


# Documentation


def test_help_shows_signature_types_and_text() -> None:
    assert str(inspect.signature(op.Conv)) == (
        "(X, W, B=None, *, auto_pad='NOTSET', dilations=None, group=1, kernel_shape=None, pads=None, strides=None, "
        "outputs=None)"
    )
    text = inspect.getdoc(op.Conv)
    assert text is not None
    lines = text.splitlines()
    assert lines[0] == "Conv, as of opset 11 (ONNX specification, Operators.md)."
    assert "    T: float16, float32, float64" in lines
    assert any(line.startswith("    pads (a list of ints, optional): ") for line in lines)
    assert any(line.startswith("    B (T, optional): ") for line in lines)
    assert op.Conv.__name__ == "Conv" and op.Conv.__module__ == "graphdsl.op"


def test_help_is_of_the_opset_in_force() -> None:
    assert str(inspect.signature(op.Squeeze)) == "(data, axes=None, *, outputs=None)"
    with gd.opset(11):
        assert str(inspect.signature(op.Squeeze)) == "(data, *, axes=None, outputs=None)"
    assert str(inspect.signature(op.Squeeze)) == "(data, axes=None, *, outputs=None)"
    assert str(inspect.signature(gd.opset(9).TopK)) == "(X, *, k, axis=-1, outputs=None)"
    assert str(inspect.signature(op.BatchNormalization)).startswith(
        "(X, scale, B, input_mean, input_var, *, epsilon=1e-05"
    )


@pytest.mark.parametrize("schema", all_schemas(), ids=lambda s: f"{s.label}-{s.since}")
def test_every_operator_has_a_signature_and_a_text(schema: Schema) -> None:
    function = getattr(namespace(schema), schema.name)
    parameters = inspect.signature(function).parameters
    assert [p.name for p in schema.inputs] == [n for n in parameters if n in {p.name for p in schema.inputs}]
    assert set(schema.attributes) <= set(parameters)
    assert all(f"    {formal.name} (" in function.__doc__ for formal in (*schema.inputs, *schema.outputs))
