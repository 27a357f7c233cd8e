"""Noticing that nothing moves, without a timer for each thing that does."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from socks5d.deadlines import Deadline, Deadlines, deadlines_of


class IdleWatch:
    """
    Looks now and then when something moved last.  A subclass says what becomes of it when
    nothing has: L{idled}.

    @ivar touched: when that was, by the clock.
    """

    __slots__ = ("_clock", "_deadline", "_seconds", "touched")

    def __init__(
        self, clock: IReactorTime, seconds: float, deadlines: Deadlines | None = None
    ) -> None:
        """
        @param seconds: for how long nothing may move.
        @param deadlines: the clock's, where they are at hand.
        """
        self._clock = clock
        self._seconds = seconds
        self.touched = clock.seconds()
        if deadlines is None:
            deadlines = deadlines_of(clock)
        self._deadline: Deadline | None = deadlines.after(seconds, self._look)

    def idled(self) -> None:
        """Nothing has moved for so long; called again after as long."""
        raise AssertionError("a subclass says what becomes of it")

    def touch(self) -> None:
        """Something moved."""
        self.touched = self._clock.seconds()

    def cancel(self) -> None:
        """Look no more."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _look(self) -> None:
        left = self.touched + self._seconds - self._clock.seconds()
        again = left if left > 0 else self._seconds
        self._deadline = deadlines_of(self._clock).after(again, self._look)
        if left <= 0:
            self.idled()


class IdleTimer(IdleWatch):
    """One that calls something."""

    __slots__ = ("idled",)

    def __init__(self, clock: IReactorTime, seconds: float, idle: Callable[[], None]) -> None:
        """
        @param seconds: for how long nothing may move.
        @param idle: called when nothing has, and again after as long.
        """
        super().__init__(clock, seconds)
        self.idled = idle  # type: ignore[method-assign]

    def cancel(self) -> None:
        """Look no more."""
        super().cancel()
        self.idled = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    """What is left to do about one that looks no more, so that it keeps nothing alive."""
