"""Measuring builders side by side, and printing what came out."""

import gc
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time

PACKAGES = (*("onnx-graphdsl", "onnx", "onnx-ir", "onnxscript", "onnx-graphsurgeon", "spox", "numpy", "protobuf"),)


def seconds(work: Callable[[], object]) -> float:
    """The processor time of a piece of work, with garbage collection as its user has it.

    All builders run in one thread and wait for nothing, so on a quiet machine this is the time that passes, and on a
    busy one it does not count what others use. What was alive before is frozen, so that nobody pays for objects that
    others made.
    """
    gc.collect()
    gc.freeze()
    try:
        start = process_time()
        work()
        return process_time() - start
    finally:
        gc.unfreeze()


def everything() -> float:
    """The processor time of this process so far, and of the processes that it has started and that still run."""
    found, parents = process_time(), {os.getpid()}
    stats = [Path(entry, "stat") for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name))]
    for stat in stats:  # parents have smaller numbers, but where numbers start again
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in parents:
            parents.add(int(stat.parent.name))
            found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def interleaved(cases: Mapping[str, tuple[Callable[[], object], int]]) -> dict[str, list[float]]:
    """The seconds of each case, run as often as it asks; rounds take turns, so that a busy minute hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(max((repeats for _, repeats in cases.values()), default=0)):
        for name, (work, repeats) in cases.items():
            if turn < repeats:
                taken[name].append(seconds(work))
    return taken


def table(title: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(title), *cells]) for i in range(len(title))]

    def line(row: Sequence[str]) -> str:
        padded = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(title), line(rule), *map(line, cells)])


def summary(taken: Sequence[float], scale: float) -> tuple[str, str]:
    """The least and the median of some times, times a scale, to a tenth."""
    return f"{min(taken) * scale:.1f}", f"{statistics.median(taken) * scale:.1f}"


def machine() -> str:
    """One line on what was measured where."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(found)}"
