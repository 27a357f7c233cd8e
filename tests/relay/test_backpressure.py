"""Stalled readers: what the server holds for them, and that nothing is lost when they go on."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import client
from tests.support.origins import origin
from tests.support.running import Address
from tests.support.twistd import twistd
from tests.support.waiting import writable

MEGABYTE = 1_000_000
BLOCK = 8 * MEGABYTE

SCALES = [
    pytest.param(10, 64, id="10 of 64 MB"),
    pytest.param(50, 1000, id="50 of 1 GB", marks=pytest.mark.long),
]


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file whose content is repeated as often as is needed."""
    path = tmp_path_factory.mktemp("backpressure") / "block"
    path.write_bytes(random.Random(1).randbytes(BLOCK))
    yield path
    path.unlink()


def send(connection: socket.socket, block: Path, size: int, stalled: threading.Event) -> None:
    """Send so many octets; says so once nothing has moved for half a second."""
    connection.settimeout(0.5)
    sent = 0
    with block.open("rb") as file:
        while sent < size:
            start = sent % BLOCK
            try:
                sent += os.sendfile(
                    connection.fileno(), file.fileno(), start, min(BLOCK - start, size - sent)
                )
            except BlockingIOError:
                wait_writable(connection, stalled)
    connection.shutdown(socket.SHUT_WR)


def wait_writable(connection: socket.socket, stalled: threading.Event) -> None:
    if not writable([connection], 0.5):
        stalled.set()
        assert writable([connection], 300)


def check(connection: socket.socket, content: bytes, size: int) -> None:
    """Read to the FIN: so many octets, and each the right one."""
    connection.settimeout(300)
    buffer = bytearray(1 << 20)
    view, expected = memoryview(buffer), memoryview(content)
    got = 0
    while count := connection.recv_into(buffer):
        checked = 0
        while checked < count:
            start = got % BLOCK
            part = min(count - checked, BLOCK - start)
            assert view[checked : checked + part] == expected[start : start + part], got
            checked += part
            got += part
    assert got == size


@pytest.mark.parametrize(("relays", "megabytes"), SCALES)
@pytest.mark.parametrize("way", ["down", "up"])
def test_stalled_readers_cost_little_and_lose_nothing(
    way: str, relays: int, megabytes: int, block: Path
) -> None:
    size = megabytes * MEGABYTE
    content = block.read_bytes()
    go_on = threading.Event()
    stalls = [threading.Event() for _ in range(relays)]
    unused = iter(stalls)

    def down(connection: socket.socket) -> None:
        send(connection, block, size, next(unused))

    def up(connection: socket.socket) -> None:
        connection.recv(1)
        assert go_on.wait(300)
        check(connection, content, size)

    with (
        ExitStack() as stack,
        twistd("--allow", "127.0.0.1") as server,
        origin(down if way == "down" else up) as (host, port),
    ):
        address: Address = server.address()
        before = server.resident()
        connections = []
        for _ in range(relays):
            connection, _ = client.connect5(address, host, port)
            connections.append(stack.enter_context(connection))
        senders = []
        if way == "up":
            for connection, stalled in zip(connections, stalls, strict=True):
                connection.sendall(b"!")
                sender = threading.Thread(target=send, args=(connection, block, size, stalled))
                sender.start()
                senders.append(sender)
        for stalled in stalls:
            assert stalled.wait(60)
        assert server.resident() - before < 32 * MEGABYTE
        go_on.set()
        if way == "down":
            for connection in connections:
                check(connection, content, size)
        for sender in senders:
            sender.join(600)
            assert not sender.is_alive()
