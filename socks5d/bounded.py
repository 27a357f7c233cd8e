"""
Calls into code that is not ours: each has a deadline, and each failure is said once.
"""

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")
_log = Logger()


class DeadlinePassed(Exception):
    """A call did not answer in time."""


class Withdrawn(Exception):
    """
    A call was given up by somebody who is not the one that waits for it.  The text says how.
    """


def bounded(clock: IReactorTime, seconds: float, inner: Deferred[T]) -> Deferred[T]:
    """
    Give a Deferred a deadline that it cannot miss.

    Unlike L{Deferred.addTimeout}, this does not rely on C{inner} to end when it is
    cancelled: one that ignores its cancellation is left to itself, and what it says
    later is dropped.

    @param seconds: how long C{inner} may take.
    @return: fires as C{inner} does, or fails with L{DeadlinePassed}.  Cancelling it
        cancels C{inner}, and is the only thing that makes it fail with a
        CancelledError: where C{inner} was cancelled by somebody else, or failed with what is
        no L{Exception}, it fails with L{Withdrawn}.
    """

    def abandon(outer: Deferred[T]) -> None:
        if delayed.active():
            delayed.cancel()
        outer.errback(CancelledError())
        _cancel(inner, clock)

    outer: Deferred[T] = Deferred(abandon)

    def late() -> None:
        outer.errback(DeadlinePassed(f"no answer in {seconds:g} seconds"))
        _cancel(inner, clock)

    def answered(result: T | Failure) -> None:
        if delayed.active():
            delayed.cancel()
        if outer.called:
            return
        if not isinstance(result, Failure):
            outer.callback(result)
        elif result.check(CancelledError):
            outer.errback(Withdrawn("somebody else cancelled it"))
        elif not result.check(Exception):
            # As asyncio's cancellation, which whoever waits would take for their own.
            outer.errback(Withdrawn(f"it failed with {type(result.value).__name__}"))
        else:
            outer.errback(result)

    delayed = clock.callLater(seconds, late)
    inner.addBoth(answered)
    return outer


def _cancel(inner: Deferred[T], clock: IReactorTime) -> None:
    try:
        inner.cancel()
    except Exception:  # noqa: BLE001 (a stranger's canceller)
        complaints = _complaints.get(clock)
        if complaints is None:
            _complaints[clock] = complaints = Complaints(clock, _log)
        complaints.complain("a canceller failed", Failure())


class Complaints:
    """
    Says what goes wrong in somebody's code in full the first time, and then not
    again for a while, so that a stranger who can provoke it cannot fill the disk.
    """

    #: For how long the same complaint is only counted, in seconds.
    INTERVAL = 60.0
    #: How many kinds are told apart; beyond, all the others are one kind.
    KINDS = 64

    def __init__(self, clock: IReactorTime, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._said: dict[str, tuple[float, int]] = {}

    def complain(self, what: str, failure: Failure | None = None) -> None:
        """
        @param what: what went wrong, in few and fixed words.
        @param failure: with its traceback, or None.
        """
        self._unless_said(
            what,
            lambda text: (
                self._log.error("{text}", text=text)
                if failure is None
                else self._log.failure("{text}", failure, text=text)
            ),
        )

    def warn(self, what: str) -> None:
        """
        @param what: what an operator should know, in few and fixed words.
        """
        self._unless_said(what, lambda text: self._log.warn("{text}", text=text))

    def _unless_said(self, what: str, say: Callable[[str], None]) -> None:
        now = self._clock.seconds()
        if what not in self._said and len(self._said) >= self.KINDS:
            what = "something else went wrong"
        when, unsaid = self._said.get(what, (-self.INTERVAL, 0))
        if now - when < self.INTERVAL:
            self._said[what] = (when, unsaid + 1)
            return
        self._said[what] = (now, 0)
        say(f"{what} (and {unsaid} times since the last line about it)" if unsaid else what)


#: About cancellers, by the clock.
_complaints: WeakKeyDictionary[IReactorTime, Complaints] = WeakKeyDictionary()
