"""
UDP sockets: real ones on the loopback interface, in the running reactor or in a test's; on
a poller, and as where there is none.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.bounded import Complaints
from socks5d.net import DatagramSocket, available, datagram, is_ours, poller
from socks5d.net.datagram import BATCH, ROOM, SHARE
from socks5d.net.poller import TURNS
from tests.support.lanes import lane
from tests.support.running import PATIENCE, Address, in_reactor, reactor
from tests.support.waiting import readable

__all__ = ["lane"]

FOUR, SIX = "127.0.0.1", "::1"

with_poller = pytest.mark.parametrize("lane", ["fast"], indirect=True)
without_poller = pytest.mark.parametrize("lane", ["twisted"], indirect=True)


class Noting(DatagramProtocol):
    """
    Keeps what comes.

    @ivar got: datagrams, each with its source.
    @ivar stopped: how often it was told of the end.
    """

    noisy = False

    def __init__(self, then: Callable[[bytes], None] = lambda data: None) -> None:
        """
        @param then: is given every datagram once it is kept.
        """
        self.got: list[tuple[bytes, Address]] = []
        self.stopped = 0
        self._then = then
        self._queue: Queue[tuple[bytes, Address]] = Queue()

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.got.append((datagram, addr))
        self._queue.put((datagram, addr))
        self._then(datagram)

    def stopProtocol(self) -> None:
        self.stopped += 1

    def next(self) -> tuple[bytes, Address]:
        """The next datagram; waits for it."""
        return self._queue.get(timeout=PATIENCE)

    def data(self) -> list[bytes]:
        return [datagram for datagram, _ in self.got]


@pytest.fixture
def share(lane: str) -> int:
    """Datagrams that a turn takes of one socket."""
    return TURNS * SHARE if lane == "fast" else BATCH


def opened(
    protocol: DatagramProtocol, host: str = FOUR, port: int = 0, on: Any = reactor
) -> DatagramSocket:
    return DatagramSocket(on, ip_address(host), port, protocol)


@contextmanager
def running(protocol: DatagramProtocol, host: str = FOUR) -> Iterator[tuple[Any, Address]]:
    """A socket in the running reactor, and its address."""
    made = in_reactor(opened, protocol, host)
    address = in_reactor(made.getHost)
    try:
        yield made, (address.host, address.port)
    finally:
        in_reactor(made.stopListening)


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

    def forget(self) -> None:
        """Close what is on it."""
        made = poller._pollers.pop(self, None)
        if made is not None:
            made._epoll.close()


@pytest.fixture
def memory() -> Iterator[Turning]:
    """A reactor of a test's."""
    made = Turning()
    yield made
    made.forget()


class Scene:
    """A real socket on a reactor that reads when the test says so."""

    def __init__(self, protocol: DatagramProtocol, host: str = FOUR) -> None:
        self.reactor = Turning()
        self.socket = opened(protocol, host, on=self.reactor)
        address = self.socket.getHost()
        self.address: Address = (address.host, address.port)

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.connectionLost()
        self.reactor.forget()

    def is_read(self) -> bool:
        """Whether what reads the socket is read by the reactor, and nothing else is."""
        (reader,) = self.reactor.getReaders() or (None,)
        if not available(self.reactor):
            return reader is self.socket
        return reader is poller.poller_of(self.reactor)


