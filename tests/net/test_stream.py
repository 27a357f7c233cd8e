"""
TCP over real sockets, in the running reactor: each on the poller, and, where it is to be the
same, on Twisted's own transports.
"""

import errno
import fcntl
import hashlib
import os
import select
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IListeningPort,
    IPullProducer,
    IPushProducer,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.deadlines import GRAIN
from socks5d.net import StreamClientEndpoint, StreamServerEndpoint, faster, poller, stream
from socks5d.net.addresses import endpoint_address
from socks5d.net.listening import ACCEPTS, BACKLOG, PAUSE, StreamPort
from socks5d.net.poller import BUFFER, Poller
from socks5d.net.stream import FULL, ROUNDS, StreamSocket
from tests.support.lanes import lane
from tests.support.origins import closed_port, receive_all, receive_exactly, reset, unanswering
from tests.support.running import PATIENCE, Address, in_reactor, reactor
from tests.support.waiting import readable

__all__ = ["lane"]

FOUR, SIX = "127.0.0.1", "::1"
MEBIBYTE = bytes(range(256)) * 4096
#: More than all of the kernel's buffers hold.
MUCH = 24

with_poller = pytest.mark.parametrize("lane", ["fast"], indirect=True)
accepted = pytest.mark.parametrize("side", ["accepted"], indirect=True)


@pytest.fixture(params=["accepted", "dialled"])
def side(request: pytest.FixtureRequest) -> str:
    """Which end of the connection is ours."""
    which: str = request.param
    return which


@pytest.fixture(scope="module", autouse=True)
def what_a_process_keeps() -> None:
    """Descriptors that are opened once: the poller's, and one that Twisted has to spare."""

    def open_them() -> None:
        poller.poller_of(reactor)
        reactor.listenTCP(0, Factory(), interface=FOUR).stopListening()

    in_reactor(open_them)


@pytest.fixture(autouse=True)
def nothing_else_fails() -> Iterator[None]:
    """No failure is logged but of this module's own making."""
    with capturedLogs() as logs:
        yield
    found = [event.get("log_failure") or event.get("failure") for event in logs]
    assert [each for each in found if each is not None and not each.check(RuntimeError)] == []


# What stands at the ends of a connection.


class Recording(Protocol):
    """
    Keeps what it is told, which a test can wait for.

    @ivar made: how often it was told of the connection.
    @ivar pieces: what came.
    @ivar lost: with what the connection ended, each time that was said.
    @ivar address: what the factory was told, where a factory has made it.
    @ivar on_made: is called with this once there is a connection.
    @ivar on_data: is given this, once it is kept, with each piece.
    @ivar on_lost: is called with this once the end is kept.
    """

    transport: Any

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.made = 0
        self.pieces: list[bytes] = []
        self.lost: list[Failure] = []
        self.address: Any = None
        self.on_made: Callable[[Any], object] = lambda _: None
        self.on_data: Callable[[Any, bytes], object] = lambda *_: None
        self.on_lost: Callable[[Any], object] = lambda _: None

    def connectionMade(self) -> None:
        with self.changed:
            self.made += 1
            self.changed.notify_all()
        self.on_made(self)

    def dataReceived(self, data: bytes) -> None:
        with self.changed:
            self.pieces.append(data)
            self.changed.notify_all()
        self.on_data(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        with self.changed:
            self.lost.append(reason)
            self.changed.notify_all()
        self.on_lost(self)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so of what is kept."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE)

    def data(self) -> bytes:
        return b"".join(self.pieces)

    def receives(self, data: bytes) -> None:
        """Wait until this has come, and nothing else."""
        self.until(lambda: sum(map(len, self.pieces)) >= len(data))
        assert self.data() == data

    def ends(self) -> Failure:
        """Wait for the end; gives with what."""
        self.until(lambda: self.lost)
        return self.lost[0]

    def do(self, name: str, *arguments: object) -> Any:
        """Have the transport do something."""
        return in_reactor(getattr(self.transport, name), *arguments)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recording):
    """
    One that knows connections of which one side has ended.

    @ivar said: of which side it was told, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.on_half: Callable[[], object] = lambda: None

    def readConnectionLost(self) -> None:
        self._half("read")

    def writeConnectionLost(self) -> None:
        self._half("write")

    def _half(self, which: str) -> None:
        with self.changed:
            self.said.append(which)
            self.changed.notify_all()
        self.on_half()


class Making(Factory):
    """Gives protocols away, in their order."""

    noisy = False

    def __init__(self, *protocols: Recording | None) -> None:
        self._protocols = list(protocols)
        self.started = self.stopped = 0

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.stopped += 1

    def buildProtocol(self, addr: Any) -> Any:
        protocol = self._protocols.pop(0)
        if protocol is not None:
            protocol.address = addr
        return protocol


def turns() -> None:
    """The reactor gets round to everything that it has to do."""
    for _ in range(3):
        in_reactor(lambda: None)


def listens(lane: str, host: str = FOUR, port: int = 0) -> IStreamServerEndpoint:
    if lane == "fast":
        return StreamServerEndpoint(reactor, port, ip_address(host))
    kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
    return kind(reactor, port, BACKLOG, host)


def connects(
    lane: str, to: Address, timeout: float = PATIENCE, source: str | None = None
) -> IStreamClientEndpoint:
    host, port = to
    if lane == "fast":
        own = None if source is None else ip_address(source)
        return StreamClientEndpoint(reactor, ip_address(host), port, timeout, own)
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    bound = None if source is None else (source, 0)
    return kind(reactor, host, port, timeout=timeout, bindAddress=bound)


@contextmanager
def listening(
    lane: str, factory: Factory, host: str = FOUR, port: int = 0
) -> Iterator[tuple[Any, Address]]:
    """A port, and where it is."""
    made: Any = in_reactor(listens(lane, host, port).listen, factory)
    where = made.getHost()
    try:
        yield made, (where.host, where.port)
    finally:
        in_reactor(made.stopListening)


@contextmanager
def _ends(lane: str, side: str, protocol: Recording, host: str) -> Iterator[socket.socket]:
    if side == "accepted":
        with listening(lane, Making(protocol), host) as (_, address):
            with socket.create_connection(address, PATIENCE) as far:
                yield far
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as listener:
            listener.settimeout(PATIENCE)
            endpoint = connects(lane, listener.getsockname()[:2])
            in_reactor(endpoint.connect, Making(protocol))
            far, _ = listener.accept()
            with far:
                far.settimeout(PATIENCE)
                yield far


@contextmanager
def connected(
    lane: str, side: str, protocol: Recording, host: str = FOUR
) -> Iterator[socket.socket]:
    """
    A connection of a protocol's; gives the far end.  At the end it is ended, of which the
    protocol must have been told once.
    """
    with _ends(lane, side, protocol, host) as far:
        protocol.until(lambda: protocol.made)
        try:
            yield far
        finally:
            in_reactor(protocol.transport.abortConnection)
            protocol.ends()
        turns()
        assert (protocol.made, len(protocol.lost)) == (1, 1)


def happened(where: Any, events: int) -> None:
    """Wait for something to be so of a socket."""
    waiting = select.poll()
    waiting.register(where, events)
    assert waiting.poll(PATIENCE * 1000)


def arrived(protocol: Recording, events: int = select.POLLIN) -> None:
    """Wait until something of the far end's is there for a protocol."""
    happened(protocol.transport.getHandle(), events)


def receive_till_reset(far: socket.socket) -> bytes:
    """What comes before a reset; fails when a FIN does."""
    pieces = []
    with pytest.raises(ConnectionResetError):
        while piece := far.recv(1 << 16):
            pieces.append(piece)
        raise AssertionError("it ends with a FIN")
    return b"".join(pieces)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# What it is.


