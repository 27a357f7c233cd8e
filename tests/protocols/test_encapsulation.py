"""What wraps a session after its sub-negotiation: streams, datagrams, and where it breaks."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.auth import NoAuthentication
from socks5d.interfaces import (
    IAuthenticator,
    IDatagramEncapsulation,
    IEncapsulation,
    INegotiation,
)
from socks5d.model import Authenticated, Client, Identity, Outcome, Step
from socks5d.wire import socks5
from socks5d.wire.address import Address
from socks5d.wire.udp import parse_header
from tests.support import client
from tests.support.datagrams import BUFFER, echoing, to, udp_socket
from tests.support.origins import echo, origin, receive_all, receive_exactly, until_gone
from tests.support.running import Address as SocketAddress
from tests.support.running import Observed, proxy


@implementer(IEncapsulation)
class Framed:
    """Every message behind its length, and every octet turned over."""

    def __init__(self) -> None:
        self._got = b""

    def encapsulate(self, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + bytes(octet ^ 0xFF for octet in data)

    def decapsulate(self, data: bytes) -> bytes:
        self._got += data
        plain = b""
        while len(self._got) >= 4:
            size = int.from_bytes(self._got[:4], "big")
            if size > 1 << 20:
                raise ValueError("too long")
            if len(self._got) < 4 + size:
                break
            plain += bytes(octet ^ 0xFF for octet in self._got[4 : 4 + size])
            self._got = self._got[4 + size :]
        return plain

    def finish(self) -> None:
        if self._got:
            raise ValueError("cut off")


@implementer(IAuthenticator, INegotiation)
class Wrapping:
    """A private method that agrees on an encapsulation at once."""

    method = 0x80
    refusal = b""

    def negotiate(self, client: Client) -> INegotiation:
        return self

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def receive(self, data: bytes) -> Step:
        return Authenticated(Identity("framed", "private"), rest=data, encapsulation=self._make())


@implementer(IDatagramEncapsulation)
class FramedDatagrams(Framed):
    """The same, for datagrams too."""

    def encapsulate_datagram(self, datagram: bytes) -> bytes:
        return self.encapsulate(datagram)

    def decapsulate_datagram(self, datagram: bytes) -> bytes:
        return FramedDatagrams().decapsulate(datagram)


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_an_encapsulation_wraps_requests_replies_and_both_streams(size: int) -> None:
    ours = Framed()
    with (
        origin(echo) as (host, port),
        proxy(authenticators=[Wrapping(Framed)]) as server,
        client.dial(server) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.greet(connection, b"\x80") == 0x80
        request = socks5.encode_request(socks5.Request(1, client.destination(host, port)))
        data = bytes(range(256)) * 4
        wrapped = ours.encapsulate(request) + ours.encapsulate(b"early") + ours.encapsulate(data)
        for start in range(0, len(wrapped), size):
            connection.sendall(wrapped[start : start + size])
        connection.shutdown(socket.SHUT_WR)
        plain = ours.decapsulate(receive_all(connection))
        parsed = socks5.parse_reply(plain)
        assert parsed is not None
        assert parsed.value.code == socks5.SUCCEEDED
        assert plain[parsed.end :] == b"early" + data


def begin(connection: socket.socket, when: str, to: Address) -> None:
    """Come as far as a test wants to."""
    assert client.greet(connection, b"\x80") == 0x80
    if when == "in the relay":
        connection.sendall(Framed().encapsulate(socks5.encode_request(socks5.Request(1, to))))
        receive_exactly(connection, 14)


@pytest.mark.parametrize("when", ["before the request", "in the relay"])
def test_octets_that_cannot_be_decapsulated_end_that_session_alone(when: str) -> None:
    seen = Observed()
    with (
        origin(until_gone) as (host, port),
        proxy(seen, authenticators=[Wrapping(Framed), NoAuthentication()]) as server,
        client.dial(server) as connection,
    ):
        begin(connection, when, client.destination(host, port))
        connection.sendall(b"\xff" * 4)
        with pytest.raises(ConnectionResetError):
            while connection.recv(100):
                continue
        assert seen.record().id
        with client.dial(server) as another:
            assert client.greet(another) == 0


@pytest.mark.parametrize("broken", ["encapsulate", "decapsulate"])
@pytest.mark.parametrize("gives", ["raises", "text", None])
def test_an_encapsulation_that_breaks_ends_its_session(broken: str, gives: Any) -> None:
    class Broken(Framed):
        def encapsulate(self, data: bytes) -> Any:
            return self._gives() if broken == "encapsulate" else super().encapsulate(data)

        def decapsulate(self, data: bytes) -> Any:
            return self._gives() if broken == "decapsulate" else super().decapsulate(data)

        def _gives(self) -> Any:
            if gives == "raises":
                raise ZeroDivisionError
            return gives

    seen = Observed()
    with (
        origin(until_gone) as (host, port),
        proxy(seen, authenticators=[Wrapping(Broken)]) as server,
        client.dial(server) as connection,
    ):
        assert client.greet(connection, b"\x80") == 0x80
        request = socks5.encode_request(socks5.Request(1, client.destination(host, port)))
        connection.sendall(Framed().encapsulate(request))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert seen.record().id


def test_the_tests_own_are_what_the_interfaces_say() -> None:
    assert verifyObject(IAuthenticator, Wrapping(Framed))
    assert verifyObject(IEncapsulation, Framed())
    assert verifyObject(IDatagramEncapsulation, FramedDatagrams())


@pytest.mark.parametrize("when", ["before the request", "in the relay"])
def test_a_client_that_ends_in_the_middle_of_a_message_is_cut_off(when: str) -> None:
    seen = Observed()
    with (
        origin(until_gone) as (host, port),
        proxy(seen, authenticators=[Wrapping(Framed)]) as server,
        client.dial(server) as connection,
    ):
        begin(connection, when, client.destination(host, port))
        connection.sendall(Framed().encapsulate(b"half of this")[:9])
        connection.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            while connection.recv(100):
                continue
        record = seen.record()
        why = "what the client sent is cut off"
        assert (record.end if when == "in the relay" else record.rule) == why


# Datagrams.

ASSOCIATE = socks5.encode_request(
    socks5.Request(socks5.UDP_ASSOCIATE, Address(ip_address("0.0.0.0"), 0))
)


@contextmanager
def associated(
    make: Callable[[], Any], seen: Observed | None = None
) -> Iterator[tuple[socket.socket, socket.socket, SocketAddress]]:
    """The control connection and the socket of an association, and where its relay is."""
    with (
        proxy(seen, authenticators=[Wrapping(make)]) as server,
        client.dial(server) as control,
        udp_socket() as ours,
    ):
        assert client.greet(control, b"\x80") == 0x80
        control.sendall(Framed().encapsulate(ASSOCIATE))
        reply = socks5.parse_reply(Framed().decapsulate(receive_exactly(control, 14)))
        assert reply is not None
        assert reply.value.code == socks5.SUCCEEDED
        yield control, ours, (str(reply.value.bound.host), reply.value.bound.port)


@pytest.mark.parametrize("count", [1, 20])
def test_datagrams_are_wrapped_with_their_headers(count: int) -> None:
    with (
        echoing() as (host, port),
        associated(FramedDatagrams) as (_, ours, relay),
    ):
        for number in range(count):
            ours.sendto(Framed().encapsulate(to(host, port, b"number %02d" % number)), relay)
        for number in range(count):
            plain = Framed().decapsulate(ours.recv(BUFFER))
            header = parse_header(plain)
            assert header.value.address == client.destination(host, port)
            assert plain[header.end :] == b"number %02d" % number


def test_what_cannot_be_decapsulated_is_dropped_without_effect() -> None:
    with (
        echoing() as (host, port),
        associated(FramedDatagrams, seen := Observed()) as (control, ours, relay),
        udp_socket() as stranger,
    ):
        # Does not pin the port, for it could not be the client's.
        stranger.sendto(b"\xff" * 40, relay)
        ours.sendto(to(host, port, b"bare"), relay)
        ours.sendto(Framed().encapsulate(to(host, port, b"wrapped")), relay)
        assert Framed().decapsulate(ours.recv(BUFFER)).endswith(b"wrapped")
        control.close()
        record = seen.record()
        assert (record.received, record.sent, record.dropped) == (7, 7, 2)


@pytest.mark.parametrize("broken", ["encapsulate_datagram", "decapsulate_datagram"])
@pytest.mark.parametrize("gives", ["raises", "text", None])
def test_an_encapsulation_that_breaks_on_a_datagram_costs_that_one_alone(
    broken: str, gives: Any
) -> None:
    class Breaks(FramedDatagrams):
        def encapsulate_datagram(self, datagram: bytes) -> Any:
            return self._unless("encapsulate_datagram", datagram)

        def decapsulate_datagram(self, datagram: bytes) -> Any:
            return self._unless("decapsulate_datagram", datagram)

        def _unless(self, way: str, datagram: bytes) -> Any:
            plain = getattr(super(), way)(datagram)
            if way == broken and (b"bad" in datagram or b"bad" in plain):
                if gives == "raises":
                    raise ZeroDivisionError
                return gives
            return plain

    with (
        echoing() as (host, port),
        associated(Breaks, seen := Observed()) as (control, ours, relay),
    ):
        for data in (b"bad", b"good"):
            ours.sendto(Framed().encapsulate(to(host, port, data)), relay)
        assert Framed().decapsulate(ours.recv(BUFFER)).endswith(b"good")
        control.close()
        assert seen.record().dropped == 1


@pytest.mark.parametrize("half", [False, True])
def test_what_is_sent_on_an_associations_connection_is_not_even_unwrapped(half: bool) -> None:
    """For the last datagram may have been lost, behind which it would be out of turn."""
    with (
        echoing() as (host, port),
        associated(FramedDatagrams, seen := Observed()) as (control, ours, relay),
    ):
        control.sendall(b"\xff" * 40 if not half else b"\0")
        ours.sendto(Framed().encapsulate(to(host, port, b"wrapped")), relay)
        assert Framed().decapsulate(ours.recv(BUFFER)).endswith(b"wrapped")
        control.shutdown(socket.SHUT_WR)
        assert receive_all(control) == b""
        record = seen.record()
        assert (record.outcome, record.received, record.end) == (Outcome.GRANTED, 7, "finished")


def test_an_association_is_refused_where_datagrams_cannot_be_wrapped() -> None:
    seen = Observed()
    with (
        proxy(seen, authenticators=[Wrapping(Framed)]) as server,
        client.dial(server) as connection,
    ):
        assert client.greet(connection, b"\x80") == 0x80
        connection.sendall(Framed().encapsulate(ASSOCIATE))
        reply = socks5.parse_reply(Framed().decapsulate(receive_all(connection)))
        assert reply is not None
        assert reply.value.code == socks5.COMMAND_NOT_SUPPORTED
        connection.close()
        record = seen.record()
        assert record.outcome is Outcome.COMMAND_NOT_SUPPORTED
        assert record.rule == "datagrams cannot be encapsulated"
