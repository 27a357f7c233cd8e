"""
Logins that were accepted lately, by a keyed hash; never a password.

Each is known where it came from, and where it was checked: the same name and password from
another client is somebody's who may be guessing, and whom the answer must not reach any sooner.
So it is with who tries others for the same name there: after a few, that name's logins are not
known for a while, the right one neither.
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
#: Of one identity's they are so many at the most, or who has a password could have all others
#: forgotten.
EACH = LOGINS // 16
#: Wrong passwords that may be tried where a login is known, in L{KNOWN} seconds; one more, and
#: it is not for as long.
MISSES = 5

_OCTETS = 32
_Place = tuple[Hashable, bytes]


class Login:
    """
    One that was accepted.

    @ivar identity: whose it is.
    @ivar by: what it was accepted by.
    """

    __slots__ = ("by", "checked", "digest", "identity", "missed", "since")

    def __init__(self, digest: bytes, identity: Identity, checked: float, by: object) -> None:
        self.digest = digest
        self.identity = identity
        self.checked = checked
        self.by = by
        #: Other passwords that were tried, each once; and since when.
        self.missed: tuple[bytes, ...] = ()
        self.since = checked

    def forgive(self, now: float) -> None:
        """What was tried long ago is held against nobody."""
        if not 0 <= now - self.since < KNOWN:
            self.missed = ()


class Logins:
    """
    Who was let in.  What is kept of a login is a hash under a key that no other process
    has, and that is gone with this one.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._key = os.urandom(_OCTETS)
        #: By where they come from and name, in the order in which they were checked.
        self._logins: dict[_Place, Login] = {}
        #: The same, of each identity.
        self._of: dict[str | None, dict[_Place, None]] = {}

    def __len__(self) -> int:
        """How many are known."""
        return len(self._logins)

    def key(self, credentials: Credentials) -> Hashable:
        """
        @return: what tells apart what is given; no password can be found by it.
        """
        return self._digest(credentials)

    def accepted(
        self, where: Hashable, credentials: Credentials, identity: Identity, by: object = None
    ) -> None:
        """
        @param where: what tells apart clients, and what they were checked by.
        @param credentials: what was just checked, and right.
        @param identity: whose they are.
        @param by: what tells apart those who accept logins.
        """
        place = where, credentials.username
        before = self._forget(place)
        login = Login(self._digest(credentials), identity, self._clock.seconds(), by)
        if before is not None:
            # Or who has a password could try a few others after each time that it is right.
            login.missed, login.since = before.missed, before.since
        self._logins[place] = login
        own = self._of.setdefault(identity.name, {})
        own[place] = None
        if len(own) > EACH:
            self._forget(next(iter(own)))
        self._forget_old()

    def refused(self, where: Hashable, credentials: Credentials) -> None:
        """
        @param credentials: what was just checked, and is wrong, whatever it was before.
        """
        login = self._logins.get((where, credentials.username))
        if login is not None and login.digest == self._digest(credentials):
            login.digest = b""

    def find(self, where: Hashable, credentials: Credentials) -> Login | None:
        """
        To be asked once for each attempt, for who asks may be guessing.

        @return: the login that these credentials were accepted as, there, within the last
            L{KNOWN} seconds.
        """
        login = self._logins.get((where, credentials.username))
        now = self._clock.seconds()
        if login is None or not 0 <= now - login.checked < KNOWN:
            return None
        login.forgive(now)
        if len(login.missed) > MISSES:
            return None
        digest = self._digest(credentials)
        if compare_digest(digest, login.digest):
            return login
        if digest not in login.missed:
            if not login.missed:
                login.since = now
            login.missed += (digest,)
        return None

    def age(self, login: Login) -> float:
        """
        @return: how long ago a login that was found was checked, in seconds.
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
            self._forget(place)

    def _forget(self, place: _Place) -> Login | None:
        login = self._logins.pop(place, None)
        if login is not None:
            own = self._of[login.identity.name]
            del own[place]
            if not own:
                del self._of[login.identity.name]
        return login
