"""
An association by itself: transports of a test's, and a clock that it turns; with rules that
say at once what they think of an address, and with rules that take their time.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    MessageLengthError,
)
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.model import Outcome, Refusal
from socks5d.parameters import Filtering
from socks5d.relay import Association, association
from socks5d.relay.association import DECISIONS, LOOKUPS
from socks5d.relay.stream import CLIENT_RESET, FINISHED, IDLE, SHUTDOWN
from socks5d.relay.verdicts import LIFETIME, REFUSED_LIFETIME
from socks5d.wire.address import Address, IPAddress
from socks5d.wire.udp import END_OF_SEQUENCE, Header, encode_header, parse_header

SocketAddress = tuple[str, int]
Reached = Sequence[Address] | Deferred[Sequence[Address]]

IDLE_SECONDS = 300.0
CLOSING_SECONDS = 5.0
REASSEMBLY_SECONDS = 10.0
MOMENT = 0.001
END = END_OF_SEQUENCE

CLIENT = "198.51.100.7"
OWNER = (CLIENT, 5000)
#: Whoever is not the owner once the owner has sent.
STRANGERS = [("203.0.113.66", 5000), (CLIENT, 5001), ("::ffff:203.0.113.66", 5000)]
FIRST, SECOND, THIRD = (("192.0.2.1", 53), ("192.0.2.2", 53), ("192.0.2.3", 53))
SIX = ("2001:db8::1", 53)


@implementer(IUDPTransport)
class Datagrams:
    """
    A transport that keeps what it is given.

    @ivar sent: what was written, each with its target.
    @ivar errors: what writing to somebody fails with, by the target's address.
    @ivar connected: what it was connected to, in order.
    @ivar cannot_connect: what connecting it fails with, or None.
    @ivar protocol: what it hands datagrams to.
    """

    def __init__(self, name: str, events: list[str], protocol: DatagramProtocol) -> None:
        self.sent: list[tuple[bytes, SocketAddress]] = []
        self.errors: dict[str, Exception] = {}
        self.connected: list[SocketAddress] = []
        self.cannot_connect: OSError | None = None
        self.protocol = protocol
        self._name = name
        self._events = events

    def write(self, packet: bytes, addr: SocketAddress | None = None) -> None:
        assert addr is not None
        problem = self.errors.get(addr[0])
        if problem is not None:
            raise problem
        self.sent.append((packet, addr))

    def stopListening(self) -> Deferred[None]:
        self._events.append(f"{self._name} closes")
        return succeed(None)

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "192.0.2.100", 1081)

    def connect(self, host: str, port: int) -> None:
        self.connected.append((host, port))
        if self.cannot_connect is not None:
            raise self.cannot_connect

    def setBroadcastAllowed(self, enabled: bool) -> None:
        raise NotImplementedError

    def getBroadcastAllowed(self) -> bool:
        return False


class Control(StringTransport):
    """A control connection that says when it is closed, and how."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self._events = events

    def loseConnection(self) -> None:
        self._events.append("control closes")

    def abortConnection(self) -> None:
        self._events.append("control is reset")


