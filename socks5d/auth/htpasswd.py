"""
Names and hashes of passwords in a file, as Apache's C{htpasswd} writes it, and a checker
of credentials over it.

The file is looked at with each login and read anew when it is another.  One that is wrong
or gone by then changes nothing but the log: who was in what was read last stays.
"""

import hashlib
import os
import stat
import time
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from socks5d.auth.arguments import ArgumentError, parse_arguments, switch
from socks5d.auth.blocking import in_login_thread
from socks5d.auth.hashes import HashError, parse_hash
from socks5d.auth.octets import octets_of
from socks5d.escape import printable

#: Octets of a file, of one of its lines, and of a name.
LARGEST = 64 * 1024 * 1024
LONGEST_LINE = 1024
LONGEST_NAME = 255
#: A file that was changed less long ago, in seconds, may be changed once more without
#: another time of change, which on some file systems is that coarse.
_COARSEST = 2.0
#: One that has become smaller less long ago, in seconds, may be half written: htpasswd(1)
#: empties a file before it writes it.  How often it is looked at again, after so long.
_SETTLES = 0.05
_LOOKS = 5
#: An avatar's name, or that of somebody anonymous.
Avatar = bytes | tuple[()]


class _Version(NamedTuple):
    """What a file is told by from what it was before."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class _Users(NamedTuple):
    """
    What a file holds.

    @ivar hashes: of each name.
    @ivar decoys: the same hashes, each by where it stands on a ring (consistent hashing), in
        this order; nobody who does not know the hashes knows where that is.
    """

    hashes: dict[bytes, bytes]
    decoys: list[tuple[bytes, bytes]]

    def decoy(self, name: bytes) -> bytes:
        """
        @return: what the password for a name that is not there is compared with: for one name
            the same in all processes, and whoever else comes and goes, but for few.
        """
        place = bisect_left(self.decoys, (_place(name), b""))
        return self.decoys[place % len(self.decoys)][1]


class _Unsettled(Exception):
    """A file is being written."""


class PasswordFile:
    """
    A file of names and hashes.  All but making one may be called in any thread, and blocks.
    """

    def __init__(
        self,
        path: Path,
        *,
        plain: bool = False,
        say: Callable[[str], object] = lambda text: None,
        now: Callable[[], float] = time.time,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """
        @param plain: whether what is no hash is a password.
        @param say: is told, in whatever thread finds out, when the file cannot be read any
            more, once for each reason, and when it can again.
        @param now: the time, in seconds, by the clock that files are marked by.
        @param wait: waits for so many seconds.
        @raise ArgumentError: when the file cannot be read, or a line of it is wrong.
        """
        self._path = path
        self._plain = plain
        self._say = say
        self._now = now
        self._wait = wait
        self._lock = Lock()
        # What is wrong with what was read last, and what was said last.
        self._wrong = self._complaint = ""
        self._version: _Version | None = None
        # Octets of what was read last.
        self._size = 0
        self._users = self._read()

    def check(self, name: bytes, password: bytes) -> bool:
        """
        A name that is not there costs what one of those that are costs: the password is
        compared with somebody else's, to no effect, and for one name with the same.

        @return: whether the name is there, with this password.
        """
        users = self._current()
        known = users.hashes.get(name)
        if not users.hashes:
            return False
        decoy = users.decoy(name)
        right = parse_hash(decoy if known is None else known, plain=self._plain).check(password)
        return right and known is not None

    def _current(self) -> _Users:
        with self._lock:
            try:
                same = self._version == _version(self._path.stat())
            except OSError as error:
                self._complain(f"{str(self._path)!r}: {error.strerror}")
                return self._users
            if not same:
                self._renew()
            self._complain(self._wrong)
            return self._users

    def _renew(self) -> None:
        before = self._users
        for _ in range(_LOOKS):
            try:
                self._users = self._read()
            except _Unsettled:
                self._wait(_SETTLES)
                continue
            except ArgumentError as error:
                self._wrong = str(error)
                return
            break
        else:
            # Somebody writes on and on.  The next login looks again.
            return
        self._wrong = ""
        if before.hashes and not self._users.hashes:
            self._say(f"{str(self._path)!r} has no users any more, and nobody is let in")

    def _complain(self, complaint: str) -> None:
        if complaint == self._complaint:
            return
        self._complaint = complaint
        self._say(
            f"{complaint}; its users are those that were read last"
            if complaint
            else f"{str(self._path)!r} is right again, and its users are those in it"
        )

    def _read(self) -> _Users:
        self._version = None
        try:
            # Not to wait for whoever might write into a pipe of that name.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise ArgumentError(f"{str(self._path)!r} is no file")
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise ArgumentError(f"{str(self._path)!r}: {error.strerror}") from None
        version = _version(status)
        age = abs(self._now() - version.changed / 1e9)
        if age < _SETTLES and min(len(content), version.size) < self._size:
            raise _Unsettled
        if age > _COARSEST:
            self._version = version
        if len(content) > LARGEST:
            raise ArgumentError(f"{str(self._path)!r} is larger than {LARGEST >> 20} MiB")
        users = self._parse(content)
        self._size = len(content)
        return users

    def _parse(self, content: bytes) -> _Users:
        hashes: dict[bytes, bytes] = {}
        for number, line in enumerate(content.split(b"\n"), 1):
            line = line.removesuffix(b"\r")
            if not line.strip() or line.startswith(b"#"):
                continue
            try:
                name, text = _name_and_hash(line)
                parse_hash(text, plain=self._plain)
                if name in hashes:
                    raise HashError(f"{printable(name)} has a line before this one")
            except HashError as error:
                raise ArgumentError(f"{str(self._path)!r} line {number}: {error}") from None
            hashes[name] = text
        return _Users(hashes, sorted((_place(each), each) for each in hashes.values()))


@implementer(ICredentialsChecker)
class HtpasswdChecker:
    """
    Accepts who stands in a file with the password given; an avatar's name is octets.  Works
    in threads.
    """

    credentialInterfaces = (IUsernamePassword,)
    _log = Logger()

    def __init__(self, path: Path, *, plain: bool = False, reactor: Any = None) -> None:
        """
        @param plain: whether the file may hold passwords in plain text.
        @param reactor: whose threads; the global one's by default.
        @raise ArgumentError: when the file cannot be read, or a line of it is wrong.
        """
        self._reactor = reactor
        self._file = PasswordFile(path.absolute(), plain=plain, say=self._warn)

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[Avatar]:
        """See L{ICredentialsChecker}."""
        return maybeDeferred(self._check, credentials)

    def _check(self, credentials: IUsernamePassword) -> Deferred[Avatar]:
        name, password = octets_of(credentials)

        def answer(accepted: bool) -> Avatar:
            if not accepted:
                raise UnauthorizedLogin("wrong username or password")
            return name

        check = partial(self._file.check, name, password)
        return in_login_thread(check, self._reactor).addCallback(answer)

    def _warn(self, text: str) -> None:
        reactor = self._reactor
        if reactor is None:
            from twisted.internet import reactor
        reactor.callFromThread(self._log.warn, "{text}", text=f"htpasswd: {text}")


def make_htpasswd_checker(argument: str) -> HtpasswdChecker:
    """
    @param argument: C{PATH[:plain=yes]}.
    @raise ArgumentError: when the file cannot be read, or a line of it is wrong.
    """
    arguments = parse_arguments(argument, "path", {"plain": "no"})
    if not arguments["path"]:
        raise ArgumentError("give the path of a file, as htpasswd:/etc/socks5d/htpasswd")
    if "\0" in arguments["path"]:
        raise ArgumentError("a path has no NUL")
    return HtpasswdChecker(Path(arguments["path"]), plain=switch(arguments, "plain"))


def _place(octets: bytes) -> bytes:
    return hashlib.blake2b(octets, digest_size=16).digest()


def _version(status: os.stat_result) -> _Version:
    return _Version(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def _name_and_hash(line: bytes) -> tuple[bytes, bytes]:
    if len(line) > LONGEST_LINE:
        raise HashError(f"it has more than {LONGEST_LINE} octets")
    name, colon, text = line.partition(b":")
    if not colon:
        raise HashError("it has no colon; it should be name:hash")
    try:
        text.decode()
        readable = name.decode().isprintable()
    except UnicodeDecodeError:
        raise HashError("it is no UTF-8") from None
    if not name or not readable or len(name) > LONGEST_NAME:
        raise HashError(f"its name is no printable text of 1 to {LONGEST_NAME} octets")
    return name, text