def test_it_is_a_tcp_transport(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        for interface in (ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
            assert verifyObject(interface, protocol.transport)
        assert isinstance(protocol.transport, StreamSocket) == (lane == "fast")
        handle = protocol.transport.getHandle()
        assert handle.getpeername() == far.getsockname()


@pytest.mark.parametrize(("host", "kind"), [(FOUR, IPv4Address), (SIX, IPv6Address)])
def test_it_knows_both_its_ends(lane: str, side: str, host: str, kind: type[Any]) -> None:
    protocol = Recording()
    with connected(lane, side, protocol, host) as far:
        here, there = protocol.do("getHost"), protocol.do("getPeer")
        assert (here, there) == (
            kind("TCP", *far.getpeername()[:2]),
            kind("TCP", *far.getsockname()[:2]),
        )
        assert protocol.address == there
        protocol.do("loseConnection")
        protocol.ends()
        # The far one is known for longer than the connection lasts.
        assert protocol.do("getPeer") == there


def test_its_options_are_the_sockets(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol):
        for name, level, option in (
            ("TcpNoDelay", socket.IPPROTO_TCP, socket.TCP_NODELAY),
            ("TcpKeepAlive", socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        ):
            for value in (True, False, True):
                protocol.do(f"set{name}", value)
                assert protocol.do(f"get{name}") is value
                assert bool(protocol.transport.getHandle().getsockopt(level, option)) is value


@with_poller
@accepted
def test_accepted_ones_notice_dead_peers_and_pass_on_what_comes(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol):
        assert protocol.do("getTcpNoDelay") is True
        assert protocol.do("getTcpKeepAlive") is True


# Octets.


def test_octets_go_both_ways(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        far.sendall(b"question")
        protocol.receives(b"question")
        protocol.do("write", b"answer")
        assert receive_exactly(far, 6) == b"answer"


def test_what_is_written_while_something_comes_goes_out(lane: str, side: str) -> None:
    protocol = Recording()
    protocol.on_made = lambda self: self.transport.write(b"greeting ")
    protocol.on_data = lambda self, data: self.transport.write(data)
    with connected(lane, side, protocol) as far:
        assert receive_exactly(far, 9) == b"greeting "
        for data in (b"x", MEBIBYTE):
            sender = threading.Thread(target=far.sendall, args=(data,))
            sender.start()
            assert receive_exactly(far, len(data)) == data
            sender.join(PATIENCE)


def test_what_comes_with_the_connection_is_not_lost(lane: str, side: str) -> None:
    """All of it is there before anybody looks."""
    protocol = Recording()
    if side == "accepted":
        with listening(lane, Making(protocol)) as (port, address):
            in_reactor(port.pauseProducing)
            with socket.create_connection(address, PATIENCE) as far:
                far.sendall(MEBIBYTE[:5000])
                far.shutdown(socket.SHUT_WR)
                in_reactor(port.resumeProducing)
                protocol.ends()
    else:
        with socket.create_server((FOUR, 0)) as listener:
            listener.settimeout(PATIENCE)

            class Late(Making):
                def buildProtocol(self, addr: Any) -> Any:
                    far, _ = listener.accept()
                    with far:
                        far.sendall(MEBIBYTE[:5000])
                    return super().buildProtocol(addr)

            results: list[Any] = []

            def connect() -> None:
                connecting: Deferred[Any] = connects(lane, listener.getsockname()).connect(
                    Late(protocol)
                )
                connecting.addCallback(lambda made: results.append((made, made.data())))

            in_reactor(connect)
            protocol.ends()
            # Whoever connects is told of the connection before what comes on it.
            assert results == [(protocol, b"")]
    assert protocol.data() == MEBIBYTE[:5000]
    assert [each.check(ConnectionDone) for each in protocol.lost] == [ConnectionDone]


def until_received(far: socket.socket) -> None:
    """Wait until everything that was sent is there at the near end."""
    deadline = time.monotonic() + PATIENCE
    while any(fcntl.ioctl(far, termios.TIOCOUTQ, bytes(4))):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.001)


def test_what_comes_behind_urgent_data_is_delivered_with_what_came_before(
    lane: str, side: str
) -> None:
    """As Telnet and FTP send it to interrupt something; the kernel reads no further at once."""
    protocol = Recording()

    def send() -> None:
        far.sendall(b"before")
        far.send(b"!", socket.MSG_OOB)
        far.sendall(b"after")
        until_received(far)

    with connected(lane, side, protocol) as far:
        in_reactor(send)
        for _ in range(3):
            turns()
        assert protocol.data() == b"beforeafter"


def test_octets_come_out_in_the_order_they_were_written(lane: str, side: str) -> None:
    protocol = Recording()
    expected = b"".join(b"%d," % number * (number % 50) for number in range(4000))

    def write() -> None:
        for number in range(0, 4000, 2):
            piece = b"%d," % number * (number % 50)
            protocol.transport.write(piece)
            following = b"%d," % (number + 1)
            protocol.transport.writeSequence([following] * ((number + 1) % 50))

    with connected(lane, side, protocol) as far:
        in_reactor(write)
        protocol.do("loseConnection")
        assert receive_all(far) == expected


@accepted
def test_fifty_megabytes_to_a_slow_reader_come_out_whole(lane: str, side: str) -> None:
    protocol = Recording()
    blocks = [number.to_bytes(4, "big") * 16384 for number in range(800)]
    expected = hashlib.sha256(b"".join(blocks)).digest()
    with connected(lane, side, protocol) as far:

        def write(some: Sequence[bytes]) -> None:
            for block in some:
                protocol.transport.write(block)

        # Nothing is read before most of it is written, the first of it in small pieces, and
        # the rest is written behind what waits.
        in_reactor(write, blocks[:700])
        found, size = hashlib.sha256(), 0
        while piece := far.recv(1000 if size < 200_000 else 1 << 18):
            found.update(piece)
            if size < 1_000_000 <= size + len(piece):
                in_reactor(write, blocks[700:])
                protocol.do("loseConnection")
            size += len(piece)
        assert (size, found.digest()) == (800 * 65536, expected)
        assert protocol.ends().check(ConnectionDone)


@pytest.mark.parametrize("piece", ["text", bytearray(b"x"), memoryview(b"x"), None, 1])
def test_what_is_not_bytes_cannot_be_written(lane: str, side: str, piece: Any) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        with pytest.raises(TypeError):
            protocol.do("write", piece)
        protocol.do("write", b"bytes")
        assert receive_exactly(far, 5) == b"bytes"


def test_to_write_nothing_is_nothing(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        protocol.do("write", b"")
        protocol.do("writeSequence", [])
        protocol.do("write", b"x")
        assert far.recv(100) == b"x"


# The end.


def test_everything_that_was_written_goes_out_before_the_end(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:

        def write_and_end() -> None:
            for _ in range(MUCH):
                protocol.transport.write(MEBIBYTE)
            protocol.transport.loseConnection()
            assert protocol.lost == []

        in_reactor(write_and_end)
        turns()
        assert protocol.lost == []
        assert receive_all(far) == MEBIBYTE * MUCH
        assert protocol.ends().check(ConnectionDone)


def test_an_end_without_anything_to_write_is_a_fin(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        protocol.do("loseConnection")
        assert far.recv(1) == b""
        assert protocol.ends().check(ConnectionDone)


def test_nothing_is_delivered_once_the_end_is_asked_for(lane: str, side: str) -> None:
    protocol = Recording()
    protocol.on_data = lambda self, _: self.transport.loseConnection()
    with connected(lane, side, protocol) as far:
        for _ in range(MUCH):
            protocol.do("write", MEBIBYTE)
        far.sendall(b"that is enough")
        protocol.receives(b"that is enough")
        far.sendall(b"and more")
        arrived(protocol)
        protocol.do("resumeProducing")
        turns()
        assert protocol.data() == b"that is enough"


def test_an_abort_is_a_reset_and_drops_what_was_not_sent(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:

        def write_and_abort() -> None:
            for _ in range(MUCH):
                protocol.transport.write(MEBIBYTE)
            protocol.transport.abortConnection()
            # Whoever aborts does not expect to be told in between.
            assert protocol.lost == []

        in_reactor(write_and_abort)
        assert protocol.ends().check(ConnectionAborted)
        assert len(receive_till_reset(far)) < MUCH << 20


def test_an_abort_of_an_idle_connection_is_a_reset_too(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        protocol.do("abortConnection")
        assert receive_till_reset(far) == b""
        assert protocol.ends().check(ConnectionAborted)


def test_nothing_is_delivered_once_it_is_aborted(lane: str, side: str) -> None:
    protocol = Recording()

    def abort() -> None:
        protocol.transport.abortConnection()
        far.sendall(b"too late")
        protocol.transport.resumeProducing()
        protocol.transport.write(b"too late")

    with connected(lane, side, protocol) as far:
        in_reactor(abort)
        protocol.ends()
        turns()
        assert protocol.data() == b""
        # Nor is anything sent.
        assert receive_till_reset(far) == b""


def test_the_far_ends_fin_is_the_end(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        far.sendall(MEBIBYTE)
        far.shutdown(socket.SHUT_WR)
        assert protocol.ends().check(ConnectionDone)
        assert protocol.data() == MEBIBYTE
        assert far.recv(1) == b""


def test_the_far_ends_reset_is_the_loss_of_it(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        reset(far)
        assert protocol.ends().check(ConnectionLost)
        assert not protocol.lost[0].check(ConnectionDone)


def test_a_reset_ends_what_waits_to_be_sent(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        for _ in range(MUCH):
            protocol.do("write", MEBIBYTE)
        reset(far)
        assert protocol.ends().check(ConnectionLost)


@pytest.mark.parametrize("asked", [False, True], ids=["", "and its end was asked for"])
def test_a_reset_is_noticed_by_who_writes(lane: str, side: str, asked: bool) -> None:
    protocol = Recording()

    def write() -> None:
        reset(far)
        arrived(protocol, 0)
        for _ in range(3):
            protocol.transport.write(b"x")
            # Whoever writes does not expect to be told in between.
            assert protocol.lost == []
        if asked:
            protocol.transport.loseConnection()

    with connected(lane, side, protocol) as far:
        in_reactor(write)
        assert protocol.ends().check(ConnectionLost)


ENDS: dict[str, tuple[list[str], type[Exception]]] = {
    "lost twice": (["loseConnection", "loseConnection"], ConnectionDone),
    "aborted twice": (["abortConnection", "abortConnection"], ConnectionAborted),
    "lost, then aborted": (["loseConnection", "abortConnection"], ConnectionAborted),
    "aborted, then lost": (["abortConnection", "loseConnection"], ConnectionAborted),
    "stopped": (["stopProducing"], ConnectionDone),
    "half, then lost": (["loseWriteConnection", "loseConnection"], ConnectionDone),
    "half, then aborted": (["loseWriteConnection", "abortConnection"], ConnectionAborted),
    "lost, then half": (["loseConnection", "loseWriteConnection"], ConnectionDone),
    "paused, then lost": (["pauseProducing", "loseConnection"], ConnectionDone),
    "paused, then aborted": (["pauseProducing", "abortConnection"], ConnectionAborted),
    "lost, then resumed": (["loseConnection", "resumeProducing"], ConnectionDone),
}


@pytest.mark.parametrize("waiting", [0, MUCH], ids=["idle", "with octets to send"])
@pytest.mark.parametrize(("steps", "kind"), ENDS.values(), ids=ENDS)
@accepted
def test_the_end_comes_once_and_says_how(
    lane: str, side: str, steps: list[str], kind: type[Exception], waiting: int
) -> None:
    protocol = Recording()

    def end() -> None:
        for _ in range(waiting):
            protocol.transport.write(MEBIBYTE)
        for step in steps:
            getattr(protocol.transport, step)()

    with connected(lane, side, protocol) as far:
        in_reactor(end)
        if kind is ConnectionDone:
            assert len(receive_all(far)) == waiting << 20
        assert protocol.ends().check(kind)
        # All of it means nothing any more, but for half an end, at which Twisted stumbles.
        for step in steps:
            if lane == "fast" or step != "loseWriteConnection":
                protocol.do(step)
        turns()
        assert len(protocol.lost) == 1


def test_after_the_end_writing_is_nothing(lane: str, side: str) -> None:
    protocol = Recording()
    # Not even while it is told.
    protocol.on_lost = lambda self: self.transport.write(b"too late")
    with connected(lane, side, protocol) as far:
        protocol.do("loseConnection")
        protocol.ends()
        protocol.do("write", b"too late")
        protocol.do("writeSequence", [b"too", b"late"])
        with pytest.raises(TypeError):
            protocol.do("write", "not even bytes")
        for name in ("loseConnection", "abortConnection", "pauseProducing", "resumeProducing"):
            protocol.do(name)
        if lane == "fast":
            protocol.do("loseWriteConnection")
        assert receive_all(far) == b""


def test_what_is_written_between_asking_for_the_end_and_the_end_goes_out_too(
    lane: str, side: str
) -> None:
    protocol = Recording()

    def write() -> None:
        for _ in range(MUCH):
            protocol.transport.write(MEBIBYTE)
        protocol.transport.loseConnection()
        protocol.transport.write(b"one thing more")

    with connected(lane, side, protocol) as far:
        in_reactor(write)
        assert receive_all(far) == MEBIBYTE * MUCH + b"one thing more"


# Protocols that fail.


def _fails(*_: object) -> None:
    raise RuntimeError("of somebody's")


def failures(logs: Sequence[LogEvent]) -> list[Failure]:
    """What was logged of this module's failures."""
    # Twisted's own transports log as they did of old.
    found = [event.get("log_failure") or event.get("failure") for event in logs]
    return [each for each in found if each is not None and each.check(RuntimeError)]


def test_a_protocol_that_fails_loses_its_connection(
    lane: str, side: str, logs: Sequence[LogEvent]
) -> None:
    protocol = Recording()
    protocol.on_data = _fails
    with connected(lane, side, protocol) as far:
        far.sendall(b"x")
        assert protocol.ends().check(RuntimeError)
        assert len(failures(logs)) == 1
        assert far.recv(1) == b""


@accepted
def test_a_protocol_that_fails_harms_no_other(
    lane: str, side: str, logs: Sequence[LogEvent]
) -> None:
    bad, good = Recording(), Recording()
    bad.on_data = _fails
    with listening(lane, Making(bad, good)) as (_, address), ExitStack() as stack:
        far = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(2)]
        good.until(lambda: good.made)

        def send() -> None:
            for each in far:
                each.sendall(b"x")
            arrived(good)

        in_reactor(send)
        good.receives(b"x")
        bad.ends()
        good.do("write", b"y")
        assert far[1].recv(1) == b"y"
        good.do("loseConnection")
        assert good.ends().check(ConnectionDone)
    assert len(failures(logs)) == 1


@pytest.mark.parametrize("which", ["read", "write"])
def test_a_protocol_that_fails_at_half_an_end_loses_its_connection(
    lane: str, side: str, which: str, logs: Sequence[LogEvent]
) -> None:
    protocol = HalfCloseable()
    protocol.on_half = _fails
    with connected(lane, side, protocol) as far:
        if which == "read":
            far.shutdown(socket.SHUT_WR)
        else:
            protocol.do("loseWriteConnection")
        assert protocol.ends().check(RuntimeError)
        assert protocol.said == [which]
        assert len(failures(logs)) == 1


def test_a_protocol_that_fails_at_its_end_harms_nobody(
    lane: str, side: str, logs: Sequence[LogEvent]
) -> None:
    protocol = Recording()
    protocol.on_lost = _fails
    with connected(lane, side, protocol) as far:
        far.shutdown(socket.SHUT_WR)
        protocol.ends()
        turns()
        assert len(failures(logs)) == 1
    after = Recording()
    with connected(lane, side, after) as far:
        far.sendall(b"x")
        after.receives(b"x")


# Half an end.


def test_a_protocol_that_knows_half_an_end_is_told_of_the_far_ones_fin(
    lane: str, side: str
) -> None:
    protocol = HalfCloseable()
    with connected(lane, side, protocol) as far:
        far.sendall(MEBIBYTE)
        far.shutdown(socket.SHUT_WR)
        protocol.until(lambda: protocol.said)
        # Behind everything that came before it.
        assert protocol.data() == MEBIBYTE
        turns()
        assert (protocol.said, protocol.lost) == (["read"], [])
        protocol.do("write", b"answer")
        assert receive_exactly(far, 6) == b"answer"
        for _ in range(MUCH):
            protocol.do("write", MEBIBYTE)
        protocol.do("loseConnection")
        assert receive_all(far) == MEBIBYTE * MUCH
        assert protocol.ends().check(ConnectionDone)
        assert protocol.said == ["read"]


def test_one_that_does_not_know_it_loses_what_it_has_to_send(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        for _ in range(MUCH):
            protocol.do("write", MEBIBYTE)
        far.shutdown(socket.SHUT_WR)
        assert protocol.ends().check(ConnectionDone)
        assert len(receive_all(far)) < MUCH << 20


@pytest.mark.parametrize("kind", [Recording, HalfCloseable])
def test_our_half_ends_behind_what_was_written_and_the_other_goes_on(
    lane: str, side: str, kind: type[Recording]
) -> None:
    protocol = kind()

    def write_and_end() -> None:
        for _ in range(MUCH):
            protocol.transport.write(MEBIBYTE)
        protocol.transport.loseWriteConnection()
        # Until it has ended, more can be written.
        protocol.transport.write(b"one thing more")

    with connected(lane, side, protocol) as far:
        in_reactor(write_and_end)
        assert receive_all(far) == MEBIBYTE * MUCH + b"one thing more"
        protocol.do("write", b"too late")
        if lane == "fast":
            # A second time ends it for Twisted.
            protocol.do("loseWriteConnection")
        for number in range(3):
            far.sendall(b"%d" % number)
            protocol.receives(b"012"[: number + 1])
        # What has ended does not end again when a producer comes too late.
        protocol.do("registerProducer", Pushing(protocol.transport, 1, ends=False), True)
        protocol.do("unregisterProducer")
        turns()
        if isinstance(protocol, HalfCloseable):
            assert protocol.said == ["write"]
        far.shutdown(socket.SHUT_WR)
        if isinstance(protocol, HalfCloseable):
            protocol.until(lambda: len(protocol.said) == 2)
            turns()
            assert (protocol.said, protocol.lost) == (["write", "read"], [])
            protocol.do("loseConnection")
        assert protocol.ends().check(ConnectionDone)


def test_both_halves_end_one_after_the_other(lane: str, side: str) -> None:
    protocol = HalfCloseable()
    with connected(lane, side, protocol) as far:
        far.shutdown(socket.SHUT_WR)
        protocol.until(lambda: protocol.said == ["read"])
        protocol.do("write", b"answer")
        protocol.do("loseWriteConnection")
        assert receive_all(far) == b"answer"
        protocol.until(lambda: protocol.said == ["read", "write"])
        assert protocol.lost == []
        protocol.do("loseConnection")
        assert protocol.ends().check(ConnectionDone)


@with_poller
def test_a_reset_behind_the_far_ones_fin_is_noticed(lane: str, side: str) -> None:
    """Twisted does not look at such a connection any more."""
    protocol = HalfCloseable()
    with connected(lane, side, protocol) as far:
        far.shutdown(socket.SHUT_WR)
        protocol.until(lambda: protocol.said == ["read"])
        # There is nothing to go on with, and it is not told a second time.
        protocol.do("resumeProducing")
        turns()
        assert (protocol.said, protocol.lost) == (["read"], [])
        reset(far)
        assert protocol.ends().check(ConnectionLost)


# Producers.


class Producing:
    """
    Writes so many pieces, each of its own.

    @ivar paused: whether it is to wait.
    @ivar pauses: how often it was told to.
    @ivar resumes: how often it was told to go on.
    @ivar stops: how often it was told to end.
    """

    PIECE = 50_000

    def __init__(self, transport: Any, count: int, *, ends: bool) -> None:
        """
        @param ends: whether it ends the connection behind the last piece.
        """
        self.transport = transport
        self.count = count
        self.written = 0
        self.paused = False
        self.pauses = self.resumes = self.stops = 0
        self.most = 0
        self._ends = ends

    def expected(self) -> bytes:
        return b"".join(self._piece(number) for number in range(self.count))

    def _piece(self, number: int) -> bytes:
        return number.to_bytes(4, "big") * (self.PIECE // 4)

    def write(self) -> None:
        self.transport.write(self._piece(self.written))
        self.written += 1
        self.most = max(self.most, getattr(self.transport, "_waiting", 0))
        if self.written == self.count:
            self.transport.unregisterProducer()
            if self._ends:
                self.transport.loseConnection()

    def stopProducing(self) -> None:
        self.stops += 1


@implementer(IPushProducer)
class Pushing(Producing):
    """Writes on its own, until it is told to wait."""

    def go_on(self) -> None:
        while not self.paused and self.written < self.count:
            self.write()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.paused = False
        self.resumes += 1
        self.go_on()


@implementer(IPullProducer)
class Pulling(Producing):
    """Writes a piece when it is told to."""

    def resumeProducing(self) -> None:
        self.resumes += 1
        self.write()


COUNT = (MUCH << 20) // Producing.PIECE


def test_a_push_producer_waits_while_nothing_can_be_sent(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        producer = Pushing(protocol.transport, COUNT, ends=True)
        protocol.do("registerProducer", producer, True)
        in_reactor(producer.go_on)
        happened(far, select.POLLIN)
        turns()
        paused, written = in_reactor(lambda: (producer.paused, producer.written))
        assert paused
        assert 0 < written < COUNT
        assert producer.most <= FULL + Producing.PIECE
        assert receive_all(far) == producer.expected()
        assert protocol.ends().check(ConnectionDone)
    assert producer.written == COUNT
    assert producer.pauses >= producer.resumes >= 1
    assert producer.stops == 0


def test_a_pull_producer_is_asked_for_one_after_the_other(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        producer = Pulling(protocol.transport, COUNT, ends=True)
        protocol.do("registerProducer", producer, False)
        happened(far, select.POLLIN)
        turns()
        assert 0 < producer.written < COUNT
        assert producer.most <= Producing.PIECE
        assert receive_all(far) == producer.expected()
        assert protocol.ends().check(ConnectionDone)
    assert (producer.resumes, producer.stops) == (COUNT, 0)


def test_a_pull_producer_of_small_pieces_is_asked_until_it_is_done(lane: str, side: str) -> None:
    """Nothing of it ever waits."""
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        producer = Pulling(protocol.transport, 50, ends=False)
        producer._piece = lambda number: b"%02d" % number  # type: ignore[method-assign]
        protocol.do("registerProducer", producer, False)
        assert receive_exactly(far, 100) == producer.expected()
        turns()
        assert producer.resumes == 50
        # It has left, and the connection is anybody's.
        protocol.do("write", b"by hand")
        assert receive_exactly(far, 7) == b"by hand"


@pytest.mark.parametrize("kind", [Pushing, Pulling])
def test_an_end_that_was_asked_for_waits_for_the_producer(
    lane: str, side: str, kind: type[Any]
) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        producer = kind(protocol.transport, COUNT, ends=False)

        def begin() -> None:
            protocol.transport.registerProducer(producer, kind is Pushing)
            if kind is Pushing:
                producer.go_on()
                assert producer.paused
            protocol.transport.loseConnection()

        in_reactor(begin)
        turns()
        assert (protocol.lost, producer.written < COUNT) == ([], True)
        assert receive_all(far) == producer.expected()
        assert protocol.ends().check(ConnectionDone)
        assert producer.stops == 0


def test_half_an_end_that_was_asked_for_waits_for_the_producer(lane: str, side: str) -> None:
    protocol = HalfCloseable()
    with connected(lane, side, protocol) as far:
        producer = Pushing(protocol.transport, COUNT, ends=False)

        def begin() -> None:
            protocol.transport.registerProducer(producer, True)
            producer.go_on()
            assert producer.paused
            protocol.transport.loseWriteConnection()

        in_reactor(begin)
        turns()
        assert protocol.said == []
        assert receive_all(far) == producer.expected()
        protocol.until(lambda: protocol.said == ["write"])


@pytest.mark.parametrize("streaming", [True, False])
def test_there_is_one_producer_at_a_time(lane: str, side: str, streaming: bool) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        first, second = (Pushing(protocol.transport, 1, ends=False) for _ in range(2))
        protocol.do("registerProducer", first, True)
        with pytest.raises(RuntimeError):
            protocol.do("registerProducer", second, streaming)
        assert (second.stops, second.resumes) == (0, 0)
        protocol.do("unregisterProducer")
        protocol.do("registerProducer", second, True)
        in_reactor(second.go_on)
        assert receive_all_of(far, Producing.PIECE) == second.expected()


def receive_all_of(far: socket.socket, size: int) -> bytes:
    found = receive_exactly(far, size)
    assert len(found) == size
    return found


@pytest.mark.parametrize("how", ["reset", "abort", "fin"])
def test_a_producer_is_stopped_when_the_connection_is_gone(lane: str, side: str, how: str) -> None:
    protocol = Recording()
    stops: list[int] = []
    protocol.on_lost = lambda _: stops.append(producer.stops)
    with connected(lane, side, protocol) as far:
        producer = Pushing(protocol.transport, COUNT, ends=False)
        protocol.do("registerProducer", producer, True)
        in_reactor(producer.go_on)
        if how == "reset":
            reset(far)
        elif how == "fin":
            far.shutdown(socket.SHUT_WR)
        else:
            protocol.do("abortConnection")
        protocol.ends()
        turns()
        # Before the protocol is told.
        assert (producer.stops, stops) == (1, [1])
        # Who comes too late is told the same.
        late = Pushing(protocol.transport, 1, ends=False)
        protocol.do("registerProducer", late, True)
        assert late.stops == 1
        protocol.do("unregisterProducer")


def test_a_producer_that_fails_ends_the_connection(
    lane: str, side: str, logs: Sequence[LogEvent]
) -> None:
    protocol = Recording()

    class Failing(Pulling):
        def write(self) -> None:
            if self.written == 3:
                _fails()
            super().write()

    with connected(lane, side, protocol):
        protocol.do("registerProducer", Failing(protocol.transport, 10, ends=False), False)
        for _ in range(10):
            turns()
        assert len(failures(logs)) == 1
        assert [each.check(RuntimeError) for each in protocol.lost] == [RuntimeError]


# Pausing.


def test_nothing_is_delivered_while_it_is_paused_and_everything_after(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        for number in range(3):
            before = len(protocol.pieces)
            protocol.do("pauseProducing")
            protocol.do("pauseProducing")
            for _ in range(5):
                far.sendall(b"%d" % number * 1000)
                arrived(protocol)
                turns()
            assert len(protocol.pieces) == before
            protocol.do("resumeProducing")
            protocol.do("resumeProducing")
            protocol.receives(b"".join(b"%d" % each * 5000 for each in range(number + 1)))


def test_paused_from_the_beginning_it_delivers_nothing(lane: str, side: str) -> None:
    protocol = Recording()
    protocol.on_made = lambda self: self.transport.pauseProducing()
    with connected(lane, side, protocol) as far:
        far.sendall(b"x")
        arrived(protocol)
        turns()
        assert protocol.pieces == []
        protocol.do("resumeProducing")
        protocol.receives(b"x")


def test_a_far_end_has_to_wait_that_sends_to_one_that_is_paused(lane: str, side: str) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        protocol.do("pauseProducing")
        far.setblocking(False)
        everything, sent = memoryview(MEBIBYTE * MUCH), 0
        with pytest.raises(BlockingIOError):
            while sent < len(everything):
                sent += far.send(everything[sent:])
        turns()
        assert protocol.pieces == []
        protocol.do("resumeProducing")
        protocol.receives(bytes(everything[:sent]))


def test_one_that_pauses_at_every_piece_gets_them_one_by_one(lane: str, side: str) -> None:
    protocol = Recording()
    protocol.on_data = lambda self, _: self.transport.pauseProducing()
    with connected(lane, side, protocol) as far:
        sender = threading.Thread(target=far.sendall, args=(MEBIBYTE,))
        sender.start()
        count = 0
        while sum(map(len, protocol.pieces)) < len(MEBIBYTE):
            count += 1
            protocol.until(lambda: len(protocol.pieces) == count)  # noqa: B023 (waited for)
            in_reactor(lambda: None)
            assert len(protocol.pieces) == count
            protocol.do("resumeProducing")
        sender.join(PATIENCE)
        assert protocol.data() == MEBIBYTE
        assert count > 1


def test_one_that_pauses_and_goes_on_at_every_piece_gets_them_all(lane: str, side: str) -> None:
    protocol = Recording()

    def waver(self: Any, _: bytes) -> None:
        self.transport.pauseProducing()
        self.transport.resumeProducing()

    protocol.on_data = waver
    with connected(lane, side, protocol) as far:
        far.sendall(MEBIBYTE)
        far.shutdown(socket.SHUT_WR)
        assert protocol.ends().check(ConnectionDone)
        assert protocol.data() == MEBIBYTE


@pytest.mark.parametrize("kind", [Recording, HalfCloseable])
def test_a_fin_that_comes_while_it_is_paused_is_told_afterwards(
    lane: str, side: str, kind: type[Recording]
) -> None:
    protocol = kind()
    with connected(lane, side, protocol) as far:
        protocol.do("pauseProducing")
        far.sendall(b"last words")
        far.shutdown(socket.SHUT_WR)
        arrived(protocol, select.POLLRDHUP)
        turns()
        assert (protocol.pieces, protocol.lost) == ([], [])
        protocol.do("resumeProducing")
        if isinstance(protocol, HalfCloseable):
            protocol.until(lambda: protocol.said == ["read"])
            assert protocol.lost == []
        else:
            assert protocol.ends().check(ConnectionDone)
        assert protocol.data() == b"last words"


@pytest.mark.parametrize("kind", [Recording, HalfCloseable])
def test_a_reset_that_comes_while_it_is_paused_is_the_loss_of_it(
    lane: str, side: str, kind: type[Recording]
) -> None:
    protocol = kind()
    with connected(lane, side, protocol) as far:
        protocol.do("pauseProducing")
        reset(far)
        if lane == "twisted":
            # It looks again when it goes on.
            arrived(protocol, 0)
            protocol.do("resumeProducing")
        assert protocol.ends().check(ConnectionLost)
        protocol.do("resumeProducing")


def test_a_reset_while_it_is_paused_is_told(lane: str, side: str) -> None:
    """
    Here at once, whatever came before it; by Twisted when reading goes on, which delivers
    that first.
    """
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        protocol.do("pauseProducing")
        far.sendall(b"last words")
        arrived(protocol)
        reset(far)
        if lane == "twisted":
            arrived(protocol, 0)
        turns()
        protocol.do("resumeProducing")
        assert protocol.ends().check(ConnectionLost)
        assert protocol.data() == (b"last words" if lane == "twisted" else b"")


def test_a_fin_that_comes_while_it_is_paused_keeps_nothing_from_going_out(
    lane: str, side: str
) -> None:
    protocol = Recording()
    with connected(lane, side, protocol) as far:
        protocol.do("pauseProducing")
        far.sendall(b"x")
        far.shutdown(socket.SHUT_WR)
        arrived(protocol, select.POLLRDHUP)
        for _ in range(MUCH):
            protocol.do("write", MEBIBYTE)
        assert receive_exactly(far, MUCH << 20) == MEBIBYTE * MUCH
        assert (protocol.pieces, protocol.lost) == ([], [])
        protocol.do("resumeProducing")
        protocol.ends()
        assert protocol.data() == b"x"


# The reactor's end.


@contextmanager
def another_reactor() -> Iterator[Any]:
    """One that a test runs."""
    made = EPollReactor()
    try:
        yield made
    finally:
        made.removeAll()
        its = poller._pollers.pop(made, None)
        if its is not None:
            its._epoll.close()
        for each in list(made._internalReaders):
            made.removeReader(each)
            each.connectionLost(None)
        made._poller.close()


def test_a_reactor_that_ends_ends_its_connections(lane: str) -> None:
    protocol = Recording()
    ports: list[Any] = []
    with another_reactor() as its:
        endpoint = faster(TCP4ServerEndpoint(its, 0, interface=FOUR))
        endpoint.listen(Making(protocol)).addCallback(ports.append)
        with socket.create_connection((FOUR, ports[0].getHost().port), PATIENCE):
            deadline = time.monotonic() + PATIENCE
            while not protocol.made:
                assert time.monotonic() < deadline
                its.iterate(0.01)
            its.disconnectAll()
            assert [each.check(ConnectionLost) for each in protocol.lost] == [ConnectionLost]


# Turns of a test's.


class Turning(MemoryReactorClock):
    """A reactor whose turns a test makes."""

    def calls_due(self) -> None:
        """The first half of a turn: what is due, and not what that makes due."""
        for call in [each for each in self.calls if each.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def poll(self) -> None:
        """The other half: who has something to read is told so."""
        ready = readable(self.getReaders(), 0)
        for each in ready:
            each.doRead()

    def turn(self) -> None:
        self.calls_due()
        self.poll()


def queued(where: Address) -> int:
    """How many clients wait to be accepted."""
    number = f":{where[1]:04X}"
    for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:]):
        if fields[1].endswith(number) and fields[3] == "0A":
            return int(fields[4].partition(":")[2], 16)
    raise AssertionError("nobody listens there")


def until_queued(where: Address, count: int) -> None:
    """Wait until so many clients wait to be accepted."""
    deadline = time.monotonic() + PATIENCE
    while queued(where) != count:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.001)


class Scene:
    """Connections on a reactor of a test's."""

    def __init__(self) -> None:
        self.reactor = Turning()
        self.poller: Poller = poller.poller_of(self.reactor)
        self._stack = ExitStack()

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        poller._pollers.pop(self.reactor, None)
        self.poller._epoll.close()

    def keep(self, some: socket.socket) -> socket.socket:
        self._stack.enter_context(some)
        some.settimeout(PATIENCE)
        return some

    def connected(self, protocol: Protocol) -> socket.socket:
        """A connection, of which everything was told already."""
        with socket.create_server((FOUR, 0)) as listener:
            far = self.keep(socket.create_connection(listener.getsockname(), PATIENCE))
            near, peer = listener.accept()
        self.keep(near).setblocking(False)
        StreamSocket(self.poller, near, endpoint_address("TCP", peer)).start(protocol)
        self.reactor.turn()
        return far

    def listening(self, factory: Factory) -> tuple[StreamPort, Address]:
        ports: list[Any] = []
        endpoint = StreamServerEndpoint(self.reactor, 0, ip_address(FOUR))
        endpoint.listen(factory).addCallback(ports.append)
        (port,) = ports
        self._stack.callback(port.stopListening)
        return port, (port.getHost().host, port.getHost().port)

    def dial(self, address: Address) -> socket.socket:
        """Somebody comes, and waits to be accepted."""
        before = queued(address)
        far = self.keep(socket.create_connection(address, PATIENCE))
        until_queued(address, before + 1)
        return far

    def settle(self) -> None:
        """Make turns until there is nothing to do at once."""
        while any(call.getTime() <= self.reactor.seconds() for call in self.reactor.calls):
            self.reactor.turn()


def waiting(protocol: Recording) -> int:
    """Octets that are there for a protocol and are not read."""
    answer = fcntl.ioctl(protocol.transport.getHandle(), termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def until_waiting(protocol: Recording, far: socket.socket, size: int) -> None:
    """Have so many octets there for a protocol, and not read."""
    # The kernel's default may be too little room for them.
    protocol.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    far.sendall(MEBIBYTE[:size])
    deadline = time.monotonic() + PATIENCE
    while waiting(protocol) < size:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.001)


def fill(far: socket.socket) -> int:
    """Send as much as the kernel takes, so that the near end has as much as it can hold."""
    sent = 0
    far.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            sent += far.send(MEBIBYTE)
    return sent


def wavers(self: Any, _: bytes) -> None:
    self.transport.pauseProducing()
    self.transport.resumeProducing()


@with_poller
@pytest.mark.parametrize("then", [lambda *_: None, wavers], ids=["", "wavering"])
def test_a_turn_reads_no_more_while_more_and_more_comes(
    lane: str, then: Callable[[Any, bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel lets nobody send more at once than a few reads.
    monkeypatch.setattr(stream, "ROUNDS", 1)
    protocol = Recording()
    protocol.on_data = then
    with Scene() as scene:
        far = scene.connected(protocol)
        sent, taken = 0, list[list[int]]()
        for _ in range(8):
            sent += fill(far)
            before = len(protocol.pieces)
            scene.reactor.turn()
            taken.append([len(piece) for piece in protocol.pieces[before:]])
        # What was left from the turn before, and, where that came to an end, what an event told of.
        assert max(map(len, taken)) <= 2
        assert max(sizes.count(BUFFER) for sizes in taken) == 1
        assert all(sizes.count(BUFFER) <= 1 for sizes in taken)
        far.shutdown(socket.SHUT_WR)
        while not protocol.lost:
            if not scene.reactor.calls:
                happened(scene.poller, select.POLLIN)
            scene.reactor.turn()
        assert sum(map(len, protocol.pieces)) == sent


@with_poller
@pytest.mark.parametrize("rounds", [1, ROUNDS])
def test_what_one_event_told_of_is_all_delivered_though_none_tells_of_it_again(
    lane: str, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ROUNDS", rounds)
    protocol = Recording()
    size = 3 * BUFFER // 2
    with Scene() as scene:
        far = scene.connected(protocol)
        until_waiting(protocol, far, size)
        scene.reactor.poll()
        assert len(protocol.data()) == (BUFFER if rounds == 1 else size)
        while scene.reactor.calls:
            # Only calls, no events.
            scene.reactor.calls_due()
        assert protocol.data() == MEBIBYTE[:size]
        far.sendall(b"more")
        happened(protocol.transport.getHandle(), select.POLLIN)
        scene.reactor.poll()
        assert protocol.data()[size:] == b"more"


@with_poller
def test_what_was_to_be_read_in_the_next_turn_waits_while_it_is_paused(
    lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ROUNDS", 1)
    protocol = Recording()
    size = 5 * BUFFER // 2
    with Scene() as scene:
        far = scene.connected(protocol)
        until_waiting(protocol, far, size)
        scene.reactor.poll()
        protocol.transport.pauseProducing()
        scene.settle()
        assert len(protocol.data()) == BUFFER
        protocol.transport.resumeProducing()
        protocol.transport.pauseProducing()
        scene.settle()
        assert len(protocol.data()) == BUFFER
        protocol.transport.resumeProducing()
        scene.settle()
        assert protocol.data() == MEBIBYTE[:size]


@with_poller
def test_nothing_is_delivered_of_the_turn_that_it_is_aborted_in(lane: str) -> None:
    protocol = Recording()
    with Scene() as scene:
        far = scene.connected(protocol)
        protocol.transport.abortConnection()
        protocol.transport.resumeProducing()
        far.sendall(b"too late")
        happened(protocol.transport.getHandle(), select.POLLIN)
        # The rest of a turn, whose calls had been dealt with.
        scene.reactor.poll()
        assert (protocol.pieces, protocol.lost) == ([], [])
        scene.settle()
        assert [each.check(ConnectionAborted) for each in protocol.lost] == [ConnectionAborted]


@with_poller
@pytest.mark.parametrize("fin", [False, True])
def test_what_is_told_with_a_connection_is_not_told_again_and_not_forgotten(
    lane: str, fin: bool
) -> None:
    """One event says that it stands, that there is something to read, and that it ends."""
    protocol = Recording()
    with Scene() as scene, socket.create_server((FOUR, 0)) as listener:
        host, port = listener.getsockname()
        endpoint = StreamClientEndpoint(scene.reactor, ip_address(host), port)
        results = results_of(endpoint.connect(Making(protocol)))
        far = scene.keep(listener.accept()[0])
        far.sendall(b"greeting")
        if fin:
            far.shutdown(socket.SHUT_WR)
        (near,) = scene.poller._handlers
        happened(near, select.POLLRDHUP if fin else select.POLLIN)
        scene.reactor.poll()
        assert results == [protocol]
        assert protocol.data() == b"greeting"
        assert [each.check(ConnectionDone) for each in protocol.lost] == [ConnectionDone] * fin
        if not fin:
            protocol.transport.abortConnection()
            scene.settle()


# Taking a connection over.


@with_poller
def test_a_connection_is_usable_until_somebody_asks_for_its_end(lane: str) -> None:
    for end in ("loseConnection", "abortConnection", "loseWriteConnection", "stopProducing"):
        protocol = Recording()
        with Scene() as scene:
            scene.connected(protocol)
            assert protocol.transport.usable
            getattr(protocol.transport, end)()
            assert not protocol.transport.usable
            scene.settle()
            assert not protocol.transport.usable


@with_poller
def test_who_takes_a_connection_over_hears_of_it_and_the_protocol_does_not(lane: str) -> None:
    protocol, events = Recording(), list[int]()
    with Scene() as scene:
        far = scene.connected(protocol)
        taken, readable, unsent = protocol.transport.take_over(events.append)
        assert (readable, unsent) == (False, b"")
        assert not protocol.transport.usable
        far.sendall(b"x")
        happened(taken, select.POLLIN)
        scene.reactor.turn()
        assert len(events) == 1
        assert taken.recv(100) == b"x"
        for name in ("loseConnection", "abortConnection", "loseWriteConnection", "resumeProducing"):
            getattr(protocol.transport, name)()
        protocol.transport.write(b"y")
        far.close()
        happened(taken, select.POLLRDHUP)
        scene.settle()
        scene.reactor.turn()
        assert (protocol.pieces, protocol.lost) == ([], [])
        assert len(events) == 2
        scene.poller.close(taken)


@with_poller
def test_who_takes_a_connection_over_is_told_what_is_left_to_do(lane: str) -> None:
    protocol = Recording()
    with Scene() as scene:
        far = scene.connected(protocol)
        protocol.transport.pauseProducing()
        far.sendall(b"x")
        happened(protocol.transport.getHandle(), select.POLLIN)
        scene.reactor.turn()
        for _ in range(MUCH):
            protocol.transport.write(MEBIBYTE)
        sent = (MUCH << 20) - protocol.transport._waiting
        taken, readable, unsent = protocol.transport.take_over(lambda _: None)
        assert readable
        assert unsent == (MEBIBYTE * MUCH)[sent:]
        assert receive_exactly(far, sent) == (MEBIBYTE * MUCH)[:sent]
        scene.poller.close(taken)


# Connecting.


def results_of(connecting: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    connecting.addBoth(found.append)
    return found


@pytest.mark.parametrize("host", [FOUR, SIX])
def test_a_connection_that_is_refused_is_told_as_that(lane: str, host: str) -> None:
    before = in_reactor(descriptors)
    protocol = Recording()
    with pytest.raises(error.ConnectionRefusedError):
        in_reactor(connects(lane, (host, closed_port(host))).connect, Making(protocol))
    turns()
    assert protocol.made == 0
    assert in_reactor(descriptors) == before


def test_a_connection_that_is_not_answered_has_its_time(lane: str) -> None:
    protocol = Recording()
    with unanswering() as address:
        before = in_reactor(lambda: (descriptors(), len(reactor.getDelayedCalls())))
        with pytest.raises(error.TimeoutError):
            in_reactor(connects(lane, address, 0.05).connect, Making(protocol))
        turns()
        after = in_reactor(lambda: (descriptors(), len(reactor.getDelayedCalls())))
        assert (after, protocol.made) == (before, 0)


@with_poller
def test_it_has_no_more_time_and_no_less(lane: str) -> None:
    with Scene() as scene, unanswering() as (host, port):
        endpoint = StreamClientEndpoint(scene.reactor, ip_address(host), port, 7)
        results = results_of(endpoint.connect(Making()))
        scene.reactor.turn()
        scene.reactor.rightNow += 6.99
        scene.reactor.turn()
        assert results == []
        scene.reactor.rightNow += 0.01 + GRAIN
        scene.reactor.turn()
        assert [result.check(error.TimeoutError) for result in results] == [error.TimeoutError]
        scene.settle()
        assert scene.reactor.getDelayedCalls() == []


@with_poller
@pytest.mark.parametrize("how", ["stands", "is refused", "is given up"])
def test_the_time_that_it_had_is_nothing_once_it_is_decided(lane: str, how: str) -> None:
    protocol = Recording()
    with Scene() as scene, ExitStack() as stack:
        if how == "is given up":
            host, port = stack.enter_context(unanswering())
        else:
            listener = stack.enter_context(socket.create_server((FOUR, 0)))
            host, port = listener.getsockname()
        if how == "is refused":
            listener.close()
        connecting = StreamClientEndpoint(scene.reactor, ip_address(host), port, 7).connect(
            Making(protocol)
        )
        results = results_of(connecting)
        if how == "is given up":
            connecting.cancel()
        while not results:
            happened(scene.poller, select.POLLIN)
            scene.reactor.turn()
        scene.settle()
        assert scene.reactor.getDelayedCalls() == []
        scene.reactor.advance(8)
        assert len(results) == 1
        assert (protocol.made, protocol.lost) == (int(how == "stands"), [])
        if how == "stands":
            protocol.transport.abortConnection()
            scene.settle()


def test_a_connection_that_is_given_up_leaves_nothing(lane: str) -> None:
    protocol = Recording()

    def connect_and_cancel() -> list[Any]:
        connecting = connects(lane, address).connect(Making(protocol))
        results = results_of(connecting)
        connecting.cancel()
        return results

    with unanswering() as address:
        before = in_reactor(lambda: (descriptors(), len(reactor.getDelayedCalls())))
        (result,) = in_reactor(connect_and_cancel)
        assert result.check(CancelledError, error.ConnectingCancelledError)
        turns()
        after = in_reactor(lambda: (descriptors(), len(reactor.getDelayedCalls())))
        assert (after, protocol.made) == (before, 0)


@with_poller
def test_one_that_would_have_stood_leaves_nothing_either(lane: str) -> None:
    """It is given up when the kernel has connected it and nobody knows yet."""
    protocol = Recording()
    with socket.create_server((FOUR, 0)) as listener:
        listener.settimeout(PATIENCE)

        def connect_and_cancel() -> list[Any]:
            connecting = connects(lane, listener.getsockname()).connect(Making(protocol))
            results = results_of(connecting)
            far.append(listener.accept()[0])
            connecting.cancel()
            return results

        far: list[socket.socket] = []
        before = in_reactor(descriptors)
        (result,) = in_reactor(connect_and_cancel)
        assert result.check(CancelledError, error.ConnectingCancelledError)
        with far[0]:
            far[0].settimeout(PATIENCE)
            assert far[0].recv(1) == b""
        turns()
        assert protocol.made == 0
        assert in_reactor(descriptors) == before


@pytest.mark.parametrize(("host", "source"), [(FOUR, "127.0.0.9"), (SIX, SIX)])
def test_a_connection_comes_from_where_it_is_to(lane: str, host: str, source: str) -> None:
    protocol = Recording()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        endpoint = connects(lane, listener.getsockname()[:2], source=source)
        in_reactor(endpoint.connect, Making(protocol))
        far, peer = listener.accept()
        with far:
            assert peer[0] == source
            assert protocol.do("getHost").host == source
        protocol.ends()


def test_from_somebody_elses_address_there_is_no_connection(lane: str) -> None:
    before = in_reactor(descriptors)
    with socket.create_server((FOUR, 0)) as listener:
        endpoint = connects(lane, listener.getsockname(), source="198.51.100.1")
        with pytest.raises(error.ConnectBindError) as caught:
            in_reactor(endpoint.connect, Making())
    assert caught.value.osError == errno.EADDRNOTAVAIL
    turns()
    assert in_reactor(descriptors) == before


#: The kernel makes no connection to everybody, and sends nothing to find that out.
NOWHERE = ("255.255.255.255", 9)


@pytest.mark.parametrize("when", ["in a call from a thread", "in a timed call", "at an event"])
def test_where_there_is_no_way_there_is_no_connection(lane: str, when: str) -> None:
    protocol = Recording()
    results: list[Any] = []
    done = threading.Event()

    def connect() -> None:
        connecting = connects(lane, NOWHERE).connect(Making(protocol))
        connecting.addBoth(results.append).addBoth(lambda _: done.set())

    other = Recording()
    other.on_data = lambda *_: connect()
    before = in_reactor(descriptors)
    with connected(lane, "accepted", other) as far:
        if when == "at an event":
            far.sendall(b"x")
        else:
            in_reactor(reactor.callLater, 0, connect) if "timed" in when else in_reactor(connect)
        assert done.wait(PATIENCE)
        turns()
    assert [type(result) for result in results] == [Failure]
    assert results[0].check(error.ConnectError)
    assert (protocol.made, protocol.lost) == (0, [])
    assert in_reactor(descriptors) == before


def test_without_descriptors_there_is_no_connection(
    lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(address: Address) -> list[Any]:
        def cannot(*_: object, **__: object) -> Any:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", cannot)
            patched.setattr(socket, "SocketType", cannot)
            return results_of(connects(lane, address).connect(Making()))

    results = in_reactor(connect, (FOUR, 9))
    turns()
    (result,) = results
    assert result.check(error.ConnectError)
    assert result.value.osError == errno.EMFILE


def _connecting(lane: str, factory: Factory) -> tuple[list[Any], socket.socket]:
    """A connection that stands for the far end, and what came of it here."""
    with socket.create_server((FOUR, 0)) as listener:
        listener.settimeout(PATIENCE)
        endpoint = connects(lane, listener.getsockname())
        results: list[Any] = in_reactor(lambda: results_of(endpoint.connect(factory)))
        far, _ = listener.accept()
        far.settimeout(PATIENCE)
        turns()
        return results, far


def test_a_factory_that_makes_no_protocol_has_no_connection(lane: str) -> None:
    before = in_reactor(descriptors)
    results, far = _connecting(lane, Making(None))
    with far:
        assert [type(result) for result in results] == [Failure]
        assert results[0].check(error.NoProtocol)
        assert far.recv(1) == b""
    turns()
    assert in_reactor(descriptors) == before


class Failing(Factory):
    """Makes no protocols."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        _fails()


@contextmanager
def gone(far: socket.socket) -> Iterator[None]:
    """Afterwards the far end is, and whoever is told of that has been."""
    try:
        with far:
            yield
    finally:
        turns()


def test_a_factory_that_fails_has_no_connection(lane: str) -> None:
    results, far = _connecting(lane, Failing())
    with gone(far):
        assert [type(result) for result in results] == [Failure]
        assert results[0].check(RuntimeError)
        assert far.recv(1) == b""


def test_a_protocol_that_fails_at_its_beginning_has_no_connection(lane: str) -> None:
    protocol = Recording()
    protocol.on_made = _fails
    results, far = _connecting(lane, Making(protocol))
    with gone(far):
        assert far.recv(1) == b""
        assert [each.check(RuntimeError) for each in protocol.lost] == [RuntimeError]
        if lane == "fast":
            # Twisted leaves whoever connects waiting.
            assert [result.check(RuntimeError) for result in results] == [RuntimeError]


def test_what_is_written_to_a_connection_at_its_beginning_goes_out(lane: str) -> None:
    protocol = Recording()

    def write_and_end(self: Any) -> None:
        self.transport.write(MEBIBYTE)
        self.transport.loseConnection()

    protocol.on_made = write_and_end
    results, far = _connecting(lane, Making(protocol))
    with far:
        assert receive_all(far) == MEBIBYTE
    assert protocol.ends().check(ConnectionDone)
    assert results == [protocol]


# Listening.


@pytest.mark.parametrize(("host", "kind"), [(FOUR, IPv4Address), (SIX, IPv6Address)])
def test_a_port_is_where_it_says(lane: str, host: str, kind: type[Any]) -> None:
    factory = Making(Recording(), Recording())
    with listening(lane, factory, host) as (port, address):
        assert verifyObject(IListeningPort, port)
        assert isinstance(port, StreamPort) == (lane == "fast")
        assert port.getHost() == kind("TCP", *address)
        assert port.fileno() >= 0
        assert (factory.started, factory.stopped) == (1, 0)
    assert (factory.started, factory.stopped) == (1, 1)


@with_poller
def test_the_ports_of_the_poller_are_what_they_say(lane: str) -> None:
    with listening(lane, Making()) as (port, _):
        assert verifyObject(IPushProducer, port)
        client = StreamClientEndpoint(reactor, ip_address(FOUR), 1)
        assert verifyObject(IStreamServerEndpoint, listens(lane))
        assert verifyObject(IStreamClientEndpoint, client)


@pytest.mark.parametrize("host", [FOUR, SIX])
def test_a_port_that_is_in_use_cannot_be_listened_on(lane: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    factory = Making()
    with socket.create_server((host, 0), family=family) as taken:
        number = taken.getsockname()[1]
        before = in_reactor(descriptors)
        for _ in range(3):
            with pytest.raises(error.CannotListenError) as caught:
                in_reactor(listens(lane, host, number).listen, factory)
        assert (caught.value.interface, caught.value.port) == (host, number)
        assert caught.value.socketError.errno == errno.EADDRINUSE
        assert in_reactor(descriptors) == before
    assert (factory.started, factory.stopped) == (0, 0)


def test_somebody_elses_address_cannot_be_listened_on(lane: str) -> None:
    with pytest.raises(error.CannotListenError) as caught:
        in_reactor(listens(lane, "198.51.100.1").listen, Making())
    assert caught.value.socketError.errno == errno.EADDRNOTAVAIL


def test_a_port_that_was_listened_on_can_be_again(lane: str) -> None:
    """At once, though a connection of it lingers."""
    protocol = Recording()
    with listening(lane, Making(protocol)) as (_, (host, number)):
        far = socket.create_connection((host, number), PATIENCE)
        protocol.until(lambda: protocol.made)
        protocol.do("loseConnection")
        with far:
            assert far.recv(1) == b""
    with listening(lane, Making(), host, number) as (_, address):
        assert address == (host, number)


def test_a_port_that_has_stopped_can_be_listened_on_again_in_the_same_event(lane: str) -> None:
    protocol = Recording()
    results: list[Any] = []

    def again(*_: object) -> None:
        stopped = port.stopListening()
        stopped.addCallback(lambda _: listens(lane, FOUR, number).listen(Making()))
        stopped.addBoth(results.append)

    protocol.on_data = again
    with listening(lane, Making(protocol)) as (port, (_, number)):
        with socket.create_connection((FOUR, number), PATIENCE) as far:
            far.sendall(b"x")
            protocol.receives(b"x")
            turns()
        protocol.ends()
        turns()
        (result,) = results
        assert not isinstance(result, Failure)
        in_reactor(result.stopListening)


def test_a_port_that_has_stopped_accepts_nobody_and_ends_no_connection(lane: str) -> None:
    protocol = Recording()
    with listening(lane, Making(protocol)) as (port, address):
        with socket.create_connection(address, PATIENCE) as far:
            protocol.until(lambda: protocol.made)
            in_reactor(port.stopListening)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, PATIENCE)
            far.sendall(b"x")
            protocol.receives(b"x")
            protocol.do("write", b"y")
            assert far.recv(1) == b"y"
            # To stop it again changes nothing.
            in_reactor(port.stopListening)
        protocol.ends()


def test_a_factory_that_makes_no_protocol_turns_a_client_away(lane: str) -> None:
    good = Recording()
    before = in_reactor(descriptors)
    with listening(lane, Making(None, good)) as (_, address):
        with socket.create_connection(address, PATIENCE) as turned_away:
            assert turned_away.recv(1) == b""
        with socket.create_connection(address, PATIENCE):
            good.until(lambda: good.made)
        good.ends()
    turns()
    assert in_reactor(descriptors) == before


@pytest.fixture
def burst(lane: str) -> Iterator[Callable[..., Any]]:
    """Clients that a port finds waiting, all at once."""
    with ExitStack() as stack:

        def begin(factory: Factory, count: int) -> list[socket.socket]:
            port, address = stack.enter_context(listening(lane, factory))
            in_reactor(port.pauseProducing)
            far = [
                stack.enter_context(socket.create_connection(address, PATIENCE))
                for _ in range(count)
            ]
            until_queued(address, count)
            in_reactor(port.resumeProducing)
            return far

        yield begin


def test_clients_that_come_at_once_are_all_accepted_in_their_order(
    burst: Callable[..., Any],
) -> None:
    protocols = [Recording() for _ in range(ACCEPTS + 10)]
    far = burst(Making(*protocols), len(protocols))
    for protocol, each in zip(protocols, far, strict=True):
        protocol.until(lambda: protocol.made)  # noqa: B023 (waited for)
        assert protocol.address.port == each.getsockname()[1]
        each.close()
    for protocol in protocols:
        protocol.ends()


def test_a_factory_that_fails_turns_one_client_away(
    burst: Callable[..., Any], logs: Sequence[LogEvent]
) -> None:
    class Sometimes(Making):
        calls = 0

        def buildProtocol(self, addr: Any) -> Any:
            self.calls += 1
            if self.calls == 1:
                _fails()
            return super().buildProtocol(addr)

    protocols = [Recording(), Recording()]
    far = burst(Sometimes(*protocols), 3)
    for protocol in protocols:
        protocol.until(lambda: protocol.made)  # noqa: B023 (waited for)
    assert len(failures(logs)) == 1
    for each in far:
        each.close()
    for protocol in protocols:
        protocol.ends()


def test_a_protocol_that_fails_at_its_beginning_keeps_no_other_client_waiting(
    lane: str, burst: Callable[..., Any], logs: Sequence[LogEvent]
) -> None:
    protocols = [Recording() for _ in range(3)]
    protocols[0].on_made = _fails
    far = burst(Making(*protocols), 3)
    turns()
    assert [protocol.made for protocol in protocols] == [1] * 3
    assert len(failures(logs)) == 1
    if lane == "fast":
        # Twisted leaves that one as it is.
        assert protocols[0].ends().check(RuntimeError)
        assert far[0].recv(1) == b""
    for each in far:
        each.close()
    for protocol in protocols[1:]:
        protocol.ends()


def test_while_a_port_is_paused_clients_wait(lane: str) -> None:
    protocols = [Recording(), Recording()]
    with listening(lane, Making(*protocols)) as (port, address), ExitStack() as stack:
        in_reactor(port.pauseProducing)
        for _ in protocols:
            far = stack.enter_context(socket.create_connection(address, PATIENCE))
            far.sendall(b"x")
        happened(port, select.POLLIN)
        turns()
        assert [protocol.made for protocol in protocols] == [0, 0]
        in_reactor(port.resumeProducing)
        for protocol in protocols:
            protocol.receives(b"x")
        stack.close()
        for protocol in protocols:
            protocol.ends()


@with_poller
def test_a_port_that_is_paused_in_the_midst_of_a_burst_accepts_no_more(lane: str) -> None:
    """Somebody's limit is reached."""
    protocols = [Recording() for _ in range(3)]
    with Scene() as scene:
        protocols[1].on_made = lambda _: port.pauseProducing()
        port, address = scene.listening(Making(*protocols))
        far = [scene.dial(address) for _ in protocols]
        scene.reactor.turn()
        scene.settle()
        assert [protocol.made for protocol in protocols] == [1, 1, 0]
        far.append(scene.dial(address))
        scene.reactor.turn()
        assert protocols[2].made == 0
        # That there is somebody was told, and is not told again.
        port.pauseProducing()
        port.resumeProducing()
        port.pauseProducing()
        scene.settle()
        assert protocols[2].made == 0
        port.resumeProducing()
        protocols[2].on_made = lambda _: port.pauseProducing()
        scene.settle()
        assert protocols[2].made == 1


@with_poller
def test_a_turn_accepts_no_more_while_more_and_more_come(lane: str) -> None:
    protocols = [Recording() for _ in range(4 * ACCEPTS)]
    with Scene() as scene:
        port, address = scene.listening(Making(*protocols))
        made, dialled = 0, 0
        for number in range(1, 4):
            # Events tell of more, and there are always some left from before.
            while dialled < number * ACCEPTS + 10:
                scene.dial(address)
                dialled += 1
            # Nor by one who wavers.
            for _ in range(3):
                port.pauseProducing()
                port.resumeProducing()
            scene.reactor.turn()
            made = sum(protocol.made for protocol in protocols)
            assert made == number * ACCEPTS
        scene.settle()
        assert sum(protocol.made for protocol in protocols) == dialled


class Exhausted:
    """A listening socket that cannot accept for a while; as often as is said."""

    def __init__(self, inner: socket.socket, problems: list[int]) -> None:
        self._inner = inner
        self.problems = problems

    def _accept(self) -> Any:
        if self.problems:
            number = self.problems.pop(0)
            raise OSError(number, os.strerror(number))
        return self._inner._accept()  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@contextmanager
def exhausted(
    problems: list[int], protocols: list[Recording]
) -> Iterator[tuple[Scene, StreamPort, Address]]:
    with Scene() as scene:
        port, address = scene.listening(Making(*protocols))
        real, stub = port._socket, Exhausted(port._socket, problems)
        port._socket = stub  # type: ignore[assignment]
        try:
            yield scene, port, address
        finally:
            port._socket = real


@with_poller
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_it_waits_a_while_and_says_so_once(
    lane: str, number: int, logs: Sequence[LogEvent]
) -> None:
    protocols = [Recording(), Recording()]
    problems = [number] * 3
    with exhausted(problems, protocols) as (scene, _, address):
        scene.dial(address)
        scene.reactor.turn()
        for left in (2, 1, 0):
            # It does not try again and again meanwhile, not even where somebody else comes.
            if left == 2:
                scene.dial(address)
            scene.settle()
            scene.reactor.rightNow += PAUSE * 0.99
            scene.reactor.turn()
            scene.settle()
            assert len(problems) == left
            assert [protocol.made for protocol in protocols] == [0, 0]
            assert len(scene.reactor.getDelayedCalls()) == 1
            scene.reactor.rightNow += PAUSE * 0.011
            scene.reactor.turn()
            scene.settle()
            if left:
                assert [protocol.made for protocol in protocols] == [0, 0]
        assert [protocol.made for protocol in protocols] == [1, 1]
    assert [(event["log_level"], event["text"]) for event in logs] == [
        (LogLevel.warn, f"cannot accept: {os.strerror(number)}")
    ]


@with_poller
@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
def test_a_client_that_is_gone_before_it_is_accepted_keeps_no_other_waiting(
    lane: str, number: int, logs: Sequence[LogEvent]
) -> None:
    protocols = [Recording(), Recording()]
    with exhausted([number] * 3, protocols) as (scene, _, address):
        for _ in protocols:
            scene.dial(address)
        scene.reactor.turn()
        scene.settle()
        assert [protocol.made for protocol in protocols] == [1, 1]
    assert list(logs) == []


@with_poller
def test_a_port_that_stops_while_it_waits_for_descriptors_stays_stopped(lane: str) -> None:
    with exhausted([errno.EMFILE], []) as (scene, port, address):
        scene.dial(address)
        scene.reactor.turn()
        port._socket = port._socket._inner  # type: ignore[attr-defined]
        port.stopListening()
        assert port.fileno() == -1
        scene.reactor.rightNow += PAUSE
        scene.reactor.turn()
        scene.settle()
        assert port.fileno() == -1


@with_poller
def test_a_port_that_somebody_has_paused_while_it_waits_for_descriptors_stays_paused(
    lane: str,
) -> None:
    """As the limit of all listeners does, when another listener has reached it."""
    protocols = [Recording()]
    with exhausted([errno.EMFILE], protocols) as (scene, port, address):
        scene.dial(address)
        scene.reactor.turn()
        port.pauseProducing()
        scene.reactor.rightNow += PAUSE
        scene.reactor.turn()
        scene.settle()
        assert protocols[0].made == 0
        port.resumeProducing()
        scene.settle()
        assert protocols[0].made == 1


# In the place of Twisted's.


@with_poller
@pytest.mark.parametrize(
    ("endpoint", "port", "interface", "backlog"),
    [
        (TCP4ServerEndpoint(Turning(), 1080), 1080, "0.0.0.0", BACKLOG),
        (TCP4ServerEndpoint(Turning(), 0, interface=FOUR), 0, FOUR, BACKLOG),
        (TCP4ServerEndpoint(Turning(), 1, backlog=7, interface="127.0.0.2"), 1, "127.0.0.2", 7),
        (TCP6ServerEndpoint(Turning(), 1080), 1080, "::", BACKLOG),
        (TCP6ServerEndpoint(Turning(), 1080, interface=SIX), 1080, SIX, BACKLOG),
        (TCP4ServerEndpoint(Turning(), 1080, interface=SIX), 1080, SIX, BACKLOG),
    ],
)
def test_one_of_ours_listens_in_the_same_place(
    lane: str, endpoint: IStreamServerEndpoint, port: int, interface: str, backlog: int
) -> None:
    ours = faster(endpoint)
    assert isinstance(ours, StreamServerEndpoint)
    assert (ours.port, str(ours.interface), ours._backlog) == (port, interface, backlog)
    assert ours._reactor is endpoint._reactor  # type: ignore[attr-defined]


@with_poller
@pytest.mark.parametrize(
    "endpoint",
    [
        TCP4ServerEndpoint(Turning(), 1080, interface="a.name"),
        UNIXServerEndpoint(Turning(), "/socket"),
        StreamServerEndpoint(Turning(), 0, ip_address(FOUR)),
        # A reactor that watches no descriptors.
        TCP4ServerEndpoint(Clock(), 1080),
    ],
)
def test_what_has_none_of_ours_stays_as_it_is(lane: str, endpoint: IStreamServerEndpoint) -> None:
    assert faster(endpoint) is endpoint


@pytest.mark.parametrize("lane", ["twisted"], indirect=True)
def test_without_a_poller_everything_stays_as_it_is(lane: str) -> None:
    endpoint = TCP4ServerEndpoint(reactor, 0, interface=FOUR)
    assert faster(endpoint) is endpoint
