"""The parent of workers: how many there are, which of them serve, and their end."""

import errno
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from socks5d.config import Settings
from socks5d.listening import StartupError
from socks5d.naming import make_authenticator
from socks5d.net import available
from socks5d.net.ours import ROW
from socks5d.parameters import Limits, Timeouts
from socks5d.sessionlog import AccessLog
from socks5d.values import ConfigError, Item
from socks5d.workers import supervisor as supervisor_module
from socks5d.workers.assignment import (
    ACCESS_LOG,
    ASSIGNMENT,
    CHANNEL_IN,
    CHANNEL_OUT,
    HANDOVER,
    LISTENERS,
    PORTS,
    Assignment,
    Orders,
)
from socks5d.workers.channel import (
    Abandon,
    Channel,
    Commit,
    HangUp,
    Leaving,
    NotPrepared,
    Part,
    Prepare,
    Ready,
    Receive,
    Serve,
    Take,
)
from socks5d.workers.handover import TOGETHER, close, take_over
from socks5d.workers.rollout import PATIENCE
from socks5d.workers.supervisor import (
    ATTEMPTS,
    GRACE,
    LONGEST_PAUSE,
    PAUSE,
    Supervisor,
)
from socks5d.workers.worker import Worker
from tests.workers.conftest import Exits

LOOPBACK = ("tcp:0:interface=127.0.0.1",)


class Process(Channel):
    """
    A worker's process, in which a test is the worker.

    @ivar handed: its end of the way by which it gets sockets.
    @ivar received: those that it got.
    """

    handed: socket.socket

    def __init__(self, worker: Worker, arguments: Sequence[str], files: dict[int, Any]) -> None:
        super().__init__()
        self.pid: int | None = 1000 + int(arguments[-2])
        self.worker = worker
        self.row = int(arguments[-1])
        self.files = files
        self.signals: list[str] = []
        self.slots: list[int] = []
        self.hang_ups = 0
        self.orders = b""
        self.told: list[str] = []
        self.trouble: Exception | None = None
        self.no_room: Exception | None = None
        self.received: list[int] = []
        self._said = StringTransport()
        self._told = b""
        self.makeConnection(self._said)
        worker.makeConnection(self)

    @Serve.responder
    def serve(self, slot: int) -> dict[str, Any]:
        self.slots.append(slot)
        return {}

    @HangUp.responder
    def hang_up(self) -> dict[str, Any]:
        self.hang_ups += 1
        return {}

    @Part.responder
    def part(self, octets: bytes) -> dict[str, Any]:
        self.orders += octets
        return {}

    @Receive.responder
    def receive(self, count: int) -> dict[str, Any]:
        if self.no_room is not None:
            raise self.no_room
        self.received += take_over(self.handed, count)
        return {}

    @Prepare.responder
    def prepare(self) -> dict[str, Any]:
        self.told.append("prepare")
        if self.trouble is not None:
            raise self.trouble
        return {}

    @Commit.responder
    def commit(self) -> dict[str, Any]:
        self.told.append("commit")
        return {}

    @Abandon.responder
    def abandon(self) -> dict[str, Any]:
        self.told.append("abandon")
        return {}

    # IProcessTransport

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == CHANNEL_IN
        self._told += data

    def closeChildFD(self, descriptor: int) -> None:
        assert descriptor == CHANNEL_IN

    def signalProcess(self, name: str) -> None:
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(name)

    # What a test does.

    def carry(self) -> None:
        """Bring each end what the other has said, until both are silent."""
        while self._told or self._said.value():
            told, self._told = self._told, b""
            said = self._said.value()
            self._said.clear()
            if told:
                self.dataReceived(told)
            if said:
                self.worker.childDataReceived(CHANNEL_OUT, said)

    def says(self, command: Any, **arguments: Any) -> list[Any]:
        """Tell the parent; gives its answer."""
        answers: list[Any] = []
        asked = self.callRemote(command, **arguments)
        if asked is not None:
            asked.addBoth(answers.append)
        self.carry()
        return answers

    def ends(self, status: Exception | None = None) -> None:
        """The process is gone."""
        self.pid, self._told = None, b""
        self._said.clear()
        self.worker.processEnded(Failure(status or ProcessTerminated(signal=9)))


