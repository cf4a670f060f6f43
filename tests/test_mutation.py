"""The rule refuter against wrong rules and right ones: by hand, held out, and stock rules with one change each."""

import warnings
from functools import cache
from typing import Any

import held_out
import pytest
import standing
from mutation import Mutant, changed, mutants
from support import in_part

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.passes import rules as stock

STOCK = [getattr(stock, name) for name in stock.__all__]
"""The rules that the stock passes are made of; that none is refuted, test_passes_everywhere.py sees."""

SEEDS = range(5)
"""With how many a change may be tried until it is refuted: of 100, about two show on few of the models of a rule."""


@pytest.mark.parametrize("name", in_part(held_out.WRONG, ["clip of clip", "global average"]))
def test_a_wrong_rule_on_which_nothing_was_tuned_is_refuted(name: str, seed: int) -> None:
    with pytest.raises(verify.Refuted):
        verify.rule(held_out.WRONG[name], seed=seed)


@pytest.mark.parametrize("name", in_part(held_out.RIGHT, ["hard swish", "product of transposed matrices"]))
def test_a_right_rule_on_which_nothing_was_tuned_is_let_stand(name: str, seed: int) -> None:
    assert verify.rule(held_out.RIGHT[name], seed=seed).judged > 20


def _outcome(mutant: Mutant, rules: int | None = None, seed: int = 0) -> str:
    """What comes of a change: it is refuted if one of the rules that it changes is."""
    said = "never fires"
    for rule in mutant.rules[:rules]:
        try:
            verdict = verify.rule(rule, seed=seed)
        except verify.Refuted:
            return "refuted"
        except verify.Unfired:
            continue
        said = "fails at some opsets" if "unwritable" in verdict.tried else "stands"
    return said


@cache
def _stock() -> list[Mutant]:
    return mutants(*STOCK)


def test_every_change_of_the_merging_of_transposes_is_refuted() -> None:
    found = {mutant.label: _outcome(mutant) for mutant in mutants(stock.merge_transposes)}
    assert len(found) >= 2 and set(found.values()) == {"refuted"}, found


@pytest.mark.full
def test_what_is_listed_as_standing_is_a_change_of_a_stock_rule() -> None:
    for listed in (*standing.RIGHT, *standing.MISSED):
        assert len([mutant for mutant in _stock() if mutant.label.startswith(listed)]) == 1, listed


@pytest.mark.full
@pytest.mark.parametrize("function", sorted({name for rule in STOCK for name in changed(rule)}))
def test_a_change_of_a_stock_rule_is_refuted_or_told_or_stands_for_a_reason(function: str) -> None:
    """What never fires and what fails at some opsets, a verdict tells; what else stands is listed with its reason."""
    wrong = []
    for mutant in _stock():
        if mutant.label.startswith(f"{function} ") and not mutant.label.startswith(tuple(standing.MISSED)):
            right = mutant.label.startswith(tuple(standing.RIGHT))
            outcomes = (_outcome(mutant, 1 if right else None, seed) for seed in (SEEDS[:1] if right else SEEDS))
            outcome = next((outcome for outcome in outcomes if outcome != "stands"), "stands")
            if outcome == ("refuted" if right else "stands"):
                wrong.append((mutant.label, outcome))
    assert not wrong


def test_mutants_differ_from_their_rule_by_one_change() -> None:
    @gd.rule(lambda x, a: op.Softmax(x, axis=a))
    def again(x: gd.Tensor, a: int) -> gd.Tensor | None:
        return op.Softmax(x, axis=a) if a == -1 else None

    assert [mutant.label for mutant in mutants(again)] == [
        "again 0: always op.Softmax(x, axis=a)",
        "again 1: the opposite of a == -1",
        "again 2: without axis in op.Softmax(x, axis=a)",
        "again 3: 2 for 1",
    ]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, in functions that compute on constants
        yield
