"""Fixtures of the whole suite."""

import os
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from tests.support import running

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session", autouse=True)
def reactor_thread() -> None:
    """The reactor runs for as long as the tests do."""
    running.start()


@pytest.fixture(scope="session")
def in_ci() -> bool:
    """In CI nothing is skipped: what is missing fails."""
    return bool(os.environ.get("CI"))


@pytest.fixture
def clock() -> Clock:
    """Time that a test turns."""
    return Clock()


@pytest.fixture
def logs() -> Iterator[Sequence[LogEvent]]:
    """What is logged meanwhile."""
    with capturedLogs() as captured:
        yield captured
