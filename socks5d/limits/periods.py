"""Days, weeks and months, by UTC."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from socks5d.parameters import QuotaPeriod


class Period(NamedTuple):
    """
    @ivar name: what it is called: its kind and its first day.
    @ivar ends: when the next one begins, in seconds since the epoch.
    """

    name: str
    ends: float


def period_at(kind: QuotaPeriod, seconds: float) -> Period:
    """
    @param seconds: a moment, since the epoch.
    @return: the period that it is in.
    """
    moment = datetime.fromtimestamp(seconds, UTC)
    first = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if kind is QuotaPeriod.DAY:
        after = first + timedelta(days=1)
    elif kind is QuotaPeriod.WEEK:
        first -= timedelta(days=first.weekday())
        after = first + timedelta(weeks=1)
    else:
        first = first.replace(day=1)
        # Longer than any month, and shorter than two.
        after = (first + timedelta(days=32)).replace(day=1)
    return Period(f"{kind.value} {first:%Y-%m-%d}", after.timestamp())
