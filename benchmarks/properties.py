"""How many property examples a second: `python -m benchmarks.properties`.

One example of a property is a draw and what is done with it. Beside what `graphdsl.verify` does stands what tests are
written with otherwise: arrays of `hypothesis.extra.numpy`, and a session made for each example.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import graphdsl as gd
from benchmarks.timing import machine, table
from graphdsl import op, verify

EXAMPLES = 500
ROUNDS = 3


def small() -> gd.Model:
    """A model of three nodes on two inputs of one shape."""
    x, y = (gd.input(name, gd.float32["n", "m"]) for name in "xy")
    return gd.build({"z": op.Softmax(x * y + 1)}, inputs=[x, y])


def examples_a_second(strategy: Any, test: Callable[[Any], object]) -> float:
    """The most of some rounds; time that passes, since half of the work is another process's."""
    quiet = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    rates = []
    for _ in range(ROUNDS):
        count = 0

        def counted(value: Any) -> None:
            nonlocal count
            count += 1
            test(value)

        start = perf_counter()
        quiet(given(strategy)(counted))()
        rates.append(count / (perf_counter() - start))
    return max(rates)


@st.composite
def by_hand(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Feeds of the small model by Hypothesis' own strategy."""
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=4))
    return {name: draw(arrays.arrays(np.float32, shape)) for name in "xy"}


def with_a_new_session(model: gd.Model) -> Callable[[Any], object]:
    """A run as tests have it that make a session for each example."""
    data = model.to_proto().SerializeToString()

    def run(feeds: Any) -> object:
        for level in (
            onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
            onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        ):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.graph_optimization_level = 1, level
            onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)
        return None

    return run


def both_ways(model: gd.Model, feeds: Any) -> None:
    """A run with and without optimisation, apart."""
    verify.run(model, feeds)
    verify.run(model, feeds, "unoptimised")


def main() -> None:
    """Print a table."""
    model = small()
    pairs = verify.models().flatmap(lambda m: verify.feeds(m, without="empty").map(lambda feeds: (m, feeds)))
    cases: dict[str, tuple[Any, Callable[[Any], object]]] = {
        "feeds by hypothesis.extra.numpy": (by_hand(), lambda feeds: None),
        "feeds by verify.feeds": (verify.feeds(model), lambda feeds: None),
        "the first, run twice by new sessions in this process": (by_hand(), with_a_new_session(model)),
        "the second, run twice apart": (verify.feeds(model), lambda feeds: both_ways(model, feeds)),
        "random models": (verify.models(), lambda model: None),
        "random models with feeds, run twice apart": (pairs, lambda pair: both_ways(*pair)),
    }
    for strategy, test in cases.values():  # kernels that are asked for, sessions, pools
        examples_a_second(strategy, test)
    print(table(("examples", "a second"), [(name, round(examples_a_second(*case))) for name, case in cases.items()]))
    print(machine())


if __name__ == "__main__":
    main()
