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

from typing import Final
from typing import Protocol as Shape
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from socks5d.deadlines import Deadline, Deadlines
from socks5d.limits.bucket import TokenBucket
from socks5d.limits.pace import Pace

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


class IBucket(Shape):
    """Where the octets of a flow are."""

    def level(self, now: float) -> float:
        """
        @return: octets that there are; less than 0 where more was spent.
        """

    def spend(self, count: float, now: float) -> None:
        """
        @param count: octets that are spent, whether they are there or not.
        """


class Turns:
    """Whose turn it is.  A subclass says when there is something for those that wait."""

    __slots__ = ("_bucket", "_clock", "_credits", "_deadline", "_least", "_taking", "_waiting")

    def __init__(self, clock: IReactorTime, bucket: IBucket, least: float) -> None:
        """
        @param least: octets below which a turn is not worth it.
        """
        self._clock = clock
        self._bucket = bucket
        self._least = least
        self._waiting: dict[Pace, None] = {}
        #: What is set aside for datagrams of those that had a turn.
        self._credits: dict[Pace, float] = {}
        self._taking: tuple[Pace, float] | None = None
        self._deadline: Deadline | None = None

    def level(self, pace: Pace) -> int:
        """See L{IFlow}."""
        level = self._bucket.level(self._clock.seconds())
        if self._taking is not None and self._taking[0] is pace:
            return int(min(level, self._taking[1]))
        if self._waiting or level < self._least:
            # Others were first, or there is hardly any.
            return 0
        return int(level)

    def spend(self, pace: Pace, count: int) -> None:
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

    def admits(self, pace: Pace, count: int) -> bool:
        """See L{IFlow}.  One is let through by what is left, whatever its size."""
        if self._credits.get(pace, 0.0) > 0:
            return True
        if not self._waiting and self._bucket.level(self._clock.seconds()) > 0:
            return True
        # Others wait, so it has to have its turn like they do.
        self.wait(pace)
        return False

    def wait(self, pace: Pace) -> None:
        """See L{IFlow}."""
        self._waiting[pace] = None
        self._look()

    def leave(self, pace: Pace) -> None:
        """See L{IFlow}."""
        self._waiting.pop(pace, None)
        self._take_back(pace)
        if not self._waiting and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _take_back(self, pace: Pace) -> None:
        credit = self._credits.pop(pace, 0.0)
        if credit > 0:
            self._bucket.spend(-credit, self._clock.seconds())

    def seconds_until_full(self) -> float:
        """
        @return: when nothing will be left of what went, in seconds from now.
        """
        raise AssertionError("a subclass says when")

    def close(self) -> None:
        """Nobody will ask any more."""

    def _look(self) -> None:
        """Let them have their turns when there is something."""
        raise AssertionError("a subclass says when")

    def _take_turns_after(self, seconds: float) -> None:
        if self._deadline is None:
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

    def _take_turn(self, pace: Pace, part: float) -> None:
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


class Flow(Turns):
    """So many octets a second."""

    __slots__ = ("_tokens",)

    def __init__(self, clock: IReactorTime, rate: int) -> None:
        """
        @param rate: octets a second; at least 1.
        """
        self._tokens = TokenBucket(rate, max(rate * BURST, 1.0), clock.seconds())
        super().__init__(clock, self._tokens, max(rate * QUANTUM / 4, 1.0))

    def seconds_until_full(self) -> float:
        """See L{Turns}."""
        return self._tokens.seconds_until(self._tokens.burst, self._clock.seconds())

    def _look(self) -> None:
        enough = min(max(self._tokens.rate * QUANTUM, 1.0), self._tokens.burst)
        self._take_turns_after(self._tokens.seconds_until(enough, self._clock.seconds()))
