"""New sessions in a second, by a clock that the tests turn."""

import pytest
from twisted.internet.task import Clock

from socks5d.limits import bucket
from socks5d.limits.starts import Starts


def test_a_burst_may_begin_and_then_so_many_a_second() -> None:
    clock = Clock()
    made = Starts(clock, 2, 5)
    assert [made.take("ann") for _ in range(7)] == [True] * 5 + [False] * 2
    assert made.take("bob")
    clock.advance(0.4)
    assert not made.take("ann")
    clock.advance(0.1)
    assert made.take("ann")
    assert not made.take("ann")


def test_what_has_begun_is_not_given_back() -> None:
    made = Starts(Clock(), 1, 1)
    assert made.take("ann")
    made.give_back("ann")
    assert not made.take("ann")


def test_those_that_may_begin_as_many_as_anybody_are_forgotten() -> None:
    clock = Clock()
    made = Starts(clock, 1, 1)
    for number in range(255):
        made.take(f"{number}")
    clock.advance(1)
    assert made.take("busy")
    made.take("one more")
    assert len(made) == 2
    assert not made.take("busy")


def test_there_is_a_bound_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "KEYS", 1000)
    made = Starts(Clock(), 1, 1)
    for number in range(5000):
        assert made.take(f"{number}")
        assert len(made) <= 1000
    # The last of them are known.
    assert not made.take("4999")
