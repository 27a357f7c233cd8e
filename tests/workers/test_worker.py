"""A worker as its parent sees it."""

import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from socks5d.limits.lease import Lease
from socks5d.workers.assignment import CHANNEL_IN, CHANNEL_OUT, LOG
from socks5d.workers.channel import Channel, GiveBack, HangUp, Leaving, Ready, Serve, Take
from socks5d.workers.logpipe import encode_event
from socks5d.workers.tally import AtParent, Tally
from socks5d.workers.worker import LONGEST, Worker

DONE = Failure(ProcessDone(0))


class Process:
    """A process's transport."""

    def __init__(self) -> None:
        self.pid: int | None = 4711
        self.signals: list[str] = []
        self.written = b""

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == CHANNEL_IN
        self.written += data

    def closeChildFD(self, descriptor: int) -> None:
        assert descriptor == CHANNEL_IN

    def signalProcess(self, name: str) -> None:
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(name)


class OtherEnd(Channel):
    """The worker's end."""

    def __init__(self) -> None:
        super().__init__()
        self.serves: list[int] = []
        self.hang_ups = 0
        self.problem: Exception | None = None

    @Serve.responder
    def serve(self, slot: int) -> dict[str, Any]:
        if self.problem is not None:
            raise self.problem
        self.serves.append(slot)
        return {}

    @HangUp.responder
    def hang_up(self) -> dict[str, Any]:
        self.hang_ups += 1
        return {}


