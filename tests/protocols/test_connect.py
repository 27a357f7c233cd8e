"""CONNECT over real sockets: in every version, by address and by name."""

import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import getConnectError
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from socks5d.egress import DirectEgress, FixedResolver
from socks5d.interfaces import IEgress
from socks5d.model import Command, Outcome
from socks5d.parameters import Timeouts
from socks5d.protocols import SOCKSFactory, SOCKSv4Factory, SOCKSv5Factory
from socks5d.rules import DestinationRules, PermitUnprotected, parse_destination
from socks5d.wire import socks4, socks5
from socks5d.wire.address import Address, IPAddress
from tests.support import client
from tests.support.origins import (
    closed_port,
    echo,
    origin,
    receive_all,
    receive_exactly,
    unanswering,
)
from tests.support.running import Observed, proxy, reactor


@implementer(IEgress)
class Recording:
    """An egress that notes what it is asked, and fails as it is told."""

    def __init__(self, names: dict[str, list[IPAddress]], failure: BaseException) -> None:
        self.names = names
        self.failure = failure
        self.resolved: list[str] = []
        self.connected: list[tuple[IPAddress, ...]] = []

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        self.resolved.append(name)
        return succeed(self.names[name])

    def listen(self, towards: IPAddress, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        return fail(OSError(errno.EADDRNOTAVAIL, "not here"))

    def open_datagram(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        return fail(OSError(errno.EADDRNOTAVAIL, "not here"))

    def connect(
        self, addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        self.connected.append(tuple(addresses))
        return fail(self.failure)


def resolving(name: str, *addresses: IPAddress) -> DirectEgress:
    return DirectEgress(reactor, resolver=FixedResolver({name: addresses}))


def test_every_version_reaches_an_ipv4_server_by_address() -> None:
    seen = Observed()
    with origin(echo) as (host, port), proxy(seen) as server:
        for number, version in enumerate(("4", "5")):
            connect: Any = client.connect4 if version == "4" else client.connect5
            connection, reply = connect(server, host, port)
            with connection:
                assert reply.code == (socks4.GRANTED if version == "4" else socks5.SUCCEEDED)
                connection.sendall(b"out and back")
                assert receive_exactly(connection, 12) == b"out and back"
            record = seen.record(number)
            assert (record.version, record.outcome) == (version, Outcome.GRANTED)
            assert (record.received, record.sent) == (12, 12)
            assert record.address == IPv4Address("127.0.0.1")


def test_every_version_that_carries_names_reaches_a_server_by_name() -> None:
    seen = Observed()
    with origin(echo) as (_, port), proxy(seen) as server:
        for number, version in enumerate(("4a", "5")):
            connect: Any = client.connect4 if version == "4a" else client.connect5
            connection, _ = connect(server, b"LOCALHOST.", port)
            with connection:
                connection.sendall(b"x")
                assert receive_exactly(connection, 1) == b"x"
            record = seen.record(number)
            assert (record.version, record.asked) == (version, "LOCALHOST.")


def test_an_ipv4_client_reaches_an_ipv6_server_by_address_and_by_name() -> None:
    egress = resolving("six.example", IPv6Address("::1"))
    with origin(echo, "::1") as (_, port), proxy(egress=egress) as server:
        for host in ("::1", b"six.example", b"::1", b"[::1]"):
            connection, reply = client.connect5(server, host, port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                assert reply.bound.host == IPv6Address("::1")
                connection.sendall(b"six")
                assert receive_exactly(connection, 3) == b"six"
        connection, reply4 = client.connect4(server, b"six.example", port)
        with connection:
            assert reply4.code == socks4.GRANTED
            # An IPv6 address cannot be said in SOCKS 4.
            assert reply4.bound.host == IPv4Address(0)


def test_the_reply_tells_the_near_end_of_the_outgoing_connection() -> None:
    peers: list[tuple[str, int]] = []

    def note(connection: socket.socket) -> None:
        peers.append(connection.getpeername())
        connection.sendall(b"!")

    with origin(note) as (host, port), proxy() as server:
        for connect in (client.connect4, client.connect5):
            connection, reply = connect(server, host, port)
            with connection:
                assert receive_exactly(connection, 1) == b"!"
            bound: Address = reply.bound
            assert (str(bound.host), bound.port) == peers[-1]


def test_the_server_falls_back_to_the_other_family_when_one_refuses() -> None:
    with origin(echo) as (_, port):
        egress = resolving("both.example", IPv6Address("::1"), IPv4Address("127.0.0.1"))
        with proxy(egress=egress) as server:
            connection, reply = client.connect5(server, b"both.example", port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                assert reply.bound.host == IPv4Address("127.0.0.1")


def test_a_refused_connection_is_told_as_refused() -> None:
    seen = Observed()
    with proxy(seen) as server:
        connection, reply = client.connect5(server, "127.0.0.1", closed_port())
        with connection:
            assert reply.code == socks5.CONNECTION_REFUSED
            assert receive_all(connection) == b""
        connection, reply4 = client.connect4(server, "127.0.0.1", closed_port())
        with connection:
            assert reply4.code == socks4.REJECTED
            assert receive_all(connection) == b""
        assert [seen.record(n).outcome for n in (0, 1)] == [Outcome.REFUSED] * 2


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENETUNREACH, socks5.NETWORK_UNREACHABLE),
        (errno.EHOSTUNREACH, socks5.HOST_UNREACHABLE),
        (errno.ECONNREFUSED, socks5.CONNECTION_REFUSED),
        (errno.ETIMEDOUT, socks5.TTL_EXPIRED),
        (errno.EACCES, socks5.GENERAL_FAILURE),
        (errno.EMFILE, socks5.GENERAL_FAILURE),
    ],
)
def test_the_reply_follows_from_the_error(number: int, code: int) -> None:
    egress = Recording({}, getConnectError(OSError(number, "any text at all")))
    with proxy(egress=egress) as server:
        connection, reply = client.connect5(server, "127.0.0.1", 9)
        with connection:
            assert reply.code == code
        connection, reply4 = client.connect4(server, "127.0.0.1", 9)
        with connection:
            assert reply4.code == socks4.REJECTED


def test_an_error_that_is_no_networks_is_a_general_failure() -> None:
    seen = Observed()
    with proxy(seen, egress=Recording({}, ZeroDivisionError("a bug"))) as server:
        connection, reply = client.connect5(server, "127.0.0.1", 9)
        with connection:
            assert reply.code == socks5.GENERAL_FAILURE
        assert seen.record().outcome is Outcome.FAILED


def test_a_name_that_does_not_resolve_is_an_unreachable_host() -> None:
    with proxy() as server:
        for name in (b"no-such-name.invalid", b"a..b", b"\xff\xfe", b"1.2.3.4.5", b"x" * 255):
            connection, reply = client.connect5(server, name, 80)
            with connection:
                assert reply.code == socks5.HOST_UNREACHABLE
            connection, reply4 = client.connect4(server, name, 80)
            with connection:
                assert reply4.code == socks4.REJECTED


def test_an_empty_name_is_an_unreachable_host() -> None:
    with proxy() as server, client.dial(server) as connection:
        client.greet(connection)
        connection.sendall(b"\x05\x01\x00\x03\x00\x00\x50")
        assert client.read(connection, socks5.parse_reply).code == socks5.HOST_UNREACHABLE


def test_no_answer_within_the_deadline_is_a_time_out() -> None:
    class Silent(Recording):
        def connect(self, *arguments: Any) -> Deferred[IProtocol]:
            return Deferred()

    seen = Observed()
    silent = Silent({}, OSError())
    with proxy(seen, egress=silent, timeouts=Timeouts(connect=0.05)) as server:
        connection, reply = client.connect5(server, "127.0.0.1", 9)
        with connection:
            assert reply.code == socks5.TTL_EXPIRED
            assert receive_all(connection) == b""
        assert seen.record().outcome is Outcome.TIMED_OUT


def test_success_is_not_told_before_the_connection_stands() -> None:
    with unanswering() as (host, port), proxy(timeouts=Timeouts(connect=0.3)) as server:
        connection, reply = client.connect5(server, host, port)
        with connection:
            assert reply.code == socks5.TTL_EXPIRED


def test_rules_are_asked_for_the_name_before_it_is_resolved() -> None:
    rules = DestinationRules(deny=[parse_destination("*.example")])
    egress = Recording({}, OSError())
    with proxy(egress=egress, ruleset=rules) as server:
        connection, reply = client.connect5(server, b"www.Example.", 80)
        with connection:
            assert reply.code == socks5.NOT_ALLOWED
    assert egress.resolved == []


def test_a_name_is_resolved_once_and_only_permitted_addresses_are_dialled() -> None:
    names: dict[str, list[IPAddress]] = {
        "mixed.example": [
            IPv4Address("127.0.0.1"),
            IPv4Address("192.0.2.1"),
            IPv6Address("::1"),
            IPv6Address("2001:db8::1"),
            IPv6Address("::ffff:127.0.0.1"),
        ]
    }
    egress = Recording(names, getConnectError(OSError(errno.ECONNREFUSED, "")))
    with proxy(egress=egress, ruleset=PermitUnprotected()) as server:
        connection, reply = client.connect5(server, b"mixed.example", 80)
        with connection:
            assert reply.code == socks5.CONNECTION_REFUSED
    assert egress.resolved == ["mixed.example"]
    (dialled,) = egress.connected
    assert set(dialled) == {IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")}


def test_a_name_with_many_addresses_is_tried_in_both_families() -> None:
    six: list[IPAddress] = [IPv6Address(f"2001:db8::{number}") for number in range(1, 17)]
    egress = Recording({"many.example": [*six, IPv4Address("192.0.2.1")]}, OSError())
    with proxy(egress=egress, ruleset=PermitUnprotected()) as server:
        connection, _ = client.connect5(server, b"many.example", 80)
        connection.close()
    ((tried,),) = (egress.connected,)
    assert len(tried) == 16
    assert tried[1] == IPv4Address("192.0.2.1")


def test_a_name_with_protected_addresses_alone_is_denied_and_not_dialled() -> None:
    names: dict[str, list[IPAddress]] = {"rebound.example": [IPv4Address("127.0.0.1")]}
    egress = Recording(names, OSError())
    seen = Observed()
    with proxy(seen, egress=egress, ruleset=PermitUnprotected()) as server:
        connection, reply = client.connect5(server, b"rebound.example", 80)
        with connection:
            assert reply.code == socks5.NOT_ALLOWED
        assert seen.record().rule == "protected: loopback"
    assert egress.connected == []


@pytest.mark.parametrize("command", [socks5.BIND, socks5.UDP_ASSOCIATE])
def test_a_command_that_is_switched_off_is_not_supported(command: int) -> None:
    with proxy(commands={Command.CONNECT}) as server, client.dial(server) as connection:
        client.greet(connection)
        reply = client.request5(connection, Address(IPv4Address(0), 0), command)
        assert reply.code == socks5.COMMAND_NOT_SUPPORTED
        assert receive_all(connection) == b""


def test_a_factory_for_one_version_serves_that_version_alone() -> None:
    with origin(echo) as (host, port):
        with proxy(kind=SOCKSv4Factory) as server:
            connection, reply4 = client.connect4(server, host, port)
            with connection:
                assert reply4.code == socks4.GRANTED
            with client.dial(server) as connection:
                connection.sendall(b"\x05\x01\x00")
                assert client.read(connection, socks4.parse_reply).code == socks4.REJECTED
        with proxy(kind=SOCKSv5Factory) as server:
            connection, reply = client.connect5(server, host, port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
            with client.dial(server) as connection:
                connection.sendall(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00")
                assert receive_all(connection) == b"\x05\xff"


def test_two_factories_in_one_process_share_nothing() -> None:
    one, two = Observed(), Observed()
    nothing = DestinationRules(allow=[parse_destination("192.0.2.1")])
    with (
        origin(echo) as (host, port),
        proxy(one) as first,
        proxy(two, ruleset=nothing) as second,
    ):
        connection, reply = client.connect5(first, host, port)
        connection.close()
        assert reply.code == socks5.SUCCEEDED
        connection, reply = client.connect5(second, host, port)
        connection.close()
        assert reply.code == socks5.NOT_ALLOWED
        assert one.record().outcome is Outcome.GRANTED
        assert two.record().outcome is Outcome.DENIED
    assert (len(one.records), len(two.records)) == (1, 1)


def test_observers_are_told_what_was_permitted_when_the_relay_begins() -> None:
    seen = Observed()
    with origin(echo) as (_, port), proxy(seen, kind=SOCKSFactory) as server:
        connection, reply = client.connect5(server, b"localhost", port)
        with connection:
            (opened,) = seen.openings
            assert opened.request.name == "localhost"
            assert opened.request.address == IPv4Address("127.0.0.1")
            assert opened.bound == reply.bound
        assert seen.record().id == opened.id
