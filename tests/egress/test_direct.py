"""Straight out: which family, which source, how long; on a reactor that only takes notes."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from socks5d.egress import DirectEgress, FixedResolver, direct
from socks5d.interfaces import IEgress, IEgressOnTerms
from socks5d.model import Outcome, Refusal, Terms
from socks5d.net import poller
from socks5d.net.poller import Poller
from socks5d.parameters import LocalAddresses, Timeouts
from socks5d.wire.address import IPAddress

FOUR, OTHER, SIX = (ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1"))
SOURCE = LocalAddresses.of([ip_address("192.0.2.99"), ip_address("2001:db8::99")])


@pytest.fixture(autouse=True)
def no_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are made by the reactor, which takes notes of them."""
    monkeypatch.setattr(poller, "_HAS_EPOLL", False)


class Egress:
    """
    An egress on a reactor that takes notes.

    @ivar made: the protocols that were made.
    """

    def __init__(self, source: LocalAddresses | None = None) -> None:
        self.reactor = MemoryReactorClock()
        timeouts = Timeouts(connect=7, attempt=0.5)
        reactor: Any = self.reactor
        self.egress = DirectEgress(reactor, timeouts, source=source, resolver=FixedResolver({}))
        self.made: list[Protocol] = []
        self.heard: list[Any] = []

    def connect(self, *addresses: IPAddress, port: int = 443) -> Deferred[Any]:
        connecting: Deferred[Any] = self.egress.connect(addresses, port, self._protocol)
        connecting.addBoth(self.heard.append)
        return connecting

    def _protocol(self) -> Protocol:
        self.made.append(Protocol())
        return self.made[-1]

    def dialled(self) -> list[tuple[str, int]]:
        return [(client[0], client[1]) for client in self.reactor.tcpClients]

    def sources(self) -> list[Any]:
        return [client[4] for client in self.reactor.tcpClients]

    def stands(self, number: int = 0) -> None:
        """The so-manieth connection stands."""
        factory = self.reactor.tcpClients[number][2]
        connector = self.reactor.connectors[number]
        factory.startedConnecting(connector)
        protocol = factory.buildProtocol(connector.getDestination())
        assert protocol is not None
        protocol.makeConnection(StringTransport())

    def fails(self, number: int = 0) -> None:
        """The so-manieth connection is refused."""
        factory = self.reactor.tcpClients[number][2]
        factory.startedConnecting(self.reactor.connectors[number])
        factory.clientConnectionFailed(
            self.reactor.connectors[number], Failure(error.ConnectionRefusedError(111))
        )


def test_it_is_an_egress() -> None:
    assert verifyObject(IEgress, Egress().egress)


@pytest.mark.parametrize("address", [FOUR, SIX])
def test_an_address_is_dialled_as_it_is(address: IPAddress) -> None:
    egress = Egress()
    egress.connect(address, port=8443)
    assert egress.dialled() == [(str(address), 8443)]
    assert egress.reactor.tcpClients[0][3] == 7
    assert egress.sources() == [None]
    family = egress.reactor.connectors[0].getDestination()
    assert type(family).__name__ == f"IPv{address.version}Address"


@pytest.mark.parametrize(("address", "source"), [(FOUR, "192.0.2.99"), (SIX, "2001:db8::99")])
def test_it_is_dialled_from_the_source_of_its_family(address: IPAddress, source: str) -> None:
    egress = Egress(SOURCE)
    egress.connect(address)
    assert egress.sources() == [(source, 0)]


def test_a_family_without_a_source_has_the_kernels() -> None:
    egress = Egress(LocalAddresses(ipv4=ip_address("192.0.2.99")))
    egress.connect(SIX)
    assert egress.sources() == [None]


def test_the_protocol_is_the_one_that_was_made_for_the_connection() -> None:
    egress = Egress()
    egress.connect(FOUR)
    assert egress.made == []
    egress.stands()
    assert egress.heard == egress.made
    assert len(egress.made) == 1
    assert egress.made[0].transport is not None


def test_a_refused_connection_fails_as_that() -> None:
    egress = Egress()
    egress.connect(FOUR)
    egress.fails()
    assert egress.heard[0].check(error.ConnectionRefusedError)


def test_several_addresses_race() -> None:
    egress = Egress()
    egress.connect(FOUR, OTHER, SIX)
    assert egress.dialled() == [(str(FOUR), 443)]
    egress.reactor.advance(0.5)
    assert egress.dialled() == [(str(FOUR), 443), (str(SIX), 443)]
    egress.fails(0)
    assert egress.dialled()[2] == (str(OTHER), 443)
    for number in (1, 2):
        egress.reactor.tcpClients[number][2].startedConnecting(egress.reactor.connectors[number])
    egress.stands(1)
    assert egress.heard == egress.made
    egress.reactor.advance(0)
    assert egress.reactor.connectors[2].stoppedConnecting