@contextmanager
def peer(host: str = FOUR) -> Iterator[socket.socket]:
    """Somebody else's socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.bind((host, 0))
        made.settimeout(PATIENCE)
        yield made


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# What it is.


@pytest.mark.parametrize("host", [FOUR, SIX])
def test_it_is_a_udp_transport_that_a_reactor_can_read(host: str) -> None:
    protocol = Noting()
    with Scene(protocol, host) as scene:
        assert verifyObject(IUDPTransport, scene.socket)
        assert verifyObject(IReadDescriptor, scene.socket)
        assert scene.is_read()
        assert scene.socket.fileno() >= 0
        assert scene.socket.logPrefix() == "Noting (UDP)"
        assert protocol.transport is scene.socket


@pytest.mark.parametrize(("host", "kind"), [(FOUR, IPv4Address), (SIX, IPv6Address)])
def test_it_is_bound_where_it_says(host: str, kind: type[Any]) -> None:
    with Scene(Noting(), host) as scene:
        bound = scene.socket.getHost()
        assert isinstance(bound, kind)
        assert (bound.type, bound.host) == ("UDP", host)
        assert bound.port != 0


def test_a_port_that_is_asked_for_is_the_one(memory: Turning) -> None:
    with Scene(Noting()) as first:
        port = first.address[1]
    again = opened(Noting(), FOUR, port, memory)
    assert again.getHost().port == port
    again.connectionLost()


@pytest.mark.parametrize("host", [FOUR, SIX])
def test_datagrams_go_both_ways(host: str) -> None:
    protocol = Noting()
    with running(protocol, host) as (made, address), peer(host) as other:
        other.sendto(b"question", address)
        # The address of IPv6 has four parts; who is told needs two.
        assert protocol.next() == (b"question", other.getsockname()[:2])
        in_reactor(made.write, b"answer", other.getsockname()[:2])
        data, source = other.recvfrom(100)
        assert (data, source[:2]) == (b"answer", address)


def test_a_datagram_of_any_length_comes_whole() -> None:
    protocol = Noting()
    with running(protocol) as (_, address), peer() as other:
        for length in (0, 1, 65507):
            other.sendto(bytes(length), address)
            assert protocol.next()[0] == bytes(length)


@pytest.mark.parametrize("host", [FOUR, SIX])
def test_an_address_in_use_is_an_oserror_and_leaves_no_descriptor(host: str) -> None:
    taker = Noting()

    def attempts(port: int) -> tuple[list[OSError], int]:
        # The errors are kept, and with them everything that nobody has closed.
        problems: list[OSError] = []
        before = descriptors()
        for _ in range(50):
            try:
                opened(taker, host, port)
            except OSError as problem:
                problems.append(problem)
        return problems, descriptors() - before

    with peer(host) as other:
        problems, more = in_reactor(attempts, other.getsockname()[1])
    assert [problem.errno for problem in problems] == [errno.EADDRINUSE] * 50
    assert more < 50
    assert taker.transport is None


def test_an_address_of_somebody_elses_is_an_oserror(memory: Turning) -> None:
    with pytest.raises(OSError, match="assign") as caught:
        opened(Noting(), "198.51.100.1", on=memory)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert memory.getReaders() == []


def test_nothing_is_logged_when_it_opens_and_closes(logs: Sequence[LogEvent]) -> None:
    with Scene(Noting()) as scene:
        scene.socket.stopListening()
        scene.reactor.advance(0)
    assert list(logs) == []


# Whose ports are whose.


def test_a_port_is_ours_while_a_socket_of_ours_has_it(memory: Turning) -> None:
    with peer() as other:
        assert not is_ours(other.getsockname()[1])
    first = opened(Noting(), FOUR, on=memory)
    port = first.getHost().port
    second = opened(Noting(), "127.0.0.2", port, memory)
    assert is_ours(port)
    first.connectionLost()
    first.connectionLost()
    assert is_ours(port)
    closing = second.stopListening()
    # It still is there.
    assert is_ours(port)
    memory.advance(0)
    assert closing.called
    assert not is_ours(port)


def test_a_port_that_cannot_be_had_is_nobodys_of_ours(memory: Turning) -> None:
    with peer() as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            opened(Noting(), FOUR, port, memory)
        assert not is_ours(port)


def test_a_zone_that_there_is_not_is_an_oserror(memory: Turning) -> None:
    counts = []
    for _ in range(2):
        with pytest.raises(OSError, match="interface"):
            opened(Noting(), "fe80::1%nowhere", on=memory)
        counts.append(descriptors())
    assert counts[0] == counts[1]
    with Scene(Noting(), SIX) as scene, peer(SIX) as other:
        with pytest.raises(OSError, match="interface"):
            scene.socket.write(b"x", ("fe80::1%nowhere", 53))
        scene.socket.write(b"y", other.getsockname()[:2])
        assert other.recv(100) == b"y"


# Reading.


@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "not empty"])
def test_one_turn_takes_a_bounded_number_of_datagrams(data: bytes, share: int) -> None:
    protocol = Noting()
    with Scene(protocol) as scene, peer() as other:
        for _ in range(share + 10):
            other.sendto(data, scene.address)
        scene.reactor.turn()
        assert protocol.data() == [data] * share
        scene.reactor.turn()
        assert len(protocol.got) == share + 10
        # There is nothing more, which is no error.
        scene.reactor.turn()
        scene.socket.doRead()
        assert len(protocol.got) == share + 10
        other.sendto(b"one more", scene.address)
        scene.reactor.turn()
        assert protocol.data()[share + 10 :] == [b"one more"]


@with_poller
@pytest.mark.parametrize("count", [SHARE, SHARE + 1, 3 * SHARE, BATCH + 1, 3 * BATCH + 1])
def test_what_one_event_told_of_is_all_delivered_though_none_tells_of_it_again(count: int) -> None:
    protocol = Noting()
    with Scene(protocol) as scene, peer() as other:
        for number in range(count):
            other.sendto(bytes((number,)), scene.address)
        scene.reactor.poll()
        while scene.reactor.getDelayedCalls():
            before = len(protocol.got)
            # Only calls, no events.
            scene.reactor.calls_due()
            assert before < len(protocol.got) <= before + TURNS * SHARE or before == count
        assert protocol.data() == [bytes((number,)) for number in range(count)]
        # It is told of what comes then.
        other.sendto(b"more", scene.address)
        scene.reactor.poll()
        assert protocol.data()[count:] == [b"more"]


def test_a_turn_takes_no_more_while_more_and_more_comes(share: int) -> None:
    """Every event tells of more, and there is always some left from before."""
    protocol = Noting()
    with Scene(protocol) as scene, peer() as other:
        taken = []
        for _ in range(6):
            for _ in range(share + 10):
                other.sendto(b"", scene.address)
            before = len(protocol.got)
            scene.reactor.turn()
            taken.append(len(protocol.got) - before)
        assert taken == [share] * 6


@with_poller
def test_a_turn_takes_no_more_of_many_sockets_and_each_has_its_share() -> None:
    protocols = [Noting() for _ in range(2 * TURNS + 1)]
    turning = Turning()
    sockets = [opened(protocol, on=turning) for protocol in protocols]
    try:
        with peer() as other:
            for made in sockets:
                address = made.getHost()
                for _ in range(SHARE + 1):
                    other.sendto(b"", (address.host, address.port))
        taken: list[int] = []
        while not taken or taken[-1]:
            before = sum(len(protocol.got) for protocol in protocols)
            turning.turn()
            taken.append(sum(len(protocol.got) for protocol in protocols) - before)
            # Nobody has a second share before everybody had the first.
            counts = {len(protocol.got) for protocol in protocols}
            assert SHARE + 1 not in counts or 0 not in counts
        assert taken[:2] == [TURNS * SHARE] * 2
        assert max(taken) == TURNS * SHARE
        assert [len(protocol.got) for protocol in protocols] == [SHARE + 1] * len(protocols)
    finally:
        for made in sockets:
            made.connectionLost()
        turning.forget()


@with_poller
def test_a_flood_holds_up_nobody_elses_datagrams() -> None:
    flooded, other = Noting(), Noting()
    with Scene(flooded) as scene, peer() as sender:
        quiet = opened(other, on=scene.reactor)
        address = quiet.getHost()
        for _ in range(4):
            for _ in range(2 * SHARE):
                sender.sendto(b"", scene.address)
            before = len(other.got)
            sender.sendto(b"x", (address.host, address.port))
            scene.reactor.turn()
            scene.reactor.turn()
            assert len(other.got) == before + 1
        assert len(flooded.got) >= 4 * SHARE
        quiet.connectionLost()


def test_everything_else_gets_its_turn_between_batches() -> None:
    protocol = Noting()
    counts: list[int] = []

    def look() -> None:
        counts.append(len(protocol.got))
        if counts[-1] < 3 * BATCH:
            reactor.callLater(0, look)

    def flood(address: Address) -> None:
        with peer() as other:
            for number in range(3 * BATCH):
                other.sendto(bytes((number,)), address)
        look()

    with running(protocol) as (_, address):
        in_reactor(flood, address)
        received = [protocol.next()[0][0] for _ in range(3 * BATCH)]
        in_reactor(lambda: None)
    assert received == list(range(3 * BATCH))
    assert counts[0] == 0
    steps = [after - before for before, after in pairwise(counts)]
    assert all(step <= TURNS * SHARE for step in steps)


def _fails_on_bad(data: bytes) -> None:
    if data == b"bad":
        raise RuntimeError("a protocol of somebody else's")


def test_a_protocol_that_raises_costs_that_datagram_alone(logs: Sequence[LogEvent]) -> None:
    protocol = Noting(_fails_on_bad)
    with Scene(protocol) as scene, peer() as other:
        for data in (b"one", b"bad", b"two"):
            other.sendto(data, scene.address)
        scene.reactor.turn()
        assert protocol.data() == [b"one", b"bad", b"two"]
        assert scene.is_read()
    assert [event["text"] for event in logs] == ["a datagram could not be dealt with"]
    assert logs[0]["log_failure"].check(RuntimeError)


def test_a_protocol_that_raises_is_logged_once_in_a_while(
    logs: Sequence[LogEvent], share: int
) -> None:
    with Scene(Noting(_fails_on_bad)) as scene, peer() as other:
        for _ in range(share):
            other.sendto(b"bad", scene.address)
        scene.reactor.turn()
        assert len(logs) == 1
        scene.reactor.calls_due()
        scene.reactor.advance(Complaints.INTERVAL)
        other.sendto(b"bad", scene.address)
        scene.reactor.turn()
    assert len(logs) == 2
    assert f"and {share - 1} times" in logs[1]["text"]


def test_an_ipv6_socket_takes_no_ipv4_in_disguise() -> None:
    protocol = Noting()
    with running(protocol, "::") as (_, (_, port)), peer(FOUR) as four, peer(SIX) as six:
        four.sendto(b"in disguise", (FOUR, port))
        six.sendto(b"plain", (SIX, port))
        assert protocol.next() == (b"plain", six.getsockname()[:2])
    assert protocol.data() == [b"plain"]


@with_poller
def test_a_connected_socket_drops_strangers() -> None:
    protocol = Noting()
    with running(protocol) as (made, address), peer() as friend, peer() as stranger:
        in_reactor(made.connect, *friend.getsockname())
        stranger.sendto(b"stranger", address)
        friend.sendto(b"friend", address)
        assert protocol.next() == (b"friend", friend.getsockname())
        for where in (None, friend.getsockname()):
            in_reactor(made.write, b"to whom it is connected", where)
            assert friend.recvfrom(100) == (b"to whom it is connected", address)
    assert protocol.data() == [b"friend"]


@with_poller
def test_an_address_that_cannot_be_connected_to_is_an_oserror_and_changes_nothing() -> None:
    protocol = Noting()
    with Scene(protocol, SIX) as scene, peer(SIX) as other:
        with pytest.raises(OSError, match=r"."):
            scene.socket.connect(FOUR, 53)
        scene.socket.write(b"answer", other.getsockname()[:2])
        assert other.recv(100) == b"answer"
        other.sendto(b"question", scene.address)
        scene.reactor.turn()
        assert protocol.data() == [b"question"]


@without_poller
def test_without_a_poller_it_cannot_be_connected_and_goes_on() -> None:
    protocol = Noting()
    with Scene(protocol) as scene, peer() as friend, peer() as stranger:
        with pytest.raises(OSError, match="poller") as caught:
            scene.socket.connect(*friend.getsockname())
        assert caught.value.errno == errno.EOPNOTSUPP
        scene.socket.write(b"answer", stranger.getsockname())
        assert stranger.recv(100) == b"answer"
        for number, other in enumerate((friend, stranger)):
            other.sendto(bytes((number,)), scene.address)
        scene.reactor.turn()
        assert protocol.data() == [b"\0", b"\1"]


@contextmanager
def back_again(address: Address) -> Iterator[socket.socket]:
    """The socket of whoever was there before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(address)
        made.settimeout(PATIENCE)
        yield made


