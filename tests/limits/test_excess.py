"""One line, and then a count."""

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, Logger, formatEvent

from socks5d.limits.excess import INTERVAL, LINES, OTHERS, Excesses


class Said:
    def __init__(self, logs: Sequence[LogEvent]) -> None:
        self._logs = logs
        self._read = 0
        self.clock = Clock()
        self.excesses = Excesses(self.clock, Logger())

    def new(self) -> list[str]:
        lines = [formatEvent(each) for each in self._logs[self._read :]]
        assert {each["log_level"].name for each in self._logs} <= {"warn"}
        self._read = len(self._logs)
        return lines


@pytest.fixture
def said(logs: Sequence[LogEvent]) -> Iterator[Said]:
    yield Said(logs)


def test_the_first_is_said_and_the_others_are_counted(said: Said) -> None:
    for _ in range(4):
        said.excesses.tell("limit: 1 session of ann")
    said.excesses.tell("limit: 1 session of bob")
    assert said.new() == ["limit: 1 session of ann: over it", "limit: 1 session of bob: over it"]
    said.clock.advance(INTERVAL)
    assert said.new() == ["limit: 1 session of ann: over it 3 times more"]


def test_who_goes_on_is_said_once_a_minute_and_who_stops_is_forgotten(said: Said) -> None:
    for _ in range(180):
        said.excesses.tell("ann {and} more")
        said.clock.advance(1)
    assert said.new() == [
        "ann {and} more: over it",
        "ann {and} more: over it 59 times more",
        "ann {and} more: over it 60 times more",
        "ann {and} more: over it 60 times more",
    ]
    said.clock.advance(2 * INTERVAL)
    assert said.clock.getDelayedCalls() == []
    said.excesses.tell("ann {and} more")
    assert said.new() == ["ann {and} more: over it"]


def test_what_has_been_counted_is_said_at_the_end(logs: Sequence[LogEvent]) -> None:
    reactor = MemoryReactorClock()
    excesses = Excesses(reactor, Logger())
    for name in ("ann", "ann", "bob"):
        excesses.tell(name)
    ((call, _, _),) = reactor.triggers["during"]["shutdown"]
    call()
    assert [formatEvent(each) for each in logs] == [
        "ann: over it",
        "bob: over it",
        "ann: over it 1 times more",
    ]


def test_however_many_there_are_the_lines_are_few(said: Said) -> None:
    for number in range(10 * LINES):
        said.excesses.tell(f"{number}")
    lines = said.new()
    assert len(lines) == LINES + 1
    assert lines[-1] == f"{OTHERS}: over it"
    said.clock.advance(INTERVAL)
    assert said.new() == [f"{OTHERS}: over it {9 * LINES - 1} times more"]
