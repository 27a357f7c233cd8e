"""
What the protocols of all SOCKS versions have in common.

A session goes through these stages, and never back:

1. Handshake.  A parser is expected to make a message of what has come; a method
   of the version's takes it, and says what is expected next, or waits for
   somebody's answer.  What comes in the meantime is kept: it is optimistic data,
   and nothing of it is lost.
2. Request.  A coroutine carries it out.  The client's octets are kept, to a bound;
   beyond it they wait in the kernel.
3. Relay, or closing; see L{socks5d.protocols.control}.

One deadline stands at every moment of 1, 2 and of closing; the relay has its own.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.errand import Errand
from socks5d.interfaces import IDatagramEncapsulation
from socks5d.model import Command, Outcome, Refusal
from socks5d.parameters import IdentMode
from socks5d.protocols.admission import within_client_limits, within_identity_limits
from socks5d.protocols.associate import associate
from socks5d.protocols.bind import bind
from socks5d.protocols.connect import connect, judge
from socks5d.protocols.control import ControlConnection
from socks5d.protocols.identify import identify
from socks5d.protocols.session import Session
from socks5d.relay import Origin
from socks5d.wire.address import Address
from socks5d.wire.parsed import Parsed, WireError

#: What ends with its client: nobody would be left to be told of the peer.
_ATTENDED = (Command.BIND, Command.UDP_ASSOCIATE)

T = TypeVar("T")
Parser = Callable[[bytes], Parsed[Any] | None]


class SOCKSProtocol(ControlConnection):
    """
    Serves one client.  A subclass speaks one version: it says what to expect first
    (L{first}), and how its replies look (L{granted} and L{refused}).

    @cvar version: "4" or "5"; "" while that is not known.
    """

    version: ClassVar[str] = ""

    def __init__(self, session: Session) -> None:
        """See L{ControlConnection}."""
        super().__init__(session)
        self._parser: Parser | None = None
        self._then: Callable[[Any], None] | None = None
        self._waiting: Deferred[Any] | Errand | None = None

    # What a version says.

    def first(self) -> None:
        """Say what is expected first."""
        raise AssertionError("a subclass says what is expected first")

    def granted(self, bound: Address | None) -> bytes:
        """
        @param bound: what to tell as BND.ADDR and BND.PORT: the near end of the outgoing
            connection; for BIND the listening address, then the peer's.
        @return: the reply.
        """
        raise AssertionError("a subclass says how a request is granted")

    def refused(self, outcome: Outcome) -> bytes:
        """
        @param outcome: why.
        @return: the reply.
        """
        raise AssertionError("a subclass says how a request is refused")

    # The handshake.

    def begin(self) -> None:
        """See L{ControlConnection}."""
        self.session.deadline(self.session.server.timeouts.handshake, self.handshake_late)

    def speak(self) -> None:
        """See L{ControlConnection}."""
        self.session.version = self.version
        self.first()

    def expect(self, parser: Parser, then: Callable[[Any], None]) -> None:
        """
        Say what is to come next.

        @param parser: makes a message of the octets that have come.
        @param then: is given the message.
        """
        self._parser = parser
        self._then = then

    def expecting(self) -> bool:
        """See L{ControlConnection}."""
        return self._parser is not None

    def advance(self) -> None:
        """See L{ControlConnection}."""
        if self.eof and self.session.command in _ATTENDED:
            self.close(b"", Outcome.CLIENT_LEFT)
        while self._parser is not None and self._then is not None:
            if not self._buffer:
                self._need_more()
                return
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
            value, end = parsed
            self._buffer = self._buffer[end:]
            self._consumed += end
            then(value)

    def _need_more(self) -> None:
        if self._consumed + len(self._buffer) > self.session.budget():
            self.refuse(Outcome.OVER_BUDGET)
        elif self.eof:
            # The message that is expected will not come any more.
            self.close(b"", Outcome.CLIENT_LEFT)
        elif self._paused:
            self.resume()

    def ask(
        self,
        then: Callable[[Any], None],
        failed: Callable[[Failure], None],
        call: Callable[..., Any],
        *arguments: object,
    ) -> None:
        """
        Call code that is not ours, and wait for its answer where it is a Deferred's.

        @param then: is given the answer.
        @param failed: is given the failure, also that of C{then}.
        @param call: what to call, with C{arguments}.
        """
        try:
            answer = call(*arguments)
            # To tell a Deferred from what is none takes long: it is an ABC.
            if isinstance(answer, tuple) or not isinstance(answer, Deferred):
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
            if not self.closing:
                then(value)
                self.advance()

        def broken(failure: Failure) -> None:
            self._waiting = None
            if not self.closing:
                failed(failure)

        server = self.session.server
        waiting = bounded(server.clock, server.timeouts.decision, answer)
        self._waiting = waiting
        waiting.addCallback(answered).addErrback(broken)

    def overfull(self) -> None:
        """
        See L{ControlConnection}.  While a BIND waits its client is read, or its end would
        not be noticed.
        """
        if self.session.command is Command.BIND:
            self.refuse(Outcome.FAILED, "more early data than is kept")
        else:
            super().overfull()

    def abandon(self) -> None:
        """See L{ControlConnection}."""
        self._parser = self._then = None
        waiting = self._waiting
        self._waiting = None
        if waiting is not None:
            waiting.cancel()

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
        if command not in session.server.commands:
            self.refuse(Outcome.COMMAND_NOT_SUPPORTED, "switched off")
            return
        if self.eof and command in _ATTENDED:
            self.close(b"", Outcome.CLIENT_LEFT)
            return
        session.deadline(session.server.timeouts.connect, self._request_late)
        errand = Errand(self._carry_out(command, destination), self._request_failed)
        self._waiting = errand
        errand.run()

    async def _carry_out(self, command: Command, destination: Address) -> None:
        try:
            server = self.session.server
            if self.session.excess:
                await within_client_limits(self.session)
            if server.ident is not IdentMode.OFF:
                await identify(self.session)
            if server.limiter.limits_identities:
                # Or those whom no rule lets in could use up what there is for all names.
                await judge(server, self.session.request()._replace(command=None))
                await within_identity_limits(self.session)
            if command is Command.CONNECT:
                origin = await connect(self.session, destination.host)
                self._relay(origin, origin.host)
            elif command is Command.BIND:
                origin = await bind(self.session, destination.host, self._listening)
                self._relay(origin, origin.peer)
            else:
                await self._associate(destination)
        except Refusal as refusal:
            self._waiting = None
            self.refuse(refusal.outcome, refusal.rule)

    def _relay(self, origin: Origin, bound: Address | None) -> None:
        self._waiting = None
        try:
            self.session.opened(origin.host)
            self.send(self.granted(bound))
            self.relay_with(origin)
        except BaseException:
            origin.transport.abortConnection()
            raise

    async def _associate(self, announced: Address) -> None:
        encapsulation = self.encapsulation
        if encapsulation is not None and not IDatagramEncapsulation.providedBy(encapsulation):
            raise Refusal(Outcome.COMMAND_NOT_SUPPORTED, "datagrams cannot be encapsulated")
        association, bound = await associate(
            self.session, announced, self.transport, encapsulation, self.carried
        )
        self._waiting = None
        try:
            self.session.opened(bound)
            self.send(self.granted(bound))
        except BaseException:
            self.carry_by(association, deaf=True)
            association.abort("error in the server")
            raise
        self.carry_by(association, deaf=True)

    def _listening(self, bound: Address) -> None:
        """The first reply to a BIND."""
        session = self.session
        seconds = session.terms.bind
        if seconds is None:
            seconds = session.server.timeouts.bind
        session.deadline(seconds, self._request_late)
        self.send(self.granted(bound))

    def _request_failed(self, failure: Failure) -> None:
        if self.closing:
            return
        self.session.server.blame(failure)
        if self.session.outcome is Outcome.GRANTED:
            self.abort(Outcome.FAILED, "error in the server")
        else:
            self.refuse(Outcome.FAILED, "error in the server")

    # The end.

    def refuse(self, outcome: Outcome, rule: str = "") -> None:
        """
        Tell the client no, and close.

        @param outcome: why, as the client is told.
        @param rule: why, as the log tells.
        """
        self.close(self.refused(outcome), outcome, rule)

    def too_late(self) -> None:
        """See L{ControlConnection}."""
        self.refuse(Outcome.OVER_LIMIT, str(self.session.excess))

    def handshake_late(self) -> None:
        """The client has not said in time what it wants."""
        self.refuse(Outcome.HANDSHAKE_TIMED_OUT)

    def _request_late(self) -> None:
        self.refuse(Outcome.TIMED_OUT, "no connection within the deadline")
