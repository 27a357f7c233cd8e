"""A token bucket: values in, values out; the time comes from whoever asks."""

from typing import Final

#: Parts of a token that arithmetic may lose.
_GRAIN: Final = 1e-9


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
