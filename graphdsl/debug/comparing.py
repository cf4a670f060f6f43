"""Two models side by side: their tensors matched by origin, name and structure, and where error is made."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import FeedError
from ..ir import SEALED, Constant, Graph, Value
from ..loading import Source, opened
from ..models import Model
from ..sites import at, caller, locate
from ..types import TensorType
from .judging import Judgement
from .matching import same_kind
from .measures import Distance, Statistics, distance, span, statistics, tolerance
from .recording import Store
from .reports import Report
from .rows import Row
from .scopes import computed_values, scope_of
from .segments import Segments, Setting, converted, values_of

_GUESS = 1 << 22
"""The bytes that a tensor of unknown size is taken to have."""


def compare(
    a: Model | Source,
    b: Model | Source,
    feeds: Mapping[str, Any],
    *,
    memory: int = 1 << 30,
    a_providers: Sequence[Any] | None = None,
    b_providers: Sequence[Any] | None = None,
    a_options: Mapping[str, Any] | None = None,
    b_options: Mapping[str, Any] | None = None,
) -> Report:
    """Find where a model makes an error that another, which is right by definition, does not make.

    The models may be one before and after a pass, in two precisions, or the same one on two providers. Tensors are
    matched where a rewrite kept them, by name, and by the operators that make them.

    >>> import graphdsl as gd
    >>> from graphdsl import debug
    >>> x = gd.input("x", gd.float32[3])
    >>> a = gd.build({"y": (x * 2).named("twice") + 1})
    >>> b = gd.build({"y": (x * 2.5).named("twice") + 1})
    >>> debug.compare(a, b, {"x": [1, 2, 3]}).culprit.name
    'twice'

    Args:
        a: The model that is right: a `gd.Model`, a proto or a path.
        b: The model to judge.
        feeds: Inputs of `a` by name. What `b` calls otherwise is taken in order, and converted to its dtypes.
        memory: How many bytes of tensors are held at a time.
        a_providers: The providers that `a` runs on, as for `gd.Model.run`.
        b_providers: Those that `b` runs on.
        a_options: The session options for `a`; optimisations are off by default.
        b_options: Those for `b`.

    Returns:
        A report with a row for each tensor of `a` that depends on inputs, in the order of `b`.

    Raises:
        FeedError: the feeds do not fit the inputs.
        RunError: ONNX Runtime refuses a model, or fails while running it.
    """
    right, judged = opened(a), opened(b)
    store = Store(memory)
    matches = matched(right, judged)
    sizes = {value: _size(value) for value in matches}
    expected = {
        matches[value]: store.keep(array)
        for value, array in values_of(right, sizes, Setting(feeds, memory, a_providers, a_options))
    }
    setting = Setting(_feeds(right, judged, feeds), memory, b_providers, b_options)
    return _Comparison(right, judged, matches, expected, setting).report()


def _size(value: Value) -> int:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape is None:
        return _GUESS
    sizes = [size if isinstance(size, int) else 64 for size in kind.shape]
    return int(np.prod(sizes, dtype=np.int64)) * (kind.dtype.bits or 512) // 8


def _feeds(right: Model, judged: Model, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The feeds of one model as the other takes them."""
    wanted = [value for value in judged.graph.inputs if value.default is None]
    given = {value.name: feeds[value.name] for value in right.graph.inputs if value.name and value.name in feeds}
    if not all(value.name in given for value in wanted):
        if len(wanted) != len(given):
            raise FeedError(
                f"the second model takes {', '.join(repr(v.name) for v in wanted)}, and there are feeds for "
                + ", ".join(map(repr, given))
                + at(caller())
            )
        given = dict(zip([value.name or "" for value in wanted], given.values(), strict=True))
    found: dict[str, Any] = {}
    for value in judged.graph.inputs:
        if value.name in given:
            item, kind = given[value.name], value.type
            if isinstance(item, np.ndarray) and isinstance(kind, TensorType) and item.dtype.kind in "fV":
                item = converted(item, np.dtype(kind.dtype.numpy))
            found[value.name or ""] = item
    return found


# Matching


def matched(a: Model, b: Model) -> dict[Value, Value]:
    """The tensors of two models that should be equal: those that nodes make of what depends on inputs."""
    mine, others = _Side(a), _Side(b)
    found: dict[Value, Value] = {}
    used: set[Value] = set()

    def match(first: Value | None, second: Value | None) -> bool:
        fits = first in mine.values and second in others.values and first not in found and second not in used
        if fits and first is not None and second is not None:
            found[first] = second
            used.add(second)
        return fits

    for value in mine.values:  # what rewrites left as it is
        match(value, value if value in others.values else None)
    for name, value in mine.by_name.items():
        match(value, others.by_name.get(name))
    if len(a.graph.outputs) == len(b.graph.outputs):
        for (_, first), (_, second) in zip(a.graph.outputs, b.graph.outputs, strict=True):
            match(first, second)
    for key, values in mine.by_structure().items():
        same = others.by_structure().get(key, [])
        if len(same) == len(values):
            for first, second in zip(values, same, strict=True):
                match(first, second)
    stack = list(found.items())
    while stack:  # what equal operators make equal tensors of
        first, second = stack.pop()
        before, after = first.node, second.node
        if before is None or after is None or before.schema.label != after.schema.label:
            continue
        if first.index != second.index or len(before.inputs) != len(after.inputs):
            continue
        for one, other in zip(before.inputs, after.inputs, strict=True):
            if one is not None and other is not None and match(one, other):
                stack.append((one, other))
    return found


