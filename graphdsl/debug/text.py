"""Names and tables as text."""

from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """A name as it can be shown: control and bidirectional characters as escapes.

    >>> plain("a\\u202eb")
    'a\\\\u202eb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of text with their cells under each other, the first `left` columns to the left."""
    table = [list(header), *map(list, lines)]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    shown = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
    return [shown[0], "-" * max(map(len, shown)), *shown[1:]]
