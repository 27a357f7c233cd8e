"""SOCKS 4's USERID: what a client says of itself, which nobody proves."""

from collections.abc import Iterable

from zope.interface import implementer

from socks5d.interfaces import USERID, IAuthenticator, INegotiation
from socks5d.model import ANONYMOUS, Authenticated, Client, Identity, NotAuthenticated, Step
from socks5d.patterns import NamePatterns


@implementer(IAuthenticator, INegotiation)
class AnyUserID:
    """Lets every SOCKS 4 client in as nobody in particular, whatever USERID it gives."""

    method = USERID
    refusal = b""

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}.  There is nothing to remember, so one serves all."""
        return self

    def receive(self, data: bytes) -> Step:
        """See L{INegotiation}."""
        return Authenticated(ANONYMOUS)


@implementer(IAuthenticator, INegotiation)
class UserIDList:
    """
    Lets in the SOCKS 4 clients that give one of some user-ids.  It keeps honest
    people apart from each other; it keeps nobody out.
    """

    method = USERID
    refusal = b""

    def __init__(self, names: Iterable[str]) -> None:
        """
        @param names: user-ids, and patterns in which C{*} stands for any characters;
            compared octet by octet as UTF-8.
        """
        self._names = NamePatterns(names)

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}.  There is nothing to remember, so one serves all."""
        return self

    def receive(self, data: bytes) -> Step:
        """See L{INegotiation}."""
        name = data.decode("utf-8", "surrogateescape")
        if self._names.match(name) is not None:
            return Authenticated(Identity(name, "userid"))
        return NotAuthenticated(reason="userid not listed", claimed=name or None)
