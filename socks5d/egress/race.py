"""Connecting to one of several addresses (RFC 8305, "Happy Eyeballs version 2")."""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from socks5d.egress.failures import farthest
from socks5d.wire.address import IPAddress

T = TypeVar("T")


def interleaved(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """
    Alternate the families, the first address's family first (RFC 8305 section 4).
    """
    if not addresses:
        return []
    first = [a for a in addresses if a.version == addresses[0].version]
    second = [a for a in addresses if a.version != addresses[0].version]
    return [a for pair in zip_longest(first, second) for a in pair if a is not None]


#: Attempts of one race under way at once.
AT_ONCE = 3
#: How long an attempt is left alone before another may take its place, in seconds.
PATIENCE = 2.0


class Allowance:
    """
    How many attempts there may be beside the first of each race, over all races: so
    many descriptors, and no more, can names with many silent addresses take up.

    @ivar left: how many more.
    """

    __slots__ = ("left",)

    def __init__(self, attempts: int) -> None:
        self.left = attempts


def race(
    clock: IReactorTime,
    delay: float,
    addresses: Sequence[IPAddress],
    attempt: Callable[[IPAddress], Deferred[T]],
    allowance: Allowance,
) -> Deferred[T]:
    """
    Try addresses until one answers.  The next is tried when one has failed, or has
    not answered within a while; the first to answer wins and the others are cancelled.

    @param delay: the Connection Attempt Delay (section 5), in seconds.
    @param addresses: at least one.
    @param attempt: connects to an address; its Deferred can be cancelled.
    @param allowance: what bounds attempts beside each other.
    @return: fires as the winner does; fails as the attempt does that got farthest.
        Cancelling it cancels every attempt.
    """
    return _Race(clock, delay, interleaved(addresses), attempt, allowance).start()


class _Race(Generic[T]):
    def __init__(
        self,
        clock: IReactorTime,
        delay: float,
        addresses: list[IPAddress],
        attempt: Callable[[IPAddress], Deferred[T]],
        allowance: Allowance,
    ) -> None:
        self._clock = clock
        self._delay = delay
        self._waiting = addresses[::-1]
        self._attempt = attempt
        self._allowance = allowance
        #: Attempts under way, the oldest first, each with the time it began.
        self._running: dict[Deferred[T], float] = {}
        self._failures: list[BaseException] = []
        self._next: IDelayedCall | None = None
        self._over = False
        self._result: Deferred[T] = Deferred(lambda _: self._end())

    def start(self) -> Deferred[T]:
        self._try_next()
        return self._result

    def _try_next(self) -> None:
        self._cancel_timer()
        if self._over or not self._waiting:
            return
        if self._running and not self._make_room():
            self._next = self._clock.callLater(self._delay, self._try_next)
            return
        address = self._waiting.pop()
        if self._waiting:
            self._next = self._clock.callLater(self._delay, self._try_next)
        if self._running:
            self._allowance.left -= 1
        attempt = self._attempt(address)
        self._running[attempt] = self._clock.seconds()
        attempt.addCallbacks(self._won, self._lost, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _make_room(self) -> bool:
        """Whether one more may run; the oldest gives way once it has had its time."""
        if len(self._running) < AT_ONCE and self._allowance.left > 0:
            return True
        oldest = next(iter(self._running))
        if self._clock.seconds() - self._running[oldest] < PATIENCE:
            return False
        self._leave(oldest)
        self._failures.append(TimeoutError())
        oldest.cancel()
        return True

    def _leave(self, attempt: Deferred[T]) -> None:
        if self._running.pop(attempt, None) is not None and self._running:
            self._allowance.left += 1

    def _won(self, value: T, attempt: Deferred[T]) -> None:
        self._leave(attempt)
        self._end()
        self._result.callback(value)

    def _lost(self, failure: Failure, attempt: Deferred[T]) -> None:
        if self._over or attempt not in self._running:
            return
        self._leave(attempt)
        assert failure.value is not None
        self._failures.append(failure.value)
        if self._waiting:
            self._try_next()
        elif not self._running:
            self._end()
            self._result.errback(farthest(self._failures))

    def _end(self) -> None:
        self._over = True
        self._cancel_timer()
        for attempt in list(self._running):
            self._leave(attempt)
            attempt.cancel()

    def _cancel_timer(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