class Parent(Clock):
    """A reactor that notes what it is to start."""

    __module__ = "twisted.internet.epollreactor"

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.commands: list[tuple[str, Sequence[str], dict[str, str]]] = []
        self.problem: Exception | None = None
        self.stops = 0
        self._started: list[Any] = []
        # As far as sockets of its own are concerned, which none of these tests reads.
        directlyProvides(self, IReactorFDSet)

    def spawnProcess(
        self,
        worker: Worker,
        executable: str,
        args: Sequence[str],
        env: dict[str, str],
        childFDs: dict[int, Any],
    ) -> None:
        if self.problem is not None:
            raise self.problem
        for descriptor in childFDs.values():
            if isinstance(descriptor, int):
                os.fstat(descriptor)
        self.commands.append((executable, args, env))
        self.processes.append(Process(worker, args, dict(childFDs)))
        self.processes[-1].handed = socket.socket(fileno=os.dup(childFDs[HANDOVER]))

    def callWhenRunning(self, call: Any) -> None:
        self._started.append(call)

    def runs(self) -> None:
        """The reactor runs from now on."""
        started, self._started = self._started, []
        for call in started:
            call()

    def stop(self) -> None:
        self.stops += 1

    def carry(self) -> None:
        """All have heard what they were told."""
        for process in self.processes:
            process.carry()

    def serving(self) -> list[tuple[int, int]]:
        """The slots that are served, and by whom."""
        self.carry()
        return sorted(
            (slot, process.worker.number)
            for process in self.processes
            for slot in process.slots
            if process.pid is not None
        )


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    for process in made.processes:
        process.handed.close()
        close(process.received)
        process.worker.handover.close()


def made(
    settings: Settings,
    parent: Parent,
    log: AccessLog | None = None,
    items: Sequence[tuple[str, Item]] = (),
) -> Supervisor:
    """One whose settings stay as they are."""
    return Supervisor(settings, items, parent, log, lambda: (items, settings))


class Running:
    """A parent of so many workers, that has started."""

    def __init__(self, parent: Parent, workers: int = 2, **settings: Any) -> None:
        self.reactor = parent
        chosen = Settings(listen=LOOPBACK, workers=workers, **settings)
        items = [("workers", Item("--workers", str(workers)))]
        self.supervisor = made(chosen, parent, items=items)
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        parent.runs()

    def __getitem__(self, number: int) -> Process:
        """The process of this number; they count from one."""
        return self.reactor.processes[number - 1]

    def all_ready(self) -> None:
        for process in self.reactor.processes:
            if process.pid is not None and not process.worker.was_ready:
                process.says(Ready)
        self.reactor.carry()

    def all_live_long(self) -> None:
        """Nobody that is there ends soon after its start any more."""
        self.reactor.advance(PAUSE)

    def last(self) -> Process:
        """The process that was started last."""
        return self.reactor.processes[-1]

    def numbers(self) -> list[int]:
        return sorted(self.supervisor.workers)


@pytest.fixture
def running(parent: Parent) -> Iterator[Running]:
    """Two workers that have served for a while, and one to spare."""
    made = Running(parent)
    made.all_ready()
    made.all_live_long()
    yield made
    made.supervisor._close_listeners()


# Starting.


def test_nobody_is_started_before_the_reactor_runs(parent: Parent) -> None:
    supervisor = made(Settings(listen=LOOPBACK, workers=2), parent)
    supervisor.privilegedStartService()
    supervisor.startService()
    assert parent.processes == []
    supervisor._close_listeners()


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_there_is_one_more_than_serve(workers: int, parent: Parent) -> None:
    running = Running(parent, workers)
    assert running.numbers() == list(range(1, workers + 2))
    running.all_ready()
    assert parent.serving() == [(slot, slot + 1) for slot in range(workers)]
    assert running[workers + 1].worker.spare
    running.supervisor._close_listeners()


def test_the_first_that_are_ready_serve(parent: Parent) -> None:
    running = Running(parent)
    for number in (3, 1, 2):
        running[number].says(Ready)
    assert parent.serving() == [(0, 3), (1, 1)]
    assert running[2].worker.spare
    running.supervisor._close_listeners()


def test_a_worker_is_the_same_python_with_the_same_modules(running: Running) -> None:
    for number, (executable, arguments, env) in enumerate(running.reactor.commands, 1):
        assert executable == arguments[0] == sys.executable
        assert list(arguments[1:-2]) == ["-P", "-m", "socks5d.workers.process"]
        assert int(arguments[-2]) == number
        assert env["PYTHONPATH"].split(os.pathsep) == sys.path


