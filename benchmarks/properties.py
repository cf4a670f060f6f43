"""How many property examples a second: `python -m benchmarks.properties`.

One example of a property is a draw and what is done with it. Beside what `graphdsl.verify` does stands what tests are
written with otherwise: arrays of `hypothesis.extra.numpy`, and a session made for each example. What is counted is
processor time, that of this process and of the one in which ONNX Runtime runs, so that a rate is one for each core.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import graphdsl as gd
from benchmarks.timing import everything, machine, table
from graphdsl import op, verify

EXAMPLES = 400
ROUNDS = 5


def small() -> gd.Model:
    """A model of three nodes on two inputs of one shape."""
    x, y = (gd.input(name, gd.float32["n", "m"]) for name in "xy")
    return gd.build({"z": op.Softmax(x * y + 1)}, inputs=[x, y])


def examples_a_second(strategy: Any, test: Callable[[Any], object], number: int) -> float:
    """How many examples of a property a second of processor time holds, in the round of a number.

    Each round draws examples that no other has drawn: what is asked of ONNX Runtime once is asked for what is new.
    """
    quiet = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    count = 0

    def counted(value: Any) -> None:
        nonlocal count
        count += 1
        test(value)

    start = everything()
    seed(number)(quiet(given(strategy)(counted)))()
    return count / (everything() - start)


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


def rewritten() -> gd.Model:
    """The small model by other operators."""
    x, y = (gd.input(name, gd.float32["n", "m"]) for name in "xy")
    powers = op.Exp(x * y + 1 - op.ReduceMax(x * y + 1, [-1]))
    return gd.build({"z": powers / op.ReduceSum(powers, [-1])}, inputs=[x, y])


@gd.rule(lambda x, y, z: x * y + x * z)
def factored(x: gd.Tensor, y: gd.Tensor, z: gd.Tensor) -> gd.Tensor:
    """A rule that is right."""
    return x * (y + z)


def judged(verify_: Callable[[], verify.Verdict]) -> float:
    """How many inputs a second of processor time are judged."""
    start = everything()
    verdict = verify_()
    return verdict.judged / (everything() - start)


def main() -> None:
    """Print a table."""
    model, other = small(), rewritten()
    pairs = verify.models().flatmap(lambda m: verify.feeds(m, without="empty").map(lambda feeds: (m, feeds)))
    cases: dict[str, tuple[Any, Callable[[Any], object]]] = {
        "24 bytes by Hypothesis, and nothing else": (st.binary(min_size=24, max_size=24), lambda raw: None),
        "feeds by hypothesis.extra.numpy": (by_hand(), lambda feeds: None),
        "feeds by verify.feeds": (verify.feeds(model), lambda feeds: None),
        "the first, run twice by new sessions in this process": (by_hand(), with_a_new_session(model)),
        "the second, run twice apart": (verify.feeds(model), lambda feeds: both_ways(model, feeds)),
        "random models": (verify.models(), lambda model: None),
        "random models with feeds": (pairs, lambda pair: None),
        "random models with feeds, run twice apart": (pairs, lambda pair: both_ways(*pair)),
    }
    runs: dict[str, Callable[[int], float]] = {
        name: lambda number, case=case: examples_a_second(*case, number)  # type: ignore[misc]
        for name, case in cases.items()
    }
    runs["verify.equivalent of two models"] = lambda number: judged(
        lambda: verify.equivalent(model, other, examples=EXAMPLES, seed=number, without=["empty"])
    )
    runs["verify.rule"] = lambda number: judged(lambda: verify.rule(factored, examples=EXAMPLES, seed=number))
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 2):  # the first two make kernels known, sessions, pools
        for name, run in runs.items():
            rates[name].append(run(number))
    rows = [(name, round(median(found[2:])), round(max(found[2:]))) for name, found in rates.items()]
    print(table(("examples", "a second: median", "most"), rows))
    print(machine())


if __name__ == "__main__":
    main()
