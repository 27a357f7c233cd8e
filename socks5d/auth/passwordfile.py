"""The file of names and passwords that Twisted's own checker reads, kept an eye on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.undecided import Undecided

_log = Logger()


def _warn(text: str) -> None:
    _log.warn("{text}", text=text)


@implementer(ICredentialsChecker)
class PasswordFile:
    """
    Asks another checker where the file that it reads is one that it can read right; where
    it is not, nobody can tell whether a password is right.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        path: str,
        make: Callable[[str], ICredentialsChecker],
        say: Callable[[str], object] = _warn,
    ) -> None:
        """
        @param path: of the file.
        @param make: makes a checker that reads it.
        @param say: is given what is wrong with the file, once, and when it is right again.
        @raise ArgumentError: for a file that cannot be read, or not be read right.
        """
        _check(path)
        self._path = path
        self._checker = make(path)
        self._say = say
        self._wrong = ""

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        See L{ICredentialsChecker}.

        @raise Undecided: when the file cannot be read.
        """
        wrong = ""
        try:
            _check(self._path)
        except ArgumentError as error:
            wrong = str(error)
        if wrong != self._wrong:
            self._wrong = wrong
            self._say(f"{wrong}; nobody is let in" if wrong else f"{self._path!r} is right again")
        if wrong:
            raise Undecided(wrong)
        return self._checker.requestAvatarId(credentials)


def _check(path: str) -> None:
    if not path:
        raise ArgumentError("give the path of a file, as file:/etc/socks5d/passwords")
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.count(b":") > 1:
                    # Twisted's checker would take what stands before it for the password.
                    raise ArgumentError(f"{path!r} line {number} has a second colon")
    except OSError as error:
        raise ArgumentError(f"{path!r} cannot be read: {error.strerror}") from None