def test_a_worker_inherits_what_it_needs(parent: Parent) -> None:
    running = Running(parent)
    files = running[1].files
    assert (files[1], files[2], files[CHANNEL_OUT]) == ("r", "r", "r")
    assert files[CHANNEL_IN] == "w"
    told = Assignment.read(files[ASSIGNMENT])
    sockets = {key for key, value in files.items() if key >= LISTENERS}
    assert told.workers == 2
    assert told.reactor == "twisted.internet.epollreactor"
    assert told.items == [("workers", Item("--workers", "2"))]
    assert {each for listener in told.listeners for each in listener} == sockets
    assert len(told.listeners[0]) == (2 if available(parent) else 1)
    assert os.fstat(files[PORTS]).st_size == 6 * ROW
    assert told.access_log is None
    running.supervisor._close_listeners()


def test_an_access_log_is_inherited(parent: Parent, tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", Clock())
    supervisor = made(Settings(listen=LOOPBACK, workers=2), parent, log)
    supervisor.startService()
    parent.runs()
    files = parent.processes[0].files
    assert files[ACCESS_LOG] == log.fileno()
    assert Assignment.read(files[ASSIGNMENT]).access_log == tmp_path / "log"
    supervisor._close_listeners()
    log.close()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(listen=(*LOOPBACK, "tcp:0")),
        Settings(listen=(*LOOPBACK, "nonsense:")),
        Settings(listen=LOOPBACK, authenticators=2 * (make_authenticator("none"),)),
    ],
    ids=["an open proxy", "no endpoint", "two of a kind"],
)
def test_what_no_worker_could_use_is_refused_before_anybody_listens(
    settings: Settings, parent: Parent
) -> None:
    with pytest.raises(ConfigError):
        made(evolve(settings, workers=2), parent)


