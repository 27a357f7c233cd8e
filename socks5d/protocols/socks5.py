"""SOCKS 5 (RFC 1928): method selection, sub-negotiation, the request and the reply."""

from functools import partial

from twisted.python.failure import Failure

from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.limits.limiter import UNCOUNTED
from socks5d.model import (
    Authenticated,
    Command,
    Decision,
    Identity,
    More,
    NotAuthenticated,
    Outcome,
    Step,
    Verdict,
)
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.factory import SOCKSBaseFactory
from socks5d.wire import socks5
from socks5d.wire.address import Address
from socks5d.wire.parsed import Parsed

_COMMANDS = {
    socks5.CONNECT: Command.CONNECT,
    socks5.BIND: Command.BIND,
    socks5.UDP_ASSOCIATE: Command.UDP_ASSOCIATE,
}

#: REP for each outcome that has its own; section 6.
_REPLIES = {
    Outcome.DENIED: socks5.NOT_ALLOWED,
    Outcome.OVER_LIMIT: socks5.NOT_ALLOWED,
    Outcome.IDENT_UNREACHABLE: socks5.NOT_ALLOWED,
    Outcome.IDENT_MISMATCH: socks5.NOT_ALLOWED,
    Outcome.NETWORK_UNREACHABLE: socks5.NETWORK_UNREACHABLE,
    Outcome.HOST_UNREACHABLE: socks5.HOST_UNREACHABLE,
    Outcome.REFUSED: socks5.CONNECTION_REFUSED,
    Outcome.TIMED_OUT: socks5.TTL_EXPIRED,
    Outcome.COMMAND_NOT_SUPPORTED: socks5.COMMAND_NOT_SUPPORTED,
    Outcome.ADDRESS_TYPE_NOT_SUPPORTED: socks5.ADDRESS_TYPE_NOT_SUPPORTED,
}

_NO_METHOD = socks5.encode_selection(socks5.NO_ACCEPTABLE_METHODS)


class SOCKSv5(SOCKSProtocol):
    """Serves one SOCKS 5 client."""

    version = "5"

    def first(self) -> None:
        """See L{SOCKSProtocol}."""
        self.expect(socks5.parse_greeting, self._greeted)

    def granted(self, bound: Address | None) -> bytes:
        """See L{SOCKSProtocol}."""
        return socks5.encode_reply(socks5.SUCCEEDED, bound)

    def refused(self, outcome: Outcome) -> bytes:
        """See L{SOCKSProtocol}.  Before there is a request, there is none to answer."""
        if self.session.command is None:
            return b""
        return socks5.encode_reply(_REPLIES.get(outcome, socks5.GENERAL_FAILURE))

    def _greeted(self, methods: bytes) -> None:
        authenticator = self.session.server.choose(methods)
        if authenticator is None:
            self.close(_NO_METHOD, Outcome.NO_ACCEPTABLE_METHOD)
        elif authenticator.method == socks5.NO_AUTHENTICATION:
            self._select(authenticator)
        else:
            self._admit(authenticator)

    def _admit(self, authenticator: IAuthenticator) -> None:
        """
        A client that is over a limit, or that no rule will let through, gets no chance to
        try passwords.
        """
        session = self.session
        if not session.excess:
            self._judge(authenticator)
            return

        def told(excess: str) -> None:
            session.excess = excess
            if excess:
                self.close(_NO_METHOD, Outcome.OVER_LIMIT, excess)
            else:
                self._judge(authenticator)

        def failed(failure: Failure) -> None:
            session.server.blame(failure, "a client's sessions could not be counted in time")
            self.close(_NO_METHOD, Outcome.OVER_LIMIT, UNCOUNTED)

        self.ask(told, failed, lambda: session.excess)

    def _judge(self, authenticator: IAuthenticator) -> None:
        def judged(decision: Decision) -> None:
            if decision.verdict is Verdict.DENY:
                self.close(_NO_METHOD, Outcome.DENIED, decision.rule)
            else:
                self._select(authenticator)

        session = self.session
        self.ask(judged, self._broken, session.server.gate.judge, session.request())

    def _select(self, authenticator: IAuthenticator) -> None:
        self.session.method = authenticator.method
        self.send(socks5.encode_selection(authenticator.method))
        # A stranger's object may have no such method, which is a failure like any other.
        self.ask(self._begun, self._broken, lambda: authenticator.negotiate(self.session.client))

    def _begun(self, negotiation: INegotiation) -> None:
        self._negotiate(negotiation, self.take_all())

    def _negotiate(self, negotiation: INegotiation, data: bytes) -> None:
        def stepped(step: Step) -> None:
            if isinstance(step, Authenticated) and isinstance(step.identity, Identity):
                self._let_in(step)
            elif isinstance(step, More):
                self.send(step.send)
                self.expect(_whatever, partial(self._negotiate, negotiation))
            elif isinstance(step, NotAuthenticated):
                self.session.claimed = None if step.claimed is None else str(step.claimed)
                self.close(step.send, Outcome.NOT_AUTHENTICATED, step.reason)
            else:
                raise TypeError("an authenticator gave something that is no step")

        self.ask(stepped, self._broken, negotiation.receive, data)

    def _let_in(self, step: Authenticated) -> None:
        self.session.identity = step.identity
        if step.send:
            self.send(step.send)
        self.give_back(step.rest)
        self.expect(socks5.parse_request, self._requested)
        if step.encapsulation is not None:
            self.encapsulate(step.encapsulation)

    def _requested(self, request: socks5.Request) -> None:
        self.serve(_COMMANDS[request.command], request.destination)

    def _broken(self, failure: Failure) -> None:
        self.session.server.blame(failure, "an authenticator failed, which refuses its client")
        refusal = self.session.server.refusal(self.session.method)
        self.close(refusal, Outcome.NOT_AUTHENTICATED, "the authenticator failed")


def _whatever(data: bytes) -> Parsed[bytes] | None:
    """Takes all there is: a sub-negotiation has messages of its own."""
    return Parsed(data, len(data)) if data else None


class SOCKSv5Factory(SOCKSBaseFactory):
    """Serves SOCKS 5 clients only."""

    protocol = SOCKSv5
