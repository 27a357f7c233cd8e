"""Deadlines: never early, hardly late, and nothing left of those that are taken back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from socks5d.deadlines import GRAIN, Deadlines, deadlines_of


class Scene:
    """Deadlines, and which have passed, each with the time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.passed: list[tuple[str, float]] = []

    def after(self, seconds: float, name: str = "it"):  # type: ignore[no-untyped-def]
        return self.deadlines.after(
            seconds, lambda: self.passed.append((name, self.clock.seconds()))
        )


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1, 1.0, 5.0, 30.0, 7440.0])
def test_one_alone_passes_when_it_should(seconds: float) -> None:
    scene = Scene()
    scene.after(seconds)
    scene.clock.advance(seconds * 0.999)
    assert scene.passed == ([("it", 0.0)] if not seconds else [])
    scene.clock.advance(seconds)
    assert [name for name, _ in scene.passed] == ["it"]
    scene.clock.advance(seconds * 10)
    assert len(scene.passed) == 1
    assert scene.clock.getDelayedCalls() == []


@given(st.lists(st.tuples(st.floats(0.001, 10_000), st.booleans()), min_size=1, max_size=40))
def test_many_share_timers_and_none_is_early_or_much_too_late(
    wanted: list[tuple[float, bool]],
) -> None:
    scene = Scene()
    made = [scene.after(seconds, str(n)) for n, (seconds, _) in enumerate(wanted)]
    for deadline, (_, taken_back) in zip(made, wanted, strict=True):
        if taken_back:
            deadline.cancel()
    while scene.clock.getDelayedCalls():
        scene.clock.advance(
            min(call.getTime() for call in scene.clock.getDelayedCalls()) - scene.clock.seconds()
        )
    for name, when in scene.passed:
        seconds, taken_back = wanted[int(name)]
        assert not taken_back
        assert seconds <= when <= seconds + max(seconds / 64, GRAIN)
    assert len(scene.passed) == sum(not taken_back for _, taken_back in wanted)


def test_those_that_are_taken_back_leave_no_timer() -> None:
    scene = Scene()
    many = [scene.after(30 + n / 1000) for n in range(1000)]
    assert len(scene.clock.getDelayedCalls()) <= 10
    for each in many:
        each.cancel()
        each.cancel()
    assert scene.clock.getDelayedCalls() == []
    scene.clock.advance(60)
    assert scene.passed == []


def test_one_may_be_taken_back_by_another_of_the_same_moment() -> None:
    scene = Scene()
    second = None

    def first() -> None:
        assert second is not None
        second.cancel()

    scene.deadlines.after(1, first)
    second = scene.after(1)
    scene.clock.advance(2)
    assert scene.passed == []
    assert scene.clock.getDelayedCalls() == []


def test_one_that_raises_costs_no_other() -> None:
    scene = Scene()

    def fail() -> None:
        raise ZeroDivisionError

    scene.deadlines.after(1, fail)
    scene.after(1)
    with capturedLogs() as logs:
        scene.clock.advance(1)
    assert scene.passed == [("it", 1.0)]
    assert [event["log_failure"].type for event in logs] == [ZeroDivisionError]


def test_a_clock_has_one_of_them() -> None:
    one, other = Clock(), Clock()
    assert deadlines_of(one) is deadlines_of(one)
    assert deadlines_of(one) is not deadlines_of(other)


def test_all_of_a_clock_take_one_call_of_it() -> None:
    scene = Scene()
    for seconds in (3000, 30, 5, 7440, 0.5):
        scene.after(seconds)
    (call,) = scene.clock.getDelayedCalls()
    assert call.getTime() == 0.5
    scene.clock.advance(10)
    (call,) = scene.clock.getDelayedCalls()
    assert 30 <= call.getTime() <= 30.5
    assert len(scene.passed) == 2


def test_one_that_is_set_where_the_last_of_its_moment_was_taken_back_passes() -> None:
    scene = Scene()

    def replace() -> None:
        second.cancel()
        scene.after(0, "new")

    scene.deadlines.after(1, replace)
    second = scene.after(1, "taken back")
    scene.clock.advance(1)
    scene.clock.advance(1)
    assert [name for name, _ in scene.passed] == ["new"]
    assert scene.clock.getDelayedCalls() == []
