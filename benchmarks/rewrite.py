"""Apply the same rules with graphdsl and its peers, side by side, from a proto to a proto.

    pip install -e ".[bench]"
    python -m benchmarks.rewrite

The first tables compare rewriters; the last ones show how graphdsl's time per node depends on the number of nodes, and
on the number of rules.
"""

import argparse
from functools import partial

from benchmarks.rules import FIRING, available, graphdsl, model
from benchmarks.timing import interleaved, machine, summary, table

RULES = (FIRING, 10, 50)
EVERY = (1, 3, 10, 40)
"""How far apart the places are where rules fire: at every node, or at one in forty."""


def compare(nodes: int, every: int, rules: int, repeats: int) -> list[tuple[str, ...]]:
    """Rows of one model and one number of rules: each rewriter's least and median time, and its ratio to onnxscript."""
    proto = model(nodes, every)
    rewriters, _ = available(rules - FIRING)
    taken = interleaved({name: (partial(rewrite, proto), repeats) for name, rewrite in rewriters.items()})
    count, base = len(proto.graph.node), min(taken.get("onnxscript", [float("nan")]))
    return [
        (name, str(rules), *summary(times, 1e6 / count), f"{min(times) / base:.2f}") for name, times in taken.items()
    ]


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description="Apply the same rules with graphdsl and its peers.")
    parser.add_argument("--nodes", type=int, default=2_000, help="about how many nodes the compared models have")
    parser.add_argument("--repeats", type=int, default=5, help="how often each case is run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="numbers of nodes")
    options = parser.parse_args()
    print(machine())
    _, missing = available(0)
    if missing:
        print(f"not installed: {', '.join(missing)}")
    title = ("rewriter", "rules", "µs/node, least", "median", "least / onnxscript")
    for every in EVERY:
        proto = model(options.nodes, every)
        after = graphdsl(0)(proto)
        print(f"\n{len(proto.graph.node):,} nodes, of which {len(after.graph.node):,} are left\n")
        print(table(title, [row for rules in RULES for row in compare(options.nodes, every, rules, options.repeats)]))
    print("\nby the number of nodes, 4 rules\n")
    rows = []
    for size in options.sizes:
        proto = model(size, 10)
        (times,) = interleaved({"": (partial(graphdsl(0), proto), options.repeats)}).values()
        rows.append((f"{size:,}", *summary(times, 1e6 / len(proto.graph.node))))
    print(table(("nodes", "µs/node, least", "median"), rows))
    print("\nby the number of rules, 10,000 nodes\n")
    proto = model(10_000, 10)
    cases = {str(count): (partial(graphdsl(count - FIRING), proto), options.repeats) for count in (4, 10, 25, 50)}
    rows = [(count, *summary(times, 1e6 / len(proto.graph.node))) for count, times in interleaved(cases).items()]
    print(table(("rules", "µs/node, least", "median"), rows))


if __name__ == "__main__":
    main()
