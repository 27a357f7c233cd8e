"""Relays with a pace: both lanes, by a clock that the tests turn."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from socks5d.limits.flow import BURST, Flow
from socks5d.limits.pace import Pace, Paces
from socks5d.net import pipes, poller
from socks5d.net.poller import BUFFER
from socks5d.relay.paced import PacedFastRelay, PacedRelay
from socks5d.relay.stream import CLIENT_RESET, FINISHED, IDLE
from tests.relay.test_fast import IDLE_SECONDS, Between, Scene, gone
from tests.relay.test_stream import CLOSING_SECONDS, Closing, HalfClosing, done, lost
from tests.support.origins import RST_ON_CLOSE

RATE = 100_000
fast = pytest.mark.skipif(
    not (poller._HAS_EPOLL and pipes.available), reason="there is no fast lane here"
)


def paces(clock: Clock, rate: int = RATE) -> Paces:
    return Pace([Flow(clock, rate)]), Pace([Flow(clock, rate)])


# Any transports.


class Slow:
    """A relay between two transports of the test's."""

    def __init__(self, kind: type[Closing] = HalfClosing, rate: int = RATE) -> None:
        self.clock = Clock()
        self.client, self.origin = kind(), HalfClosing()
        self.ended = 0
        self.relay = PacedRelay(
            self.client,
            self.origin,
            self.clock,
            IDLE_SECONDS,
            CLOSING_SECONDS,
            self._end,
            paces(self.clock, rate),
        )

    def _end(self) -> None:
        self.ended += 1

    def turn(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)


def test_of_a_read_no_more_goes_on_than_may_and_the_source_waits() -> None:
    slow = Slow()
    data = os.urandom(1 << 16)
    slow.relay.origin_data(data)
    first = len(slow.client.value())
    assert 0 < first <= RATE * BURST
    assert slow.origin.producerState == "paused"
    slow.turn(0.2)
    assert 0.1 * RATE < len(slow.client.value()) - first < 0.25 * RATE
    assert slow.origin.producerState == "paused"
    slow.turn(0.6)
    assert slow.client.value() == data
    assert slow.origin.producerState == "producing"
    assert (slow.relay.sent, slow.relay.received) == (len(data), 0)


def test_each_way_has_its_own_pace() -> None:
    slow = Slow()
    slow.relay.origin_data(bytes(1 << 16))
    slow.relay.client_data(b"quick")
    assert slow.origin.value() == b"quick"
    assert slow.client.producerState == "producing"


def test_the_end_comes_behind_what_is_held() -> None:
    slow = Slow()
    data = os.urandom(1 << 16)
    slow.relay.origin_data(data)
    slow.relay.origin_eof()
    slow.relay.client_eof()
    assert not slow.client.finished
    assert slow.origin.finished
    assert not slow.client.disconnecting
    slow.turn(1)
    assert slow.client.value() == data
    assert slow.client.finished
    assert slow.client.disconnecting
    slow.relay.client_lost(done())
    slow.relay.origin_lost(done())
    assert (slow.relay.end, slow.ended) == (FINISHED, 1)
    assert slow.clock.getDelayedCalls() == []


def test_what_is_held_arrives_when_its_source_is_gone_in_order() -> None:
    slow = Slow()
    data = os.urandom(1 << 16)
    slow.relay.origin_data(data)
    slow.relay.origin_lost(done())
    slow.turn(CLOSING_SECONDS / 2)
    assert slow.client.value() == data
    assert slow.client.finished
    slow.relay.client_told()
    slow.turn(CLOSING_SECONDS + 1)
    assert slow.client.disconnecting


def test_a_reset_does_not_wait_for_what_is_held() -> None:
    slow = Slow()
    slow.relay.origin_data(bytes(1 << 16))
    slow.relay.client_lost(lost())
    assert slow.origin.aborted
    slow.relay.origin_lost(lost())
    assert (slow.relay.end, slow.ended) == (CLIENT_RESET, 1)
    assert slow.clock.getDelayedCalls() == []


def test_a_sink_that_takes_nothing_gets_nothing_and_the_rest_later() -> None:
    slow = Slow()
    data = os.urandom(1 << 16)
    slow.relay.down.pauseProducing()
    slow.relay.origin_data(data)
    slow.turn(1)
    assert slow.client.value() == b""
    slow.relay.down.resumeProducing()
    slow.turn(1)
    assert slow.client.value() == data
    assert slow.origin.producerState == "producing"


