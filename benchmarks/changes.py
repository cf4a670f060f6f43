"""Compare models, and write them as source: chains with and without changes.

python -m benchmarks.changes               # 10,000 and 100,000 nodes
python -m benchmarks.changes --nodes 1000  # another size
"""

import argparse
import random
from collections.abc import Callable

import graphdsl as gd
from benchmarks.timing import interleaved, machine, summary, table
from graphdsl import op


def chain(nodes: int, put_in: frozenset[int] = frozenset(), left_out: frozenset[int] = frozenset()) -> gd.Model:
    """`h = h * x + 1` repeated; with a Relu before some nodes, and without others."""
    x = gd.input("x", gd.float32[4])
    h = x
    for index in range(nodes):
        if index in put_in:
            h = op.Relu(h)
        if index not in left_out:
            h = h * x if index % 2 else h + 1.0
    return gd.build({"out": h}, inputs=[x], name="chain")


def cases(nodes: int) -> dict[str, Callable[[], object]]:
    """What is measured, by name; each result is checked once."""
    draw = random.Random(0)
    base = chain(nodes)
    places = draw.sample(range(nodes), 150)
    others = {
        "diff: equal": (chain(nodes), "no differences"),
        "diff: one node added": (chain(nodes, frozenset(places[:1])), "1 node added"),
        "diff: two nodes removed": (chain(nodes, left_out=frozenset(places[:2])), "2 nodes removed"),
        "diff: 100 nodes added": (chain(nodes, frozenset(places[:100])), "100 nodes added"),
    }
    for name, (other, expected) in others.items():
        assert str(gd.diff(base, other)).startswith(expected), name
    found: dict[str, Callable[[], object]] = {
        name: lambda other=other: gd.diff(base, other) for name, (other, _) in others.items()
    }
    found["to_source"] = lambda: gd.to_source(base)
    return found


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description="Compare models, and write them as source.")
    parser.add_argument("--nodes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, list[str]] = {}
    for nodes in options.nodes:
        taken = interleaved({name: (work, options.repeats) for name, work in cases(nodes).items()})
        for name, times in taken.items():
            rows.setdefault(name, [name]).append(summary(times, 1e6 / nodes)[0])
    print(f"{machine()}\nµs/node, the least of {options.repeats}\n")
    print(table(("work", *(f"{nodes:,} nodes" for nodes in options.nodes)), rows.values()))


if __name__ == "__main__":
    main()
