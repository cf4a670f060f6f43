"""What absent attributes mean: each without a default is accounted for, and the values are the standard's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import graphdsl as gd
from graphdsl.attributes import to_attribute
from graphdsl.ir import Node
from graphdsl.rewriting import effective
from graphdsl.rewriting.effective import UNKNOWN, default

NOT_COMPUTED = {
    *(("Attention", name) for name in ("kv_num_heads", "q_num_heads", "scale", "softmax_precision")),
    *(
        ("RotaryEmbedding", "num_heads"),
        ("LpPool", "kernel_shape"),
        ("Optional", "type"),
        ("RegexFullMatch", "pattern"),
    ),
    *((name, f"activation_{part}") for name in ("RNN", "GRU", "LSTM") for part in ("alpha", "beta")),
    *(("Scan", f"scan_{side}_{what}") for side in ("input", "output") for what in ("axes", "directions")),
    *(
        ("Scan", "directions"),
        ("Reshape", "shape"),
        ("Slice", "axes"),
        ("Split", "axis"),
        ("StringNormalizer", "locale"),
    ),
}
"""Attributes whose absence means something that nothing here computes: a pattern that needs it does not match."""


def without_default() -> set[tuple[str, str]]:
    """The optional attributes of the default domain that have no default in their schemas, at any opset."""
    return {
        (schema.name, name)
        for schema in onnx.defs.get_all_schemas_with_history()
        if not schema.domain
        for name, spec in schema.attributes.items()
        if not spec.required and spec.default_value.type == onnx.AttributeProto.UNDEFINED
    }


def test_every_attribute_without_a_default_is_accounted_for() -> None:
    own = {(op, name) for op, names in effective._OWN.items() for name in names}
    own |= {(op, name) for op, name in without_default() if name in effective._OWN_EVERYWHERE}
    computed = set(effective.RULES)
    assert computed & own == set()
    assert without_default() - computed - own == NOT_COMPUTED
    assert NOT_COMPUTED & (computed | own) == set()


def parsed(text: str, opset: int) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')


Case = tuple[str, int, list[np.ndarray]]


def cube(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) / (7 if dtype == np.float32 else 1)).astype(dtype)


def recurrent(name: str, gates: int) -> Case:
    return (
        (
            f"(float[2, 1, 3] x, float[1, {4 * gates}, 3] w, float[1, {4 * gates}, 4] r) => (float[2, 1, 1, 4] y) "
            f"{{ y = {name} <hidden_size = 4> (x, w, r) }}"
        ),
        *(14, [cube(2, 1, 3), cube(1, 4 * gates, 3) / 9, cube(1, 4 * gates, 4) / 9]),
    )


def sizeless(case: Case) -> Case:
    return case[0].replace("<hidden_size = 4>", ""), *case[1:]


IMAGE, KERNEL = cube(1, 1, 4, 4), cube(1, 1, 2, 2)
WINDOW = "(float[1, 1, 4, 4] x) => (float[1, 1, 3, 3] y) {{ y = {} <kernel_shape = [2, 2]> (x) }}"
RECURRENT = {"RNN": recurrent("RNN", 1), "GRU": recurrent("GRU", 3), "LSTM": recurrent("LSTM", 4)}
REDUCTIONS = sorted(op for op, _ in effective.RULES if op.startswith("Reduce"))

MODELS: dict[str, list[Case]] = {
    "Transpose": [("(float[2, 3] x) => (float[3, 2] y) { y = Transpose (x) }", 17, [cube(2, 3)])],
    "Squeeze": [("(float[1, 3, 1] x) => (float[3] y) { y = Squeeze (x) }", 11, [cube(1, 3, 1)])],
    "Split": [("(float[6] x) => (float[3] y, float[3] z) { y, z = Split (x) }", 11, [cube(6)])],
    "Shape": [("(float[2, 3] x) => (int64[2] y) { y = Shape (x) }", 17, [cube(2, 3)])],
    "ConstantOfShape": [("(int64[2] x) => (float[a, b] y) { y = ConstantOfShape (x) }", 17, [np.int64([2, 3])])],
    "SequenceEmpty": [("() => (seq(float[a]) y) { y = SequenceEmpty () }", 17, [])],
    "EyeLike": [("(int32[2, 2] x) => (int32[2, 2] y) { y = EyeLike (x) }", 17, [])],
    "RandomNormalLike": [("(double[2] x) => (double[2] y) { y = RandomNormalLike (x) }", 17, [])],
    "RandomUniformLike": [("(float16[2] x) => (float16[2] y) { y = RandomUniformLike (x) }", 17, [])],
    "Bernoulli": [("(double[2] x) => (double[2] y) { y = Bernoulli (x) }", 17, [])],
    "Conv": [
        (
            "(float[1, 1, 4, 4] x, float[1, 1, 2, 2] w) => (float[1, 1, 3, 3] y) { y = Conv (x, w) }",
            *(17, [IMAGE, KERNEL]),
        )
    ],
    "ConvTranspose": [
        (
            "(float[1, 1, 4, 4] x, float[1, 1, 2, 2] w) => (float[1, 1, 5, 5] y) { y = ConvTranspose (x, w) }",
            *(17, [IMAGE, KERNEL]),
        )
    ],
    "ConvInteger": [
        (
            "(uint8[1, 1, 4, 4] x, uint8[1, 1, 2, 2] w) => (int32[1, 1, 3, 3] y) { y = ConvInteger (x, w) }",
            *(17, [cube(1, 1, 4, 4, dtype=np.uint8), cube(1, 1, 2, 2, dtype=np.uint8)]),
        )
    ],
    "QLinearConv": [
        (
            (
                "(uint8[1, 1, 4, 4] x, uint8[1, 1, 2, 2] w) => (uint8[1, 1, 3, 3] y) "
                "<float one = {1}, uint8 zero = {0}> { y = QLinearConv (x, one, zero, w, one, zero, one, zero) }"
            ),
            *(17, [cube(1, 1, 4, 4, dtype=np.uint8), cube(1, 1, 2, 2, dtype=np.uint8)]),
        )
    ],
    "DeformConv": [
        (
            (
                "(float[1, 1, 3, 3] x, float[1, 1, 2, 2] w, float[1, 8, 2, 2] o) => (float[1, 1, 2, 2] y) "
                "{ y = DeformConv (x, w, o) }"
            ),
            *(19, [cube(1, 1, 3, 3), KERNEL, cube(1, 8, 2, 2) / 9]),
        )
    ],
    **{name: [(WINDOW.format(name), 22, [IMAGE])] for name in ("MaxPool", "AveragePool", "LpPool")},
    "MaxUnpool": [
        (
            (
                "(float[1, 1, 2, 2] x, int64[1, 1, 2, 2] i) => (float[1, 1, 4, 4] y) "
                "{ y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (x, i) }"
            ),
            *(22, [KERNEL, np.int64([[[[5, 7], [13, 15]]]])]),
        ),
        (
            (
                "(float[1, 1, 2, 2] x, int64[1, 1, 2, 2] i) => (float[1, 1, 3, 3] y) "
                "{ y = MaxUnpool <kernel_shape = [2, 2]> (x, i) }"
            ),
            *(22, [KERNEL, np.int64([[[[0, 2], [5, 8]]]])]),
        ),
    ],
    "Col2Im": [
        (
            (
                "(float[1, 4, 4] x) => (float[1, 1, 3, 3] y) <int64[2] image = {3, 3}, int64[2] block = {2, 2}> "
                "{ y = Col2Im (x, image, block) }"
            ),
            *(18, [cube(1, 4, 4)]),
        )
    ],
    "Resize": [
        (
            "(float[2, 3] x) => (float[4, 6] y) <int64[2] sizes = {4, 6}> { y = Resize (x, , , sizes) }",
            *(19, [cube(2, 3)]),
        )
    ],
    "CenterCropPad": [
        (
            "(float[2, 3] x) => (float[4, 2] y) <int64[2] sizes = {4, 2}> { y = CenterCropPad (x, sizes) }",
            *(18, [cube(2, 3)]),
        )
    ],
    **{name: [case, sizeless(case)] for name, case in RECURRENT.items()},
    **{
        name: [(f"(float[2, 3] x) => (float[1, 1] y) {{ y = {name} (x) }}", 11, [cube(2, 3) + 1])]
        for name in REDUCTIONS
    },
}
"""Models of one node, by operator, each with its opset and its inputs."""

BY_TYPE = {(op, "dtype") for op in ("SequenceEmpty", "EyeLike", "RandomNormalLike", "RandomUniformLike", "Bernoulli")}
"""Absence means a dtype: the type of the output is compared."""

NOWHERE = {
    ("Concat", "axis"): "required since opset 4, and the reference does not go back that far",
    ("MaxUnpool", "dilations"): "MaxUnpool has no such attribute",
}


def nodes_without(operator: str, name: str) -> Iterator[tuple[onnx.ModelProto, list[Any]]]:
    """Models of one node without an attribute, with inputs."""
    for text, opset, inputs in MODELS[operator]:
        if f"{name} =" not in text:
            yield parsed(text, opset), inputs


def evaluated(model: onnx.ModelProto, inputs: list[Any]) -> list[Any]:
    names = [info.name for info in model.graph.input]
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=False)))


def with_attribute(model: onnx.ModelProto, node: Node, name: str, value: Any) -> onnx.ModelProto:
    """A model of one node, with an attribute more."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node[0].attribute.append(to_attribute(name, value, node.schema.attributes[name].kind))
    return made


