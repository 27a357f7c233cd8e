"""Days, weeks and months."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.limits.periods import period_at
from socks5d.parameters import QuotaPeriod

DAY, WEEK, MONTH = QuotaPeriod


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "moment", "name", "ends"),
    [
        (DAY, "2026-11-26T00:00:00", "day 2026-11-26", "2026-11-27"),
        (DAY, "2026-11-26T23:59:59.999", "day 2026-11-26", "2026-11-27"),
        (DAY, "2026-12-31T12:00:00", "day 2026-12-31", "2027-01-01"),
        (WEEK, "2026-11-26T08:00:00", "week 2026-11-23", "2026-11-30"),
        (WEEK, "2026-11-23T00:00:00", "week 2026-11-23", "2026-11-30"),
        (WEEK, "2027-01-03T23:00:00", "week 2026-12-28", "2027-01-04"),
        (MONTH, "2026-11-30T08:00:00", "month 2026-11-01", "2026-12-01"),
        (MONTH, "2026-12-01T00:00:00", "month 2026-12-01", "2027-01-01"),
        (MONTH, "2028-02-29T08:00:00", "month 2028-02-01", "2028-03-01"),
        (MONTH, "2026-01-31T08:00:00", "month 2026-01-01", "2026-02-01"),
    ],
)
def test_each_begins_and_ends_by_utc(kind: QuotaPeriod, moment: str, name: str, ends: str) -> None:
    period = period_at(kind, at(moment))
    assert (period.name, period.ends) == (name, at(ends))


@given(st.sampled_from(QuotaPeriod), st.floats(0, 4e9))
def test_one_follows_another_without_a_gap(kind: QuotaPeriod, moment: float) -> None:
    period = period_at(kind, moment)
    assert moment < period.ends <= moment + 32 * 86400
    following = period_at(kind, period.ends)
    assert following.name != period.name
    assert period_at(kind, period.ends - 0.001) == period
