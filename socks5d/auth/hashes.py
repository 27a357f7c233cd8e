"""
Hashes of passwords, as they stand in files: which are taken, and whether a password is the
one that was hashed.

Each has a bound on what it may cost, for whoever connects makes the server pay it.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from attrs import field, frozen

from socks5d.auth import shacrypt

#: Octets of a password; the system's crypt takes no more.
LONGEST = 511
#: bcrypt does not look at what stands behind these octets.
BCRYPT_LONGEST = 72
#: What C{htpasswd -C} takes; the highest is some ten seconds.
BCRYPT_COSTS = range(4, 18)
#: Of argon2, memory in KiB (each thread that checks logins takes that much), memory that
#: is gone over in all passes, in KiB, and lanes.
ARGON2_MEMORY = 262144
ARGON2_WORK = 4 * 1024 * 1024
ARGON2_LANES = 16
#: Rounds of SHA-crypt.
SHA_ROUNDS = range(1000, 1_000_001)

#: How to make a hash that is taken.
REMEDY = "make a better one with: htpasswd -B FILE NAME"

#: Is hashed in the place of a password that is not taken, which then costs the same.
_UNUSABLE = b"unusable"
_BCRYPT = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_ARGON2 = re.compile(
    rb"\$argon2(?:id|i|d)\$(?:v=(?:16|19)\$)?m=([1-9]\d{0,8}),t=([1-9]\d{0,8}),p=([1-9]\d{0,3})"
    rb"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})"
)
_SHA = re.compile(
    rb"\$(?:5\$(?:rounds=([1-9]\d{3,8})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}"
    rb"|6\$(?:rounds=([1-9]\d{3,8})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86})"
)
_WEAK = {
    b"$apr1$": "MD5 ($apr1$)",
    b"$1$": "MD5 ($1$)",
    b"{SHA}": "SHA-1 ({SHA})",
    b"{SSHA}": "SHA-1 ({SSHA})",
    b"$2x$": "bcrypt as a faulty program made it ($2x$)",
}
_EXTRA = "needs a package: pip install 'socks5d[htpasswd]'"


class HashError(ValueError):
    """A hash is not taken.  The text says why, on one line, and does not hold it."""


@frozen(slots=True)
class Hash:
    """One password, of which a hash is known."""

    _text: bytes = field(repr=False)
    _matches: Callable[[bytes, bytes], bool] = field(repr=False)
    _longest: int = LONGEST

    def check(self, password: bytes) -> bool:
        """
        Blocks for as long as the hash takes, whatever the password is.

        @return: whether it is the one.  One that is empty, has a NUL or is longer than
            the hash looks at never is.
        """
        usable = 0 < len(password) <= self._longest and b"\0" not in password
        matches = self._matches(self._text, password if usable else _UNUSABLE)
        return usable and matches


def parse_hash(text: bytes, *, plain: bool = False) -> Hash:
    """
    @param text: what stands in a file: bcrypt, argon2, SHA-256-crypt or SHA-512-crypt.
    @param plain: whether what is no hash is a password.
    @raise HashError: for what is not taken.
    """
    if text.startswith((b"$2a$", b"$2b$", b"$2y$")):
        return _bcrypt(text)
    if text.startswith(b"$argon2"):
        return _argon2(text)
    if text.startswith((b"$5$", b"$6$")):
        return _sha_crypt(text)
    for prefix, name in _WEAK.items():
        if text.startswith(prefix):
            raise HashError(f"{name} is too weak; {REMEDY}")
    if not text:
        raise HashError(f"there is no hash after the name and its colon; {REMEDY}")
    if text.startswith((b"$", b"{")):
        raise HashError(f"its hash is of no kind that is known here; {REMEDY}")
    if not plain:
        raise HashError(
            f"it has no hash that is known here, or a password in plain text, which takes "
            f"plain=yes; {REMEDY}"
        )
    if len(text) > LONGEST or b"\0" in text:
        raise HashError(f"its password has a NUL, or more than {LONGEST} octets")
    return Hash(text, _same)


def _same(text: bytes, password: bytes) -> bool:
    # Digests are of one length, so that the time does not tell the password's.
    return hmac.compare_digest(hashlib.sha256(text).digest(), hashlib.sha256(password).digest())


def _bcrypt(text: bytes) -> Hash:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise HashError("its bcrypt hash is not whole")
    if int(match[1]) not in BCRYPT_COSTS:
        raise HashError(f"the cost of its bcrypt hash is not from 4 to {BCRYPT_COSTS[-1]}")
    bcrypt = _package("bcrypt", "bcrypt")
    return Hash(text, lambda text, password: bcrypt.checkpw(password, text), BCRYPT_LONGEST)


def _argon2(text: bytes) -> Hash:
    match = _ARGON2.fullmatch(text)
    if match is None or any(len(each) % 4 == 1 for each in match.groups()[3:]):
        raise HashError("its argon2 hash is not whole")
    memory, passes, lanes = (int(each) for each in match.groups()[:3])
    if memory > ARGON2_MEMORY or memory * passes > ARGON2_WORK or lanes > ARGON2_LANES:
        raise HashError(
            f"its argon2 hash costs too much: at most m={ARGON2_MEMORY}, "
            f"m times t={ARGON2_WORK}, and p={ARGON2_LANES}"
        )
    if memory < 8 * lanes:
        raise HashError("its argon2 hash has less memory than 8 KiB for each lane")
    argon2 = _package("argon2", "argon2")
    return Hash(text, lambda text, password: _argon2_matches(argon2, text, password))


def _argon2_matches(argon2: ModuleType, text: bytes, password: bytes) -> bool:
    kinds = argon2.low_level.Type
    kind = {b"argon2id": kinds.ID, b"argon2i": kinds.I}.get(text.split(b"$")[1], kinds.D)
    try:
        return bool(argon2.low_level.verify_secret(text, password, kind))
    except argon2.exceptions.VerifyMismatchError:
        return False


def _sha_crypt(text: bytes) -> Hash:
    match = _SHA.fullmatch(text)
    if match is None:
        raise HashError("its SHA-crypt hash is not whole")
    if int(match[1] or match[2] or 5000) not in SHA_ROUNDS:
        raise HashError(f"its SHA-crypt hash has more than {SHA_ROUNDS[-1]} rounds")
    if not shacrypt.available():
        raise HashError(f"this system has no library for SHA-crypt; {REMEDY}")
    return Hash(text, shacrypt.matches)


def _package(name: str, what: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise HashError(f"{what} {_EXTRA}") from None
