"""
Relays under whatever two sides can do to each other, many at once: every octet is
accounted for, and every descriptor comes back.
"""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import client
from tests.support.lanes import lane
from tests.support.origins import RST_ON_CLOSE
from tests.support.running import PATIENCE, Observed, proxy
from tests.support.running import Address as SocketAddress

__all__ = ["lane"]

#: What is sent: at every place it can be told where it is from.
POOL = Random(1).randbytes((1 << 20) + 7)
#: More than what the kernel's buffers of a relay take together.
LARGE = 9 << 20


def at(place: int, size: int) -> bytes:
    """What stands at a place of the endless stream that everybody sends."""
    start = place % len(POOL)
    piece = POOL[start : start + size]
    return piece if len(piece) == size else piece + at(place + len(piece), size - len(piece))


class End:
    """
    One side of a relay.

    @ivar wanted: octets that it is to send.
    @ivar end: how what it receives ended: "fin", "reset", or "" while it has not.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.wanted = self.sent = self.received = 0
        self.closing = self.closed = self.stalled = self.broken = False
        self.end = ""

    def move(self) -> bool:
        """Send and receive what is possible; gives whether anything was."""
        return self._receive() | self._send()

    def _receive(self) -> bool:
        if self.stalled or self.end or self.broken:
            return False
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except ConnectionError:
            self.end = "reset"
            return True
        if not data:
            self.end = "fin"
        assert data == at(self.received, len(data))
        self.received += len(data)
        return True

    def _send(self) -> bool:
        if self.closed or self.broken or self.end == "reset":
            return False
        if self.sent < self.wanted:
            try:
                count = self.socket.send(at(self.sent, min(self.wanted - self.sent, 1 << 18)))
            except BlockingIOError:
                return False
            except ConnectionError:
                self.end = "reset"
                return True
            self.sent += count
            return True
        if self.closing:
            self.closed = True
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.end = "reset"
            return True
        return False

    def reset(self) -> None:
        """Go, at once."""
        if not self.broken:
            self.broken = True
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            self.socket.close()

    @property
    def over(self) -> bool:
        """Whether nothing more happens here."""
        return self.broken or self.end == "reset" or (self.end == "fin" and self.closed)


class Pair:
    """A relay, from outside."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = self.ends = End(near), End(far)

    def check(self, lane: str) -> None:
        """
        What was received is what was sent, and how it ended is how it was ended.

        Twisted takes a reset for an orderly end where its poll tells of it as a hang-up
        alone, which it does once in ten thousands.
        """
        for end, other in (self.ends, self.ends[::-1]):
            if end.broken:
                continue
            assert end.received <= other.sent
            if other.broken:
                # Unless it had said all, and was told so, before it broke off.
                assert end.end in ("reset", "fin")
                assert end.end == "reset" or other.closed or lane == "twisted"
            if not any(each.broken for each in self.ends):
                assert (end.end, end.received) == ("fin", other.sent)

    def close(self) -> None:
        for end in self.ends:
            end.socket.close()


def settle(pairs: Sequence[Pair]) -> None:
    """Let everybody finish."""
    ends = [end for pair in pairs for end in pair.ends]
    for end in ends:
        end.stalled = False
        end.closing = True
    deadline = time.monotonic() + PATIENCE
    while not all(end.over for end in ends):
        moved = False
        for end in ends:
            moved |= not end.over and end.move()
        if moved:
            continue
        assert time.monotonic() < deadline, "a relay hangs"
        with selectors.DefaultSelector() as selector:
            for end in ends:
                if not end.over:
                    waiting = selectors.EVENT_READ if not end.end else 0
                    waiting |= selectors.EVENT_WRITE if not end.closed else 0
                    selector.register(end.socket, waiting)
            selector.select(1.0)


Step = tuple[int, int, str, int]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 1),
        st.sampled_from(["send", "send", "send", "stall", "resume", "close", "reset", "move"]),
        st.one_of(st.integers(1, 2000), st.sampled_from([65536, 200_000, LARGE])),
    ),
    max_size=30,
)


def play(pairs: Sequence[Pair], steps: Sequence[Step]) -> None:
    for which, side, what, size in steps:
        end = pairs[which % len(pairs)].ends[side]
        match what:
            case "send" if not end.closing:
                # One flood of each at most: it is there to fill every buffer.
                end.wanted += size if size < LARGE or end.wanted < LARGE else 1
            case "stall" | "resume":
                end.stalled = what == "stall"
            case "close":
                end.closing = True
            case "reset":
                end.reset()
        for pair in pairs:
            for each in pair.ends:
                if not each.broken:
                    each.move()


@pytest.fixture
def relays(lane: str) -> Iterator[tuple[SocketAddress, socket.socket, Observed]]:
    """A proxy, and an origin's listening socket."""
    seen = Observed()
    with socket.create_server(("127.0.0.1", 0)) as listener, proxy(seen) as server:
        listener.settimeout(PATIENCE)
        yield server, listener, seen


@pytest.mark.parametrize("scripts", [150, pytest.param(10_000, marks=pytest.mark.long)], ids=str)
def test_every_octet_is_accounted_for(
    relays: tuple[SocketAddress, socket.socket, Observed], lane: str, scripts: int
) -> None:
    server, listener, seen = relays
    where: SocketAddress = listener.getsockname()
    ended = 0
    before = descriptors()

    @settings(
        max_examples=scripts, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.integers(1, 4), STEPS)
    def chaos(count: int, steps: list[Step]) -> None:
        nonlocal ended
        with ExitStack() as stack:
            pairs = []
            for _ in range(count):
                near, reply = client.connect5(server, *where)
                assert reply.code == 0
                far, _ = listener.accept()
                pair = Pair(near, far)
                stack.callback(pair.close)
                pairs.append(pair)
            play(pairs, steps)
            settle(pairs)
            for pair in pairs:
                pair.check(lane)
        ended += count
        seen.record(ended - 1)
        for record in seen.records[ended - count : ended]:
            assert record.end in ("finished", "client reset", "origin reset")
            assert record.received <= sum(pair.near.sent for pair in pairs)

    chaos()
    deadline = time.monotonic() + PATIENCE
    while descriptors() > before + SPARE:
        assert time.monotonic() < deadline, "descriptors stay open"


#: Pipes that are kept for the next one.
SPARE = 2 * 64


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