@with_poller
def test_an_error_that_comes_back_ends_no_reading() -> None:
    """ECONNREFUSED, as only a connected socket hears of it."""
    protocol = Noting()
    with Scene(protocol) as scene:
        with peer() as gone:
            nobody = gone.getsockname()
        scene.socket.connect(*nobody)
        for _ in range(2):
            scene.socket.write(b"anybody there?")
            scene.reactor.turn()
            assert (protocol.got, protocol.stopped) == ([], 0)
            assert scene.is_read()
            assert scene.reactor.getDelayedCalls() == []
        with back_again(nobody) as other:
            other.sendto(b"somebody", scene.address)
            scene.reactor.turn()
        assert protocol.data() == [b"somebody"]


@with_poller
@pytest.mark.parametrize("turns", [0, 1], ids=["at once", "with a turn in between"])
@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH])
def test_an_error_that_comes_back_between_datagrams_loses_none(count: int, turns: int) -> None:
    protocol = Noting()
    with Scene(protocol) as scene:
        with peer() as other:
            where = other.getsockname()
            scene.socket.connect(*where)
            for number in range(count):
                other.sendto(b"before %d" % number, scene.address)
        scene.socket.write(b"anybody there?")
        for _ in range(turns):
            scene.reactor.turn()
        with back_again(where) as other:
            for number in range(count):
                other.sendto(b"after %d" % number, scene.address)
        # One event, after which there is none that would tell of what is left.
        scene.reactor.poll()
        while scene.reactor.getDelayedCalls():
            scene.reactor.calls_due()
        assert protocol.data() == [b"before %d" % number for number in range(count)] + [
            b"after %d" % number for number in range(count)
        ]


