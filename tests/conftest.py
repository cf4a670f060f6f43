"""What all tests share: how many examples Hypothesis draws, and that helpers' assertions explain themselves."""

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("pages")

# A sample is the same on every run and machine, so a failure is one that everybody sees.
settings.register_profile("sample", derandomize=True, max_examples=40, deadline=None, database=None)
settings.register_profile(
    "full", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -m full` draws many examples, other ones each time; every other run a fixed sample."""
    settings.load_profile("full" if config.getoption("markexpr") == "full" else "sample")
