"""What all tests share: how many examples Hypothesis draws, what is forgotten after each, explained assertions."""

from collections.abc import Iterator

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
    settings.load_profile("full" if config.getoption("markexpr") == "full" else "sample")


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
