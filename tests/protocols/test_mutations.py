"""Mutated handshakes against the real twistd: no traceback, nothing leaked, no growth."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from socks5d.wire import socks5
from tests.support import client
from tests.support.mutation import mutated, openings, play
from tests.support.origins import echo, origin, receive_exactly
from tests.support.running import proxy
from tests.support.twistd import twistd

MEGABYTE = 1_000_000


def handshakes(random: Random, port: int) -> Iterator[bytes]:
    seeds = openings(port)
    while True:
        yield mutated(random, seeds)


def quiet_echo(connection: object) -> None:
    with suppress(OSError):
        echo(connection)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "growth"),
    [
        (4_000, 10 * MEGABYTE),
        # With tables that are full of names that failed, which they are by then.
        pytest.param(1_000_000, 55 * MEGABYTE, marks=pytest.mark.long, id="a million"),
    ],
)
def test_mutated_handshakes_leave_nothing_behind(count: int, growth: int, tmp_path: Path) -> None:
    # Or most of them would wait for their turn to have a password checked.
    config = tmp_path / "socks5d.toml"
    config.write_text(f"[limits]\nfailures = {2 * count}\n")
    with (
        origin(quiet_echo) as (host, port),
        twistd(
            "--allow",
            "127.0.0.1",
            "--auth",
            "memory:ann:secret",
            "--authenticator",
            "none",
            "--userid",
            "ann",
            "--config",
            str(config),
        ) as server,
    ):
        address = server.address()
        sockets = server.sockets()
        random = Random(count)
        stream = handshakes(random, port)
        # What the process needs once, it has by then.
        play(address, islice(stream, 2_000), random)
        server.settle(sockets)
        descriptors, resident = server.descriptors(), server.resident()
        played, octets = play(address, islice(stream, count), random)
        assert played == count
        assert octets > count
        server.settle(sockets)
        assert server.descriptors() <= descriptors
        assert server.resident() - resident < growth
        connection, reply = client.connect5(address, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            connection.sendall(b"as ever")
            assert receive_exactly(connection, 7) == b"as ever"
        assert server.stop() == 0
        assert "Traceback" not in server.output()
        assert "Unhandled" not in server.output()


@settings(max_examples=100)
@given(octets=st.binary(max_size=700), cut=st.integers(0, 700))
def test_arbitrary_octets_get_an_answer_or_a_close(octets: bytes, cut: int) -> None:
    server = _server()
    with client.dial(server) as connection, suppress(ConnectionError):
        connection.sendall(octets[:cut])
        connection.sendall(octets[cut:])
        connection.shutdown(1)
        while connection.recv(4096):
            continue
    with client.dial(server) as connection:
        assert client.greet(connection) == socks5.NO_AUTHENTICATION


_running: list[tuple[str, int]] = []


def _server() -> tuple[str, int]:
    return _running[-1]


@pytest.fixture(autouse=True, scope="module")
def server_for_arbitrary_octets() -> Iterator[None]:
    with proxy() as server:
        _running.append(server)
        yield
        _running.pop()
