"""
The control connection: octets that come, octets that go, and an end that the client
gets to see.  What the octets mean is a subclass's business.

Closing is the delicate part.  The last message is written, our side is shut down,
and what the client still sends is read and dropped: closing a socket with unread
octets would send a reset, which may destroy the message before it is read.
"""

from collections.abc import Callable
from typing import Any
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.interfaces import IEncapsulation
from socks5d.model import Outcome
from socks5d.net.stream import StreamSocket
from socks5d.protocols.session import Session
from socks5d.relay import Encapsulated, FastRelay, Origin, StreamTransport, relay_between
from socks5d.relay.stream import SHUTDOWN
from socks5d.relay.transports import adapt, far, half_closer, is_bare, near


class Carrier(Shape):
    """
    Carries what follows a granted request.

    @ivar received: octets of the client's that were passed on.
    @ivar sent: octets that were passed on to the client.
    @ivar end: how it ended; "" while it has not.
    """

    @property
    def received(self) -> int: ...

    @property
    def sent(self) -> int: ...

    end: str

    def client_data(self, data: bytes) -> None: ...

    def client_eof(self) -> None: ...

    def client_told(self) -> None: ...

    def client_lost(self, reason: Failure) -> None: ...

    def abort(self, end: str) -> None: ...


def _nothing(ended: object) -> None:
    """Nobody wants to know."""


