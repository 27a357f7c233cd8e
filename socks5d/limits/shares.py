"""How many of something each client, or each identity, may have at once."""

from collections import deque
from typing import Protocol as Shape

from twisted.internet.defer import Deferred


class IShares(Shape):
    """Counts something by keys, maybe elsewhere."""

    def take(self, key: str) -> bool | Deferred[bool]:
        """
        @param key: whose it is.
        @return: whether one more is to be had, which is then counted; where that takes
            time, a Deferred of it, which may fail, and can be cancelled.
        """

    def give_back(self, key: str) -> None:
        """
        @param key: one of those that were counted for it has ended.
        """


class _Share:
    __slots__ = ("serving", "used", "waiting")

    def __init__(self) -> None:
        self.used = 0
        #: Whether turns are given: whoever is done within one gives no other.
        self.serving = False
        self.waiting: deque[Deferred[None]] = deque()


class Shares:
    """Counts here."""

    def __init__(self, limit: int) -> None:
        """
        @param limit: how many each may have at once.
        """
        self._limit = limit
        self._shares: dict[str, _Share] = {}

    def __len__(self) -> int:
        """How many keys have any."""
        return len(self._shares)

    def limit(self, limit: int) -> None:
        """
        @param limit: how many each may have from now on; what it has it keeps.
        """
        self._limit = limit
        for key, share in list(self._shares.items()):
            self._serve(key, share)

    def take(self, key: str) -> bool:
        """
        @return: whether one more is to be had, which is then counted.
        """
        share = self._shares.setdefault(key, _Share())
        if share.used >= self._limit:
            return False
        share.used += 1
        return True

    def wait(self, key: str) -> Deferred[None]:
        """
        @return: fires when one more is to be had, which is then counted.  Whoever waits
            is served in order, and may cancel it.
        """
        turn: Deferred[None] = Deferred(lambda turn: self._leave(key, turn))
        if self.take(key):
            turn.callback(None)
        else:
            self._shares[key].waiting.append(turn)
        return turn

    def give_back(self, key: str) -> None:
        """
        @param key: one of those that were counted for it has ended.
        """
        share = self._shares[key]
        share.used -= 1
        self._serve(key, share)

    def _serve(self, key: str, share: _Share) -> None:
        if share.serving:
            return
        share.serving = True
        while share.waiting and share.used < self._limit:
            share.used += 1
            share.waiting.popleft().callback(None)
        share.serving = False
        if not share.used and not share.waiting and self._shares.get(key) is share:
            del self._shares[key]

    def _leave(self, key: str, turn: Deferred[None]) -> None:
        self._shares[key].waiting.remove(turn)
