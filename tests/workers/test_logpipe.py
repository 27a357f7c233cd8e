"""A worker's log: what comes out at the parent's end, and what a full pipe costs."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, capturedLogs, formatEvent
from twisted.python import log as legacy
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from socks5d.workers.logpipe import (
    AGAIN,
    LONGEST,
    LogReader,
    PipeObserver,
    encode_event,
    observer_of,
)

LEVELS = st.sampled_from(list(LogLevel.iterconstants()))


def event(text: str, level: Any = LogLevel.info, namespace: str = "a.place") -> LogEvent:
    """One that says this."""
    return {
        "log_level": level,
        "log_namespace": namespace,
        "log_format": "{text}",
        "text": text,
    }


def arrived(*octets: bytes) -> list[tuple[str, str, str]]:
    """Level, namespace and text of each event that the parent's end makes of these."""
    reader = LogReader()
    with capturedLogs() as events:
        for each in octets:
            reader.received(each)
    return [(each["log_level"].name, each["log_namespace"], formatEvent(each)) for each in events]


# Encoding.


@given(st.text(), LEVELS, st.text(min_size=1), st.data())
def test_what_is_logged_arrives_however_it_is_cut_up(
    text: str, level: Any, namespace: str, data: st.DataObject
) -> None:
    line = encode_event(event(text, level, namespace))
    assert line.count(b"\n") == 1
    assert line.isascii()
    cut = data.draw(st.integers(0, len(line)))
    assert arrived(line[:cut], line[cut:]) == [(level.name, namespace, text)]


@pytest.mark.parametrize(
    "text",
    ["", "two\nlines", "{braces} %s {text}", "\u00fc\u20ac\U0001f600", "\x1b[2J\0", "\ud800"],
)
def test_no_text_is_anything_but_text(text: str) -> None:
    assert arrived(encode_event(event(text))) == [("info", "a.place", text)]


def test_several_events_may_come_at_once() -> None:
    lines = [encode_event(event(str(number))) for number in range(3)]
    assert [text for *_, text in arrived(b"".join(lines))] == ["0", "1", "2"]


def raised() -> Failure:
    try:
        raise ValueError("no such luck")
    except ValueError:
        return Failure()


def test_a_failure_comes_with_its_traceback() -> None:
    with capturedLogs() as observed:
        Logger("a.place").failure("it went wrong", raised())
    ((level, _, text),) = arrived(encode_event(observed[0]))
    assert level == "critical"
    assert text.startswith("it went wrong\nTraceback")
    assert "ValueError: no such luck" in text


def test_what_the_old_way_of_logging_says_arrives() -> None:
    with capturedLogs() as events:
        legacy.msg("of old", "and of two parts")
        legacy.err(raised(), "it went wrong")
    (_, _, first), (level, _, second) = [arrived(encode_event(each))[0] for each in events]
    assert first == "of old and of two parts"
    assert level == "critical"
    assert "no such luck" in second


def test_an_event_that_cannot_be_formatted_arrives_all_the_same() -> None:
    broken: LogEvent = {"log_format": "{missing}", "log_level": LogLevel.warn}
    ((level, namespace, text),) = arrived(encode_event(broken))
    assert (level, namespace) == ("warn", "-")
    assert "missing" in text


def test_a_huge_event_is_cut() -> None:
    ((_, _, text),) = arrived(encode_event(event("\U0001f600" * (1 << 20))))
    assert text == "\U0001f600" * LONGEST + "..."


# The pipe.


