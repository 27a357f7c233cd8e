"""Username and password (RFC 1929) over C{twisted.cred} checkers."""

import hmac
from collections.abc import Sequence

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.bounded import Complaints, bounded
from socks5d.escape import printable
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import Authenticated, Client, Identity, More, NotAuthenticated, Step
from socks5d.wire import socks5, userpass
from socks5d.wire.parsed import WireError

_SUCCESS = userpass.encode_status(userpass.SUCCESS)
_FAILURE = userpass.encode_status(userpass.FAILURE)


@implementer(IUsernamePassword)
class UsernamePassword:
    """
    What a checker is given.

    @ivar username: octets, as the client sent them.
    @ivar password: octets, as the client sent them.
    """

    def __init__(self, username: bytes, password: bytes) -> None:
        self.username = username
        self.password = password

    def checkPassword(self, password: bytes | str) -> bool:
        """
        Compare in a time that does not tell where two passwords differ.

        @param password: the right one; some checkers have it as text, which is taken
            for UTF-8.
        """
        if isinstance(password, str):
            password = password.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(self.password, password)

    def __repr__(self) -> str:
        return f"<UsernamePassword {printable(self.username)}>"


@implementer(IAuthenticator)
class PasswordAuthenticator:
    """
    Method 2.  Asks checkers in their order; the first that accepts gives the
    identity its name.  A checker that fails or hangs has not accepted.
    """

    method = socks5.USERNAME_PASSWORD
    refusal = _FAILURE
    _log = Logger()

    def __init__(
        self, checkers: Sequence[ICredentialsChecker], clock: IReactorTime, seconds: float
    ) -> None:
        """
        @param checkers: at least one; each takes L{IUsernamePassword}.
        @param seconds: how long they may take together; each gets an equal part.
        """
        self._checkers = tuple(checkers)
        self._clock = clock
        self._seconds = seconds / max(len(self._checkers), 1)
        self._complaints = Complaints(clock, self._log)

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}."""
        return _Negotiation(self)

    async def check(self, credentials: userpass.Credentials) -> Identity | None:
        """
        @return: who it is, or None when no checker accepts.
        """
        for checker in self._checkers:
            offered = UsernamePassword(*credentials)
            answer = maybeDeferred(checker.requestAvatarId, offered)
            try:
                avatar = await bounded(self._clock, self._seconds, answer)
            except CancelledError:
                raise
            except UnauthorizedLogin:
                continue
            except Exception:  # noqa: BLE001 (a stranger's code)
                self._complaints.complain(
                    "a credentials checker failed, which accepts nobody", Failure()
                )
                continue
            return Identity(_name(avatar or credentials.username), "password")
        return None


def _name(avatar: object) -> str:
    return avatar.decode("utf-8", "surrogateescape") if isinstance(avatar, bytes) else str(avatar)


@implementer(INegotiation)
class _Negotiation:
    def __init__(self, authenticator: PasswordAuthenticator) -> None:
        self._authenticator = authenticator
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
        identity = await self._authenticator.check(credentials)
        if identity is None:
            claimed = _name(credentials.username)
            return NotAuthenticated(_FAILURE, "wrong username or password", claimed)
        return Authenticated(identity, _SUCCESS, rest)
