"""Operator schemas: what is read of them, by version, and the opset in force."""

import contextvars
from collections.abc import Iterator

import onnx
import pytest
from calls import all_schemas
from onnx import AttributeProto

import graphdsl as gd
from graphdsl import schemas
from graphdsl.schemas import FOREVER, Parameter, Schema, lookup

MARKED_WRONGLY = {"AffineGrid", "CausalConvWithState", "DepthToSpace", "LinearAttention", "SpaceToDepth"}
"""Operators that ONNX marks as random, and that are not."""


@pytest.fixture
def declared() -> Iterator[str]:
    """The name of an operator that tests may declare; it is forgotten afterwards."""
    yield "TestOnly"
    for key in [key for key in schemas._declared if key[1] == "TestOnly"]:
        del schemas._declared[key]


def declare(domain: str, name: str) -> Schema:
    one = Parameter("x", "T", frozenset({"tensor(float)"}), True, False, True, 1)
    return schemas.declare(
        Schema(domain, name, version=1, since=1, until=FOREVER, inputs=(one,), outputs=(one,), attributes={})
    )


def test_a_schema_says_what_the_standard_says() -> None:
    conv = lookup("", "Conv", 21)
    assert [(p.name, p.required, p.variadic, p.type_str) for p in conv.inputs] == [
        ("X", True, False, "T"),
        ("W", True, False, "T"),
        ("B", False, False, "T"),
    ]
    assert conv.inputs[0].types == {"tensor(float16)", "tensor(float)", "tensor(double)"}
    assert (conv.least_inputs, conv.most_inputs, conv.least_outputs, conv.most_outputs) == (2, 3, 1, 1)
    assert (conv.since, conv.until, conv.version, conv.label) == (11, 21, 21, "Conv")
    assert repr(conv) == "<Conv, opset 11 to 21>" and repr(lookup("", "Conv", 22)) == "<Conv, opset 22>"
    group = conv.attributes["group"]
    assert (group.kind, group.required, group.default.i) == (AttributeProto.INT, False, 1)
    assert conv.attributes["pads"].default is None


