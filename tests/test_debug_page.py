"""Reports as they are shown: the table, the plot, and the page, which a real browser draws."""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pages import blocks
from PIL import Image

import graphdsl as gd
from graphdsl import debug
from graphdsl.debug.measures import distance, statistics, tolerance

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
BIDI = "a\u202egnp\x1b[31m"


TABLE = """\
net
                               tensor                  local  max abs  max rel      MSE    cosine
-------------------------------------------------------------------------------------------------
  first (Conv2d)               t/first                     0  1.2e-07  9.9e-06  1.2e-14  1.000000
> second (Conv2d)              t/second              2.0e-02  2.0e-02  2.0e+00  4.0e-04  0.999412
  a\\u202egnp\\x1b[31m (Conv2d)  t/a\\u202egnp\\x1b[31m        0  3.0e-02  3.0e+00  9.0e-04  0.998679
not aligned:
  lost (Dropout): removed
error is made in second (Conv2d): 2.0e-02 of the largest element
"""


def row(name: str, local: float, accumulated: float, kind: str = "Conv2d") -> debug.Row:
    """A row with errors of these sizes."""
    expected = np.linspace(-1, 1, 100, dtype=np.float32)
    off = {"expected": statistics(expected), "got": statistics(expected + np.float32(accumulated), -1, 1)}
    here, there = (distance(expected + np.float32(error), expected) for error in (local, accumulated))
    limit = tolerance(np.float32)
    return debug.Row(name, name, kind, f"t/{name}", local=here, accumulated=there, tolerance=limit, **off)


REPORT = debug.Report(
    "net beside model 'main_graph'",
    (
        row("first", 1e-7, 1e-7),
        row(HOSTILE, 0.02, 0.02),
        row(BIDI, 0.0, 0.03),
        debug.Row("lost", "lost", "Dropout", reason=f"removed by {HOSTILE}", counted="lost"),
    ),
)


def test_the_table_marks_the_culprit_and_lists_what_was_not_aligned() -> None:
    rows = (row("first", 0.0, 1e-7), row("second", 0.02, 0.02), row(BIDI, 0.0, 0.03))
    report = debug.Report("net", (*rows, debug.Row("lost", "lost", "Dropout", reason="removed")))
    assert f"{report}\n" == TABLE
    assert repr(report) == "<Report 'net': 3 of 4 rows aligned, culprit second (Conv2d)>"


def test_every_name_is_shown_in_use_on_its_page() -> None:
    page = (Path(__file__).parent.parent / "docs" / "debugging.md").read_text(encoding="utf-8")
    code = "".join(block.source for block in blocks(page))
    assert [name for name in debug.__all__ if f"debug.{name}" not in code] == []


def test_the_plot_is_a_file_with_the_culprit_in_red(tmp_path: Path) -> None:
    figure = REPORT.plot(tmp_path / "plot.png")
    assert figure.axes[0].get_yticklabels()[0].get_text() == "first (Conv2d)"
    assert share_of(tmp_path / "plot.png", (214, 39, 40)) > 0.005
    REPORT.plot(tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()[:1000]


def test_names_with_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    debug.Report("$\\frac{1}$", (row("$x^", 0.0, 0.0),)).plot(tmp_path / "plot.png")


def test_the_page_escapes_every_name() -> None:
    page = REPORT.to_html()
    assert "<img" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\u202e" not in page and "\x1b" not in page and "a\\u202egnp\\x1b[31m" in page
    assert "{{7*7}}" in page and "<script" not in page
    assert page.count('class="panel"') == 3 and page.count('<tr class="culprit">') == 1


def test_infinite_errors_and_empty_reports_have_pages(tmp_path: Path) -> None:
    here = distance(np.array([math.nan]), np.array([1.0]))
    wrong = debug.Row("r", tensor="t", local=here, accumulated=here, expected=statistics(np.array([1.0])))
    assert "NaN or infinity in 1 of 1" in debug.Report("one", (wrong,)).to_html()
    assert "0 of 0 rows aligned" in debug.Report("none", ()).to_html()
    debug.Report("one", (wrong,)).plot(tmp_path / "one.png")


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(gd.SaveError, match="cannot be written: No such file or directory"):
        REPORT.save_html(tmp_path / "missing" / "page.html")
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(gd.SaveError):
        REPORT.save_html(target)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browse(page: Path, *arguments: str, fragment: str = "") -> str:
    """What a headless browser says of a page."""
    assert BROWSER is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={page.parent / 'user'}",
    ]
    command = [BROWSER, *flags, "--window-size=1000,1200", *arguments, page.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def share_of(picture: Path, colour: tuple[int, int, int]) -> float:
    """How much of a picture has a colour."""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return float((abs(pixels - colour).max(axis=-1) <= 6).mean())


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_draws_the_page(tmp_path: Path) -> None:
    page, shown, chosen = (tmp_path / name for name in ("page.html", "shown.png", "chosen.png"))
    REPORT.save_html(page)
    document = browse(page, "--dump-dom")
    assert document.count('class="bar"') == 3 and '<a href="#row-2" class="culprit">' in document
    assert "<img" not in document and 'id="verdict"' in document
    browse(page, f"--screenshot={shown}")
    assert share_of(shown, (210, 34, 45)) > 0.0005, "the culprit's bar is red"
    histograms = share_of(shown, (224, 138, 30))
    browse(page, f"--screenshot={chosen}", fragment="#row-2")
    assert share_of(chosen, (224, 138, 30)) > histograms + 0.0005, "a click shows the histograms of the row"
