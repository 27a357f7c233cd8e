"""Days and hours at which a rule holds."""

import re
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from attrs import field, frozen

#: The words for days, in Python's order.
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

#: Minutes from midnight: the first that counts, and the first that does not.
Hours = tuple[int, int]

ALL_DAY: Final[Hours] = (0, 24 * 60)

_HOURS = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


@frozen(slots=True, kw_only=True)
class Times:
    """
    Days and hours, as a clock on the wall shows them.  Hours that pass midnight belong to
    the day on which they begin: Friday, 22:00-06:00, ends on Saturday morning.  When clocks
    are put back, an hour is there twice; when they are put forward, one is not there at all.

    @ivar zone: where the clock hangs.
    @ivar days: places in L{DAYS}.
    @ivar hours: ranges; where the second is not after the first, it is of the next day.
    """

    zone: ZoneInfo
    days: frozenset[int] = field(default=frozenset(range(7)))
    hours: tuple[Hours, ...] = (ALL_DAY,)

    def hold(self, seconds: float) -> bool:
        """
        @param seconds: since the epoch.  What the answer is changes with whole minutes only.
        @return: whether it is one of these times.
        """
        there = datetime.fromtimestamp(seconds, self.zone)
        today = there.weekday()
        minute = there.hour * 60 + there.minute
        began_today = today in self.days
        began_yesterday = (today - 1) % 7 in self.days
        return any(
            began_today and first <= minute < end
            if first < end
            else (began_today and minute >= first) or (began_yesterday and minute < end)
            for first, end in self.hours
        )


def parse_day(text: str) -> int:
    """
    Read a day: C{mon} to C{sun}.

    @return: its place in L{DAYS}.
    @raise ValueError: says what is wrong.
    """
    if text not in DAYS:
        raise ValueError(f"{text!r} is no day (as {', '.join(DAYS)})")
    return DAYS.index(text)


def parse_hours(text: str) -> Hours:
    """
    Read hours: C{08:00-18:00}, or C{22:00-06:00}, which ends on the next day.

    @raise ValueError: says what is wrong.
    """
    match = _HOURS.fullmatch(text)
    if match is not None:
        hour, minute, last_hour, last_minute = map(int, match.groups())
        first, end = hour * 60 + minute, last_hour * 60 + last_minute
        if minute < 60 and last_minute < 60 and first < 24 * 60 and end <= 24 * 60:
            if first == end:
                raise ValueError(f"{text!r} has no minute; the whole day is 00:00-24:00")
            return first, end
    raise ValueError(f"{text!r} are no hours (as 08:00-18:00, or 22:00-06:00 into the next day)")


def parse_zone(text: str) -> ZoneInfo:
    """
    Read the name of a time zone, as C{Europe/Vienna} or C{UTC}.

    @raise ValueError: when the system has none of this name.
    """
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError):
        pass
    raise ValueError(f"{text!r} is no time zone that the system knows (as Europe/Vienna)")
