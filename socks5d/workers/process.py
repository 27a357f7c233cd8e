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

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.config import Settings, make_settings
from socks5d.listening import kept
from socks5d.memory import settle
from socks5d.net.ours import own_ports
from socks5d.policy import make_observers, share_out
from socks5d.protocols.session import count_from
from socks5d.service import Change, SOCKSService
from socks5d.sessionlog import AccessLog
from socks5d.signals import end_in_order, on_hang_up
from socks5d.values import ConfigError, Item
from socks5d.workers.assignment import (
    ACCESS_LOG,
    ASSIGNMENT,
    CHANNEL_IN,
    CHANNEL_OUT,
    HANDOVER,
    LOG,
    PORTS,
    Assignment,
    Orders,
)
from socks5d.workers.channel import (
    Abandon,
    Channel,
    Commit,
    Done,
    HangUp,
    Leaving,
    NotPrepared,
    Part,
    Prepare,
    Ready,
    Receive,
    Serve,
)
from socks5d.workers.handover import close, take_over
from socks5d.workers.inherited import inherited_endpoint
from socks5d.workers.logpipe import observer_of
from socks5d.workers.tally import AtParent

#: More sessions than a worker ever has: those of the next are numbered beyond.
SESSIONS = 10**9
#: What the parent gets to hear the last of a worker that ends, in seconds.
LAST = 2.0
#: Characters of what is wrong with settings, for the parent.
LONGEST = 1 << 14

_log = Logger()


