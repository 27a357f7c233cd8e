"""
Deadlines, of which there are many and hardly any is met.

A reactor's timers are kept in order, which costs when one is set and again when it is
taken back.  Here those that end at about the same time share one of the reactor's, and
to set one or take it back is a dictionary's work.  None is early, and none is late by
more than a sixty-fourth of its time, or L{GRAIN}.
"""

from collections.abc import Callable
from math import frexp
from typing import Final
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: How late a short deadline may be, in seconds.
GRAIN: Final = 0.125

#: Lengths of which is remembered where the last one went.
LENGTHS: Final = 64

_log = Logger()


def _nothing() -> None:
    """What is left to do about one that is over, so that it keeps nothing alive."""


class Deadline:
    """One that was set.  It can be taken back, also when it has passed."""

    __slots__ = ("_bucket", "late", "when")

    def __init__(self, bucket: "_Bucket", when: float, late: Callable[[], object]) -> None:
        self._bucket = bucket
        self.when = when
        self.late = late

    def cancel(self) -> None:
        """Take it back."""
        deadlines = self._bucket.deadlines
        if self in deadlines:
            del deadlines[self]
            if not deadlines:
                self._bucket.empty()
        self.late = _nothing


class _Bucket:
    """Those that end at about the same time."""

    __slots__ = ("_all", "_call", "_clock", "_key", "deadlines")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        key: tuple[float, int],
        all_: "dict[tuple[float, int], _Bucket]",
    ) -> None:
        self._clock = clock
        self._key = key
        self._all = all_
        self.deadlines: dict[Deadline, None] = {}
        self._call: IDelayedCall = clock.callLater(seconds, self._look)
        all_[key] = self

    def empty(self) -> None:
        """Nothing is left in it."""
        if self._call.active():
            self._call.cancel()
            del self._all[self._key]

    def _look(self) -> None:
        """The first was due; the others may be a little later."""
        now = self._clock.seconds()
        for deadline in [each for each in self.deadlines if each.when <= now]:
            if deadline not in self.deadlines:
                continue  # taken back by one of those before
            del self.deadlines[deadline]
            late, deadline.late = deadline.late, _nothing
            try:
                late()
            except Exception:  # noqa: BLE001 (the others are not to blame)
                _log.failure("what a deadline had to do failed")
        if self.deadlines:
            left = max(each.when for each in self.deadlines) - now
            self._call = self._clock.callLater(left, self._look)
        else:
            del self._all[self._key]


class Deadlines:
    """Those of one clock."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._buckets: dict[tuple[float, int], _Bucket] = {}
        #: By how long they are: from when and until when they go where the last one went.
        self._recent: dict[float, tuple[float, float, _Bucket]] = {}

    def after(self, seconds: float, late: Callable[[], object]) -> Deadline:
        """
        @param seconds: from now.
        @param late: is called then.
        @return: what takes it back.
        """
        when = self._clock.seconds() + seconds
        recent = self._recent.get(seconds)
        if recent is not None and recent[0] <= when < recent[1] and recent[2].deadlines:
            bucket = recent[2]
        else:
            bucket = self._bucket(seconds, when)
        deadline = Deadline(bucket, when, late)
        bucket.deadlines[deadline] = None
        return deadline

    def _bucket(self, seconds: float, when: float) -> _Bucket:
        grain = max(2.0 ** (frexp(seconds)[1] - 7), GRAIN)
        place = int(when / grain)
        bucket = self._buckets.get((grain, place))
        if bucket is None:
            bucket = _Bucket(self._clock, seconds, (grain, place), self._buckets)
        if len(self._recent) >= LENGTHS:
            self._recent.clear()
        self._recent[seconds] = (place * grain, (place + 1) * grain, bucket)
        return bucket


_of: WeakKeyDictionary[IReactorTime, Deadlines] = WeakKeyDictionary()


def deadlines_of(clock: IReactorTime) -> Deadlines:
    """
    @return: the clock's one.
    """
    found = _of.get(clock)
    if found is None:
        _of[clock] = found = Deadlines(clock)
    return found