@pytest.mark.parametrize(
    ("name", "version", "inputs", "outputs"),
    [
        ("Clip", 13, (1, 3), (1, 1)),
        ("Concat", 13, (1, FOREVER), (1, 1)),
        ("Max", 13, (1, FOREVER), (1, 1)),
        ("Split", 18, (1, 2), (1, FOREVER)),
        ("Loop", 21, (2, FOREVER), (1, FOREVER)),
        ("LSTM", 21, (3, 8), (0, 3)),
        ("Constant", 21, (0, 0), (1, 1)),
        ("TopK", 11, (2, 2), (2, 2)),
        ("MaxPool", 12, (1, 1), (1, 2)),
        ("SequenceMap", 17, (1, FOREVER), (1, FOREVER)),
    ],
)
def test_arity(name: str, version: int, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
    schema = lookup("", name, version)
    assert (schema.least_outputs, schema.most_outputs) == outputs
    assert schema.most_inputs == inputs[1]
    if name != "Loop":  # all of whose inputs may be left out, which least_inputs need not say
        assert schema.least_inputs == inputs[0]


@pytest.mark.parametrize("schema", all_schemas(), ids=lambda s: f"{s.label}-{s.since}")
def test_versions_join_without_gaps(schema: Schema) -> None:
    """A schema holds from `since` to `until`, and its neighbour begins, or the operator ends, right after."""
    native = onnx.defs.get_schema(schema.name, schema.since, schema.domain)
    assert schema.since == native.since_version
    last = min(schema.until, schemas.newest(schema.domain))
    assert lookup(schema.domain, schema.name, last).since == schema.since
    if schema.until != FOREVER:
        after = onnx.defs.get_schema(schema.name, schema.until + 1, schema.domain)
        assert after.since_version == schema.until + 1
    assert schema.least_inputs == native.min_input
    assert schema.most_inputs == min(native.max_input, FOREVER)
    assert schema.most_outputs == min(native.max_output, FOREVER)
    assert schema.deterministic != native.non_deterministic or schema.name in MARKED_WRONGLY


def test_random_operators_are_known() -> None:
    random = {"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
    found = {s.name for s in all_schemas() if not s.deterministic}
    assert random <= found and not found & {"Add", *MARKED_WRONGLY}


def test_what_onnx_marks_as_random_is_taken_so_unless_it_draws_nothing() -> None:
    marked = [native for native in onnx.defs.get_all_schemas_with_history() if native.non_deterministic]
    assert {native.name for native in marked} >= MARKED_WRONGLY, "onnx is mended; the exceptions in schemas.py may go"
    for native in marked:
        if not native.deprecated:
            schema = lookup(native.domain, native.name, native.since_version)
            assert schema.deterministic == (native.name in MARKED_WRONGLY), native.name


def test_actual_inputs_and_their_formal_ones() -> None:
    concat = lookup("", "Concat", 13)
    assert concat.input(0) is concat.input(7)
    loop = lookup("", "Loop", 21)
    assert [loop.input(index).name for index in range(4)] == ["M", "cond", "v_initial", "v_initial"]


def test_one_schema_per_version_asked_for() -> None:
    assert lookup("", "Relu", 14) is lookup("", "Relu", 14)
    assert lookup("", "Relu", 14) is not lookup("", "Relu", 15)
    assert lookup("", "Relu", 15).version == 15


def test_operators_of_a_domain() -> None:
    assert "Upsample" in schemas.operators("") and "Upsample" not in schemas.operators("", 10)
    assert "Gelu" not in schemas.operators("", 19) and "Gelu" in schemas.operators("", 20)
    assert schemas.operators("nowhere") == []
    assert {"", "ai.onnx.ml", "com.microsoft"} <= schemas.domains()
    assert schemas.since("", "Upsample") == (1, 7, 9, 10) and schemas.since("", "Nothing") == ()


def test_newest_versions() -> None:
    assert schemas.newest("") == onnx.defs.onnx_opset_version()
    assert schemas.newest("ai.onnx.ml") == onnx.defs.onnx_ml_opset_version()
    assert schemas.newest("nowhere") == 1


def test_a_domain_misspelt() -> None:
    with pytest.raises(
        gd.UnknownOperator, match=r"known in domain 'ai\.onnx\.mi'; did you mean 'ai\.onnx\.ml'\?; declare it"
    ):
        gd.domain("ai.onnx.mi", 1).Scaler  # noqa: B018
    with pytest.raises(
        gd.OpsetError, match=r"version 99 of domain 'ai\.onnx\.ml' is not known; onnx .* versions 1 to \d"
    ):
        gd.domain("ai.onnx.ml", 99)
    assert gd.domain("mine", 99)


def test_declared_operators(declared: str) -> None:
    first = declare("mine", declared)
    assert lookup("mine", declared, 3) is first and schemas.declared("mine", declared) is first
    assert declared in schemas.operators("mine") and "mine" in schemas.domains()
    second = declare("mine", declared)
    assert lookup("mine", declared, 3) is second


def test_a_declaration_counts_even_after_a_lookup() -> None:
    runtime = lookup("com.microsoft", "Gelu", 1)
    try:
        mine = declare("com.microsoft", "Gelu")
        assert lookup("com.microsoft", "Gelu", 1) is mine
    finally:
        del schemas._declared["com.microsoft", "Gelu"]
    again = lookup("com.microsoft", "Gelu", 1)
    assert again is not mine and again.doc == runtime.doc


def test_the_opset_in_force_belongs_to_a_context() -> None:
    with schemas.opset_forced(13):
        inside = contextvars.copy_context()
    assert schemas.opset_in_force() == schemas.DEFAULT_OPSET
    assert inside.run(schemas.opset_in_force) == 13
    assert schemas.in_force("Squeeze").since == 21
    with schemas.opset_forced(11):
        assert schemas.in_force("Squeeze").since == 11


def test_the_default_opset_runs_on_the_oldest_runtime() -> None:
    """ONNX Runtime 1.19 runs opsets up to 21; see pyproject.toml."""
    assert schemas.DEFAULT_OPSET == 21
