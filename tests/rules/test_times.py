"""Times: days, hours, and what clocks do when they are changed."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.rules import Times, parse_day, parse_hours, parse_zone

VIENNA = ZoneInfo("Europe/Vienna")
KATHMANDU = ZoneInfo("Asia/Kathmandu")  # UTC+5:45
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour of daylight saving


def at(text: str) -> float:
    """Of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def times(zone: ZoneInfo, hours: str, *days: str) -> Times:
    chosen = frozenset(map(parse_day, days)) if days else frozenset(range(7))
    return Times(zone=zone, days=chosen, hours=(parse_hours(hours),))


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-03-06T06:59:59", False),
        ("2026-03-06T07:00", True),
        ("2026-03-06T16:59:59", True),
        ("2026-03-06T17:00", False),
        ("2026-03-07T12:00", False),
    ],
)
def test_hours_of_a_day(moment: str, holds: bool) -> None:
    assert times(VIENNA, "08:00-18:00", "fri").hold(at(moment)) is holds


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-03-06T01:00", False),  # what began on Thursday
        ("2026-03-06T20:59", False),
        ("2026-03-06T21:00", True),
        ("2026-03-06T23:30", True),  # Saturday in Vienna
        ("2026-03-07T04:59", True),
        ("2026-03-07T05:00", False),
        ("2026-03-07T21:00", False),
    ],
)
def test_hours_that_pass_midnight_belong_to_the_day_on_which_they_begin(
    moment: str, holds: bool
) -> None:
    assert times(VIENNA, "22:00-06:00", "fri").hold(at(moment)) is holds


def test_from_sunday_to_monday() -> None:
    sunday_night = times(VIENNA, "22:00-06:00", "sun")
    assert sunday_night.hold(at("2026-03-08T23:30"))
    assert sunday_night.hold(at("2026-03-09T04:30"))
    assert not sunday_night.hold(at("2026-03-08T04:30"))


def test_hours_until_midnight() -> None:
    evening = times(VIENNA, "18:00-24:00", "fri")
    assert evening.hold(at("2026-03-06T22:59:59"))
    assert not evening.hold(at("2026-03-06T23:00"))
    assert times(VIENNA, "18:00-00:00", "fri").hold(at("2026-03-06T22:59:59"))
    assert not times(VIENNA, "18:00-00:00", "fri").hold(at("2026-03-06T23:00"))


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-03-28T00:59", False),
        ("2026-03-28T01:00", True),  # 02:00 on Saturday
        ("2026-03-29T00:59:59", False),  # 01:59:59
        ("2026-03-29T01:00", False),  # 03:00: the hour is not there
        ("2026-03-29T02:00", False),
        ("2026-10-25T00:00", True),  # 02:00, for the first time
        ("2026-10-25T00:59:59", True),
        ("2026-10-25T01:00", True),  # 02:00 again
        ("2026-10-25T01:59:59", True),
        ("2026-10-25T02:00", False),  # 03:00
    ],
)
def test_the_hour_in_which_clocks_are_changed(moment: str, holds: bool) -> None:
    assert times(VIENNA, "02:00-03:00").hold(at(moment)) is holds


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-03-29T00:30", True),  # 01:30
        ("2026-03-29T01:30", True),  # 03:30
        ("2026-03-29T02:00", False),  # 04:00
        ("2026-10-25T02:30", True),  # 03:30
        ("2026-10-25T03:00", False),  # 04:00
    ],
)
def test_hours_around_the_change(moment: str, holds: bool) -> None:
    assert times(VIENNA, "01:00-04:00", "sun").hold(at(moment)) is holds


@pytest.mark.parametrize(
    ("zone", "moment", "holds"),
    [
        (KATHMANDU, "2026-03-06T02:14:59", False),
        (KATHMANDU, "2026-03-06T02:15", True),  # 08:00
        (KATHMANDU, "2026-03-06T12:14:59", True),
        (KATHMANDU, "2026-03-06T12:15", False),
        # From +11 to +10:30 at 15:00 UTC, from 02:00 to 01:30 there.
        (LORD_HOWE, "2026-04-04T20:59", False),
        (LORD_HOWE, "2026-04-04T21:30", True),
        (LORD_HOWE, "2026-04-03T21:00", True),
    ],
)
def test_zones_that_are_not_whole_hours_away(zone: ZoneInfo, moment: str, holds: bool) -> None:
    assert times(zone, "08:00-18:00").hold(at(moment)) is holds


def test_several_ranges() -> None:
    lunch = Times(
        zone=ZoneInfo("UTC"), hours=(parse_hours("08:00-12:00"), parse_hours("13:00-17:00"))
    )
    assert [lunch.hold(at(f"2026-03-06T{hour:02}:30")) for hour in (7, 8, 12, 13, 17)] == [
        False,
        True,
        False,
        True,
        False,
    ]


@given(
    st.integers(0, 4_000_000_000),
    st.floats(0, 59.999),
    st.sampled_from([VIENNA, KATHMANDU, LORD_HOWE, ZoneInfo("America/St_Johns")]),
    st.sampled_from(["08:00-18:00", "22:00-06:00", "02:00-03:00"]),
)
def test_the_answer_changes_with_whole_minutes_only(
    minute: int, second: float, zone: ZoneInfo, hours: str
) -> None:
    start = minute // 60 * 60
    made = times(zone, hours, "mon", "sun")
    assert made.hold(start + second) == made.hold(start)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8-18",
        "08:00",
        "08:00-25:00",
        "24:00-06:00",
        "08:60-09:00",
        "08:00-24:01",
        "8:00-9:00",
        "08:00-18:00 ",
        "٠٨:00-18:00",
    ],
)
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match="are no hours"):
        parse_hours(text)


def test_hours_of_no_length() -> None:
    with pytest.raises(ValueError, match="has no minute; the whole day is 00:00-24:00"):
        parse_hours("08:00-08:00")


def test_days_and_zones() -> None:
    assert [parse_day(day) for day in ("mon", "sun")] == [0, 6]
    assert parse_zone("Europe/Vienna").key == "Europe/Vienna"
    with pytest.raises(ValueError, match="'Monday' is no day"):
        parse_day("Monday")
    for wrong in ("Europe/Nowhere", "", "../../etc/passwd", "/etc/localtime", "Europe", "\0"):
        with pytest.raises(ValueError, match="is no time zone"):
            parse_zone(wrong)
