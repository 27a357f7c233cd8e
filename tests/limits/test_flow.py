"""Flows and paces: by a clock that the tests turn."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from socks5d.limits.flow import BURST, QUANTUM, Flow
from socks5d.limits.pace import IFlow, Pace

RATE = 100_000


class Mover:
    """Moves as much as it may, of as much as there is."""

    def __init__(self, flows: Sequence[IFlow], most: int = 1 << 16) -> None:
        self.pace = Pace(flows)
        self.pace.resume = self.move
        self.moved = 0
        self.turns = 0
        self._most = most

    def move(self) -> None:
        self.turns += 1
        while allowed := self.pace.allowed(self._most):
            self.pace.spend(allowed)
            self.moved += allowed


def turn(clock: Clock, seconds: float, step: float = 0.01) -> None:
    for _ in range(round(seconds / step)):
        clock.advance(step)


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 100) | st.integers(100, 10_000_000), st.integers(1, 1 << 19))
def test_the_rate_holds_over_time(rate: int, most: int) -> None:
    clock = Clock()
    # In a bounded number of moves.
    mover = Mover([Flow(clock, rate)], max(most, rate // 100))
    mover.move()
    turn(clock, 10)
    assert 0.95 * 10 * rate - 2 <= mover.moved <= (10 + BURST) * rate + 2


def test_it_goes_on_steadily_and_not_by_a_turn_for_each_octet() -> None:
    clock = Clock()
    mover = Mover([Flow(clock, RATE)])
    mover.move()
    for _ in range(20):
        before, turns = mover.moved, mover.turns
        turn(clock, 0.5)
        assert 0.8 * RATE / 2 < mover.moved - before < 1.2 * RATE / 2
        assert mover.turns - turns <= 0.5 / QUANTUM + 1


def test_after_a_rest_no_more_than_a_burst_goes_at_once() -> None:
    clock = Clock()
    mover = Mover([Flow(clock, RATE)])
    mover.move()
    mover.pace.resume = lambda: None
    clock.advance(1000)
    before = mover.moved
    mover.move()
    assert mover.moved - before <= RATE * BURST


def test_who_waits_takes_one_deadline_and_leaves_none() -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    movers = [Mover([flow]) for _ in range(50)]
    for mover in movers:
        mover.move()
    assert len(clock.getDelayedCalls()) == 1
    for mover in movers:
        mover.pace.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("count", [2, 7, 40])
def test_those_that_share_a_flow_get_the_same(count: int) -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    # One is greedy from the beginning.
    movers = [Mover([flow], 1 << 20), *(Mover([flow], 1000) for _ in range(count - 1))]
    for mover in movers:
        mover.move()
    turn(clock, 2)
    before = [mover.moved for mover in movers]
    turn(clock, 20)
    moved = [mover.moved - had for mover, had in zip(movers, before, strict=True)]
    assert sum(moved) == pytest.approx(20 * RATE, rel=0.05)
    assert min(moved) > 0.8 * 20 * RATE / count
    assert max(moved) < 1.2 * 20 * RATE / count


def test_what_one_does_not_use_the_others_get() -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    slow, fast = Mover([Flow(clock, RATE // 10), flow]), Mover([flow])
    slow.move()
    fast.move()
    turn(clock, 20)
    assert slow.moved == pytest.approx(20 * RATE / 10, rel=0.1)
    assert slow.moved + fast.moved == pytest.approx(20 * RATE, rel=0.05)


def test_one_that_comes_while_others_wait_is_not_before_them() -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    first = Mover([flow])
    first.move()
    clock.advance(0.04)
    late = Mover([flow])
    late.move()
    assert late.moved == 0
    turn(clock, 1)
    assert late.moved > 0


def test_what_fails_in_its_turn_harms_no_other(logs: Sequence[LogEvent]) -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    bad, good = Mover([flow]), Mover([flow])
    bad.move()
    good.move()

    def fail() -> None:
        raise RuntimeError("of somebody's")

    bad.pace.resume = fail
    turn(clock, 1)
    assert good.moved > 0.8 * RATE
    assert [each["log_failure"].type for each in logs] == [RuntimeError]


def test_more_than_was_allowed_is_paid_for() -> None:
    clock = Clock()
    mover = Mover([Flow(clock, RATE)])
    mover.pace.spend(RATE)
    mover.move()
    turn(clock, 0.7)
    assert mover.moved == 0
    turn(clock, 0.2)
    assert mover.moved > 0


# Datagrams.


def test_datagrams_beyond_the_rate_do_not_go() -> None:
    clock = Clock()
    pace = Pace([Flow(clock, RATE)])
    went = 0
    for _ in range(10_000):
        clock.advance(0.001)
        went += 1000 * pace.admits(1000)
    assert went == pytest.approx(10 * RATE, rel=0.05)


def test_one_that_is_larger_than_a_burst_goes_too() -> None:
    clock = Clock()
    pace = Pace([Flow(clock, 1000)])
    assert pace.admits(60_000)
    assert not pace.admits(1)
    clock.advance(59.0)
    assert not pace.admits(1)
    clock.advance(2.0)
    assert pace.admits(1)


def test_an_empty_one_goes_as_long_as_there_is_something_left() -> None:
    clock = Clock()
    pace = Pace([Flow(clock, 1000)])
    assert pace.admits(0)
    pace.spend(10_000)
    assert not pace.admits(0)


def test_a_flood_of_datagrams_leaves_a_stream_its_part() -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    stream, datagrams = Mover([flow]), Pace([flow])
    stream.move()
    went = 0
    for _ in range(20_000):
        clock.advance(0.001)
        went += 500 * datagrams.admits(500)
    assert stream.moved + went == pytest.approx(20 * RATE, rel=0.05)
    assert stream.moved > 0.3 * 20 * RATE
    assert went > 0.3 * 20 * RATE


def test_what_was_set_aside_for_one_that_ends_the_others_have() -> None:
    clock = Clock()
    flow = Flow(clock, RATE)
    stream, datagrams = Mover([flow]), Pace([flow])
    stream.move()
    assert not datagrams.admits(500)
    turn(clock, 0.1)
    datagrams.stop()
    before = stream.moved
    turn(clock, 10)
    assert stream.moved - before == pytest.approx(10 * RATE, rel=0.05)
