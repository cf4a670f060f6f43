"""Which node of one graph is which of another.

From certain to likely, and each step only among nodes that are left: nodes with the same graph before them, or behind
them (labels.py); then neighbours of matched nodes that look alike, also across one that was put in or taken out; then
what is left, in order (alignment.py). Names decide between nodes that are alike otherwise, and only there: renaming
changes nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..ir import Value
from .alignment import align
from .labels import Numbers, Use, View, backwards, forwards

Pair = tuple[int, int]


class Labels(tuple[Sequence[int], Sequence[int]]):
    """A number for each node of both graphs; nodes of one number are alike."""

    def __call__(self, a: int, b: int) -> bool:
        return self[0][a] == self[1][b]


class Matching:
    """Pairs of nodes of two graphs, by their places."""

    def __init__(self, one: View, other: View, outside: Mapping[Value, Value]) -> None:
        self.one, self.other = one, other
        self.there: list[int | None] = [None] * len(one.nodes)
        """For each node of the one, the place of its partner."""
        self.back: list[int | None] = [None] * len(other.nodes)
        """For each node of the other, the place of its partner."""
        self._outside = outside
        self._new: deque[Pair] = deque()
        self._find()

    def values(self) -> dict[Value, Value]:
        """What stands for what: outputs of matched nodes, and what comes from outside."""
        found = dict(self._outside)
        for place, partner in enumerate(self.there):
            if partner is not None:
                found.update(zip(self.one.nodes[place].outputs, self.other.nodes[partner].outputs, strict=False))
        return found

    def _find(self) -> None:
        numbers = Numbers()
        views = self.one, self.other
        outside: dict[Value, Any] = {}
        for index, (a, b) in enumerate(self._outside.items()):
            outside[a] = outside[b] = ("outside", index)
        exact, shaped = (
            Labels([list(map(of, view.nodes)) for view in views]) for of in (numbers.exact, numbers.shaped)
        )
        operators = Labels([[numbers.of((n.schema.domain, n.schema.name)) for n in view.nodes] for view in views])
        for labels in (exact, shaped):
            before = Labels([forwards(v, of, numbers, outside) for v, of in zip(views, labels, strict=True)])
            ours = self._unique(before)
            if len(ours) == len(self.there) == len(self.back):
                for pair in ours.items():
                    self._pair(*pair)
                return
            behind = Labels([backwards(v, of, numbers) for v, of in zip(views, labels, strict=True)])
            both = Labels([list(map(numbers.of, zip(*pair, strict=True))) for pair in zip(before, behind, strict=True)])
            self._groups(both, alike=True)
            # where a node has one partner by what is before it and another by what is behind, its neighbours decide
            self._undisputed(self._unique(before), self._unique(behind))
            self._grow(labels)
            for groups in (before, behind):
                self._groups(groups, alike=groups is before)
                self._grow(labels)
        for labels in (exact, shaped, operators):
            if self._is_complete():
                return
            self._grow(labels)
            self._align(labels)
            self._grow(labels)
        self._replaced()

    def _is_complete(self) -> bool:
        return None not in self.there or None not in self.back

    def _pair(self, a: int, b: int) -> None:
        self.there[a], self.back[b] = b, a
        self._new.append((a, b))

    # By numbers

    def _groups(self, numbers: Labels, *, alike: bool = False) -> None:
        """Pair nodes of equal numbers where there is one of each; if they are all alike, where there are as many."""
        groups: dict[int, tuple[list[int], list[int]]] = {}
        for a, number in enumerate(numbers[0]):
            if self.there[a] is None:
                groups.setdefault(number, ([], []))[0].append(a)
        for b, number in enumerate(numbers[1]):
            if self.back[b] is None and number in groups:
                groups[number][1].append(b)
        for ours, theirs in groups.values():
            if len(ours) == len(theirs) == 1:
                self._pair(ours[0], theirs[0])
            elif alike and ours and theirs:
                self._named(ours, theirs)
                if len(ours) == len(theirs):
                    for a, b in zip(self._free(ours, self.there), self._free(theirs, self.back), strict=True):
                        self._pair(a, b)

    def _unique(self, numbers: Labels) -> dict[int, int]:
        """The pairs of nodes without a partner that alone have their number."""
        left = Counter(number for a, number in enumerate(numbers[0]) if self.there[a] is None)
        right = Counter(number for b, number in enumerate(numbers[1]) if self.back[b] is None)
        places = {n: b for b, n in enumerate(numbers[1]) if self.back[b] is None and right[n] == 1}
        return {
            a: places[n] for a, n in enumerate(numbers[0]) if self.there[a] is None and left[n] == 1 and n in places
        }

    def _undisputed(self, ours: Mapping[int, int], theirs: Mapping[int, int]) -> None:
        """Pair what one of two ways to see it says, and the other does not deny."""
        backs = [{b: a for a, b in pairs.items()} for pairs in (ours, theirs)]
        for pairs, other, back in ((ours, theirs, backs[1]), (theirs, ours, backs[0])):
            for a, b in pairs.items():
                if other.get(a, b) == b and back.get(b, a) == a and self.there[a] is None and self.back[b] is None:
                    self._pair(a, b)

    def _free(self, places: Iterable[int], partners: Sequence[int | None]) -> list[int]:
        return [place for place in places if partners[place] is None]

    def _named(self, ours: Sequence[int], theirs: Sequence[int]) -> None:
        """Pair nodes of equal names among some that are alike."""
        known = {self.other.name(b): b for b in theirs}
        for a in ours:
            b = known.get(self.one.name(a))
            if b is not None and self.back[b] is None:
                self._pair(a, b)

    # From neighbours

    def _grow(self, alike: Labels) -> None:
        """Pair neighbours of pairs, as long as there are new ones."""
        self._new = deque((a, b) for a, b in enumerate(self.there) if b is not None)
        ends = {name or self.other.label(value): value for name, value in self.other.graph.outputs}
        for name, value in self.one.graph.outputs:
            self._step(self.one.maker(value), self.other.maker(ends.get(name or self.one.label(value))), alike)
        while self._new:
            a, b = self._new.popleft()
            for left, right in zip(self.one.needed(a), self.other.needed(b), strict=False):
                self._step(self.one.maker(left), self.other.maker(right), alike)
            for left, right in zip(self.one.nodes[a].outputs, self.other.nodes[b].outputs, strict=False):
                self._users(self.one.uses.get(left, ()), self.other.uses.get(right, ()), alike)

    def _step(self, a: int | None, b: int | None, alike: Labels) -> None:
        """Pair two nodes that stand in one place, or one with what stands before the other."""
        if a is None or b is None:
            return
        if self.there[a] is None and self.back[b] is None and alike(a, b):
            self._pair(a, b)
            return
        self._across(a, b, self._before(self.one, a, self.there), self._before(self.other, b, self.back), alike)

    def _before(self, view: View, place: int, partners: Sequence[int | None]) -> list[int]:
        if partners[place] is not None:
            return []
        return [m for value in view.needed(place) if (m := view.maker(value)) is not None and partners[m] is None]

    def _after(self, view: View, place: int, partners: Sequence[int | None]) -> list[int]:
        users = [use.node for value in view.nodes[place].outputs for use in view.uses.get(value, ())[:_MOST_USERS]]
        return [user for user in users if partners[user] is None]

    def _across(self, a: int, b: int, ours: Sequence[int], theirs: Sequence[int], alike: Labels) -> None:
        """Pair one of two nodes with what lies beyond the other: that was put in, or taken out.

        Where both may be, nothing here tells which; in order, the fewest changes are found.
        """
        found = {(a, y) for y in theirs if self.there[a] is None and self.back[y] is None and alike(a, y)}
        found |= {(x, b) for x in ours if self.back[b] is None and self.there[x] is None and alike(x, b)}
        if len(found) == 1:
            self._pair(*found.pop())

    def _users(self, ours: Sequence[Use], theirs: Sequence[Use], alike: Labels) -> None:
        """Pair users of matched values: alike, by the same input, and one of its kind or of one name."""
        left: dict[int, list[int]] = {}
        for use in ours:
            if self.there[use.node] is None:
                left.setdefault(use.input, []).append(use.node)
        right: dict[int, list[int]] = {}
        for use in theirs if left else ():
            if self.back[use.node] is None:
                right.setdefault(use.input, []).append(use.node)
        for index in left.keys() & right.keys():
            a, b = left[index], right[index]
            if len(a) == len(b) == 1:
                if alike(a[0], b[0]):
                    self._pair(a[0], b[0])
                else:
                    beyond = self._after(self.one, a[0], self.there), self._after(self.other, b[0], self.back)
                    self._across(a[0], b[0], *beyond, alike)
                continue
            known = {self.other.name(place): place for place in b}
            for place in a:
                partner = known.get(self.one.name(place))
                if partner is not None and alike(place, partner) and self.back[partner] is None:
                    self._pair(place, partner)

    # In order

    def _align(self, labels: Labels) -> None:
        """Pair what is left in order, where a neighbour agrees."""
        left, right = labels
        ours, theirs = self._free(range(len(left)), self.there), self._free(range(len(right)), self.back)
        found = align([left[a] for a in ours], [right[b] for b in theirs])
        pairs = [(ours[i], theirs[j]) for i, j in found]
        likely = dict(pairs)
        for a, b in pairs:
            if self._agrees(a, b, likely):
                self._pair(a, b)

    def _agrees(self, a: int, b: int, likely: Mapping[int, int]) -> bool:
        """Whether an input or a user of one node stands for that of the other."""
        one, other = self.one, self.other

        def together(x: int, y: int) -> bool:
            return self.there[x] == y or likely.get(x) == y

        for left, right in zip(one.needed(a), other.needed(b), strict=False):
            x, y = one.maker(left), other.maker(right)
            if left is not None and x is None and y is None and self._outside.get(left) is right:
                return True
            if x is not None and y is not None and together(x, y):
                return True
        for mine, its in zip(one.nodes[a].outputs, other.nodes[b].outputs, strict=False):
            users = {(use.node, use.input) for use in other.uses.get(its, ())[:_MOST_USERS]}
            for use in one.uses.get(mine, ())[:_MOST_USERS]:
                partner = self.there[use.node] if self.there[use.node] is not None else likely.get(use.node)
                if partner is not None and (partner, use.input) in users:
                    return True
        return False

    # By place alone

    def _replaced(self) -> None:
        """Pair nodes of different operators that take the same and give to the same: one was put in another's place."""
        values = self.values()
        known: dict[Any, list[int]] = {}
        for b in self._free(range(len(self.back)), self.back):
            key = self._place(self.other, b, lambda value: value, lambda place: place)
            known.setdefault(key, []).append(b)
        for a in self._free(range(len(self.there)), self.there):
            key = self._place(self.one, a, lambda value: values.get(value), lambda place: self.there[place])
            found = known.get(key, ())
            if key is not None and len(found) == 1 and self.back[found[0]] is None:
                self._pair(a, found[0])

    def _place(
        self, view: View, place: int, stands: Callable[[Value], Value | None], partner: Callable[[int], int | None]
    ) -> Any:
        node = view.nodes[place]
        given = [stands(value) for value in node.inputs if value is not None and value.array is None]
        used = [(i, partner(use.node), use.input) for i, v in enumerate(node.outputs) for use in view.uses.get(v, ())]
        if None in given or not given or any(item[1] is None for item in used):
            return None
        return tuple(given), tuple(sorted(used))


_MOST_USERS = 64
