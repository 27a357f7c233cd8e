"""
A worker's process: does what the parent's options say, with the parent's listeners.

It ends when it is told to, and when its parent is gone.
"""

import mmap
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from socks5d.config import make_settings
from socks5d.memory import settle
from socks5d.net.ours import own_ports
from socks5d.policy import make_observers, share_out
from socks5d.protocols.session import count_from
from socks5d.service import SOCKSService
from socks5d.sessionlog import AccessLog
from socks5d.signals import end_in_order, on_hang_up
from socks5d.workers.assignment import (
    ACCESS_LOG,
    ASSIGNMENT,
    CHANNEL_IN,
    CHANNEL_OUT,
    LOG,
    PORTS,
    Assignment,
)
from socks5d.workers.channel import Channel, HangUp, Leaving, Ready, Serve
from socks5d.workers.inherited import inherited_endpoint
from socks5d.workers.logpipe import observer_of
from socks5d.workers.tally import AtParent

#: More sessions than a worker ever has: those of the next are numbered beyond.
SESSIONS = 10**9


class ParentChannel(Channel):
    """The way to the parent."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.reactor = reactor
        self.left = False
        self.serving: WorkerProcess

    def connectionMade(self) -> None:
        """See L{Channel}."""
        super().connectionMade()
        self.callRemote(Ready)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Channel}.  Without a parent there is nobody who would replace this process."""
        super().connectionLost(reason)
        if self.reactor.running and not self.left:
            self.reactor.stop()

    def leave(self) -> None:
        """Say that this process ends."""
        self.left = True
        self.callRemote(Leaving)

    @Serve.responder
    def serve(self, slot: int) -> dict[str, Any]:
        self.serving.serve(slot)
        return {}

    @HangUp.responder
    def hang_up(self) -> dict[str, Any]:
        self.serving.hang_up()
        return {}


class WorkerProcess:
    """What a worker is made of."""

    def __init__(self, reactor: Any, assignment: Assignment, row: int) -> None:
        """
        @param assignment: what the parent wants.
        @param row: this process's, in the memory of ports.
        """
        settings = make_settings(assignment.items)
        limits = share_out(settings.limits, assignment.workers)
        settings = evolve(settings, limits=limits, access_log=assignment.access_log)
        self._sockets = [list(each) for each in assignment.listeners]
        self._slot = 0
        self._access_log: AccessLog | None = None
        if settings.access_log is not None:
            inherited = FileIO(ACCESS_LOG, "a")
            self._access_log = AccessLog(settings.access_log, reactor, opened=inherited)
            reactor.addSystemEventTrigger("after", "shutdown", self._access_log.flush)
        own_ports.share(memoryview(mmap.mmap(PORTS, 0)), row)
        self._channel = ParentChannel(reactor)
        self._channel.serving = self
        self._service = SOCKSService(
            settings,
            reactor,
            make_observers(settings, self._access_log),
            elsewhere=AtParent(self._channel),
            endpoints=[
                inherited_endpoint(each, reactor, each.endpoint, partial(self._take, index))
                for index, each in enumerate(settings.listeners)
            ],
        )
        on_hang_up(reactor, self.hang_up)
        reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        StandardIO(self._channel, CHANNEL_IN, CHANNEL_OUT, reactor)  # type: ignore[call-arg]

    def serve(self, slot: int) -> None:
        """
        Begin to accept clients.

        @param slot: which of each listener's sockets is this process's.
        """
        self._slot = slot
        self._service.privilegedStartService()
        self._service.startService()
        for descriptor in [each for listener in self._sockets for each in listener]:
            os.close(descriptor)
        self._sockets = []

    def hang_up(self) -> None:
        """Do what a SIGHUP asks for."""
        if self._access_log is not None:
            self._access_log.reopen()

    def _take(self, index: int) -> socket.socket:
        listener = self._sockets[index]
        return socket.socket(fileno=listener.pop(self._slot % len(listener)))

    def _stop(self) -> Deferred[None]:
        self._channel.leave()
        return self._service.stopService()


def _be_called(name: str) -> None:
    comm = Path("/proc/self/comm")
    if name and comm.exists():
        comm.write_text(name)


def main(arguments: Sequence[str]) -> None:
    """
    @param arguments: the worker's number, and its row in the memory of ports.
    """
    number, row = (int(each) for each in arguments)
    # Not before the parent says so, nor by what is meant for the parent.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assignment = Assignment.read(ASSIGNMENT)
    os.close(ASSIGNMENT)
    _be_called(assignment.name)
    import_module(assignment.reactor).install()
    from twisted.internet import reactor

    log = observer_of(LOG)
    log.flush_by(reactor)
    globalLogBeginner.beginLoggingTo([log])
    count_from(number * SESSIONS + 1)
    reactor.callWhenRunning(end_in_order, reactor)
    WorkerProcess(reactor, assignment, row)
    settle()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
