"""How many of something each client address may have at once."""

from collections import deque
from typing import Protocol as Shape

from twisted.internet.defer import Deferred

from socks5d.model import client_key
from socks5d.wire.address import IPAddress


class IShares(Shape):
    """Counts something of each client's, maybe elsewhere."""

    def take(self, address: IPAddress) -> bool | Deferred[bool]:
        """
        @return: whether one more is to be had, which is then counted; where that takes
            time, a Deferred of it, which may fail, and can be cancelled.
        """

    def give_back(self, address: IPAddress) -> None:
        """
        @param address: one of those that were counted has ended.
        """


class _Share:
    __slots__ = ("used", "waiting")

    def __init__(self) -> None:
        self.used = 0
        self.waiting: deque[Deferred[None]] = deque()


class Shares:
    """Counts, by address; of IPv6, by /64."""

    def __init__(self, limit: int) -> None:
        """
        @param limit: how many each may have at once.
        """
        self._limit = limit
        self._shares: dict[tuple[int, int], _Share] = {}

    def __len__(self) -> int:
        """How many addresses have any."""
        return len(self._shares)

    def take(self, address: IPAddress) -> bool:
        """
        @return: whether one more is to be had, which is then counted.
        """
        share = self._shares.setdefault(client_key(address), _Share())
        if share.used >= self._limit:
            return False
        share.used += 1
        return True

    def wait(self, address: IPAddress) -> Deferred[None]:
        """
        @return: fires when one more is to be had, which is then counted.  Whoever waits
            is served in order, and may cancel it.
        """
        turn: Deferred[None] = Deferred(lambda turn: self._leave(address, turn))
        if self.take(address):
            turn.callback(None)
        else:
            self._shares[client_key(address)].waiting.append(turn)
        return turn

    def give_back(self, address: IPAddress) -> None:
        """
        @param address: one of those that were counted has ended.
        """
        key = client_key(address)
        share = self._shares[key]
        if share.waiting:
            share.waiting.popleft().callback(None)
            return
        share.used -= 1
        if not share.used:
            del self._shares[key]

    def _leave(self, address: IPAddress, turn: Deferred[None]) -> None:
        self._shares[client_key(address)].waiting.remove(turn)
