"""Build the `a * x + b` chain with graphdsl and its peers, side by side.

    pip install -e ".[bench]"
    python -m benchmarks.build             # 1,000, 10,000 and 100,000 nodes
    python -m benchmarks.build --million   # and 1,000,000, for the builders that can

Each builder starts from nothing and ends with the bytes of the model.
"""

import argparse
from functools import partial

from benchmarks.chain import INFERS, available
from benchmarks.timing import interleaved, machine, summary, table

MOST_REPEATS = 7


def main() -> None:
    """Measure, size by size, and print one table each."""
    parser = argparse.ArgumentParser(description="Build the a * x + b chain with graphdsl and its peers.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="numbers of nodes")
    parser.add_argument("--million", action="store_true", help="add 1,000,000 nodes")
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long one builder takes for one size")
    options = parser.parse_args()
    builders, missing = available()
    print(machine())
    if missing:
        print(f"not installed: {', '.join(missing)}")
    per_node = dict.fromkeys(builders, 0.0)
    for size in sorted({*options.sizes, *([1_000_000] if options.million else [])}):
        cases, left_out = {}, []
        for name, build in builders.items():
            expected = per_node[name] * size
            if expected > 3 * options.seconds:
                left_out.append(f"{name} (about {expected:.0f} s)")
                continue
            repeats = min(MOST_REPEATS, max(1, int(options.seconds / expected))) if expected else MOST_REPEATS
            cases[name] = (partial(build, size), repeats)
        taken = interleaved(cases)
        base = min(taken["onnx.helper"])
        rows = []
        for name, times in taken.items():
            per_node[name] = min(times) / size
            least, median = summary(times, 1e6 / size)
            rows.append((name, INFERS[name], least, median, f"{min(times) / base:.2f}", len(times)))
        print(f"\n{size:,} nodes\n")
        print(table(("builder", "infers types", "µs/node, least", "median", "least / onnx.helper", "runs"), rows))
        if left_out:
            print(f"\nleft out, too slow for this size: {', '.join(left_out)}")


if __name__ == "__main__":
    main()