@pytest.mark.parametrize(("operator", "name"), sorted(set(effective.RULES) - set(NOWHERE)))
def test_a_node_computes_the_same_with_what_its_absent_attribute_means(operator: str, name: str) -> None:
    compared = 0
    for model, inputs in nodes_without(operator, name):
        (node,) = gd.load(model).nodes
        value = default(node, name)
        assert value is not UNKNOWN
        explicit = with_attribute(model, node, name, value)
        if (operator, name) in BY_TYPE:
            assert gd.load(explicit).outputs[0].type is gd.load(model).outputs[0].type is not None
        else:
            for before, after in zip(evaluated(model, inputs), evaluated(explicit, inputs), strict=True):
                np.testing.assert_array_equal(before, after)
        compared += 1
    assert compared, "nothing was compared"


@pytest.mark.parametrize(
    ("text", "name", "wrong"),
    [
        ("(float[2, 3] x) => (float[3, 2] y) { y = Transpose (x) }", "perm", (0, 1)),
        (
            "(float[1, 1, 4, 4] x, float[1, 1, 2, 2] w) => (float[1, 1, 3, 3] y) { y = Conv (x, w) }",
            "pads",
            (1, 1, 1, 1),
        ),
    ],
)
def test_the_comparison_sees_a_wrong_value(text: str, name: str, wrong: tuple[int, ...]) -> None:
    model = parsed(text, 17)
    (node,) = gd.load(model).nodes
    inputs = [cube(*[d.dim_value for d in info.type.tensor_type.shape.dim]) for info in model.graph.input]
    (before,), (after,) = evaluated(model, inputs), evaluated(with_attribute(model, node, name, wrong), inputs)
    assert before.shape != after.shape or (before != after).any()


def test_what_cannot_be_computed_is_not_known() -> None:
    x, w = gd.input("x", gd.float32), gd.input("w", gd.float32)
    (node,) = gd.build(gd.op.Transpose(x)).nodes
    assert default(node, "perm") is UNKNOWN
    (node,) = gd.build(gd.op.Conv(x, w)).nodes
    assert [default(node, name) for name in ("strides", "pads", "dilations", "kernel_shape")] == [UNKNOWN] * 4
    image = gd.input("image", gd.float32[1, 1, 5, 5])
    (node,) = gd.build(gd.op.Conv(image, w, auto_pad="SAME_UPPER", kernel_shape=[3, 3])).nodes
    assert default(node, "pads") is UNKNOWN and default(node, "strides") == (1, 1)
