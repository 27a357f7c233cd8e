"""
Octets that come in parts from where they are counted.

What is shared with others is counted in one place, which is maybe in another process.  Whoever
moves octets gets some of them at a time there, which is a lease, moves so many, and asks again.
"""

from typing import Final, NamedTuple
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints
from socks5d.limits.bucket import Buckets, TokenBucket
from socks5d.limits.flow import BURST, GRAIN, QUANTUM, Turns
from socks5d.limits.pace import Pace

#: What one lease of a rate holds at the most, in seconds of it.
SLICE: Final = 0.1
#: For how long who asked counts among those that share a rate, in seconds.
RECENT: Final = 0.5
#: How what relays ends where nothing will go any more.
EXHAUSTED: Final = "quota"
#: When a lease is asked for again that could not be had, in seconds.
AGAIN: Final = 1.0


class Lease(NamedTuple):
    """
    @ivar octets: that may go.
    @ivar seconds: when there is sense in asking again; less than 0 for never.
    @ivar rule: why never, as the log tells.
    """

    octets: int
    seconds: float = 0.0
    rule: str = ""


class ILessor(Shape):
    """Gives leases, maybe elsewhere."""

    def lease(self, holder: int, key: str, sessions: int) -> Lease | Deferred[Lease]:
        """
        @param holder: who asks, among those that share.
        @param key: whose octets.
        @param sessions: how many wait for them there.
        @return: what there is; where that takes time a Deferred of it, which may fail.
        """

    def give_back(self, key: str, octets: int) -> None:
        """
        @param octets: those of leases that did not go; less than 0 where more went.
        """


class Stock:
    """What is left of leases."""

    __slots__ = ("octets",)

    def __init__(self) -> None:
        self.octets = 0.0

    def level(self, now: float) -> float:
        """See L{IBucket<socks5d.limits.flow.IBucket>}."""
        return self.octets

    def spend(self, count: float, now: float) -> None:
        """See L{IBucket<socks5d.limits.flow.IBucket>}."""
        self.octets -= count


class LeasedFlow(Turns):
    """What may flow by leases."""

    __slots__ = (
        "_asking",
        "_beginning",
        "_closed",
        "_complaints",
        "_key",
        "_lessor",
        "_next",
        "_stock",
    )

    _log = Logger()

    def __init__(self, clock: IReactorTime, lessor: ILessor, key: str) -> None:
        """
        @param key: whose octets they are.
        """
        self._stock = Stock()
        super().__init__(clock, self._stock, 1.0)
        self._lessor = lessor
        self._key = key
        #: Whether a lease is on its way, which is one at a time: what each of many had asked for
        #: would lie here together.
        self._asking = self._closed = False
        #: Those who want to know whether there will be something.
        self._beginning: list[Deferred[str]] = []
        #: When to ask again.
        self._next = clock.seconds()
        self._complaints = Complaints(clock, self._log)

    def level(self, pace: Pace) -> int:
        """See L{IFlow<socks5d.limits.pace.IFlow>}."""
        level = super().level(pace)
        if not level and not self._waiting and self._taking is None:
            # What counts here may have more at once.
            self._ask_if_due()
            level = super().level(pace)
        return level

    def admits(self, pace: Pace, count: int) -> bool:
        """See L{IFlow<socks5d.limits.pace.IFlow>}."""
        if self._stock.octets <= 0 and not self._waiting:
            self._ask_if_due()
        return super().admits(pace, count)

    def seconds_until_full(self) -> float:
        """See L{Turns}.  What went is known where it is counted."""
        return 0.0

    def close(self) -> None:
        """See L{Turns}.  What is left is given back."""
        self._closed = True
        octets, self._stock.octets = int(self._stock.octets), 0.0
        if octets:
            self._lessor.give_back(self._key, octets)

    def ready(self) -> str | Deferred[str]:
        """
        @return: "" where there is something, or will be; otherwise why there is not.  To
            cancel it does not cancel the lease, which would be lost.
        """
        if self._stock.octets > 0:
            return ""
        if not self._asking:
            lease = self._ask()
            if lease is not None:
                return _refusal(lease)
        ready: Deferred[str] = Deferred(self._beginning.remove)
        self._beginning.append(ready)
        return ready

    def _look(self) -> None:
        if not self._ask_if_due() and not self._asking and self._waiting:
            self._take_turns_after(self._next - self._clock.seconds())

    def _ask_if_due(self) -> bool:
        if self._asking or self._deadline is not None or self._clock.seconds() < self._next:
            return False
        self._ask()
        return True

    def _ask(self) -> Lease | None:
        """
        @return: what came at once, if it did.
        """
        answer = self._lessor.lease(0, self._key, max(len(self._waiting), 1))
        if isinstance(answer, Lease):
            self._answered(answer)
            return answer
        self._asking = True
        answer.addCallbacks(self._came, self._failed)
        return None

    def _came(self, lease: Lease) -> None:
        self._asking = False
        self._answered(lease)
        beginning, self._beginning = self._beginning, []
        for each in beginning:
            each.callback(_refusal(lease))
        if lease.octets and self._waiting and self._deadline is not None:
            self._deadline.cancel()
            self._take_turns()

    def _failed(self, failure: Failure) -> None:
        self._asking = False
        beginning, self._beginning = self._beginning, []
        for each in beginning:
            each.errback(failure)
        if self._waiting or not beginning:
            self._complaints.complain("octets could not be counted, which stops them", failure)
            self._take_turns_after(AGAIN)

    def _answered(self, lease: Lease) -> None:
        self._stock.octets += lease.octets
        self._next = self._clock.seconds() + max(lease.seconds, 0.0)
        if self._closed:
            self.close()
        if lease.seconds < 0 and self._stock.octets >= self._least:
            # Parts are whole octets, and some of those that there were are left.
            self._take_turns_after(0.0)
        elif lease.seconds < 0:
            waiting = list(self._waiting)
            self._waiting.clear()
            for pace in waiting:
                # Not now: who waits is in the midst of asking.
                self._clock.callLater(0, pace.exhaust, EXHAUSTED)
        elif self._waiting:
            self._take_turns_after(0.0 if lease.octets else lease.seconds)


