"""
Passwords that the system's PAM accepts, by the C{python-pam} package, which is an extra and
loaded when it is needed.

A login is authentication and account management, by a service that has a file of its own.
No credentials are established and no session is opened.
"""

import ctypes
import ctypes.util
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from socks5d.auth.arguments import ArgumentError, parse_arguments
from socks5d.auth.blocking import current_login, in_login_thread
from socks5d.auth.octets import octets_of
from socks5d.auth.pamfiles import what_is_missing
from socks5d.auth.undecided import Undecided
from socks5d.bounded import Complaints
from socks5d.escape import one_line

DEFAULT_SERVICE = "socks5d"
#: Octets of a name, and of a password: PAM's PAM_MAX_RESP_SIZE, less the NUL.
LONGEST_NAME = 255
LONGEST_PASSWORD = 511
#: What a module may have a refusal wait for, in seconds.
LONGEST_DELAY = 4.0

#: An avatar's name, or that of somebody anonymous.
Avatar = bytes | tuple[()]

# Linux-PAM's _pam_types.h.
_SUCCESS = 0
_DISALLOW_NULL_AUTHTOK = 0x1
_SILENT = 0x8000
_USER = 2
_RHOST = 4
_FAIL_DELAY = 10
#: Answers that say something about who logs in: permission denied, authentication error,
#: unknown user, too many tries, password expired, account expired.
_ORDINARY = (6, 7, 10, 11, 12, 13)
#: Modules cannot reach what knows passwords.
_AUTHINFO_UNAVAIL = 9

_DelayFunction = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class Answer(NamedTuple):
    """
    What PAM says.

    @ivar user: who it is, as modules have it; None for nobody.
    @ivar delay: seconds that a refusal should take, so that guessing takes time.
    @ivar fault: what the operator should know, on one line; "" for nothing.
    @ivar undecided: whether no module looked at the password, so that it was no guess.  What
        a module says of one that is wrong is its own business: pam_exec calls it an error.
    """

    user: bytes | None
    delay: float = 0.0
    fault: str = ""
    undecided: bool = False


class PAMService:
    """A service that PAM knows."""

    def __init__(self, name: str) -> None:
        """
        @raise ArgumentError: when the package or the service is not there.
        """
        if not re.fullmatch(r"[a-z0-9_][a-z0-9_.+-]*", name):
            raise ArgumentError(
                f"{name!r} is no name of a service: it has lower-case letters, digits and _.+-"
            )
        missing = what_is_missing(name)
        if missing:
            raise ArgumentError(f"service {name!r}: {missing}, or PAM would ask service 'other'")
        self.name = name
        self._pam = _load()
        self._get_item = ctypes.CDLL(ctypes.util.find_library("pam")).pam_get_item
        self._get_item.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_char_p),
        ]

    def login(self, name: bytes, password: bytes, host: bytes | None = None) -> Answer:
        """
        Ask PAM, which blocks for as long as its modules take.

        @param name: without a NUL.
        @param password: without a NUL.
        @param host: from where (PAM_RHOST), for modules that go by it; None where nobody knows.
        """
        missing = what_is_missing(self.name)
        if missing:
            return Answer(None, fault=f"service {self.name}: {missing}", undecided=True)
        delays, users = [0.0], [name]
        authenticated: int | None = None

        def note_delay(status: int, microseconds: int, data: object) -> None:
            # Of a success too: an account that is over is refused no sooner, which would
            # tell that the password was right.
            delays.append(microseconds / 1e6)

        delay = _DelayFunction(note_delay)
        attempt: Any = self._pam.PamAuthenticator()
        authenticate, manage = attempt.pam_authenticate, attempt.pam_acct_mgmt

        def authenticate_strictly(handle: Any, flags: int) -> int:
            nonlocal authenticated
            # A refusal should wait, but not in a thread, of which there are few.
            attempt.pam_set_item(handle, _FAIL_DELAY, ctypes.cast(delay, ctypes.c_void_p))
            if host is not None:
                there = ctypes.cast(ctypes.c_char_p(host), ctypes.c_void_p)
                attempt.pam_set_item(handle, _RHOST, there)
            # By default an account without a password lets in whoever gives any.
            authenticated = authenticate(handle, flags | _DISALLOW_NULL_AUTHTOK | _SILENT)
            return authenticated

        def manage_strictly(handle: Any, flags: int) -> int:
            status: int = manage(handle, flags | _DISALLOW_NULL_AUTHTOK | _SILENT)
            user = ctypes.c_char_p()
            if self._get_item(handle.handle, _USER, ctypes.byref(user)) == _SUCCESS and user.value:
                users.append(user.value)
            return status

        attempt.pam_authenticate = authenticate_strictly
        attempt.pam_acct_mgmt = manage_strictly
        # What modules say, in whatever encoding, has to be decodable and is not looked at.
        accepted = attempt.authenticate(
            name, password, self.name.encode(), encoding="latin-1", resetcreds=False
        )
        if accepted is True and attempt.code == _SUCCESS:
            return Answer(users[-1])
        fault = (
            "" if attempt.code in _ORDINARY else one_line(f"service {self.name}: {attempt.reason}")
        )
        # Not where the account is what nobody can tell of: the password was looked at.
        undecided = authenticated in (None, _AUTHINFO_UNAVAIL)
        return Answer(None, min(max(delays), LONGEST_DELAY), fault, undecided)


