"""The Python blocks of README.md and docs/: finding them and running them.

The blocks of a page run in order, in one namespace, in an empty folder, so later ones may use what earlier ones made.
A block that reads as a session (`>>> `) is checked as a doctest; what another block prints is compared with the `text`
block right after it, if there is one.
"""

import contextlib
import doctest
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One Python block: its source, the 1-based line where that starts, and what it is said to print."""

    source: str
    line: int
    prints: str | None


def blocks(text: str) -> Iterator[Block]:
    """The Python blocks of a page, in order."""
    fences = list(_FENCE.finditer(text))
    marks = [line for line in text.splitlines() if line.lstrip().startswith("```")]
    assert len(marks) == 2 * len(fences), "a fence is indented, not closed, or has more than a language behind it"
    for index, fence in enumerate(fences):
        if fence["language"] != "python":
            continue
        after = fences[index + 1] if index + 1 < len(fences) else None
        follows = after is not None and after["language"] == "text" and not text[fence.end() : after.start()].strip()
        yield Block(fence["body"], text.count("\n", 0, fence.start("body")) + 1, after["body"] if follows else None)


def run_page(text: str, file: str) -> None:
    """Run the blocks of a page.

    Raises:
        AssertionError: a block prints something else than the page says; other errors are the block's own.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(text):
        if block.source.startswith(">>> "):
            _run_session(block, names, file)
            continue
        # the leading newlines make the line numbers of errors those of the page
        code = compile("\n" * (block.line - 1) + block.source, file, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        if block.prints is not None:
            assert printed.getvalue().rstrip() == block.prints.rstrip(), f"{file}, line {block.line}"


def _run_session(block: Block, names: dict[str, Any], file: str) -> None:
    report = io.StringIO()
    session = doctest.DocTestParser().get_doctest(block.source, names, "block", file, block.line - 1)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(session, out=report.write, clear_globs=False)
    names.update(session.globs)
    assert runner.failures == 0, report.getvalue()
