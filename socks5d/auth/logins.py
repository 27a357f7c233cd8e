"""
Logins that were accepted lately, by a keyed hash; never a password.

Each is known where it came from: the same name and password from another client is
somebody's who may be guessing, and whom the answer must not reach any sooner.  So it is with
who tries others for the same name from the same client: after a few the login is forgotten.
"""

import os
from collections.abc import Hashable
from hashlib import blake2b
from hmac import compare_digest

from twisted.internet.interfaces import IReactorTime

from socks5d.model import Identity
from socks5d.wire.userpass import Credentials

#: For how long a login is known, in seconds.
KNOWN = 3600.0
#: Logins that are known; one more, and the one that was checked longest ago is forgotten.
LOGINS = 16384
#: Wrong passwords that may be tried where a login is known; one more, and it is not any longer.
MISSES = 5

_OCTETS = 32
_Place = tuple[str, bytes]


class Login:
    """
    One that was accepted.

    @ivar identity: whose it is.
    """

    __slots__ = ("by", "checked", "digest", "identity", "missed")

    def __init__(self, digest: bytes, identity: Identity, checked: float, by: object) -> None:
        self.digest = digest
        self.identity = identity
        self.checked = checked
        #: What it was accepted by.
        self.by = by
        #: Other passwords that were tried, each once.
        self.missed: tuple[bytes, ...] = ()


class Logins:
    """
    Who was let in.  What is kept of a login is a hash under a key that no other process
    has, and that is gone with this one.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._key = os.urandom(_OCTETS)
        #: By client and name, in the order in which they were checked.
        self._logins: dict[_Place, Login] = {}

    def __len__(self) -> int:
        """How many are known."""
        return len(self._logins)

    def key(self, client: str, credentials: Credentials) -> Hashable:
        """
        @return: what tells apart who gives what; no password can be found by it.
        """
        return client, self._digest(credentials)

    def accepted(
        self, client: str, credentials: Credentials, identity: Identity, by: object = None
    ) -> None:
        """
        @param client: what tells the client apart.
        @param credentials: what was just checked, and right.
        @param identity: whose they are.
        @param by: what tells apart those who accept logins.
        """
        place = client, credentials.username
        digest = self._digest(credentials)
        before = self._logins.pop(place, None)
        login = self._logins[place] = Login(digest, identity, self._clock.seconds(), by)
        if before is not None and before.digest == digest:
            login.missed = before.missed
        self._forget_old()

    def refused(self, client: str, credentials: Credentials) -> None:
        """
        @param credentials: what was just checked, and is wrong, whatever it was before.
        """
        place = client, credentials.username
        login = self._logins.get(place)
        if login is not None and login.digest == self._digest(credentials):
            del self._logins[place]

    def find(self, client: str, credentials: Credentials) -> Login | None:
        """
        To be asked once for each attempt, for who asks may be guessing.

        @return: the login that these credentials were accepted as, from this client, within the
            last L{KNOWN} seconds.
        """
        place = client, credentials.username
        login = self._logins.get(place)
        if login is None or self._clock.seconds() - login.checked >= KNOWN:
            return None
        digest = self._digest(credentials)
        if compare_digest(digest, login.digest):
            return login
        if digest not in login.missed:
            login.missed += (digest,)
            if len(login.missed) > MISSES:
                del self._logins[place]
        return None

    def age(self, login: Login) -> float:
        """
        @return: how long ago a login was checked, in seconds.
        """
        return self._clock.seconds() - login.checked

    def _digest(self, credentials: Credentials) -> bytes:
        # A name's length, of one octet, tells where it ends.
        text = bytes((len(credentials.username),)) + credentials.username + credentials.password
        return blake2b(text, digest_size=_OCTETS, key=self._key).digest()

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        while True:
            place, oldest = next(iter(self._logins.items()))
            if len(self._logins) <= LOGINS and now - oldest.checked < KNOWN:
                return
            del self._logins[place]
