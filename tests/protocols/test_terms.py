"""What a permit sets is what happens: over real sockets, command by command."""

import errno
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import getConnectError
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from socks5d.egress import DirectEgress, FixedResolver
from socks5d.interfaces import IEgress
from socks5d.model import Command, Logged, Outcome, Terms
from socks5d.parameters import Filtering, LocalAddresses, Timeouts, UDPParameters
from socks5d.rules import Action, Rule, RuleTable, parse_destination
from socks5d.wire import socks4, socks5
from socks5d.wire.address import Address, IPAddress
from tests.support import client
from tests.support.datagrams import Associated, answering, echoing, udp_socket, until_taken
from tests.support.origins import (
    closed_port,
    echo,
    origin,
    receive_exactly,
    unanswering,
    until_gone,
)
from tests.support.running import PATIENCE, Observed, proxy, reactor

#: Another address of this host's.
OTHER = LocalAddresses.of([ip_address("127.0.0.9")])
LOOPBACK = "127.0.0.0/8"

linux = pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="needs Linux")


def permits(*said: tuple[str, Terms]) -> RuleTable:
    """Destinations, each with the terms on which it is permitted."""
    rules = [
        Rule(
            number=number,
            action=Action.PERMIT,
            destination=(parse_destination(where),),
            terms=terms,
        )
        for number, (where, terms) in enumerate(said, 1)
    ]
    return RuleTable(rules)


def on(**terms: Any) -> RuleTable:
    return permits((LOOPBACK, Terms(**terms)))


def named(*addresses: str) -> DirectEgress:
    table: dict[str, Sequence[IPAddress]] = {"a.example": [*map(ip_address, addresses)]}
    return DirectEgress(reactor, resolver=FixedResolver(table))


