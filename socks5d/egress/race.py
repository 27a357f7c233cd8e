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
    first = [a for a in addresses if a.version == addresses[0].version]
    second = [a for a in addresses if a.version != addresses[0].version]
    return [a for pair in zip_longest(first, second) for a in pair if a is not None]


def race(
    clock: IReactorTime,
    delay: float,
    addresses: Sequence[IPAddress],
    attempt: Callable[[IPAddress], Deferred[T]],
) -> Deferred[T]:
    """
    Try addresses until one answers.  The next is tried when one has failed, or has
    not answered within a while; the first to answer wins and the others are cancelled.

    @param delay: the Connection Attempt Delay (section 5), in seconds.
    @param addresses: at least one.
    @param attempt: connects to an address; its Deferred can be cancelled.
    @return: fires as the winner does; fails as the attempt does that got farthest.
        Cancelling it cancels every attempt.
    """
    if len(addresses) == 1:
        return attempt(addresses[0])
    return _Race(clock, delay, interleaved(addresses), attempt).start()


class _Race(Generic[T]):
    def __init__(
        self,
        clock: IReactorTime,
        delay: float,
        addresses: list[IPAddress],
        attempt: Callable[[IPAddress], Deferred[T]],
    ) -> None:
        self._clock = clock
        self._delay = delay
        self._waiting = addresses[::-1]
        self._attempt = attempt
        self._running: set[Deferred[T]] = set()
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
        address = self._waiting.pop()
        if self._waiting:
            self._next = self._clock.callLater(self._delay, self._try_next)
        attempt = self._attempt(address)
        self._running.add(attempt)
        attempt.addCallbacks(self._won, self._lost, callbackArgs=(attempt,), errbackArgs=(attempt,))

    def _won(self, value: T, attempt: Deferred[T]) -> None:
        self._running.discard(attempt)
        self._end()
        self._result.callback(value)

    def _lost(self, failure: Failure, attempt: Deferred[T]) -> None:
        self._running.discard(attempt)
        if self._over:
            return
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
            attempt.cancel()

    def _cancel_timer(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
