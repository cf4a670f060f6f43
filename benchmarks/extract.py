"""Cut nine tenths out of a chain, from a file to a file, next to other extractors; and many parts out of one model.

    python -m benchmarks.extract                      # 1,000, 10,000 and 100,000 nodes
    python -m benchmarks.extract --sizes 1000 --repeats 3

The model has the types of all inner tensors (`value_info`), which onnx's extractor copies and others need. What is
compared with is onnx.utils.Extractor between reading and writing the file; `onnx.utils.extract_model`, which people
call, also infers types and checks.
"""

import argparse
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import onnx

import graphdsl as gd
from benchmarks import chain
from benchmarks.cuts import Extract, with_graphsurgeon, with_onnx_ir, with_polygraphy
from benchmarks.timing import interleaved, machine, seconds, summary, table

Cut = Callable[[Path, Path, list[str], list[str]], None]

_SLOW = {"onnx-graphsurgeon": 1_000, "polygraphy": 1_000, "onnx-ir": 100_000}
"""The largest chains that these are given: some take time that grows with its square."""

_FREQUENT = 7
"""How often each is run, unless that takes too long."""


def by_graphdsl(source: Path, target: Path, inputs: list[str], outputs: list[str]) -> None:
    """`gd.extract`."""
    gd.extract(source, inputs, outputs).save(target)


def by_onnx(source: Path, target: Path, inputs: list[str], outputs: list[str]) -> None:
    """The class alone."""
    onnx.save(onnx.utils.Extractor(onnx.load(source)).extract_model(inputs, outputs), target)


def by_onnx_function(source: Path, target: Path, inputs: list[str], outputs: list[str]) -> None:
    """The function, as its documentation shows it."""
    onnx.utils.extract_model(source, target, inputs, outputs)


def in_memory(extract: Extract) -> Cut:
    """Reading, an extractor of protos, writing."""

    def cut(source: Path, target: Path, inputs: list[str], outputs: list[str]) -> None:
        onnx.save(extract(onnx.load(source), inputs, outputs), target)

    return cut


CUTTERS: dict[str, tuple[str, Cut]] = {
    "onnx.utils.Extractor": ("onnx", by_onnx),
    "onnx.utils.extract_model": ("onnx", by_onnx_function),
    "graphdsl": ("graphdsl", by_graphdsl),
    "onnx-ir": ("onnx_ir", in_memory(with_onnx_ir)),
    "onnx-graphsurgeon": ("onnx_graphsurgeon", in_memory(with_graphsurgeon)),
    "polygraphy": ("polygraphy", in_memory(with_polygraphy)),
}


def write_chain(nodes: int, path: Path) -> None:
    """A chain with the types of its inner tensors."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(chain.onnx_helper()(nodes)))
    onnx.save(model, path)


def ends(nodes: int) -> tuple[list[str], list[str]]:
    """A cut that leaves out the first twentieth of the chain, and the last."""
    return ["a", f"Add_{nodes // 40}", "b"], [f"Add_{nodes // 2 - nodes // 40}"]


def measure(nodes: int, folder: Path, repeats: int) -> None:
    """Print a table for one size."""
    source = folder / f"{nodes}.onnx"
    write_chain(nodes, source)
    inputs, outputs = ends(nodes)
    cases = {
        name: (lambda cut=cut, name=name: cut(source, folder / f"{name}.onnx", inputs, outputs), repeats)
        for name, (module, cut) in CUTTERS.items()
        if find_spec(module) and nodes <= _SLOW.get(name, nodes)
    }
    taken = interleaved(cases)
    least = min(taken["onnx.utils.Extractor"])
    rows = [
        (name, *summary(times, 1e6 / nodes), f"{min(times) / least:.2f}", len(times)) for name, times in taken.items()
    ]
    print(f"\n**{nodes:,} nodes**, from file to file\n")
    print(table(("extractor", "µs/node, least", "median", "least / Extractor", "runs"), rows))


def many(nodes: int, parts: int, folder: Path) -> None:
    """Print what a part costs when there are many of one model."""
    source = folder / f"{nodes}.onnx"
    size = nodes // parts // 2
    cuts = [(["a", f"Add_{i * size}", "b"], [f"Add_{(i + 1) * size - 1}"]) for i in range(parts - 1)]

    def ours() -> None:
        whole = gd.load(source)
        for inputs, outputs in cuts:
            gd.extract(whole, inputs, outputs)

    def theirs() -> None:
        extractor = onnx.utils.Extractor(onnx.load(source))
        for inputs, outputs in cuts:
            extractor.extract_model(inputs, outputs)

    found = {"graphdsl": seconds(ours), "onnx.utils.Extractor": seconds(theirs)}
    print(f"\n**{len(cuts)} parts of one model of {nodes:,} nodes**, reading it included\n")
    rows = [(name, f"{time:.2f}", f"{time / len(cuts) * 1e3:.2f}") for name, time in found.items()]
    print(table(("extractor", "seconds", "ms a part"), rows))


def main() -> None:
    """Measure each size, and print tables."""
    parser = argparse.ArgumentParser(description="Cut parts out of chains.")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=_FREQUENT)
    parser.add_argument("--parts", type=int, default=300, help="parts cut out of one chain of 30,000 nodes")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for nodes in options.sizes:
            measure(nodes, Path(folder), options.repeats if nodes < 100_000 else min(options.repeats, 3))
        if options.parts:
            write_chain(30_000, Path(folder) / "30000.onnx")
            many(30_000, options.parts, Path(folder))


if __name__ == "__main__":
    main()