def _refusal(lease: Lease) -> str:
    """
    @return: why nothing will ever come; "" where something may.
    """
    return lease.rule if lease.seconds < 0 else ""


class _Asker(NamedTuple):
    """
    Somebody who shares a rate.

    @ivar sessions: how many waited there.
    @ivar asked: when it asked last.
    @ivar granted: when it got something last.
    """

    sessions: int
    asked: float
    granted: float


class Reservoir(TokenBucket):
    """
    The tokens of one rate, and who shares them: each gets its part of what has come since it
    got something last, and whoever asks what the others leave.
    """

    __slots__ = ("_askers",)

    def __init__(self, rate: float, burst: float, now: float) -> None:
        super().__init__(rate, burst, now)
        self._askers: dict[int, _Asker] = {}

    def lease(self, holder: int, sessions: int, now: float) -> Lease:
        """
        @param sessions: how many wait there.
        """
        before = self._askers.get(holder)
        granted = now - SLICE if before is None else before.granted
        self._askers[holder] = _Asker(max(sessions, 1), now, granted)
        self._askers = {
            who: each for who, each in self._askers.items() if now - each.asked < RECENT
        }
        part = self._askers[holder].sessions / sum(each.sessions for each in self._askers.values())
        level = self.level(now)
        most = max(self.rate * SLICE, 1.0)
        # Rounded so that an exact wait is long enough.
        fair = round(self.rate * part * min(now - granted, SLICE), 6)
        octets = int(min(level, max(fair, level - self.burst / 2), most))
        enough = max(self.rate * part * QUANTUM / 2, 1.0)
        if octets < min(enough, self.burst):
            wait = max(
                self.seconds_until(min(2 * enough, self.burst), now), QUANTUM - (now - granted)
            )
            return Lease(0, max(wait, GRAIN))
        self.spend(octets, now)
        self._askers[holder] = _Asker(max(sessions, 1), now, now)
        return Lease(octets, QUANTUM if octets < int(most) else 0.0)


class Reservoirs:
    """Leases of a rate that holds for all holders together."""

    def __init__(self, clock: IReactorTime, rate: int) -> None:
        """
        @param rate: octets a second, of each key.
        """
        self._clock = clock
        # At least so that half of it is an octet.
        burst = max(rate * BURST, 2.0)
        self._reservoirs = Buckets(lambda now: Reservoir(rate, burst, now))

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._reservoirs)

    def lease(self, holder: int, key: str, sessions: int) -> Lease:
        """See L{ILessor}."""
        now = self._clock.seconds()
        return self._reservoirs.of(key, now).lease(holder, sessions, now)

    def give_back(self, key: str, octets: int) -> None:
        """See L{ILessor}."""
        now = self._clock.seconds()
        self._reservoirs.of(key, now).spend(-octets, now)
