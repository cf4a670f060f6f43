"""What all tests share: how many examples Hypothesis draws, what is forgotten after each, explained assertions."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from graphdsl import schemas

pytest.register_assert_rewrite("pages")

# A sample is the same on every run and machine, so a failure is one that everybody sees.
settings.register_profile("sample", derandomize=True, max_examples=40, deadline=None, database=None)
settings.register_profile(
    "full", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -m full` draws many examples, other ones each time; every other run a fixed sample."""
    settings.load_profile("full" if is_full(config) else "sample")
    if is_full(config) and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.randrange(2**32))  # which Hypothesis's plugin reads after this


def is_full(config: pytest.Config) -> bool:
    """Whether the long suites run."""
    return bool(config.getoption("markexpr") == "full")


# Any, for the oldest pytest that the tests run with has no public name for the class
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how the same examples are drawn again."""
    if is_full(config):
        terminalreporter.write_line(f"drawn with --hypothesis-seed={config.option.hypothesis_seed}")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What draws follow from that Hypothesis does not make: another number in each full run."""
    return int(request.config.option.hypothesis_seed or 0)


@pytest.fixture(autouse=True)
def _declarations_of_its_own() -> Iterator[None]:
    """Forget the operators that a test declares, so that no test depends on which ones ran before it."""
    known = dict(schemas._declared)
    yield
    changed = {key for key, schema in schemas._declared.items() if known.get(key) is not schema}
    for domain, name, version in list(schemas._found):
        if (domain, name) in changed:
            del schemas._found[domain, name, version]
    schemas._declared.clear()
    schemas._declared.update(known)