def test_more_that_comes_although_the_source_was_paused_waits_too() -> None:
    slow = Slow()
    slow.relay.origin_data(b"a" * 60_000)
    # Whoever had early data resumes its transport after it.
    slow.origin.resumeProducing()
    slow.relay.origin_data(b"b" * 10)
    assert slow.origin.producerState == "paused"
    slow.turn(2)
    assert slow.client.value() == b"a" * 60_000 + b"b" * 10
    assert slow.origin.producerState == "producing"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.integers(1, 70_000)),
        st.tuples(st.just("full"), st.just(0)),
        st.tuples(st.just("empty"), st.just(0)),
        st.tuples(st.just("time"), st.integers(1, 100)),
    ),
    max_size=30,
)


@given(STEPS, st.sampled_from([1000, RATE, 10_000_000]))
def test_whatever_happens_all_goes_in_its_order_and_the_end_behind_it(
    steps: list[tuple[str, int]], rate: int
) -> None:
    slow = Slow(rate=rate)
    sent = b""
    for what, much in steps:
        if what == "data" and slow.origin.producerState == "producing":
            # Nobody reads from a source that is paused.
            piece = bytes((len(sent) + n) % 251 for n in range(much))
            sent += piece
            slow.relay.origin_data(piece)
        elif what == "full":
            slow.relay.down.pauseProducing()
        elif what == "empty":
            slow.relay.down.resumeProducing()
        elif what == "time":
            slow.turn(much / 100)
        got = slow.client.value()
        assert sent.startswith(got)
        assert len(got) <= (slow.clock.seconds() + BURST) * rate + 1
        assert slow.relay.sent == len(got)
    slow.relay.origin_eof()
    slow.relay.down.resumeProducing()
    for _ in range(40):
        slow.clock.advance(10)
    if rate > 1000:
        assert slow.client.value() == sent
        assert slow.client.finished
    else:
        assert slow.client.finished is (slow.client.value() == sent)


def test_for_a_sink_that_is_gone_nothing_is_held() -> None:
    slow = Slow()
    slow.relay.origin_data(bytes(1 << 16))
    slow.relay.down.stopProducing()
    slow.relay.client_lost(done())
    assert slow.origin.producerState == "producing"
    slow.relay.origin_data(bytes(1 << 16))
    assert slow.origin.producerState == "producing"


def test_who_waits_for_its_pace_is_not_idle() -> None:
    slow = Slow(rate=10)
    slow.relay.origin_data(bytes(1 << 16))
    slow.turn(2.5 * IDLE_SECONDS)
    assert slow.relay.end == ""
    assert not slow.client.aborted


def test_who_has_nothing_to_say_is() -> None:
    slow = Slow()
    slow.turn(IDLE_SECONDS * 1.1)
    assert slow.relay.end == IDLE


# The fast lane.


class Paced(Between):
    """A fast relay with a pace."""

    def __init__(self, scene: Scene, rate: int = RATE) -> None:
        self._scene = scene
        self.ends: list[str] = []
        client, self.client = scene.connection()
        origin, self.origin = scene.connection()
        self.paces = paces(scene.reactor, rate)
        self.relay = PacedFastRelay(
            client, origin, scene.reactor, IDLE_SECONDS, self._end, self.paces
        )
        self.sockets = [self.relay.up.source, self.relay.down.source]
        for each in self.sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.relay.start()

    def flood(self, seconds: float, chunk: bytes = bytes(1 << 18)) -> tuple[int, int]:
        """
        Send as much as goes from the origin for so long, and take what comes.

        @return: octets that came, and the most in 100 ms.
        """
        total = most = 0
        for _ in range(round(seconds * 10)):
            some = 0
            for _ in range(10):
                with suppress(BlockingIOError):
                    while True:
                        self.origin.send(chunk)
                self._scene.reactor.advance(0.01)
                for _ in range(3):
                    self.turn()
                    with suppress(BlockingIOError):
                        while got := self.client.recv(1 << 20):
                            some += len(got)
            total += some
            most = max(most, some)
        return total, most


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.end()


@fast
@pytest.mark.parametrize("rate", [100_000, 1_000_000, 100_000_000])
def test_the_rate_holds_in_the_fast_lane(scene: Scene, rate: int) -> None:
    paced = Paced(scene, rate)
    total, most = paced.flood(3)
    assert 0.9 * 3 * rate < total < (3 + 2 * BURST) * rate
    assert most < 0.5 * rate
    assert paced.relay.sent >= total


