"""
The parent of workers as an L{IService}: listens for them, starts them, and starts them anew.

There is always one worker more than serve.  When one of those that serve ends, the spare
one takes its slot at once, and another is started to be the spare.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.config import Settings
from socks5d.limits.excess import Excesses
from socks5d.listening import cannot_start, complain, keep_quotas
from socks5d.memory import settle
from socks5d.net.ours import ROW
from socks5d.policy import make_quotas
from socks5d.reloading import Read, Reloads, summary
from socks5d.service import Change, SOCKSService
from socks5d.sessionlog import AccessLog
from socks5d.signals import fail_in_order
from socks5d.values import ConfigError, Item
from socks5d.workers.assignment import (
    ACCESS_LOG,
    ASSIGNMENT,
    CHANNEL_IN,
    CHANNEL_OUT,
    HANDOVER,
    LISTENERS,
    LOG,
    PORTS,
    Assignment,
    Orders,
    nameless_file,
)
from socks5d.workers.counting import Counting, counting
from socks5d.workers.held import HeldListener, hold
from socks5d.workers.rollout import PATIENCE, held_for, ready_for, release
from socks5d.workers.tally import Tally
from socks5d.workers.worker import IN_ORDER, Worker

#: What passes before the next one is started after one that was no good, in seconds: that
#: never got ready, or ended sooner than so.  Each in a row doubles it.
PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 60.0
#: Such times in a row, after which there is no sense in more where nobody serves.
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
        read: Read,
    ) -> None:
        """
        @param settings: what to do.
        @param items: what they were made of, for the workers to do the same.
        @param access_log: is written by the workers.
        @param read: reads both anew, when a SIGHUP asks for it.
        @raise ConfigError: for settings that do not go together, or not here.
        """
        #: Never listens: what a worker would find wrong with settings is found here, once,
        #: and in time.
        self._model = SOCKSService(settings, reactor)
        self._read = read
        self._reloads = Reloads(self._reload)
        self._reloading = False
        self.setName("socks5d")
        self._settings = settings
        self._items = items
        self._reactor = reactor
        self._access_log = access_log
        self._quotas = make_quotas(settings.quota, reactor)
        self._excesses = Excesses(reactor, self._log)
        self._tally = Tally(*self._counting(settings))
        self._listeners: list[HeldListener] = []
        self._count = 0
        self._useless = self._last_useless = 0
        self._given_up = False
        self._pause: IDelayedCall | None = None
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
        for each in self._settings.listeners:
            try:
                held = hold(each, self._reactor, self._settings.workers)
            except Exception:  # noqa: BLE001 (endpoint plugins raise what they like)
                self._close_listeners()
                cannot_start(complain(each.endpoint, Failure()))
            self._listeners.append(held)
        self._assignment = self._assign(self._items, self._settings, self._listeners).store()
        self._ports = nameless_file("socks5d ports")
        os.ftruncate(self._ports, len(self._rows) * ROW)

    def startService(self) -> None:
        """See L{Service}."""
        if not self._listeners:
            self.privilegedStartService()
        super().startService()
        if self._quotas is not None:
            # Not before: the file belongs to whoever this process runs as from now on.
            keep_quotas(self._quotas, self._settings.quota.file, self._reactor)
        # Not before the reactor runs: it could not tell of one that ends at once.
        self._reactor.callWhenRunning(self._fill)

    def _assign(
        self,
        items: Sequence[tuple[str, Item]],
        settings: Settings,
        listeners: Sequence[HeldListener],
    ) -> Assignment:
        number = LISTENERS
        numbers: list[list[int]] = []
        for held in listeners:
            numbers.append(list(range(number, number + len(held.sockets))))
            number += len(held.sockets)
        return Assignment(
            items=items,
            workers=settings.workers,
            listeners=numbers,
            access_log=self._access_log.path if self._access_log is not None else None,
            reactor=type(self._reactor).__module__,
            name=_own_name(),
        )

    def _counting(self, settings: Settings) -> Counting:
        return counting(settings.limits, self._quotas, self._reactor, self._excesses)

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
        """Have as many workers as there should be, and one to spare."""
        while self.running and not self._reloading and self._rows and self._wanted():
            if not self._start_worker():
                return

    def _wanted(self) -> bool:
        staying = sum(not worker.left for worker in self.workers.values())
        return staying <= self._settings.workers

    def _start_worker(self) -> bool:
        """
        @return: whether that could be done.
        """
        self._count += 1
        row = min(self._rows)
        handover, its = socket.socketpair()
        handover.setblocking(False)
        worker = Worker(
            self._count,
            row,
            self._tally,
            clock=self._reactor,
            handover=handover,
            ready=self._ready,
            leaving=self._leaving,
            ended=self._ended,
        )
        try:
            with its:
                self._spawn(worker, its)
        except Exception as error:  # noqa: BLE001 (the system has its reasons)
            handover.close()
            self._log.error(
                "worker {number} cannot be started: {problem}",
                number=worker.number,
                problem=str(error),
            )
            self._later()
            return False
        self._rows.remove(row)
        self.workers[worker.number] = worker
        return True

    def _spawn(self, worker: Worker, handover: socket.socket) -> None:
        arguments = [str(worker.number), str(worker.row)]
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self._reactor.spawnProcess(
                worker,
                sys.executable,
                [sys.executable, "-P", "-m", "socks5d.workers.process", *arguments],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                childFDs={**self._descriptors(null), HANDOVER: handover.fileno()},
            )
        finally:
            os.close(null)

    def _later(self) -> None:
        """
        One is no good, or some are at the same time: try again, but neither at once nor for
        ever.
        """
        if self._pause is None and not self._given_up:
            self._count_useless()
            pause = min(PAUSE * 2 ** min(self._useless - 1, 16), LONGEST_PAUSE)
            self._pause = self._reactor.callLater(pause, self._try_again)
        if self._useless >= ATTEMPTS and not any(self._slots) and not self._given_up:
            self._given_up = True
            self._no_pause()
            self._log.critical("socks5d: no worker can serve; see the lines above")
            fail_in_order(self._reactor)

    def _count_useless(self) -> None:
        now = self._reactor.seconds()
        if any(
            each.number > self._last_useless and each.was_ready and now - each.started >= PAUSE
            for each in self.workers.values()
        ):
            # Since the last time there was one that is good.
            self._useless = 0
        self._last_useless = self._count
        self._useless += 1

    def _no_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _try_again(self) -> None:
        self._pause = None
        self._fill()

    def _ready(self, worker: Worker) -> None:
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
        self._fill()

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
        if not worker.left or how != IN_ORDER:
            self._log.warn("worker {number} {how}", number=worker.number, how=how)
        self._vacate(worker)
        if worker.was_ready and self._reactor.seconds() - worker.started >= PAUSE:
            self._useless = 0
            self._fill()
        else:
            self._later()

    # Signals.

    def hang_up(self) -> None:
        """Do what a SIGHUP asks for, here and in the workers."""
        if self._access_log is not None:
            self._access_log.reopen()
        for worker in self.workers.values():
            worker.hang_up()
        self._reloads.ask()

    async def _reload(self) -> str:
        """
        Go on by other settings: where all who serve are ready for them, and nowhere otherwise.

        @return: what has changed.
        @raise ConfigError: when nothing has.
        """
        items, settings = self._read()
        change = await self._model.prepare(settings)
        if not self.running:
            raise ConfigError("the service has stopped")
        listeners = held_for(settings, self._settings, self._listeners, self._reactor)
        new = [each for each in listeners if each not in self._listeners]
        self._reloading = True
        try:
            ready = await ready_for(
                self.workers,
                Orders(
                    items=items,
                    sockets=[len(each.sockets) if each in new else 0 for each in listeners],
                ),
                [one.fileno() for each in new for one in each.sockets],
                self._reactor,
            )
            if not self.running:
                raise ConfigError("the service has stopped")
            try:
                # The parent is the first: it grants what workers ask for by either settings.
                self._commit(items, settings, change, listeners)
            except BaseException:
                for each in ready:
                    each.abandon()
                raise
            await DeferredList([each.commit(PATIENCE) for each in ready])
        except BaseException:
            release(new)
            raise
        finally:
            self._reloading = False
            self._fill()
        return summary(len(change.stay), len(change.new), len(change.gone))

    def _commit(
        self,
        items: Sequence[tuple[str, Item]],
        settings: Settings,
        change: Change,
        listeners: list[HeldListener],
    ) -> None:
        assignment = self._assign(items, settings, listeners).store()
        self._model.commit(change)
        if settings.limits != self._settings.limits:
            self._tally.renew(*self._counting(settings))
        if self._quotas is not None:
            self._quotas.limit(settings.quota.octets)
        before, self._listeners = self._listeners, listeners
        self._items, self._settings = items, settings
        release([each for each in before if each not in listeners])
        old, self._assignment = self._assignment, assignment
        os.close(old)
        settle()

    def stopService(self) -> Deferred[None]:
        """
        See L{Service}.  The workers accept nobody any more, let their sessions finish, and
        end; those that do not are killed.
        """
        super().stopService()
        self._no_pause()
        self._close_listeners()
        self._stopping = Deferred()
        stopped = self._stopping
        if not self.workers:
            stopped.callback(None)
        for worker in self.workers.values():
            worker.signal("TERM")
        late = self._reactor.callLater(self._settings.timeouts.shutdown + GRACE, self._kill)

        def done(result: None) -> Deferred[None] | None:
            if late.active():
                late.cancel()
            return None if self._quotas is None else self._quotas.close()

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
