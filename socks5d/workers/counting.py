"""What the parent counts for all workers, by the limits that are set."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

from socks5d.limits.excess import Excesses
from socks5d.limits.lease import ILessor, Reservoirs
from socks5d.limits.limiter import QUOTA, RATE_DOWN, RATE_UP, at_once, words
from socks5d.limits.quota import QuotaBook
from socks5d.limits.starts import Starts
from socks5d.parameters import Limits

_log = Logger()


def counting(
    limits: Limits, quotas: QuotaBook | None, reactor: Any
) -> tuple[Mapping[str, int], Starts | None, Callable[[str, str], object], Mapping[str, ILessor]]:
    """
    @return: what a L{Tally<socks5d.workers.tally.Tally>} counts, and what tells who is over a
        limit, as that takes them.
    """
    begins, excesses = words(limits), Excesses(reactor, _log)

    def over(kind: str, key: str) -> None:
        # Where there is no word for it, each session's line says so.
        if kind in begins:
            excesses.tell(begins[kind] + key)

    rate, burst = limits.session_rate, limits.session_burst
    starts = Starts(reactor, rate, burst) if rate else None
    return at_once(limits), starts, over, _lessors(limits, quotas, reactor)


def _lessors(limits: Limits, quotas: QuotaBook | None, reactor: Any) -> Mapping[str, ILessor]:
    made: dict[str, ILessor] = {}
    if limits.identity_rate:
        for kind in (RATE_UP, RATE_DOWN):
            made[kind] = Reservoirs(reactor, limits.identity_rate)
    if quotas is not None:
        made[QUOTA] = quotas
    return made
