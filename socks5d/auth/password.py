"""Username and password (RFC 1929) over C{twisted.cred} checkers."""

import hmac
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.auth.blocking import of_known
from socks5d.auth.guessing import PATIENCE, Guessing, NotChecked
from socks5d.auth.logins import Logins
from socks5d.auth.undecided import TooManyLogins, Undecided
from socks5d.bounded import Complaints, DeadlinePassed, bounded
from socks5d.escape import printable
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import Authenticated, Client, Identity, More, NotAuthenticated, Step
from socks5d.parameters import Limits
from socks5d.wire import socks5, userpass
from socks5d.wire.parsed import WireError

_SUCCESS = userpass.encode_status(userpass.SUCCESS)
_FAILURE = userpass.encode_status(userpass.FAILURE)

_WRONG = "wrong username or password"
_LATE = "a credentials checker took too long"
_TOO_MANY = "too many logins at once, not checked"
_UNDECIDED = "could not be checked"
_BROKEN = "a credentials checker failed"
#: What is said, and counts, where checkers differ.
_FIRST_OF = (_WRONG, _LATE, _TOO_MANY, _UNDECIDED, _BROKEN)


class NotLetIn(Exception):
    """
    No checker accepts.  The text says why.

    @ivar guess: whether it may have been a guess: a checker found name or password wrong,
        or had no answer in time, which some have sooner for what is right.
    """

    def __init__(self, reasons: Collection[str]) -> None:
        super().__init__(next((each for each in _FIRST_OF if each in reasons), _WRONG))
        self.guess = _WRONG in reasons or _LATE in reasons


class _NoName(Exception):
    """What a checker accepts is nobody in particular."""


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

    Guessing is slowed: see L{Guessing}.  Credentials that were right within the last hour
    do not wait for what others do, nor for the threads that others are checked in.
    """

    method = socks5.USERNAME_PASSWORD
    refusal = _FAILURE
    _log = Logger()

    def __init__(
        self,
        checkers: Sequence[ICredentialsChecker],
        clock: IReactorTime,
        seconds: float,
        *,
        guessing: Guessing | None = None,
        cache: float = 0.0,
    ) -> None:
        """
        @param checkers: at least one; each takes L{IUsernamePassword}.
        @param seconds: how long a login may take, waiting for its turn included; of what is
            left each checker gets an equal part.
        @param guessing: what failed lately, for authenticators that share it; by default
            one of this authenticator's, with a quarter of C{seconds} for patience.
        @param cache: for how long credentials that were right are taken without being
            checked, in seconds.
        """
        self._checkers = tuple(checkers)
        self._clock = clock
        self._seconds = seconds
        self._guessing = guessing or Guessing(clock, Limits().failures, seconds * PATIENCE)
        self._logins = Logins(clock, cache)
        self._complaints = Complaints(clock, self._log)

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}."""
        return _Negotiation(self, client)

    async def check(self, client: Client, credentials: userpass.Credentials) -> Identity:
        """
        @param client: who gives them.
        @return: who it is.
        @raise NotLetIn: when no checker accepts.
        """
        identity = self._logins.cached(credentials)
        if identity is not None:
            return identity
        until = self._clock.seconds() + self._seconds
        if self._logins.known(credentials):
            return await self._ask(credentials, until, of_known)
        async with self._guessing.attempt(client, credentials.username) as attempt:
            try:
                identity = await self._ask(credentials, until)
            except NotLetIn as error:
                attempt.failed = error.guess
                raise
            attempt.failed = False
            return identity

    async def _ask(
        self,
        credentials: userpass.Credentials,
        until: float,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Identity:
        reasons: set[str] = set()
        for place, checker in enumerate(self._checkers):
            left = max(until - self._clock.seconds(), 0.0)
            offered = UsernamePassword(*credentials)
            with within():
                answer = maybeDeferred(checker.requestAvatarId, offered)
            try:
                avatar = await bounded(self._clock, left / (len(self._checkers) - place), answer)
                identity = Identity(_avatar_name(avatar), "password")
            except CancelledError:
                raise
            except TooManyLogins:
                reasons.add(_TOO_MANY)
            except Undecided:
                reasons.add(_UNDECIDED)
            except UnauthorizedLogin:
                reasons.add(_WRONG)
            except Exception as error:  # noqa: BLE001 (a stranger's code)
                self._complaints.complain(
                    "a credentials checker failed, which accepts nobody", Failure()
                )
                reasons.add(_LATE if isinstance(error, DeadlinePassed) else _BROKEN)
            else:
                self._logins.accepted(credentials, identity)
                return identity
        if reasons == {_WRONG}:
            # Not where one of them could not tell: it may be the one that knows the name.
            self._logins.refused(credentials)
        raise NotLetIn(reasons)


def _avatar_name(avatar: object) -> str:
    """
    @raise _NoName: for C{twisted.cred}'s C{ANONYMOUS} and whatever else names nobody, who
        must not become whoever the client says it is.
    """
    if not isinstance(avatar, bytes | str) or not avatar:
        raise _NoName("what it accepts has no name")
    return _text(avatar) if isinstance(avatar, bytes) else avatar


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


@implementer(INegotiation)
class _Negotiation:
    def __init__(self, authenticator: PasswordAuthenticator, client: Client) -> None:
        self._authenticator = authenticator
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
            identity = await self._authenticator.check(self._client, credentials)
        except (NotLetIn, NotChecked) as error:
            return NotAuthenticated(_FAILURE, str(error), _text(credentials.username))
        return Authenticated(identity, _SUCCESS, rest)
