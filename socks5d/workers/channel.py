"""What the parent and its workers say to each other, by AMP."""

from typing import Any, ClassVar

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

ErrorCodes = dict[type[Exception], bytes]


class Channel(amp.AMP):
    """One end of the way between the two.  Says nothing of its beginning and end."""

    def makeConnection(self, transport: Any) -> None:
        """See L{amp.AMP}."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{amp.AMP}."""
        amp.BinaryBoxProtocol.connectionLost(self, reason)


#: Where whatever fails is an answer: AMP would end the channel for what it does not know, and
#: the worker with it.
ANY: ErrorCodes = {Exception: b"FAILED"}


class Ready(amp.Command):
    """From a worker: it could serve now."""

    arguments: ClassVar[list[Any]] = []
    requiresAnswer = False


class Done(amp.Command):
    """From a worker: nothing more comes.  The answer says that all that did has been heard."""

    arguments: ClassVar[list[Any]] = []
    response: ClassVar[list[Any]] = []


class Leaving(amp.Command):
    """From a worker: it accepts nobody any more, and ends when its sessions have."""

    arguments: ClassVar[list[Any]] = []
    requiresAnswer = False


class Serve(amp.Command):
    """To a worker: accept clients, by the sockets of one slot."""

    arguments: ClassVar[list[Any]] = [(b"slot", amp.Integer())]
    response: ClassVar[list[Any]] = []


class HangUp(amp.Command):
    """To a worker: do what a SIGHUP asks for."""

    arguments: ClassVar[list[Any]] = []
    requiresAnswer = False


class NotPrepared(Exception):
    """A worker cannot do what other settings say.  The text has a line for each reason."""


class Part(amp.Command):
    """To a worker: a part of L{Orders<socks5d.workers.assignment.Orders>}."""

    arguments: ClassVar[list[Any]] = [(b"octets", amp.String())]
    requiresAnswer = False


class Receive(amp.Command):
    """To a worker: take sockets that were handed over, for what it is to prepare."""

    arguments: ClassVar[list[Any]] = [(b"count", amp.Integer())]
    response: ClassVar[list[Any]] = []
    errors: ClassVar[ErrorCodes] = {NotPrepared: b"NOT_PREPARED", **ANY}


class Prepare(amp.Command):
    """To a worker: get ready to do what the parts that came say, with the sockets that came."""

    arguments: ClassVar[list[Any]] = []
    response: ClassVar[list[Any]] = []
    errors: ClassVar[ErrorCodes] = {NotPrepared: b"NOT_PREPARED", **ANY}


class Commit(amp.Command):
    """To a worker: do it from now on."""

    arguments: ClassVar[list[Any]] = []
    response: ClassVar[list[Any]] = []


class Abandon(amp.Command):
    """To a worker: go on as before."""

    arguments: ClassVar[list[Any]] = []
    requiresAnswer = False


class Take(amp.Command):
    """From a worker: count one more of a kind, for a key, if it may have one."""

    arguments: ClassVar[list[Any]] = [(b"kind", amp.Unicode()), (b"key", amp.Unicode())]
    response: ClassVar[list[Any]] = [(b"granted", amp.Boolean())]
    errors: ClassVar[ErrorCodes] = ANY


class GiveBack(amp.Command):
    """From a worker: one that was granted is over."""

    arguments: ClassVar[list[Any]] = [(b"kind", amp.Unicode()), (b"key", amp.Unicode())]
    requiresAnswer = False


class AskLease(amp.Command):
    """From a worker: give some octets of a kind, of a key."""

    arguments: ClassVar[list[Any]] = [
        (b"kind", amp.Unicode()),
        (b"key", amp.Unicode()),
        (b"sessions", amp.Integer()),
    ]
    response: ClassVar[list[Any]] = [
        (b"octets", amp.Integer()),
        (b"seconds", amp.Float()),
        (b"rule", amp.Unicode()),
    ]
    errors: ClassVar[ErrorCodes] = ANY


class ReturnLease(amp.Command):
    """From a worker: some octets of its leases did not go; less than 0 where more went."""

    arguments: ClassVar[list[Any]] = [
        (b"kind", amp.Unicode()),
        (b"key", amp.Unicode()),
        (b"octets", amp.Integer()),
    ]
    requiresAnswer = False