class Scene:
    """
    An association.

    @cvar at_once: whether the rules say at once what they think of an address.
    @ivar events: what was closed, in order; C{"ended"} among it.
    @ivar names: what names resolve to: addresses, or a Deferred of them.
    @ivar refused: addresses that the rules refuse.
    @ivar reached: the destinations that were asked for, in order.
    @ivar strangers: what is said of strangers; by default yes.
    @ivar welcomed: the strangers that were asked for, in order.
    @ivar sockets: those towards destinations, in the order they were opened.
    @ivar towards: the addresses that a socket was to be opened towards, in order.
    @ivar opening: what opens them: at once, unless a test says otherwise.
    @ivar broken: what the sockets failed with that no network fails with.
    """

    at_once = True

    def __init__(
        self,
        *,
        client: str = CLIENT,
        port: int = 0,
        local: bool = False,
        filtering: Filtering = Filtering.ADDRESS_AND_PORT,
        reassembly: float | None = REASSEMBLY_SECONDS,
        destinations: int = 100,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        self.control = Control(self.events)
        self.names: dict[bytes, Sequence[str] | Deferred[Sequence[Address]]] = {}
        self.refused: set[str] = set()
        self.reached: list[Address] = []
        self.strangers: Callable[[Address], Reached] = lambda source: self.said([source])
        self.welcomed: list[Address] = []
        self.sockets: list[Datagrams] = []
        self.towards: list[IPAddress] = []
        self.opening: Callable[[Datagrams], Deferred[IUDPTransport]] = succeed
        self.broken: list[Failure] = []
        self.association = Association(
            control=self.control,
            clock=self.clock,
            client=ip_address(client),
            port=port,
            local=local,
            filtering=filtering,
            reassembly=reassembly,
            idle=idle,
            closing=CLOSING_SECONDS,
            destinations=destinations,
            reach=self._reach,
            welcome=self._welcome,
            open_client_side=self._open_client_side,
            open_socket=self._open,
            broken=self.broken.append,
            ended=lambda: self.events.append("ended"),
        )

    # What the association asks for.

    def said(self, where: Sequence[Address]) -> Reached:
        """The rules permit these."""
        return where if self.at_once else succeed(where)

    def forbidden(self) -> Reached:
        """The rules refuse."""
        if self.at_once:
            raise Refusal(Outcome.DENIED, "the rules do not like it")
        return fail(PermissionError("the rules do not like it"))

    def _reach(self, destination: Address) -> Reached:
        self.reached.append(destination)
        host, port = destination
        if not isinstance(host, bytes):
            return self.forbidden() if str(host) in self.refused else self.said([destination])
        found = self.names.get(host)
        if found is None:
            return fail(LookupError("no such name"))
        if isinstance(found, Deferred):
            return found
        return succeed([Address(ip_address(text), port) for text in found])

    def _welcome(self, source: Address) -> Reached:
        self.welcomed.append(source)
        return self.strangers(source)

    def _open_client_side(self, protocol: DatagramProtocol) -> IUDPTransport:
        self.client_side = Datagrams("client side", self.events, protocol)
        return self.client_side

    def _open(self, towards: IPAddress, protocol: DatagramProtocol) -> Deferred[IUDPTransport]:
        self.towards.append(towards)
        made = Datagrams(f"IPv{towards.version} socket", self.events, protocol)
        self.sockets.append(made)
        return self.opening(made)

    # What comes.

    def client_sends(
        self,
        data: bytes,
        to: tuple[str | bytes, int] = FIRST,
        frag: int = 0,
        source: SocketAddress = OWNER,
    ) -> None:
        self.raw(datagram(data, to, frag), source)

    def raw(self, octets: bytes, source: SocketAddress = OWNER) -> None:
        """What comes to the client's side."""
        self.client_side.protocol.datagramReceived(octets, source)

    def answers(self, data: bytes, source: SocketAddress = FIRST) -> None:
        """Somebody sends to the socket of its family, which is there."""
        self.sockets[
            self._families().index(6 if ":" in source[0] else 4)
        ].protocol.datagramReceived(data, source)

    # What becomes of it.

    def sent(self) -> list[tuple[bytes, SocketAddress]]:
        """What went to destinations, by the first socket and then by the others."""
        return [each for made in self.sockets for each in made.sent]

    def got(self) -> list[tuple[bytes, SocketAddress]]:
        """What went to the client: data, and where the header says it is from."""
        found = []
        for octets, target in self.client_side.sent:
            assert target == OWNER
            (frag, (host, port)), end = parse_header(octets)
            assert (octets[:2], frag) == (b"\0\0", 0)
            found.append((octets[end:], (str(host), port)))
        return found

    def counts(self) -> tuple[int, int, int]:
        return self.association.received, self.association.sent, self.association.dropped

    def _families(self) -> list[int]:
        return [each.version for each in self.towards]


def datagram(data: bytes, to: tuple[str | bytes, int] = FIRST, frag: int = 0) -> bytes:
    """What a client sends for a destination."""
    host, port = to
    target = host if isinstance(host, bytes) else ip_address(host)
    return encode_header(Header(frag, Address(target, port))) + data


def resolved(*addresses: str, port: int = 53) -> list[Address]:
    return [Address(ip_address(text), port) for text in addresses]


def done() -> Failure:
    return Failure(ConnectionDone())


def problem(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture(params=[True, False], ids=["at once", "later"], scope="module", autouse=True)
def at_once(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the rules say at once what they think of an address."""
    before, Scene.at_once = Scene.at_once, request.param
    yield request.param
    Scene.at_once = before


def test_the_transports_of_these_tests_are_what_they_stand_for() -> None:
    assert verifyObject(IUDPTransport, Scene().client_side)


def test_datagrams_go_both_ways_without_and_with_a_header() -> None:
    scene = Scene()
    scene.client_sends(b"question")
    assert scene.sent() == [(b"question", FIRST)]
    scene.answers(b"the answer")
    assert scene.got() == [(b"the answer", FIRST)]
    assert scene.counts() == (8, 10, 0)


def test_an_empty_datagram_is_passed_on_both_ways() -> None:
    scene = Scene()
    scene.client_sends(b"")
    scene.answers(b"")
    assert scene.sent() == [(b"", FIRST)]
    assert scene.got() == [(b"", FIRST)]
    assert scene.counts() == (0, 0, 0)


@pytest.mark.parametrize(
    ("source", "header"),
    [
        (FIRST, b"\0\0\0\1\xc0\0\2\1\0\x35"),
        (SIX, b"\0\0\0\4\x20\1\x0d\xb8" + bytes(11) + b"\1\0\x35"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_an_answer_says_where_it_is_from(source: SocketAddress, header: bytes) -> None:
    scene = Scene()
    scene.client_sends(b"question", source)
    for data in (b"an answer", b"another"):
        scene.answers(data, source)
    assert scene.client_side.sent == [(header + b"an answer", OWNER), (header + b"another", OWNER)]


def test_an_answer_is_from_whom_it_is_from_and_not_from_whom_was_asked() -> None:
    scene = Scene(filtering=Filtering.ADDRESS)
    scene.client_sends(b"question", FIRST)
    scene.client_sends(b"question", SECOND)
    for port, source in ((4001, SECOND), (4002, FIRST), (4001, SECOND)):
        scene.answers(b"answer", (source[0], port))
    assert [source for _, source in scene.got()] == [
        (SECOND[0], 4001),
        (FIRST[0], 4002),
        (SECOND[0], 4001),
    ]


def test_where_the_client_is_to_send_to_is_what_its_socket_says() -> None:
    assert Scene().association.host() == IPv4Address("UDP", "192.0.2.100", 1081)


def test_a_client_side_that_cannot_be_opened_is_the_callers_problem() -> None:
    clock = Clock()

    def cannot(protocol: DatagramProtocol) -> IUDPTransport:
        raise problem(errno.EADDRINUSE)

    unused: Any = None
    with pytest.raises(OSError, match="in use"):
        Association(
            control=unused,
            clock=clock,
            client=ip_address(CLIENT),
            port=0,
            local=False,
            filtering=Filtering.NONE,
            reassembly=None,
            idle=1.0,
            closing=1.0,
            destinations=1,
            reach=unused,
            welcome=unused,
            open_client_side=cannot,
            open_socket=unused,
            broken=unused,
            ended=unused,
        )
    assert clock.getDelayedCalls() == []


# Whose datagrams they are.


def test_the_first_good_datagram_tells_which_port_is_the_clients() -> None:
    scene = Scene()
    scene.client_sends(b"owner")
    for stranger in STRANGERS:
        scene.client_sends(b"stranger", source=stranger)
    scene.client_sends(b"owner again")
    assert scene.sent() == [(b"owner", FIRST), (b"owner again", FIRST)]
    assert scene.association.dropped == len(STRANGERS)


@pytest.mark.parametrize("stranger", [STRANGERS[0], STRANGERS[2], ("2001:db8::66", 5000)])
def test_who_has_not_the_clients_address_is_a_stranger_before_it_too(
    stranger: SocketAddress,
) -> None:
    scene = Scene()
    scene.client_sends(b"stranger", source=stranger)
    assert (scene.sent(), scene.reached, scene.association.dropped) == ([], [], 1)
    scene.client_sends(b"owner")
    assert scene.sent() == [(b"owner", FIRST)]


MALFORMED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\0\0\0\1\xc0\0\2\1\0", id="cut short"),
    pytest.param(b"\0\0\0\1", id="no address"),
    pytest.param(b"\0\0\0\2\xc0\0\2\1\0\x35data", id="no such ATYP"),
    pytest.param(b"\0\0\0\3\xff" + bytes(256), id="a name cut short"),
]


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_datagram_is_dropped_and_tells_nothing(malformed: bytes) -> None:
    scene = Scene()
    scene.raw(malformed, (CLIENT, 4999))
    scene.client_sends(b"owner")
    scene.raw(malformed)
    scene.client_sends(b"owner again")
    assert scene.sent() == [(b"owner", FIRST), (b"owner again", FIRST)]
    assert scene.association.dropped == 2


def test_a_datagram_to_nowhere_is_a_good_one() -> None:
    """Whose it is does not hang on what the rules think of its destination."""
    scene = Scene()
    scene.refused.add(FIRST[0])
    scene.client_sends(b"refused")
    scene.client_sends(b"stranger", SECOND, source=(CLIENT, 5001))
    scene.client_sends(b"owner", SECOND)
    assert scene.sent() == [(b"owner", SECOND)]


def test_an_announced_port_is_the_clients_from_the_beginning() -> None:
    scene = Scene(port=OWNER[1])
    scene.client_sends(b"stranger", source=(CLIENT, OWNER[1] + 1))
    scene.client_sends(b"stranger", source=STRANGERS[0])
    assert (scene.sent(), scene.association.dropped) == ([], 2)
    scene.client_sends(b"owner")
    assert scene.sent() == [(b"owner", FIRST)]


@pytest.mark.parametrize(
    ("client", "source"),
    [
        ("2001:db8::7", "2001:db8::7"),
        ("2001:db8::7", "2001:db8:0:0:0:0:0:7"),
        (CLIENT, f"::ffff:{CLIENT}"),
    ],
    ids=["IPv6", "written otherwise", "IPv4 on a socket of both families"],
)
def test_a_client_is_known_by_its_address_of_any_family(client: str, source: str) -> None:
    scene = Scene(client=client)
    scene.client_sends(b"stranger", source=("2001:db8::8", 5000))
    scene.client_sends(b"owner", source=(source, 5000))
    assert scene.sent() == [(b"owner", FIRST)]
    scene.answers(b"answer")
    # As it came: that is how the socket takes it back.
    assert scene.client_side.sent == [(datagram(b"answer"), (source, 5000))]


def ours(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """These are ports of the server's own sockets for datagrams."""
    monkeypatch.setattr(association, "is_ours", lambda port: port in ports)


def test_a_local_clients_datagrams_are_not_what_others_send_by_way_of_this_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """These come from this host too, and whoever has them sent need not be on it."""
    scene = Scene(local=True)
    ours(monkeypatch, 5001, 5002)
    for port in (5001, 5002):
        scene.client_sends(b"of somebody else's", source=(CLIENT, port))
    assert (scene.sent(), scene.association.dropped) == ([], 2)
    assert scene.client_side.connected == []
    scene.client_sends(b"owner")
    assert (scene.sent(), scene.client_side.connected) == ([(b"owner", FIRST)], [OWNER])


def test_nor_are_they_where_a_local_client_has_announced_that_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(local=True, port=OWNER[1])
    ours(monkeypatch, OWNER[1])
    scene.client_sends(b"of somebody else's")
    assert (scene.sent(), scene.association.dropped) == ([], 1)


def test_a_client_elsewhere_may_have_any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    ours(monkeypatch, OWNER[1])
    scene.client_sends(b"owner")
    assert scene.sent() == [(b"owner", FIRST)]


def test_answers_go_to_whose_datagram_was_the_first_good_one() -> None:
    scene = Scene()
    scene.client_sends(b"owner")
    scene.client_sends(b"stranger", source=STRANGERS[1])
    scene.answers(b"answer")
    assert [target for _, target in scene.client_side.sent] == [OWNER]


@pytest.mark.parametrize("port", [0, OWNER[1]])
def test_the_clients_side_is_connected_to_the_client_once_it_is_known(port: int) -> None:
    scene = Scene(port=port)
    scene.client_sends(b"stranger", source=STRANGERS[0])
    scene.raw(b"malformed")
    assert scene.client_side.connected == []
    scene.client_sends(b"owner")
    assert scene.client_side.connected == [OWNER]
    for stranger in STRANGERS:
        scene.client_sends(b"stranger", source=stranger)
    scene.client_sends(b"owner again")
    scene.answers(b"answer")
    assert scene.client_side.connected == [OWNER]
    # Destinations may be many.
    assert [made.connected for made in scene.sockets] == [[]]


def test_it_is_connected_to_the_address_as_it_came() -> None:
    scene = Scene()
    scene.client_sends(b"owner", source=(f"::ffff:{CLIENT}", 5000))
    assert scene.client_side.connected == [(f"::ffff:{CLIENT}", 5000)]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ECONNREFUSED, errno.ENETUNREACH])
def test_a_clients_side_that_cannot_be_connected_does_all_the_same(
    number: int, logs: Sequence[LogEvent]
) -> None:
    scene = Scene()
    scene.client_side.cannot_connect = problem(number)
    scene.client_sends(b"owner")
    for stranger in STRANGERS:
        scene.client_sends(b"stranger", source=stranger)
    scene.client_sends(b"owner again")
    scene.answers(b"answer")
    assert scene.sent() == [(b"owner", FIRST), (b"owner again", FIRST)]
    assert scene.got() == [(b"answer", FIRST)]
    assert scene.counts() == (16, 6, len(STRANGERS))
    assert scene.association.end == ""
    # It is not tried again, and nothing that an operator would have to read.
    assert scene.client_side.connected == [OWNER]
    assert [event["log_level"] for event in logs] == [LogLevel.debug]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("before", [True, False], ids=["before the owner", "after the owner"])
def test_strangers_do_not_keep_an_association_alive(stranger: SocketAddress, before: bool) -> None:
    scene = Scene(port=OWNER[1])
    if not before:
        scene.client_sends(b"owner")
    scene.clock.advance(IDLE_SECONDS - 1)
    scene.client_sends(b"stranger", source=stranger)
    scene.raw(b"malformed", stranger)
    assert scene.association.end == ""
    scene.clock.advance(1)
    assert scene.association.end == IDLE


def test_malformed_datagrams_and_unasked_answers_do_not_keep_it_alive_either() -> None:
    scene = Scene()
    scene.client_sends(b"owner")
    scene.clock.advance(IDLE_SECONDS - 1)
    scene.raw(b"malformed")
    scene.answers(b"nobody asked", SECOND)
    scene.clock.advance(1)
    assert scene.association.end == IDLE


# Where they go.


def test_a_name_is_resolved_once_for_a_while() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [FIRST[0]]
    for _ in range(3):
        scene.client_sends(b"x", (b"a.test", 53))
    scene.clock.advance(LIFETIME)
    scene.client_sends(b"x", (b"a.test", 53))
    assert scene.reached == [Address(b"a.test", 53)]
    scene.clock.advance(MOMENT)
    scene.names[b"a.test"] = [SECOND[0]]
    scene.client_sends(b"y", (b"a.test", 53))
    assert scene.reached == [Address(b"a.test", 53)] * 2
    assert scene.sent() == [(b"x", FIRST)] * 4 + [(b"y", SECOND)]


def test_a_port_of_the_same_name_is_another_destination() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [FIRST[0]]
    for port in (53, 54, 53):
        scene.client_sends(b"x", (b"a.test", port))
    assert [port for _, (_, port) in scene.sent()] == [53, 54, 53]
    assert scene.reached == [Address(b"a.test", 53), Address(b"a.test", 54)]


def test_datagrams_wait_while_a_name_resolves_and_hold_up_no_others() -> None:
    scene = Scene()
    resolving: Deferred[Sequence[Address]] = Deferred()
    scene.names[b"a.test"] = resolving
    scene.client_sends(b"1", (b"a.test", 53))
    scene.client_sends(b"2", (b"a.test", 53))
    scene.client_sends(b"elsewhere", SECOND)
    assert scene.sent() == [(b"elsewhere", SECOND)]
    resolving.callback(resolved(FIRST[0]))
    assert scene.sent()[1:] == [(b"1", FIRST), (b"2", FIRST)]
    assert scene.counts() == (11, 0, 0)


def test_names_that_do_not_resolve_hold_up_no_addresses() -> None:
    scene = Scene()
    for number in range(LOOKUPS + 3):
        name = b"%d.test" % number
        scene.names[name] = Deferred()
        scene.client_sends(b"to nowhere", (name, 53))
    assert len(scene.reached) == LOOKUPS
    assert scene.association.dropped == 3
    scene.client_sends(b"x")
    assert scene.sent() == [(b"x", FIRST)]
    assert DECISIONS > LOOKUPS


def test_what_is_refused_is_dropped_and_asked_for_again_before_long() -> None:
    scene = Scene()
    scene.refused.add(FIRST[0])
    scene.client_sends(b"1")
    scene.client_sends(b"2")
    assert (len(scene.reached), scene.association.dropped) == (1, 2)
    scene.refused.clear()
    scene.clock.advance(REFUSED_LIFETIME + MOMENT)
    scene.client_sends(b"3")
    assert scene.sent() == [(b"3", FIRST)]
    assert scene.counts() == (1, 0, 2)


def test_a_name_with_no_address_that_is_permitted_is_refused() -> None:
    scene = Scene()
    scene.names[b"a.test"] = []
    scene.client_sends(b"x", (b"a.test", 53))
    assert (scene.sockets, scene.association.dropped) == ([], 1)


@pytest.mark.parametrize(
    "number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT]
)
def test_the_next_address_of_a_name_serves_where_there_is_no_way_to_one(number: int) -> None:
    scene = Scene()
    scene.names[b"a.test"] = [SIX[0], FIRST[0], SECOND[0]]
    scene.opening = lambda made: _without_way(made, SIX[0], number)
    scene.client_sends(b"1", (b"a.test", 53))
    scene.client_sends(b"2", (b"a.test", 53))
    assert scene.sent() == [(b"1", FIRST), (b"2", FIRST)]
    # It serves from then on: to find that out may have taken a while.
    scene.sockets[0].errors.clear()
    scene.client_sends(b"3", (b"a.test", 53))
    assert scene.sent()[2:] == [(b"3", FIRST)]
    assert scene.counts() == (3, 0, 0)


def _without_way(made: Datagrams, host: str, number: int) -> Deferred[IUDPTransport]:
    made.errors[host] = problem(number)
    return succeed(made)


def test_a_flow_stays_with_its_address_while_the_name_has_it() -> None:
    scene = Scene()
    went: list[str] = []
    for number, addresses in enumerate(
        (
            [FIRST[0], SECOND[0]],
            [SECOND[0], FIRST[0], THIRD[0]],
            [SIX[0], FIRST[0]],
            [THIRD[0], SECOND[0]],
            [SECOND[0], THIRD[0]],
        )
    ):
        scene.names[b"a.test"] = addresses
        before = len(scene.sent())
        scene.client_sends(b"%d" % number, (b"a.test", 53))
        went += [host for _, (host, _) in scene.sent()[before:]]
        scene.clock.advance(LIFETIME + MOMENT)
    assert went == [FIRST[0], FIRST[0], FIRST[0], THIRD[0], THIRD[0]]


def test_it_stays_with_the_one_that_it_went_on_with() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [FIRST[0], SECOND[0], THIRD[0]]
    scene.opening = lambda made: _without_way(made, FIRST[0], errno.EHOSTUNREACH)
    scene.client_sends(b"1", (b"a.test", 53))
    scene.sockets[0].errors.clear()
    scene.clock.advance(LIFETIME + MOMENT)
    scene.client_sends(b"2", (b"a.test", 53))
    assert scene.sent() == [(b"1", SECOND), (b"2", SECOND)]
    # The others are there for when there is no way to that one, in their order.
    scene.sockets[0].errors[SECOND[0]] = problem(errno.EHOSTUNREACH)
    scene.client_sends(b"3", (b"a.test", 53))
    assert scene.sent()[2:] == [(b"3", FIRST)]


@pytest.mark.parametrize(
    "error",
    [
        problem(errno.EMSGSIZE),
        problem(errno.EAGAIN),
        problem(errno.EPERM),
        MessageLengthError("too long"),
        RuntimeError("odd"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_datagram_is_not_its_destinations_fault(error: Exception) -> None:
    scene = Scene()
    scene.names[b"a.test"] = [FIRST[0], SECOND[0]]
    scene.client_sends(b"1", (b"a.test", 53))
    scene.sockets[0].errors[FIRST[0]] = error
    scene.client_sends(b"2", (b"a.test", 53))
    scene.sockets[0].errors.clear()
    scene.client_sends(b"3", (b"a.test", 53))
    assert scene.sent() == [(b"1", FIRST), (b"3", FIRST)]
    assert scene.counts() == (2, 0, 1)
    # What no network fails with is somebody's to put right.
    odd = isinstance(error, RuntimeError)
    assert [failure.value for failure in scene.broken] == [error] * odd


def test_a_name_whose_addresses_have_no_way_keeps_the_last() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [FIRST[0], SECOND[0]]
    scene.client_sends(b"1", (b"a.test", 53))
    for host in (FIRST[0], SECOND[0]):
        scene.sockets[0].errors[host] = problem(errno.ENETUNREACH)
    scene.client_sends(b"2", (b"a.test", 53))
    scene.client_sends(b"3", (b"a.test", 53))
    assert scene.association.dropped == 2
    scene.sockets[0].errors.clear()
    scene.client_sends(b"4", (b"a.test", 53))
    assert scene.sent() == [(b"1", FIRST), (b"4", SECOND)]


def test_a_destination_that_cannot_be_written_to_costs_no_other() -> None:
    scene = Scene()
    scene.client_sends(b"1", FIRST)
    scene.sockets[0].errors[FIRST[0]] = problem(errno.ENETUNREACH)
    scene.client_sends(b"2", FIRST)
    scene.client_sends(b"3", SECOND)
    assert scene.sent() == [(b"1", FIRST), (b"3", SECOND)]
    assert scene.counts() == (2, 0, 1)
    assert scene.association.end == ""


def test_a_client_that_cannot_be_written_to_costs_one_datagram() -> None:
    scene = Scene()
    scene.client_sends(b"question")
    scene.client_side.errors[OWNER[0]] = problem(errno.EMSGSIZE)
    scene.answers(b"too large for a header")
    scene.client_side.errors.clear()
    scene.answers(b"answer")
    assert scene.got() == [(b"answer", FIRST)]
    assert scene.counts() == (8, 6, 1)
    assert scene.association.end == ""


def test_one_destination_too_many_makes_it_forget_what_it_knows_of_the_oldest() -> None:
    scene = Scene(destinations=2)
    for where in (FIRST, SECOND, THIRD, SECOND):
        scene.client_sends(b"x", where)
    assert len(scene.reached) == 3
    scene.client_sends(b"x", FIRST)
    assert len(scene.reached) == 4


# Who may answer.


def test_by_address_and_port_those_answer_who_were_sent_to() -> None:
    scene = Scene()
    scene.client_sends(b"question")
    scene.answers(b"another port", (FIRST[0], FIRST[1] + 1))
    scene.answers(b"another address", SECOND)
    scene.answers(b"answer", FIRST)
    assert scene.got() == [(b"answer", FIRST)]
    assert (scene.association.dropped, scene.welcomed) == (2, [])


def test_by_address_every_port_answers_of_those_who_were_sent_to() -> None:
    scene = Scene(filtering=Filtering.ADDRESS)
    scene.client_sends(b"question")
    scene.answers(b"another port", (FIRST[0], FIRST[1] + 1))
    scene.answers(b"another address", SECOND)
    scene.answers(b"answer", FIRST)
    assert scene.got() == [(b"another port", (FIRST[0], FIRST[1] + 1)), (b"answer", FIRST)]
    assert (scene.association.dropped, scene.welcomed) == (1, [])


def test_without_filtering_those_answer_whom_the_rules_let_the_client_send_to() -> None:
    scene = Scene(filtering=Filtering.NONE)
    scene.strangers = lambda source: (
        scene.said([source]) if source.port < 1024 else scene.forbidden()
    )
    scene.client_sends(b"question")
    scene.answers(b"welcome", SECOND)
    scene.answers(b"welcome again", SECOND)
    scene.answers(b"not welcome", (SECOND[0], 4000))
    scene.answers(b"not welcome", (SECOND[0], 4000))
    assert scene.got() == [(b"welcome", SECOND), (b"welcome again", SECOND)]
    assert scene.association.dropped == 2
    assert scene.welcomed == [
        Address(ip_address(SECOND[0]), 53),
        Address(ip_address(SECOND[0]), 4000),
    ]
    scene.clock.advance(LIFETIME + MOMENT)
    scene.answers(b"welcome", SECOND)
    assert len(scene.welcomed) == 3


def test_a_strangers_datagrams_wait_while_the_rules_are_asked() -> None:
    scene = Scene(filtering=Filtering.NONE)
    asking: Deferred[Sequence[Address]] = Deferred()
    scene.strangers = lambda source: asking
    scene.client_sends(b"question")
    scene.answers(b"1", SECOND)
    scene.answers(b"2", SECOND)
    assert scene.got() == []
    asking.callback(resolved(SECOND[0]))
    assert scene.got() == [(b"1", SECOND), (b"2", SECOND)]


def test_strangers_that_the_rules_are_asked_about_are_bounded() -> None:
    scene = Scene(filtering=Filtering.NONE)
    scene.strangers = lambda source: Deferred()
    scene.client_sends(b"question")
    for port in range(1000, 1000 + DECISIONS + 5):
        scene.answers(b"x", (SECOND[0], port))
    assert (len(scene.welcomed), scene.association.dropped) == (DECISIONS, 5)


def test_without_filtering_nobody_is_asked_about_who_was_sent_to() -> None:
    scene = Scene(filtering=Filtering.NONE)
    scene.strangers = lambda source: scene.forbidden()
    scene.client_sends(b"question", FIRST)
    scene.answers(b"answer", FIRST)
    assert (scene.got(), scene.welcomed) == ([(b"answer", FIRST)], [])
    # Another port of it is a stranger.
    scene.answers(b"answer", (FIRST[0], FIRST[1] + 1))
    assert (len(scene.got()), len(scene.welcomed), scene.association.dropped) == (1, 1, 1)


def test_who_was_refused_may_not_answer() -> None:
    scene = Scene()
    scene.client_sends(b"x", SECOND)
    scene.refused.add(FIRST[0])
    scene.client_sends(b"x", FIRST)
    scene.answers(b"answer", FIRST)
    assert scene.got() == []


def test_nobody_may_answer_while_the_rules_are_asked_whether_it_may_be_sent_to() -> None:
    scene = Scene()
    scene.client_sends(b"x", SECOND)
    scene.names[b"a.test"] = Deferred()
    scene.client_sends(b"x", (b"a.test", 53))
    scene.answers(b"answer", FIRST)
    assert scene.got() == []


def test_only_the_address_of_a_name_that_is_sent_to_may_answer() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [FIRST[0], SECOND[0]]
    scene.client_sends(b"x", (b"a.test", 53))
    scene.answers(b"answer", FIRST)
    scene.answers(b"the other one", SECOND)
    assert scene.got() == [(b"answer", FIRST)]


@pytest.mark.parametrize("filtering", [Filtering.ADDRESS, Filtering.ADDRESS_AND_PORT])
def test_those_who_may_answer_are_a_bounded_number(filtering: Filtering) -> None:
    scene = Scene(filtering=filtering, destinations=2)
    for where in (FIRST, SECOND, THIRD):
        scene.client_sends(b"x", where)
    for where in (FIRST, SECOND, THIRD):
        scene.answers(b"answer", where)
    assert scene.got() == [(b"answer", SECOND), (b"answer", THIRD)]
    # Who is sent to again may answer again.
    scene.client_sends(b"x", FIRST)
    scene.answers(b"answer", FIRST)
    assert scene.got()[2:] == [(b"answer", FIRST)]


def test_many_ports_of_one_address_fill_no_table() -> None:
    scene = Scene(filtering=Filtering.ADDRESS, destinations=4)
    scene.client_sends(b"x")
    sources = [(FIRST[0], port) for port in (*range(2000, 2050), 2000)]
    for source in sources:
        scene.answers(b"answer", source)
    assert scene.got() == [(b"answer", source) for source in sources]
    assert len(scene.association._headers) == 4


def _as_the_kernel_writes(host: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, ip_address(host).packed)


@pytest.mark.parametrize(
    "host",
    [
        "2001:db8::1",
        "2001:0:0:1:0:0:0:1",
        "2001:db8:0:1:1:1:1:1",
        "64:ff9b::192.0.2.1",
        "::1",
        # The kernel writes ::192.0.2.1, ipaddress ::c000:201.
        "::192.0.2.1",
    ],
)
def test_who_answers_is_known_as_the_kernel_writes_an_address(host: str) -> None:
    scene = Scene()
    scene.client_sends(b"question", (host, 53))
    scene.answers(b"answer", (_as_the_kernel_writes(host), 53))
    assert scene.got() == [(b"answer", (str(ip_address(host)), 53))]


# Fragments.


def fragments(scene: Scene, *pieces: tuple[int, bytes]) -> list[bytes]:
    """The datagrams that go out for some fragments."""
    before = len(scene.sent())
    for frag, data in pieces:
        scene.client_sends(data, frag=frag)
    return [data for data, _ in scene.sent()[before:]]


def test_fragments_in_their_order_are_one_datagram() -> None:
    scene = Scene()
    assert fragments(scene, (1, b"one "), (2, b"two "), (3 | END, b"three")) == [b"one two three"]
    assert fragments(scene, (1 | END, b"alone")) == [b"alone"]
    assert scene.counts() == (18, 0, 0)


@pytest.mark.parametrize(
    ("frags", "out"),
    [
        pytest.param([1, 2, 2 | END], 0, id="one twice"),
        pytest.param([1, 3 | END], 0, id="a gap"),
        pytest.param([1, 2, 4, 3 | END], 0, id="out of order"),
        pytest.param([2, 3 | END], 0, id="no beginning"),
        pytest.param([END], 0, id="position 0"),
        pytest.param([1, 2, 1, 2 | END], 1, id="begun anew"),
        pytest.param([1, 2, 3], 0, id="no end"),
    ],
)
def test_fragments_that_are_no_datagram_are_dropped_and_counted(frags: list[int], out: int) -> None:
    scene = Scene()
    assert len(fragments(scene, *((frag, b"x") for frag in frags))) == out
    held = len(scene.association._fragments)
    assert scene.association.dropped + held == len(frags) - 2 * out
    # What comes after them is not hurt.
    assert fragments(scene, (1, b"a"), (2 | END, b"b")) == [b"ab"]


def test_a_lower_position_begins_anew() -> None:
    scene = Scene()
    assert fragments(scene, (1, b"a"), (2, b"b"), (1, b"c"), (2 | END, b"d")) == [b"cd"]
    assert scene.association.dropped == 2


@pytest.mark.parametrize("seconds", [5.0, REASSEMBLY_SECONDS])
def test_fragments_have_their_time_from_the_first_on(seconds: float) -> None:
    """RFC 1928 section 7 wants it to be no less than 5 seconds."""
    scene = Scene(reassembly=seconds)
    scene.client_sends(b"a", frag=1)
    scene.clock.advance(seconds / 2)
    scene.client_sends(b"b", frag=2)
    scene.clock.advance(seconds / 2)
    scene.client_sends(b"c", frag=3 | END)
    assert scene.sent() == [(b"abc", FIRST)]


def test_fragments_that_come_later_than_that_are_dropped() -> None:
    scene = Scene()
    scene.client_sends(b"a", frag=1)
    scene.clock.advance(REASSEMBLY_SECONDS - 1)
    scene.client_sends(b"b", frag=2)
    scene.clock.advance(1 + MOMENT)
    scene.client_sends(b"c", frag=3)
    scene.client_sends(b"d", frag=4 | END)
    assert scene.sent() == []
    # A first one has its time anew.
    scene.client_sends(b"e", frag=1)
    scene.clock.advance(REASSEMBLY_SECONDS)
    scene.client_sends(b"f", frag=2 | END)
    assert scene.sent() == [(b"ef", FIRST)]


def test_fragments_that_the_timer_abandons_are_dropped_datagrams() -> None:
    scene = Scene()
    scene.client_sends(b"a", frag=1)
    scene.client_sends(b"b", frag=2)
    scene.clock.advance(REASSEMBLY_SECONDS + MOMENT)
    scene.client_sends(b"c", frag=3)
    assert scene.association.dropped == 3


def test_fragments_that_the_end_abandons_are_dropped_datagrams() -> None:
    scene = Scene()
    scene.client_sends(b"a", frag=1)
    scene.client_sends(b"b", frag=2)
    scene.association.client_eof()
    assert scene.association.dropped == 2


def test_a_whole_datagram_abandons_a_sequence_under_way() -> None:
    """RFC 1928 section 7: its FRAG, 0, is lower than the highest so far."""
    scene = Scene()
    assert fragments(scene, (1, b"a"), (2, b"b"), (0, b"whole")) == [b"whole"]
    assert scene.counts() == (5, 0, 2)
    # What would have gone on with it is no beginning.
    assert fragments(scene, (3 | END, b"c")) == []
    assert scene.counts() == (5, 0, 3)
    assert fragments(scene, (1, b"d"), (2 | END, b"e"), (0, b"whole")) == [b"de", b"whole"]
    assert scene.counts() == (12, 0, 3)


def test_a_whole_datagram_to_wherever_abandons_it() -> None:
    scene = Scene()
    scene.refused.add(SECOND[0])
    for elsewhere in (SIX, SECOND, (b"nowhere.test", 53)):
        scene.client_sends(b"a", FIRST, frag=1)
        scene.client_sends(b"whole", elsewhere)
        scene.client_sends(b"b", FIRST, frag=2 | END)
    assert scene.sent() == [(b"whole", SIX)]
    # Of each round both fragments; and the two that had nowhere to go.
    assert scene.association.dropped == 3 * 2 + 2


def test_whole_datagrams_that_are_not_the_clients_abandon_nothing() -> None:
    scene = Scene()
    scene.client_sends(b"a", frag=1)
    scene.client_sends(b"stranger", source=STRANGERS[1])
    scene.raw(b"\0\0\0\1cut")
    scene.client_sends(b"b", frag=2 | END)
    assert scene.sent() == [(b"ab", FIRST)]


def test_fragments_wait_without_a_timer() -> None:
    scene = Scene()
    before = scene.clock.getDelayedCalls()
    scene.client_sends(b"a", frag=1)
    assert scene.clock.getDelayedCalls() == before


def test_fragments_to_another_destination_are_not_mixed_in() -> None:
    scene = Scene()
    scene.client_sends(b"a", FIRST, frag=1)
    scene.client_sends(b"b", SECOND, frag=2 | END)
    scene.client_sends(b"c", FIRST, frag=2 | END)
    assert scene.sent() == []
    assert scene.association.dropped == 3


def test_fragments_are_dropped_where_that_is_set() -> None:
    scene = Scene(reassembly=None)
    assert fragments(scene, (1, b"a"), (2 | END, b"b"), (1 | END, b"c"), (0, b"whole")) == [
        b"whole"
    ]
    assert scene.association.dropped == 3


def test_a_strangers_fragments_are_not_mixed_in() -> None:
    scene = Scene()
    scene.client_sends(b"a", frag=1)
    scene.client_sends(b"stranger", frag=2 | END, source=STRANGERS[1])
    scene.client_sends(b"stranger", frag=1, source=STRANGERS[0])
    scene.client_sends(b"b", frag=2 | END)
    assert scene.sent() == [(b"ab", FIRST)]


def test_a_fragment_is_a_datagram_of_the_clients() -> None:
    """It tells which port is its, and that it is still there."""
    scene = Scene()
    scene.client_sends(b"a", frag=1)
    scene.clock.advance(IDLE_SECONDS - 1)
    scene.client_sends(b"stranger", source=STRANGERS[1])
    scene.client_sends(b"b", frag=1)
    scene.clock.advance(IDLE_SECONDS - 1)
    assert (scene.sent(), scene.association.end) == ([], "")


@given(
    st.lists(st.binary(max_size=20), min_size=1, max_size=127),
    st.sampled_from([FIRST, SIX, (b"a.test", 53), (b"b.test", 53), (b"nowhere.test", 53)]),
)
def test_a_datagram_that_was_put_together_takes_the_way_of_a_whole_one(
    pieces: list[bytes], to: tuple[str | bytes, int]
) -> None:
    outcomes = []
    numbered = [(number, piece) for number, piece in enumerate(pieces, 1)]
    numbered[-1] = (numbered[-1][0] | END, pieces[-1])
    for parts in (numbered, [(0, b"".join(pieces))]):
        scene = Scene()
        scene.names = {b"a.test": [FIRST[0], SIX[0]], b"b.test": [SIX[0]]}
        for frag, data in parts:
            scene.client_sends(data, to, frag)
        if scene.sockets:
            scene.answers(b"answer", scene.sent()[0][1])
        outcomes.append((scene.sent(), scene.got(), scene.counts(), scene.reached, scene.towards))
    assert outcomes[0] == outcomes[1]


# Sockets.


def test_a_socket_is_opened_when_its_family_is_first_sent_to() -> None:
    scene = Scene()
    assert scene.towards == []
    for where in (FIRST, SECOND, SIX, THIRD, SIX):
        scene.client_sends(b"x", where)
    assert scene.towards == [ip_address(FIRST[0]), ip_address(SIX[0])]
    assert [target for _, target in scene.sockets[0].sent] == [FIRST, SECOND, THIRD]
    assert [target for _, target in scene.sockets[1].sent] == [SIX, SIX]


def test_no_socket_is_opened_for_what_is_not_sent() -> None:
    scene = Scene()
    scene.refused.add(FIRST[0])
    scene.client_sends(b"refused")
    scene.raw(b"malformed")
    scene.client_sends(b"stranger", source=STRANGERS[0])
    scene.client_sends(b"no such name", (b"a.test", 53))
    scene.client_sends(b"not the whole", SECOND, frag=1)
    assert scene.towards == []


class Slowly:
    """
    Opens sockets when the test says so.

    @ivar pending: those that are being opened.
    @ivar given_up: how many were given up.
    """

    def __init__(self, scene: Scene) -> None:
        self.pending: list[tuple[Datagrams, Deferred[IUDPTransport]]] = []
        self.given_up = 0
        scene.opening = self._open

    def _open(self, made: Datagrams) -> Deferred[IUDPTransport]:
        opening: Deferred[IUDPTransport] = Deferred(self._give_up)
        self.pending.append((made, opening))
        return opening

    def _give_up(self, opening: Deferred[IUDPTransport]) -> None:
        self.pending = [each for each in self.pending if each[1] is not opening]
        self.given_up += 1

    def opens(self) -> None:
        made, opening = self.pending.pop(0)
        opening.callback(made)

    def fails(self) -> None:
        self.pending.pop(0)[1].errback(problem(errno.EMFILE))


def test_a_family_has_one_socket_even_where_several_wait_for_it() -> None:
    scene = Scene()
    slowly = Slowly(scene)
    for number, where in enumerate((FIRST, SECOND, FIRST)):
        scene.client_sends(bytes((number,)), where)
    assert (len(scene.towards), scene.sent()) == (1, [])
    slowly.opens()
    assert slowly.pending == []
    assert sorted(scene.sent()) == [(b"\0", FIRST), (b"\1", SECOND), (b"\2", FIRST)]
    assert len(scene.towards) == 1


def test_the_next_opens_a_socket_where_the_one_before_it_could_not() -> None:
    scene = Scene()
    slowly = Slowly(scene)
    scene.client_sends(b"1", FIRST)
    scene.client_sends(b"2", SECOND)
    slowly.fails()
    slowly.opens()
    assert scene.sent() == [(b"2", SECOND)]
    assert scene.counts() == (1, 0, 1)


def test_a_socket_that_cannot_be_opened_costs_its_datagram_alone() -> None:
    scene = Scene()
    scene.opening = lambda made: fail(problem(errno.EMFILE))
    scene.client_sends(b"1", FIRST)
    scene.opening = succeed
    scene.client_sends(b"2", SECOND)
    assert scene.association.dropped == 1
    assert scene.association.end == ""
    scene.clock.advance(REFUSED_LIFETIME + MOMENT)
    scene.client_sends(b"3", FIRST)
    assert scene.sent() == [(b"2", SECOND), (b"3", FIRST)]
    # The one that was opened serves both.
    assert len(scene.towards) == 2


def test_a_name_is_reached_by_the_family_that_there_is() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [SIX[0], FIRST[0]]
    scene.opening = lambda made: (
        fail(problem(errno.EAFNOSUPPORT)) if scene.towards[-1].version == 6 else succeed(made)
    )
    scene.client_sends(b"x", (b"a.test", 53))
    assert scene.sent() == [(b"x", FIRST)]
    assert scene.association.dropped == 0


def test_a_name_whose_families_there_are_not_is_refused() -> None:
    scene = Scene()
    scene.names[b"a.test"] = [SIX[0], FIRST[0]]
    scene.opening = lambda made: fail(problem(errno.EAFNOSUPPORT))
    scene.client_sends(b"x", (b"a.test", 53))
    assert (scene.sent(), scene.association.dropped) == ([], 1)


def test_a_socket_that_takes_long_to_open_holds_up_nobody_who_has_one() -> None:
    scene = Scene()
    scene.client_sends(b"1", FIRST)
    Slowly(scene)
    scene.client_sends(b"waits", SIX)
    scene.client_sends(b"2", SECOND)
    assert scene.sent() == [(b"1", FIRST), (b"2", SECOND)]


# The end.


def busy() -> Scene:
    """One with sockets of both families, and a fragment that waits for the rest."""
    scene = Scene()
    scene.client_sends(b"x", FIRST)
    scene.client_sends(b"x", SIX)
    scene.client_sends(b"x", FIRST, frag=1)
    return scene


CLOSED = ["client side closes", "IPv4 socket closes", "IPv6 socket closes"]


def test_the_end_of_the_control_connection_ends_it() -> None:
    scene = busy()
    scene.association.client_data(b"means nothing")
    scene.association.client_told()
    assert scene.events == []
    scene.association.client_eof()
    assert scene.events == [*CLOSED, "control closes"]
    scene.association.client_lost(done())
    assert scene.events == [*CLOSED, "control closes", "ended"]
    assert scene.association.end == FINISHED
    assert scene.clock.getDelayedCalls() == []
    # Its record may be kept for longer than what a client sent.
    assert len(scene.association._fragments) == 0


def test_a_control_connection_that_does_not_close_is_reset() -> None:
    scene = busy()
    scene.association.client_eof()
    scene.clock.advance(CLOSING_SECONDS - MOMENT)
    assert scene.events == [*CLOSED, "control closes"]
    scene.clock.advance(MOMENT)
    assert scene.events == [*CLOSED, "control closes", "control is reset"]
    scene.association.client_lost(Failure(ConnectionAborted()))
    assert scene.events[-1] == "ended"
    assert scene.association.end == FINISHED
    assert scene.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("reason", "end"), [(ConnectionDone(), FINISHED), (ConnectionLost(), CLIENT_RESET)]
)
def test_a_control_connection_that_is_lost_ends_it(reason: Exception, end: str) -> None:
    scene = busy()
    scene.association.client_lost(Failure(reason))
    assert scene.events == [*CLOSED, "ended"]
    assert scene.association.end == end
    assert scene.clock.getDelayedCalls() == []


def test_an_idle_one_ends() -> None:
    scene = busy()
    scene.clock.advance(IDLE_SECONDS - MOMENT)
    assert scene.events == []
    scene.clock.advance(MOMENT)
    assert scene.events == [*CLOSED, "control closes"]
    assert scene.association.end == IDLE
    scene.clock.advance(CLOSING_SECONDS)
    assert scene.events[-1] == "control is reset"
    scene.association.client_lost(Failure(ConnectionAborted()))
    assert (scene.events[-1], scene.association.end) == ("ended", IDLE)
    assert scene.clock.getDelayedCalls() == []


def test_one_that_is_never_sent_to_ends_too() -> None:
    scene = Scene()
    scene.clock.advance(IDLE_SECONDS)
    assert scene.events == ["client side closes", "control closes"]


def test_a_datagram_either_way_keeps_it_alive() -> None:
    scene = Scene()
    for _ in range(3):
        scene.clock.advance(IDLE_SECONDS - 1)
        scene.client_sends(b"x")
        scene.clock.advance(IDLE_SECONDS - 1)
        scene.answers(b"x")
    scene.clock.advance(IDLE_SECONDS - MOMENT)
    assert scene.association.end == ""
    scene.clock.advance(MOMENT)
    assert scene.association.end == IDLE


def test_octets_on_the_control_connection_do_not_keep_it_alive() -> None:
    scene = Scene()
    scene.clock.advance(IDLE_SECONDS - 1)
    scene.association.client_data(b"still here")
    scene.clock.advance(1)
    assert scene.association.end == IDLE


def test_an_abort_resets_the_control_connection_in_the_next_turn() -> None:
    scene = busy()
    scene.association.abort(SHUTDOWN)
    assert scene.events == CLOSED
    scene.clock.advance(0)
    assert scene.events == [*CLOSED, "control is reset"]
    scene.association.client_lost(Failure(ConnectionAborted()))
    assert scene.events == [*CLOSED, "control is reset", "ended"]
    assert scene.association.end == SHUTDOWN
    assert scene.clock.getDelayedCalls() == []


def test_an_abort_of_one_that_is_closing_does_not_change_why_it_ended() -> None:
    scene = busy()
    scene.association.client_eof()
    scene.association.abort(SHUTDOWN)
    scene.clock.advance(0)
    assert scene.events == [*CLOSED, "control closes", "control is reset"]
    scene.association.client_lost(Failure(ConnectionAborted()))
    assert scene.events[-1] == "ended"
    assert scene.association.end == FINISHED
    assert scene.clock.getDelayedCalls() == []


def test_a_connection_that_is_lost_before_the_abort_reaches_it_is_left_alone() -> None:
    scene = busy()
    scene.association.abort(SHUTDOWN)
    scene.association.client_lost(done())
    scene.clock.advance(0)
    assert scene.events == [*CLOSED, "ended"]
    assert scene.clock.getDelayedCalls() == []


def test_the_end_comes_once_whatever_comes_after_it() -> None:
    scene = busy()
    scene.association.client_eof()
    scene.association.client_eof()
    scene.clock.advance(IDLE_SECONDS)
    scene.association.client_data(b"x")
    scene.association.client_eof()
    scene.association.client_lost(done())
    assert scene.events == [*CLOSED, "control closes", "control is reset", "ended"]


ENDINGS: list[Callable[[Scene], None]] = [
    lambda scene: scene.association.client_eof(),
    lambda scene: scene.association.client_lost(done()),
    lambda scene: scene.association.abort(SHUTDOWN),
    lambda scene: scene.clock.advance(IDLE_SECONDS),
]
every_end = pytest.mark.parametrize("ending", ENDINGS, ids=["eof", "lost", "abort", "idle"])


@every_end
@pytest.mark.parametrize("filtering", Filtering)
def test_datagrams_after_the_end_are_dropped(
    ending: Callable[[Scene], None], filtering: Filtering
) -> None:
    """Its sockets are read no more, but some may have been read already."""
    scene = Scene(filtering=filtering)
    scene.client_sends(b"question")
    scene.client_sends(b"a", frag=1)
    ending(scene)
    timers = scene.clock.getDelayedCalls()
    scene.client_sends(b"x")
    scene.client_sends(b"x", SECOND)
    scene.client_sends(b"x", (b"a.test", 53))
    scene.client_sends(b"b", frag=2 | END)
    scene.answers(b"answer")
    scene.answers(b"stranger", SECOND)
    assert scene.sent() == [(b"question", FIRST)]
    assert (scene.got(), scene.welcomed, len(scene.towards)) == ([], [], 1)
    assert len(scene.reached) == 1
    assert scene.clock.getDelayedCalls() == timers


@every_end
def test_it_may_end_while_a_name_resolves(ending: Callable[[Scene], None]) -> None:
    scene = Scene()
    given_up: list[object] = []
    scene.names[b"a.test"] = Deferred(given_up.append)
    scene.client_sends(b"1", (b"a.test", 53))
    scene.client_sends(b"2", (b"a.test", 53))
    ending(scene)
    assert len(given_up) == 1
    assert scene.towards == []
    assert scene.association.dropped == 2
    assert not any("socket" in event for event in scene.events)


@every_end
def test_it_may_end_while_the_rules_are_asked_about_a_stranger(
    ending: Callable[[Scene], None],
) -> None:
    scene = Scene(filtering=Filtering.NONE)
    given_up: list[object] = []
    scene.strangers = lambda source: Deferred(given_up.append)
    scene.client_sends(b"question")
    scene.answers(b"stranger", SECOND)
    ending(scene)
    assert len(given_up) == 1
    assert (scene.got(), scene.association.dropped) == ([], 1)


@every_end
def test_it_may_end_while_a_socket_opens_that_several_wait_for(
    ending: Callable[[Scene], None],
) -> None:
    scene = Scene()
    scene.names = {b"a.test": [SECOND[0], SIX[0]]}
    slowly = Slowly(scene)
    for where in (FIRST, (b"a.test", 53), SIX, THIRD):
        scene.client_sends(b"x", where)
    # One of each family, whoever waits for it.
    assert [each.version for each in scene.towards] == [4, 6]
    assert len(slowly.pending) == 2
    ending(scene)
    # Whatever was begun is given up: nothing is open, nothing will be.
    assert slowly.pending == []
    assert slowly.given_up == len(scene.towards)
    assert scene.sent() == []
    assert scene.association.dropped == 4
    assert scene.events.count("client side closes") == 1


def test_no_socket_is_opened_once_it_has_ended() -> None:
    scene = Scene()
    Slowly(scene)
    scene.client_sends(b"1", FIRST)
    scene.client_sends(b"2", SECOND)
    scene.opening = succeed
    scene.association.client_eof()
    assert (len(scene.towards), scene.sent()) == (1, [])


@every_end
def test_a_socket_that_opens_for_one_of_both_families_is_closed_with_the_rest(
    ending: Callable[[Scene], None],
) -> None:
    """The first of a name's addresses has its socket, the second waits for its own."""
    scene = Scene()
    scene.names = {b"a.test": [FIRST[0], SIX[0]]}
    slowly = Slowly(scene)
    scene.client_sends(b"x", (b"a.test", 53))
    slowly.opens()
    ending(scene)
    assert (slowly.pending, slowly.given_up) == ([], 1)
    assert scene.events[:2] == ["client side closes", "IPv4 socket closes"]


def test_one_that_is_forgotten_while_it_waits_for_a_socket_is_in_nobodys_way() -> None:
    scene = Scene(destinations=1)
    slowly = Slowly(scene)
    scene.client_sends(b"1", FIRST)
    scene.client_sends(b"2", SECOND)
    assert slowly.given_up == 1
    slowly.opens()
    assert scene.sent() == [(b"2", SECOND)]
    assert scene.counts() == (1, 0, 1)


def test_a_socket_that_cannot_be_closed_keeps_nothing_else_open() -> None:
    scene = busy()

    def cannot() -> Deferred[None]:
        raise RuntimeError("an egress of somebody else's")

    scene.sockets[0].stopListening = cannot  # type: ignore[method-assign]
    scene.association.client_lost(done())
    assert scene.events == ["client side closes", "IPv6 socket closes", "ended"]


# Anything in any order.

HOSTS = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
PEERS = st.tuples(st.sampled_from(HOSTS), st.sampled_from([53, 54]))
SOURCES = st.sampled_from([OWNER, *STRANGERS, ("2001:db8::66", OWNER[1])])
STEPS = st.one_of(
    st.tuples(st.just("to"), SOURCES, PEERS),
    st.tuples(st.just("to a name"), SOURCES, st.just((b"a.test", 53))),
    st.tuples(st.just("malformed"), SOURCES, PEERS),
    st.tuples(st.just("from"), st.none(), PEERS),
    st.tuples(st.just("wait"), st.none(), st.none()),
)


@given(
    st.lists(STEPS, max_size=60),
    st.sampled_from([Filtering.ADDRESS_AND_PORT, Filtering.ADDRESS]),
    st.sampled_from([0, OWNER[1]]),
    st.sets(st.sampled_from(HOSTS)),
)
def test_nothing_of_a_strangers_goes_out_and_nothing_comes_from_where_nothing_was_sent(
    steps: Iterable[tuple[Any, ...]], filtering: Filtering, port: int, refused: set[str]
) -> None:
    scene = Scene(filtering=filtering, port=port, idle=1e6)
    scene.refused = refused
    scene.names = {b"a.test": [HOSTS[3]]}
    owner: SocketAddress | None = (CLIENT, port) if port else None
    sent_to: set[SocketAddress] = set()
    out: dict[int, list[tuple[bytes, SocketAddress]]] = {4: [], 6: []}
    back: list[tuple[bytes, SocketAddress]] = []
    for number, (what, source, peer) in enumerate(steps):
        data = b"%d" % number
        if what == "wait":
            scene.clock.advance(LIFETIME + 1)
        elif what == "malformed":
            scene.raw(datagram(data, peer)[:9], source)
        elif what == "from":
            family = 6 if ":" in peer[0] else 4
            if family not in [each.version for each in scene.towards]:
                continue
            scene.answers(data, peer)
            known = sent_to if filtering is Filtering.ADDRESS_AND_PORT else {h for h, _ in sent_to}
            if (peer if filtering is Filtering.ADDRESS_AND_PORT else peer[0]) in known:
                assert owner is not None
                back.append((datagram(data, peer), owner))
        else:
            scene.client_sends(data, peer, source=source)
            if owner is None and source[0] == CLIENT:
                owner = source
            target = (HOSTS[3], 53) if what == "to a name" else peer
            if source == owner and (what == "to a name" or target[0] not in refused):
                sent_to.add(target)
                out[6 if ":" in target[0] else 4].append((data, target))
    for towards, made in zip(scene.towards, scene.sockets, strict=True):
        assert made.sent == out.pop(towards.version)
    assert not any(out.values())
    assert scene.client_side.sent == back
    assert scene.association.received == sum(
        len(data) for made in scene.sockets for data, _ in made.sent
    )


# Turns of a socket that tells of them.


def turn(side: Any, bring: Callable[[], object]) -> None:
    """One in which something comes."""
    side.turn_began()
    bring()
    side.turn_ended()


def test_by_transports_that_send_one_at_a_time_a_turn_goes_one_by_one() -> None:
    scene = Scene()
    scene.client_sends(b"first")

    def several() -> None:
        for data in (b"one", b"two", b"three"):
            scene.client_sends(data)
        # What has another size than those before it has sent those.
        assert len(scene.sent()) == 3

    def answers() -> None:
        for data in (b"eins", b"zwei", b"x"):
            scene.answers(data)

    turn(scene.client_side.protocol, several)
    assert [data for data, _ in scene.sent()] == [b"first", b"one", b"two", b"three"]
    turn(scene.sockets[0].protocol, answers)
    assert [data for data, _ in scene.got()] == [b"eins", b"zwei", b"x"]
    assert scene.counts() == (5 + 3 + 3 + 5, 9, 0)


def test_what_cannot_be_sent_in_a_turn_costs_no_other() -> None:
    scene = Scene()
    for to in (FIRST, SECOND):
        scene.client_sends(b"first", to)
    scene.sockets[0].errors[SECOND[0]] = problem(errno.EPERM)

    def several() -> None:
        for to in (FIRST, FIRST, SECOND, SECOND, FIRST, FIRST):
            scene.client_sends(b"more", to)

    turn(scene.client_side.protocol, several)
    assert scene.sent()[2:] == [(b"more", FIRST)] * 4
    assert scene.counts() == (10 + 16, 0, 2)


def test_what_a_turn_has_not_sent_when_the_association_ends_counts_as_dropped() -> None:
    scene = Scene()
    scene.client_sends(b"first")

    def several() -> None:
        for _ in range(3):
            scene.client_sends(b"late")
        scene.association.abort(SHUTDOWN)

    turn(scene.client_side.protocol, several)
    assert scene.sent() == [(b"first", FIRST)]
    assert scene.counts() == (5, 0, 3)
