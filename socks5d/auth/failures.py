"""
What failed lately, and how long the next attempt has to wait for it.

Attempts of one key take turns.  So many may fail at once and without a pause; after
that there is one at a time, and after each failure a pause that doubles.  Attempts that
are made side by side gain nothing: as many run as may still fail.

Who is next is drawn by lot among those who wait, so that nobody can be kept from a turn by
others who are always there before.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from secrets import choice

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from socks5d.bounded import bounded

#: The first pause and the longest, in seconds, unless somebody says otherwise.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 32.0
#: After how long without a failure those of a key are forgotten, in seconds.
FORGET = 900.0
#: Keys whose failures are remembered; one more, and the oldest are forgotten.
KEYS = 32768
#: Attempts of one key that wait.
WAITING = 64


class _Waiting:
    """
    An attempt that waits.

    @ivar by: who makes it.
    @ivar last: whether its turn is behind those of others.
    @ivar turn: fires when it has come.
    """

    __slots__ = ("by", "last", "turn")

    def __init__(self, by: Hashable, last: bool, turn: Deferred[None]) -> None:
        self.by = by
        self.last = last
        self.turn = turn


class _Key:
    __slots__ = ("failed", "failures", "running", "until", "waiting", "waking")

    def __init__(self) -> None:
        self.failures = 0
        #: When the last of them was.
        self.failed = 0.0
        self.running = 0
        #: When the pause is over.
        self.until = 0.0
        self.waiting: list[_Waiting] = []
        #: Gives the next turn, where somebody waits and there is one to be had.
        self.waking: IDelayedCall | None = None

    def idle(self) -> bool:
        return not self.running and not self.waiting


class Failures:
    """Turns and pauses, by key."""

    def __init__(
        self,
        clock: IReactorTime,
        free: int = 1,
        patience: float = 0.0,
        longest: float = LONGEST_PAUSE,
    ) -> None:
        """See L{limit}."""
        self._clock = clock
        self.limit(free, patience, longest)
        #: In the order of their last failures.
        self._keys: dict[Hashable, _Key] = {}

    def __len__(self) -> int:
        """How many keys there is something to know of."""
        return len(self._keys)

    def limit(self, free: int, patience: float, longest: float) -> None:
        """
        Those who wait do so for as long as they were told.

        @param free: failures without a pause.
        @param patience: how long an attempt may wait, in seconds.
        @param longest: the longest pause, in seconds.
        """
        self._free = free
        self._patience = patience
        self._longest = longest

    def failed(self, key: Hashable) -> bool:
        """
        @return: whether an attempt of a key has failed lately.
        """
        known = self._keys.get(key)
        return known is not None and known.failures > 0

    def take(self, key: Hashable, by: Hashable = "", *, last: bool = False) -> Deferred[None]:
        """
        Wait for a turn.

        @param by: who makes the attempt.  Where many wait, each of these has the same chance
            of the next turn, however many are its own.
        @param last: whether its turn comes behind those of others.
        @return: fires when the attempt may be made, which is then L{given
            back<give_back>}; fails with L{DeadlinePassed<socks5d.bounded.DeadlinePassed>}
            when it has waited for too long: not before, though it may be clear from the
            beginning, for who is refused at once can try the faster.  May be cancelled.
        """
        now = self._clock.seconds()
        known = self._key(key, now)
        if not known.waiting and known.until <= now and self._free_places(known) > 0:
            known.running += 1
            return succeed(None)
        turn: Deferred[None] = Deferred(lambda turn: self._leave(key, known, turn))
        if known.until - now <= self._patience:
            known.waiting.append(_Waiting(by, last, turn))
            if len(known.waiting) > WAITING:
                known.waiting.remove(_one_too_many(known.waiting))
            self._arrange(key, known)
        return bounded(self._clock, self._patience, turn)

    def give_back(self, key: Hashable, *, failed: bool) -> None:
        """
        An attempt is over.

        @param failed: whether it failed.
        """
        known = self._keys[key]
        known.running -= 1
        if failed:
            now = self._clock.seconds()
            known.failures += 1
            known.failed = now
            self._keys[key] = self._keys.pop(key)
            doubled = known.failures - self._free
            if doubled >= 0:
                known.until = now + min(FIRST_PAUSE * 2.0 ** min(doubled, 16), self._longest)
                self._sleep_on(known)
        self._arrange(key, known)

    def _free_places(self, known: _Key) -> int:
        return max(self._free - known.failures, 1) - known.running

    def _arrange(self, key: Hashable, known: _Key) -> None:
        """
        See to it that whoever waits has the next turn when there is one.

        Never from here, where somebody's attempt has just ended, but in a call of its own:
        many that are over at once would each begin within the one before.
        """
        if not known.waiting or self._free_places(known) <= 0:
            self._sleep_on(known)
        elif known.waking is None:
            pause = max(known.until - self._clock.seconds(), 0.0)
            known.waking = self._clock.callLater(pause, self._wake, key, known)
        if known.idle() and not known.failures and self._keys.get(key) is known:
            del self._keys[key]

    @staticmethod
    def _sleep_on(known: _Key) -> None:
        if known.waking is not None:
            known.waking.cancel()
            known.waking = None

    def _wake(self, key: Hashable, known: _Key) -> None:
        known.waking = None
        # Not to be asked of the clock, whose calls may come a breath too early.
        known.until = 0.0
        next_ = _drawn(known.waiting)
        known.waiting.remove(next_)
        known.running += 1
        self._arrange(key, known)
        next_.turn.callback(None)

    def _leave(self, key: Hashable, known: _Key, turn: Deferred[None]) -> None:
        known.waiting = [each for each in known.waiting if each.turn is not turn]
        self._arrange(key, known)

    def _key(self, key: Hashable, now: float) -> _Key:
        known = self._keys.get(key)
        if known is None:
            self._make_room(now)
            known = self._keys[key] = _Key()
        elif known.idle() and now - known.failed >= FORGET:
            known.failures = 0
        return known

    def _make_room(self, now: float) -> None:
        """Forget what is old; where all is young and busy, there are as many as sessions."""
        forgotten = []
        full = len(self._keys) >= KEYS
        for key, known in self._keys.items():
            if known.idle():
                if not full and now - known.failed < FORGET:
                    break
                forgotten.append(key)
                full = False
        for key in forgotten:
            del self._keys[key]


def _drawn(waiting: Sequence[_Waiting]) -> _Waiting:
    """
    @return: whose turn it is: somebody's who is not last, if there is one.
    """
    first = [each for each in waiting if not each.last] or waiting
    by = choice(list({each.by for each in first}))
    return choice([each for each in first if each.by == by])


def _one_too_many(waiting: Sequence[_Waiting]) -> _Waiting:
    """
    @return: who waits in vain: somebody who is last, or else of those of whom most wait.
    """
    last = [each for each in waiting if each.last]
    if last:
        return choice(last)
    counted = Counter(each.by for each in waiting)
    most = max(counted.values())
    return choice([each for each in waiting if counted[each.by] == most])