@with_poller
def test_an_error_that_comes_back_ends_nothing_in_the_running_reactor() -> None:
    protocol = Noting()
    with running(protocol) as (made, _):
        with peer() as gone:
            nobody = gone.getsockname()
        in_reactor(made.connect, *nobody)
        in_reactor(made.write, b"anybody there?")
        # A turn in which the error is polled, and one after it.
        for _ in range(2):
            in_reactor(lambda: None)
        assert (protocol.stopped, in_reactor(made.fileno) >= 0) == (0, True)


# How much it holds.


def _most(name: str) -> int:
    return int(Path(f"/proc/sys/net/core/{name}").read_text())


def _room(made: DatagramSocket) -> int:
    # The kernel doubles what it is asked for, for what it adds to each datagram.
    return made._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def test_it_holds_as_much_as_an_unprivileged_user_may_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No option of the kernel's.
    monkeypatch.setattr(datagram, "_SO_RCVBUFFORCE", 9999)
    with Scene(Noting()) as scene:
        assert _room(scene.socket) == min(ROOM, _most("rmem_max"))


def test_it_holds_what_it_is_to_where_it_may() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, datagram._SO_RCVBUFFORCE, ROOM)
        except PermissionError:
            privileged = False
        else:
            privileged = True
    with Scene(Noting()) as scene:
        assert _room(scene.socket) == (ROOM if privileged else min(ROOM, _most("rmem_max")))
    assert privileged or os.geteuid() != 0 or not os.environ.get("CI")


