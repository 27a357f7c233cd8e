"""Deadlines that cannot be missed, and complaints that cannot fill a disk."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints, DeadlinePassed, Withdrawn, bounded

SECONDS = 10.0


def heard(deferred: Deferred[Any]) -> list[Any]:
    """What a Deferred says, now or later."""
    said: list[Any] = []
    deferred.addBoth(said.append)
    return said


def is_failure(said: list[Any], kind: type[Exception]) -> bool:
    return len(said) == 1 and isinstance(said[0], Failure) and said[0].check(kind) is not None


def test_an_answer_in_time_is_the_answer(clock: Clock) -> None:
    inner: Deferred[int] = Deferred()
    said = heard(bounded(clock, SECONDS, inner))
    clock.advance(SECONDS - 0.001)
    inner.callback(42)
    assert said == [42]
    assert clock.getDelayedCalls() == []


def test_a_failure_in_time_is_the_failure(clock: Clock) -> None:
    inner: Deferred[int] = Deferred()
    said = heard(bounded(clock, SECONDS, inner))
    inner.errback(KeyError("x"))
    assert is_failure(said, KeyError)
    assert clock.getDelayedCalls() == []


def test_what_has_been_answered_costs_no_timer(clock: Clock) -> None:
    said = heard(bounded(clock, SECONDS, succeed(42)))
    assert said == [42]
    assert is_failure(heard(bounded(clock, SECONDS, fail(KeyError("x")))), KeyError)
    assert clock.getDelayedCalls() == []


def test_what_waits_for_another_deferred_has_not_been_answered(clock: Clock) -> None:
    other: Deferred[int] = Deferred()
    inner: Deferred[Any] = succeed(None)
    inner.addCallback(lambda _: other)
    said = heard(bounded(clock, SECONDS, inner))
    assert said == []
    clock.advance(SECONDS)
    assert is_failure(said, DeadlinePassed)


def test_what_is_paused_has_not_been_answered(clock: Clock) -> None:
    inner = succeed(42)
    inner.pause()
    said = heard(bounded(clock, SECONDS, inner))
    clock.advance(SECONDS)
    assert is_failure(said, DeadlinePassed)
    inner.unpause()
    assert len(said) == 1


def test_no_answer_in_time_is_a_failure_that_says_so(clock: Clock) -> None:
    cancelled: list[object] = []
    inner: Deferred[int] = Deferred(cancelled.append)
    said = heard(bounded(clock, SECONDS, inner))
    clock.advance(SECONDS)
    assert is_failure(said, DeadlinePassed)
    assert str(said[0].value) == "no answer in 10 seconds"
    assert cancelled == [inner]


@pytest.mark.parametrize("late", [42, KeyError("x")], ids=["answer", "failure"])
def test_what_comes_after_the_deadline_is_dropped(clock: Clock, late: Any) -> None:
    inner: Deferred[Any] = Deferred()
    said = heard(bounded(clock, SECONDS, inner))
    clock.advance(SECONDS)
    if isinstance(late, Exception):
        inner.errback(late)
    else:
        inner.callback(late)
    assert is_failure(said, DeadlinePassed)


def test_an_answer_to_the_cancellation_comes_after_the_deadline_too(clock: Clock) -> None:
    inner: Deferred[int] = Deferred(lambda deferred: deferred.callback(42))
    said = heard(bounded(clock, SECONDS, inner))
    clock.advance(SECONDS)
    assert is_failure(said, DeadlinePassed)


def test_a_call_that_cannot_be_cancelled_is_left_to_itself(clock: Clock) -> None:
    stubborn: Deferred[Any] = succeed(None)
    never: Deferred[Any] = Deferred()

    def ignore(failure: Failure) -> Deferred[Any]:
        return never

    waiting: Deferred[Any] = Deferred()
    waiting.addErrback(ignore)
    stubborn.addCallback(lambda _: waiting)
    said = heard(bounded(clock, SECONDS, stubborn))
    clock.advance(SECONDS)
    assert is_failure(said, DeadlinePassed)
    never.callback(1)
    assert len(said) == 1


def test_cancelling_cancels_what_is_waited_for(clock: Clock) -> None:
    cancelled: list[object] = []
    inner: Deferred[int] = Deferred(cancelled.append)
    outer = bounded(clock, SECONDS, inner)
    said = heard(outer)
    outer.cancel()
    assert cancelled == [inner]
    assert is_failure(said, CancelledError)
    assert clock.getDelayedCalls() == []


def test_an_answer_to_the_cancellation_does_not_undo_it(clock: Clock) -> None:
    inner: Deferred[int] = Deferred(lambda deferred: deferred.callback(42))
    outer = bounded(clock, SECONDS, inner)
    said = heard(outer)
    outer.cancel()
    assert is_failure(said, CancelledError)


def _raise(deferred: Deferred[int]) -> None:
    raise RuntimeError("a canceller of somebody else's")


def test_a_canceller_that_raises_does_not_hurt_who_cancels(clock: Clock) -> None:
    outer = bounded(clock, SECONDS, Deferred[int](_raise))
    said = heard(outer)
    outer.cancel()
    assert is_failure(said, CancelledError)


def test_cancellers_that_raise_do_not_fill_the_log(clock: Clock, logs: Sequence[LogEvent]) -> None:
    for _ in range(50):
        outer = bounded(clock, SECONDS, Deferred[int](_raise))
        said = heard(outer)
        outer.cancel()
        assert is_failure(said, CancelledError)
    assert texts(logs) == ["a canceller failed"]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1), GeneratorExit()])
def test_what_is_no_exception_is_somebody_elses_doing(clock: Clock, error: BaseException) -> None:
    inner: Deferred[int] = Deferred()
    said = heard(bounded(clock, SECONDS, inner))
    inner.errback(Failure(error))
    assert is_failure(said, Withdrawn)
    assert clock.getDelayedCalls() == []


def test_a_canceller_that_raises_does_not_hurt_the_deadline(clock: Clock) -> None:
    said = heard(bounded(clock, SECONDS, Deferred(_raise)))
    clock.advance(SECONDS)
    assert is_failure(said, DeadlinePassed)


def test_cancelling_after_the_deadline_changes_nothing(clock: Clock) -> None:
    outer = bounded(clock, SECONDS, Deferred[int]())
    said = heard(outer)
    clock.advance(SECONDS)
    outer.cancel()
    assert is_failure(said, DeadlinePassed)


# Complaints.


def texts(logs: Sequence[LogEvent]) -> list[str]:
    return [event["text"] for event in logs]


def test_the_first_complaint_is_made_in_full(clock: Clock, logs: Sequence[LogEvent]) -> None:
    Complaints(clock, Logger()).complain("it broke", Failure(RuntimeError("boom")))
    assert texts(logs) == ["it broke"]
    assert logs[0]["log_level"].name == "critical"
    assert "boom" in logs[0]["log_failure"].getErrorMessage()


def test_a_complaint_without_a_failure_is_an_error_and_a_warning_is_one(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    complaints = Complaints(clock, Logger())
    complaints.complain("it broke")
    complaints.warn("it may break")
    assert [event["log_level"].name for event in logs] == ["error", "warn"]


def test_the_same_complaint_is_counted_for_a_minute_and_then_told(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    complaints = Complaints(clock, Logger())
    for _ in range(1001):
        complaints.complain("it broke")
    clock.advance(59.9)
    complaints.complain("it broke")
    assert texts(logs) == ["it broke"]
    clock.advance(0.1)
    complaints.complain("it broke")
    assert texts(logs)[1:] == ["it broke (and 1001 times since the last line about it)"]
    clock.advance(60)
    complaints.complain("it broke")
    assert texts(logs)[2:] == ["it broke"]


def test_different_complaints_do_not_hide_each_other(
    clock: Clock, logs: Sequence[LogEvent]
) -> None:
    complaints = Complaints(clock, Logger())
    complaints.complain("one")
    complaints.complain("two")
    assert texts(logs) == ["one", "two"]


def test_complaints_of_too_many_kinds_are_one_kind(clock: Clock, logs: Sequence[LogEvent]) -> None:
    complaints = Complaints(clock, Logger())
    for number in range(1000):
        complaints.complain(f"kind {number}")
    assert len(logs) == Complaints.KINDS + 1
    assert texts(logs)[-1] == "something else went wrong"
    others = 1000 - Complaints.KINDS
    clock.advance(60)
    complaints.complain("kind 0")
    complaints.complain("kind 999")
    assert texts(logs)[-2:] == [
        "kind 0",
        f"something else went wrong (and {others - 1} times since the last line about it)",
    ]


def test_braces_in_a_complaint_are_no_format(clock: Clock, logs: Sequence[LogEvent]) -> None:
    Complaints(clock, Logger()).complain("{log_source} {x.__class__}")
    assert texts(logs) == ["{log_source} {x.__class__}"]
    assert logs[0]["log_format"] == "{text}"
