"""A token bucket: values in, values out; the time comes from whoever asks."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

#: Keys that are told apart; one more, and the one that came first is forgotten.
KEYS: Final = 1 << 16

#: Parts of a token that arithmetic may lose.
_GRAIN: Final = 1e-9

B = TypeVar("B", bound="TokenBucket")


class TokenBucket:
    """
    Fills steadily, holds a bounded number of tokens, and is full at its beginning.  A clock
    that goes back fills nothing.

    @ivar rate: tokens a second; more than 0.
    @ivar burst: tokens that it holds at the most.
    """

    __slots__ = ("_level", "_when", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """
        @param now: the time, in seconds.
        @raise ValueError: for a rate or a burst that is not more than 0.
        """
        if not (rate > 0 and burst > 0):
            raise ValueError("a rate and a burst must be more than 0")
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._when = now

    def level(self, now: float) -> float:
        """
        @return: tokens that there are; less than 0 where more was spent.
        """
        if now > self._when:
            self._level = min(self._level + (now - self._when) * self.rate, self.burst)
            self._when = now
        return self._level

    def take(self, count: float, now: float) -> bool:
        """
        @return: whether there were so many, which are then spent.
        """
        if self.level(now) < count - _GRAIN:
            return False
        self._level -= count
        return True

    def spend(self, count: float, now: float) -> None:
        """
        @param count: tokens that are spent, whether they are there or not; those given back
            are less than 0.
        """
        self._level = min(self.level(now) - count, self.burst)

    def seconds_until(self, level: float, now: float) -> float:
        """
        @param level: no more than the burst.
        @return: when there will be so many, in seconds from now; 0 where there are.
        """
        return max((level - self.level(now)) / self.rate, 0.0)

    def is_full(self, now: float) -> bool:
        """Whether it is as at its beginning, so that it need not be remembered."""
        return self.level(now) >= self.burst


class Buckets(Generic[B]):
    """A bucket for each key.  One that is full is not remembered for long."""

    def __init__(self, make: Callable[[float], B]) -> None:
        """
        @param make: makes one, given the time.
        """
        self._make = make
        self._buckets: dict[str, B] = {}
        self._look_at = 256

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._buckets)

    def of(self, key: str, now: float) -> B:
        """
        @return: the key's.
        """
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._look_at:
                self._forget(now)
            self._buckets[key] = bucket = self._make(now)
        return bucket

    def _forget(self, now: float) -> None:
        for key in [key for key, bucket in self._buckets.items() if bucket.is_full(now)]:
            del self._buckets[key]
        while len(self._buckets) >= KEYS:
            del self._buckets[next(iter(self._buckets))]
        # Looked through again when there are twice as many, so that it costs each but little.
        self._look_at = min(max(2 * len(self._buckets), 256), KEYS)
