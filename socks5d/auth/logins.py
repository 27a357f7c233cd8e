"""Logins that were accepted lately, by a keyed hash; never a password."""

import os
from hashlib import blake2b
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from socks5d.model import Identity
from socks5d.wire.userpass import Credentials

#: For how long a login is known, in seconds.
KNOWN = 3600.0
#: Logins that are known; one more, and the one that was checked longest ago is forgotten.
LOGINS = 16384

_OCTETS = 32


class _Login(NamedTuple):
    identity: Identity
    checked: float


class Logins:
    """
    Who was let in.  What is kept of a login is a hash under a key that no other process
    has, and that is gone with this one.
    """

    def __init__(self, clock: IReactorTime, cache: float = 0.0) -> None:
        """
        @param cache: for how long a login is accepted without being checked, in seconds.
        """
        self._clock = clock
        self._cache = cache
        self._key = os.urandom(_OCTETS)
        #: In the order in which they were checked.
        self._logins: dict[bytes, _Login] = {}

    def __len__(self) -> int:
        """How many are known."""
        return len(self._logins)

    def accepted(self, credentials: Credentials, identity: Identity) -> None:
        """
        @param credentials: what was just checked, and right.
        @param identity: whose they are.
        """
        digest = self._digest(credentials)
        self._logins.pop(digest, None)
        self._logins[digest] = _Login(identity, self._clock.seconds())
        self._forget_old()

    def refused(self, credentials: Credentials) -> None:
        """
        @param credentials: what was just checked, and is wrong, whatever it was before.
        """
        self._logins.pop(self._digest(credentials), None)

    def known(self, credentials: Credentials) -> bool:
        """
        @return: whether these credentials were right lately.
        """
        return self._find(credentials, KNOWN) is not None

    def cached(self, credentials: Credentials) -> Identity | None:
        """
        @return: whose these credentials are, where they need not be checked again yet.
        """
        found = self._find(credentials, self._cache) if self._cache else None
        return None if found is None else found.identity

    def _find(self, credentials: Credentials, seconds: float) -> _Login | None:
        if not self._logins:
            return None
        login = self._logins.get(self._digest(credentials))
        if login is None or self._clock.seconds() - login.checked >= seconds:
            return None
        return login

    def _digest(self, credentials: Credentials) -> bytes:
        # A name's length, of one octet, tells where it ends.
        text = bytes((len(credentials.username),)) + credentials.username + credentials.password
        return blake2b(text, digest_size=_OCTETS, key=self._key).digest()

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        while True:
            digest, oldest = next(iter(self._logins.items()))
            if len(self._logins) <= LOGINS and now - oldest.checked < KNOWN:
                return
            del self._logins[digest]
