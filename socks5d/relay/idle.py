"""Noticing that nothing moves, without a timer for each thing that does."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from socks5d.deadlines import Deadlines, deadlines_of


def _nothing() -> None:
    """What is left to do about one that looks no more, so that it keeps nothing alive."""


class IdleTimer:
    """
    Looks now and then when something moved last.

    @ivar touched: when that was, by the clock.
    """

    __slots__ = ("_call", "_clock", "_deadlines", "_idle", "_seconds", "touched")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        idle: Callable[[], None],
        deadlines: Deadlines | None = None,
    ) -> None:
        """
        @param seconds: for how long nothing may move.
        @param deadlines: the clock's, where they are at hand.
        @param idle: called when nothing has, and again after as long.
        """
        self._clock = clock
        self._seconds = seconds
        self._idle = idle
        self.touched = clock.seconds()
        self._deadlines = deadlines if deadlines is not None else deadlines_of(clock)
        self._call = self._deadlines.after(seconds, self._look)

    def touch(self) -> None:
        """Something moved."""
        self.touched = self._clock.seconds()

    def cancel(self) -> None:
        """Look no more."""
        self._call.cancel()
        self._idle = _nothing

    def _look(self) -> None:
        left = self.touched + self._seconds - self._clock.seconds()
        self._call = self._deadlines.after(left if left > 0 else self._seconds, self._look)
        if left <= 0:
            self._idle()
