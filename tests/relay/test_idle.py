"""Noticing that nothing moves, by a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from socks5d.relay.idle import IdleTimer

SECONDS = 10.0


class Scene:
    """A timer; notes when it found that nothing had moved."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.idle: list[float] = []
        self.timer = IdleTimer(self.clock, SECONDS, lambda: self.idle.append(self.clock.seconds()))


def test_it_is_called_once_nothing_has_moved_for_so_long() -> None:
    scene = Scene()
    scene.clock.advance(SECONDS - 0.1)
    assert scene.idle == []
    scene.clock.advance(0.1)
    assert scene.idle == [SECONDS]


def test_it_is_called_again_after_as_long() -> None:
    scene = Scene()
    scene.clock.pump([SECONDS, SECONDS - 0.1])
    assert scene.idle == [SECONDS]
    scene.clock.advance(0.1)
    assert scene.idle == [SECONDS, 2 * SECONDS]


def test_whatever_moves_puts_it_off_until_as_long_after_it() -> None:
    scene = Scene()
    scene.clock.advance(4)
    scene.timer.touch()
    assert scene.timer.touched == 4
    scene.clock.pump([SECONDS - 4, 3.9])
    assert scene.idle == []
    scene.clock.advance(0.1)
    assert scene.idle == [SECONDS + 4]


def test_to_touch_it_makes_no_timer() -> None:
    """That is what it is for: there is one, and it is left where it is."""
    scene = Scene()
    (before,) = scene.clock.getDelayedCalls()
    for _ in range(100):
        scene.clock.advance(0.01)
        scene.timer.touch()
    assert scene.clock.getDelayedCalls() == [before]
    assert before.getTime() == SECONDS


@pytest.mark.parametrize("waited", [0.0, 5.0, SECONDS, 1.5 * SECONDS])
def test_once_cancelled_it_looks_no_more(waited: float) -> None:
    scene = Scene()
    scene.clock.advance(waited)
    scene.timer.touch()
    called = list(scene.idle)
    for _ in range(2):
        scene.timer.cancel()
        assert scene.clock.getDelayedCalls() == []
    scene.clock.advance(10 * SECONDS)
    assert scene.idle == called


def test_it_can_be_cancelled_by_what_it_calls() -> None:
    clock = Clock()
    calls: list[float] = []

    def idle() -> None:
        calls.append(clock.seconds())
        timer.cancel()

    timer = IdleTimer(clock, SECONDS, idle)
    clock.pump([SECONDS] * 3)
    assert calls == [SECONDS]
    assert clock.getDelayedCalls() == []


@given(st.sets(st.integers(1, 400)))
def test_it_is_called_when_nothing_has_moved_for_so_long_and_never_else(moves: set[int]) -> None:
    scene = Scene()
    since, expected = 0, list[float]()
    # Eighths of a second, which floating point adds up exactly.
    for tick in range(1, 401):
        scene.clock.advance(1 / 8)
        if tick - since == 8 * SECONDS:
            expected.append(tick / 8)
            since = tick
        if tick in moves:
            scene.timer.touch()
            since = tick
    assert scene.idle == expected
    assert len(scene.clock.getDelayedCalls()) == 1
