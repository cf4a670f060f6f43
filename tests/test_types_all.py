"""Every type that ONNX has: constants of it, values typed with it, its way through bytes, and where it runs.

Also what depends on types and features: the least IR version; and operators that draw numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import graphdsl as gd
from graphdsl import op
from graphdsl.ir_versions import least_ir_version
from graphdsl.types import DTYPES, from_proto, from_text, to_proto, type_text
from graphdsl.walk import Survey

OLD = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 31)
"""Whether the runtime may be one that has fewer kernels."""

SINCE = {"float4e2m1": 23, "float8e8m0": 24, "uint2": 25, "int2": 25, "float6e2m3": 28, "float6e3m2": 28}
"""The opset whose operators take a dtype first, where it is not 21 or before."""

TYPES = [
    *(dtype["n", 2, None] for dtype in DTYPES),
    *(dtype[()] for dtype in DTYPES),
    gd.sequence(gd.float32),
    gd.sequence(gd.string["n"]),
    gd.sequence(gd.sequence(gd.int64[2])),
    gd.optional(gd.float16[2]),
    gd.optional(gd.sequence(gd.bfloat16)),
    gd.map_of(gd.string, gd.float32[()]),
    gd.map_of(gd.int64, gd.sequence(gd.int4[2])),
    gd.sequence(gd.map_of(gd.uint8, gd.float64)),
    gd.sparse(gd.float32[3, "n"]),
    gd.sparse(gd.float8e5m2[2]),
]


def sample(dtype: gd.DType) -> np.ndarray:
    """Three values that a dtype holds exactly."""
    if dtype is gd.string:
        return np.array(["", "é", "a b"], object)
    values = {"bool": [0, 1, 1], "uint": [0, 1, 3], "int": [0, -2, 1], "float": [0.5, 1, 2]}
    return np.array(values.get(dtype.kind, [1j, 1 + 2j, 0])).astype(dtype.numpy)


def reread(model: gd.Model) -> onnx.ModelProto:
    """The model after its way through bytes."""
    return onnx.ModelProto.FromString(model.to_proto().SerializeToString())


# Constants


@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_a_constant_of_every_dtype_keeps_its_values(dtype: gd.DType) -> None:
    array = sample(dtype)
    for given in (array, array.reshape(3, 1), array[:0], array[0] if dtype is not gd.string else array[:1]):
        constant = gd.constant(given)
        assert constant.type is dtype[np.shape(given)]
        assert constant.value.dtype == dtype.numpy and constant.value.tolist() == np.asarray(given).tolist()
        proto = reread(gd.build({"y": constant}))
        onnx.checker.check_model(proto, full_check=True)
        (stored,) = proto.graph.initializer
        assert stored.data_type == dtype.code
        back = numpy_helper.to_array(stored)
        assert (back.dtype, back.shape) == (dtype.numpy, np.shape(given))
        assert back.tolist() == np.asarray(given).tolist()
        assert stored == numpy_helper.from_array(np.asarray(given), stored.name)


@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_numbers_become_constants_of_a_dtype(dtype: gd.DType) -> None:
    values = sample(dtype).tolist()
    constant = gd.constant(values, dtype=dtype)
    assert constant.type is dtype[3] and constant.value.tolist() == values
    assert gd.constant(values, dtype=dtype.numpy).type is dtype[3]
    assert gd.constant(values, dtype=dtype.name).type is dtype[3]


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.is_numeric and d.kind != "complex"], ids=repr)
def test_arrays_become_constants_of_a_dtype_that_holds_them(dtype: gd.DType) -> None:
    array = np.array([1, 0]) if dtype.name != "float8e8m0" else np.array([1, 2])
    assert gd.constant(array, dtype=dtype).value.tolist() == array.tolist()
    assert gd.constant(array.astype(np.uint8), dtype=dtype).type is dtype[2]
    if dtype.kind == "float":
        assert gd.constant(array.astype(gd.bfloat16.numpy), dtype=dtype).type is dtype[2]


@pytest.mark.parametrize(
    "value, dtype, problem",
    [
        (8, gd.int4, "8 is out of range for int4"),
        ([1, -3], gd.int2, "[1, -3] is out of range for int2"),
        (-1, gd.uint8, "-1 is out of range for uint8"),
        (2**63, gd.int64, "9223372036854775808 is out of range for int64"),
        (np.array([300]), gd.uint8, "array([300]) is out of range for uint8"),
        (1.5, gd.int64, "1.5 does not fit int64"),
        (np.array([1.0]), gd.uint4, "array([1.]) does not fit uint4"),
        (gd.bfloat16.numpy.type(1), gd.int8, "1 does not fit int8"),
        (1j, gd.float32, "1j does not fit float32"),
        ("a", gd.float32, "'a' does not fit float32"),
        (1, gd.string, "1 does not fit string"),
        (1, gd.bool, "1 does not fit bool"),
        ([1, "a"], None, "[1, 'a'] is not an array of numbers or text"),
        (np.array([1, 2.5], object), None, "array([1, 2.5], dtype=object) is not an array of text"),
        (np.array(["2020"], "M8[Y]"), None, "dtype('<M8[Y]') is not a dtype that ONNX has"),
        ([[1], [1, 2]], None, "[[1], [1, 2]] is no array ("),
        (gd.input("x", gd.float32), None, "a tensor is no constant; read its .value if it stands for one"),
    ],
)
def test_what_a_dtype_does_not_hold_is_refused(value: Any, dtype: Any, problem: str) -> None:
    with pytest.raises((gd.SignatureError, gd.TypeSpecError)) as caught:
        gd.constant(value, dtype=dtype)
    assert str(caught.value).removeprefix("gd.constant: ").startswith(problem)
    assert "test_types_all.py:" in str(caught.value)


def test_text_comes_as_str_bytes_or_arrays_of_fixed_width() -> None:
    for given in (["a", "é"], np.array(["a", "é"]), np.array(["a", "é"], object), [b"a", "é".encode()]):
        constant = gd.constant(given)
        assert constant.type is gd.string[2]
        assert reread(gd.build({"y": constant})).graph.initializer[0].string_data == [b"a", "é".encode()]


def test_a_sparse_constant_is_a_dense_tensor() -> None:
    """ONNX specification, Operators.md, Constant: sparse_value gives a (dense) tensor in another form."""
    values, places = helper.make_tensor("v", 1, [2], [1.0, 2.0]), helper.make_tensor("i", 7, [2], [0, 5])
    given = helper.make_sparse_tensor(values, places, [2, 3])
    constant = op.Constant(sparse_value=given)
    assert constant.type is gd.float32[2, 3]
    model = gd.build({"y": constant * 2})
    proto = reread(model)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.graph.node[0].attribute[0].sparse_tensor == given
    assert model().tolist() == [[2, 0, 0], [0, 0, 4]]
    with pytest.raises(gd.SignatureError, match=r"attribute 'sparse_value' is a SparseTensorProto, got \[1\] \(list\)"):
        op.Constant(sparse_value=[1])


# Types


@pytest.mark.parametrize("kind", TYPES, ids=repr)
def test_every_type_is_one_of_inputs_and_outputs(kind: gd.Type) -> None:
    x = gd.input("x", kind)
    assert x.type is kind
    proto = reread(gd.build({"y": x}))
    assert from_proto(proto.graph.input[0].type) is kind
    assert from_proto(proto.graph.output[0].type) is kind
    assert gd.input("y", to_proto(kind)).type is kind


@pytest.mark.parametrize("kind", [k for k in TYPES if isinstance(k, gd.TensorType)][:3] + TYPES[-10:], ids=repr)
def test_a_type_reads_as_the_schemas_write_it(kind: gd.Type) -> None:
    found = from_text(type_text(kind))
    assert found is not None and type_text(found) == type_text(kind)


def test_what_is_no_tensor_has_no_shape_and_no_arithmetic() -> None:
    for kind in (gd.sparse(gd.float32[2]), gd.sequence(gd.float32[2]), gd.map_of(gd.int64, gd.float32)):
        x = gd.input("x", kind)
        with pytest.raises(gd.UnsupportedError, match="has no dtype; it is not a tensor"):
            x.dtype  # noqa: B018
        with pytest.raises(gd.GraphError):
            x + 1


def test_sequences_optionals_and_maps_run() -> None:
    x = gd.input("x", gd.float32["n", 2])
    array = np.ones((3, 2), np.float32)
    rows = op.SplitToSequence(x, axis=0, keepdims=0)
    assert rows.type is gd.sequence(gd.float32[2])
    assert [row.tolist() for row in gd.build({"y": rows})(array)] == [[1, 1]] * 3
    assert op.SequenceLength(rows).type is gd.int64[()]
    some = op.Optional(rows)
    assert some.type is gd.optional(rows.type)
    assert op.OptionalGetElement(some).type is rows.type
    assert gd.build({"y": op.OptionalHasElement(op.Optional(type=gd.float32[2]))})().tolist() is False
    ml = gd.domain("ai.onnx.ml", 3)
    named = ml.ZipMap(x, classlabels_strings=["a", "b"])
    assert named.type is gd.sequence(gd.map_of(gd.string, gd.float32[()]))
    assert gd.build({"y": named})(array) == [{"a": 1.0, "b": 1.0}] * 3


# Declared outputs


def shaped() -> gd.Tensor:
    return op.Reshape(gd.input("x", gd.float32["n"]), gd.input("shape", gd.int64["k"]))


def declared(model: gd.Model) -> list[gd.Type | None]:
    """The types of the outputs in the emitted model, which must be valid."""
    proto = reread(model)
    onnx.checker.check_model(proto, full_check=True)
    return [from_proto(info.type) for info in proto.graph.output]


def test_an_output_is_declared_by_name_by_place_or_by_annotation() -> None:
    y = shaped()
    wanted = gd.float32["rows", 2]
    assert declared(gd.build({"y": y}, types={"y": wanted})) == [wanted]
    assert declared(gd.build(y, types=wanted)) == [wanted]
    assert declared(gd.build([y, y * 2, y.sum()], types=[wanted, wanted, None])) == [wanted, wanted, gd.float32[()]]
    assert declared(gd.build({"y": y, "total": y.sum()}, types={"y": wanted})) == [wanted, gd.float32[()]]

    @gd.model
    def annotated(x: gd.float32["n"], shape: gd.int64[2]) -> gd.float32["rows", 2]:
        return op.Reshape(x, shape)

    @gd.model
    def named(x: gd.float32["n"]) -> {"a": None, "b": gd.float32["m"]}:
        return {"a": x, "b": x * 2}

    @gd.model
    def otherwise(x: gd.float32["n"]) -> gd.Tensor:
        return x * 2

    assert declared(annotated) == [wanted]
    assert declared(named) == [gd.float32["n"], gd.float32["m"]]
    assert declared(otherwise) == [gd.float32["n"]]
    assert annotated(np.ones(4, np.float32), [2, 2]).shape == (2, 2)
    assert "=> (float32['rows', 2] output)" in str(annotated)


def test_an_operator_of_unknown_type_may_be_declared_at_the_output() -> None:
    @gd.custom_op("types::Unknown")
    def unknown(x):
        return gd.float32

    model = gd.build(unknown(gd.input("x", gd.float32[2])), types=gd.float32[2])
    assert declared(model) == [gd.float32[2]]


@pytest.mark.parametrize(
    "types, problem",
    [
        ({"z": gd.float32[2]}, "gd.build: there is no output 'z' to declare"),
        ({"y": gd.int64["n"]}, "gd.build: the output 'y' is declared int64['n'], but it is float32[2, 3]"),
        ({"y": gd.float32[2]}, "gd.build: the output 'y' is declared float32[2], but it is float32[2, 3]"),
        ({"y": gd.float32[2, 4]}, "gd.build: the output 'y' is declared float32[2, 4], but it is float32[2, 3]"),
        (
            {"y": gd.sequence(gd.float32)},
            "gd.build: the output 'y' is declared sequence(float32), but it is float32[2, 3]",
        ),
        ({"y": 3}, "gd.build: the output 'y' is declared 3, which is no type"),
        ([gd.float32, gd.float32], "gd.build: 2 types are declared, for 1 outputs"),
    ],
)
def test_what_an_output_cannot_be_is_refused(types: Any, problem: str) -> None:
    y = gd.input("x", gd.float32[2, 3]) * 2
    with pytest.raises(gd.BuildError) as caught:
        gd.build({"y": y}, types=types)
    assert str(caught.value).splitlines()[0] == problem


def test_an_input_that_is_an_output_is_declared_as_an_input() -> None:
    x = gd.input("x", gd.float32["n"])
    with pytest.raises(gd.BuildError, match="the output 'y' is the input 'x'; declare its type there\n"):
        gd.build({"y": x}, types={"y": gd.float32[2]})


# Where dtypes run


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.bits != 6], ids=repr)
def test_the_reference_evaluator_hands_every_dtype_through(dtype: gd.DType) -> None:
    with gd.opset(max(21, SINCE.get(dtype.name, 0))):
        x = gd.input("x", dtype[3])
        model = gd.build({"y": op.Identity(x), "z": gd.constant(sample(dtype))})
    for found in model.run({"x": sample(dtype)}, providers="reference").values():
        assert found.dtype == dtype.numpy and found.tolist() == sample(dtype).tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_the_runtime_gives_constants_of_the_dtypes_that_it_has(dtype: gd.DType) -> None:
    model = gd.build({"y": gd.constant(sample(dtype))}, opset=max(21, SINCE.get(dtype.name, 0)))
    if dtype.kind == "complex" or dtype.bits == 6 or (OLD and dtype.name in SINCE):
        with pytest.raises(gd.RunError):
            model()
    else:
        found = model()
        assert found.dtype == dtype.numpy and found.tolist() == sample(dtype).tolist()


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind not in ("string", "complex")], ids=repr)
def test_the_runtime_casts_the_dtypes_that_it_has(dtype: gd.DType) -> None:
    if OLD and dtype.name in {*SINCE, "int4", "uint4"}:
        pytest.skip("an older ONNX Runtime casts none of these")
    with gd.opset(max(21, min(26, SINCE.get(dtype.name, 0)))):
        x = gd.input("x", gd.float32[3])
        if dtype.bits == 6:
            with pytest.raises(gd.InferenceError):
                x.astype(dtype)
            return
        model = gd.build({"y": x.astype(dtype), "z": x.astype(dtype).astype(gd.float32)})
    array = sample(dtype).astype(np.float32)
    if dtype is gd.float4e2m1:
        with pytest.raises(gd.RunError, match="has no kernel of Cast"):
            model(array)
    else:
        found, back = model(array)
        assert found.dtype == dtype.numpy and found.tolist() == sample(dtype).tolist()
        assert back.tolist() == array.tolist()


def test_low_precision_weights_are_dequantized() -> None:
    """Weights of four bits, as quantized models have them."""
    weight = np.arange(-8, 8).reshape(4, 4).astype(gd.int4.numpy)
    x = gd.input("x", gd.float32["n", 4])
    y = x @ op.DequantizeLinear(gd.constant(weight), np.float32(0.5))
    found = gd.build({"y": y})(np.eye(4, dtype=np.float32))
    assert found.tolist() == (np.arange(-8, 8).reshape(4, 4) / 2).tolist()


# The IR version


def value(kind: Any) -> Callable[[], Any]:
    return lambda: gd.input("x", kind)


@pytest.mark.parametrize(
    "outputs, version",
    [
        (value(gd.float32[2]), 7),
        (value(gd.bfloat16[2]), 7),
        (value(gd.optional(gd.float32)), 8),
        (value(gd.sparse(gd.float32[2])), 8),
        (value(gd.float8e4m3fn[2]), 9),
        (value(gd.float8e5m2fnuz[2]), 9),
        (value(gd.int4[2]), 10),
        (value(gd.sequence(gd.uint4)), 10),
        (value(gd.float4e2m1[2]), 11),
        (value(gd.float8e8m0[2]), 12),
        (value(gd.int2[2]), 13),
        (value(gd.map_of(gd.int64, gd.uint2)), 13),
        (value(gd.float6e2m3[2]), 14),
        (lambda: gd.constant(sample(gd.int4)), 10),
        (lambda: calls("plain")(gd.constant(sample(gd.float8e8m0))), 12),
        (lambda: functions("one")(gd.constant(1.0)), 8),
        (lambda: functions("default")(gd.constant(1.0)), 9),
        (lambda: (functions("one")(gd.constant(1.0)), functions("one")(gd.constant(1))), 10),
        (lambda: op.If(True, then_branch=lambda: gd.constant(sample(gd.int4)), else_branch=value(gd.int4[3])), 10),
    ],
)
def test_the_ir_version_is_the_least_that_has_what_a_model_uses(outputs: Callable[[], Any], version: int) -> None:
    """At opset 13, whose own is IR version 7."""
    with gd.opset(13):
        built = outputs()
        model = gd.build(dict(zip("ab", built if isinstance(built, tuple) else (built,), strict=False)), opset=13)
    assert model.ir_version == version


def calls(name: str) -> Any:
    @gd.custom_op(f"types::{name}")
    def declared(x):
        return gd.float32[()]

    return declared


@gd.function(domain="types")
def one(x: gd.Tensor) -> gd.Tensor:
    return x + 1


@gd.function(domain="types")
def default(x: gd.Tensor, *, factor: float = 1.0) -> gd.Tensor:
    return x * factor


def functions(name: str) -> Any:
    return {"one": one, "default": default}[name]


@pytest.mark.parametrize(
    "opset, version", [(7, 4), (9, 4), (11, 6), (13, 7), (15, 8), (19, 9), (21, 10), (23, 11), (24, 12), (25, 13)]
)
def test_an_opset_has_its_ir_version(opset: int, version: int) -> None:
    """As Versioning.md lists them; at least 4, since initializers need not be inputs."""
    assert gd.build({"y": gd.opset(opset).Relu(gd.input("x", gd.float32))}, opset=opset).ir_version == version


def test_nodes_with_metadata_are_of_ir_version_10() -> None:
    model = gd.build({"y": gd.opset(13).Relu(gd.input("x", gd.float32))}, opset=13)
    assert (model.to_proto().ir_version, model.to_proto(locations=True).ir_version) == (7, 10)


def test_no_operator_takes_a_dtype_that_the_ir_version_of_its_opset_lacks() -> None:
    """So the types of what ONNX's own operators take need not be looked at."""
    missing = []
    for native in onnx.defs.get_all_schemas_with_history():
        imports = {native.domain: native.since_version}
        own = least_ir_version(Survey({}, set()), imports)
        kinds = {from_text(text) for formal in (*native.inputs, *native.outputs) for text in formal.types} - {None}
        least = least_ir_version(Survey({}, set(kinds)), imports)
        if least > own:
            missing.append((native.domain, native.name, native.since_version, own, least))
    assert missing == []


# Drawing numbers


def test_equal_random_nodes_stay_two() -> None:
    draw = {"shape": [2], "seed": 1.0}
    model = gd.build({"a": op.RandomNormal(**draw), "b": op.RandomNormal(**draw)})
    assert [node.op_type for node in model.nodes] == ["RandomNormal", "RandomNormal"]
    both = gd.build({"d": op.RandomUniform(shape=[4]) - op.RandomUniform(shape=[4])})
    assert both().any()
