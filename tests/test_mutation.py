"""The rule refuter against wrong rules and right ones: by hand, held out, and stock rules with one change each."""

import warnings
from typing import Any

import held_out
import pytest
from mutation import Mutant, mutants, sampled

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.passes import rules as stock

STOCK = [getattr(stock, name) for name in stock.__all__]
"""The rules that the stock passes are made of; that none is refuted, test_passes_everywhere.py sees."""


def _marked(names: Any, few: Any) -> list[Any]:
    return [name if name in few else pytest.param(name, marks=pytest.mark.full) for name in names]


@pytest.mark.parametrize("name", _marked(held_out.WRONG, ["clip of clip", "global average"]))
def test_a_wrong_rule_on_which_nothing_was_tuned_is_refuted(name: str, seed: int) -> None:
    with pytest.raises(verify.Refuted):
        verify.rule(held_out.WRONG[name], seed=seed)


@pytest.mark.parametrize("name", _marked(held_out.RIGHT, ["hard swish", "product of transposed matrices"]))
def test_a_right_rule_on_which_nothing_was_tuned_is_let_stand(name: str, seed: int) -> None:
    assert verify.rule(held_out.RIGHT[name], seed=seed).judged > 20


def _outcome(mutant: Mutant) -> str:
    try:
        verify.rule(mutant.rule)
    except verify.Refuted:
        return "refuted"
    except verify.Unfired:
        return "never fires"
    return "stands"


def test_every_change_of_the_merging_of_transposes_is_refuted() -> None:
    found = {mutant.label: _outcome(mutant) for mutant in mutants(stock.merge_transposes)}
    assert len(found) >= 2 and set(found.values()) == {"refuted"}, found


@pytest.mark.full
def test_most_changes_of_stock_rules_are_refuted() -> None:
    """Four changes of each stock rule. Those that stand were read: they are conditions that only save work, or keep
    what is right as it is; that number is bounded, so that a refuter which has become blind is noticed."""
    outcomes = {mutant.label: _outcome(mutant) for mutant in sampled(STOCK, 4)}
    refuted = [label for label, outcome in outcomes.items() if outcome == "refuted"]
    standing = [label for label, outcome in outcomes.items() if outcome == "stands"]
    assert len(refuted) >= 0.6 * len(outcomes) and len(standing) <= 0.3 * len(outcomes), standing


def test_mutants_differ_from_their_rule_by_one_change() -> None:
    @gd.rule(lambda x, a: op.Softmax(x, axis=a))
    def again(x: gd.Tensor, a: int) -> gd.Tensor | None:
        return op.Softmax(x, axis=a) if a == -1 else None

    assert [mutant.label for mutant in mutants(again)] == [
        "again, 0 of again: always op.Softmax(x, axis=a)",
        "again, 1 of again: the opposite of a == -1",
        "again, 2 of again: without axis in op.Softmax(x, axis=a)",
        "again, 3 of again: 2 for 1",
    ]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, in functions that compute on constants
        yield
