"""No authentication: method 0 of SOCKS 5 (RFC 1928 section 3)."""

from zope.interface import implementer

from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import ANONYMOUS, Authenticated, Client, Step
from socks5d.wire import socks5

_LET_IN = Authenticated(ANONYMOUS)


@implementer(IAuthenticator, INegotiation)
class NoAuthentication:
    """Lets every client in as nobody in particular."""

    method = socks5.NO_AUTHENTICATION
    refusal = b""

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}.  There is nothing to remember, so one serves all."""
        return self

    def receive(self, data: bytes) -> Step:
        """See L{INegotiation}."""
        return Authenticated(ANONYMOUS, rest=data) if data else _LET_IN
