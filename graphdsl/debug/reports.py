"""The report that users hold: printed, drawn, as a page, and as a repro."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import GraphError
from ..sites import at, caller
from .drawing import plot
from .pages import page, save_page
from .repros import save_repro
from .rows import Findings, Row


@dataclass(frozen=True, eq=False, repr=False)
class Report(Findings):
    """The rows in the order of execution; `culprit` is the first where error is made. `print(report)` shows a table."""

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The errors row by row, on a logarithmic scale, as a matplotlib figure; saved to a file, if one is named.

        Raises:
            MissingRuntime: matplotlib is not installed.
        """
        return plot(self, path)

    def to_html(self) -> str:
        """The report as one HTML page that loads nothing and runs no script; names in it are escaped.

        Raises:
            MissingRuntime: jinja2 is not installed.
        """
        return page(self)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write the page of `to_html` to a file.

        Raises:
            MissingRuntime: jinja2 is not installed.
            SaveError: the file cannot be written.
        """
        save_page(self, path)

    def save_repro(self, folder: str | os.PathLike[str], row: Row | None = None) -> Path:
        """Write what shows the error of a row, by default the culprit's, without torch and the rest of the model.

        Args:
            folder: Gets `segment.onnx` (the nodes), `inputs.npz`, `expected.npz` and `repro.py`, which runs on its own.
            row: One of the report's rows.

        Returns:
            The path of the script.

        Raises:
            GraphError: there is no culprit, or the row has no tensor in the model.
            SaveError: the model could not be written.
        """
        chosen = self.culprit if row is None else row
        if chosen is None:
            raise GraphError("no error is made in this report; say of which row the repro is" + at(caller()))
        if self.segments is None or chosen.value is None or chosen.value not in self.segments.expected:
            raise GraphError(f"{chosen} has no tensor to compare, so there is no repro of it" + at(caller()))
        return save_repro(self.segments, chosen.value, chosen.name, chosen.tolerance, folder)
