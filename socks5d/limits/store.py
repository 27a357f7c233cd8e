"""Where what identities have used is kept until the program ends: memory."""

from collections import Counter
from collections.abc import Callable, Mapping
from time import time

from zope.interface import implementer

from socks5d.interfaces import IQuotaStore


@implementer(IQuotaStore)
class MemoryStore:
    """Keeps it until the program ends."""

    def __init__(self, wall: Callable[[], float] = time) -> None:
        """
        @param wall: the time, in seconds since the epoch.
        """
        self._wall = wall
        self._used: dict[str, Counter[str]] = {}
        self._ends: dict[str, float] = {}

    def open(self) -> None:
        """See L{IQuotaStore}."""

    def used(self, period: str, identity: str) -> int:
        """See L{IQuotaStore}."""
        return self._used.get(period, Counter[str]())[identity]

    def add(self, period: str, ends: float, octets: Mapping[str, int]) -> None:
        """See L{IQuotaStore}."""
        now = self._wall()
        for over in [name for name, when in self._ends.items() if when <= now]:
            del self._used[over], self._ends[over]
        self._ends[period] = ends
        self._used.setdefault(period, Counter()).update(octets)

    def close(self) -> None:
        """See L{IQuotaStore}."""
