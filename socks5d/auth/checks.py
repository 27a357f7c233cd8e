"""
Usernames and passwords, checked: C{twisted.cred} checkers are asked in their order, with a
deadline for each, as often as guessing allows, and once for all who give the same at once.
"""

import hmac
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.auth.blocking import Login, checking
from socks5d.auth.guessing import Attempt, Guessing, NotChecked
from socks5d.auth.logins import KNOWN, LOGINS, MISSES
from socks5d.auth.together import Together
from socks5d.auth.undecided import TooManyLogins, Unanswered, Undecided
from socks5d.bounded import Complaints, DeadlinePassed, bounded
from socks5d.escape import printable
from socks5d.model import Client, Identity
from socks5d.wire.address import IPAddress
from socks5d.wire.userpass import Credentials

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

#: Checks that go on though nobody waits for them any more; one more, and it is cancelled.
DESERTED: Final = 1024


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


_Place = tuple[IPAddress | None, bytes]


class _Tried:
    """What was tried lately, by name and address."""

    def __init__(self) -> None:
        #: Since when, and what, each once; in the order in which they were last tried.
        self._tried: dict[_Place, tuple[float, tuple[Hashable, ...]]] = {}

    def joins(self, place: _Place, key: Hashable, now: float) -> bool:
        """
        @return: whether who gives these may hear of others that give the same: not when there
            were so many others that somebody may be guessing.
        """
        since, keys = self._tried.pop(place, (now, ()))
        if not 0 <= now - since < KNOWN:
            since, keys = now, ()
        if key not in keys and len(keys) <= MISSES:
            keys += (key,)
        self._tried[place] = since, keys
        if len(self._tried) > LOGINS:
            del self._tried[next(iter(self._tried))]
        return len(keys) <= MISSES


class Checks:
    """
    Asks checkers in their order; the first that accepts gives the identity its name.  A checker
    that fails or hangs has not accepted.

    Guessing is slowed: see L{Guessing}.  Credentials that were right within the last hour,
    from the same client, do not wait for what others do, nor where others are checked.
    """

    _log = Logger()

    def __init__(
        self,
        checkers: Sequence[ICredentialsChecker],
        clock: IReactorTime,
        seconds: float,
        guessing: Guessing,
        cache: float,
        source: Hashable,
    ) -> None:
        """See L{PasswordAuthenticator<socks5d.auth.password.PasswordAuthenticator>}."""
        self._checkers = tuple(checkers)
        self._clock = clock
        self._seconds = seconds
        self._cache = cache
        self._guessing = guessing
        self._complaints = Complaints(clock, self._log)
        self._together: Together[Identity | str] = Together()
        # By which its logins are told from others', and which holds nothing of it.
        self._me = object()
        self._source = self._me if source is None else source
        self._deserted: set[_Check] = set()
        self._tried = _Tried()

    async def check(self, client: Client, credentials: Credentials) -> Identity:
        """
        Those that are the same, from the same address, are checked once at a time; but not
        where many others were tried for the same name, or who does could hear so whether what
        is just checked is among them.  What somebody may have looked at is checked to its end,
        though its client leaves: it counts as what it is.

        @param client: who gives them.
        @return: who it is.
        @raise NotLetIn: when no checker accepts, or it would have to wait for its turn for
            too long.
        """
        place = client.address, credentials.username
        key = self._guessing.logins.key(credentials)
        if not self._tried.joins(place, key, self._clock.seconds()):
            key = object()
        found = await self._together.ask((place, key), partial(_Check, self, client, credentials))
        if isinstance(found, Identity):
            return found
        raise NotLetIn(found)

    async def find_out(self, check: "_Check") -> Identity | str:
        """
        @return: who it is; or why nobody is let in.
        """
        until = self._clock.seconds() + self._seconds
        client, credentials = check.client, check.credentials
        logins = self._guessing.logins
        found = logins.find(self._where(client), credentials)
        try:
            if found is not None:
                if found.by == (self._me, client.address) and logins.age(found) < self._cache:
                    return found.identity
                make_login = partial(Login, client, (found.identity.name,), known=True)
                return await self._ask(check, until, make_login, Attempt())
            attempts = self._guessing.attempt(client, credentials.username, self._seconds)
            async with attempts as attempt:
                # Those without an address are not one client.
                path = self._guessing.clients.path(client)
                key = path if client.address is not None else (credentials.username,)
                make_login = partial(Login, client, key, known=False)
                return await self._ask(check, until, make_login, attempt)
        except NotChecked as error:
            return str(error)
        finally:
            self._deserted.discard(check)

    async def _ask(
        self, check: "_Check", until: float, make_login: Callable[[], Login], attempt: Attempt
    ) -> Identity | str:
        client, credentials = check.client, check.credentials
        where = self._where(client)
        reasons: set[str] = set()
        for place, checker in enumerate(self._checkers):
            left = max(until - self._clock.seconds(), 0.0)
            login = check.login = make_login()
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
                attempt.right = True
                by = self._me, client.address
                self._guessing.logins.accepted(where, credentials, identity, by)
                return identity
        if reasons == {_WRONG}:
            # Not where one of them could not tell: it may be the one that knows the name.
            self._guessing.logins.refused(where, credentials)
        attempt.failed = not reasons.isdisjoint(_GUESSES)
        return next((each for each in _FIRST_OF if each in reasons), _WRONG)

    def _where(self, client: Client) -> Hashable:
        return self._guessing.clients.of(client), self._source

    def desert(self, check: "_Check") -> bool:
        """
        Nobody waits for a check any more.

        @return: whether it goes on.
        """
        looked_at = check.login is not None and check.login.looked_at
        if looked_at and len(self._deserted) < DESERTED:
            self._deserted.add(check)
        return check in self._deserted

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


class _Check:
    """
    One that is made, for all who give the same credentials meanwhile.

    @ivar login: what the checker knows who is asked now; None before.
    """

    def __init__(self, checks: Checks, client: Client, credentials: Credentials) -> None:
        self._checks = checks
        self.client = client
        self.credentials = credentials
        self.login: Login | None = None

    async def answer(self) -> Identity | str:
        """See L{IQuestion<socks5d.auth.together.IQuestion>}."""
        return await self._checks.find_out(self)

    def may_end(self) -> bool:
        """See L{IQuestion<socks5d.auth.together.IQuestion>}."""
        return not self._checks.desert(self)


def text(name: bytes) -> str:
    """
    @return: a name as it is logged, from which its octets can be had again.
    """
    return name.decode("utf-8", "surrogateescape")


def _avatar_name(avatar: object) -> str:
    """
    @raise _NoName: for C{twisted.cred}'s C{ANONYMOUS} and whatever else names nobody, who
        must not become whoever the client says it is.
    """
    if not isinstance(avatar, bytes | str) or not avatar:
        raise _NoName("what it accepts has no name")
    return text(avatar) if isinstance(avatar, bytes) else avatar
