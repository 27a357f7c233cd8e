"""
What the protocols of all SOCKS versions have in common: the control connection.

A session goes through these stages, and never back:

1. Handshake.  A parser is expected to make a message of what has come; a method
   of the version's takes it, and says what is expected next, or waits for
   somebody's answer.  What comes in the meantime is kept: it is optimistic data,
   and nothing of it is lost.
2. Request.  A coroutine carries it out.  The client's octets are kept, to a bound;
   beyond it they wait in the kernel.
3. Relay, or closing.  A refusal is written, our side is shut down, and what the
   client still sends is read and dropped: closing a socket with unread octets
   would send a reset, which may destroy the reply before it is read.

One deadline stands at every moment of 1, 2 and of closing; the relay has its own.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.bounded import bounded
from socks5d.interfaces import IEncapsulation
from socks5d.model import Command, Outcome, Refusal
from socks5d.protocols.connect import connect
from socks5d.protocols.session import Session, socket_address
from socks5d.relay import Encapsulated, Origin, Relay, StreamTransport
from socks5d.relay.stream import SHUTDOWN
from socks5d.relay.transports import half_closer, hear_eof, tune
from socks5d.wire.address import Address, Host
from socks5d.wire.parsed import Parsed, WireError

if TYPE_CHECKING:
    from socks5d.protocols.factory import SOCKSBaseFactory

T = TypeVar("T")
Parser = Callable[[bytes], Parsed[Any] | None]


@implementer(IHalfCloseableProtocol)
class SOCKSProtocol(Protocol):
    """
    The control connection.  A subclass speaks one version: it says what to expect
    first (L{begin}), and how its replies look (L{granted} and L{refused}).

    @cvar version: "4" or "5"; "" while that is not known.
    @ivar session: what is known of the client.
    """

    version: ClassVar[str] = ""
    factory: "SOCKSBaseFactory"
    transport: StreamTransport  # type: ignore[assignment]

    def __init__(self, session: Session) -> None:
        """
        @param session: the one that begins with this connection.
        """
        self.session = session
        self._buffer = b""
        self._consumed = 0
        self._heard = False
        self._eof = False
        self._paused = False
        self._closing = False
        self._parser: Parser | None = None
        self._then: Callable[[Any], None] | None = None
        self._waiting: Deferred[Any] | None = None
        self._encapsulation: IEncapsulation | None = None
        self._out: StreamTransport
        self._relay: Relay | None = None

    # What a version says.

    def begin(self) -> None:
        """Say what is expected first."""
        raise AssertionError("a subclass says how a session begins")

    def granted(self, bound: Address | None) -> bytes:
        """
        @param bound: the near end of the outgoing connection.
        @return: the reply.
        """
        raise AssertionError("a subclass says how a request is granted")

    def refused(self, outcome: Outcome) -> bytes:
        """
        @param outcome: why.
        @return: the reply.
        """
        raise AssertionError("a subclass says how a request is refused")

    # What happens on the control connection.

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        tune(self.transport)
        self.start()

    def take_over(self, before: "SOCKSProtocol") -> None:
        """
        Go on with a session that another protocol began.

        @param before: the protocol, which from now on passes everything on to this one.
        """
        self.factory = before.factory
        self.transport = before.transport
        self._heard = before._heard
        self.factory.sessions.discard(before)
        self.factory.sessions.add(self)
        self.start()
        self.dataReceived(before.take_all())

    def start(self) -> None:
        """Begin the session; its transport is there."""
        self._out = self.transport
        hear_eof(self.transport, self)
        left = self.factory.timeouts.handshake - self.session.age()
        self.session.deadline(max(left, 0), self._handshake_late)
        self.session.version = self.version
        self.begin()

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if self._closing:
            return
        if not self._heard:
            # Not before: a PROXY header, which says who it is, has come by now.
            self._heard = True
            self.session.identify(self.transport.getPeer(), self.transport.getHost())
        if self._encapsulation is not None:
            plain = self._decapsulated(data)
            if plain is None:
                return
            data = plain
        if self._relay is not None:
            self._relay.up.data(data)
            return
        self._buffer += data
        self._advance()
        if not self._paused and len(self._buffer) > self.factory.limits.early:
            self._paused = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}."""
        self._eof = True
        if self._closing:
            self.transport.loseConnection()
        elif self._relay is not None:
            self._relay.up.eof()
            self._relay.finish_if_over()
        elif self._parser is not None:
            # The message that is expected will not come any more.
            self._close(Outcome.CLIENT_LEFT)
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}.  We asked for it, so there is nothing to learn."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        if self._relay is not None:
            self._relay.client_lost(reason)
        else:
            self._close(Outcome.CLIENT_LEFT)
            self._over()

    def shut_down(self, *, now: bool) -> None:
        """
        The server stops.

        @param now: end whatever there is; otherwise only what has no request yet.
        """
        if self._relay is not None:
            if now:
                self._relay.abort(SHUTDOWN)
        elif now or self.session.command is None:
            self.abort(Outcome.SHUTDOWN)

    # The handshake.

    def expect(self, parser: Parser, then: Callable[[Any], None]) -> None:
        """
        Say what is to come next.

        @param parser: makes a message of the octets that have come.
        @param then: is given the message.
        """
        self._parser = parser
        self._then = then

    def _advance(self) -> None:
        while self._parser is not None and self._then is not None:
            try:
                parsed = self._parser(self._buffer)
            except WireError as error:
                self.close(error.reply, Outcome.MALFORMED, error.reason)
                return
            if parsed is None:
                self._need_more()
                return
            then = self._then
            self._parser = self._then = None
            self._consumed += parsed.end
            self._buffer = self._buffer[parsed.end :]
            then(parsed.value)

    def _need_more(self) -> None:
        if self._consumed + len(self._buffer) > self.factory.limits.handshake:
            self.refuse(Outcome.OVER_BUDGET)
        elif self._eof:
            self.readConnectionLost()
        else:
            self._resume()

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
            self._buffer = self._decapsulated(wrapped) or b""

    def _decapsulated(self, data: bytes) -> bytes | None:
        assert self._encapsulation is not None
        try:
            return self._encapsulation.decapsulate(data)
        except Exception:  # noqa: BLE001 (a stranger's code, and a stranger's octets)
            self.abort(Outcome.MALFORMED, "what the client sent cannot be decapsulated")
            return None

    def ask(
        self,
        call: Callable[[], Any],
        then: Callable[[Any], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """
        Call code that is not ours, and wait for its answer where it is a Deferred's.

        @param call: what to call.
        @param then: is given the answer.
        @param failed: is given the failure, also that of C{then}.
        """
        try:
            answer = call()
            if not isinstance(answer, Deferred):
                then(answer)
                return
        except Exception:  # noqa: BLE001 (a stranger's code)
            failed(Failure())
            return
        self._wait(answer, then, failed)

    def _wait(
        self,
        answer: Deferred[T],
        then: Callable[[T], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """Within a deadline; an answer that comes when the session is over is dropped."""

        def answered(value: T) -> None:
            self._waiting = None
            if not self._closing:
                then(value)
                self._advance()

        def broken(failure: Failure) -> None:
            self._waiting = None
            if not self._closing:
                failed(failure)

        waiting = bounded(self.factory.clock, self.factory.timeouts.decision, answer)
        self._waiting = waiting
        waiting.addCallback(answered).addErrback(broken)

    # The request.

    def serve(self, command: Command, destination: Address) -> None:
        """
        Carry out a request.

        @param command: what is asked for.
        @param destination: as it came.
        """
        session = self.session
        session.command, session.asked, session.port = command, destination.host, destination.port
        session.handshake = self._consumed
        if command is not Command.CONNECT:
            self.refuse(Outcome.COMMAND_NOT_SUPPORTED)
            return
        session.deadline(self.factory.timeouts.connect, self._connect_late)
        connecting = Deferred.fromCoroutine(self._connect(destination.host))
        if not connecting.called:
            self._waiting = connecting
        connecting.addErrback(self._connect_failed)

    async def _connect(self, host: Host) -> None:
        try:
            origin = await connect(self.session, host)
        except Refusal as refusal:
            self._waiting = None
            self.refuse(refusal.outcome, refusal.rule)
        else:
            self._waiting = None
            self._relay_with(origin)

    def _connect_failed(self, failure: Failure) -> None:
        if self._closing:
            return
        self.factory.blame(failure)
        if self._relay is not None:
            self._relay.abort("error in the server")
        else:
            self.refuse(Outcome.FAILED, "error in the server")

    def _relay_with(self, origin: Origin) -> None:
        self.session.no_deadline()
        bound = socket_address(origin.transport.getHost())
        self.send(self.granted(bound))
        self.session.opened(bound)
        self._relay = relay = Relay(
            self._out,
            origin.transport,
            self.factory.clock,
            self.factory.timeouts.idle,
            self.factory.timeouts.closing,
            self._relayed,
        )
        if self._buffer:
            early, self._buffer = self._buffer, b""
            relay.up.data(early)
        origin.attach(relay)
        if self._eof:
            self.readConnectionLost()
        else:
            self._resume()

    def _relayed(self) -> None:
        relay = self._relay
        assert relay is not None
        self.session.received, self.session.sent = relay.up.octets, relay.down.octets
        self.session.end = relay.end
        self._over()

    # The end.

    def refuse(self, outcome: Outcome, rule: str = "") -> None:
        """
        Tell the client no, and close.

        @param outcome: why, as the client is told.
        @param rule: why, as the log tells.
        """
        self.close(self.refused(outcome), outcome, rule)

    def close(self, reply: bytes, outcome: Outcome, rule: str = "") -> None:
        """
        Send the last octets, and close so that they arrive.

        @param reply: what to send.
        @param outcome: why, for the log.
        @param rule: why, in detail.
        """
        if self._closing:
            return
        self.send(reply)
        self._close(outcome, rule)
        self.session.deadline(self.factory.timeouts.closing, self.transport.abortConnection)
        half_close = half_closer(self._out)
        if half_close is None or self._eof:
            self.transport.loseConnection()
        else:
            half_close()
            self._resume()

    def abort(self, outcome: Outcome, rule: str = "") -> None:
        """
        End the connection with a reset.

        @param outcome: why, for the log.
        @param rule: why, in detail.
        """
        if self._relay is not None:
            self._relay.abort(rule)
        else:
            self._close(outcome, rule)
            self.transport.abortConnection()

    def _close(self, outcome: Outcome, rule: str = "") -> None:
        """From here on nothing more is taken from anybody.  The first outcome counts."""
        self._closing = True
        session = self.session
        if session.outcome is None:
            session.outcome, session.rule = outcome, rule
            if session.command is None:
                session.handshake = self._consumed + len(self._buffer)
        self._buffer = b""
        self._parser = self._then = None
        waiting = self._waiting
        self._waiting = None
        if waiting is not None:
            waiting.cancel()

    def _over(self) -> None:
        self.factory.sessions.discard(self)
        self.session.closed()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _handshake_late(self) -> None:
        self.refuse(Outcome.HANDSHAKE_TIMED_OUT)

    def _connect_late(self) -> None:
        self.refuse(Outcome.TIMED_OUT, "no connection within the deadline")
