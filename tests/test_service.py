"""From settings to listeners: open proxies that are not made, listeners that take time."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from zope.interface import implementer

from socks5d.config import ConfigError, Settings, make_checker
from socks5d.net import StreamServerEndpoint, poller
from socks5d.rules import parse_network
from socks5d.service import SOCKSService

PASSWORD = (make_checker("memory:ann:secret"),)
EVERYWHERE = ("tcp:1080",)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(listen=EVERYWHERE),
        Settings(listen=("tcp:1080:interface=192.0.2.1",)),
        Settings(listen=("tcp6:1080",)),
        Settings(listen=("haproxy:tcp:1080",)),
        Settings(listen=EVERYWHERE, deny_from=(parse_network("192.0.2.0/24"),)),
        Settings(listen=EVERYWHERE, checkers=PASSWORD, userids=("ann",)),
    ],
)
def test_an_open_proxy_is_not_made(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"open proxy: .*(--auth|--userid).*--allow-from"):
        SOCKSService(settings, MemoryReactorClock())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(listen=("tcp6:1080:interface=\\:\\:1",)),
        Settings(listen=EVERYWHERE, checkers=PASSWORD),
        Settings(listen=EVERYWHERE, allow_from=(parse_network("192.0.2.0/24"),)),
    ],
)
def test_a_proxy_that_is_not_open_is_made(settings: Settings) -> None:
    assert SOCKSService(settings, MemoryReactorClock()).ports == []


# Listeners that take time.


@implementer(IListeningPort)
class Port:
    """A port that a test gives to a listener."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.stopped = False

    def startListening(self) -> None:
        self.stopped = False

    def stopListening(self) -> None:
        self.stopped = True

    def getHost(self) -> Any:
        from twisted.internet.address import IPv4Address

        return IPv4Address("TCP", self.host, 1080)


class Stopping(MemoryReactorClock):
    stops = 0

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture(params=[StreamServerEndpoint, TCP4ServerEndpoint])
def late(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Deferred[IListeningPort]]]:
    """What listeners wait for, of either kind."""
    monkeypatch.setattr(poller, "_HAS_EPOLL", request.param is StreamServerEndpoint)
    waiting: list[Deferred[IListeningPort]] = []

    def listen(self: Any, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        waiting.append(Deferred())
        return waiting[-1]

    monkeypatch.setattr(request.param, "listen", listen)
    yield waiting


def started(settings: Settings) -> tuple[SOCKSService, Stopping]:
    reactor = Stopping()
    service = SOCKSService(settings, reactor)
    service.privilegedStartService()
    service.startService()
    return service, reactor


def test_a_listener_that_takes_time_is_asked_once(late: list[Deferred[IListeningPort]]) -> None:
    service, _ = started(Settings())
    (listening,) = late
    listening.callback(Port("127.0.0.1"))
    assert len(service.ports) == 1


def test_a_late_listener_that_would_be_open_is_stopped_and_ends_the_server(
    late: list[Deferred[IListeningPort]], logs: Sequence[LogEvent]
) -> None:
    service, reactor = started(Settings())
    port = Port("192.0.2.1")
    late[0].callback(port)
    assert (port.stopped, service.ports, reactor.stops) == (True, [], 1)
    assert "open proxy" in logs[-1]["text"]


def test_a_listener_that_fails_late_ends_the_server(
    late: list[Deferred[IListeningPort]], logs: Sequence[LogEvent]
) -> None:
    _, reactor = started(Settings())
    late[0].errback(OSError("no such luck"))
    assert reactor.stops == 1
    assert "no such luck" in logs[-1]["text"]


def test_a_listener_that_comes_after_the_end_is_stopped(
    late: list[Deferred[IListeningPort]], logs: Sequence[LogEvent]
) -> None:
    service, _ = started(Settings())
    service.stopService()
    port = Port("127.0.0.1")
    late[0].callback(port)
    assert (port.stopped, service.ports) == (True, [])
    assert "stopped" in logs[-1]["text"]
