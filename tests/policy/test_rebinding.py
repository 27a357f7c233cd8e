"""DNS rebinding: a name that is a public address for the rules, and loopback for the dial."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.names import client as names
from twisted.names import dns
from zope.interface import implementer

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.interfaces import IEgress
from socks5d.rules import DestinationRules, parse_destination
from socks5d.wire import socks4, socks5
from socks5d.wire.address import IPAddress
from tests.support import client
from tests.support.datagrams import Associated, until_taken
from tests.support.running import PATIENCE, in_reactor, proxy, reactor

PUBLIC, LOOPBACK = "192.0.2.1", "127.0.0.1"
TRIES = 1000


class Alternating:
    """
    A DNS server's protocol: each answer is another address than the one before, with a time to
    live of nothing.

    @ivar answers: how many there were.
    """

    answers = 0

    def messageReceived(self, message: Any, protocol: Any, address: Any) -> None:
        name = message.queries[0].name
        host = (PUBLIC, LOOPBACK)[self.answers % 2]
        self.answers += 1
        message.answer, message.recDes = True, True
        message.answers = [dns.RRHeader(str(name), dns.A, ttl=0, payload=dns.Record_A(host))]
        protocol.writeMessage(message, address)


@implementer(IEgress)
class Recording:
    """
    Resolves by the server of a test, and notes what it is to reach in the place of reaching it.

    @ivar dialled: the addresses.
    """

    def __init__(self, resolver: names.Resolver) -> None:
        self._resolver = resolver
        self.dialled: list[IPAddress] = []

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        def found(answer: Any) -> Sequence[IPAddress]:
            return [ip_address(each.payload.dottedQuad()) for each in answer[0]]

        looking: Deferred[Any] = self._resolver.lookupAddress(name, timeout=(int(PATIENCE),))
        return looking.addCallback(found)

    def connect(
        self, addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        self.dialled += addresses
        return fail(error.ConnectionRefusedError())

    def open_datagram(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        self.dialled.append(towards)
        return fail(error.ConnectionRefusedError())

    def listen(self, towards: IPAddress, factory: Any) -> Deferred[Any]:
        self.dialled.append(towards)
        return fail(error.ConnectionRefusedError())


@contextmanager
def rebinding() -> Iterator[tuple[Alternating, Recording, tuple[str, int]]]:
    """The DNS server, the way out, and a server that lets everybody go everywhere."""
    server = Alternating()
    protocol = dns.DNSDatagramProtocol(server)
    port = in_reactor(reactor.listenUDP, 0, protocol, LOOPBACK)
    asking = names.Resolver(servers=[(LOOPBACK, port.getHost().port)], reactor=reactor)
    egress = Recording(asking)
    try:
        with proxy(
            ruleset=DestinationRules([parse_destination("*")]),
            authenticators=[NoAuthentication(), AnyUserID()],
            egress=egress,
        ) as address:
            yield server, egress, address
    finally:
        in_reactor(port.stopListening)


@pytest.mark.parametrize("command", [socks5.CONNECT, socks5.BIND])
def test_a_name_that_alternates_never_reaches_loopback(command: int) -> None:
    refused = []
    with rebinding() as (server, egress, address):
        for number in range(TRIES):
            # Another name each time, as who wants to get past a cache would.
            name = b"%d.rebind.test" % number
            with client.dial(address) as connection:
                if number % 4 < 2:
                    client.greet(connection)
                    to = client.destination(name, 80)
                    code = client.request5(connection, to, command).code
                    refused.append(code == socks5.NOT_ALLOWED)
                else:
                    old = {socks5.CONNECT: socks4.CONNECT, socks5.BIND: socks4.BIND}[command]
                    to = client.destination(name, 80)
                    reply = client.request4(connection, to, b"", old)
                    assert reply.code == socks4.REJECTED
    assert server.answers == TRIES
    assert set(egress.dialled) == {IPv4Address(PUBLIC)}
    assert len(egress.dialled) == TRIES / 2
    assert refused == TRIES // 4 * [False, True]


def test_datagrams_to_such_a_name_never_reach_loopback() -> None:
    with (
        rebinding() as (server, egress, address),
        Associated(address) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
    ):
        victim.bind((LOOPBACK, 0))
        port = victim.getsockname()[1]
        for number in range(100):
            sender.send(b"%d.rebind.test" % number, port, b"hello")
            until_taken(sender.relay)
        sender.control.shutdown(socket.SHUT_WR)
        assert sender.control.recv(1) == b""
        victim.setblocking(False)
        with pytest.raises(BlockingIOError):
            victim.recv(1)
    assert server.answers > 10
    assert set(egress.dialled) <= {IPv4Address(PUBLIC)}
