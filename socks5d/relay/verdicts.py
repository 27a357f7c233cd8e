"""
What is to be done with datagrams, found out once for all that are alike.

Finding it out may take a while (a name resolves, a ruleset asks somebody).  Until then
a bounded number of datagrams wait; what is found is remembered for a bounded time, in a
table of bounded size.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from socks5d.model import Refusal

#: For how long a verdict holds, in seconds.
LIFETIME = 60.0
#: For how long a refusal does; what did not resolve may do so soon.
REFUSED_LIFETIME = 5.0
#: Datagrams that wait for verdicts, and their octets.
WAITING = 64
WAITING_OCTETS = 1 << 17

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Verdict(Generic[V]):
    """
    @ivar value: what was found, or None for a refusal, or while it is not known.
    @ivar expires: until when it holds.
    @ivar finding: fires when it is found out.
    @ivar waiting: the datagrams that wait for it.
    """

    __slots__ = ("expires", "finding", "value", "waiting")

    def __init__(self) -> None:
        self.value: V | None = None
        self.expires = 0.0
        self.finding: Deferred[V] | None = None
        self.waiting: list[bytes] = []


class Verdicts(Generic[K, V]):
    """Finds out what to do with datagrams, by a key that those have that are alike."""

    def __init__(
        self,
        clock: IReactorTime,
        size: int,
        pending: int,
        find: Callable[[K, V | None], V | Deferred[V]],
        carry_out: Callable[[V, bytes], None],
        drop: Callable[[], None],
    ) -> None:
        """
        @param size: verdicts that are remembered; one more makes it forget the oldest.
        @param pending: verdicts that are found out at once; what would need one more is
            dropped.
        @param find: finds a verdict out, given a key and what it was before; at once, or
            later.  A L{Refusal} that it raises, and whatever it fails with, refuses.
        @param carry_out: is given a verdict and a datagram.
        @param drop: is told of each datagram that will not be.
        """
        self._clock = clock
        self._size = size
        self._most = pending
        self._find = find
        self._carry_out = carry_out
        self._drop = drop
        self._verdicts: dict[K, _Verdict[V]] = {}
        self._pending = 0
        self._waiting = 0
        self._octets = 0

    def give(self, key: K, datagram: bytes) -> None:
        """
        Deal with a datagram, now or when its verdict is known.

        @param key: what it has in common with those that are alike.
        @param datagram: the datagram.
        """
        verdict = self._verdicts.get(key)
        if verdict is None or (verdict.finding is None and verdict.expires < self._clock.seconds()):
            verdict = self._begin(key)
        if verdict is None:
            self._drop()
        elif verdict.finding is not None:
            self._wait(verdict, datagram)
        elif verdict.value is None:
            self._drop()
        else:
            self._carry_out(verdict.value, datagram)

    def close(self) -> None:
        """Forget everything; whatever is being found out is given up."""
        while self._verdicts:
            self._forget(next(iter(self._verdicts)))

    def _begin(self, key: K) -> _Verdict[V] | None:
        if self._pending >= self._most:
            return None
        before = self._verdicts.get(key)
        if before is not None:
            self._forget(key)
        elif len(self._verdicts) >= self._size:
            self._forget(next(iter(self._verdicts)))
        verdict = _Verdict[V]()
        try:
            finding = self._find(key, None if before is None else before.value)
        except Refusal:
            verdict.expires = self._clock.seconds() + REFUSED_LIFETIME
            self._verdicts[key] = verdict
            return verdict
        self._verdicts[key] = verdict
        if not isinstance(finding, Deferred):
            verdict.value = finding
            verdict.expires = self._clock.seconds() + LIFETIME
            return verdict
        self._pending += 1
        verdict.finding = finding
        finding.addCallbacks(
            self._found, self._refused, callbackArgs=(verdict,), errbackArgs=(verdict,)
        )
        return verdict

    def _wait(self, verdict: _Verdict[V], datagram: bytes) -> None:
        if self._waiting >= WAITING or self._octets + len(datagram) > WAITING_OCTETS:
            self._drop()
            return
        verdict.waiting.append(datagram)
        self._waiting += 1
        self._octets += len(datagram)

    def _settle(self, verdict: _Verdict[V], lifetime: float) -> list[bytes]:
        verdict.finding = None
        verdict.expires = self._clock.seconds() + lifetime
        self._pending -= 1
        waiting, verdict.waiting = verdict.waiting, []
        self._waiting -= len(waiting)
        self._octets -= sum(map(len, waiting))
        return waiting

    def _found(self, value: V, verdict: _Verdict[V]) -> None:
        verdict.value = value
        for datagram in self._settle(verdict, LIFETIME):
            self._carry_out(value, datagram)

    def _refused(self, failure: Failure, verdict: _Verdict[V]) -> None:
        for _ in self._settle(verdict, REFUSED_LIFETIME):
            self._drop()

    def _forget(self, key: K) -> None:
        finding = self._verdicts.pop(key).finding
        if finding is not None:
            finding.cancel()
