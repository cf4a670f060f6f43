"""What pytest finds in an installed graphdsl: the marker `verified` and the fixture of the same name.

Three lines verify a project's rules and models in its CI:

    @pytest.mark.verified(my_rule, "models/*.onnx", (before, after))
    def test_what_we_ship(verified):
        print(verified)

Nothing heavy is imported until a test asks for it.
"""

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pytest

_DOC = (
    "verified(*subjects, **options): verify rules, models (also paths and patterns of paths) and pairs of models, one "
    "test for each; options go to verify.rule, verify.unanimous and verify.equivalent"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _DOC)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each subject of the marker."""
    where = metafunc.definition.nodeid
    if "verified" not in metafunc.fixturenames:
        if any(mark.name == "verified" for mark in metafunc.definition.own_markers):
            raise pytest.UsageError(f"{where} has the marker 'verified' and verifies nothing; let it take 'verified'")
        return
    marks = list(metafunc.definition.iter_markers("verified"))
    if not marks:
        raise pytest.UsageError(f"{where} asks for 'verified' and has no marker; write @pytest.mark.verified(...)")
    if not all(mark.args for mark in marks):
        raise pytest.UsageError(
            f"{where}: the marker 'verified' says nothing that is to be verified; write @pytest.mark.verified(rule), "
            "or a model, the path of one, or a pair of models"
        )
    cases = [(subject, mark.kwargs) for mark in marks for given in mark.args for subject in _subjects(given)]
    ids = [f"{place}-{_name(subject)}" for place, (subject, _) in enumerate(cases)]
    metafunc.parametrize("verified", cases, indirect=True, ids=ids)


def _subjects(given: Any) -> Iterator[Any]:
    """What an argument of the marker stands for: a pattern of paths for every file that fits."""
    if not isinstance(given, (str, PathLike)) or not set("*?[") & set(fspath(given)):
        yield given
        return
    pattern = Path(given)
    found = sorted(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))
    if not found:
        raise pytest.UsageError(f"no file fits {fspath(given)!r}, which is to be verified")
    yield from found


def _name(subject: Any) -> str:
    if isinstance(subject, tuple):
        return "-".join(map(_name, subject))
    return str(getattr(subject, "name", None) or getattr(subject, "__name__", None) or subject)


@pytest.fixture
def verified(request: pytest.FixtureRequest) -> Any:
    """The verdict on one subject of the marker `verified`; the test fails where it is refuted."""
    from graphdsl import verify
    from graphdsl.rewriting import Rule

    subject, options = request.param
    if isinstance(subject, Rule):
        return verify.rule(subject, **options)
    if isinstance(subject, tuple):
        before, after = subject
        return verify.equivalent(before, after, **options)
    result = verify.unanimous(subject, **options)
    if result.status in (verify.DIFFER, verify.CRASH):
        pytest.fail(f"{result.reason}\n\n{result.repro}", pytrace=False)
    return result
