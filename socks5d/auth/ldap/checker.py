"""A credentials checker that asks a directory."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.auth.blocking import Login, checking, current_login
from socks5d.auth.ldap.connecting import bound, connecting, tls_options
from socks5d.auth.ldap.failures import DirectoryError
from socks5d.auth.ldap.lines import Line, Lines
from socks5d.auth.ldap.messages import Codec
from socks5d.auth.ldap.names import may_be_name, may_be_password
from socks5d.auth.ldap.settings import Search, Settings
from socks5d.auth.ldap.ways import BySearch, ByTemplate, Password, Way, Wrong
from socks5d.auth.undecided import TooManyLogins, Unanswered, Undecided
from socks5d.bounded import Complaints, DeadlinePassed, bounded


class DirectoryFailed(Undecided):
    """Nobody can be let in, for the directory does not say who it is."""


@implementer(ICredentialsChecker)
class LDAPChecker:
    """
    Accepts those whom a directory lets bind.

    The avatar's ID is the name by which the directory knows a user where it is searched for,
    and what was given, in lower case, where its DN is made of it: a directory takes C{Ann}
    for C{ann}, and a rule on C{ann} must hold for both.  It is octets or text as the
    credentials' name is.
    """

    credentialInterfaces = (IUsernamePassword,)
    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any = None) -> None:
        """
        @param reactor: the global one by default, once somebody logs in.
        @raise ArgumentError: when the settings make no sense, or C{ldaptor} is not there.
        """
        self._settings = settings
        self._reactor = reactor
        self._codec = Codec()
        self._options = tls_options(settings.server)
        self._way: Way
        if isinstance(settings.way, Search):
            self._way = BySearch(settings.way, self._codec, settings.timeout)
        else:
            self._way = ByTemplate(settings.way, self._codec)
        self._lines: Lines | None = None
        self._complaints: Complaints | None = None

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        See L{ICredentialsChecker}.  A login that is refused fails with
        L{UnauthorizedLogin<twisted.cred.error.UnauthorizedLogin>}; so does one that cannot
        be decided, with L{DirectoryFailed}, which is logged; one whose password the directory
        has and says nothing of, with L{Unanswered<socks5d.auth.undecided.Unanswered>}, which
        is logged too; and one too many, with
        L{TooManyLogins<socks5d.auth.undecided.TooManyLogins>}.  Cancelling it leaves
        nothing behind.
        """
        name, password = _octets(credentials.username), _octets(credentials.password)
        # Before anything is sent: with an empty password a bind is one as nobody, and succeeds.
        if not may_be_name(name) or not may_be_password(password):
            return fail(Wrong())
        lines = self._started()
        login = current_login()
        offered = Password(password, login)
        with checking(login):
            inner = Deferred.fromCoroutine(self._log_in(lines, name, offered))
        answer = bounded(self._reactor, self._settings.timeout, inner)
        answer.addErrback(self._failed, offered, login)
        if isinstance(credentials.username, str):
            return answer.addCallback(bytes.decode)
        return answer

    def close(self) -> None:
        """End the connections that no login uses."""
        if self._lines is not None:
            self._lines.close()

    async def _log_in(self, lines: Lines, name: bytes, password: Password) -> bytes:
        line = await lines.take()
        try:
            return await self._way.log_in(line, name, password)
        finally:
            lines.give_back(line)

    def _failed(self, failure: Failure, password: Password, login: Login) -> Any:
        error = failure.value
        if isinstance(error, DeadlinePassed) and login.waits:
            why = "logins wait for longer than they may"
        elif isinstance(error, DeadlinePassed):
            why = f"no answer in {self._settings.timeout:g} seconds"
        elif isinstance(error, DirectoryError):
            why = str(error)
        else:
            return failure
        assert self._complaints is not None
        server = self._settings.server
        self._complaints.complain(
            f"the directory {server.host}:{server.port} fails, which accepts nobody: {why}"
        )
        if login.waits:
            raise TooManyLogins("too many logins at once") from None
        # Of a right one it may say so at once, and have the wrong ones wait.
        kind = Unanswered if password.unanswered else DirectoryFailed
        raise kind("the directory fails") from None

    def _started(self) -> Lines:
        if self._lines is not None:
            return self._lines
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        settings = self._settings
        self._complaints = Complaints(self._reactor, self._log)
        connect = connecting(
            self._reactor, settings.server, self._options, self._codec, settings.timeout
        )
        searching = connect
        # A line is one connection, or two where one of them searches.
        most = settings.connections
        if isinstance(settings.way, Search):
            searching = bound(connect, settings.way, self._codec, self._reactor)
            most //= 2
        self._lines = Lines(
            self._reactor,
            lambda: Line(searching, connect),
            most=most,
            waiting=settings.waiting,
            idle=settings.idle,
        )
        return self._lines


def _octets(text: bytes | str) -> bytes:
    # What is no text becomes octets that are no UTF-8, which no name is.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
