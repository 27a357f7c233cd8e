"""
The parent of workers as an L{IService}: listens for them, starts them, and starts them anew.

There is always one worker more than serve.  When one of those that serve ends, the spare
one takes its slot at once, and another is started to be the spare.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.config import Item, Settings
from socks5d.listening import cannot_start, complain
from socks5d.net.ours import ROW
from socks5d.sessionlog import AccessLog
from socks5d.workers.assignment import (
    ACCESS_LOG,
    ASSIGNMENT,
    CHANNEL_IN,
    CHANNEL_OUT,
    LISTENERS,
    LOG,
    PORTS,
    Assignment,
    nameless_file,
)
from socks5d.workers.held import HeldListener, hold
from socks5d.workers.tally import Tally
from socks5d.workers.worker import Worker

#: For how long a worker is waited for that never got ready, before the next, in seconds.
PAUSE: Final = 1.0
#: Workers in a row that never get ready, after which there is no sense in more.
ATTEMPTS: Final = 5
#: What a worker gets to end, beyond what its sessions get, in seconds.
GRACE: Final = 5.0


class Supervisor(Service):
    """
    @ivar workers: all that there are, by their numbers.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        items: Sequence[tuple[str, Item]],
        reactor: Any,
        access_log: AccessLog | None,
    ) -> None:
        """
        @param settings: what to do.
        @param items: what they were made of, for the workers to do the same.
        @param access_log: is written by the workers.
        """
        self.setName("socks5d")
        self._settings = settings
        self._items = items
        self._reactor = reactor
        self._access_log = access_log
        self._tally = Tally({"associations": settings.limits.associations})
        self._listeners: list[HeldListener] = []
        self._count = 0
        self._unready = 0
        self._stopping: Deferred[None] | None = None
        self._slots: list[Worker | None] = [None] * settings.workers
        #: The rows of the memory of ports, of all processes that there may be at once.
        self._rows = set(range(2 * settings.workers + 2))
        self.workers: dict[int, Worker] = {}

    def privilegedStartService(self) -> None:
        """
        See L{Service}.  Listens, while twistd still has the privileges it was started with.

        @raise StartupError: when a listener cannot listen, or would be an open proxy.
        """
        super().privilegedStartService()
        for each in self._settings.listen:
            try:
                held = hold(self._settings, self._reactor, each, self._settings.workers)
            except Exception:  # noqa: BLE001 (endpoint plugins raise what they like)
                self._close_listeners()
                cannot_start(complain(each, Failure()))
            self._listeners.append(held)
        self._assignment = self._assign().store()
        self._ports = nameless_file("socks5d ports")
        os.ftruncate(self._ports, len(self._rows) * ROW)

    def startService(self) -> None:
        """See L{Service}."""
        if not self._listeners:
            self.privilegedStartService()
        super().startService()
        # Not before the reactor runs: it could not tell of one that ends at once.
        self._reactor.callWhenRunning(self._fill)

    def _assign(self) -> Assignment:
        number = LISTENERS
        listeners: list[list[int]] = []
        for held in self._listeners:
            listeners.append(list(range(number, number + len(held.sockets))))
            number += len(held.sockets)
        return Assignment(
            items=self._items,
            workers=self._settings.workers,
            listeners=listeners,
            access_log=self._access_log.path if self._access_log is not None else None,
            reactor=type(self._reactor).__module__,
            name=_own_name(),
        )

    def _descriptors(self, null: int) -> Mapping[int, int | str]:
        sockets = [each.fileno() for held in self._listeners for each in held.sockets]
        return {
            0: null,
            1: "r",
            2: "r",
            CHANNEL_IN: "w",
            CHANNEL_OUT: "r",
            LOG: "r",
            ASSIGNMENT: self._assignment,
            PORTS: self._ports,
            ACCESS_LOG: null if self._access_log is None else self._access_log.fileno(),
            **dict(enumerate(sockets, LISTENERS)),
        }

    # Workers.

    def _fill(self) -> None:
        """Have as many workers as there should be."""
        while self.running and len(self.workers) <= self._settings.workers and self._rows:
            self._start_worker()

    def _start_worker(self) -> None:
        self._count += 1
        row = min(self._rows)
        self._rows.remove(row)
        worker = Worker(
            self._count,
            row,
            self._tally,
            ready=self._ready,
            leaving=self._leaving,
            ended=self._ended,
        )
        self.workers[worker.number] = worker
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self._reactor.spawnProcess(
                worker,
                sys.executable,
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "socks5d.workers.process",
                    str(worker.number),
                    str(row),
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                childFDs=self._descriptors(null),
            )
        finally:
            os.close(null)

    def _ready(self, worker: Worker) -> None:
        self._unready = 0
        self._fill_slots()

    def _fill_slots(self) -> None:
        """Let those that are ready serve where nobody does."""
        if not self.running:
            return
        spare = [each for each in self.workers.values() if each.spare]
        for slot, serving in enumerate(self._slots):
            if serving is None and spare:
                worker = spare.pop(0)
                self._slots[slot] = worker
                worker.serve(slot)
                self._log.info(
                    "worker {number} (process {pid}) serves",
                    number=worker.number,
                    pid=worker.pid,
                )

    def _leaving(self, worker: Worker) -> None:
        """Somebody else has told it to stop."""
        self._vacate(worker)
        if self.running:
            self._start_worker()

    def _vacate(self, worker: Worker) -> None:
        if worker in self._slots:
            self._slots[self._slots.index(worker)] = None
            self._fill_slots()

    def _ended(self, worker: Worker, how: str) -> None:
        del self.workers[worker.number]
        self._tally.forget(worker.number)
        os.pwrite(self._ports, bytes(ROW), worker.row * ROW)
        self._rows.add(worker.row)
        if self._stopping is not None and not self.workers:
            self._stopping.callback(None)
        if not self.running:
            return
        self._log.warn("worker {number} {how}", number=worker.number, how=how)
        self._vacate(worker)
        if worker.was_ready:
            self._fill()
            return
        self._unready += 1
        if self._unready < ATTEMPTS:
            self._reactor.callLater(PAUSE, self._fill)
        elif not any(self._slots):
            self._log.critical("socks5d: no worker gets ready; see the lines above")
            self._reactor.stop()

    # Signals.

    def hang_up(self) -> None:
        """Do what a SIGHUP asks for, here and in the workers."""
        if self._access_log is not None:
            self._access_log.reopen()
        for worker in self.workers.values():
            worker.hang_up()

    def stopService(self) -> Deferred[None]:
        """
        See L{Service}.  The workers accept nobody any more, let their sessions finish, and
        end; those that do not are killed.
        """
        super().stopService()
        self._close_listeners()
        self._stopping = Deferred()
        stopped = self._stopping
        if not self.workers:
            stopped.callback(None)
        for worker in self.workers.values():
            worker.signal("TERM")
        late = self._reactor.callLater(self._settings.timeouts.shutdown + GRACE, self._kill)

        def done(result: None) -> None:
            if late.active():
                late.cancel()

        return stopped.addCallback(done)

    def _kill(self) -> None:
        for worker in self.workers.values():
            self._log.warn("worker {number} does not end and is killed", number=worker.number)
            worker.signal("KILL")

    def _close_listeners(self) -> None:
        listeners, self._listeners = self._listeners, []
        for held in listeners:
            held.stopListening()


def _own_name() -> str:
    """What this process is called, where the system tells."""
    path = Path("/proc/self/comm")
    return path.read_text().rstrip("\n") if path.exists() else ""