@fast
def test_bulk_with_a_pace_goes_through_a_pipe(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    spliced = 0
    splice = os.splice

    def count(*arguments: int, **options: int) -> int:
        nonlocal spliced
        moved = splice(*arguments, **options)
        spliced += moved
        return moved

    monkeypatch.setattr(os, "splice", count)
    paced = Paced(scene, 50_000_000)
    total, _ = paced.flood(1)
    assert total > 0.9 * 50_000_000
    # Twice: into the pipe, and out.
    assert spliced > total


@fast
def test_nothing_turns_in_vain_while_it_waits(scene: Scene) -> None:
    paced = Paced(scene, 1000)
    paced.flood(1, bytes(1 << 16))
    calls = 0
    pump = PacedFastRelay.pump

    def counted(self: PacedFastRelay, direction: object) -> None:
        nonlocal calls
        calls += 1
        pump(self, direction)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PacedFastRelay, "pump", counted)
        for _ in range(100):
            scene.reactor.advance(0.01)
            for _ in range(3):
                paced.turn()
    assert 5 <= calls <= 25
    assert not paced.relay.down.queued


@fast
@pytest.mark.parametrize("size", [1, BUFFER - 1, BUFFER, 3 * BUFFER + 7])
def test_all_of_it_arrives_before_the_end(scene: Scene, size: int) -> None:
    paced = Paced(scene)
    sent = bytes(n % 251 for n in range(size))
    paced.origin.send(sent)
    paced.origin.shutdown(socket.SHUT_WR)
    found, over = b"", False

    def receive() -> None:
        nonlocal found, over
        scene.reactor.advance(0.01)
        paced.turn()
        with suppress(BlockingIOError):
            data = paced.client.recv(1 << 20)
            found += data
            over = not data

    paced.until(lambda: over, receive)
    assert found == sent
    paced.client.send(b"and back")
    paced.client.shutdown(socket.SHUT_WR)
    paced.until(lambda: paced.ends, paced.turn)
    assert paced.ends == [FINISHED]
    assert paced.origin.recv(100) == b"and back"


def received(scene: Scene, paced: Paced, seconds: float) -> bytes:
    """What comes to the client in that time."""
    found = b""
    for _ in range(round(seconds * 100)):
        scene.reactor.advance(0.01)
        paced.turn()
        with suppress(BlockingIOError):
            found += paced.client.recv(1 << 20)
    return found


@fast
def test_early_octets_go_no_faster_than_others_and_before_them(scene: Scene) -> None:
    paced = Paced(scene)
    early = os.urandom(RATE)
    paced.relay.origin_data(early)
    paced.relay.start()
    paced.origin.send(b"more")
    found = received(scene, paced, 0.5)
    assert 0.4 * RATE < len(found) < (0.5 + 2 * BURST) * RATE
    found += received(scene, paced, 1)
    assert found == early + b"more"
    assert paced.relay.sent == len(found)


@fast
def test_the_end_comes_behind_early_octets(scene: Scene) -> None:
    paced = Paced(scene)
    early = os.urandom(RATE)
    paced.relay.origin_data(early)
    paced.relay.start()
    paced.origin.shutdown(socket.SHUT_WR)
    assert received(scene, paced, 1.5) == early
    assert paced.client.recv(1) == b""


@fast
def test_an_end_alone_waits_for_nobody(scene: Scene) -> None:
    paced = Paced(scene, 1000)
    paced.origin.send(bytes(100))
    assert received(scene, paced, 0.1) == bytes(100)
    # For the next octet it would have to wait for ten seconds.
    paced.paces[1].spend(10_000)
    paced.origin.shutdown(socket.SHUT_WR)
    assert received(scene, paced, 0.1) == b""
    assert paced.client.recv(1) == b""


def waits(paced: Paced) -> None:
    paced.flood(0.5)


@fast
def test_a_reset_is_passed_on_while_it_waits(scene: Scene) -> None:
    paced = Paced(scene, 1000)
    waits(paced)
    paced.origin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    paced.origin.close()
    paced.until(lambda: paced.ends, paced.turn)
    assert gone(paced.client)


@fast
@pytest.mark.parametrize("state", [lambda paced: None, waits])
def test_its_end_leaves_nothing(
    scene: Scene, state: Callable[[Paced], None], logs: Sequence[LogEvent]
) -> None:
    paced = Paced(scene, 1000)
    state(paced)
    paced.relay.abort("somebody's wish")
    scene.reactor.advance(0)
    scene.poller.doRead()
    assert scene.reactor.getDelayedCalls() == []
    assert paced.ends == ["somebody's wish"]
    assert scene.poller.pipes.lent == 0
    assert [each for each in logs if "log_failure" in each] == []
