"""The public names: `graphdsl.__all__` is exact, and every name in it is documented and shown in use."""

import ast
import doctest
import types
from collections.abc import Iterable
from pathlib import Path

import pytest
from pages import PAGES, blocks

import graphdsl as gd
from graphdsl import errors


def names_used(source: str) -> set[str]:
    """The names of the package that a piece of Python, or a session, uses: `gd.NAME`, or imports from it."""
    if source.startswith(">>> "):
        source = "".join(example.source for example in doctest.DocTestParser().get_examples(source))
    used = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="gd"), attr=name):
                used.add(name)
            case ast.ImportFrom(module="graphdsl", names=aliases):
                used.update(alias.name for alias in aliases)
    return used


def undocumented(names: Iterable[str], pages: Iterable[str]) -> list[str]:
    """The names that no Python block of the pages uses."""
    used = {name for page in pages for block in blocks(page) for name in names_used(block.source)}
    return sorted(set(names) - used)


def test_all_is_what_can_be_seen() -> None:
    """Modules are seen too once imported, but only those in `__all__` are meant to be used from here."""
    seen = {
        name
        for name in dir(gd)
        if not name.startswith("_") and (name in gd.__all__ or not isinstance(getattr(gd, name), types.ModuleType))
    }
    assert sorted(gd.__all__) == sorted(seen)


def test_what_is_imported_later_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(gd.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: f".{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert seen == gd._TOOLS


def test_every_error_is_public() -> None:
    raised = {
        n for n, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.GraphError)
    }
    assert raised - set(gd.__all__) == set()


@pytest.mark.parametrize("name", gd.__all__)
def test_a_public_name_says_what_it_is(name: str) -> None:
    documentation = getattr(gd, name).__doc__
    assert documentation and documentation.splitlines()[0].strip()


def test_every_public_name_is_shown_in_use() -> None:
    assert undocumented(gd.__all__, [page.read_text(encoding="utf-8") for page in PAGES]) == []


def test_a_name_in_prose_only_is_not_shown_in_use() -> None:
    page = "Write `gd.build` or gd.model.\n\n```python\ngd.input\nfrom graphdsl import op\n```\n"
    session = "```python\n>>> 1 + 1\n2\n>>> gd.opset(13)\n<...>\n```\n"
    assert undocumented(["build", "model", "input", "op", "opset"], [page, session]) == ["build", "model"]
