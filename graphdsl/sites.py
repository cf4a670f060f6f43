"""Where in the user's code something was written: recorded in well under a microsecond, resolved on demand.

A site is the code object and the instruction offset of the first frame outside the library. Frames are never kept
(they would keep every local variable alive), and the line number is looked up only when an error or a listing asks.
"""

import linecache
import os
import sys
from types import CodeType
from typing import NamedTuple

_PARTS = (
    "tensor",
    "loading",
    "sharpening",
    "source",
    "differences",
    "rewriting",
    "conversion",
    "passes",
    "passes.rules",
    "extraction",
    "verify",
    "verify.recipes",
    "verify.refuting",
    "verify.refuting.hints",
    "debug",
)
_NUMPY = (
    "numpy",
    *(f"numpy.{part}" for part in ("_core", "core", "lib", "linalg", "ma", "testing", "testing._private")),
)
"""NumPy's own, whose functions call tensors: who called those is meant."""

_LIBRARY = frozenset({"graphdsl", *(f"graphdsl.{part}" for part in _PARTS), *_NUMPY})

Site = tuple[CodeType, int]

LOCATION = "graphdsl.location"
"""The key under which a saved model says of a node where it was written, in the node's metadata."""


class Location(NamedTuple):
    """A resolved site: `file`, 1-based `line` (0 when the compiler kept none), `function` and the line's `text`."""

    file: str
    line: int
    function: str
    text: str

    def __str__(self) -> str:
        try:
            file = os.path.relpath(self.file)
        except ValueError:  # another drive
            file = self.file
        shown = self.file if file.startswith(os.pardir) else file
        place = f"{shown}:{self.line}"
        if self.function != "<module>":
            place += f", in {self.function}"
        return f"{place}: {self.text}" if self.text else place


def caller(skip: int = 1) -> Site | None:
    """The site of the innermost frame that does not belong to the library, `skip` frames above being known to."""
    frame = sys._getframe(skip)
    while frame.f_globals.get("__package__") in _LIBRARY:
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def locate(site: Site | None) -> Location | None:
    """Resolve a site to file, line, function and source text."""
    if site is None:
        return None
    code, offset = site
    line = 0
    for start, end, number in code.co_lines():
        if start <= offset < end:
            line = number or 0
            break
    text = linecache.getline(code.co_filename, line).strip() if line else ""
    return Location(code.co_filename, line, code.co_name, text)


def at(site: Site | None) -> str:
    """The tail of an error message: a newline and where the thing was written, or nothing when that is unknown."""
    location = locate(site)
    return f"\n  at {location}" if location else ""
