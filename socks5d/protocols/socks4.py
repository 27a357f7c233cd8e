"""SOCKS 4 and 4a: the request with its USERID, and the reply."""

from twisted.python.failure import Failure

from socks5d.model import Authenticated, Command, Identity, Outcome, Step
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.factory import SOCKSBaseFactory
from socks5d.wire import socks4
from socks5d.wire.address import Address

_COMMANDS = {socks4.CONNECT: Command.CONNECT, socks4.BIND: Command.BIND}

#: CD for each outcome that has its own.
_REPLIES = {
    Outcome.IDENT_UNREACHABLE: socks4.IDENTD_UNREACHABLE,
    Outcome.IDENT_MISMATCH: socks4.USERID_MISMATCH,
}


class SOCKSv4(SOCKSProtocol):
    """Serves one SOCKS 4 or 4a client."""

    version = "4"

    def first(self) -> None:
        """See L{SOCKSProtocol}."""
        self.expect(socks4.parse_request, self._requested)

    def granted(self, bound: Address | None) -> bytes:
        """See L{SOCKSProtocol}."""
        return socks4.encode_reply(socks4.GRANTED, bound)

    def refused(self, outcome: Outcome) -> bytes:
        """See L{SOCKSProtocol}."""
        return socks4.encode_reply(_REPLIES.get(outcome, socks4.REJECTED))

    def _requested(self, request: socks4.Request) -> None:
        session = self.session
        if isinstance(request.destination.host, bytes):
            session.version = "4a"
        session.userid = request.userid.decode("utf-8", "surrogateescape")
        session.claimed = session.userid
        authenticator = self.session.server.userid_authenticator()
        if authenticator is None:
            self.refuse(Outcome.NO_ACCEPTABLE_METHOD, "SOCKS 4 cannot authenticate")
            return

        def stepped(step: Step) -> None:
            if isinstance(step, Authenticated) and isinstance(step.identity, Identity):
                session.identity = step.identity
                self.serve(_COMMANDS[request.command], request.destination)
            else:
                reason = getattr(step, "reason", "the authenticator gave no answer")
                self.refuse(Outcome.NOT_AUTHENTICATED, reason)

        def failed(failure: Failure) -> None:
            self.session.server.blame(failure, "an authenticator failed, which refuses its client")
            self.refuse(Outcome.NOT_AUTHENTICATED, "the authenticator failed")

        self.ask(
            stepped,
            failed,
            lambda: authenticator.negotiate(session.client).receive(request.userid),
        )


class SOCKSv4Factory(SOCKSBaseFactory):
    """Serves SOCKS 4 and 4a clients only."""

    protocol = SOCKSv4