def test_cancelling_stops_every_connection() -> None:
    egress = Egress()
    connecting = egress.connect(FOUR, SIX)
    egress.reactor.advance(0.5)
    for number in (0, 1):
        egress.reactor.tcpClients[number][2].startedConnecting(egress.reactor.connectors[number])
    connecting.cancel()
    # Not at once: the poll that is under way may hold an event for the socket yet.
    assert [each.stoppedConnecting for each in egress.reactor.connectors] == [False, False]
    egress.reactor.advance(0)
    assert [each.stoppedConnecting for each in egress.reactor.connectors] == [True, True]
    assert egress.heard[0].check(CancelledError)


# Where there is a poller.


class Attempt:
    """
    One that was begun on a poller, and connects to nowhere.

    @cvar made: all there are, in order.
    """

    made: list["Attempt"] = []

    def __init__(
        self,
        poller: Poller,
        host: IPAddress,
        port: int,
        make: Callable[[], Any],
        timeout: float,
        source: IPAddress | None,
        device: str | None,
    ) -> None:
        self.reactor = poller.reactor
        self.make = make
        self.arguments = host, port, timeout, source
        self.device = device
        self.cancelled = False
        self.result: Deferred[Any] = Deferred(self._cancel)
        self.made.append(self)

    def _cancel(self, result: Deferred[Any]) -> None:
        self.cancelled = True


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Attempt]]:
    """There is a poller; gives the attempts that are begun."""
    monkeypatch.setattr(poller, "_HAS_EPOLL", True)
    monkeypatch.setattr(direct, "connect_stream", lambda *given: Attempt(*given).result)
    monkeypatch.setattr(Attempt, "made", [])
    yield Attempt.made


@pytest.mark.parametrize(("address", "source"), [(FOUR, "192.0.2.99"), (SIX, "2001:db8::99")])
def test_connections_are_made_on_the_poller_where_there_is_one(
    attempts: list[Attempt], address: IPAddress, source: str
) -> None:
    with_source, without = Egress(SOURCE), Egress()
    for egress in (with_source, without):
        egress.connect(address, port=8443)
        assert egress.dialled() == []
    assert [each.arguments for each in attempts] == [
        (address, 8443, 7, ip_address(source)),
        (address, 8443, 7, None),
    ]
    assert [each.reactor for each in attempts] == [with_source.reactor, without.reactor]


def test_on_the_poller_several_addresses_race_too(attempts: list[Attempt]) -> None:
    egress = Egress()
    egress.connect(FOUR, OTHER, SIX)
    egress.reactor.advance(0.5)
    assert [each.arguments[0] for each in attempts] == [FOUR, SIX]
    attempts[0].result.errback(error.ConnectionRefusedError(111))
    assert attempts[2].arguments[0] == OTHER
    protocol = attempts[1].make()
    attempts[1].result.callback(protocol)
    assert egress.heard == egress.made == [protocol]
    egress.reactor.advance(0)
    assert [each.cancelled for each in attempts] == [False, False, True]


def test_names_go_to_the_resolver_that_was_given() -> None:
    reactor: Any = MemoryReactorClock()
    egress = DirectEgress(reactor, resolver=FixedResolver({"a.test": [SIX, FOUR]}))
    heard: list[object] = []
    egress.resolve("a.test").addCallback(heard.append)
    assert heard == [[SIX, FOUR]]


# On terms.


def test_it_goes_out_on_terms() -> None:
    assert verifyObject(IEgressOnTerms, Egress().egress)


def test_the_source_and_the_time_are_those_of_the_terms() -> None:
    noted = Egress(SOURCE)
    usual = noted.egress
    elsewhere = LocalAddresses.of([ip_address("192.0.2.77")])
    noted.egress = usual.on_terms(Terms(source=elsewhere, connect=3))
    noted.connect(FOUR)
    noted.connect(SIX)
    noted.egress = usual
    noted.connect(FOUR)
    # Of a family for which the terms have no address, the usual one serves.
    assert noted.sources() == [("192.0.2.77", 0), ("2001:db8::99", 0), ("192.0.2.99", 0)]
    assert [each[3] for each in noted.reactor.tcpClients] == [3, 3, 7]


def test_on_terms_the_device_is_chosen_too(attempts: list[Attempt]) -> None:
    noted = Egress(SOURCE)
    usual = noted.egress
    noted.egress = usual.on_terms(Terms(device="eth7"))
    noted.connect(FOUR)
    noted.egress = usual
    noted.connect(FOUR)
    assert [each.device for each in attempts] == ["eth7", None]
    assert attempts[0].arguments == attempts[1].arguments


def test_without_a_poller_no_device_can_be_chosen() -> None:
    with pytest.raises(Refusal, match="devices cannot be chosen on this platform") as caught:
        Egress().egress.on_terms(Terms(device="lo"))
    assert caught.value.outcome is Outcome.DENIED


def test_attempts_on_any_terms_share_what_bounds_them() -> None:
    noted = Egress()
    other = noted.egress.on_terms(Terms(connect=3))
    assert other._allowance is noted.egress._allowance
    assert other._resolver is noted.egress._resolver
