"""Patterns of one operator: which operators `verify.rule` makes instances of, from the pattern alone.

The rule of each replaces a call by the same call, so it must fire, be judged and be let stand. The operators that are
left are those that a table of docs/verifying.md lists, no more and no fewer. Where the other call lacks an attribute or
an input of the first, or has two swapped, it must be refuted.
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import standing
from forgetting import NEEDED, names_in, parameters, wrong_rules
from support import in_part

import graphdsl as gd
from graphdsl import op, schemas, verify

OPSET = 26
"""The newest one that `verify.rule` tries, unless an operator is newer."""

OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain})

FLOW = ("If", "Loop", "Scan", "SequenceMap")


def opset_of(name: str) -> int:
    """The opset at which an operator is tried."""
    try:
        schemas.lookup("", name, OPSET)
        return OPSET
    except gd.UnknownOperator:
        return schemas.NEWEST_OPSET


def exists(name: str) -> bool:
    try:
        return not schemas.lookup("", name, opset_of(name)).native.deprecated  # type: ignore[union-attr]
    except gd.UnknownOperator:
        return False


def unchanged(name: str, *, whole: bool) -> gd.Rule:
    """A rule that replaces a call by itself: of required inputs and attributes, or of all there are."""
    schema = schemas.lookup("", name, opset_of(name))
    inputs, optional = parameters(schema)
    required = [attribute for attribute, spec in schema.attributes.items() if spec.required]
    if whole:
        takes = [*inputs, *(f"{item}=None" for item in optional), "**attributes"]
        gives = [*inputs, *optional, "**attributes", *(["outputs=2"] if name == "Split" else [])]
    else:
        more = NEEDED.get(name, "")
        takes = [*inputs, *required, *names_in(more)]
        gives = [*inputs, *([more] if more else []), *(f"{item}={item}" for item in required)]
    function = eval(f"lambda {', '.join(takes)}: op.{name}({', '.join(gives)})", {"op": op})
    return gd.rule(function, name=name)(function)


def is_verified(name: str, *, whole: bool) -> bool:
    """Whether instances of the pattern are made and judged.

    Raises:
        Refuted: one is found to differ from itself.
    """
    if name in FLOW:  # a pattern holds no bodies
        return False
    try:
        found = verify.rule(unchanged(name, whole=whole), examples=24 if whole else 6, opsets=[opset_of(name)])
        return found.judged > 0
    except verify.Unfired:
        return False


def listed() -> set[str]:
    """The operators of the table."""
    page = (Path(__file__).parent.parent / "docs" / "verifying.md").read_text(encoding="utf-8")
    table = page.partition("| operators that no instance is made of |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


SAMPLE = [
    *("LSTM", "GRU", "RNN", "Attention", "DeformConv", "Einsum", "MaxUnpool", "RoiAlign", "ScatterND", "QLinearConv"),
    *("SequenceAt", "ConcatFromSequence", "Optional", "TfIdfVectorizer", "Resize", "DFT", "STFT", "Col2Im"),
    *("SoftmaxCrossEntropyLoss", "RotaryEmbedding", "Constant", "RandomNormal", "MaxRoiPool"),
    *("CausalConvWithState", "LinearAttention"),
]


ALL = in_part(filter(exists, OPERATORS), SAMPLE)

TRIED = [name for name in filter(exists, OPERATORS) if name not in listed()]
"""The operators that instances are made of."""


@pytest.mark.parametrize("name", ALL)
def test_instances_of_a_call_with_what_is_required(name: str) -> None:
    assert is_verified(name, whole=False) is (name not in listed())


@pytest.mark.parametrize("name", ALL)
def test_instances_of_a_call_with_all_there_is(name: str) -> None:
    assert is_verified(name, whole=True) is (name not in listed())


@pytest.mark.parametrize("name", in_part(TRIED, few=("Gemm", "OneHot", "Unique")))
def test_a_forgotten_attribute_or_input_and_swapped_inputs_are_seen(name: str) -> None:
    """Each is refuted, but for what is listed with a reason, which stands or never fires as it is listed."""
    expected, found = {}, {}
    for rule in wrong_rules(schemas.lookup("", name, opset_of(name))):
        never = rule.name in standing.NEVER_FIRE
        expected[rule.name] = "stands" if rule.name in standing.OF_CALLS else "never fires" if never else "refuted"
        found[rule.name] = outcome(rule, opset_of(name))
    assert found == expected


def outcome(rule: gd.Rule, opset: int) -> str:
    """What comes of a rule at an opset."""
    try:
        verify.rule(rule, opsets=[opset])
    except verify.Refuted:
        return "refuted"
    except verify.Unfired:
        return "never fires"
    return "stands"


@pytest.mark.full
def test_what_is_listed_is_a_change_of_a_call() -> None:
    made = {rule.name for name in TRIED for rule in wrong_rules(schemas.lookup("", name, opset_of(name)))}
    assert standing.OF_CALLS.keys() | standing.NEVER_FIRE.keys() <= made


def test_the_table_lists_operators() -> None:
    assert listed() <= set(OPERATORS) and set(FLOW) <= listed()


@pytest.mark.parametrize("name", FLOW)
def test_a_pattern_holds_no_body(name: str) -> None:
    with pytest.raises(gd.GraphError):
        gd.rule(lambda x: getattr(op, name)(x, body=lambda *y: y, num_scan_inputs=1))(lambda x: x)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, in the reference
        yield