def test_a_listener_that_cannot_be_held_ends_the_start(parent: Parent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        second = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        settings = Settings(listen=(*LOOPBACK, second), workers=2)
        supervisor = made(settings, parent)
        with pytest.raises(StartupError):
            supervisor.privilegedStartService()
    assert supervisor._listeners == []


# When workers end.


@pytest.mark.parametrize("number", [1, 2])
def test_the_spare_takes_the_slot_of_one_that_dies_at_once(number: int, running: Running) -> None:
    running[number].ends()
    assert running.reactor.serving() == sorted([(number - 1, 3), (2 - number, 3 - number)])
    # Another is started to be the spare.
    assert running.numbers() == sorted({1, 2, 3, 4} - {number})
    running.all_ready()
    assert running[4].worker.spare
    assert running.reactor.serving() == sorted([(number - 1, 3), (2 - number, 3 - number)])


def test_a_spare_that_dies_is_replaced(running: Running) -> None:
    before = running.reactor.serving()
    running[3].ends()
    assert running.reactor.serving() == before
    assert running.numbers() == [1, 2, 4]


def test_when_all_die_the_next_that_are_ready_serve(running: Running) -> None:
    for number in (1, 2, 3):
        running[number].ends()
    assert running.reactor.serving() == []
    assert len(running.numbers()) == 3
    running.all_ready()
    assert [slot for slot, _ in running.reactor.serving()] == [0, 1]


def test_the_end_of_a_worker_is_logged(running: Running, logs: Sequence[LogEvent]) -> None:
    running[1].ends()
    texts = [formatEvent(event) for event in logs]
    assert "worker 1 was ended by signal 9" in texts
    assert "worker 3 (process 1003) serves" in texts


def test_the_row_of_a_dead_worker_is_cleared_and_used_again(running: Running) -> None:
    worker, ports = running[1], running[1].files[PORTS]
    os.pwrite(ports, b"\1", worker.row * ROW + 53)
    os.pwrite(ports, b"\1", running[2].row * ROW + 54)
    worker.ends()
    assert os.pread(ports, ROW, worker.row * ROW) == bytes(ROW)
    assert os.pread(ports, 1, running[2].row * ROW + 54) == b"\1"
    assert running[4].row == worker.row
    rows = [each.row for each in running.reactor.processes if each.pid is not None]
    assert len(set(rows)) == len(rows)


def test_what_a_dead_worker_had_taken_is_had_again(parent: Parent) -> None:
    running = Running(parent, limits=Limits(associations=1))
    running.all_ready()
    what = {"kind": "associations", "key": "4/7f000001"}
    assert running[1].says(Take, **what) == [{"granted": True}]
    assert running[2].says(Take, **what) == [{"granted": False}]
    running[1].ends()
    assert running[2].says(Take, **what) == [{"granted": True}]
    running.supervisor._close_listeners()


# Workers that are no good.


@pytest.mark.parametrize("ready", [False, True], ids=["never got ready", "ended soon"])
def test_one_that_was_no_good_is_waited_for_a_while(ready: bool, parent: Parent) -> None:
    running = Running(parent)
    if ready:
        running.all_ready()
    running[1].ends(ProcessTerminated(exitCode=1))
    parent.advance(PAUSE / 2)
    assert running.numbers() == [2, 3]
    parent.advance(PAUSE / 2)
    assert running.numbers() == [2, 3, 4]
    running.supervisor._close_listeners()


def test_one_that_never_got_ready_is_no_good_however_long_it_took(running: Running) -> None:
    running[3].ends()
    running.all_live_long()
    running[4].ends()
    assert running.numbers() == [1, 2]
    running.reactor.advance(PAUSE)
    assert running.numbers() == [1, 2, 5]


def test_the_slot_of_one_that_ended_soon_is_served_at_once(parent: Parent) -> None:
    running = Running(parent)
    running.all_ready()
    running[1].ends()
    assert parent.serving() == [(0, 3), (1, 2)]
    running.supervisor._close_listeners()


def test_the_pause_doubles_up_to_a_bound(running: Running) -> None:
    running[3].ends()
    pauses = [PAUSE * 2**power for power in range(8)]
    assert pauses[-1] < LONGEST_PAUSE < 2 * pauses[-1]
    for number, pause in enumerate([*pauses, *3 * [LONGEST_PAUSE]], 4):
        assert running.numbers() == [1, 2, number]
        running[number].ends()
        running.reactor.advance(pause - PAUSE / 4)
        assert running.numbers() == [1, 2]
        running.reactor.advance(PAUSE / 4)


def test_the_bound_holds_after_any_number_of_failures(running: Running) -> None:
    running[3].ends()
    for _ in range(1100):
        running.last().ends()
        running.reactor.advance(LONGEST_PAUSE)
    assert running.numbers() == [1, 2, 1104]


def test_after_one_that_gets_ready_the_pause_is_the_shortest_again(running: Running) -> None:
    running[3].ends()
    for _ in range(4):
        running.last().ends()
        running.reactor.advance(LONGEST_PAUSE)
    running.last().says(Ready)
    running.all_live_long()
    # It was good, so that the next is there at once, and that one is not.
    running.last().ends()
    assert len(running.numbers()) == 3
    running.last().ends()
    assert len(running.numbers()) == 2
    running.reactor.advance(PAUSE)
    assert len(running.numbers()) == 3


def test_there_is_one_pause_for_all_that_fail_meanwhile(parent: Parent) -> None:
    running = Running(parent)
    for number in (1, 2, 3):
        running[number].ends()
        parent.advance(PAUSE / 4)
    assert running.numbers() == []
    parent.advance(PAUSE / 4)
    assert running.numbers() == [4, 5, 6]
    assert parent.getDelayedCalls() == []
    running.supervisor._close_listeners()


def test_there_is_no_sense_in_more_that_never_get_ready(
    parent: Parent, logs: Sequence[LogEvent], exits: Exits
) -> None:
    running = Running(parent)
    for _ in range(ATTEMPTS):
        assert (parent.stops, exits.calls) == (0, [])
        next(each for each in parent.processes if each.pid is not None).ends()
        parent.advance(LONGEST_PAUSE)
    assert parent.stops == 1
    assert len(exits.calls) == 1
    assert any("no worker can serve" in formatEvent(event) for event in logs)
    running.supervisor._close_listeners()


def test_there_is_no_sense_in_more_that_get_ready_and_end_at_once(parent: Parent) -> None:
    running = Running(parent)
    for _ in range(4 * ATTEMPTS):
        running.all_ready()
        for each in list(running.supervisor.workers):
            running[each].ends(ProcessTerminated(exitCode=1))
        parent.advance(LONGEST_PAUSE)
    running.supervisor._close_listeners()
    assert parent.stops > 0


def test_the_pause_doubles_for_those_that_get_ready_and_end_at_once(running: Running) -> None:
    running[3].ends()
    for _ in range(3):
        running.last().says(Ready)
        running.last().ends()
        running.reactor.advance(LONGEST_PAUSE)
    running.last().says(Ready)
    running.last().ends()
    running.reactor.advance(PAUSE)
    assert running.numbers() == [1, 2]


def test_it_is_ended_once_however_many_fail_at_once(parent: Parent, exits: Exits) -> None:
    running = Running(parent, 2 * ATTEMPTS)
    for _ in range(ATTEMPTS):
        for each in list(running.supervisor.workers):
            running[each].ends(ProcessTerminated(exitCode=1))
        parent.advance(LONGEST_PAUSE)
    running.supervisor._close_listeners()
    # A reactor that is told so a second time raises.
    assert (parent.stops, len(exits.calls)) == (1, 1)


def test_one_that_gets_ready_ends_the_count(parent: Parent) -> None:
    running = Running(parent)
    for _ in range(3):
        for _ in range(ATTEMPTS - 1):
            running.last().ends()
            parent.advance(LONGEST_PAUSE)
        running.last().says(Ready)
        running.all_live_long()
    assert parent.stops == 0
    running.supervisor._close_listeners()


def test_those_that_serve_go_on_though_no_spare_gets_ready(running: Running) -> None:
    before = running.reactor.serving()
    running[3].ends()
    for _ in range(2 * ATTEMPTS):
        for each in list(running.supervisor.workers.values()):
            if not each.was_ready:
                running[each.number].ends(ProcessTerminated(exitCode=1))
        running.reactor.advance(LONGEST_PAUSE)
    assert len(running.reactor.processes) > 2 * ATTEMPTS
    assert running.reactor.serving() == before
    assert running.reactor.stops == 0


# Workers that leave.


def test_the_slot_of_one_that_leaves_is_served_by_the_spare(running: Running) -> None:
    running[1].says(Leaving)
    running[1].slots = []
    assert running.reactor.serving() == [(0, 3), (1, 2)]
    assert running.numbers() == [1, 2, 3, 4]
    running.all_ready()
    running[1].ends(ProcessDone(0))
    assert running.numbers() == [2, 3, 4]
    assert running[4].worker.spare


def test_one_that_has_left_ends_without_a_word(running: Running, logs: Sequence[LogEvent]) -> None:
    running[1].says(Leaving)
    running[1].ends(ProcessDone(0))
    assert not any("worker 1" in formatEvent(event) for event in logs)


def test_as_many_stay_as_should_however_many_are_leaving(running: Running) -> None:
    for number in (1, 2):
        running[number].says(Leaving)
    assert running.numbers() == [1, 2, 3, 4, 5]
    running[3].ends()
    assert running.numbers() == [1, 2, 4, 5, 6]


def test_a_spare_that_leaves_is_replaced(running: Running) -> None:
    running[3].says(Leaving)
    assert running.numbers() == [1, 2, 3, 4]
    running[1].ends()
    assert (0, 3) not in running.reactor.serving()
    running.all_ready()
    assert running.reactor.serving() == [(0, 4), (1, 2)]


def test_any_number_may_leave_before_their_sessions_end(
    running: Running, logs: Sequence[LogEvent]
) -> None:
    leaving = []
    for number in range(1, 9):
        if number <= len(running.reactor.processes):
            running[number].says(Leaving)
            leaving.append(running[number])
            running.all_ready()
            running.all_live_long()
    for each in leaving:
        each.slots = []
        each.ends(ProcessDone(0))
    running.all_ready()
    assert [event for event in logs if "log_failure" in event] == []
    assert [slot for slot, _ in running.reactor.serving()] == [0, 1]


def test_slots_are_served_though_others_take_long_to_leave(running: Running) -> None:
    for number in (1, 2):
        running[number].says(Leaving)
        running[number].slots = []
    running.all_ready()
    running.all_live_long()
    for number in (3, 4, 5):
        running[number].ends()
    assert running.numbers() == [1, 2, 6, 7, 8]
    running.all_ready()
    assert [slot for slot, _ in running.reactor.serving()] == [0, 1]


# Workers that cannot be started.


def test_a_worker_that_cannot_be_started_is_tried_again(
    running: Running, logs: Sequence[LogEvent]
) -> None:
    running.reactor.problem = OSError("no more processes")
    running[1].ends()
    assert running.numbers() == [2, 3]
    assert "worker 4 cannot be started: no more processes" in map(formatEvent, logs)
    running.reactor.problem = None
    running.reactor.advance(PAUSE / 2)
    assert running.numbers() == [2, 3]
    running.reactor.advance(PAUSE / 2)
    assert len(running.numbers()) == 3
    started = [each for each in running.reactor.processes if each.pid is not None]
    assert sorted(each.worker.number for each in started) == running.numbers()


def test_one_that_cannot_be_started_takes_no_row(running: Running) -> None:
    running.reactor.problem = OSError("no more processes")
    running[3].ends()
    for _ in range(20):
        running.reactor.advance(LONGEST_PAUSE)
    running.reactor.problem = None
    running.reactor.advance(LONGEST_PAUSE)
    running.all_ready()
    running.all_live_long()
    # As many at once as there are rows, and no two on one.
    for number in running.numbers():
        next(each for each in running.reactor.processes if each.worker.number == number).says(
            Leaving
        )
    rows = [each.row for each in running.reactor.processes if each.pid is not None]
    assert sorted(rows) == list(range(6))


def test_where_none_can_be_started_it_ends_with_status_1(parent: Parent, exits: Exits) -> None:
    parent.problem = OSError("no more processes")
    running = Running(parent)
    for power in range(ATTEMPTS - 1):
        assert (parent.stops, exits.calls) == (0, [])
        parent.advance(PAUSE * 2**power)
    assert parent.stops == 1
    assert len(exits.calls) == 1
    assert parent.getDelayedCalls() == []
    running.supervisor._close_listeners()


def test_it_ends_though_a_worker_could_not_be_started(running: Running) -> None:
    running.reactor.problem = OSError("no more processes")
    running[1].ends()
    stopped = running.supervisor.stopService()
    assert running[2].signals == running[3].signals == ["TERM"]
    for number in (2, 3):
        running[number].ends(ProcessDone(0))
    assert stopped.called


# The end.


def test_all_are_told_to_end_and_waited_for(running: Running) -> None:
    stopped: Deferred[None] = running.supervisor.stopService()
    assert [running[number].signals for number in (1, 2, 3)] == [["TERM"]] * 3
    for number in (1, 2, 3):
        assert not stopped.called
        running[number].ends(ProcessDone(0))
    assert stopped.called
    assert len(running.reactor.processes) == 3
    assert running.reactor.getDelayedCalls() == []


def test_those_that_do_not_end_are_killed(parent: Parent) -> None:
    running = Running(parent, timeouts=Timeouts(shutdown=3))
    running.all_ready()
    stopped = running.supervisor.stopService()
    running[2].ends(ProcessDone(0))
    parent.advance(3 + GRACE - 0.1)
    assert [running[number].signals for number in (1, 3)] == [["TERM"]] * 2
    parent.advance(0.2)
    assert [running[number].signals for number in (1, 2, 3)] == [
        ["TERM", "KILL"],
        ["TERM"],
        ["TERM", "KILL"],
    ]
    running[1].ends()
    running[3].ends()
    assert stopped.called


def test_one_that_leaves_or_gets_ready_meanwhile_changes_nothing(parent: Parent) -> None:
    running = Running(parent)
    running[1].says(Ready)
    stopped = running.supervisor.stopService()
    running[1].says(Leaving)
    running[2].says(Ready)
    assert parent.serving() == [(0, 1)]
    assert running.numbers() == [1, 2, 3]
    for number in (1, 2, 3):
        running[number].ends(ProcessDone(0))
    assert stopped.called


def test_nobody_listens_any_more(running: Running) -> None:
    held = list(running.supervisor._listeners)
    running.supervisor.stopService()
    assert all(each.fileno() == -1 for listener in held for each in listener.sockets)


def test_an_end_before_the_reactor_runs_starts_nobody(parent: Parent) -> None:
    supervisor = made(Settings(listen=LOOPBACK, workers=2), parent)
    supervisor.startService()
    stopped = supervisor.stopService()
    parent.runs()
    assert stopped.called
    assert parent.processes == []


def test_an_end_while_one_is_waited_for_starts_nobody(parent: Parent) -> None:
    running = Running(parent)
    running[1].ends()
    stopped = running.supervisor.stopService()
    parent.advance(PAUSE)
    assert running.numbers() == [2, 3]
    for number in (2, 3):
        running[number].ends(ProcessDone(0))
    assert stopped.called
    assert parent.getDelayedCalls() == []


# SIGHUP.


def test_a_sighup_reaches_every_worker(running: Running) -> None:
    running.supervisor.hang_up()
    running.reactor.carry()
    assert [running[number].hang_ups for number in (1, 2, 3)] == [1, 1, 1]


def test_a_sighup_opens_the_parents_access_log_anew(parent: Parent, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(path, Clock())
    supervisor = made(Settings(listen=LOOPBACK, workers=2), parent, log)
    supervisor.startService()
    parent.runs()
    path.rename(tmp_path / "moved")
    supervisor.hang_up()
    assert os.path.samestat(os.fstat(log.fileno()), path.stat())
    for _ in ("get ready", "go on"):
        parent.carry()
    # A worker that is started from now on has the new one.
    parent.processes[0].ends()
    parent.advance(PAUSE)
    assert len(parent.processes) == 4
    assert parent.processes[-1].files[ACCESS_LOG] == log.fileno()
    supervisor._close_listeners()
    log.close()


def test_its_name_is_its_workers(monkeypatch: pytest.MonkeyPatch, parent: Parent) -> None:
    monkeypatch.setattr(supervisor_module, "_own_name", lambda: "a name")
    running = Running(parent)
    assert Assignment.read(running[1].files[ASSIGNMENT]).name == "a name"
    running.supervisor._close_listeners()


# Reload.


class Changing:
    """A parent whose settings a test changes."""

    def __init__(self, parent: Parent) -> None:
        self.settings = Settings(listen=LOOPBACK, workers=2)
        self.items: Sequence[tuple[str, Item]] = [("workers", Item("--workers", "2"))]
        self.parent = parent
        self.supervisor = Supervisor(
            self.settings, self.items, parent, None, lambda: (self.items, self.settings)
        )
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        parent.runs()
        for process in parent.processes:
            process.says(Ready)

    def hang_up(self, **changes: Any) -> None:
        self.settings = evolve(self.settings, **changes)
        self.supervisor.hang_up()
        self.carry()

    def carry(self) -> None:
        # They get sockets one after the other, are ready, and go on.
        for _ in range(5):
            self.parent.carry()

    def told(self) -> list[list[str]]:
        return [process.told for process in self.parent.processes]


@pytest.fixture
def changing(parent: Parent) -> Iterator[Changing]:
    made = Changing(parent)
    yield made
    made.supervisor._close_listeners()


TWO = (*LOOPBACK, "tcp:0:interface=127.0.0.2")


def test_all_are_ready_before_one_goes_on(changing: Changing) -> None:
    changing.settings = evolve(changing.settings, listen=TWO)
    changing.supervisor.hang_up()
    first, second, third = changing.parent.processes
    # One after the other gets the sockets.
    for process in (first, second):
        process.carry()
    assert [len(each.received) for each in (first, second, third)] == [2, 2, 0]
    assert changing.told() == [[], [], []]
    third.carry()
    assert changing.told() == [[], [], ["prepare"]]
    first.carry()
    assert changing.told() == [["prepare"], [], ["prepare"]]
    changing.carry()
    assert changing.told() == 3 * [["prepare", "commit"]]
    orders = Orders.decode(third.orders)
    assert (orders.sockets, orders.items, len(third.received)) == ([0, 2], changing.items, 2)


def test_many_sockets_are_handed_over_in_parts(changing: Changing) -> None:
    numbers = range(2, 2 + TOGETHER)
    changing.hang_up(listen=(*LOOPBACK, *(f"tcp:0:interface=127.0.0.{n}" for n in numbers)))
    changing.carry()
    assert changing.told() == 3 * [["prepare", "commit"]]
    assert [len(each.received) for each in changing.parent.processes] == 3 * [2 * TOGETHER]


def test_one_that_is_gone_when_it_should_get_sockets_is_not_missed(changing: Changing) -> None:
    changing.parent.processes[0].handed.close()
    changing.hang_up(listen=TWO)
    assert changing.told()[1:] == 2 * [["prepare", "commit"]]


def test_sockets_that_cannot_be_handed_over_end_nobody(
    changing: Changing, monkeypatch: pytest.MonkeyPatch, logs: Sequence[LogEvent]
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))

    monkeypatch.setattr(socket, "send_fds", refuse)
    changing.hang_up(listen=TWO)
    assert changing.told() == 3 * [["abandon"]]
    assert all(process.signals == [] for process in changing.parent.processes)
    assert len(changing.supervisor._listeners) == 1
    said = [event["problem"] for event in logs if "not reloaded" in event.get("log_format", "")]
    assert said == ["worker 1: the sockets of its listeners: Too many references: cannot splice"]


def test_one_that_has_no_room_for_sockets_keeps_all_as_they_are(
    changing: Changing, logs: Sequence[LogEvent]
) -> None:
    changing.parent.processes[1].no_room = NotPrepared("Too many open files")
    changing.hang_up(listen=TWO)
    assert changing.told() == 3 * [["abandon"]]
    said = [event["problem"] for event in logs if "not reloaded" in event.get("log_format", "")]
    assert said == ["worker 2: the sockets of its listeners: Too many open files"]


def test_one_that_is_not_ready_keeps_all_as_they_are(
    changing: Changing, logs: Sequence[LogEvent]
) -> None:
    changing.parent.processes[1].trouble = NotPrepared("one\ntwo")
    before = list(changing.supervisor._listeners)
    changing.hang_up(listen=TWO)
    assert changing.told() == 3 * [["prepare", "abandon"]]
    assert changing.supervisor._listeners == before
    said = [event["problem"] for event in logs if "not reloaded" in event.get("log_format", "")]
    assert said == ["worker 2: one", "worker 2: two"]
    changing.parent.processes[1].trouble = None
    changing.hang_up()
    assert changing.told() == 3 * [["prepare", "abandon", "prepare", "commit"]]


def test_one_that_does_not_answer_is_not_waited_for_long(changing: Changing) -> None:
    changing.settings = evolve(changing.settings, listen=TWO)
    changing.supervisor.hang_up()
    changing.parent.carry()
    # The last one has answered.
    assert changing.told() == [[], [], ["prepare"]]
    changing.parent.advance(PATIENCE)
    changing.carry()
    assert changing.told() == 3 * [["prepare", "abandon"]]
    assert len(changing.supervisor._listeners) == 1


def test_one_that_does_not_take_its_sockets_is_not_waited_for_long(changing: Changing) -> None:
    changing.settings = evolve(changing.settings, listen=TWO)
    changing.supervisor.hang_up()
    changing.parent.processes[0].carry()
    changing.parent.advance(PATIENCE)
    changing.carry()
    assert changing.told() == 3 * [["abandon"]]
    assert len(changing.supervisor._listeners) == 1


def test_one_that_ends_is_not_asked_and_another_gets_the_new(changing: Changing) -> None:
    changing.settings = evolve(changing.settings, listen=TWO)
    changing.supervisor.hang_up()
    changing.parent.processes[0].ends()
    changing.parent.advance(PAUSE)
    # Not by what is about to change.
    assert len(changing.parent.processes) == 3
    changing.carry()
    assert changing.told()[1:3] == 2 * [["prepare", "commit"]]
    newest = changing.parent.processes[3]
    assert len(Assignment.read(newest.files[ASSIGNMENT]).listeners) == 2


def test_a_sighup_in_the_middle_of_one_makes_one_more(changing: Changing) -> None:
    changing.supervisor.hang_up()
    changing.supervisor.hang_up()
    changing.supervisor.hang_up()
    for _ in range(4):
        changing.parent.carry()
    assert changing.told() == 3 * [["prepare", "commit", "prepare", "commit"]]


def test_what_the_parent_counts_goes_by_the_new_limits(changing: Changing) -> None:
    tally = changing.supervisor._tally
    assert tally.take(1, "client sessions", "a")
    changing.hang_up(limits=Limits(client_sessions=1, session_rate=1, session_burst=1))
    # The one before was without a limit, and nobody counted it in earnest.
    assert not tally.take(1, "client sessions", "a")
    assert [tally.take(1, "starts", "a") for _ in range(2)] == [True, False]
    changing.hang_up(limits=Limits())
    assert [tally.take(1, "client sessions", "a") for _ in range(3)] == 3 * [True]
    assert [tally.take(1, "starts", "a") for _ in range(3)] == 3 * [True]


def test_a_listener_that_goes_is_closed(changing: Changing) -> None:
    (held,) = changing.supervisor._listeners
    changing.hang_up(listen=("tcp:0:interface=127.0.0.2",))
    assert all(each.fileno() == -1 for each in held.sockets)


def test_one_that_is_stopped_meanwhile_changes_nothing(changing: Changing) -> None:
    changing.settings = evolve(changing.settings, listen=TWO)
    changing.supervisor.hang_up()
    changing.supervisor.stopService()
    changing.carry()
    assert changing.supervisor._listeners == []
    assert not any("commit" in told for told in changing.told())
