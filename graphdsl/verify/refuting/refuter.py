"""`verify.rule`: instances of a rule's pattern, judged with and without the rule."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle, islice
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from ... import schemas
from ...errors import GraphError, RuleError, RunError
from ...garbage import undisturbed
from ...inlining import inline
from ...rewriting.rules import Rule
from ...sites import at, caller
from ..draws import ORDINARY, Found, drawn, draws, kinds, search, tried
from ..equivalence import refutation
from ..evaluation import Evaluation
from ..judging import REFUTED, Judge, Judgement, ModelSide
from ..verdicts import Refuted, Unfired, Verdict
from .instances import Broken, Instance, Misfit, instance

_BYTES = 96
"""How many choices an instance has; those beyond are the simplest."""

_PROBES = 4
"""How many instances are made for each example before any is judged, to learn which choices make the rule fire."""

_FEWEST_PROBES, _USUAL_PROBES, _MOST_PROBES = 200, 800, 1600
"""But at least so many, and no more than the second number, but where few fire or where they differ in many ways."""

_ENOUGH, _FEWEST, _MANY = 0.4, 12, 24
"""How many instances that fire are enough: a share of the examples, but at least so many; where there are many
combinations of dtypes, more are looked for."""

_SUSPECTS = 12
"""How many instances are judged first that look wrong before they are."""

_DRAWS = 2
"""Inputs drawn for one instance: few, for another instance shows more than another input, and costs hardly more."""

_SHARES = {"float32": 6, "float64": 3, "float16": 3}
"""How many turns dtypes have, where others have one."""

_TRIES = 12
"""Inputs on which a smaller instance is tried."""

_SECONDS = 60.0
"""How long instances are made smaller at the most; what is found should not depend on how busy a machine is."""

_OLDEST, _NEWEST = 7, 26
"""The opsets that instances have: those that ONNX Runtime runs; newer ones where the pattern has no other."""

_MILESTONES = frozenset({13, 17, 20, 21, 24})
"""Opsets that are tried also where the pattern's operators are those of others, for the function may use newer ones."""


