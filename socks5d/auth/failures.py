"""
What failed lately, and how long the next attempt has to wait for it.

Attempts of one key take turns.  So many may fail at once and without a pause; after
that there is one at a time, and after each failure a pause that doubles.  Attempts that
are made side by side gain nothing: as many run as may still fail.

Who is next is drawn by lot among those who wait: first one of their widest networks, then
what is in it, so that of many attempts from one place all together have the chance of one.
Each has the same lot until the next turn is given, however often it comes back, and where too
many wait those with the worst lots give way.  So nobody can be kept from a turn by others who
are always there before, nor by their number, but where that is a number of networks.
"""

import os
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from itertools import islice

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
#: Keys that are looked at for each new one, whether they can be forgotten.
_LOOKS = 16
#: Attempts of one key that wait.
WAITING = 64

#: The networks that somebody is in, the widest first, and who it is.
Path = tuple[str | bytes, ...]
_SALT = 16


class _Waiting:
    """
    An attempt that waits.

    @ivar by: who makes it.
    @ivar weight: its chance, of that of others.
    @ivar turn: fires when its turn has come.
    @ivar lots: of each part of C{by}, from 0 to 1, and its own.
    """

    __slots__ = ("by", "lots", "turn", "weight")

    def __init__(self, by: Path, weight: float, turn: Deferred[None], salt: bytes) -> None:
        self.by = by
        self.weight = weight
        self.turn = turn
        self.draw(salt)

    def draw(self, salt: bytes) -> None:
        own = int.from_bytes(os.urandom(8), "big") / 2.0**64
        self.lots = (*(_lot(self.by[: end + 1], salt) for end in range(len(self.by))), own)


class _Key:
    __slots__ = ("failed", "failures", "running", "salt", "until", "waiting", "waking")

    def __init__(self) -> None:
        self.failures = 0
        #: When the last of them was.
        self.failed = 0.0
        self.running = 0
        #: When the pause is over.
        self.until = 0.0
        self.waiting: list[_Waiting] = []
        #: Of the lots until the next turn.
        self.salt = b""
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
        longest: float = LONGEST_PAUSE,
    ) -> None:
        """See L{limit}."""
        self._clock = clock
        self.limit(free, longest)
        #: In the order of their last failures.
        self._keys: dict[Hashable, _Key] = {}

    def __len__(self) -> int:
        """How many keys there is something to know of."""
        return len(self._keys)

    def limit(self, free: int, longest: float) -> None:
        """
        @param free: failures without a pause.
        @param longest: the longest pause, in seconds.
        """
        self._free = free
        self._longest = longest

    def failed(self, key: Hashable) -> bool:
        """
        @return: whether an attempt of a key has failed lately.
        """
        known = self._keys.get(key)
        return known is not None and known.failures > 0

    def take(
        self,
        key: Hashable,
        by: Path,
        patience: float,
        calm: float | None = None,
        weight: float = 1.0,
    ) -> Deferred[None]:
        """
        Wait for a turn.

        @param by: who makes the attempt: the networks it is in, the widest first.  Of those
            that wait each has the same chance of the next turn, and so has each of what is in
            it of its own, however many attempts there are.
        @param patience: how long it may wait, in seconds.
        @param calm: how long where no attempt of the key has failed lately.
        @param weight: its chance, of that of others; a network has that of the best in it.
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
        if calm is not None and not known.failures:
            patience = calm
        if known.until - now <= patience:
            known.salt = known.salt or os.urandom(_SALT)
            known.waiting.append(_Waiting(by, weight, turn, known.salt))
            if len(known.waiting) > WAITING:
                known.waiting.remove(min(known.waiting, key=_Scores(known.waiting).of))
            self._arrange(key, known)
        return bounded(self._clock, patience, turn)

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
        next_ = max(known.waiting, key=_Scores(known.waiting).of)
        known.waiting.remove(next_)
        known.salt = os.urandom(_SALT)
        for each in known.waiting:
            each.draw(known.salt)
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
        elif known.idle() and not 0 <= now - known.failed < FORGET:
            known.failures = 0
        # No longer than that, should the clock have been put back.
        known.until = min(known.until, now + max(self._longest, FIRST_PAUSE))
        return known

    def _make_room(self, now: float) -> None:
        """
        Forget what is old, a few at a time; where all is young and busy, there are as many as
        attempts.
        """
        full = len(self._keys) >= KEYS
        for key in list(islice(self._keys, _LOOKS)):
            known = self._keys[key]
            if not known.idle():
                # Not to be looked at each time.
                self._keys[key] = self._keys.pop(key)
            elif full or now - known.failed >= FORGET:
                del self._keys[key]
                full = False
            else:
                break


class _Scores:
    """How good the lots of those who wait are, the better the weightier the best of a network."""

    def __init__(self, waiting: Sequence[_Waiting]) -> None:
        self._weights: dict[Path, float] = {}
        for each in waiting:
            for end in range(1, len(each.by) + 1):
                part = each.by[:end]
                self._weights[part] = max(self._weights.get(part, 0.0), each.weight)

    def of(self, waiting: _Waiting) -> tuple[float, ...]:
        """Of two the greater one wins: with a chance in the proportion of their weights."""
        by = waiting.by
        weights = (self._weights[by[: end + 1]] for end in range(len(by)))
        scores = (
            lot ** (1.0 / weight) for lot, weight in zip(waiting.lots[:-1], weights, strict=True)
        )
        return (*scores, waiting.lots[-1])


def _lot(path: Path, salt: bytes) -> float:
    digest = blake2b(repr(path).encode(), key=salt, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