class Parent:
    """A worker, its other end, and what it tells of itself."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.clock = Clock()
        self.clock.advance(12.5)
        self.tally = Tally({"associations": 1})
        handover, self.handed = socket.socketpair()
        self.worker = Worker(
            3,
            0,
            self.tally,
            clock=self.clock,
            handover=handover,
            ready=lambda _: self.seen.append("ready"),
            leaving=lambda _: self.seen.append("leaving"),
            ended=lambda _, how: self.seen.append(how),
        )
        self.end = OtherEnd()
        self.process = Process()
        self.worker.makeConnection(self.process)
        self._said = StringTransport()
        self.end.makeConnection(self._said)

    def carry(self) -> None:
        """Bring each end what the other has said, until both are silent."""
        while self.process.written or self._said.value():
            told, self.process.written = self.process.written, b""
            said = self._said.value()
            self._said.clear()
            if told:
                self.end.dataReceived(told)
            if said:
                self.worker.childDataReceived(CHANNEL_OUT, said)

    def hears(self, command: Any, **arguments: Any) -> list[Any]:
        """Brings it a command from the worker; gives the answers."""
        answers: list[Any] = []
        asked = self.end.callRemote(command, **arguments)
        if asked is not None:
            asked.addBoth(answers.append)
        self.carry()
        return answers


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    made.handed.close()
    made.worker.handover.close()


def test_it_has_its_processs_number_and_knows_since_when_it_is_there(parent: Parent) -> None:
    assert parent.worker.pid == 4711
    assert parent.worker.started == 12.5


def test_it_is_to_spare_from_when_it_is_ready_until_it_serves(parent: Parent) -> None:
    worker = parent.worker
    assert (worker.spare, worker.was_ready) == (False, False)
    parent.hears(Ready)
    assert (worker.spare, worker.was_ready, parent.seen) == (True, True, ["ready"])
    worker.serve(1)
    parent.carry()
    assert (worker.spare, worker.was_ready, parent.end.serves) == (False, True, [1])
    assert parent.process.signals == []


def test_one_that_leaves_is_not_to_spare(parent: Parent) -> None:
    parent.hears(Ready)
    assert not parent.worker.left
    parent.hears(Leaving)
    assert (parent.worker.spare, parent.worker.left) == (False, True)
    assert parent.seen == ["ready", "leaving"]


def test_it_hears_of_a_sighup(parent: Parent) -> None:
    parent.worker.hang_up()
    parent.carry()
    assert parent.end.hang_ups == 1


def test_it_counts_with_its_parent(parent: Parent) -> None:
    what = {"kind": "associations", "key": "4/1"}
    assert parent.hears(Take, **what) == [{"granted": True}]
    assert parent.hears(Take, **what) == [{"granted": False}]
    parent.hears(GiveBack, **what)
    assert parent.tally.take(9, "associations", "4/1")


def test_one_that_cannot_serve_is_ended(parent: Parent, logs: Sequence[LogEvent]) -> None:
    parent.end.problem = OSError("no such luck")
    parent.worker.serve(0)
    parent.carry()
    assert parent.process.signals == ["KILL"]
    assert any("worker 3 fails and is ended" in formatEvent(event) for event in logs)


def test_one_that_has_ended_already_is_not_signalled(parent: Parent) -> None:
    parent.process.pid = None
    parent.worker.signal("TERM")
    assert parent.process.signals == []


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        (ProcessDone(0), "ended with status 0"),
        (ProcessTerminated(exitCode=3), "ended with status 3"),
        (ProcessTerminated(signal=9), "was ended by signal 9"),
    ],
)
def test_its_end_is_told_of(parent: Parent, reason: Exception, how: str) -> None:
    parent.hears(Ready)
    parent.worker.processEnded(Failure(reason))
    assert parent.seen == ["ready", how]
    assert not parent.worker.spare


def test_an_end_while_it_is_told_to_serve_is_its_end_alone(
    parent: Parent, logs: Sequence[LogEvent]
) -> None:
    parent.worker.serve(0)
    parent.process.pid = None
    parent.worker.processEnded(DONE)
    assert parent.seen == ["ended with status 0"]
    assert parent.process.signals == []
    assert logs == []


def test_a_pipe_that_is_closed_before_the_process_is_gone_fails_nobody(parent: Parent) -> None:
    # Twisted's process forgets a pipe as soon as the other end closes it.
    def forgotten(descriptor: int, data: bytes) -> None:
        raise KeyError(descriptor)

    parent.process.writeToChild = forgotten  # type: ignore[method-assign]
    parent.worker.hang_up()
    parent.worker.serve(0)


# What it logs and prints.


def said(logs: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in logs]


def test_its_log_is_its_parents(parent: Parent, logs: Sequence[LogEvent]) -> None:
    parent.worker.childDataReceived(
        LOG, encode_event({"log_format": "hello", "log_namespace": "x"})
    )
    assert said(logs) == ["hello"]
    assert logs[0]["log_namespace"] == "x"


@pytest.mark.parametrize("descriptor", [1, 2])
def test_what_it_prints_is_in_the_log_a_line_each(
    descriptor: int, parent: Parent, logs: Sequence[LogEvent]
) -> None:
    for piece in (b"first\nsec", b"ond\n", b"\x1b[2J\xff\x00\r\n", b"rest"):
        parent.worker.childDataReceived(descriptor, piece)
    parent.worker.processEnded(DONE)
    assert said(logs)[:2] == ["worker 3: first", "worker 3: second"]
    assert said(logs)[3] == "worker 3: rest"
    assert len(logs) == 4
    assert all(text.isprintable() for text in said(logs))


def test_a_line_without_an_end_is_bounded(parent: Parent, logs: Sequence[LogEvent]) -> None:
    for _ in range(64):
        parent.worker.childDataReceived(2, b"x" * 1000)
    assert sum(text.count("x") for text in said(logs)) > 64000 - LONGEST
    assert all(len(text) < LONGEST + 1100 for text in said(logs))


def test_what_it_prints_is_no_format(parent: Parent, logs: Sequence[LogEvent]) -> None:
    parent.worker.childDataReceived(2, b"{number} {0} %s\n")
    assert said(logs) == ["worker 3: {number} {0} %s"]


# Leases.


class Lender:
    """Gives what a test says; a holder's are told apart."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, int]] = []
        self.back: list[tuple[str, int]] = []
        self.later: Deferred[Lease] | None = None

    def lease(self, holder: int, key: str, sessions: int) -> Lease | Deferred[Lease]:
        self.asked.append((holder, key, sessions))
        return Lease(100, 0.5) if self.later is None else self.later

    def give_back(self, key: str, octets: int) -> None:
        self.back.append((key, octets))


@pytest.mark.parametrize("late", [False, True])
def test_a_lease_of_the_parents_is_a_lease(parent: Parent, late: bool) -> None:
    lender = Lender()
    parent.tally._lessors = {"rate up": lender}
    if late:
        lender.later = Deferred()
    there = AtParent(parent.end)
    answers: list[Any] = []
    there.lessor("rate up").lease(0, "ann", 2).addCallback(answers.append)
    there.lessor("rate up").give_back("bob", -7)
    parent.carry()
    assert lender.asked == [(3, "ann", 2)]
    assert lender.back == [("bob", -7)]
    if lender.later is not None:
        assert answers == []
        lender.later.callback(Lease(0, -1.0, "all gone"))
        parent.carry()
        assert answers == [Lease(0, -1.0, "all gone")]
    else:
        assert answers == [Lease(100, 0.5)]


def test_what_fails_at_the_parent_is_an_answer_and_ends_nothing(parent: Parent) -> None:
    lender = Lender()
    parent.tally._lessors = {"quota": lender}
    there = AtParent(parent.end)
    for _ in range(2):
        lender.later = fail(OSError("the disk is full"))
        problems: list[Failure] = []
        there.lessor("quota").lease(0, "ann", 1).addErrback(problems.append)
        parent.carry()
        assert [each.getErrorMessage() for each in problems] == ["the disk is full"]
