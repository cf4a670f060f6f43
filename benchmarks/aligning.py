"""How long `debug.align` takes beside what it is made of, and beside torch's own verification; how much it aligns.

`python -m benchmarks.aligning` prints Markdown. Needs torch, onnxscript and ONNX Runtime.
"""

import contextlib
import io
import logging
import statistics
import warnings
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
import torch

from graphdsl import debug

from .networks import NETWORKS, deep, network
from .timing import machine, table

SETTINGS: dict[str, dict[str, Any]] = {
    "dynamo=False, optimize=False": {"dynamo": False, "optimize": False},
    "dynamo=False, optimize=True": {"dynamo": False, "optimize": True},
    "dynamo=True, optimize=False": {"dynamo": True, "optimize": False},
    "dynamo=True, optimize=True": {"dynamo": True, "optimize": True},
}


def times(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds that pass for each case; rounds take turns."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            start = perf_counter()
            work()
            taken[name].append(perf_counter() - start)
    return taken


def both_runs(net: torch.nn.Module, x: torch.Tensor, model: bytes) -> Callable[[], object]:
    """One run of the module, a session for the model, and one run of that: what no comparison can do without."""

    def run() -> object:
        with torch.no_grad():
            net(x)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x.numpy()})

    return run


def cost(modules: int, rounds: int) -> dict[str, list[float]]:
    """Aligning a network of so many modules, beside one run of both models."""
    net, x = deep(modules)
    model = debug.from_torch(net, x, optimize=False)
    data = model.to_proto().SerializeToString()
    return times({"both": both_runs(net, x, data), "align": lambda: debug.align(net, x, model=model)}, rounds)


def verification(nodes: int) -> dict[str, list[float]]:
    """Aligning, beside torch's verification of the same program with its intermediate values."""
    from torch.onnx import verification as torchs

    net, x = deep(nodes)
    program = torch.onnx.export(net, (x,), dynamo=True, optimize=False, verbose=False)
    assert program is not None and len(program.model_proto.graph.node) == nodes
    data = program.model_proto.SerializeToString()
    return times(
        {
            "align": lambda: debug.align(net, x, model=data),
            "verify_onnx_program": lambda: torchs.verify_onnx_program(program, compare_intermediates=True),
        },
        1,
    )


def coverage() -> list[list[str]]:
    """By network: the share of the leaf modules that were aligned, and whether anything was blamed, in each setting."""
    rows = []
    for name in NETWORKS:
        net, x = network(name)
        row = [name]
        for setting in SETTINGS.values():
            report = debug.align(net, x, model=debug.from_torch(net, x, **setting))
            row.append(f"{report.coverage:.0%}" + (f", blamed {report.culprit}" if report.culprit else ""))
        rows.append(row)
    return rows


def main() -> None:
    """Print everything."""
    np.random.seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(machine(), f"torch {torch.__version__}", sep=", ", end="\n\n")
    print(table(["leaf modules aligned", *SETTINGS], coverage()), end="\n\n")
    taken = {modules: cost(modules, 7) for modules in (10, 100, 400)}
    rows = []
    for modules, found in taken.items():
        both, align = (statistics.median(found[name]) for name in ("both", "align"))
        rows.append([modules, f"{both * 1e3:.0f}", f"{align * 1e3:.0f}", f"{align / both:.1f}"])
    print(table(["modules", "one run of both, ms", "align, ms", "ratio"], rows), end="\n\n")
    with contextlib.redirect_stdout(io.StringIO()):
        found = verification(40)
    align, verify = (found[name][0] for name in ("align", "verify_onnx_program"))
    rows = [["debug.align", f"{align:.2f}", "1"], ["verify_onnx_program", f"{verify:.2f}", f"{verify / align:.0f}"]]
    print(table(["40 nodes", "seconds", "ratio"], rows))


if __name__ == "__main__":
    main()
