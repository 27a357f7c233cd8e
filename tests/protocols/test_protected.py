"""Destinations that trust this host, in every disguise: refused, and not a packet sent."""

import errno
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from socks5d.interfaces import IEgress
from socks5d.model import Outcome
from socks5d.protocols import SOCKSFactory
from socks5d.rules import (
    Chain,
    DestinationRules,
    PermitUnprotected,
    Protection,
    parse_destination,
)
from socks5d.wire import socks4, socks5
from socks5d.wire.address import Address, IPAddress
from tests.support import client
from tests.support.origins import echo, origin
from tests.support.running import Observed, in_reactor, listening, proxy, reactor

LITERALS = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.0.0.5",
    "169.254.169.254",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::",
    "2001:0:c000:201::80ff:fffe",
    "2001:db8::5efe:7f00:1",
    "fe80::1",
    "febf::1",
    "ff02::1",
    "fd00:ec2::254",
]

NAMES = [
    b"127.0.0.1.",
    b"127.1",
    b"127.0.1",
    b"0x7f.1",
    b"0X7F.0.0.1",
    b"0x7f000001",
    b"2130706433",
    b"017700000001",
    b"0177.0.0.01",
    b"0",
    b"0.0",
    b"0x0",
    b"[::1]",
    b"[::ffff:127.0.0.1]",
    b"::1%lo",
    b"::FFFF:7F00:1",
    b"fe80::1%eth0",
    b"FE80::1",
    b"0:0:0:0:0:0:0:1",
    b"2852039166",
    b"localhost",
    b"LOCALHOST",
    b"localhost.",
    b"LocalHost.",
]


@implementer(IEgress)
class NeverConnects:
    """Resolves localhost, and makes a failure of every connection."""

    def __init__(self) -> None:
        self.connected: list[Any] = []

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        assert name == "localhost"
        from twisted.internet.defer import succeed

        return succeed([ip_address("::1"), ip_address("127.0.0.1")])

    def listen(self, towards: IPAddress, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        return fail(OSError(errno.EADDRNOTAVAIL, "not here"))

    def open_datagram(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        return fail(OSError(errno.EADDRNOTAVAIL, "not here"))

    def connect(
        self, addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        self.connected.append((addresses, port))
        return fail(AssertionError("a protected destination was dialled"))


RULESETS = {
    "none": PermitUnprotected(),
    "allow everything": DestinationRules(allow=[parse_destination("*")]),
    "allow the name": DestinationRules(allow=[parse_destination("localhost")]),
    "allow another": DestinationRules(
        allow=[parse_destination("*"), parse_destination("192.0.2.1")]
    ),
}


@pytest.mark.parametrize("rules", RULESETS)
def test_protected_destinations_are_refused_in_every_version_and_disguise(rules: str) -> None:
    egress = NeverConnects()
    seen = Observed()
    with proxy(seen, egress=egress, ruleset=RULESETS[rules]) as server:
        asked: list[str | bytes] = [*LITERALS, *NAMES, *(each.encode() for each in LITERALS)]
        for host in asked:
            connection, reply = client.connect5(server, host, 80)
            connection.close()
            assert reply.code == socks5.NOT_ALLOWED, host
        count = len(asked)
        for host in asked:
            if isinstance(host, str):
                address = ip_address(host)
                if address.version == 6 or (host.startswith("0.0.0.") and host != "0.0.0.0"):
                    continue  # SOCKS 4 has no IPv6 addresses, and takes 0.0.0.x for 4a
            connection, reply4 = client.connect4(server, host, 80)
            connection.close()
            assert reply4.code == socks4.REJECTED, host
            count += 1
        for number in range(count):
            assert seen.record(number).outcome is Outcome.DENIED
    assert egress.connected == []


def test_an_allow_by_address_reaches_what_is_protected() -> None:
    with origin(echo) as (host, port):
        rules = DestinationRules(allow=[parse_destination(f"127.0.0.0/8:{port}")])
        with proxy(ruleset=rules) as server:
            connection, reply = client.connect5(server, host, port)
            connection.close()
            assert reply.code == socks5.SUCCEEDED
            connection, reply = client.connect5(server, b"0x7f.1", port)
            connection.close()
            assert reply.code == socks5.SUCCEEDED
            connection, reply = client.connect5(server, host, port + 1)
            connection.close()
            assert reply.code == socks5.NOT_ALLOWED


def test_the_servers_own_listener_is_not_reached_through_it() -> None:
    """Nor by another of the host's addresses, where it listens on all of them."""
    protection = Protection(is_own=lambda address: address == ip_address("192.0.2.7"))
    factory = in_reactor(
        lambda: SOCKSFactory(
            ruleset=Chain([PermitUnprotected()]),
            authenticators=proxy_authenticators(),
            reactor=reactor,
            egress=NeverConnects(),
            protection=protection,
        )
    )
    with listening(factory) as server:
        protection.listeners.add(Address(ip_address("0.0.0.0"), server[1]))
        connection, reply = client.connect5(server, "192.0.2.7", server[1])
        connection.close()
        assert reply.code == socks5.NOT_ALLOWED
        connection, reply = client.connect5(server, "192.0.2.8", server[1])
        connection.close()
        assert reply.code == socks5.GENERAL_FAILURE


def proxy_authenticators() -> list[Any]:
    from socks5d.auth import AnyUserID, NoAuthentication

    return [NoAuthentication(), AnyUserID()]
