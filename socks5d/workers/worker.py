"""A worker as its parent sees it."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.protocols.amp import CommandLocator
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.escape import one_line
from socks5d.workers.assignment import CHANNEL_IN, CHANNEL_OUT, LOG, Orders
from socks5d.workers.channel import (
    Abandon,
    AskLease,
    Channel,
    Commit,
    Done,
    GiveBack,
    HangUp,
    Leaving,
    Part,
    Prepare,
    Ready,
    Receive,
    ReturnLease,
    Serve,
    Take,
)
from socks5d.workers.handover import TOGETHER, hand_over
from socks5d.workers.logpipe import LogReader
from socks5d.workers.tally import Tally

#: How one ends that was told to.
IN_ORDER = "ended with status 0"
#: Octets of orders that go in one message.
PART = 60_000
#: Octets of a line that a worker printed, which is not a part of its log.
LONGEST = 1 << 12


_log = Logger()


class _Pipe:
    """What AMP writes to: one of the worker's descriptors."""

    disconnecting = False

    def __init__(self, process: IProcessTransport) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        try:
            self._process.writeToChild(CHANNEL_IN, data)
        except KeyError:
            # Twisted drops a pipe before it tells that the process is gone.
            _log.debug("a worker that ends is told nothing")

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._process.closeChildFD(CHANNEL_IN)

    def getPeer(self) -> str:
        return "a worker"

    getHost = getPeer


