"""The fast relay by itself: on a poller of the test's, whose reactor ends."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent

from socks5d.net import pipes, poller
from socks5d.net.poller import BUFFER, IN, Poller
from socks5d.net.stream import StreamSocket
from socks5d.relay.direction import LESS, MOST
from socks5d.relay.fast import FastRelay
from socks5d.relay.stream import CLIENT_RESET, FINISHED, SHUTDOWN
from tests.support.origins import RST_ON_CLOSE
from tests.support.running import PATIENCE

pytestmark = pytest.mark.skipif(
    not (poller._HAS_EPOLL and pipes.available), reason="there is no fast lane here"
)

IDLE_SECONDS = 100.0
#: More than all of the kernel's buffers of a connection hold.
MUCH = bytes(1 << 25)


class Scene:
    """A poller of a test's, and what is connected by it."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.poller = Poller(self.reactor)
        self._sockets: list[socket.socket] = []

    def connection(self) -> tuple[StreamSocket, socket.socket]:
        """The near end of one, as a transport, and the far end, which does not block."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname(), PATIENCE)
            near, _ = listener.accept()
        near.setblocking(False)
        far.setblocking(False)
        self._sockets += near, far
        stream = StreamSocket(self.poller, near)
        stream.start(Protocol())
        return stream, far

    def end(self) -> None:
        for each in self._sockets:
            each.close()
        self.poller.pipes.close()
        self.poller._epoll.close()


class Between:
    """
    A relay between two connections.

    @ivar client: the client's end of the one.
    @ivar origin: the origin's end of the other.
    @ivar ends: how it had ended, each time that it was said to have.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.ends: list[str] = []
        client, self.client = scene.connection()
        origin, self.origin = scene.connection()
        self.relay = FastRelay(client, origin, scene.reactor, IDLE_SECONDS, self._end)
        self.sockets = [self.relay.up.source, self.relay.down.source]
        self.relay.start()

    def _end(self) -> None:
        self.ends.append(self.relay.end)

    def turn(self) -> None:
        """One of the reactor's."""
        self._scene.reactor.advance(0)
        self._scene.poller.doRead()

    def until(self, condition: Callable[[], object], move: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            move()


def is_idle(between: Between) -> None:
    """Nothing has come."""


def is_half_closed(between: Between) -> None:
    """The client sends no more, of which the origin has been told."""
    between.client.shutdown(socket.SHUT_WR)
    between.until(lambda: between.relay.up.flushed, between.turn)


def is_stuck_with_what_it_read(between: Between) -> None:
    """The origin does not take what the client sent."""
    between.relay.client_data(MUCH)
    between.relay.start()
    assert between.relay.up.rest


def is_stuck_with_a_full_pipe(between: Between) -> None:
    """The client does not take what the origin sends in bulk."""

    def send() -> None:
        with suppress(BlockingIOError):
            between.origin.send(MUCH)
        if between.relay.down.rest:
            # It was full before there was a pipe.
            with suppress(BlockingIOError):
                between.client.recv(1 << 20)
        between.turn()

    def stuck() -> bool:
        down = between.relay.down
        return down.pipe is not None and down.pipe.held > 0 and not down.queued

    between.until(stuck, send)


def waits_for_its_turn(between: Between) -> None:
    """There is more of bulk than its share."""

    def move() -> None:
        with suppress(BlockingIOError):
            between.origin.send(MUCH)
        with suppress(BlockingIOError):
            while between.client.recv(1 << 20):
                pass
        between.relay.down(IN)

    between.until(lambda: between.relay.down.queued, move)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.end()


def gone(far: socket.socket) -> bool:
    """The connection was reset, whatever came before that."""
    waiting = select.poll()
    waiting.register(far, 0)
    return bool(waiting.poll(PATIENCE * 1000))


STATES = [
    is_idle,
    is_half_closed,
    is_stuck_with_what_it_read,
    is_stuck_with_a_full_pipe,
    waits_for_its_turn,
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("count", [1, 3])
def test_the_reactors_end_ends_each_relay_once_as_a_shutdown(
    count: int, state: Callable[[Between], None], scene: Scene, logs: Sequence[LogEvent]
) -> None:
    all_of_them = [Between(scene) for _ in range(count)]
    for between in all_of_them:
        state(between)
    for _ in range(2):
        scene.poller.connectionLost()
        assert [between.ends for between in all_of_them] == [[SHUTDOWN]] * count
    # Nothing comes of what they had asked for before.
    scene.reactor.advance(0)
    scene.poller.doRead()
    scene.reactor.advance(2 * IDLE_SECONDS)
    assert [between.ends for between in all_of_them] == [[SHUTDOWN]] * count
    assert [each for each in logs if "log_failure" in each] == []
    assert scene.reactor.getDelayedCalls() == []
    assert scene.poller.pipes.lent == 0
    for between in all_of_them:
        assert [each.fileno() for each in between.sockets] == [-1, -1]
        assert gone(between.client)
        assert gone(between.origin)


def test_relays_in_different_states_end_together(scene: Scene, logs: Sequence[LogEvent]) -> None:
    all_of_them = [Between(scene) for _ in STATES]
    for between, state in zip(all_of_them, STATES, strict=True):
        state(between)
    scene.poller.connectionLost()
    assert [between.ends for between in all_of_them] == [[SHUTDOWN]] * len(STATES)
    assert [each for each in logs if "log_failure" in each] == []


def test_one_that_is_over_is_not_ended_again(scene: Scene, logs: Sequence[LogEvent]) -> None:
    over, running = Between(scene), Between(scene)
    over.client.shutdown(socket.SHUT_WR)
    over.origin.shutdown(socket.SHUT_WR)
    over.until(lambda: over.ends, over.turn)
    scene.poller.connectionLost()
    assert (over.ends, running.ends) == ([FINISHED], [SHUTDOWN])
    assert [each for each in logs if "log_failure" in each] == []


def test_whoever_fails_at_the_end_of_a_relay_harms_no_other(
    scene: Scene, logs: Sequence[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Between) -> None:
        self.ends.append("failed")
        raise RuntimeError("of somebody's")

    with monkeypatch.context() as patched:
        patched.setattr(Between, "_end", fail)
        bad = Between(scene)
    good = Between(scene)
    scene.poller.connectionLost()
    assert (bad.ends, good.ends) == (["failed"], [SHUTDOWN])
    assert [each["log_failure"].type for each in logs] == [RuntimeError]


# Octets that come with the end.


def all_of(far: socket.socket, between: Between) -> bytes:
    """What comes to one end until its stream ends."""
    found, over = b"", False

    def receive() -> None:
        nonlocal found, over
        between.turn()
        with suppress(BlockingIOError):
            data = far.recv(1 << 20)
            found += data
            over = not data

    between.until(lambda: over, receive)
    return found


@pytest.mark.parametrize("size", [1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7])
@pytest.mark.parametrize("way", ["up", "down"])
def test_octets_that_come_with_the_end_arrive_before_it(scene: Scene, size: int, way: str) -> None:
    between = Between(scene)
    source, sink = between.client, between.origin
    if way == "down":
        source, sink = sink, source
    sent = bytes(n % 251 for n in range(size))
    source.send(sent)
    source.shutdown(socket.SHUT_WR)
    assert all_of(sink, between) == sent
    # The other way goes on.
    sink.send(b"and back")
    sink.shutdown(socket.SHUT_WR)
    assert all_of(source, between) == b"and back"
    assert between.ends == [FINISHED]


def test_the_last_octets_and_the_end_are_one_segment(scene: Scene) -> None:
    between = Between(scene)
    between.origin.send(b"the last")
    between.origin.shutdown(socket.SHUT_WR)
    calls: list[str] = []
    receive = between.relay.down.source.recv_into
    between.relay.down.source = Counted(receive, between.relay.down.source, calls)  # type: ignore[assignment]
    between.turn()
    # Nobody looks for an end that is known to be there.
    assert calls == ["recv_into"]
    assert between.client.recv(100) == b"the last"
    assert between.client.recv(100) == b""


class Counted:
    """A socket whose reads are counted."""

    def __init__(
        self, receive: Callable[..., int], whole: socket.SocketType, calls: list[str]
    ) -> None:
        self._receive = receive
        self._whole = whole
        self._calls = calls

    def recv_into(self, buffer: memoryview, most: int = 0) -> int:
        self._calls.append("recv_into")
        return self._receive(buffer, most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


@pytest.mark.parametrize("end", [True, False], ids=["and the end", "and no end"])
@pytest.mark.parametrize("before", [6, BUFFER, 3 * BUFFER, 400_000])
def test_what_is_behind_urgent_data_arrives(scene: Scene, before: int, end: bool) -> None:
    between = Between(scene)
    sent = bytes(n % 251 for n in range(before + 50_000))
    between.origin.setblocking(True)
    between.origin.settimeout(PATIENCE)
    found = b""

    def send() -> None:
        between.origin.sendall(sent[:before])
        between.origin.send(b"!", socket.MSG_OOB)
        between.origin.sendall(sent[before:])
        if end:
            between.origin.shutdown(socket.SHUT_WR)

    def receive() -> None:
        nonlocal found
        between.turn()
        with suppress(BlockingIOError):
            found += between.client.recv(1 << 20)

    sending = threading.Thread(target=send)
    sending.start()
    between.until(lambda: len(found) >= len(sent), receive)
    sending.join(PATIENCE)
    assert found == sent
    if end:
        # And the other way goes on.
        assert all_of(between.client, between) == b""
        between.client.send(b"back")
        between.client.shutdown(socket.SHUT_WR)
        between.origin.setblocking(False)
        assert all_of(between.origin, between) == b"back"
        assert between.ends == [FINISHED]


def test_a_connection_that_is_gone_while_it_is_not_read_ends_the_relay(scene: Scene) -> None:
    between = Between(scene)
    is_stuck_with_what_it_read(between)
    between.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    between.client.close()
    between.until(lambda: between.ends, between.turn)
    assert between.ends == [CLIENT_RESET]


@pytest.mark.parametrize("shaking", [True, False])
def test_bulk_takes_smaller_steps_while_there_are_handshakes(
    scene: Scene, shaking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    splice = os.splice

    def noting(source: int, sink: int, count: int, **others: Any) -> int:
        asked.append((source, count))
        return splice(source, sink, count, **others)

    monkeypatch.setattr(os, "splice", noting)
    between = Between(scene)
    scene.reactor.advance(1)
    if shaking:
        _, far = scene.connection()
        far.send(b"hello")
    between.turn()
    waits_for_its_turn(between)
    between.turn()
    origin = between.relay.down.source.fileno()
    assert {count for source, count in asked if source == origin} == {LESS if shaking else MOST}
