"""
Running a coroutine that awaits Deferreds.

L{Deferred.fromCoroutine} does so for whoever wants the result as a Deferred, and runs each
step in a context of its own.  A session's request wants neither, and is carried out for
half the price here.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


class Errand:
    """A coroutine that is run for what it does, not for what it gives."""

    __slots__ = ("_awaited", "_coroutine", "_failed", "_over")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, None],
        failed: Callable[[Failure], object],
    ) -> None:
        """
        @param coroutine: awaits nothing but Deferreds.
        @param failed: is told of what the coroutine raises.
        """
        self._coroutine = coroutine
        self._failed = failed
        self._awaited: Deferred[Any] | None = None
        self._over = False

    def run(self) -> None:
        """Begin, and go as far as can be gone without waiting."""
        self._go_on(None)

    def cancel(self) -> None:
        """
        Cancel the Deferred that is awaited, which raises its CancelledError in the
        coroutine.  Nothing is done to one that is over, or that this is called by.  Where
        the Deferred's canceller fails the coroutine ends here.
        """
        awaited = self._awaited
        if awaited is None:
            return
        try:
            awaited.cancel()
        except Exception:  # noqa: BLE001 (a stranger's canceller)
            _log.failure("a canceller failed")
            self._over = True
            self._coroutine.close()

    def _go_on(self, result: object) -> None:
        """
        @param result: what the awaited Deferred fired with.  A success the Deferred gives
            to whoever awaits it, by itself.
        """
        self._awaited = None
        if self._over:
            return
        try:
            if isinstance(result, Failure):
                awaited = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration:
            return
        except BaseException:  # noqa: BLE001 (told to whoever wants to know)
            self._failed(Failure())
            return
        self._awaited = awaited
        awaited.addBoth(self._go_on)
