"""A torch module beside its exported model: each part's output found in the model, and where error is made."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ExportError, RunError
from ..ir import Value
from ..loading import opened
from ..models import Model
from ..sites import at, caller, locate
from ..types import TensorType
from .calling import Argument, arguments_of, as_call, copied, evaluating
from .exporting import from_torch
from .faithfulness import feeds_for, unfaithful
from .judging import Judgement
from .matching import Candidate, Matching
from .measures import Distance, statistics
from .recording import Call, Place, Recording, Store, record
from .reports import Report
from .rows import Row
from .scopes import Scopes, rule_of, scope_of
from .segments import Segments, Setting, converted, values_of

_INDIRECT = 1000
"""The rank of evidence that does not come from a tensor's own module."""

_BY_VALUE = 1_000_000
"""The rank of tensors that only their value speaks for."""

_SIMILAR = 0.25
"""The relative distance up to which weak evidence is believed although the value is not right."""

_NONE_FITS = "none of its nodes makes"
"""How the reason begins for which a module with nodes of its own has no tensor."""

_FAILS = "the model fails before it is computed"
"""The reason where the model does not run to its end."""


def align(
    module: Any,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    model: Any = None,
    *,
    dynamo: bool = True,
    optimize: bool = False,
    memory: int = 1 << 30,
    providers: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **export: Any,
) -> Report:
    """Find the part of a torch module where its exported model makes an error.

    The module is run once, and the outputs of its parts are found among the model's tensors. The model is run once as a
    whole, for the errors that have accumulated, and once with torch's own tensors before each part, for the error that
    is made there.

    >>> import torch
    >>> from graphdsl import debug
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> debug.align(net, torch.ones(1, 4), dynamo=False).culprit is None
    True

    Args:
        module: A `torch.nn.Module`.
        args: What it is called with: a tuple, or one tensor.
        kwargs: What it is called with by name.
        model: The model to compare with, from either exporter: a path, a proto or a `gd.Model`; by default the module
            is exported as `debug.from_torch` does.
        dynamo: Which exporter makes the model, if none is given.
        optimize: Let the exporter fold and fuse, which leaves fewer parts to align.
        memory: How many bytes of tensors are held at a time; more of torch's go to temporary files, and the model is
            run in several steps.
        providers: As for `gd.Model.run`.
        options: As for `gd.Model.run`; optimisations are off by default, so that a tensor's value does not depend on
            which others are looked at.
        export: Handed on to `torch.onnx.export`.

    Returns:
        A report with a row for each call of a part, in the order in which they end; `report.culprit` is the first row
        where error is made.

    Raises:
        ExportError: the module cannot be exported, or its arguments do not fit the model's inputs.
        RunError: ONNX Runtime refuses the model, or fails while running it and no part is to blame.
    """
    args, kwargs = as_call(args, kwargs)
    arguments = arguments_of(module, args, kwargs)
    if model is None:
        whole = from_torch(module, args, kwargs, dynamo=dynamo, optimize=optimize, **export)
    else:
        whole = opened(model)
        with evaluating(module):
            problems = unfaithful(module, args, kwargs, arguments, whole, vary=False)
        if problems:
            raise ExportError("\n".join(problems) + at(caller()))
    recording = record(module, copied(args), copied(dict(kwargs)), Store(memory))
    setting = Setting(_feeds(whole, arguments), memory, providers, options)
    return _Alignment(whole, recording, setting).report(f"{type(module).__name__} beside model {whole.name!r}")


def _feeds(model: Model, arguments: Sequence[Argument]) -> dict[str, Any]:
    """Torch's arguments as the model takes them, of its dtypes."""
    kinds = {value.name: value.type for value in model.graph.inputs}
    feeds = feeds_for(model, arguments)
    for name, value in feeds.items():
        kind = kinds[name]
        if isinstance(value, np.ndarray) and isinstance(kind, TensorType):
            feeds[name] = converted(value, np.dtype(kind.dtype.numpy))
    return feeds