class ParentChannel(Channel):
    """The way to the parent."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.reactor = reactor
        self.left = False
        self._parts: list[bytes] = []
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

    async def finish(self) -> None:
        """See to it that the parent hears all that was said, which the end would cut off."""
        try:
            await bounded(self.reactor, LAST, self.callRemote(Done))
        except Exception:  # noqa: BLE001 (whatever it is, this process ends)
            _log.failure("the parent may not have heard of all that is over")

    @Serve.responder
    def serve(self, slot: int) -> dict[str, Any]:
        self.serving.serve(slot)
        return {}

    @Receive.responder
    def receive(self, count: int) -> dict[str, Any]:
        self.serving.receive(count)
        return {}

    @Part.responder
    def part(self, octets: bytes) -> dict[str, Any]:
        self._parts.append(octets)
        return {}

    @Prepare.responder
    def prepare(self) -> Deferred[dict[str, Any]]:
        parts, self._parts = self._parts, []
        preparing = Deferred.fromCoroutine(self.serving.prepare(Orders.decode(b"".join(parts))))
        return preparing.addCallback(lambda _: {})

    @Commit.responder
    def commit(self) -> dict[str, Any]:
        self.serving.commit()
        return {}

    @Abandon.responder
    def abandon(self) -> dict[str, Any]:
        self.serving.abandon()
        return {}

    @HangUp.responder
    def hang_up(self) -> dict[str, Any]:
        self.serving.hang_up()
        return {}


@frozen(slots=True)
class _Prepared:
    """
    @ivar change: what is to change.
    @ivar sockets: of each listener that there will be.
    @ivar handed: those of them that were handed over for it.
    """

    change: Change
    sockets: list[list[int]]
    handed: list[list[int]]


class WorkerProcess:
    """What a worker is made of."""

    def __init__(self, reactor: Any, assignment: Assignment, row: int) -> None:
        """
        @param assignment: what the parent wants.
        @param row: this process's, in the memory of ports.
        """
        self._reactor = reactor
        self._assignment = assignment
        settings = self._settings(assignment.items)
        #: The sockets of each listener, as long as it is open which of them is this process's.
        self._sockets = [list(each) for each in assignment.listeners]
        self._slot = 0
        self._serving = False
        self._handover = socket.socket(fileno=HANDOVER)
        #: Sockets that were handed over, and that nothing has been prepared with.
        self._handed: list[int] = []
        self._prepared: _Prepared | None = None
        #: How often that was begun, or given up.
        self._preparations = 0
        self._access_log: AccessLog | None = None
        if settings.access_log is not None:
            inherited = FileIO(ACCESS_LOG, "a")
            self._access_log = AccessLog(settings.access_log, reactor, opened=inherited)
            reactor.addSystemEventTrigger("after", "shutdown", self._access_log.flush)
        own_ports.share(memoryview(mmap.mmap(PORTS, 0)), row)
        self._listeners = settings.listeners
        self._channel = ParentChannel(reactor)
        self._channel.serving = self
        self._service = SOCKSService(
            settings,
            reactor,
            make_observers(settings, self._access_log),
            elsewhere=AtParent(self._channel),
            endpoints=self._endpoints(settings, self._sockets),
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
        self._serving = True
        self._service.privilegedStartService()
        self._service.startService()
        self._close_others()

    def _close_others(self) -> None:
        """Those sockets are not this process's that it did not listen on."""
        if self._serving:
            for each in self._sockets:
                close(each)

    def _settings(self, items: Sequence[tuple[str, Item]]) -> Settings:
        settings = make_settings(items)
        limits = share_out(settings.limits, self._assignment.workers)
        return evolve(settings, limits=limits, access_log=self._assignment.access_log)

    def _endpoints(
        self, settings: Settings, sockets: Sequence[list[int]]
    ) -> list[IStreamServerEndpoint]:
        return [
            inherited_endpoint(each, self._reactor, each.endpoint, partial(self._take, mine))
            for each, mine in zip(settings.listeners, sockets, strict=True)
        ]

    def receive(self, count: int) -> None:
        """
        Take sockets that the parent has handed over.

        @raise NotPrepared: when there is no room for them.
        """
        try:
            self._handed += take_over(self._handover, count)
        except OSError as error:
            raise NotPrepared(f"{error.strerror}") from None

    async def prepare(self, orders: Orders) -> None:
        """
        Get ready to go on by other settings.

        @raise NotPrepared: when that cannot be.
        """
        self._give_up()
        preparation = self._preparations
        rest, self._handed = self._handed, []
        if len(rest) != sum(orders.sockets):
            close(rest)
            raise NotPrepared("other sockets came than should have")
        handed = [[rest.pop(0) for _ in range(count)] for count in orders.sockets]
        try:
            settings = self._settings(orders.items)
            before = [each.endpoint for each in self._listeners]
            there = kept(before, [each.endpoint for each in settings.listeners])
            sockets = [
                mine if place is None else self._sockets[place]
                for place, mine in zip(there, handed, strict=True)
            ]
            change = await self._service.prepare(
                settings,
                make_observers(settings, self._access_log),
                self._endpoints(settings, sockets),
            )
            if preparation != self._preparations:
                self._service.abandon(change)
                raise NotPrepared("it took too long")
        except Exception as error:
            for each in handed:
                close(each)
            if isinstance(error, ConfigError):
                raise NotPrepared("\n".join(map(str, error.problems))[:LONGEST]) from None
            raise
        self._prepared = _Prepared(change, sockets, handed)

    def commit(self) -> None:
        """Go on by the settings that this process is ready for."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None
        self._service.commit(prepared.change)
        for each in self._sockets:
            if all(each is not other for other in prepared.sockets):
                close(each)
        self._sockets = prepared.sockets
        self._listeners = prepared.change.generation.settings.listeners
        self._close_others()
        settle()

    def abandon(self) -> None:
        """Go on as before."""
        close(self._handed)
        self._give_up()

    def _give_up(self) -> None:
        """Also what is being prepared, when it is ready."""
        self._preparations += 1
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._service.abandon(prepared.change)
            for each in prepared.handed:
                close(each)

    def hang_up(self) -> None:
        """Do what a SIGHUP asks for."""
        if self._access_log is not None:
            self._access_log.reopen()

    def _take(self, listener: list[int]) -> socket.socket:
        return socket.socket(fileno=listener.pop(self._slot % len(listener)))

    def _stop(self) -> Deferred[None]:
        self._channel.leave()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await self._service.stopService()
        await self._channel.finish()


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
    try:
        WorkerProcess(reactor, assignment, row)
    except ConfigError as error:
        # What the first process read may have changed since.  It tells, and tries again.
        raise SystemExit("\n".join(f"socks5d: {each}" for each in error.problems)) from None
    settle()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
