"""
Quotas: how many octets each identity may relay in a period, both ways together.

The book is kept in one process, which gives leases (L{socks5d.limits.lease}).  What is leased
counts as used, and what is left of a lease is given back.  So no identity gets more than its
quota, but for the datagram each way that is let through by what is left, and what is left of a
lease when a period ends.  While its sessions in other processes hold leases it may have to do
without those: all in one process together hold at most L{LARGEST} octets, and no more than a
64th of what there was left, or L{SMALLEST}.

Names that nobody proved cost their owners nothing: of those there is an account for
L{UNPROVEN} in a period, and for no more.

What was used is stored every L{INTERVAL} seconds; a crash loses what was used since.  A worker
that dies takes its leases along: they count as used.
"""

from collections.abc import Callable
from time import time
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints, bounded
from socks5d.interfaces import IQuotaStore
from socks5d.limits.keys import is_proven
from socks5d.limits.lease import Lease
from socks5d.limits.periods import Period, period_at
from socks5d.parameters import QuotaParameters

#: How often what was used is stored, in seconds.
INTERVAL: Final = 2.0
#: For how long an answer of the store's is waited for, in seconds.
PATIENCE: Final = 8.0
#: Octets of one lease.
SMALLEST: Final = 1 << 16
LARGEST: Final = 1 << 22
#: Accounts of names that nobody proved, in one period.
UNPROVEN: Final = 10_000


class _Account:
    """
    What one identity has used in a period.

    @ivar period: which.
    @ivar used: octets, leases included; None while nobody knows.
    @ivar waiting: those who want a lease.
    @ivar touched: whether there was something since the last time that it was stored.
    """

    __slots__ = ("period", "touched", "used", "waiting")

    def __init__(self, period: Period) -> None:
        self.period = period
        self.used: int | None = None
        self.waiting: list[Deferred[Lease]] = []
        self.touched = True


