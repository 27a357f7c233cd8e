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
    """
    Those that end at about the same time.

    @ivar key: what they have in common.
    @ivar due: when they are to be looked at.
    """

    __slots__ = ("_all", "deadlines", "due", "key")

    def __init__(self, all_: "Deadlines", key: tuple[float, int], due: float) -> None:
        self._all = all_
        self.key = key
        self.deadlines: dict[Deadline, None] = {}
        self.due = due

    def empty(self) -> None:
        """Nothing is left in it."""
        self._all.without(self)

    def look(self, now: float) -> None:
        """The first was due; the others may be a little later."""
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
            self.due = max(each.when for each in self.deadlines)
        else:
            self.empty()


class Deadlines:
    """
    Those of one clock, by one call of it.  A reactor keeps calls that were taken back until
    they would have been due, and with each the memory around it.
    """

    def __init__(self, clock: IReactorTime, grain: float = GRAIN) -> None:
        """
        @param grain: how late a short one may be, in seconds.
        """
        self._clock = clock
        self._grain = grain
        self._call: IDelayedCall | None = None
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
        grain = max(2.0 ** (frexp(seconds)[1] - 7), self._grain)
        place = int(when / grain)
        bucket = self._buckets.get((grain, place))
        if bucket is None:
            self._buckets[grain, place] = bucket = _Bucket(self, (grain, place), when)
            self._look_at(when)
        if len(self._recent) >= LENGTHS:
            self._recent.clear()
        self._recent[seconds] = (place * grain, (place + 1) * grain, bucket)
        return bucket

    def without(self, bucket: _Bucket) -> None:
        """
        @param bucket: one that is empty.  Another may be in its place already.
        """
        if self._buckets.get(bucket.key) is bucket:
            del self._buckets[bucket.key]
        if not self._buckets and self._call is not None:
            self._call.cancel()
            self._call = None

    def _look_at(self, when: float) -> None:
        """Look then at the latest."""
        if self._call is None:
            self._call = self._clock.callLater(max(when - self._clock.seconds(), 0), self._look)
        elif when < self._call.getTime():
            self._call.reset(max(when - self._clock.seconds(), 0))

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        for bucket in [each for each in self._buckets.values() if each.due <= now]:
            bucket.look(now)
        if self._buckets:
            self._look_at(min(each.due for each in self._buckets.values()))


_of: WeakKeyDictionary[IReactorTime, Deadlines] = WeakKeyDictionary()


def deadlines_of(clock: IReactorTime) -> Deadlines:
    """
    @return: the clock's one.
    """
    found = _of.get(clock)
    if found is None:
        _of[clock] = found = Deadlines(clock)
    return found