@implementer(IHalfCloseableProtocol)
class ControlConnection(Protocol):
    """
    @ivar session: what is known of the client.
    @ivar over: called with this when the session has ended and nothing of it is left.
    @ivar closing: whether nothing more is taken from anybody.
    @ivar eof: whether the client has said that it sends no more.
    """

    transport: StreamTransport  # type: ignore[assignment]

    def __init__(self, session: Session) -> None:
        """
        @param session: the one that begins with this connection.
        """
        self.session = session
        self.over: Callable[[Any], object] = _nothing
        self.closing = False
        self.eof = False
        self._buffer = b""
        self._consumed = 0
        self._heard = False
        self._paused = False
        self._encapsulation: IEncapsulation | None = None
        self._deaf = False
        self._out: StreamTransport
        self._carrier: Carrier | None = None

    # What a subclass does about it.

    def begin(self) -> None:
        """The connection is there."""
        raise AssertionError("a subclass begins")

    def speak(self) -> None:
        """The client is to be spoken with."""
        raise AssertionError("a subclass speaks")

    def advance(self) -> None:
        """More octets have come, or the client has said that no more will."""
        raise AssertionError("a subclass advances")

    def expecting(self) -> bool:
        """Whether a message is expected, and not yet whole."""
        raise AssertionError("a subclass knows what it expects")

    def too_late(self) -> None:
        """A client that is over a limit has not said in time what it wants."""
        raise AssertionError("a subclass ends it")

    def overfull(self) -> None:
        """More has come than is kept early.  The rest waits in the kernel."""
        self._paused = True
        self.transport.pauseProducing()

    def abandon(self) -> None:
        """The session is closing: whatever is under way for it is to be given up."""
        raise AssertionError("a subclass abandons")

    # What happens.

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self._out = self.transport
        adapt(self.transport, self)
        self._heard = isinstance(self.transport, StreamSocket) or is_bare(self.transport)
        self.session.identify(far(self.transport), near(self.transport))
        self.begin()
        if self._heard and self.session.server.limiter.limits_clients:
            self._enter()
        self.speak()

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if self.closing:
            return
        self.identified()
        if self._deaf:
            return
        if self._encapsulation is not None:
            data = self._decapsulated(data)
        if self._carrier is not None:
            self._carrier.client_data(data)
            return
        self._buffer += data
        self.advance()
        enough = len(self._buffer) > self.session.server.limits.early
        if enough and not self._paused and not self.closing and not self.expecting():
            self.overfull()

    def identified(self) -> None:
        """The transport knows who the client is: a PROXY header, which says so, has come."""
        if self._heard or self.closing:
            return
        self._heard = True
        self.session.identify(far(self.transport), near(self.transport))
        if self.session.server.limiter.limits_clients:
            self._enter()

    def _enter(self) -> None:
        """
        It is certain whose session it is.  One too many is told so, but not waited for; where
        sessions are scarce it ends at once.
        """
        self.session.enter()
        excess = self.session.excess
        if isinstance(excess, Deferred):
            excess.addCallback(self._counted)
        elif excess:
            self._counted(excess)

    def _counted(self, excess: str) -> str:
        session = self.session
        session.excess = excess
        if excess and session.command is None and not self.closing:
            if session.server.capacity.scarce:
                self.abort(Outcome.OVER_LIMIT, excess)
            else:
                session.deadline(session.server.timeouts.closing, self.too_late)
        return excess

    def readConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}."""
        self.eof = True
        if self.closing:
            self.transport.loseConnection()
        elif not self._deaf and not self._finished():
            self.abort(Outcome.MALFORMED, "what the client sent is cut off")
        elif self._carrier is not None:
            self._carrier.client_eof()
        else:
            self.advance()

    def writeConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}."""
        if self._carrier is not None:
            self._carrier.client_told()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        if self._carrier is not None:
            self._carrier.client_lost(reason)
        else:
            self._settle(Outcome.CLIENT_LEFT)
            self._end()

    def shut_down(self, *, now: bool) -> None:
        """
        The server stops.

        @param now: end whatever there is; otherwise only what has no request yet.
        """
        if self._carrier is not None:
            if now:
                self._carrier.abort(SHUTDOWN)
        elif now or self.session.command is None:
            self.abort(Outcome.SHUTDOWN)

    # Octets.

    def send(self, data: bytes) -> None:
        """
        @param data: goes to the client, wrapped where that was agreed on.
        """
        if data:
            self._out.write(data)

    def take_all(self) -> bytes:
        """
        @return: the octets that have come and that nobody has had yet.
        """
        data, self._buffer = self._buffer, b""
        self._consumed += len(data)
        return data

    def give_back(self, rest: bytes) -> None:
        """
        @param rest: octets that were taken, and belong to what comes next.
        """
        if rest:
            self._consumed -= len(rest)
            self._buffer = rest + self._buffer

    def encapsulate(self, encapsulation: IEncapsulation) -> None:
        """
        Wrap everything from here on, what has already come included.

        @param encapsulation: what a method agreed on with the client.
        """
        self._encapsulation = encapsulation
        self._out = Encapsulated(self.transport, encapsulation)
        wrapped, self._buffer = self._buffer, b""
        if wrapped:
            self._buffer = self._decapsulated(wrapped)

    @property
    def encapsulation(self) -> IEncapsulation | None:
        """What wraps all that is sent both ways, if anything does."""
        return self._encapsulation

    def _finished(self) -> bool:
        """Whether what has come ends where a message does."""
        if self._encapsulation is None:
            return True
        try:
            self._encapsulation.finish()
        except Exception:  # noqa: BLE001 (a stranger's code, and a stranger's octets)
            return False
        return True

    def _decapsulated(self, data: bytes) -> bytes:
        assert self._encapsulation is not None
        try:
            plain = self._encapsulation.decapsulate(data)
            if not isinstance(plain, bytes):
                raise TypeError("an encapsulation gave something that is no bytes")
        except Exception:  # noqa: BLE001 (a stranger's code, and a stranger's octets)
            self.abort(Outcome.MALFORMED, "what the client sent cannot be decapsulated")
            return b""
        return plain

    def resume(self) -> None:
        """Read on, where reading stopped because enough had come."""
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    # What follows a granted request.

    def relay_with(self, origin: Origin) -> None:
        """
        Relay from here on; what has come early goes first.

        @param origin: the other side.
        """
        session, server = self.session, self.session.server
        idle = session.terms.idle
        paced = session.rate or server.limiter.paces_identities
        relay = relay_between(
            self._out,
            origin.transport,
            server.clock,
            server.timeouts.idle if idle is None else idle,
            server.timeouts.closing,
            self.carried,
            session.paces() if paced else None,
        )
        self.carry_by(relay)
        origin.attach(relay)
        if isinstance(relay, FastRelay):
            # Nobody asks the transport for anything any more.
            del self._out, self.transport

    def carry_by(self, carrier: Carrier, *, deaf: bool = False) -> None:
        """
        The request is granted, and what follows is somebody else's; what has come
        early goes first.

        @param carrier: from here on it hears of what happens on this connection; it
            says by L{carried} when nothing of it is left.
        @param deaf: whether what the client sends from here on means nothing, and is not
            even unwrapped: it could be out of turn with datagrams, of which some get lost.
        """
        self.session.no_deadline()
        self._deaf = deaf
        self._carrier = carrier
        if self._buffer:
            early, self._buffer = self._buffer, b""
            carrier.client_data(early)
        if self.eof:
            self.readConnectionLost()
        else:
            self.resume()
        superseded = self.session.server.superseded
        if superseded is not None:
            superseded(self)

    @property
    def carrier(self) -> Carrier | None:
        """What carries what follows a granted request; None before that."""
        return self._carrier

    def carried(self) -> None:
        """Nothing is left of the carrier, and of this connection."""
        carrier = self._carrier
        assert carrier is not None
        self.session.received, self.session.sent = carrier.received, carrier.sent
        self.session.end = carrier.end
        self._end()

    # The end.

    def close(self, reply: bytes, outcome: Outcome, rule: str = "") -> None:
        """
        Send the last octets, and close so that they arrive.

        @param reply: what to send.
        @param outcome: why, for the log.
        @param rule: why, in detail.
        """
        if self.closing:
            return
        self._settle(outcome, rule)
        self.session.deadline(self.session.server.timeouts.closing, self.transport.abortConnection)
        self.send(reply)
        half_close = half_closer(self._out)
        in_the_way = outcome is Outcome.OVER_LIMIT and self.session.server.capacity.scarce
        if half_close is None or self.eof or in_the_way:
            self.transport.loseConnection()
        else:
            half_close()
            self.resume()

    def abort(self, outcome: Outcome, rule: str = "") -> None:
        """
        End the connection with a reset.

        @param outcome: why, for the log.
        @param rule: why, in detail.
        """
        if self._carrier is not None:
            self._carrier.abort(rule)
        else:
            self._settle(outcome, rule)
            self.transport.abortConnection()

    def _settle(self, outcome: Outcome, rule: str = "") -> None:
        """The first outcome is the one that counts."""
        if self.closing:
            return
        self.closing = True
        session = self.session
        session.outcome, session.rule = outcome, rule
        if session.command is None:
            session.handshake = self._consumed + len(self._buffer)
        self._buffer = b""
        self.abandon()

    def _end(self) -> None:
        self.over(self)
        self.session.closed()
