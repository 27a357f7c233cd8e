"""Twisted's own file of passwords, when it is there and right, and when it is not."""

from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.passwordfile import PasswordFile
from socks5d.auth.undecided import Undecided


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    path.write_bytes(b"ann:secret\n")
    return path


def told(checker: PasswordFile, password: bytes = b"secret") -> Any:
    said: list[Any] = []
    answer: Deferred[Any] = maybeDeferred(
        checker.requestAvatarId, UsernamePassword(b"ann", password)
    )
    answer.addErrback(lambda failure: failure.type).addCallback(said.append)
    assert len(said) == 1
    return said[0]


def test_it_asks_the_other(path: Path) -> None:
    checker = PasswordFile(str(path), FilePasswordDB)
    assert verifyObject(ICredentialsChecker, checker)
    assert told(checker) == b"ann"
    assert told(checker, b"wrong") is UnauthorizedLogin
    path.write_bytes(b"ann:wrong\n")
    assert told(checker, b"wrong") == b"ann"


def remove(path: Path) -> None:
    path.unlink()


def spoil(path: Path) -> None:
    path.write_bytes(b"bob:x\nann:secret:more\n")


@pytest.mark.parametrize(
    ("what", "why"),
    [(remove, "cannot be read: No such file or directory"), (spoil, "line 2 has a second colon")],
)
def test_where_it_cannot_be_read_nobody_can_tell(path: Path, what: Any, why: str) -> None:
    said: list[str] = []
    checker = PasswordFile(str(path), FilePasswordDB, said.append)
    what(path)
    assert [told(checker), told(checker, b"wrong")] == [Undecided] * 2
    path.write_bytes(b"ann:secret\n")
    assert told(checker) == b"ann"
    assert told(checker) == b"ann"
    shown = repr(str(path))
    assert said == [f"{shown} {why}; nobody is let in", f"{shown} is right again"]


@pytest.mark.parametrize("what", [remove, spoil])
def test_it_does_not_begin_with_one(path: Path, what: Any) -> None:
    what(path)
    with pytest.raises(ArgumentError, match=repr(str(path))):
        PasswordFile(str(path), FilePasswordDB)


def test_without_a_path() -> None:
    with pytest.raises(ArgumentError, match="give the path of a file"):
        PasswordFile("", FilePasswordDB)
