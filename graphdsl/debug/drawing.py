"""A report as a picture: the errors row by row, on a logarithmic scale."""

import os
from typing import Any

from ..errors import MissingRuntime
from ..sites import at, caller
from .measures import Distance
from .rows import Findings

LOWEST, HIGHEST = 1e-9, 1e1
"""Errors are drawn between these; exact ones at the lower end, infinite ones at the upper."""

_LONGEST = 64
"""Characters of a name that are drawn."""


def clipped(found: Distance | None) -> float | None:
    """A relative error within what is drawn."""
    return None if found is None else min(max(found.relative, LOWEST), HIGHEST)


def plot(report: Findings, path: str | os.PathLike[str] | None) -> Any:
    """Draw the errors of a report with matplotlib.

    Raises:
        MissingRuntime: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingRuntime(
            f"a plot needs matplotlib ({error}); install it with: pip install onnx-graphdsl[report]" + at(caller())
        ) from error
    rows = report.aligned
    figure = Figure(figsize=(9.0, 1.6 + 0.2 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    nothing = float("nan")
    if any(row.local is not None for row in rows):
        colours = ["tab:red" if row is report.culprit else "tab:blue" for row in rows]
        lengths = [clipped(row.local) or nothing for row in rows]
        axes.barh(places, lengths, color=colours, label="made here (red: the culprit)")
    accumulated = [clipped(row.accumulated) or nothing for row in rows]
    axes.plot(accumulated, places, color="tab:orange", marker=".", label="accumulated")
    axes.plot([row.tolerance or nothing for row in rows], places, "k:", label="tolerance")
    axes.set_xscale("log")
    axes.set_xlim(LOWEST, HIGHEST)
    axes.set_xlabel("error, of the largest element")
    axes.set_yticks(list(places), [_label(row.label) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first on top
    axes.set_title(_label(report.label), fontsize=10)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.08 - 1 / (1 + len(rows))), ncols=3)
    if path is not None:
        figure.savefig(path)
    return figure


def _label(text: str) -> str:
    """A name in a picture: not too long, and without the sign that begins a formula."""
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return text.replace("$", r"\$")
