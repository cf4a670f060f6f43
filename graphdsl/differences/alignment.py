"""Two sequences aligned: which items of one stand for which of the other, in order.

The longest common subsequence by the algorithm of Myers ("An O(ND) Difference Algorithm and Its Variations", 1986): the
cost grows with the number of differences. Where there are very many, only items that both have exactly once are aligned
(patience).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

_MOST_DIFFERENCES = 500


def align(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """The places of items that stand for each other, ascending in both."""
    start, end = 0, 0
    shorter = min(len(one), len(other))
    while start < shorter and one[start] == other[start]:
        start += 1
    while end < shorter - start and one[-1 - end] == other[-1 - end]:
        end += 1
    pairs = [(i, i) for i in range(start)]
    inner = _common(one[start : len(one) - end], other[start : len(other) - end])
    pairs += [(start + i, start + j) for i, j in inner]
    return pairs + [(len(one) - end + i, len(other) - end + i) for i in range(end)]


def _common(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    if not one or not other or not set(one) & set(other):
        return []
    found = _shortest_edit(one, other)
    return _patience(one, other) if found is None else found


def _shortest_edit(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]] | None:
    """The common subsequence on a shortest path of edits; None where that has too many."""
    n, m = len(one), len(other)
    reached = {1: 0}
    before: list[dict[int, int]] = []
    for edits in range(min(n + m, _MOST_DIFFERENCES) + 1):
        before.append(dict(reached))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (
                diagonal != edits and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1)
            )
            x = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            y = x - diagonal
            while x < n and y < m and one[x] == other[y]:
                x, y = x + 1, y + 1
            reached[diagonal] = x
            if x >= n and y >= m:
                return _path(before, edits, n, m)
    return None


def _path(before: Sequence[dict[int, int]], edits: int, x: int, y: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for step in range(edits, -1, -1):
        reached = before[step]
        diagonal = x - y
        down = diagonal == -step or (diagonal != step and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1))
        previous = diagonal + 1 if down else diagonal - 1
        start = reached[previous] if step else 0
        start_y = start - previous if step else 0
        while x > start + (not down and step > 0) and y > start_y + (down and step > 0):
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = start, start_y
    return pairs[::-1]


def _patience(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """The longest ascending run of items that both have exactly once."""
    counts, others = Counter(one), Counter(other)
    place = {item: j for j, item in enumerate(other) if others[item] == 1}
    pairs = [(i, place[item]) for i, item in enumerate(one) if counts[item] == 1 and item in place]
    ends: list[int] = []
    last: list[int] = []
    links: list[int] = []
    for index, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        ends[length : length + 1] = [j]
        last[length : length + 1] = [index]
        links.append(last[length - 1] if length else -1)
    found: list[tuple[int, int]] = []
    at = last[-1] if last else -1
    while at >= 0:
        found.append(pairs[at])
        at = links[at]
    return found[::-1]
