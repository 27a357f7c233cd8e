"""Fixtures of the whole suite."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from tests.support import running
from tests.support.kerberos import Realm

#: For how long a connection that has ended keeps its port, with some to spare, in seconds;
#: and how many may.
TIME_WAIT = 70.0
FEW = 2000

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session", autouse=True)
def reactor_thread() -> None:
    """The reactor runs for as long as the tests do."""
    running.start()


def _closed_lately() -> int:
    """TCP connections that have ended and still keep their ports (TIME-WAIT)."""
    found = re.search(r"^TCP:.* tw (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.fixture(autouse=True)
def free_ports(request: pytest.FixtureRequest) -> None:
    """A test of full length has tens of thousands of connections, and for each a port."""
    if request.node.get_closest_marker("long") is None:
        return
    deadline = time.monotonic() + TIME_WAIT
    while _closed_lately() > FEW and time.monotonic() < deadline:
        time.sleep(0.5)


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


@pytest.fixture(scope="session")
def realm() -> Iterator[Realm]:
    """A Kerberos realm whose KDC runs; this process, and those it starts, know it."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        made = Realm(Path(folder))
        for name, value in made.environment.items():
            patch.setenv(name, value)
        with made.running():
            yield made


@pytest.fixture(scope="session")
def keytab(realm: Realm) -> Path:
    """The keys of rcmd/localhost."""
    return realm.keytab("rcmd/localhost")


@pytest.fixture(scope="session")
def tickets(realm: Realm) -> str:
    """The credential cache of ann, with a ticket-granting ticket."""
    realm.add_user("ann")
    return realm.tickets("ann")