@implementer(ICredentialsChecker)
class PAMChecker:
    """
    Accepts whom PAM accepts; an avatar's name is octets.  Works in threads.

    A refusal comes when the time has passed that modules ask for, from the time when they
    were asked and not from their answer, which may be there sooner for a name that nobody has.
    """

    credentialInterfaces = (IUsernamePassword,)
    _log = Logger()

    def __init__(
        self, login: Callable[[bytes, bytes, bytes | None], Answer], reactor: Any = None
    ) -> None:
        """
        @param login: asks PAM, in a thread; L{PAMService.login}.
        @param reactor: whose threads and time; the global one's by default.
        """
        self._login = login
        self._reactor = reactor
        self._complaints: Complaints | None = None

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[Avatar]:
        """See L{ICredentialsChecker}."""
        return maybeDeferred(self._check, credentials)

    def _check(self, credentials: IUsernamePassword) -> Deferred[Avatar]:
        name, password = octets_of(credentials)
        if not (_is_name(name) and _is_password(password)):
            raise UnauthorizedLogin("no name or no password that PAM takes")
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        client = current_login().client
        host = None if client is None or client.address is None else str(client.address).encode()
        ask = partial(self._ask, name, password, host)
        return in_login_thread(ask, self._reactor).addCallback(self._answered)

    def _ask(self, name: bytes, password: bytes, host: bytes | None) -> tuple[float, Answer]:
        """In a thread, which it may have waited for."""
        return self._reactor.seconds(), self._login(name, password, host)

    def _answered(self, asked: tuple[float, Answer]) -> Avatar | Deferred[Avatar]:
        began, answer = asked
        if answer.fault:
            self._complain(f"PAM answered a login with an error: {answer.fault}")
        if answer.user is not None:
            return answer.user
        left = began + answer.delay - self._reactor.seconds()
        return deferLater(self._reactor, max(left, 0.0), _refuse, answer)

    def _complain(self, text: str) -> None:
        if self._complaints is None:
            self._complaints = Complaints(self._reactor, self._log)
        self._complaints.warn(text)


def make_pam_checker(argument: str) -> PAMChecker:
    """
    @param argument: C{[SERVICE]}.
    @raise ArgumentError: when the package or the service is not there.
    """
    service = parse_arguments(argument, "service", {})["service"] or DEFAULT_SERVICE
    return PAMChecker(PAMService(service).login)


def _refuse(answer: Answer) -> Avatar:
    if answer.undecided:
        raise Undecided("PAM answered with an error")
    raise UnauthorizedLogin("wrong username or password")


def _is_name(name: bytes) -> bool:
    try:
        readable = name.decode().isprintable()
    except UnicodeDecodeError:
        return False
    # Modules write names into logs, and some look for files of that name.
    return readable and 0 < len(name) <= LONGEST_NAME and name not in (b".", b"..")


def _is_password(password: bytes) -> bool:
    try:
        password.decode()
    except UnicodeDecodeError:
        return False
    return 0 < len(password) <= LONGEST_PASSWORD and b"\0" not in password


def _load() -> ModuleType:
    try:
        pam = import_module("pam")
        # It looks for the system's library with the first.
        pam.PamAuthenticator()
    except ImportError:
        raise ArgumentError("PAM needs a package: pip install 'socks5d[pam]'") from None
    except (OSError, AttributeError, TypeError):
        raise ArgumentError("this system has no PAM that the package python-pam can use") from None
    return pam
