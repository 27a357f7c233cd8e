"""
How fast octets may flow.

A L{Flow} is what may go one way: of one session, or of several that share it.  A L{Pace} is
one way of one session, and has all the flows that it is part of.  Who moves octets asks the
pace how many may go (L{Pace.allowed}), moves them, and says how many went (L{Pace.spend}).
Where none may, the pace calls when some may again: those that wait for one flow take turns,
in their order, each with a part of what has come in the meantime, and one deadline serves
them all.

Datagrams do not wait: L{Pace.admits} says whether one may go; where not, it is dropped.
"""

from collections.abc import Callable, Sequence
from typing import Final
from typing import Protocol as Shape
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from socks5d.deadlines import Deadline, Deadlines
from socks5d.limits.bucket import TokenBucket

#: What may go at once after a rest, in seconds of the rate.
BURST: Final = 0.25
#: What comes together before those that wait have a turn, in seconds of the rate.
QUANTUM: Final = 0.05
#: How late a turn may be, in seconds.
GRAIN: Final = 1 / 64

_log = Logger()
_deadlines: WeakKeyDictionary[IReactorTime, Deadlines] = WeakKeyDictionary()


def turns_of(clock: IReactorTime) -> Deadlines:
    """
    @return: the clock's deadlines for turns, finer than others are.
    """
    found = _deadlines.get(clock)
    if found is None:
        _deadlines[clock] = found = Deadlines(clock, GRAIN)
    return found


class IFlow(Shape):
    """What a pace asks of a flow."""

    def level(self, pace: "Pace") -> int:
        """
        @return: octets that may go now.
        """

    def spend(self, pace: "Pace", count: int) -> None:
        """
        @param count: octets that went.
        """

    def admits(self, pace: "Pace", count: int) -> bool:
        """
        @return: whether a datagram of so many octets may go; nothing is spent.
        """

    def wait(self, pace: "Pace") -> None:
        """Call L{Pace.turn} when something may go, for which it may be that nothing comes."""

    def leave(self, pace: "Pace") -> None:
        """It waits no more, and asks no more."""


class Flow:
    """So many octets a second."""

    __slots__ = ("_bucket", "_clock", "_credits", "_deadline", "_least", "_taking", "_waiting")

    def __init__(self, clock: IReactorTime, rate: int) -> None:
        """
        @param rate: octets a second; at least 1.
        """
        self._clock = clock
        self._bucket = TokenBucket(rate, max(rate * BURST, 1.0), clock.seconds())
        #: Less than so many are not worth a turn.
        self._least = max(rate * QUANTUM / 4, 1.0)
        self._waiting: dict[Pace, None] = {}
        #: What is set aside for datagrams of those that had a turn.
        self._credits: dict[Pace, float] = {}
        self._taking: tuple[Pace, float] | None = None
        self._deadline: Deadline | None = None

    def level(self, pace: "Pace") -> int:
        """See L{IFlow}."""
        level = self._bucket.level(self._clock.seconds())
        if self._taking is not None and self._taking[0] is pace:
            return int(min(level, self._taking[1]))
        if self._waiting or level < self._least:
            # Others were first, or there is hardly any.
            return 0
        return int(level)

    def spend(self, pace: "Pace", count: int) -> None:
        """See L{IFlow}."""
        if self._taking is not None and self._taking[0] is pace:
            self._taking = pace, self._taking[1] - count
        credit = self._credits.get(pace)
        if credit is not None:
            # It was spent when it was set aside.
            used = min(credit, count)
            self._credits[pace] = credit - used
            self._bucket.spend(count - used, self._clock.seconds())
        else:
            self._bucket.spend(count, self._clock.seconds())

    def admits(self, pace: "Pace", count: int) -> bool:
        """See L{IFlow}.  One is let through by what is left, whatever its size."""
        if self._credits.get(pace, 0.0) > 0:
            return True
        if not self._waiting and self._bucket.level(self._clock.seconds()) > 0:
            return True
        # Others wait, so it has to have its turn like they do.
        self.wait(pace)
        return False

    def wait(self, pace: "Pace") -> None:
        """See L{IFlow}."""
        self._waiting[pace] = None
        self._look()

    def leave(self, pace: "Pace") -> None:
        """See L{IFlow}."""
        self._waiting.pop(pace, None)
        self._take_back(pace)
        if not self._waiting and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def seconds_until_full(self) -> float:
        """
        @return: when nothing will be left of what went, in seconds from now.
        """
        return self._bucket.seconds_until(self._bucket.burst, self._clock.seconds())

    def _take_back(self, pace: "Pace") -> None:
        credit = self._credits.pop(pace, 0.0)
        if credit > 0:
            self._bucket.spend(-credit, self._clock.seconds())

    def _look(self) -> None:
        if self._deadline is None:
            bucket = self._bucket
            enough = min(max(bucket.rate * QUANTUM, 1.0), bucket.burst)
            seconds = bucket.seconds_until(enough, self._clock.seconds())
            self._deadline = turns_of(self._clock).after(max(seconds, GRAIN), self._take_turns)

    def _take_turns(self) -> None:
        self._deadline = None
        waiting = list(self._waiting)
        level = self._bucket.level(self._clock.seconds())
        each = max(level / len(waiting), self._least) if waiting else 0.0
        for pace in waiting:
            level = self._bucket.level(self._clock.seconds())
            if level < self._least:
                break
            if pace in self._waiting:
                del self._waiting[pace]
                self._take_turn(pace, min(each, level))
        if self._waiting:
            self._look()

    def _take_turn(self, pace: "Pace", part: float) -> None:
        self._take_back(pace)
        if pace.resume is None:
            # It has datagrams, which come when they come.
            self._credits[pace] = part
            self._bucket.spend(part, self._clock.seconds())
            return
        self._taking = pace, part
        try:
            pace.turn()
        except Exception:  # noqa: BLE001 (the others are not to blame)
            _log.failure("what had its turn failed")
        finally:
            self._taking = None


class Pace:
    """
    One way of one session.

    @ivar resume: called when octets may go again, after L{allowed} gave none; None where
        nothing waits.
    """

    __slots__ = ("__weakref__", "_flows", "_waits", "resume")

    def __init__(self, flows: Sequence[IFlow]) -> None:
        """
        @param flows: those that it is part of.
        """
        self._flows = tuple(flows)
        self._waits = False
        self.resume: Callable[[], None] | None = None

    def allowed(self, most: int) -> int:
        """
        @param most: octets that could go.
        @return: those that may.  Where that is 0, C{resume} is called when it may be more.
        """
        if self._waits:
            return 0
        for flow in self._flows:
            level = flow.level(self)
            if level < most:
                if level <= 0:
                    self._waits = True
                    flow.wait(self)
                    return 0
                most = level
        return most

    def admits(self, count: int) -> bool:
        """
        @return: whether a datagram of so many octets may go, which are then spent.
        """
        for flow in self._flows:
            if not flow.admits(self, count):
                return False
        self.spend(count)
        return True

    def spend(self, count: int) -> None:
        """
        @param count: octets that went, more than were allowed too.
        """
        for flow in self._flows:
            flow.spend(self, count)

    def turn(self) -> None:
        """Something may go."""
        self._waits = False
        if self.resume is not None:
            self.resume()

    def stop(self) -> None:
        """Nothing goes any more."""
        self._waits = True
        self.resume = None
        flows, self._flows = self._flows, ()
        for flow in flows:
            flow.leave(self)


#: From the client, and to it.
Paces = tuple[Pace, Pace]
