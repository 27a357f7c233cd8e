"""What a session has of what is counted, so that it is given back once, however it ends."""

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socks5d.limits.shares import IShares

_log = Logger()


class Holding:
    """One session's."""

    __slots__ = ("_over", "_returns")

    def __init__(self) -> None:
        self._returns: list[Callable[[], object]] = []
        self._over = False

    def take(self, shares: IShares, key: str) -> bool | Deferred[bool]:
        """
        @return: as L{IShares.take} gives it; what is granted is given back by L{give_back},
            and at once where that was called meanwhile.
        """
        taking = shares.take(key)
        if isinstance(taking, bool):
            return self._taken(taking, shares, key)
        return taking.addCallback(self._taken, shares, key)

    def _taken(self, granted: bool, shares: IShares, key: str) -> bool:
        if granted:
            self.keep(partial(shares.give_back, key))
        return granted

    def keep(self, give_back: Callable[[], object]) -> None:
        """
        @param give_back: is called once, at the end; at once where that has been.
        """
        if self._over:
            give_back()
        else:
            self._returns.append(give_back)

    def give_back(self) -> None:
        """Give everything back; nothing happens the second time."""
        self._over = True
        returns, self._returns = self._returns, []
        for each in returns:
            try:
                each()
            except Exception:  # noqa: BLE001 (the others are to be given back too)
                _log.failure("something of a session's could not be given back")
