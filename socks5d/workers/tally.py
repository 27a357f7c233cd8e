"""
Counts that hold for all workers together.

The parent keeps them (L{Tally}); to a worker they look like its own
(L{ParentShares}), but that the answer takes a moment.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure

from socks5d.limits.lease import ILessor, Lease
from socks5d.limits.limiter import STARTS
from socks5d.limits.starts import Starts
from socks5d.workers.channel import AskLease, GiveBack, ReturnLease, Take


def _nobody(kind: str, key: str) -> None:
    """Nobody wants to know."""


class Tally:
    """Who holds how many of what."""

    def __init__(
        self,
        limits: Mapping[str, int],
        starts: Starts | None = None,
        over: Callable[[str, str], object] = _nobody,
        lessors: Mapping[str, ILessor] | None = None,
    ) -> None:
        """
        @param limits: how many of each kind one key may have; 0 for any number.
        @param starts: counts what begins, and is not given back.
        @param over: is told the kind and the key of each one too many.
        @param lessors: give leases, by their kinds.
        """
        self._lessors: dict[str, ILessor] = {}
        self._starts: Starts | None = None
        self.renew(limits, starts, over, lessors if lessors is not None else {})
        self._used: Counter[tuple[str, str]] = Counter()
        self._held: dict[int, Counter[tuple[str, str]]] = {}

    def renew(
        self,
        limits: Mapping[str, int],
        starts: Starts | None,
        over: Callable[[str, str], object],
        lessors: Mapping[str, ILessor],
    ) -> None:
        """
        Other limits from now on; see L{__init__}.  What has been counted stays.

        @param starts: those before go on counting where their numbers are the same.
        @param lessors: those of a kind that there is already are not taken, and those that are
            not among them stay, for whoever still asks.
        """
        self._limits = limits
        if starts is None or self._starts is None or starts.limit != self._starts.limit:
            self._starts = starts
        self._over = over
        self._lessors = {**lessors, **self._lessors}

    def take(self, holder: int, kind: str, key: str) -> bool:
        """
        @param holder: the worker that asks.
        @return: whether there is one more, which is then counted.
        """
        if kind == STARTS:
            # Where there is no limit any more, a worker may not know that yet.
            granted = self._starts is None or self._starts.take(key)
        else:
            granted = self._take(holder, kind, key)
        if not granted:
            self._over(kind, key)
        return granted

    def _take(self, holder: int, kind: str, key: str) -> bool:
        most = self._limits.get(kind)
        if most is None or 0 < most <= self._used.get((kind, key), 0):
            return False
        self._used[kind, key] += 1
        self._held.setdefault(holder, Counter())[kind, key] += 1
        return True

    def give_back(self, holder: int, kind: str, key: str) -> None:
        """
        @param holder: the worker that took one; of what it does not hold there is nothing
            to give back.
        """
        held = self._held.get(holder, Counter[tuple[str, str]]())
        if held[kind, key]:
            self._subtract(held, (kind, key), 1)
            self._subtract(self._used, (kind, key), 1)

    def lease(self, holder: int, kind: str, key: str, sessions: int) -> Lease | Deferred[Lease]:
        """
        @param holder: the worker that asks.
        @param sessions: how many wait there.
        @return: what it may move; see L{ILessor}.
        """
        lessor = self._lessors.get(kind)
        if lessor is None:
            return Lease(0, -1.0, f"limit: no {kind}")
        return lessor.lease(holder, key, sessions)

    def return_lease(self, kind: str, key: str, octets: int) -> None:
        """
        @param octets: those that were not moved.
        """
        lessor = self._lessors.get(kind)
        if lessor is not None:
            lessor.give_back(key, octets)

    def forget(self, holder: int) -> None:
        """
        @param holder: a worker that is gone, and what it held with it.
        """
        for what, count in self._held.pop(holder, Counter[tuple[str, str]]()).items():
            self._subtract(self._used, what, count)

    @staticmethod
    def _subtract(counts: Counter[tuple[str, str]], what: tuple[str, str], count: int) -> None:
        counts[what] -= count
        if not counts[what]:
            del counts[what]


class ParentShares:
    """One kind, as L{IShares<socks5d.limits.shares.IShares>}."""

    def __init__(self, channel: AMP, kind: str) -> None:
        """
        @param channel: to the parent.
        """
        self._channel = channel
        self._kind = kind

    def take(self, key: str) -> Deferred[bool]:
        """See L{IShares}.  Fails when the parent is gone."""
        given_up = False

        def give_up(_: Deferred[bool]) -> None:
            nonlocal given_up
            given_up = True

        taken: Deferred[bool] = Deferred(give_up)

        def answered(answer: dict[str, bool]) -> None:
            if not given_up:
                taken.callback(answer["granted"])
            elif answer["granted"]:
                # Nobody wants it any more.
                self.give_back(key)

        def failed(failure: Failure) -> None:
            if not given_up:
                taken.errback(failure)

        asking: Deferred[dict[str, bool]] = self._channel.callRemote(Take, kind=self._kind, key=key)
        asking.addCallbacks(answered, failed)
        return taken

    def give_back(self, key: str) -> None:
        """See L{IShares}."""
        self._channel.callRemote(GiveBack, kind=self._kind, key=key)


class ParentLessor:
    """One kind of leases, as L{ILessor<socks5d.limits.lease.ILessor>}."""

    def __init__(self, channel: AMP, kind: str) -> None:
        """
        @param channel: to the parent.
        """
        self._channel = channel
        self._kind = kind

    def lease(self, holder: int, key: str, sessions: int) -> Deferred[Lease]:
        """See L{ILessor}.  Fails when the parent is gone."""
        asking: Deferred[dict[str, Any]] = self._channel.callRemote(
            AskLease, kind=self._kind, key=key, sessions=sessions
        )
        return asking.addCallback(lambda answer: Lease(**answer))

    def give_back(self, key: str, octets: int) -> None:
        """See L{ILessor}."""
        self._channel.callRemote(ReturnLease, kind=self._kind, key=key, octets=octets)


class AtParent:
    """All kinds, as L{IElsewhere<socks5d.limits.limiter.IElsewhere>}."""

    def __init__(self, channel: AMP) -> None:
        """
        @param channel: to the parent.
        """
        self._channel = channel

    def shares(self, kind: str) -> ParentShares:
        """See L{IElsewhere}."""
        return ParentShares(self._channel, kind)

    def lessor(self, kind: str) -> ParentLessor:
        """See L{IElsewhere}."""
        return ParentLessor(self._channel, kind)
