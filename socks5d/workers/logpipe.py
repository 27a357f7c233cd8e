"""
A worker's log, on its way to the parent: a line for each event.

A worker does not wait for its parent: what the pipe does not take is left out, and how
many lines that was is said in the next.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

#: Characters of one event that are passed on.
LONGEST = 1 << 14
#: When a full pipe is tried again, in seconds.
AGAIN = 0.1


def encode_event(event: LogEvent) -> bytes:
    """
    @return: a line.
    """
    text = formatEvent(event)
    if "log_failure" in event:
        text = f"{text}\n{event['log_failure'].getTraceback()}"
    level = event.get("log_level", LogLevel.info).name
    namespace = event.get("log_namespace", "-")
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}..."
    return json.dumps([level, namespace, text]).encode("ascii") + b"\n"


@implementer(ILogObserver)
class PipeObserver:
    """Writes events to a pipe."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        """
        @param write: gives how many octets were taken, or raises BlockingIOError.
        """
        self._write = write
        self._rest = b""
        self._lost = 0
        self._called = False
        self._later: Callable[[], object] = _nothing

    def __call__(self, event: LogEvent) -> None:
        """See L{ILogObserver}."""
        if self._rest:
            self.flush()
        if self._rest:
            self._lost += 1
            return
        self._send(encode_event(event))

    def flush(self) -> None:
        """Write what the pipe had no room for."""
        self._send(self._rest)
        if self._lost and not self._rest:
            lost = [LogLevel.warn.name, __name__, f"{self._lost} lines of the log were lost"]
            self._lost = 0
            self._send(json.dumps(lost).encode("ascii") + b"\n")

    def flush_by(self, reactor: Any) -> None:
        """
        @param reactor: calls L{flush} when there may be room again.
        """

        def again() -> None:
            self._called = False
            self.flush()

        def later() -> None:
            if not self._called:
                self._called = True
                reactor.callLater(AGAIN, again)

        self._later = later

    def _send(self, data: bytes) -> None:
        try:
            taken = self._write(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            # The parent is gone, and the log with it.
            taken = len(data)
        self._rest = data[taken:]
        if self._rest:
            self._later()


def _nothing() -> None:
    """Nobody calls again; the next event does."""


def observer_of(descriptor: int) -> PipeObserver:
    """
    @param descriptor: a pipe's writing end.
    """
    os.set_blocking(descriptor, False)
    return PipeObserver(lambda data: os.write(descriptor, data))


class LogReader:
    """The parent's end: makes events of lines."""

    def __init__(self) -> None:
        self._buffer = b""
        self._loggers: dict[str, Logger] = {}

    def received(self, data: bytes) -> None:
        """
        @param data: what came out of the pipe.
        """
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            level, namespace, text = json.loads(line)
            logger = self._loggers.get(namespace)
            if logger is None:
                logger = self._loggers[namespace] = Logger(namespace)
            logger.emit(LogLevel.lookupByName(level), "{text}", text=text)