class _Side:
    """The tensors of one of two models."""

    def __init__(self, model: Model) -> None:
        graph = model.graph
        computed = computed_values(graph)
        self.graph: Graph = graph
        self.values = {
            v: None for node in graph.nodes for v in node.outputs if v in computed and v in model._tensors.names
        }
        self.by_name = {value.name: value for value in self.values if value.name not in (None, SEALED)}
        self._by_structure: dict[int, list[Value]] | None = None

    def by_structure(self) -> dict[int, list[Value]]:
        """The tensors by a number for the operators and inputs that they are made of, whatever the constants hold."""
        if self._by_structure is None:
            keys: dict[Value | None, int] = {None: 0}
            keys.update({entry: hash(("input", entry.name)) for entry in self.graph.inputs})
            grouped: defaultdict[int, list[Value]] = defaultdict(list)
            for node in self.graph.nodes:
                parts = tuple([keys[v] if v in keys else _constant_key(v) for v in node.inputs])
                for value in node.outputs:
                    keys[value] = hash((node.schema.label, value.index, parts))
                    if value in self.values:
                        grouped[keys[value]].append(value)
            self._by_structure = grouped
        return self._by_structure


def _constant_key(value: Value | None) -> int:
    array = value.array if isinstance(value, Constant) else None
    return hash(("constant", None if array is None else array.shape))


# Errors


class _Comparison:
    def __init__(
        self, a: Model, b: Model, matches: Mapping[Value, Value], expected: Mapping[Value, np.ndarray], setting: Setting
    ) -> None:
        self._a, self._b = a, b
        self._matches = matches
        self._partners = {second: first for first, second in matches.items()}
        self._expected = expected
        self._reasons: dict[Value, str] = {}
        self._accumulated: dict[Value, tuple[Distance, Statistics]] = {}
        self._tolerances: dict[Value, float] = {}
        fed: dict[Value, np.ndarray] = {}
        for value, array in values_of(b, {v: array.nbytes for v, array in expected.items()}, setting):
            wanted = expected[value]
            if array.shape != wanted.shape or not same_kind(array.dtype, wanted.dtype):
                kinds = f"{array.dtype}{list(array.shape)}, not {wanted.dtype}{list(wanted.shape)}"
                self._reasons[value] = f"it is {kinds} in the second model"
                continue
            self._tolerances[value] = tolerance(array.dtype, wanted.dtype)
            self._accumulated[value] = distance(array, wanted), statistics(array, *span(wanted))
            fed[value] = converted(wanted, array.dtype)
        order = {value: place for place, node in enumerate(b.graph.nodes) for value in node.outputs}
        fed = dict(sorted(fed.items(), key=lambda item: order[item[0]]))
        segments = Segments(b, fed, setting)
        for value in fed:
            self._tolerances[value] = max(self._tolerances[value], segments.tolerance(value))
        self._judgement = Judgement(segments, self._tolerances.__getitem__)

    def report(self) -> Report:
        """A row for each tensor: the matched ones in the second model's order, then those without a counterpart."""
        segments = self._judgement.segments
        names, mine = self._b._tensors.names, self._a._tensors.names
        rows = []
        for value in segments.expected:
            first = self._partners[value]
            found, seen = self._accumulated[value]
            node = value.node
            rows.append(
                Row(
                    mine[first],
                    self._module(value),
                    node.op_type if node is not None else "",
                    tensor=names[value],
                    value=value,
                    nodes=segments.nodes(value)[0],
                    local=self._judgement.local.get(value),
                    accumulated=found,
                    tolerance=self._tolerances[value],
                    source=locate(value.site),
                    counted=mine[first],
                    expected=statistics(self._expected[value]),
                    got=seen,
                )
            )
        listed = {self._partners[value] for value in segments.expected}
        rows += [self._unaligned(first, mine[first]) for first in _Side(self._a).values if first not in listed]
        return Report(f"model {self._b.name!r} beside model {self._a.name!r}", tuple(rows), segments, "tensors")

    def _module(self, value: Value) -> str:
        """The module that an exporter says a tensor came from, in either model."""
        for candidate in (value, self._partners[value]):
            scope = scope_of(candidate.node) if candidate.node is not None else None
            if scope and len(scope) > 1:
                return scope[-2]
        return ""

    def _unaligned(self, first: Value, name: str) -> Row:
        second = self._matches.get(first)
        if second in self._judgement.given_up:
            reason = f"{self._b._tensors.names[second]!r} holds something else there: what follows is right without it"
        else:
            reason = self._reasons.get(second, "") if second is not None else ""
        kind = first.node.op_type if first.node is not None else ""
        return Row(name, "", kind, reason=reason or "the second model has no such tensor", counted=name)
