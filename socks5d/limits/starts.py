"""How many new sessions each client may begin in a second."""

from twisted.internet.interfaces import IReactorTime

from socks5d.limits.bucket import Buckets, TokenBucket


class Starts:
    """
    Counts what is not given back; see L{IShares<socks5d.limits.shares.IShares>}.

    @ivar limit: rate and burst.
    """

    def __init__(self, clock: IReactorTime, rate: int, burst: int) -> None:
        """
        @param rate: sessions a second.
        @param burst: sessions at once, after a rest.
        """
        self._clock = clock
        self.limit = rate, burst
        self._buckets = Buckets(lambda now: TokenBucket(rate, burst, now))

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._buckets)

    def take(self, key: str) -> bool:
        """
        @return: whether one more may begin, which is then counted.
        """
        now = self._clock.seconds()
        return self._buckets.of(key, now).take(1, now)

    def give_back(self, key: str) -> None:
        """What has begun has begun."""
