"""Errands: run, waiting, cancelled, failed."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from socks5d.errand import Errand


class Diary:
    """What an errand has come to."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.failures: list[Failure] = []

    async def note(self, *awaited: Deferred[Any]) -> None:
        """Await one after another, and write down what each gave."""
        for each in awaited:
            try:
                self.said.append(await each)
            except ZeroDivisionError as error:
                self.said.append(type(error))
        self.said.append("over")

    def run(self, coroutine: Coroutine[Deferred[Any], Any, None]) -> Errand:
        errand = Errand(coroutine, self.failures.append)
        errand.run()
        return errand


def test_what_is_there_already_is_not_waited_for() -> None:
    diary = Diary()
    diary.run(diary.note(succeed(1), fail(ZeroDivisionError()), succeed(None)))
    assert diary.said == [1, ZeroDivisionError, None, "over"]
    assert diary.failures == []


def test_it_waits_and_goes_on() -> None:
    diary = Diary()
    first: Deferred[int] = Deferred()
    second: Deferred[int] = Deferred()
    diary.run(diary.note(first, second))
    assert diary.said == []
    first.callback(1)
    assert diary.said == [1]
    second.errback(ZeroDivisionError())
    assert diary.said == [1, ZeroDivisionError, "over"]


@pytest.mark.parametrize("late", [True, False], ids=["late", "at once"])
def test_what_it_raises_is_told_once(late: bool) -> None:
    diary = Diary()
    awaited: Deferred[None] = Deferred()
    if not late:
        awaited.errback(KeyError("gone"))
    diary.run(diary.note(awaited))
    if late:
        assert diary.failures == []
        awaited.errback(KeyError("gone"))
    assert [failure.type for failure in diary.failures] == [KeyError]
    assert diary.said == []


def test_cancelling_cancels_what_is_awaited_and_is_told() -> None:
    diary = Diary()
    cancelled: list[object] = []
    errand = diary.run(diary.note(Deferred(cancelled.append)))
    errand.cancel()
    assert len(cancelled) == 1
    assert [failure.type for failure in diary.failures] == [CancelledError]


def test_cancelling_what_is_over_does_nothing() -> None:
    diary = Diary()
    awaited: Deferred[int] = Deferred()
    errand = diary.run(diary.note(awaited))
    awaited.callback(1)
    errand.cancel()
    assert diary.said == [1, "over"]
    assert diary.failures == []


def test_an_errand_that_cancels_itself_goes_on() -> None:
    diary = Diary()
    awaited: Deferred[int] = Deferred()
    cancel: list[Callable[[], None]] = []

    async def cancelling() -> None:
        await awaited
        cancel[0]()
        await diary.note(succeed(2))

    cancel.append(diary.run(cancelling()).cancel)
    awaited.callback(1)
    assert diary.said == [2, "over"]
    assert diary.failures == []


def test_a_canceller_that_fails_ends_it_and_what_comes_later_is_nobodys() -> None:
    def fail(_: Deferred[int]) -> None:
        raise ZeroDivisionError

    diary = Diary()
    awaited: Deferred[int] = Deferred(fail)
    errand = diary.run(diary.note(awaited))
    with capturedLogs() as logs:
        errand.cancel()
        errand.cancel()
    assert [event["log_failure"].type for event in logs][:1] == [ZeroDivisionError]
    awaited.callback(1)
    assert diary.said == []
    assert diary.failures == []
