"""From settings to listeners: listeners that take time, and those of others."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent
from zope.interface import implementer

from socks5d import service as service_module
from socks5d.config import Listener, Settings
from socks5d.egress import DirectEgress
from socks5d.model import Refusal, Terms
from socks5d.net import StreamServerEndpoint, poller
from socks5d.parameters import Limits, QuotaParameters, QuotaStore, Timeouts
from socks5d.protocols import SOCKSFactory
from socks5d.service import SOCKSService
from socks5d.values import ConfigError


def test_an_open_proxy_is_not_made() -> None:
    with pytest.raises(ConfigError, match="open proxy"):
        SOCKSService(Settings(listen=("tcp:1080",)), MemoryReactorClock())


def test_nothing_listens_before_it_starts() -> None:
    assert SOCKSService(Settings(), MemoryReactorClock()).ports == []


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


class Failing(MemoryReactorClock):
    """
    A reactor whose process may have to fail.

    @ivar failures: how often it had to.
    """

    failures = 0


@pytest.fixture(autouse=True)
def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests does not end with status 1 in earnest."""

    def fail(reactor: Failing) -> None:
        reactor.failures += 1

    monkeypatch.setattr(service_module, "fail_in_order", fail)


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


def started(settings: Settings) -> tuple[SOCKSService, Failing]:
    reactor = Failing()
    service = SOCKSService(settings, reactor)
    service.privilegedStartService()
    service.startService()
    return service, reactor


def test_a_listener_that_takes_time_is_asked_once(late: list[Deferred[IListeningPort]]) -> None:
    service, _ = started(Settings())
    (listening,) = late
    listening.callback(Port("127.0.0.1"))
    assert len(service.ports) == 1


def test_a_late_listener_that_would_be_open_is_stopped_and_fails_the_server(
    late: list[Deferred[IListeningPort]], logs: Sequence[LogEvent]
) -> None:
    service, reactor = started(Settings())
    port = Port("192.0.2.1")
    late[0].callback(port)
    assert (port.stopped, service.ports, reactor.failures) == (True, [], 1)
    assert "open proxy" in logs[-1]["text"]


def test_a_listener_that_fails_late_fails_the_server(
    late: list[Deferred[IListeningPort]], logs: Sequence[LogEvent]
) -> None:
    _, reactor = started(Settings())
    late[0].errback(OSError("no such luck"))
    assert reactor.failures == 1
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


# Listeners that somebody else has made.


@implementer(IStreamServerEndpoint)
class Given:
    """An endpoint in the place of the one that settings describe."""

    def __init__(self) -> None:
        self.port = Port("127.0.0.1")

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return succeed(self.port)


def test_endpoints_that_are_given_are_listened_on_without_a_word(logs: Sequence[LogEvent]) -> None:
    given = Given()
    service = SOCKSService(Settings(), MemoryReactorClock(), endpoints=[given])
    service.privilegedStartService()
    assert service.ports == [given.port]
    assert [event for event in logs if "listening" in event.get("log_format", "")] == []


def test_what_descriptors_do_not_allow_is_told(logs: Sequence[LogEvent]) -> None:
    for sessions in (1, 10_000_000):
        settings = Settings(limits=Limits(sessions=sessions))
        service = SOCKSService(settings, MemoryReactorClock(), endpoints=[Given()])
        service.startService()
        service.stopService()
    told = [formatEvent(each) for each in logs if each["log_level"].name == "warn"]
    assert len(told) == 1
    assert told[0].startswith("limits.sessions: 10000000 in this process, of which file ")


def test_there_is_an_endpoint_for_each_that_settings_name() -> None:
    with pytest.raises(ValueError, match="zip"):
        SOCKSService(Settings(), MemoryReactorClock(), endpoints=[])


# Listeners with ways of their own.

LISTENERS = tuple(
    Listener(endpoint="tcp:0:interface=127.0.0.1", name=name, timeouts=Timeouts(connect=connect))
    for name, connect in (("x", 20), ("y", 50))
)


def factories(service: SOCKSService) -> list[SOCKSFactory]:
    return [place.factory for place in service._places]


def rulesets(service: SOCKSService) -> set[int]:
    """Which there are, by their identities."""
    return {id(factory.server.gate._ruleset) for factory in factories(service)}


def test_each_listener_has_its_own_name_and_time_outs_and_one_capacity() -> None:
    settings = Settings(listen=(), own=LISTENERS)
    service = SOCKSService(settings, MemoryReactorClock())
    servers = [factory.server for factory in factories(service)]
    assert [each.listener for each in servers] == ["x", "y"]
    assert [each.timeouts.connect for each in servers] == [20, 50]
    assert [each.capacity for each in servers] == [service.capacity] * 2


def test_what_goes_out_for_all_has_the_time_of_the_longest() -> None:
    service = SOCKSService(Settings(own=LISTENERS), MemoryReactorClock())
    egress = factories(service)[0].server.egress
    assert isinstance(egress, DirectEgress)
    assert egress._timeouts.connect == 50


