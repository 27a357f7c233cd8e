"""SIGTERM: nobody new, time for those who are at it, and exit status 0."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from socks5d.wire import socks5
from tests.program.launching import REACH_LOOPBACK, echoes, serves
from tests.support.client import connect5, dial, greet
from tests.support.origins import echo, origin, receive_all, receive_exactly
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

LARGE = bytes(range(256)) * 20_000
#: Longer than any test waits: what ends before it did not wait for it.
LONG = 3 * PATIENCE


@contextmanager
def server_with_grace(folder: Path, seconds: float) -> Iterator[Twistd]:
    """A server that gives running sessions so many seconds at its end."""
    path = folder / "socks5d.toml"
    path.write_text(f"[timeouts]\nshutdown = {seconds}\n")
    with twistd("--config", str(path), *REACH_LOOPBACK) as server:
        yield server


def is_running(server: Twistd) -> None:
    """It answers, so that it is past its start."""
    with dial(server.address()) as connection:
        assert greet(connection) == socks5.NO_AUTHENTICATION


def accepts_nobody_any_more(address: Address) -> None:
    """Returns once connections are refused; who comes before that is not served either."""
    while True:
        try:
            with dial(address) as connection:
                # Closed while it waits, when the end has begun.
                assert receive_all(connection) == b""
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass


def test_it_ends_with_status_0_when_nothing_runs() -> None:
    with twistd() as server:
        is_running(server)
        assert server.stop() == 0, server.output()


def test_it_ends_with_status_0_when_it_has_served() -> None:
    with twistd(*REACH_LOOPBACK) as server:
        serves(server.address())
        assert server.stop() == 0, server.output()


def test_it_ends_with_status_0_as_soon_as_it_says_that_it_listens() -> None:
    # Not a matter of luck: the signal comes at another moment each time.
    for _ in range(8):
        with twistd() as server:
            server.address()
            assert server.stop() == 0, server.output()


def test_a_running_relay_may_finish_and_its_data_arrives_whole(tmp_path: Path) -> None:
    proceed = Event()

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"first ")
        assert proceed.wait(PATIENCE)
        connection.sendall(LARGE)
        connection.sendall(b"the client said " + receive_all(connection))

    with origin(handler) as (host, port), server_with_grace(tmp_path, LONG) as server:
        connection, reply = connect5(server.address(), host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            assert receive_exactly(connection, 6) == b"first "
            server.process.terminate()
            accepts_nobody_any_more(server.address())
            assert server.process.poll() is None
            proceed.set()
            assert receive_exactly(connection, len(LARGE)) == LARGE
            connection.sendall(b"goodbye")
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b"the client said goodbye"
        assert server.process.wait(PATIENCE) == 0, server.output()
    assert "Traceback" not in server.output()


def test_a_relay_that_does_not_finish_is_reset_after_the_grace(tmp_path: Path) -> None:
    origin_was_reset = Event()

    def handler(connection: socket.socket) -> None:
        connection.sendall(receive_exactly(connection, 5))
        try:
            receive_all(connection)
        except ConnectionResetError:
            origin_was_reset.set()

    with origin(handler) as (host, port), server_with_grace(tmp_path, 0.5) as server:
        connection, reply = connect5(server.address(), host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            echoes(connection, b"hello")
            server.process.terminate()
            with pytest.raises(ConnectionResetError):
                receive_all(connection)
        assert origin_was_reset.wait(PATIENCE)
        assert server.process.wait(PATIENCE) == 0, server.output()
    assert server.wait_for(r"session=1 .* end=shutdown")
    assert "Traceback" not in server.output()


def test_a_grace_of_no_time_ends_relays_at_once(tmp_path: Path) -> None:
    def handler(connection: socket.socket) -> None:
        with pytest.raises(ConnectionResetError):
            echo(connection)

    with origin(handler) as (host, port), server_with_grace(tmp_path, 0) as server:
        connection, reply = connect5(server.address(), host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            echoes(connection)
            server.process.terminate()
            with pytest.raises(ConnectionResetError):
                receive_all(connection)
        assert server.process.wait(PATIENCE) == 0, server.output()


@pytest.mark.parametrize(
    "said",
    [b"", b"\x05", socks5.encode_greeting(b"\x00"), b"\x05\x01\x00\x05\x01", b"\x04\x01\x00"],
    ids=["nothing", "half a greeting", "a greeting", "half a request", "half of SOCKS 4"],
)
def test_a_client_in_its_handshake_is_closed_at_once(said: bytes, tmp_path: Path) -> None:
    with server_with_grace(tmp_path, LONG) as server, dial(server.address()) as connection:
        connection.sendall(said)
        # When this one, who came later, has its answer, the first has been heard.
        is_running(server)
        server.process.terminate()
        try:
            answered = receive_all(connection)
        except ConnectionResetError:
            answered = b""
        assert answered in (b"", b"\x05\x00")
        assert server.process.wait(PATIENCE) == 0, server.output()


def test_a_client_in_its_handshake_does_not_hold_up_the_end_of_a_relay(tmp_path: Path) -> None:
    with (
        origin(echo) as (host, port),
        server_with_grace(tmp_path, LONG) as server,
        dial(server.address()) as idle,
    ):
        assert greet(idle) == socks5.NO_AUTHENTICATION
        connection, reply = connect5(server.address(), host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            server.process.terminate()
            with pytest.raises(ConnectionResetError):
                receive_all(idle)
            echoes(connection)
        assert server.process.wait(PATIENCE) == 0, server.output()


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    with origin(echo) as (host, port), server_with_grace(tmp_path, LONG) as server:
        connection, reply = connect5(server.address(), host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            server.process.terminate()
            accepts_nobody_any_more(server.address())
            server.process.terminate()
            echoes(connection)
        assert server.process.wait(PATIENCE) == 0, server.output()
    assert "Traceback" not in server.output()
