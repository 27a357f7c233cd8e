"""What the parent counts for all workers, by the limits that are set."""

from collections.abc import Callable, Mapping
from typing import Any

from socks5d.limits.excess import Excesses
from socks5d.limits.lease import ILessor, Reservoirs
from socks5d.limits.limiter import QUOTA, at_once, rates, words
from socks5d.limits.quota import QuotaBook
from socks5d.limits.starts import Starts
from socks5d.parameters import Limits

#: What a L{Tally<socks5d.workers.tally.Tally>} counts by, as that takes it.
Counting = tuple[
    Mapping[str, int], Starts | None, Callable[[str, str], object], Mapping[str, ILessor]
]


def counting(
    limits: Limits, quotas: QuotaBook | None, reactor: Any, excesses: Excesses
) -> Counting:
    """
    @param excesses: says who is over a limit.
    @return: what a L{Tally<socks5d.workers.tally.Tally>} counts, and what tells who is over a
        limit, as that takes them.
    """
    begins = words(limits)

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
        for kind in rates(limits.identity_rate):
            made[kind] = Reservoirs(reactor, limits.identity_rate)
    if quotas is not None:
        made[QUOTA] = quotas
    return made