class Pipe:
    """Takes no more than there is room for, as a pipe that does not wait."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.octets = b""

    def __call__(self, data: bytes) -> int:
        taken = data[: self.room]
        if not taken:
            raise BlockingIOError
        self.octets += taken
        self.room -= len(taken)
        return len(taken)


def test_it_is_an_observer() -> None:
    assert verifyObject(ILogObserver, PipeObserver(len))


def test_what_a_full_pipe_does_not_take_is_counted() -> None:
    line = len(encode_event(event("0")))
    pipe = Pipe(2 * line)
    observer = PipeObserver(pipe)
    for number in range(7):
        observer(event(str(number)))
    pipe.room = 10 * line
    observer(event("8"))
    texts = [text for *_, text in arrived(pipe.octets)]
    # The third waits for the pipe, whole: what comes meanwhile is lost.
    assert texts == ["0", "1", "2", "4 lines of the log were lost", "8"]


@pytest.mark.parametrize("first", [1, 10, 20])
def test_a_line_of_which_a_part_is_written_is_finished_before_the_next(first: int) -> None:
    pipe = Pipe(first)
    observer = PipeObserver(pipe)
    observer(event("first"))
    observer(event("lost"))
    pipe.room = 1 << 16
    observer(event("second"))
    texts = [text for *_, text in arrived(pipe.octets)]
    assert texts == ["first", "1 lines of the log were lost", "second"]


@given(st.lists(st.tuples(st.integers(0, 200), st.text(max_size=60)), max_size=30))
def test_every_line_arrives_whole_and_in_order_or_is_counted(
    events: Sequence[tuple[int, str]],
) -> None:
    pipe = Pipe(0)
    observer = PipeObserver(pipe)
    for room, text in events:
        pipe.room = room
        observer(event(text, namespace="test"))
    pipe.room = 1 << 20
    observer(event("", namespace="test"))
    observer(event("the last", namespace="test"))
    came = arrived(pipe.octets)
    lost = sum(
        int(re.findall(r"^\d+", text)[0]) for _, namespace, text in came if namespace != "test"
    )
    texts = [text for _, namespace, text in came if namespace == "test"]
    assert len(texts) + lost == len(events) + 2
    said = iter([*(text for _, text in events), "", "the last"])
    assert all(text in said for text in texts)


def texts_of(pipe: Pipe) -> list[str]:
    return [text for *_, text in arrived(pipe.octets)]


def test_what_waited_is_written_when_there_is_room_again_though_nobody_logs_more() -> None:
    clock, pipe = Clock(), Pipe(10)
    observer = PipeObserver(pipe)
    observer.flush_by(clock)
    for text in ("first", "second", "third"):
        observer(event(text))
    clock.advance(AGAIN)
    assert len(pipe.octets) == 10
    pipe.room = 1 << 16
    clock.advance(AGAIN)
    assert texts_of(pipe) == ["first", "2 lines of the log were lost"]
    assert clock.getDelayedCalls() == []
    # What comes now is behind it, and none of it is lost.
    observer(event("fourth"))
    assert texts_of(pipe)[2:] == ["fourth"]


def test_the_word_of_lost_lines_waits_for_room_as_any_line() -> None:
    clock, pipe = Clock(), Pipe(10)
    observer = PipeObserver(pipe)
    observer.flush_by(clock)
    line = len(encode_event(event("first")))
    for text in ("first", "second"):
        observer(event(text))
    pipe.room = line - 10 + 5
    clock.advance(AGAIN)
    assert texts_of(pipe) == ["first"]
    observer(event("third"))
    pipe.room = 1 << 16
    while clock.getDelayedCalls():
        clock.advance(AGAIN)
    assert texts_of(pipe)[1:] == ["1 lines of the log were lost"] * 2


def test_while_there_is_room_nobody_is_to_call_again() -> None:
    clock, pipe = Clock(), Pipe(1 << 16)
    observer = PipeObserver(pipe)
    observer.flush_by(clock)
    for number in range(9):
        observer(event(str(number)))
    observer.flush()
    assert clock.getDelayedCalls() == []
    assert texts_of(pipe) == [str(number) for number in range(9)]


def test_there_is_one_call_however_much_is_lost() -> None:
    clock = Clock()
    observer = PipeObserver(Pipe(10))
    observer.flush_by(clock)
    for number in range(100):
        observer(event(str(number)))
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(AGAIN)
    assert len(clock.getDelayedCalls()) == 1


def test_without_a_parent_nothing_happens() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    observer = observer_of(writing)
    observer(event("first"))
    observer(event("second"))
    os.close(writing)


def test_a_worker_does_not_wait_for_a_pipe_that_nobody_reads() -> None:
    reading, writing = os.pipe()
    observer = observer_of(writing)
    with os.fdopen(reading, "rb") as end, os.fdopen(writing, "wb"):
        for number in range(2000):
            observer(event(f"{number} {'x' * 100}"))
        os.set_blocking(reading, False)
        whole = end.read()
        observer(event("the last"))
        whole += end.read()
    texts = [json.loads(line)[2] for line in whole.splitlines()]
    assert texts[0].startswith("0 ")
    assert "lines of the log were lost" in texts[-2]
    assert texts[-1] == "the last"
