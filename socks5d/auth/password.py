"""Username and password (RFC 1929) over C{twisted.cred} checkers."""

import hmac
from collections.abc import Callable, Sequence
from functools import partial

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.auth.blocking import Login, checking
from socks5d.auth.guessing import PATIENCE, Attempt, Guessing, NotChecked
from socks5d.auth.together import Together
from socks5d.auth.undecided import TooManyLogins, Unanswered, Undecided
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
#: What may have been a guess: a checker found name or password wrong, or had no answer in
#: time, which some have sooner for what is right.
_GUESSES = frozenset({_WRONG, _LATE})


class NotLetIn(Exception):
    """No checker accepts, or nobody was asked.  The text says why."""


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

    Guessing is slowed: see L{Guessing}.  Credentials that were right within the last hour,
    from the same client, do not wait for what others do, nor where others are checked.
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
        @param guessing: what became of logins lately, for authenticators that share it; by
            default one of this authenticator's, with a quarter of C{seconds} for patience.
        @param cache: for how long credentials that were right are taken from the same client
            without being checked, in seconds.
        """
        self._checkers = tuple(checkers)
        self._clock = clock
        self._seconds = seconds
        self._cache = cache
        self._guessing = guessing or Guessing(clock, Limits(), seconds * PATIENCE)
        self._complaints = Complaints(clock, self._log)
        self._together: Together[Identity | str] = Together()
        # By which its logins are told from others', and which holds nothing of it.
        self._me = object()

    def negotiate(self, client: Client) -> INegotiation:
        """See L{IAuthenticator}."""
        return _Negotiation(self, client)

    async def check(self, client: Client, credentials: userpass.Credentials) -> Identity:
        """
        Those that are the same, from the same client, are checked once at a time.

        @param client: who gives them.
        @return: who it is.
        @raise NotLetIn: when no checker accepts, or it would have to wait for its turn for
            too long.
        """
        until = self._clock.seconds() + self._seconds
        who = self._guessing.clients.of(client)
        key = self._guessing.logins.key(who, credentials)
        find_out = partial(self._find_out, client, who, credentials, until)
        found = await self._together.ask(key, find_out)
        if isinstance(found, Identity):
            return found
        raise NotLetIn(found)

    async def _find_out(
        self, client: Client, who: str, credentials: userpass.Credentials, until: float
    ) -> Identity | str:
        """
        @return: who it is; or why nobody is let in.
        """
        logins = self._guessing.logins
        found = logins.find(who, credentials)
        if found is not None:
            if found.by is self._me and logins.age(found) < self._cache:
                return found.identity
            login = partial(Login, client, credentials.username, known=True)
            return await self._ask(who, credentials, until, login, Attempt())
        try:
            async with self._guessing.attempt(client, credentials.username) as attempt:
                login = partial(Login, client, who, known=False)
                return await self._ask(who, credentials, until, login, attempt)
        except NotChecked as error:
            return str(error)

    async def _ask(
        self,
        who: str,
        credentials: userpass.Credentials,
        until: float,
        make_login: Callable[[], Login],
        attempt: Attempt,
    ) -> Identity | str:
        reasons: set[str] = set()
        for place, checker in enumerate(self._checkers):
            left = max(until - self._clock.seconds(), 0.0)
            login = make_login()
            with checking(login):
                answer = maybeDeferred(checker.requestAvatarId, UsernamePassword(*credentials))
            try:
                avatar = await bounded(self._clock, left / (len(self._checkers) - place), answer)
                identity = Identity(_avatar_name(avatar), "password")
            except CancelledError:
                # Who leaves before the answer has not been right.
                attempt.failed = login.looked_at or not reasons.isdisjoint(_GUESSES)
                raise
            except Exception as error:  # noqa: BLE001 (a stranger's code)
                reasons.add(self._why_not(error, login))
            else:
                self._guessing.logins.accepted(who, credentials, identity, self._me)
                return identity
        if reasons == {_WRONG}:
            # Not where one of them could not tell: it may be the one that knows the name.
            self._guessing.logins.refused(who, credentials)
        attempt.failed = not reasons.isdisjoint(_GUESSES)
        return next((each for each in _FIRST_OF if each in reasons), _WRONG)

    def _why_not(self, error: Exception, login: Login) -> str:
        if isinstance(error, Unanswered):
            return _LATE
        if isinstance(error, Undecided):
            return _TOO_MANY if isinstance(error, TooManyLogins) else _UNDECIDED
        if isinstance(error, UnauthorizedLogin):
            return _WRONG
        if isinstance(error, DeadlinePassed) and login.waits:
            self._complaints.warn("logins wait for longer than they may for somebody to check them")
            return _TOO_MANY
        self._complaints.complain("a credentials checker failed, which accepts nobody", Failure())
        if isinstance(error, DeadlinePassed):
            return _LATE if login.looked_at else _UNDECIDED
        return _BROKEN


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
        except NotLetIn as error:
            return NotAuthenticated(_FAILURE, str(error), _text(credentials.username))
        return Authenticated(identity, _SUCCESS, rest)
