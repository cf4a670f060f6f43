"""Why a cut does not do: what is missing, by which way the outputs need it, and which cuts would do."""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ..errors import MissingInputs
from ..ir import Constant, Input, Node, Value
from ..models import Model
from ..sites import Site, at
from ..walk import between, dependencies
from .naming import Named, Speller

_MOST_SHOWN = 5
_LONGEST_PATH = 8
"""Tensors that a message shows of a path; `paths` has them all."""

_MOST_FLOWS = 16
"""Beyond so many tensors, no one looks for a smaller cut."""


def missing_inputs(
    whole: Model,
    lacking: Sequence[Input],
    starts: Sequence[Named],
    ends: Sequence[Named],
    what: str,
    site: Site | None,
) -> MissingInputs:
    """The error for inputs that outputs need and that are not listed."""
    spelled = Speller(whole, (*starts, *ends))
    targets = [end.value for end in ends]
    given = {start.value for start in starts}
    ways = _shortest_ways(targets, given, lacking)
    lines = []
    for value in lacking[:_MOST_SHOWN]:
        way = ways[value]
        user = way[-2].node if len(way) > 1 else None
        steps = [repr(spelled(step)) for step in way]
        if len(steps) > _LONGEST_PATH:
            steps = [*steps[: _LONGEST_PATH // 2], "...", *steps[-_LONGEST_PATH // 2 :]]
        needed = f", needed by {' <- '.join(steps[:-1])}" if len(steps) > 1 else ", an output"
        lines.append(f"  {spelled(value)!r} ({value.type!r}){needed}" + at(user.site if user else value.site))
    if len(lacking) > _MOST_SHOWN:
        lines.append(f"  and {len(lacking) - _MOST_SHOWN} more")
    suggested = [[spelled(value) for value in cut] for cut in _cuts(lacking, [s.value for s in starts], targets)]
    count = f"{len(lacking)} inputs that are" if len(lacking) > 1 else "an input that is"
    advice = "\n  or ".join(f"inputs=[{', '.join(map(repr, cut))}]" for cut in suggested)
    return MissingInputs(
        f"{what}: the outputs need {count} not listed:\n" + "\n".join(lines) + f"\nwrite {advice}" + at(site),
        [spelled(value) for value in lacking],
        {spelled(value): [spelled(step) for step in way] for value, way in ways.items()},
        suggested,
    )


def _shortest_ways(
    ends: Iterable[Value], given: Collection[Value], lacking: Collection[Value]
) -> dict[Value, list[Value]]:
    """For each missing input the tensors from an output to it, over as few nodes as can be."""
    before: dict[Value, Value | None] = {end: None for end in ends if end not in given}
    waiting = deque(before)
    while waiting:
        value = waiting.popleft()
        for needed in dependencies(value.node) if value.node else ():
            if needed not in before and needed not in given:
                before[needed] = value
                waiting.append(needed)
    ways = {}
    for value in lacking:
        way = []
        step: Value | None = value
        while step is not None:
            way.append(step)
            step = before[step]
        ways[value] = way[::-1]
    return ways


def _cuts(lacking: Sequence[Value], given: Sequence[Value], ends: Sequence[Value]) -> Iterator[list[Value]]:
    """The inputs of cuts that would do: with all that is missing, then ones of no more tensors and smaller parts."""
    seen: list[set[Value]] = []
    for extra in (lacking, _meeting(lacking, given, ends), _narrowest(lacking, given, ends)):
        if not extra:
            continue
        cut = [*given, *(extra if extra is lacking else sorted(extra, key=_order))]
        nodes, reached, met = between(ends, set(cut))
        if any(value.default is None for value in reached) or any(v.node and v.type is None for v in extra):
            continue
        if met not in seen and (nodes or not seen):
            seen.append(met)
            yield [value for value in cut if value in met]


def _order(value: Value) -> int:
    """When a tensor was made."""
    return value.node.order if value.node is not None else value.order if isinstance(value, Input) else 0


def _meeting(lacking: Sequence[Value], given: Sequence[Value], ends: Sequence[Value]) -> list[Value]:
    """The last tensors that depend on what is missing alone; none where they are too many, or outputs."""
    missing, listed = 1, 2
    depends: dict[Value, int] = dict.fromkeys(lacking, missing) | dict.fromkeys(given, listed)
    last: dict[Value, None] = {}
    for node in sorted(between(ends, set(given)).nodes, key=lambda node: node.order):
        needed = list(dependencies(node))
        found = 0
        for value in needed:
            found |= depends.get(value, 0)
        for value in node.outputs:
            depends.setdefault(value, found)
        if found == missing | listed:
            last.update((value, None) for value in needed if depends.get(value) == missing)
    if len(last) > len(lacking) or any(depends.get(end) == missing for end in ends):
        return []
    return list(last)


def _narrowest(lacking: Sequence[Value], given: Sequence[Value], ends: Sequence[Value]) -> list[Value]:
    """The fewest tensors that all ways from what is missing to the outputs lead through, as near to it as can be.

    These are a smallest vertex cut, found by augmenting flows (Menger's theorem): each tensor carries one way. Empty
    if there are as many as are missing.
    """
    if not 1 < len(lacking) <= _MOST_FLOWS:
        return []
    users = _users(between(ends, set(given)).nodes, set(given))
    flow = _Flow(users, lacking, set(ends))
    while flow.augmented():
        if flow.count == len(lacking):
            return []
    return flow.cut()


def _users(nodes: Iterable[Node], given: Collection[Value]) -> Mapping[Value, list[Value]]:
    """The tensors that are computed from each."""
    users: dict[Value, list[Value]] = defaultdict(list)
    for node in nodes:
        for value in dependencies(node):
            if not isinstance(value, Constant):
                users[value] += [output for output in node.outputs if output not in given]
    return users


_State = tuple[Value, bool]
"""A tensor as it is reached (False), or left (True): between the two lies its capacity."""


class _Flow:
    """Ways that share no tensor, from sources to ends; an end may be reached by many."""

    def __init__(self, users: Mapping[Value, list[Value]], sources: Sequence[Value], ends: Collection[Value]) -> None:
        self.count = 0
        self._users = users
        self._sources = sources
        self._ends = ends
        self._full: set[Value] = set()
        self._into: dict[Value, set[Value]] = defaultdict(set)

    def augmented(self) -> bool:
        """Find one way more, redirecting others where that helps; False when there is none."""
        before, end = self._search()
        if end is None:
            return False
        self.count += 1
        state: _State | None = end
        while state is not None:
            previous = before[state]
            if previous is not None:
                self._send(previous, state)
            state = previous
        return True

    def cut(self) -> list[Value]:
        """What separates the sources from the ends, once there is no further way."""
        before, _ = self._search()
        return [value for value, left in before if not left and (value, True) not in before]

    def _search(self) -> tuple[dict[_State, _State | None], _State | None]:
        before: dict[_State, _State | None] = {(source, False): None for source in self._sources}
        waiting = deque(before)
        while waiting:
            state = waiting.popleft()
            value, left = state
            if not left and value in self._ends:
                return before, state
            for following in self._open(value, left=left):
                if following not in before:
                    before[following] = state
                    waiting.append(following)
        return before, None

    def _open(self, value: Value, *, left: bool) -> Iterator[_State]:
        if left:
            yield from ((user, False) for user in self._users.get(value, ()))
            if value in self._full:
                yield value, False
        else:
            if value not in self._full:
                yield value, True
            yield from ((source, True) for source in self._into[value])

    def _send(self, start: _State, end: _State) -> None:
        (one, left), (other, _) = start, end
        if one is other:
            (self._full.discard if left else self._full.add)(one)
        elif left:
            self._into[other].add(one)
        else:
            self._into[one].discard(other)