def test_listeners_that_have_nothing_of_their_own_share_their_rules() -> None:
    settings = Settings(listen=("tcp:1:interface=127.0.0.1", "tcp:2:interface=127.0.0.1"))
    service = SOCKSService(settings, MemoryReactorClock())
    assert len(rulesets(service)) == 1
    own = Listener(endpoint="tcp:3:interface=127.0.0.1", name="x", socks4=False)
    service = SOCKSService(evolve(settings, own=(own,)), MemoryReactorClock())
    assert len(rulesets(service)) == 2
    versions = [set(factory.versions) for factory in factories(service)]
    assert versions == [{4, 5}, {4, 5}, {5}]


def test_a_rule_may_name_the_direct_way() -> None:
    (factory,) = factories(SOCKSService(Settings(), MemoryReactorClock()))
    ways = factory.server.ways
    assert ways.out(Terms(upstream="direct")) is factory.server.egress
    with pytest.raises(Refusal):
        ways.out(Terms(upstream="another"))


def test_what_is_wrong_with_any_listener_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        SOCKSService(Settings(listen=("tcp:1", "nonsense:2")), MemoryReactorClock())
    assert [each[:18] for each in caught.value.problems] == [
        "listen 'tcp:1': 0.",
        "listen 'nonsense:2",
    ]


# Reload.

HERE = ("tcp:0:interface=127.0.0.1",)
BOTH = (*HERE, "tcp:0:interface=127.0.0.2")


def prepared(service: SOCKSService, settings: Settings) -> list[Any]:
    """What comes of getting ready: nothing yet, a change, or a failure."""
    result: list[Any] = []
    Deferred.fromCoroutine(service.prepare(settings)).addBoth(result.append)
    return result


def test_a_listener_that_stays_has_other_rules_and_the_same_factory(
    late: list[Deferred[IListeningPort]],
) -> None:
    service, _ = started(Settings(listen=HERE))
    late[0].callback(Port("127.0.0.1"))
    (factory,) = factories(service)
    before = factory.server
    (change,) = prepared(service, Settings(listen=HERE, socks4=False))
    assert factory.server is before
    service.commit(change)
    assert factories(service) == [factory]
    assert factory.server is not before
    assert (set(factory.versions), factory.server.capacity) == ({5}, service.capacity)
    assert len(late) == 1


def test_what_counts_stays_where_its_limits_do(late: list[Deferred[IListeningPort]]) -> None:
    service, _ = started(Settings(listen=HERE))
    (factory,) = factories(service)
    limiter, lookups = factory.server.limiter, factory.server.ident_lookups
    (change,) = prepared(service, Settings(listen=HERE))
    service.commit(change)
    assert factory.server.limiter is limiter
    assert factory.server.ident_lookups is lookups
    (change,) = prepared(service, Settings(listen=HERE, limits=Limits(associations=3)))
    service.commit(change)
    assert factory.server.limiter is not limiter
    assert factory.server.limiter.associations is limiter.associations


def test_a_new_listener_that_takes_time_is_waited_for(
    late: list[Deferred[IListeningPort]],
) -> None:
    service, _ = started(Settings(listen=HERE))
    late[0].callback(Port("127.0.0.1"))
    result = prepared(service, Settings(listen=BOTH))
    assert result == []
    late[1].callback(Port("127.0.0.2"))
    service.commit(result[0])
    assert len(service.ports) == 2


def test_a_new_listener_that_takes_too_long_changes_nothing_and_is_stopped_when_it_comes(
    late: list[Deferred[IListeningPort]],
) -> None:
    service, reactor = started(Settings(listen=HERE))
    late[0].callback(Port("127.0.0.1"))
    result = prepared(service, Settings(listen=BOTH))
    reactor.advance(service_module.LISTENING)
    assert result[0].check(ConfigError)
    assert len(service.ports) == 1
    port = Port("127.0.0.2")
    late[1].addErrback(lambda _: None)
    late[1].callback(port)
    assert (port.stopped, len(service.ports)) == (True, 1)


def test_a_change_is_nothing_to_a_service_that_has_stopped(
    late: list[Deferred[IListeningPort]],
) -> None:
    service, _ = started(Settings(listen=HERE))
    late[0].callback(Port("127.0.0.1"))
    result = prepared(service, Settings(listen=BOTH))
    port = Port("127.0.0.2")
    late[1].callback(port)
    service.stopService()
    service.commit(result[0])
    assert (port.stopped, service.ports) == (True, [])


def test_what_only_a_restart_changes_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    service = SOCKSService(Settings(), MemoryReactorClock())
    quota = QuotaParameters(octets=1, store=QuotaStore.MEMORY)
    settings = Settings(workers=4, access_log=tmp_path / "log", quota=quota)
    (result,) = prepared(service, settings)
    assert [problem.partition(":")[0] for problem in result.value.problems] == [
        "workers",
        "access_log",
        "quota.store",
        "quota (whether there is one)",
    ]