def rule(
    rule: Rule,
    *,
    examples: int = 200,
    seed: int = 0,
    opsets: Iterable[int] | None = None,
    without: Sequence[str] = (),
) -> Verdict:
    """Whether a rewrite rule leaves what models compute as it is, tried on models made from its pattern.

    From the pattern alone follow types, shapes, attribute values and constants that it admits: over dtypes, ranks,
    broadcasts and opsets. Each such model is judged against the one that the rule makes of it, as `verify.equivalent`
    does, without the type gate of `gd.rewrite`: another dtype or shape refutes.

    >>> import graphdsl as gd
    >>> from graphdsl import verify
    >>> @gd.rule(lambda x, y: x - y)
    ... def swap(x, y):
    ...     return y - x
    >>> verify.rule(swap)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graphdsl.verify.Refuted: rule 'swap': other ...

    Args:
        rule: Made by `@gd.rule`. A condition in its function (returning None) narrows what is tried.
        examples: How many inputs are judged, about; several for each instance of the pattern.
        seed: Other seeds try other instances.
        opsets: The opsets to try; by default those from 7 to 26 at which the pattern's operators differ, and newer ones
            where it has an operator that those lack.
        without: Which edges of inputs to leave out, as for `verify.tensors`.

    Raises:
        Refuted: the rule changes what a model computes, or fails; `.before` and `.after` are the smallest models found,
            `.feeds` the input.
        Unfired: it fired on none of the instances.
        RuleError: it is no rule, or its pattern can be written at none of the opsets.
    """
    if not isinstance(rule, Rule):
        raise RuleError(f"verify.rule takes a rule made by @gd.rule, got {rule!r}" + at(caller()))
    versions = _versions(rule, opsets)
    verdict = Verdict(f"rule {rule.name!r}")
    with undisturbed():  # by the collector: there are many instances, and all stay
        fitting = _probe(rule, versions, verdict, examples, seed)
        run = _Run(rule, versions, verdict, without, {found.raw: found.made for found in fitting})
        combinations = len({found.dtypes for found in fitting})
        count = max(1, examples // _DRAWS, min(combinations, 2 * examples))
        judged = (run.judged(raw, seed + number) for number, raw in enumerate(_mixed(fitting, count)))
        found = next((found for found in judged if found is not None), None)
    if found is not None:
        raise _refuted(rule, run.smaller(found, seed))
    if not verdict.judged:
        reasons = "".join(f"\n  {reason}" for reason in [*verdict.failed, *verdict.undefined][:3])
        raise Unfired(f"rule {rule.name!r} fired, but none of its instances could be judged:{reasons}")
    return verdict


def _versions(rule: Rule, opsets: Iterable[int] | None) -> list[int]:
    """The opsets to try, the default one first if it is among them."""
    if opsets is None:
        asked = list(range(_OLDEST, min(_NEWEST, schemas.NEWEST_OPSET) + 1))
        if all(isinstance(rule.recipe.at(version), GraphError) for version in asked):
            asked = list(range(_OLDEST, schemas.NEWEST_OPSET + 1))
    else:
        asked = list(opsets)
    kinds: dict[Any, int] = {}
    problems: list[str] = []
    for version in asked:
        traced = rule.recipe.at(version)
        if isinstance(traced, GraphError):
            problems.append(str(traced))
        else:
            used = frozenset((node.schema.label, node.schema.since) for node in traced.nodes)
            kinds[used if opsets is None and version not in _MILESTONES else version] = version
    if not kinds:
        why = f": {problems[0]}" if problems else ""
        raise RuleError(f"rule {rule.name!r} can be written at none of the opsets {asked}{why}" + at(caller()))
    return sorted(kinds.values(), key=lambda version: (abs(version - schemas.DEFAULT_OPSET), version))


class _Fitting(NamedTuple):
    """Choices on which a rule fires, and what is looked at to judge some of many."""

    raw: bytes
    dtypes: str
    form: Any
    """What instances that look alike have in common."""
    made: Instance | Broken
    """What they make."""
    suspect: bool
    """Whether the types alone say that the rule is wrong, or it fails."""


def _probe(rule: Rule, versions: Sequence[int], verdict: Verdict, examples: int, seed: int) -> list[_Fitting]:
    """Choices on which the rule fires.

    Raises:
        Unfired: it fires on none.
    """
    random = np.random.default_rng(seed)
    stages: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    fitting: list[_Fitting] = []
    combinations: set[str] = set()
    suspects = 0
    least = min(max(_FEWEST_PROBES, _PROBES * examples), _USUAL_PROBES)
    enough = max(_FEWEST, _ENOUGH * examples)
    for number in range(_MOST_PROBES):
        is_enough = number >= least and stages["fired"] >= enough and len(combinations) <= _MANY
        if is_enough or suspects >= _SUSPECTS:
            break
        raw = b"" if not number else random.integers(0, 256, _BYTES, dtype=np.uint8).tobytes()
        found = instance(rule, versions, raw)
        stage = found.stage if isinstance(found, Misfit) else "fired"
        stages[stage] += 1
        match found:
            case Misfit():
                reasons.setdefault(stage, Counter())[found.reason] += 1
            case Broken():
                suspects += 1
                fitting.append(_Fitting(raw, "", None, found, True))
            case Instance():
                combinations.add(found.dtypes)
                suspects += not found.keeps_types
                fitting.append(_Fitting(raw, found.dtypes, (found.form, found.is_empty), found, not found.keeps_types))
    verdict.tried["instances"] = stages
    if not fitting:
        said = [f"  {stage} ({count})" + _most(reasons.get(stage)) for stage, count in stages.most_common()]
        raise Unfired(
            f"rule {rule.name!r} fired on none of {_MOST_PROBES} instances of its pattern, so nothing is known of it:\n"
            + "\n".join(said)
        )
    if "unwritable" in reasons:
        verdict.tried["unwritable"] = reasons["unwritable"]
    return fitting


def _mixed(fitting: Sequence[_Fitting], count: int) -> list[bytes]:
    """Some of the choices: first some suspects, then others in turn of their dtypes; few come several times each.

    Floats have more turns. Of one combination of dtypes, those come first whose form is rare among all.
    """
    suspects = [found.raw for found in fitting if found.suspect]
    alike: Counter[Any] = Counter()
    ranked: dict[str, list[tuple[int, bytes]]] = {}
    for found in fitting:
        if not found.suspect:
            ranked.setdefault(found.dtypes, []).append((alike[found.form], found.raw))
            alike[found.form] += 1
    turns: list[tuple[int, int, bytes]] = []
    for dtypes, given in ranked.items():
        share = max((_SHARES.get(name, 1) for name in dtypes.split()), default=1)
        for place, (_, raw) in enumerate(sorted(given, key=lambda item: item[0])):
            turns.append((place // share, place % share, raw))
    turns.sort(key=lambda turn: turn[:2])
    chosen = islice(cycle([raw for *_, raw in turns]), count) if turns else ()
    return [*suspects[: _SUSPECTS if turns else count], *chosen]


def _most(reasons: Counter[str] | None) -> str:
    return "" if not reasons else ": " + "; ".join(reason for reason, _ in reasons.most_common(2))


class _Run:
    """The instances of a rule that are judged."""

    def __init__(
        self,
        rule: Rule,
        versions: Sequence[int],
        verdict: Verdict,
        without: Sequence[str],
        made: Mapping[bytes, Instance | Broken],
    ) -> None:
        self._made = made
        """Instances that were made already, by the choices."""
        self._rule = rule
        self._without = without
        self._versions = versions
        self._verdict = verdict
        self._known: dict[bytes, Any] = {}
        self._turns: Counter[bool] = Counter()
        """How many instances with and without floats were judged: each kind of draws comes to floats in turn."""

    def judged(self, raw: bytes, number: int) -> Found | None:
        """Judge one instance on some draws: ordinary ones, and special ones of a kind, in turn of the kinds."""
        made = self._instance(raw)
        if isinstance(made, Broken):
            return self._broken(made, number)
        assert not isinstance(made, Misfit)
        for name, value in made[0].traits.items():
            self._verdict.tried.setdefault(name, Counter())[value] += 1
        floats = "float" in made[0].dtypes  # what is special for integers is the same for nearly all kinds
        others = [kind for kind in kinds(self._without) if kind != ORDINARY]
        special = others[self._turns[floats] % len(others)]
        if not made[0].is_empty:
            self._turns[floats] += 1
        for kind in (ORDINARY, special):
            found = self._searched(made, kind, examples=_DRAWS // 2, seed=number, roundings=True)
            if found is not None:
                return found
        return None

    def _broken(self, made: Broken, seed: int) -> Found | None:
        """A refutation by a rule that fails, if what it fails on can be computed."""

        def test(feeds: dict[str, Any]) -> None:
            with suppress(RunError):
                Evaluation(inline(made.known), {**feeds, **made.fixed}, wide=True)
                raise Found({}, Judgement(REFUTED, made.reason), made)

        return tried(test, lambda choices: drawn(choices, made.known, ORDINARY, self._without), examples=2, seed=seed)

    def _searched(
        self, made: Any, kind: str, *, roundings: bool, examples: int, seed: int, small: bool = False
    ) -> Found | None:
        """What refutes an instance on draws of one kind; made `small`, if so asked."""

        def test(given: dict[str, Any]) -> None:
            feeds = given | made[0].fixed
            judgement = made[1].judge(feeds, roundings=roundings)
            if roundings:
                self._verdict.count(judgement)
            if judgement.kind == REFUTED:
                raise Found(feeds, judgement, made[0], kind)

        known = made[0].known
        if small:
            strategies = [draws(known, kind, self._without)]
            return search(lambda given: test(given[0]), strategies, examples=examples, seed=seed)
        return tried(test, lambda choices: drawn(choices, known, kind, self._without), examples=examples, seed=seed)

    def _instance(self, raw: bytes) -> Any:
        known = self._known.get(raw)
        if known is None:
            made = self._made.get(raw) or instance(self._rule, self._versions, raw)
            known = (made, Judge(ModelSide(made.before), ModelSide(made.after))) if isinstance(made, Instance) else made
            self._known[raw] = known
        return known

    def smaller(self, found: Found, seed: int) -> Found:
        """A refutation by simpler choices, as many of them the simplest as can be, on an input made small."""
        ends = monotonic() + _SECONDS
        raw = bytearray(found.of.chosen)
        step = len(raw)
        while step:
            for start in range(0, len(raw), step):
                if monotonic() < ends and any(raw[start : start + step]):
                    simpler = raw.copy()
                    simpler[start : start + step] = bytes(len(simpler[start : start + step]))
                    again = self._again(bytes(simpler), found, seed, examples=_TRIES)
                    if again is not None:
                        found, raw = again, simpler
            step //= 2
        return self._again(bytes(raw), found, seed, examples=10 * _TRIES, small=True) or found

    def _again(self, raw: bytes, found: Found, seed: int, *, examples: int, small: bool = False) -> Found | None:
        """The refutation of another instance, in the manner of one that was found."""
        made = self._instance(raw)
        if isinstance(made, Misfit) or isinstance(made, Broken) != isinstance(found.of, Broken):
            return None
        if isinstance(made, Broken):
            return self._broken(made, seed)
        rounding = found.judgement.rounding  # what is smaller is to differ in the same way
        return self._searched(made, found.kind, roundings=rounding, examples=examples, seed=seed, small=small)


def _refuted(rule: Rule, found: Found) -> Refuted:
    what = f"rule {rule.name!r}"
    if isinstance(found.of, Broken):
        before = found.of.before
        text = f"{what}: {found.judgement.reason}\n  on {before!r}"
        return Refuted(text, feeds={}, judgement=found.judgement, before=before)
    return refutation(what, found.of.before, found.of.after, found.feeds, found.judgement, with_nodes=True)
