"""Credentials checkers that do as they are told, and what comes of asking them."""

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from socks5d.auth import PasswordAuthenticator
from socks5d.auth.checks import UsernamePassword
from socks5d.interfaces import INegotiation
from socks5d.model import Client
from socks5d.wire.userpass import Credentials, encode_credentials

SECONDS = 10.0
ACCEPTED, REFUSED = b"\x01\x00", b"\x01\x01"
SECRET = b"open-sesame"
GOOD = encode_credentials(Credentials(b"alice", SECRET))
WRONG = encode_credentials(Credentials(b"alice", b"wrong"))


@implementer(ICredentialsChecker)
class Checker:
    """
    Does as it is told.

    @ivar asked: the credentials it was given.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[UsernamePassword] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


def database(**users: str) -> ICredentialsChecker:
    """Twisted's own checker."""
    checker: ICredentialsChecker = InMemoryUsernamePasswordDatabaseDontUse(
        **{name: password.encode() for name, password in users.items()}
    )
    return checker


def begin(clock: Clock, *checkers: ICredentialsChecker) -> INegotiation:
    return PasswordAuthenticator(checkers, clock, SECONDS).negotiate(Client(None))


def heard(answer: Any) -> list[Any]:
    """What a step's Deferred says, now or later."""
    assert isinstance(answer, Deferred)
    said: list[Any] = []
    answer.addBoth(said.append)
    return said


def told(clock: Clock, checkers: Sequence[Any], data: bytes = GOOD) -> Any:
    """What a client is told at once."""
    said = heard(begin(clock, *checkers).receive(data))
    assert len(said) == 1
    return said[0]