@implementer(IEgress)
class Nowhere:
    """
    An egress from which nothing is reached, and which knows no terms.

    @ivar asked: what it was asked for.
    @ivar for_datagrams: whether it was asked for a socket for datagrams.
    """

    def __init__(self, number: int = errno.ECONNREFUSED) -> None:
        self.number = number
        self.asked: list[object] = []
        self.for_datagrams = Event()

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        self.asked.append(name)
        return fail(OSError(self.number, "nowhere"))

    def connect(
        self, addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        self.asked.append([str(each) for each in addresses])
        return fail(getConnectError((self.number, "nowhere")))

    def listen(self, towards: IPAddress, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        self.asked.append(str(towards))
        return fail(OSError(self.number, "nowhere"))

    def open_datagram(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        self.asked.append(str(towards))
        self.for_datagrams.set()
        return fail(OSError(self.number, "nowhere"))


# Time-outs.


def test_a_relay_is_idle_as_its_rule_has_it() -> None:
    seen = Observed()
    with origin(until_gone) as (host, port), proxy(seen, ruleset=on(idle=0.05)) as server:
        connection, reply = client.connect5(server, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert seen.record().end == "idle"


def test_a_connection_has_the_time_that_its_rule_gives_it() -> None:
    seen = Observed()
    with unanswering() as (host, port), proxy(seen, ruleset=on(connect=0.1)) as server:
        began = time.monotonic()
        connection, reply = client.connect5(server, host, port)
        connection.close()
        assert reply.code == socks5.TTL_EXPIRED
        assert time.monotonic() - began < 5
    assert seen.record().outcome is Outcome.TIMED_OUT


def test_a_rule_may_give_more_time_than_others_have() -> None:
    with unanswering() as (host, port):
        timeouts = Timeouts(connect=0.05)
        with proxy(ruleset=on(connect=0.6), timeouts=timeouts) as server:
            began = time.monotonic()
            connection, reply = client.connect5(server, host, port)
            connection.close()
            assert reply.code == socks5.TTL_EXPIRED
            assert 0.5 < time.monotonic() - began < 5


def test_a_peer_has_the_time_that_the_rule_gives_it() -> None:
    with proxy(ruleset=on(bind=0.1)) as server:
        began = time.monotonic()
        connection = client.dial(server)
        to = Address(ip_address("127.0.0.1"), 21)
        assert client.request4(connection, to, command=socks4.BIND).code == socks4.GRANTED
        assert client.read(connection, socks4.parse_reply).code == socks4.REJECTED
        connection.close()
        assert time.monotonic() - began < 5


def test_an_association_is_idle_as_its_rule_has_it() -> None:
    seen = Observed()
    with proxy(seen, ruleset=on(udp_idle=0.05)) as server:
        with Associated(server) as association:
            assert association.control.recv(1) == b""
        assert seen.record().end == "idle"


# Ways out.


def who(connection: socket.socket) -> None:
    """Tells whoever connects where from."""
    connection.sendall(connection.getpeername()[0].encode())


def test_a_connection_is_made_from_the_address_of_its_rule() -> None:
    table = permits(("127.0.0.2", Terms(source=OTHER)), (LOOPBACK, Terms()))
    with origin(who, "127.0.0.2") as there, origin(who) as elsewhere:
        with proxy(ruleset=table) as server:
            for address, expected in ((there, b"127.0.0.9"), (elsewhere, b"127.0.0.1")):
                connection, reply = client.connect5(server, *address)
                with connection:
                    assert reply.code == socks5.SUCCEEDED
                    assert str(reply.bound.host).encode() == expected
                    assert receive_exactly(connection, 9) == expected


def test_a_peer_is_awaited_at_the_address_of_its_rule() -> None:
    with proxy(ruleset=on(source=OTHER)) as server:
        connection = client.dial(server)
        client.greet(connection)
        to = Address(ip_address("127.0.0.1"), 21)
        reply = client.request5(connection, to, socks5.BIND)
        assert str(reply.bound.host) == "127.0.0.9"
        where = (str(reply.bound.host), reply.bound.port)
        with connection, socket.create_connection(where, PATIENCE) as peer:
            assert client.read(connection, socks5.parse_reply).code == socks5.SUCCEEDED
            peer.sendall(b"hello")
            assert receive_exactly(connection, 5) == b"hello"


def test_a_peer_that_wants_another_way_is_refused() -> None:
    """Any peer may come, and the rule that would let this one in has another source."""
    table = permits(("127.0.0.2", Terms()), (LOOPBACK, Terms(source=OTHER)))
    with proxy(ruleset=table) as server:
        connection = client.dial(server)
        client.greet(connection)
        to = Address(ip_address("0.0.0.0"), 21)
        reply = client.request5(connection, to, socks5.BIND)
        where = (str(reply.bound.host), reply.bound.port)
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection(where, PATIENCE, ("127.0.0.1", 0)) as stranger,
        ):
            stranger.recv(1)
        with connection, socket.create_connection(where, PATIENCE, ("127.0.0.2", 0)):
            told = client.read(connection, socks5.parse_reply)
            assert str(told.bound.host) == "127.0.0.2"


def test_datagrams_go_out_from_the_address_of_the_rule() -> None:
    def where_from(sock: socket.socket, data: bytes, source: Any) -> None:
        sock.sendto(source[0].encode(), source)

    with answering(where_from) as there, proxy(ruleset=on(source=OTHER)) as server:
        with Associated(server) as association:
            assert association.ask(*there) == b"127.0.0.9"


def test_datagrams_that_want_another_way_are_refused() -> None:
    """Where no rule permits every destination, the first permit says which way it is."""
    table = permits(
        ("127.0.0.2", Terms(source=OTHER, idle=9)),
        ("127.0.0.3", Terms(source=OTHER)),
        (LOOPBACK, Terms()),
    )
    seen = Observed()
    with echoing("127.0.0.2") as one, echoing("127.0.0.3") as two, echoing() as three:
        with proxy(seen, ruleset=table, egress=named("127.0.0.1", "127.0.0.2")) as server:
            with Associated(server) as association:
                for _ in range(2):
                    association.send(*three, b"by another way")
                    association.send(b"b.example", 9, b"does not resolve")
                    assert association.ask(*one) == association.ask(*two) == b"still there?"
                # Of a name's addresses those are left that go the same way.
                assert association.ask(b"a.example", one[1]) == b"still there?"
        record = seen.record()
    assert record.refused == f"rule 3: wants another way out, for 127.0.0.1:{three[1]}"
    assert record.dropped == 4


def test_a_stranger_that_could_not_be_answered_may_not_send() -> None:
    table = permits(("127.0.0.2", Terms(source=OTHER)), (LOOPBACK, Terms()))
    udp = UDPParameters(filtering=Filtering.NONE)
    with echoing("127.0.0.2") as there, proxy(ruleset=table, udp=udp) as server:
        with Associated(server) as association, udp_socket("127.0.0.3") as stranger:

            def from_stranger(sock: socket.socket, data: bytes, source: Any) -> None:
                stranger.sendto(b"from a stranger", source)
                sock.sendto(b"from there", source)

            with answering(from_stranger, "127.0.0.2") as both:
                association.send(*both, b"hello")
                assert association.receive() == (both, b"from there")
                assert association.ask(*there) == b"still there?"


@linux
@pytest.mark.parametrize(("device", "goes"), [("lo", True), ("nosuchdevice0", False)])
def test_a_device_is_chosen_for_every_command(lane: str, device: str, goes: bool) -> None:
    if lane == "fast":
        code = socks5.SUCCEEDED if goes else socks5.GENERAL_FAILURE
    else:
        goes, code = False, socks5.NOT_ALLOWED  # Twisted's transports know of no devices
    seen = Observed()
    with origin(echo) as there, echoing() as udp, proxy(seen, ruleset=on(device=device)) as server:
        connection, reply = client.connect5(server, *there)
        connection.close()
        assert reply.code == code
        with client.dial(server) as connection:
            client.greet(connection)
            to = Address(ip_address("127.0.0.1"), 21)
            assert client.request5(connection, to, socks5.BIND).code == code
        if lane == "twisted":
            assert seen.record().rule == "devices cannot be chosen on this platform"
            return
        with Associated(server) as association:
            association.send(*udp, b"hello")
            if goes:
                assert association.receive() == (udp, b"hello")
            else:
                until_taken(association.relay)
        ended = {record.command: record.received for record in map(seen.record, range(3))}
        assert ended[Command.UDP_ASSOCIATE] == (5 if goes else 0)


def test_an_upstream_is_gone_out_by() -> None:
    upstream = Nowhere()
    table = permits(("127.0.0.2", Terms(upstream="far")), (LOOPBACK, Terms()))
    with origin(echo) as there, proxy(ruleset=table, upstreams={"far": upstream}) as server:
        for address, code in (
            (("127.0.0.2", there[1]), socks5.CONNECTION_REFUSED),
            (there, socks5.SUCCEEDED),
        ):
            connection, reply = client.connect5(server, *address)
            connection.close()
            assert reply.code == code
        with client.dial(server) as connection:
            client.greet(connection)
            to = Address(ip_address("127.0.0.2"), 21)
            assert client.request5(connection, to, socks5.BIND).code != socks5.SUCCEEDED
        with Associated(server) as association:
            association.send("127.0.0.2", 9, b"hello")
            assert upstream.for_datagrams.wait(PATIENCE)
    assert upstream.asked == [["127.0.0.2"], "127.0.0.2", "127.0.0.2"]


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (Terms(upstream="nobody"), "there is no upstream 'nobody'"),
        (Terms(source=OTHER), "the egress cannot choose a source address or a device"),
        (Terms(device="lo"), "the egress cannot choose a source address or a device"),
    ],
)
def test_what_cannot_be_done_is_refused(terms: Terms, why: str) -> None:
    seen = Observed()
    egress = Nowhere()
    with proxy(seen, ruleset=permits((LOOPBACK, terms)), egress=egress) as server:
        for number, command in enumerate((socks5.CONNECT, socks5.BIND, socks5.UDP_ASSOCIATE)):
            with client.dial(server) as connection:
                client.greet(connection)
                to = Address(ip_address("127.0.0.1"), 21)
                assert client.request5(connection, to, command).code == socks5.NOT_ALLOWED
            record = seen.record(number)
            assert (record.outcome, record.rule) == (Outcome.DENIED, why)
    assert egress.asked == []


def test_an_egress_that_knows_no_terms_serves_those_with_a_time() -> None:
    egress = Nowhere()
    with proxy(ruleset=on(connect=5, idle=9), egress=egress) as server:
        connection, reply = client.connect5(server, "127.0.0.1", 21)
        connection.close()
        assert reply.code == socks5.CONNECTION_REFUSED
    assert egress.asked == [["127.0.0.1"]]


# Several addresses of one name.


def test_addresses_on_other_terms_are_not_tried_together() -> None:
    far, near = Nowhere(errno.EHOSTUNREACH), Nowhere(errno.ENETUNREACH)
    seen = Observed()
    table = permits(
        ("127.0.0.2", Terms(upstream="far", log=Logged.NONE)),
        ("127.0.0.3", Terms(upstream="near")),
        ("127.0.0.4", Terms(upstream="far")),
        (LOOPBACK, Terms(upstream="nobody")),
    )
    egress = named("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
    upstreams = {"far": far, "near": near}
    with proxy(seen, ruleset=table, egress=egress, upstreams=upstreams) as server:
        connection, reply = client.connect5(server, b"a.example", 21)
        connection.close()
        assert reply.code == socks5.HOST_UNREACHABLE
    assert far.asked == [["127.0.0.2", "127.0.0.4"]]
    assert near.asked == [["127.0.0.3"]]


def test_the_terms_are_those_of_the_address_that_is_connected_to() -> None:
    seen = Observed()
    far = Nowhere()
    table = permits(
        ("127.0.0.2", Terms(upstream="far", idle=PATIENCE, log=Logged.NONE)),
        ("127.0.0.3", Terms(idle=PATIENCE, log=Logged.NONE)),
        ("127.0.0.1", Terms(idle=0.05, log=Logged.ALL)),
    )
    egress = named("127.0.0.2", "127.0.0.3", "127.0.0.1")
    with origin(until_gone) as (_, port):
        with proxy(seen, ruleset=table, egress=egress, upstreams={"far": far}) as server:
            connection, reply = client.connect5(server, b"a.example", port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
            record = seen.record()
    assert (record.rule, record.end, record.log) == ("rule 3", "idle", Logged.ALL)
    assert far.asked == [["127.0.0.2"]]


# Logs.


def test_a_record_says_what_its_rule_says_of_logs() -> None:
    seen = Observed()
    with proxy(seen, ruleset=on(log=Logged.REFUSED)) as server:
        for command in (Command.CONNECT, Command.UDP_ASSOCIATE, None):
            with client.dial(server) as connection:
                client.greet(connection)
                if command is Command.CONNECT:
                    to = Address(ip_address("127.0.0.1"), closed_port())
                    client.request5(connection, to)
                elif command is Command.UDP_ASSOCIATE:
                    to = Address(ip_address("0.0.0.0"), 0)
                    client.request5(connection, to, socks5.UDP_ASSOCIATE)
                else:
                    client.request5(connection, Address(ip_address("192.0.2.1"), 9))
        records = {record.command or "": record for record in map(seen.record, range(3))}
    assert [record.log for record in seen.records if record.outcome is not Outcome.DENIED] == [
        Logged.REFUSED,
        Logged.REFUSED,
    ]
    assert [record.log for record in seen.records if record.outcome is Outcome.DENIED] == [None]
    assert len(records) == 2
