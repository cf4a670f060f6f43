"""Every Python block of README.md and docs/ runs, and prints what the page says it prints; see pages.py."""

import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, run_page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), str(page))


def test_later_blocks_see_what_earlier_ones_made() -> None:
    run_page(
        "```python\na = 1\n```\n\n```python\n>>> a + 1\n2\n>>> b = 3\n```\n```python\nassert b == 3\n```\n", "page"
    )


def test_what_a_block_prints_is_compared() -> None:
    run_page('```python\nprint("yes")\n```\n\n```text\nyes\n```\n', "page")
    with pytest.raises(AssertionError, match="page, line 4"):
        run_page('Text.\n\n```python\nprint("yes")\n```\n\n```text\nno\n```\n', "page")


def test_a_session_that_answers_otherwise_fails() -> None:
    with pytest.raises(AssertionError, match=r"Expected:\n +3\n +Got:\n +2"):
        run_page("```python\n>>> 1 + 1\n3\n```\n", "page")


def test_an_error_has_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("Text.\n\n```python\na = 1\n\na / 0\n```\n", "page")
    assert caught.traceback[-1].lineno + 1 == 6


def test_other_languages_do_not_run() -> None:
    run_page("```sh\nexit 1\n```\n```\nno Python\n```\n```text\nno Python\n```\n", "page")


@pytest.mark.parametrize(
    "text", ["- a list:\n  ```python\n  1 / 0\n  ```\n", "```python\n1 / 0\n", "```python run\n1 / 0\n```\n"]
)
def test_no_block_is_passed_over(text: str) -> None:
    with pytest.raises(AssertionError, match="a fence is indented, not closed"):
        run_page(text, "page")


def test_every_page_is_found() -> None:
    assert ROOT / "README.md" in PAGES and ROOT / "docs" / "index.md" in PAGES


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead to no file."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return [target for target in targets if "://" not in target and not (page.parent / target).exists()]


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("*.md"), *ROOT.glob("examples/*.md")}), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](page.md) [b](no.md#part) [c](https://onnx.ai) [d](#part)")
    assert broken_links(page) == ["no.md"]


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent.name == "docs"} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python3 .*-m pytest.*$", readme, re.MULTILINE)
    assert f"{command} || exit" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