class Worker(ProcessProtocol):
    """
    @ivar number: which it is; no other has had it.
    @ivar row: its row in the memory of ports.
    @ivar pid: its process.
    @ivar was_ready: whether it could serve once.
    @ivar spare: whether it could serve, and does not.
    @ivar left: whether it accepts nobody any more.
    @ivar started: when it was, in seconds.
    """

    _log = Logger()
    transport: IProcessTransport

    def __init__(
        self,
        number: int,
        row: int,
        tally: Tally,
        *,
        clock: IReactorTime,
        handover: socket.socket,
        ready: "Callable[[Worker], None]",
        leaving: "Callable[[Worker], None]",
        ended: "Callable[[Worker, str], None]",
    ) -> None:
        """
        @param tally: counts for all workers.
        @param clock: the reactor's timers.
        @param handover: by which it gets sockets, later.
        @param ready: called when it could serve.
        @param leaving: called when it accepts nobody any more, of its own accord.
        @param ended: called when it is gone, with how that was.
        """
        self.number = number
        self.row = row
        self.pid = 0
        self.was_ready = False
        self.spare = False
        self.left = False
        self._clock = clock
        self.started = clock.seconds()
        self.handover = handover
        self._ready = ready
        self._leaving = leaving
        self._ended = ended
        self._channel = Channel(locator=_Answers(self, tally))
        self._records = LogReader()
        self._printed = b""

    # What the parent does.

    def serve(self, slot: int) -> None:
        """
        @param slot: whose clients it is to accept.
        """
        self.spare = False
        self._channel.callRemote(Serve, slot=slot).addErrback(self._failed)

    def hang_up(self) -> None:
        """Tell it of a SIGHUP."""
        self._channel.callRemote(HangUp)

    async def hand_over(self, sockets: Sequence[int]) -> None:
        """
        Give it sockets, for what it is to prepare: some at a time, and more when it has those,
        for what is under way counts as the user's that has sent it.

        @param sockets: their descriptors.
        @raise OSError: when they cannot be sent.
        @raise NotPrepared: when it has no room for them.
        """
        for start in range(0, len(sockets), TOGETHER):
            some = sockets[start : start + TOGETHER]
            hand_over(self.handover, some)
            await self._channel.callRemote(Receive, count=len(some))

    def prepare(self, orders: Orders) -> Deferred[Any]:
        """
        Have it get ready to go on by other settings, with the sockets that it was given.

        @return: fires when it could; fails with L{NotPrepared} when it cannot, and with
            something else when it is gone.
        """
        octets = orders.encode()
        for start in range(0, len(octets), PART):
            self._channel.callRemote(Part, octets=octets[start : start + PART])
        prepared: Deferred[Any] = self._channel.callRemote(Prepare)
        return prepared

    def commit(self, seconds: float) -> Deferred[Any]:
        """
        Have it go on by the settings that it is ready for.  One that does not is ended.

        @param seconds: what it gets for it.
        @return: fires when it does, or is ended.
        """
        committed: Deferred[Any] = self._channel.callRemote(Commit)
        return bounded(self._clock, seconds, committed).addErrback(self._failed)

    def abandon(self) -> None:
        """Have it go on as before."""
        self._channel.callRemote(Abandon)

    def signal(self, name: str) -> None:
        """
        @param name: a signal's, without SIG.
        """
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            self._log.debug("worker {number} has ended already", number=self.number)

    def _failed(self, failure: Failure) -> None:
        """One that cannot do what it is told is no use."""
        if self.transport.pid is not None:
            self._log.error(
                "worker {number} fails and is ended: {problem}",
                number=self.number,
                problem=failure.getErrorMessage(),
            )
            self.signal("KILL")

    # What the worker says.

    def said_ready(self) -> None:
        """It could serve."""
        self.was_ready = self.spare = True
        self._ready(self)

    def said_leaving(self) -> None:
        """It accepts nobody any more."""
        self.spare = False
        self.left = True
        self._leaving(self)

    # ProcessProtocol

    def connectionMade(self) -> None:
        """See L{ProcessProtocol}."""
        self.pid = self.transport.pid
        self._channel.makeConnection(_Pipe(self.transport))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See L{ProcessProtocol}."""
        if childFD == CHANNEL_OUT:
            self._channel.dataReceived(data)
        elif childFD == LOG:
            self._records.received(data)
        else:
            *lines, self._printed = (self._printed + data).split(b"\n")
            if len(self._printed) > LONGEST:
                lines, self._printed = [*lines, self._printed], b""
            for line in lines:
                self._say(line)

    def _say(self, line: bytes) -> None:
        text = one_line(line.decode(errors="replace"))
        self._log.warn("worker {number}: {text}", number=self.number, text=text)

    def processEnded(self, reason: Failure) -> None:
        """See L{ProcessProtocol}."""
        if self._printed:
            self._say(self._printed)
        self._channel.connectionLost(reason)
        self.handover.close()
        self.spare = False
        self._ended(self, _how(reason.value))


def _how(reason: Any) -> str:
    if reason.signal is not None:
        return f"was ended by signal {reason.signal}"
    return f"ended with status {reason.exitCode}"


class _Answers(CommandLocator):
    """What a worker may say and ask."""

    def __init__(self, worker: Worker, tally: Tally) -> None:
        self._worker = worker
        self._tally = tally

    @Ready.responder
    def ready(self) -> dict[str, Any]:
        self._worker.said_ready()
        return {}

    @Leaving.responder
    def leaving(self) -> dict[str, Any]:
        self._worker.said_leaving()
        return {}

    @Done.responder
    def done(self) -> dict[str, Any]:
        return {}

    @Take.responder
    def take(self, kind: str, key: str) -> dict[str, Any]:
        return {"granted": self._tally.take(self._worker.number, kind, key)}

    @GiveBack.responder
    def give_back(self, kind: str, key: str) -> dict[str, Any]:
        self._tally.give_back(self._worker.number, kind, key)
        return {}

    @AskLease.responder
    def ask_lease(
        self, kind: str, key: str, sessions: int
    ) -> dict[str, Any] | Deferred[dict[str, Any]]:
        lease = self._tally.lease(self._worker.number, kind, key, sessions)
        if isinstance(lease, Deferred):
            return lease.addCallback(lambda lease: lease._asdict())
        return lease._asdict()

    @ReturnLease.responder
    def return_lease(self, kind: str, key: str, octets: int) -> dict[str, Any]:
        self._tally.return_lease(kind, key, octets)
        return {}
