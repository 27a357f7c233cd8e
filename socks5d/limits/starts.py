"""How many new sessions each client may begin in a second."""

from typing import Final

from twisted.internet.interfaces import IReactorTime

from socks5d.limits.bucket import TokenBucket

#: Clients that are told apart; one more, and the one that came first is forgotten.
CLIENTS: Final = 1 << 16


class Starts:
    """A token bucket for each key.  One that is full is not remembered for long."""

    def __init__(self, clock: IReactorTime, rate: int, burst: int) -> None:
        """
        @param rate: sessions a second.
        @param burst: sessions at once, after a rest.
        """
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, TokenBucket] = {}
        self._look_at = 256

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    def take(self, key: str) -> bool:
        """
        @return: whether one more may begin, which is then counted.
        """
        now = self._clock.seconds()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._look_at:
                self._forget(now)
            self._buckets[key] = bucket = TokenBucket(self._rate, self._burst, now)
        return bucket.take(1, now)

    def give_back(self, key: str) -> None:
        """What has begun has begun; see L{IShares<socks5d.limits.shares.IShares>}."""

    def _forget(self, now: float) -> None:
        for key in [key for key, bucket in self._buckets.items() if bucket.is_full(now)]:
            del self._buckets[key]
        while len(self._buckets) >= CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        # Looked through again when there are twice as many, so that it costs each but little.
        self._look_at = min(max(2 * len(self._buckets), 256), CLIENTS)
