"""Username and password (RFC 1929) over C{twisted.cred} checkers."""

from collections.abc import Hashable, Sequence

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from socks5d.auth.checks import Checks, NotLetIn, text
from socks5d.auth.guessing import Guessing
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import Authenticated, Client, More, NotAuthenticated, Step
from socks5d.parameters import Limits
from socks5d.wire import socks5, userpass
from socks5d.wire.parsed import WireError

_SUCCESS = userpass.encode_status(userpass.SUCCESS)
_FAILURE = userpass.encode_status(userpass.FAILURE)


@implementer(IAuthenticator)
class PasswordAuthenticator:
    """Method 2.  What is given is checked as L{Checks} says."""

    method = socks5.USERNAME_PASSWORD
    refusal = _FAILURE

    def __init__(
        self,
        checkers: Sequence[ICredentialsChecker],
        clock: IReactorTime,
        seconds: float,
        *,
        guessing: Guessing | None = None,
        cache: float = 0.0,
        source: Hashable = None,
    ) -> None:
        """
        @param checkers: at least one; each takes L{IUsernamePassword}.
        @param seconds: how long a login may take, waiting for its turn included; of what is
            left each checker gets an equal part.
        @param guessing: what became of logins lately, for authenticators that share it; by
            default one of this authenticator's.
        @param cache: for how long credentials that were right are taken from the same address
            without being checked, in seconds.
        @param source: what its checkers have their answers from, for authenticators that share
            C{guessing}: at one that has them from elsewhere, what was right here is like
            anything else.  By default it is at every other.
        """
        guessing = guessing or Guessing(clock, Limits(), seconds)
        self._checks = Checks(checkers, clock, seconds, guessing, cache, source)

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}."""
        return _Negotiation(self._checks, client)


@implementer(INegotiation)
class _Negotiation:
    def __init__(self, checks: Checks, client: Client) -> None:
        self._checks = checks
        self._client = client
        self._buffer = b""

    def receive(self, data: bytes) -> Step | Deferred[Step]:
        self._buffer += data
        try:
            parsed = userpass.parse_credentials(self._buffer)
        except WireError as error:
            return NotAuthenticated(error.reply, error.reason)
        if parsed is None:
            return More()
        rest, self._buffer = self._buffer[parsed.end :], b""
        return Deferred.fromCoroutine(self._check(parsed.value, rest))

    async def _check(self, credentials: userpass.Credentials, rest: bytes) -> Step:
        try:
            identity = await self._checks.check(self._client, credentials)
        except NotLetIn as error:
            return NotAuthenticated(_FAILURE, str(error), text(credentials.username))
        return Authenticated(identity, _SUCCESS, rest)