class QuotaBook:
    """All of them; an L{ILessor<socks5d.limits.lease.ILessor>}."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        parameters: QuotaParameters,
        store: IQuotaStore,
        over: Callable[[str], object],
        wall: Callable[[], float] = time,
    ) -> None:
        """
        @param over: is told of each lease that is refused, in words.
        @param wall: the time, in seconds since the epoch.
        """
        self._clock = clock
        self._octets = parameters.octets
        self._kind = parameters.period
        self._store = store
        self._over = over
        self._wall = wall
        self._period = period_at(parameters.period, wall())
        self._accounts: dict[str, _Account] = {}
        #: The keys of those that nobody proved, which had a lease in this period.
        self._unproven: set[str] = set()
        #: What is not stored yet.
        self._unsaved: dict[Period, dict[str, int]] = {}
        self._saving: Deferred[None] | None = None
        self._call: IDelayedCall | None = None
        self._opened = self._closed = False
        self._complaints = Complaints(clock, self._log)

    def limit(self, octets: int) -> None:
        """
        @param octets: what each identity has in a period from now on, this one included.
        """
        self._octets = octets

    def open(self) -> Deferred[None]:
        """
        @return: fires when everything can be kept, or fails when nothing can.
        """

        async def opened() -> None:
            await maybeDeferred(self._store.open)
            self._opened = True

        return Deferred.fromCoroutine(opened())

    # ILessor

    def lease(self, holder: int, key: str, sessions: int) -> Lease | Deferred[Lease]:
        """See L{ILessor<socks5d.limits.lease.ILessor>}."""
        now = self._wall()
        if now >= self._period.ends:
            self._period = period_at(self._kind, now)
            self._unproven.clear()
        if not self._has_place(key):
            rule = f"limit: {UNPROVEN} names that nobody proved a {self._kind.value}"
            self._over(rule)
            return Lease(0, -1.0, rule)
        account = self._accounts.get(key)
        if account is None or account.period is not self._period:
            self._accounts[key] = account = _Account(self._period)
            self._look_up(key, account)
        if account.used is not None:
            return self._grant(key, account)
        waiting: Deferred[Lease] = Deferred(account.waiting.remove)
        account.waiting.append(waiting)
        return waiting

    def give_back(self, key: str, octets: int) -> None:
        """See L{ILessor<socks5d.limits.lease.ILessor>}."""
        account = self._accounts.get(key)
        self._count(key, self._period if account is None else account.period, -octets)
        if account is not None and account.used is not None:
            account.used -= octets
            account.touched = True

    def _has_place(self, key: str) -> bool:
        if is_proven(key) or key in self._unproven:
            return True
        if len(self._unproven) >= UNPROVEN:
            return False
        self._unproven.add(key)
        return True

    def _look_up(self, key: str, account: _Account) -> None:
        def found(used: int) -> None:
            account.used = used + self._unsaved.get(account.period, {}).get(key, 0)
            waiting, account.waiting = account.waiting, []
            for each in waiting:
                each.callback(self._grant(key, account))

        def failed(failure: Failure) -> None:
            if self._accounts.get(key) is account:
                # Whoever comes next asks anew.
                del self._accounts[key]
            waiting, account.waiting = account.waiting, []
            for each in waiting:
                each.errback(failure)
            if not waiting:
                self._complaints.complain("what an identity has used is not known", failure)

        asking = maybeDeferred(self._store.used, account.period.name, key)
        # Where the store answers at once, so does the book.
        if not asking.called:
            asking = bounded(self._clock, PATIENCE, asking)
        asking.addCallbacks(found, failed)

    def _grant(self, key: str, account: _Account) -> Lease:
        assert account.used is not None
        left = self._octets - account.used
        if left <= 0:
            rule = f"limit: {self._octets} octets a {self._kind.value} of {key}"
            self._over(rule)
            return Lease(0, -1.0, rule)
        octets = min(left, max(min(left >> 6, LARGEST), SMALLEST))
        account.used += octets
        account.touched = True
        self._count(key, account.period, octets)
        return Lease(octets)

    # The store.

    def _count(self, key: str, period: Period, octets: int) -> None:
        counts = self._unsaved.setdefault(period, {})
        counts[key] = counts.get(key, 0) + octets
        self._save_later()

    def _save_later(self) -> None:
        if self._call is None and self._saving is None and not self._closed:
            self._call = self._clock.callLater(INTERVAL, self._save)

    def _save(self) -> None:
        self._call = None
        self._saving = saved = Deferred[None]()

        def done(failure: Failure | None) -> None:
            self._saving = None
            if failure is not None:
                self._complaints.complain("what identities have used is kept no more", failure)
            self._forget()
            saved.callback(None)

        Deferred.fromCoroutine(self._save_all()).addBoth(done)

    async def _save_all(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        for period, all_counts in unsaved.items():
            # Whoever has used nothing need not be remembered.
            counts = {key: octets for key, octets in all_counts.items() if octets}
            if not counts:
                continue
            try:
                await maybeDeferred(self._store.add, period.name, period.ends, counts)
            except Exception as error:
                if self._closed and isinstance(error, CancelledError):
                    # It took too long, which is told.
                    raise
                self._complaints.complain("what identities have used is not stored", Failure())
                for key, octets in counts.items():
                    self._count(key, period, octets)

    def _forget(self) -> None:
        """Those that nobody asked for since the last time can be looked up again."""
        for key, account in list(self._accounts.items()):
            if account.touched:
                account.touched = False
            elif account.used is not None and not self._has_unsaved(key):
                del self._accounts[key]
        if self._unsaved or self._accounts:
            self._save_later()

    def _has_unsaved(self, key: str) -> bool:
        return any(key in counts for counts in self._unsaved.values())

    def close(self) -> Deferred[None]:
        """
        Store what is not stored yet, and close the store.

        @return: fires when that is done, as far as it can be.
        """
        self._closed = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

        def failed(failure: Failure) -> None:
            self._complaints.complain("what identities have used could not be stored", failure)

        closing = Deferred.fromCoroutine(self._store_the_rest())
        return bounded(self._clock, PATIENCE, closing).addErrback(failed)

    async def _store_the_rest(self) -> None:
        if self._saving is not None:
            await self._saving
        if not self._opened:
            return
        if self._unsaved:
            await self._save_all()
        await maybeDeferred(self._store.close)
