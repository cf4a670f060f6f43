"""Load and save models with graphdsl, onnx-ir and onnx alone, in one run.

    pip install -e ".[bench]"
    python -m benchmarks.load                   # chains of 1,000, 10,000 and 100,000 nodes, and real architectures
    python -m benchmarks.load a.onnx b.onnx     # others

Loading goes from the file to a graph that can be changed; saving writes an untouched one to a file. What graphdsl finds
out of types it finds when one is first asked for, which is measured apart; onnx-ir infers nothing.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx

import graphdsl as gd
from benchmarks.chain import graphdsl as chain
from benchmarks.rebuild import light_models
from benchmarks.timing import interleaved, machine, table

PEERS: dict[str, tuple[Callable[[Path], Any], Callable[[Any, Path], Any]]] = {
    "onnx": (onnx.load, onnx.save),
    "graphdsl": (gd.load, gd.save),
}
"""How each library loads a file, and saves what it loaded."""


def peers() -> dict[str, tuple[Callable[[Path], Any], Callable[[Any, Path], Any]]]:
    """The libraries that are installed."""
    try:
        import onnx_ir
    except ImportError:
        return PEERS
    return PEERS | {"onnx-ir": (onnx_ir.load, onnx_ir.save)}


def typed(path: Path) -> None:
    """Load a model and infer the types of all its tensors."""
    _ = gd.load(path).graph.outputs[0].value.type


def measure(path: Path, folder: Path, repeats: int) -> tuple[int, dict[str, float]]:
    """The number of nodes, and the least microseconds a node for each library and step."""
    cases: dict[str, tuple[Callable[[], object], int]] = {}
    for name, (load, save) in peers().items():
        cases[f"load {name}"] = partial(load, path), repeats
        cases[f"save {name}"] = partial(save, load(path), folder / f"{name}.onnx"), repeats
    cases["types graphdsl"] = partial(typed, path), repeats
    nodes = len(onnx.load(path, load_external_data=False).graph.node)
    return nodes, {name: min(times) / nodes * 1e6 for name, times in interleaved(cases).items()}


def main() -> None:
    """Measure model by model, and print one table."""
    parser = argparse.ArgumentParser(description="Load and save models with graphdsl and its peers.")
    parser.add_argument("models", type=Path, nargs="*", help="by default chains and the light models of onnx")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="nodes of the chains")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = list(options.models)
        if not models:
            for size in options.sizes:
                models.append(folder / f"chain of {size:,}.onnx")
                models[-1].write_bytes(chain()(size))
            models += light_models()
        for path in models:
            nodes, times = measure(path, folder, options.repeats)
            ours = [times["load graphdsl"], times["save graphdsl"]]
            theirs = [times.get("load onnx-ir", float("nan")), times.get("save onnx-ir", float("nan"))]
            found = [*ours, times["types graphdsl"], *theirs, times["load onnx"], times["save onnx"]]
            ratios = [f"{one / other:.2f}" for one, other in zip(ours, theirs, strict=True)]
            rows.append((path.stem, nodes, *[f"{value:.1f}" for value in found], *ratios))
    print("\nµs/node, the least of all runs; ratios are graphdsl / onnx-ir\n")
    title = ("model", "nodes", "load", "save", "load, types", "onnx-ir load", "save", "onnx load", "save")
    print(table((*title, "load ratio", "save ratio"), rows))


if __name__ == "__main__":
    main()
