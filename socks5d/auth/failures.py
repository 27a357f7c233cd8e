"""
What failed lately, and how long the next attempt has to wait for it.

Attempts of one key take turns.  So many may fail at once and without a pause; after
that there is one at a time, and after each failure a pause that doubles.  Attempts that
are made side by side gain nothing: as many run as may still fail.
"""

from collections import deque
from collections.abc import Hashable

from twisted.internet.defer import Deferred
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


class _Key:
    __slots__ = ("failed", "failures", "running", "until", "waiting", "waking")

    def __init__(self) -> None:
        self.failures = 0
        #: When the last of them was.
        self.failed = 0.0
        self.running = 0
        #: When the pause is over.
        self.until = 0.0
        self.waiting: deque[Deferred[None]] = deque()
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

    def take(self, key: Hashable) -> Deferred[None]:
        """
        Wait for a turn.

        @return: fires when the attempt may be made, which is then L{given
            back<give_back>}; fails with L{DeadlinePassed<socks5d.bounded.DeadlinePassed>}
            when it has waited for too long: not before, though it may be clear from the
            beginning, for who is refused at once can try the faster.  May be cancelled.
        """
        now = self._clock.seconds()
        known = self._key(key, now)
        if known.until - now > self._patience or len(known.waiting) >= WAITING:
            return bounded(self._clock, self._patience, Deferred())
        turn: Deferred[None] = Deferred(lambda turn: self._leave(key, known, turn))
        known.waiting.append(turn)
        self._serve(key, known)
        return turn if turn.called else bounded(self._clock, self._patience, turn)

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
                self._sleep_on(known)
                known.until = now + min(FIRST_PAUSE * 2.0 ** min(doubled, 16), self._longest)
        self._serve(key, known)

    def _serve(self, key: Hashable, known: _Key) -> None:
        while known.waiting and known.running < max(self._free - known.failures, 1):
            pause = known.until - self._clock.seconds()
            if pause > 0:
                if known.waking is None:
                    known.waking = self._clock.callLater(pause, self._wake, key, known)
                return
            known.running += 1
            known.waiting.popleft().callback(None)
        if not known.waiting:
            self._sleep_on(known)
        if known.idle() and not known.failures:
            self._keys.pop(key, None)

    @staticmethod
    def _sleep_on(known: _Key) -> None:
        if known.waking is not None:
            known.waking.cancel()
            known.waking = None

    def _wake(self, key: Hashable, known: _Key) -> None:
        known.waking = None
        # Not to be asked of the clock, whose calls may come a breath too early.
        known.until = 0.0
        self._serve(key, known)

    def _leave(self, key: Hashable, known: _Key, turn: Deferred[None]) -> None:
        known.waiting.remove(turn)
        self._serve(key, known)

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
