"""Many stalled downloads at once, of a server whose user may not have pipes for all."""

import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from socks5d.wire.socks5 import NO_AUTHENTICATION, SUCCEEDED
from tests.support.client import connect5, destination, greet, request5
from tests.support.origins import echo, origin, receive_exactly
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

NOBODY = 65534
#: Octets that repeat in each download; no length that anything is likely to be cut at.
PATTERN = Random(3000).randbytes(65_521)
PERIODS = memoryview(PATTERN * 3)
#: Octets of one download: more than a pipe and the kernel's buffers hold.
SIZE = 3 << 19
#: Octets that a stalled client lets come: more than a read takes, so that it is bulk.
BEGUN = 1 << 17


class Source:
    """
    Sends the same to everybody, as fast as each takes it.

    @ivar sent: how much each has been sent, by its address.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sent: dict[Address, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        # So that what is stalled is stalled in the proxy.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        self.address: Address = self._listener.getsockname()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._listener:
                    connection, peer = self._listener.accept()
                    connection.setblocking(False)
                    self._selector.register(connection, selectors.EVENT_WRITE, peer)
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._send(key.fileobj, key.data)

    def _send(self, connection: socket.socket, peer: Address) -> None:
        begun = self.sent.get(peer, 0)
        place = begun % len(PATTERN)
        with self.changed:
            self.sent[peer] = begun + connection.send(
                PERIODS[place : place + min(1 << 16, SIZE - begun)]
            )
            self.changed.notify_all()
        if self.sent[peer] == SIZE:
            self._selector.unregister(connection)
            connection.close()

    def wait_for(self, downloads: int) -> None:
        """Until so many downloads have begun, and are bulk."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: sum(sent >= BEGUN for sent in self.sent.values()) >= downloads,
                PATIENCE + downloads / 10,
            )

    def close(self) -> None:
        self._waker.send(b"x")
        self._thread.join(PATIENCE)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._waker.close()
        self._selector.close()


@contextmanager
def sending() -> Iterator[Source]:
    source = Source()
    try:
        yield source
    finally:
        source.close()


def stalling(server: Address, source: Address) -> socket.socket:
    """A download that nobody reads, and of which the kernel keeps little."""
    connection = socket.socket()
    connection.settimeout(PATIENCE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 4096)
    connection.connect(server)
    assert greet(connection) == NO_AUTHENTICATION
    assert request5(connection, destination(*source)).code == SUCCEEDED
    return connection


class Readers:
    """
    Those who have downloads, and have not read them.

    @ivar got: how much each has read.
    """

    def __init__(self, connections: list[socket.socket]) -> None:
        self.got = dict.fromkeys(connections, 0)
        for connection in connections:
            connection.setblocking(False)

    def read_until(self, enough: Callable[[], bool]) -> None:
        """A little of each in turn, and compare it."""
        deadline = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < deadline, "it does not come to that"
            for connection in self.got:
                with suppress(BlockingIOError):
                    self._read(connection)

    def read_all(self) -> None:
        """Everything of all at once, and compare it."""
        with selectors.DefaultSelector() as selector:
            for connection in self.got:
                selector.register(connection, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(PATIENCE)
                assert ready, "nothing comes any more"
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    if not self._read(key.fileobj):
                        selector.unregister(key.fileobj)
        assert set(self.got.values()) == {SIZE}

    def _read(self, connection: socket.socket) -> bytes:
        data = connection.recv(1 << 16)
        place = self.got[connection] % len(PATTERN)
        assert data == PERIODS[place : place + len(data)]
        self.got[connection] += len(data)
        return data


def pipes_of(server: Twistd) -> int:
    """How many pipes it has, of two descriptors each."""
    links = [str(each.readlink()) for each in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    return sum(link.startswith("pipe:") for link in links) // 2


@pytest.fixture
def descriptors() -> Iterator[int]:
    """As many as this process may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("downloads", [150, pytest.param(3000, marks=pytest.mark.long)], ids=str)
def test_more_stalled_downloads_than_pipes_lose_nothing(
    downloads: int, descriptors: int, tmp_path: Path
) -> None:
    """
    An unprivileged user may have 64 pipes of full size (pipe-user-pages-soft), after which
    they are small ones; and a server has as many as descriptors allow, after which it copies.
    """
    config = tmp_path / "socks5d.toml"
    config.write_text('allow = "127.0.0.0/8"\nlimits.pipes = 100000\nlog_granted = false\n')
    config.chmod(0o644)
    own = ("--uid", str(NOBODY), "--gid", str(NOBODY)) if os.geteuid() == 0 else ()
    with twistd("--config", str(config), own=own) as server, sending() as source:
        address = server.address()
        before = server.sockets()
        with ExitStack() as stack, origin(echo) as other:
            stalled = [
                stack.enter_context(stalling(address, source.address)) for _ in range(downloads)
            ]
            source.wait_for(downloads)
            readers = Readers(stalled)
            # On a busy machine some have stalled before they were bulk.
            readers.read_until(lambda: pipes_of(server) > 64)
            modest, reply = connect5(address, *other)
            with modest:
                assert reply.code == SUCCEEDED
                modest.sendall(b"still there?")
                assert receive_exactly(modest, 12) == b"still there?"
            readers.read_all()
        server.settle(before)
        assert server.stop() == 0
        assert "Traceback" not in server.output()