# Writing.


def test_a_datagram_that_is_too_large_is_an_oserror_and_no_more() -> None:
    with Scene(Noting()) as scene, peer() as other:
        with pytest.raises(OSError, match="long") as caught:
            scene.socket.write(bytes(65508), other.getsockname())
        assert caught.value.errno == errno.EMSGSIZE
        scene.socket.write(bytes(65507), other.getsockname())
        assert len(other.recv(1 << 16)) == 65507


def test_the_other_family_is_an_oserror() -> None:
    with Scene(Noting(), SIX) as scene, peer(FOUR) as other:
        with pytest.raises(OSError, match=r"."):
            scene.socket.write(b"x", other.getsockname())
        assert scene.is_read()


@with_poller
def test_writing_fails_for_no_datagram_before() -> None:
    """The kernel tells of an error that came back instead of sending; once it is told, it sends."""
    with Scene(Noting()) as scene:
        with peer() as other:
            where = other.getsockname()
            scene.socket.connect(*where)
        for _ in range(3):
            scene.socket.write(b"anybody there?")
        with back_again(where) as other:
            scene.socket.write(b"and now?")
            assert other.recv(100) == b"and now?"


class Refusing:
    """A socket that something comes back for whenever it sends."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self.sent: list[bytes] = []

    def send(self, packet: bytes) -> int:
        self.sent.append(packet)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@with_poller
def test_writing_is_tried_once_more_and_not_for_ever() -> None:
    with Scene(Noting()) as scene, peer() as other:
        scene.socket.connect(*other.getsockname())
        real = scene.socket._socket
        refusing: Any = Refusing(real)
        scene.socket._socket = refusing
        with pytest.raises(ConnectionRefusedError):
            scene.socket.write(b"x")
        scene.socket._socket = real
        assert refusing.sent == [b"x"] * 2
        scene.socket.write(b"y")
        assert other.recv(100) == b"y"


def test_an_address_is_needed_unless_it_is_connected() -> None:
    with Scene(Noting()) as scene:
        with pytest.raises(OSError, match="address required") as caught:
            scene.socket.write(b"x")
        assert caught.value.errno == errno.EDESTADDRREQ


def test_to_broadcast_needs_a_permission() -> None:
    with Scene(Noting()) as scene:
        target = ("127.255.255.255", scene.address[1])
        assert scene.socket.getBroadcastAllowed() is False
        with pytest.raises(OSError, match="denied") as caught:
            scene.socket.write(b"x", target)
        assert caught.value.errno == errno.EACCES
        scene.socket.setBroadcastAllowed(True)
        assert scene.socket.getBroadcastAllowed() is True
        scene.socket.write(b"x", target)
        scene.socket.setBroadcastAllowed(False)
        assert scene.socket.getBroadcastAllowed() is False


# The end.


def test_it_closes_in_the_next_turn_and_says_so_once() -> None:
    protocol, fired = Noting(), list[None]()
    with Scene(protocol) as scene:
        closing = scene.socket.stopListening()
        closing.addCallback(fired.append)
        # Its number is not yet another's.
        assert scene.socket.fileno() >= 0
        assert (protocol.stopped, fired) == (0, [])
        scene.reactor.advance(0)
        assert scene.socket.fileno() == -1
        assert (protocol.stopped, fired) == (1, [None])
        assert scene.reactor.getDelayedCalls() == []


def test_to_stop_it_again_changes_nothing() -> None:
    protocol, fired = Noting(), list[None]()
    with Scene(protocol) as scene:
        first = scene.socket.stopListening()
        assert scene.socket.stopListening() is first
        assert len(scene.reactor.getDelayedCalls()) == 1
        scene.reactor.advance(0)
        scene.socket.stopListening().addCallback(fired.append)
        assert (protocol.stopped, fired) == (1, [None])
        assert scene.reactor.getDelayedCalls() == []
        scene.socket.connectionLost()
        assert protocol.stopped == 1


def test_a_reactor_that_ends_first_leaves_nothing_to_close() -> None:
    """As it does with what it still reads when it stops."""
    protocol, fired = Noting(), list[None]()
    with Scene(protocol) as scene:
        scene.socket.stopListening().addCallback(fired.append)
        scene.socket.connectionLost()
        assert (protocol.stopped, fired) == (1, [None])
        scene.reactor.advance(0)
        assert (protocol.stopped, fired) == (1, [None])


def test_a_lost_socket_is_read_no_more() -> None:
    protocol, fired = Noting(), list[None]()
    with Scene(protocol) as scene:
        scene.socket.connectionLost()
        assert scene.socket not in scene.reactor.getReaders()
        assert scene.socket.fileno() == -1
        scene.socket.stopListening().addCallback(fired.append)
        assert (protocol.stopped, fired) == (1, [None])


def test_nothing_is_delivered_once_it_is_stopped_not_even_of_the_same_batch() -> None:
    stopping: list[Deferred[None]] = []
    protocol = Noting(lambda data: stopping.append(scene.socket.stopListening()))
    with Scene(protocol) as scene, peer() as other:
        for data in (b"last", b"too late"):
            other.sendto(data, scene.address)
        scene.reactor.turn()
        scene.reactor.turn()
        assert protocol.data() == [b"last"]
        assert len(stopping) == 1


def test_nothing_is_delivered_once_it_is_stopped_though_it_is_not_closed_yet() -> None:
    protocol = Noting()
    with Scene(protocol) as scene, peer() as other:
        scene.socket.stopListening()
        other.sendto(b"too late", scene.address)
        # The rest of a turn, whose calls had been dealt with.
        scene.reactor.poll()
        assert (protocol.got, protocol.stopped) == ([], 0)
        scene.reactor.turn()
        assert (protocol.got, protocol.stopped) == ([], 1)


def test_nothing_is_delivered_once_it_is_stopped_of_what_was_waiting_either(share: int) -> None:
    protocol = Noting()
    with Scene(protocol) as scene, peer() as other:
        for _ in range(3 * share):
            other.sendto(b"", scene.address)
        scene.reactor.turn()
        assert len(protocol.got) == share
        scene.socket.stopListening()
        scene.reactor.turn()
        assert (len(protocol.got), protocol.stopped) == (share, 1)
        scene.reactor.turn()
        assert len(protocol.got) == share


def test_nothing_is_delivered_once_it_is_stopped_in_the_running_reactor() -> None:
    protocol = Noting()

    def stop(made: DatagramSocket, address: Address) -> Deferred[None]:
        # It is there before the reactor could have looked.
        with peer() as other:
            other.sendto(b"too late", address)
        return made.stopListening()

    with running(protocol) as (made, address):
        assert in_reactor(stop, made, address) is None
        assert in_reactor(made.fileno) == -1
    assert (protocol.got, protocol.stopped) == ([], 1)


def test_nothing_can_be_written_once_it_is_closed() -> None:
    with Scene(Noting()) as scene, peer() as other:
        scene.socket.connectionLost()
        with pytest.raises(OSError, match=r".") as caught:
            scene.socket.write(b"x", other.getsockname())
        assert caught.value.errno == errno.EBADF


# Several at once.


def arrived(socket_: socket.socket, count: int) -> list[bytes]:
    """So many datagrams, as they come."""
    socket_.settimeout(PATIENCE)
    return [socket_.recv(1 << 16) for _ in range(count)]


@pytest.mark.parametrize("host", [FOUR, SIX])
@pytest.mark.parametrize("connected", [False, True], ids=["unconnected", "connected"])
@with_poller
def test_those_that_are_sent_together_stay_what_they_are(
    memory: Turning, host: str, connected: bool
) -> None:
    family = socket.AF_INET if host == FOUR else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as far:
        far.bind((host, 0))
        address = far.getsockname()[:2]
        made = opened(Noting(), host, on=memory)
        if connected:
            made.connect(*address)
        whole = [bytes([number]) * 700 for number in range(40)]
        pieces = [piece for each in whole for piece in (each[:10], each[10:])]
        assert made.write_together(pieces, 700, address)
        assert arrived(far, 40) == whole
        made.stopListening()
        memory.turn()


@with_poller
def test_where_they_cannot_go_together_that_is_said_and_remembered(
    memory: Turning, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a kernel answers that does not know it.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind((FOUR, 0))
        made = opened(Noting(), on=memory)
        monkeypatch.setattr(datagram, "_SIZE", struct.Struct("=B"))
        assert not made.write_together([b"1", b"2"], 1, far.getsockname())
        monkeypatch.undo()
        assert not made.write_together([b"1", b"2"], 1, far.getsockname())
        made.write(b"3", far.getsockname())
        assert arrived(far, 1) == [b"3"]
        made.stopListening()
        memory.turn()


@with_poller
def test_an_error_of_the_way_says_nothing_of_the_kernel(memory: Turning) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind((FOUR, 0))
        made = opened(Noting(), on=memory)
        # Not without permission to broadcast.
        assert not made.write_together([b"1", b"2"], 1, ("255.255.255.255", 9))
        assert made.write_together([b"1", b"2"], 1, far.getsockname())
        assert arrived(far, 2) == [b"1", b"2"]
        made.stopListening()
        memory.turn()


@implementer(datagram.ITurns)
class Turned(Noting):
    """Notes turns too."""

    def turn_began(self) -> None:
        self.got.append((b"[", ("", 0)))

    def turn_ended(self) -> None:
        self.got.append((b"]", ("", 0)))


@with_poller
def test_a_protocol_that_wants_to_is_told_of_turns(memory: Turning) -> None:
    protocol = Turned()
    made = opened(protocol, on=memory)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        for number in range(SHARE + 1):
            far.sendto(b"%d" % (number % 10), (FOUR, made.getHost().port))
        while len(protocol.got) < SHARE + 5:
            memory.turn()
    said = b"".join(protocol.data())
    assert said == b"[" + b"0123456789"[:10] + b"012345" + b"]" + b"[6]"
    made.stopListening()
    memory.turn()
