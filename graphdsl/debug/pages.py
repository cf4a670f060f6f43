"""A report as one HTML page: a chart, the rows, and each row's tensors behind a click; no script and nothing loaded."""

import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import MissingRuntime, SaveError
from ..sites import at, caller
from .drawing import HIGHEST, LOWEST, clipped
from .rows import Findings, Row
from .text import plain

_LEFT, _STEP, _HEIGHT = 44, 18, 240
"""Of the chart, in pixels: where the rows begin, the width of each, and the height of the scale."""


class _Item(NamedTuple):
    """A row, and where it is in the chart; y grows downwards."""

    number: int
    row: Row
    x: float
    local: float | None
    sum: float | None
    limit: float | None
    nodes: str


def page(report: Findings) -> str:
    """The page.

    Raises:
        MissingRuntime: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingRuntime(
            f"a page needs jinja2 ({error}); install it with: pip install onnx-graphdsl[report]" + at(caller())
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    items = [_item(number, row) for number, row in enumerate(report.rows, 1)]
    return environment.get_template("page.html.j2").render(
        report=report,
        items=items,
        grid=[
            (power, _y(10.0**power)) for power in range(round(math.log10(LOWEST)), round(math.log10(HIGHEST)) + 1, 2)
        ],
        left=_LEFT,
        step=_STEP,
        height=_HEIGHT,
        width=_LEFT + _STEP * len(items) + 8,
        number=_number,
    )


def save_page(report: Findings, path: str | os.PathLike[str]) -> None:
    """Write the page to a file, which appears when it is complete.

    Raises:
        SaveError: it cannot be written.
    """
    text = page(report)
    target = Path(path)
    partly = target.with_name(f"{target.name}.part")
    try:
        partly.write_text(text, encoding="utf-8")
        partly.replace(target)
    except OSError as error:
        partly.unlink(missing_ok=True)
        raise SaveError(f"{os.fspath(path)!r} cannot be written: {error.strerror or error}" + at(caller())) from error


def _shown(value: Any) -> Any:
    """What a template puts out: names without characters that act on what is around them; escaping comes after."""
    return plain(value) if type(value) is str else value


def _item(number: int, row: Row) -> _Item:
    counts = Counter(node.op_type for node in row.nodes)
    nodes = ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.most_common())
    x = _LEFT + _STEP * (number - 1)
    limit = min(max(row.tolerance, LOWEST), HIGHEST) if row.tolerance else None
    return _Item(number, row, x, _place(clipped(row.local)), _place(clipped(row.accumulated)), _place(limit), nodes)


def _place(error: float | None) -> float | None:
    return None if error is None else _y(error)


def _y(error: float) -> float:
    """Where an error is in the chart: the lowest at the bottom, where there is still a pixel of it."""
    share = math.log(error / LOWEST) / math.log(HIGHEST / LOWEST)
    return round((1 - share) * (_HEIGHT - 12) + 10, 1)


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"