class _Alignment:
    """One comparison: the matches, and the errors at them."""

    def __init__(self, model: Model, recording: Recording, setting: Setting) -> None:
        self.model = model
        self.recording = recording
        self.unfit: dict[str, tuple[Value, np.ndarray, str]] = {}
        """By row: what leaves a module's nodes in the place of its output and does not fit, that output, and why."""
        self.scopes = Scopes(model.graph, recording.calls)
        ends, returned = [value for _, value in model.graph.outputs], recording.calls[-1].outputs
        self.ends: dict[Place, Value] = {}
        """What the model returns in the place of what the module returns: that alone is compared with it."""
        if len(ends) == len(returned):
            self.ends = dict(zip(returned, ends, strict=True))
        self.matching = Matching()
        self._propose()
        self.failure: RunError | None = None
        """Why the model does not run to its end."""
        self._judge_whole(setting)
        self.matching.choose_right()
        self.matching.choose_nearest(rank=_INDIRECT)
        self.segments = self._segments(setting)
        if self.failure is None:
            self._choose_locally(setting)
        self._judge()

    def _judge_whole(self, setting: Setting) -> None:
        """Compare the candidates in a run of the whole model; where that fails, those in front of the failure."""
        sizes = self.matching.sizes()
        try:
            self.matching.judge(values_of(self.model, sizes, setting))
        except RunError as error:
            self.failure = error
            ordered = [v for node in self.model.graph.nodes for v in node.outputs if v in sizes]
            runs, fails = 0, len(ordered)
            while fails - runs > 1:
                middle = (runs + fails) // 2
                try:
                    self.matching.judge(values_of(self.model, {v: sizes[v] for v in ordered[:middle]}, setting))
                    runs = middle
                except RunError:
                    fails = middle

    def _judge(self) -> None:
        """Find the errors of all segments; take back the matches that they speak against."""
        for candidate in self.matching.chosen.values():
            candidate.tolerance = max(candidate.tolerance, self.segments.tolerance(candidate.value))
        tolerances = {candidate.value: candidate.tolerance for candidate in self.matching.chosen.values()}
        judgement = Judgement(self.segments, tolerances.__getitem__)
        self.local = judgement.local
        self.segments = judgement.segments
        self.makers = {candidate.value: place.maker for place, candidate in self.matching.chosen.items()}
        self.doubted: dict[Place, str] = {}
        for place, candidate in list(self.matching.chosen.items()):
            if candidate.value in judgement.given_up:
                del self.matching.chosen[place]
                name = self.model._tensors.names[candidate.value]
                self.doubted[place] = f"{name!r} holds something else there: what follows is right without it"

    def _segments(self, setting: Setting) -> Segments:
        expected: dict[Value, np.ndarray] = {}
        for place, candidate in self.matching.chosen.items():
            expected.setdefault(candidate.value, self._as_fed(candidate.value, place.array))
        return Segments(self.model, expected, setting)

    def _choose_locally(self, setting: Setting) -> None:
        """Decide about weak evidence by what comes of torch's own tensors: behind a fault, that is right again.

        What no evidence points to may still be some tensor of the model, where tools dropped what exporters wrote. Its
        value must be right.
        """
        self._propose_free()
        still = self.matching.open_sizes()
        if not still:
            return
        accumulated = {c: (c.distance, c.seen) for cs in self.matching.candidates.values() for c in cs}
        self.matching.judge(self.segments.values(still))
        self.matching.choose_right()
        self.matching.choose_nearest(_SIMILAR, rank=_BY_VALUE)
        for candidate, (found, seen) in accumulated.items():
            candidate.distance, candidate.seen = found, seen
        unseen: defaultdict[Value, list[tuple[Place, Candidate]]] = defaultdict(list)
        for place, candidate in self.matching.chosen.items():
            if candidate.seen is None:
                unseen[candidate.value].append((place, candidate))
        sizes = {value: mine[0][0].array.nbytes for value, mine in unseen.items()}
        for value, array in values_of(self.model, sizes, setting):
            for place, candidate in unseen[value]:
                candidate.judge(array, place)
        self.segments = self._segments(setting)

    def _propose_free(self) -> None:
        """Propose the tensors that are nobody's yet for outputs that were not found."""
        places = [place for call in self.recording.calls for place in call.outputs[:1] if not place.is_argument]
        places = [place for place in places if place not in self.matching.chosen and place not in self.ends]
        if places and self.scopes.are_known:
            free = self.scopes.computed - {candidate.value for candidate in self.matching.chosen.values()}
            ordered = [value for node in self.model.graph.nodes for value in node.outputs if value in free]
            for place in places:
                self.matching.propose(place, ordered, rank=_BY_VALUE)

    def _as_fed(self, value: Value, array: np.ndarray) -> np.ndarray:
        kind = value.type
        return converted(array, np.dtype(kind.dtype.numpy)) if isinstance(kind, TensorType) else array

    # Candidates

    def _propose(self) -> None:
        """The tensors that each of torch's may be, by what the model tells of calls."""
        calls = self.recording.calls
        for place, value in self.ends.items():
            self.matching.propose(place, [value])
        if not self.scopes.are_known:
            self._propose_all()
            return
        for call in calls:
            leaving = self.scopes.leaving(call)
            for place in call.outputs:
                if place not in self.ends:
                    self.matching.propose(place, leaving)
        for call in calls:
            entering = self.scopes.entering(call)
            for place in call.inputs:
                if place.maker is not None:  # else it is an argument
                    self.matching.propose(place, entering, rank=0 if place.taker is call else _INDIRECT)
        for call in calls:  # what left no nodes may have been folded into what made its input
            if not self.scopes.nodes(call):
                for place in call.outputs:
                    before = [c.value for given in call.inputs for c in self.matching.candidates.get(given, ())]
                    self.matching.propose(place, before, rank=2 * _INDIRECT)

    def _propose_all(self) -> None:
        """Where the model tells nothing of modules, its tensors in order; values decide."""
        computed = self.scopes.computed
        made = [value for node in self.model.graph.nodes for value in node.outputs if value in computed]
        for call in self.recording.calls:
            for place in call.outputs:
                if place not in self.ends:
                    self.matching.propose(place, made)

    # The report

    def report(self, title: str) -> Report:
        """The rows, one for each output of each call."""
        rows = [row for call in self.recording.calls for row in self._rows_of(call)]
        for path, kind in self.recording.uncalled:
            used = self.scopes.users_of_weights(path)
            by = f" (in node {used[0].info.name!r})" if used and used[0].info is not None else ""
            rows.append(Row(path, path, kind, reason=f"torch does not call it; others use its weights{by}"))
        rows = self._with_unfit(rows)
        return Report(title, tuple(rows), self.segments)

    def _with_unfit(self, rows: list[Row]) -> list[Row]:
        """The rows, with the first whose tensor does not fit as the culprit, if error is made in what follows it.

        Behind such a tensor nothing fits any more, so that the error shows only where shapes are alike again, or the
        model does not even run. Then the first that is not computed is the culprit. So it is where the model's end
        does not fit though all before it is right.
        """
        culprit = next((row for row in rows if row.is_wrong), None)
        ends = set(self.ends.values())
        first = 0
        if culprit is None and self.failure is None:
            if not any(row.name in self.unfit and self.unfit[row.name][0] in ends for row in rows):
                return rows
            first = max((place for place, row in enumerate(rows) if row.is_aligned), default=-1) + 1
        for place, row in enumerate(rows[: rows.index(culprit)] if culprit else rows):
            if place < first or row.is_aligned or row.name not in self.unfit:
                continue
            found, array, note = self.unfit[row.name]
            if culprit is None or found.node in culprit.nodes:
                rows[place] = replace(
                    row,
                    tensor=self.model._tensors.names[found],
                    value=found,
                    nodes=self.segments.nodes(found)[0],
                    local=Distance(math.inf, note=note),
                )
                # so that there is a repro of it
                self.segments = Segments(self.model, {**self.segments.expected, found: array}, self.segments.setting)
                return rows
        if culprit is None and self.failure is not None:
            raise self.failure
        return rows

    def _rows_of(self, call: Call) -> Iterable[Row]:
        for place in call.inputs:
            if place.taker is call and place.maker is not None and place in self.matching.chosen:
                maker = place.maker
                name = f"{maker.label or '(the module)'}, before {call.label}"
                yield self._row(maker, place, name)
        for index, place in enumerate(call.outputs):
            if index and place not in self.matching.chosen and place not in self.ends:
                continue  # states that nothing uses, mostly
            name = call.label or "(the module)"
            # what hands an argument through has nothing to align
            through = place.is_argument and place not in self.matching.chosen
            counted = (call.path or name) if call.is_leaf and not through else ""
            yield self._row(call, place, f"{name}[{index}]" if len(call.outputs) > 1 else name, counted)

    def _row(self, call: Call, place: Place, name: str, counted: str = "") -> Row:
        source = locate(call.site)
        chosen = self.matching.chosen.get(place)
        if chosen is None:
            reason = self._reason(call, place)
            leaving = self._leaving(call, place)
            if leaving and reason.startswith(_NONE_FITS):
                self.unfit[name] = leaving[0], place.array, f"another shape: {reason.partition('; ')[2]}"
            elif leaving and reason == _FAILS:
                self.unfit[name] = leaving[0], place.array, str(self.failure).partition("\n")[0]
            return Row(name, call.path, call.kind, reason=reason, source=source, counted=counted)
        value = chosen.value
        return Row(
            name,
            call.path,
            call.kind,
            tensor=self.model._tensors.names[value],
            value=value,
            nodes=self.segments.nodes(value)[0],
            local=self.local.get(value),
            accumulated=chosen.distance,
            tolerance=chosen.tolerance,
            source=source,
            reason=self._note(call, place),
            counted=counted,
            expected=statistics(place.array),
            got=chosen.seen,
        )

    def _note(self, call: Call, place: Place) -> str:
        if place.maker is not call and place.maker is not None:
            return f"the tensor of {place.maker.label or 'the module'!r}"
        return ""

    def _reason(self, call: Call, place: Place) -> str:
        """Why a call's output is not in the model."""
        doubted = self.doubted.get(place)
        candidates: Sequence[Candidate] = self.matching.candidates.get(place, ())
        if place.is_argument:
            return "it returns an argument of the module as it is"
        if place in self.ends and not candidates:
            return self._misfit(call, place)
        fused = self._fused(call)
        if fused:
            return fused
        if doubted:
            return doubted
        if not self.scopes.nodes(call):
            return "it left no nodes in the model: removed, folded or fused into others"
        if self.failure is not None and any(candidate.distance is None for candidate in candidates):
            return _FAILS
        owner = self._owner(candidates)
        if owner is not None:
            return f"its nodes give the tensor of {owner.label or 'the module'!r}: one was folded into the other"
        return self._misfit(call, place)

    def _leaving(self, call: Call, place: Place) -> Sequence[Value]:
        """What the model has in the place of an output."""
        return [self.ends[place]] if place in self.ends else self.scopes.leaving(call)

    def _misfit(self, call: Call, place: Place) -> str:
        array = place.array
        found = "".join(f"; {self.model._tensors.names[v]!r} is {v.type!r}" for v in self._leaving(call, place)[:1])
        return f"{_NONE_FITS} {array.dtype}{list(array.shape)}, which torch returns{found}"

    def _owner(self, candidates: Sequence[Candidate]) -> Call | None:
        """The call whose tensor one of the candidates turned out to be."""
        makers = (self.makers.get(candidate.value) for candidate in candidates if candidate.distance is not None)
        return next((maker for maker in makers if maker is not None), None)

    def _fused(self, call: Call) -> str:
        """The node that a part was fused into, if its weights say so."""
        inside = set(self.scopes.nodes(call))
        for node in self.scopes.users_of_weights(call.path):
            rule = rule_of(node)
            scope = scope_of(node)
            if node not in inside and rule:
                where = f" of {scope[-2]!r}" if scope and len(scope) > 1 and scope[-2] else ""
                name = node.info.name if node.info is not None else ""
                return f"fused into node {name!r} ({node.op_type}){where} by the exporter's rule {rule}"
        return ""
