"""How sessions end: refusals that arrive, FINs as FINs, resets as resets."""

import socket
import threading
from typing import Any

import pytest

from socks5d.model import Outcome
from socks5d.parameters import Timeouts
from socks5d.rules import DestinationRules, parse_destination
from socks5d.wire import socks5
from tests.support import client
from tests.support.origins import (
    closed_port,
    echo,
    origin,
    receive_all,
    receive_exactly,
    reset,
    unanswering,
    until_gone,
)
from tests.support.running import Observed, proxy

MEBIBYTE = bytes(range(256)) * 4096

NOWHERE = DestinationRules(deny=[parse_destination("*")])


@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_unread_input_does_not_destroy_a_refusal(size: int) -> None:
    """Closing a socket with unread octets would send a reset behind the reply."""
    opening = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"
    answer = b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0"
    with proxy(ruleset=NOWHERE) as server, client.dial(server) as connection:

        def send() -> None:
            connection.sendall(opening + bytes(size))

        sender = threading.Thread(target=send)
        sender.start()
        sender.join()
        assert receive_all(connection) == answer


def test_a_refused_client_that_does_not_close_is_closed() -> None:
    seen = Observed()
    with proxy(seen, timeouts=Timeouts(closing=0.05)) as server:
        connection, reply = client.connect5(server, "127.0.0.1", closed_port())
        with connection:
            assert reply.code == socks5.CONNECTION_REFUSED
            assert seen.record().outcome is Outcome.REFUSED
            assert connection.recv(1) == b""


def test_a_refused_client_that_keeps_sending_is_closed() -> None:
    seen = Observed()
    with proxy(seen, timeouts=Timeouts(closing=0.1)) as server:
        connection, _ = client.connect5(server, "127.0.0.1", closed_port())
        with connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                connection.sendall(bytes(1 << 16))
        assert seen.record().outcome is Outcome.REFUSED


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.long)])
def test_after_the_clients_fin_everything_of_the_origins_arrives(count: int) -> None:
    def answer_at_the_end(connection: socket.socket) -> None:
        assert receive_all(connection) == b"that is all"
        connection.sendall(MEBIBYTE)

    seen = Observed()
    with origin(answer_at_the_end) as (host, port), proxy(seen) as server:
        for number in range(count):
            connection, _ = client.connect5(server, host, port)
            with connection:
                connection.sendall(b"that is all")
                connection.shutdown(socket.SHUT_WR)
                assert receive_all(connection) == MEBIBYTE
            record = seen.record(number)
            assert (record.end, record.received, record.sent) == ("finished", 11, 1 << 20)


def test_after_the_origins_fin_everything_of_the_clients_arrives() -> None:
    got: list[bytes] = []

    def speak_first(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        got.append(receive_all(connection))

    seen = Observed()
    with origin(speak_first) as (host, port), proxy(seen) as server:
        connection, _ = client.connect5(server, host, port)
        with connection:
            assert receive_all(connection) == b"hello"
            connection.sendall(MEBIBYTE)
        assert seen.record().end == "finished"
    assert got == [MEBIBYTE]


def test_a_fin_before_the_answer_is_passed_on_behind_the_data() -> None:
    with origin(echo) as (host, port), proxy() as server, client.dial(server) as connection:
        request = socks5.encode_request(socks5.Request(1, client.destination(host, port)))
        connection.sendall(b"\x05\x01\x00" + request + b"all at once")
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection)[12:] == b"all at once"


@pytest.mark.parametrize("early", [b"", b"half of a down"])
def test_a_reset_of_the_origins_arrives_as_a_reset(early: bytes) -> None:
    ready = threading.Event()

    def cut_off(connection: socket.socket) -> None:
        connection.sendall(early)
        assert ready.wait(10)
        reset(connection)

    seen = Observed()
    with origin(cut_off) as (host, port), proxy(seen) as server:
        connection, _ = client.connect5(server, host, port)
        with connection:
            assert receive_exactly(connection, len(early)) == early
            ready.set()
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert seen.record().end == "origin reset"


@pytest.mark.parametrize("early", [b"", b"half of an up"])
def test_a_reset_of_the_clients_arrives_as_a_reset(early: bytes) -> None:
    ends: list[Any] = []
    told = threading.Event()

    def expect_reset(connection: socket.socket) -> None:
        assert receive_exactly(connection, len(early)) == early
        told.set()
        with pytest.raises(ConnectionResetError) as caught:
            connection.recv(1)
        ends.append(caught.type)

    seen = Observed()
    with origin(expect_reset) as (host, port), proxy(seen) as server:
        connection, _ = client.connect5(server, host, port)
        connection.sendall(early)
        assert told.wait(10)
        reset(connection)
        assert seen.record().end == "client reset"
    assert ends == [ConnectionResetError]


def test_a_reset_reaches_a_side_that_has_already_said_its_fin() -> None:
    def cut_off(connection: socket.socket) -> None:
        assert receive_all(connection) == b"bye"
        connection.sendall(b"half of an ans")
        reset(connection)

    with origin(cut_off) as (host, port), proxy() as server:
        connection, _ = client.connect5(server, host, port)
        with connection:
            connection.sendall(b"bye")
            connection.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):
                while connection.recv(1 << 16):
                    continue


def test_a_relay_without_traffic_ends_with_a_reset() -> None:
    seen = Observed()
    with origin(until_gone) as (host, port), proxy(seen, timeouts=Timeouts(idle=0.05)) as server:
        connection, _ = client.connect5(server, host, port)
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert seen.record().end == "idle"


def test_a_client_that_leaves_while_it_is_being_connected_is_forgotten() -> None:
    """Nothing of its attempt stays behind."""
    seen = Observed()
    with unanswering() as (host, port), proxy(seen) as server:
        connection = client.dial(server)
        client.greet(connection)
        request = socks5.Request(1, client.destination(host, port))
        connection.sendall(socks5.encode_request(request))
        reset(connection)
        assert seen.record().outcome is Outcome.CLIENT_LEFT
