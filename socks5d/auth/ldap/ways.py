"""From a name and a password to who it is: by a template, or by a search."""

import secrets
from math import ceil
from typing import Final, Protocol

from twisted.cred.error import UnauthorizedLogin

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.blocking import Login
from socks5d.auth.ldap.connection import Connection, Found
from socks5d.auth.ldap.failures import DirectoryError
from socks5d.auth.ldap.lines import Line
from socks5d.auth.ldap.messages import SIZE_LIMIT_EXCEEDED, SUCCESS, Codec, Entry
from socks5d.auth.ldap.names import canonical, may_be_name
from socks5d.auth.ldap.settings import Search, Template
from socks5d.auth.ldap.templates import Filter, check_attribute, check_dn, dn_of

#: The resultCodes that say that it is not this user (RFC 4511 appendix A); any other says
#: that the directory cannot tell.
_REFUSED: Final = frozenset(
    {
        19,  # constraintViolation
        32,  # noSuchObject
        34,  # invalidDNSyntax
        48,  # inappropriateAuthentication
        49,  # invalidCredentials
        50,  # insufficientAccessRights
        53,  # unwillingToPerform
    }
)


class Wrong(UnauthorizedLogin):
    """It is not this user, or there is none."""

    def __init__(self) -> None:
        super().__init__("wrong username or password")


class Password:
    """
    What somebody offers.

    @ivar unanswered: whether the directory was given it, or another in its place that takes
        as long, and has not said what it thinks of it.
    """

    def __init__(self, octets: bytes, login: Login) -> None:
        """
        @param octets: not empty.
        @param login: knows whether the directory was given it.
        """
        self.octets = octets
        self.unanswered = False
        self._login = login
        login.withhold()

    def offer(self) -> None:
        """It is given to the directory, or what is in its place."""
        self.unanswered = True
        self._login.offer()


class Way(Protocol):
    """How a directory is asked about a user."""

    async def log_in(self, line: Line, name: bytes, password: Password) -> bytes:
        """
        @param name: of a user; fit to be asked about.
        @param password: whether it is that user's.
        @return: the name by which rules know that user.
        @raise Wrong: when it is not that user.
        @raise DirectoryError: when the directory cannot tell.
        """


class ByTemplate:
    """Bind as a DN that is made of the name."""

    def __init__(self, way: Template, codec: Codec) -> None:
        check_dn(way.dn, "dn")
        self._dn = way.dn
        self._codec = codec

    async def log_in(self, line: Line, name: bytes, password: Password) -> bytes:
        """See L{Way}."""
        known_as = canonical(name)
        if known_as is None:
            raise Wrong
        await _bind(line, dn_of(self._dn, known_as), password, self._codec)
        return known_as


class BySearch:
    """Search for the name, and bind as what is found."""

    def __init__(self, way: Search, codec: Codec, seconds: float) -> None:
        """
        @param seconds: for how long the server should search.
        """
        for text, key in ((way.base, "base"), (way.bind, "bind"), (way.decoy, "decoy")):
            if text:
                check_dn(text, key)
        self._way = way
        self._codec = codec
        self._seconds = ceil(seconds)
        self._filter = Filter(way.filter)
        if not way.name and len(set(self._filter.attributes)) > 1:
            raise ArgumentError("'filter' asks for several attributes; say which is the 'name'")
        self._name = way.name or self._filter.attributes[0]
        check_attribute(self._name, "name")
        # Of two values, for somebody's entry comes in a piece of its own too.
        dn = f"{self._name}=nobody,{way.base}"
        self._nobody = codec.entry(1, dn, self._name, b"nobody", b"nobody")

    async def log_in(self, line: Line, name: bytes, password: Password) -> bytes:
        """See L{Way}."""
        wanted = self._filter.of(name)

        async def search(connection: Connection) -> Found:
            return await connection.search(
                self._way.base, wanted, self._name, most=2, seconds=self._seconds
            )

        found = await line.searches.ask(search)
        if found.code not in (SUCCESS, SIZE_LIMIT_EXCEEDED):
            raise DirectoryError(f"it does not search ({self._codec.name_of(found.code)})")
        entry = found.entries[0] if len(found.entries) == 1 and found.code == SUCCESS else None
        known_as = None if entry is None else self._known_as(entry)
        if entry is None or known_as is None:
            await self._pretend(line, found, password)
            if entry is not None:
                raise DirectoryError(f"whom it finds has no name: not one value of {self._name}")
            raise Wrong
        await _bind(line, entry.dn, password, self._codec)
        return known_as

    def _known_as(self, entry: Entry) -> bytes | None:
        values = entry.attributes.get(self._name.lower().encode(), ())
        return values[0] if len(values) == 1 and may_be_name(values[0]) else None

    async def _pretend(self, line: Line, found: Found, password: Password) -> None:
        """Take the time that a wrong password takes; whatever comes of it is nothing."""
        dn = self._way.decoy or f"cn={secrets.token_hex(8)},{self._way.base}"
        if not found.entries:
            # To read an entry takes a tenth of the time of all the rest.
            self._codec.decode(self._nobody)
        try:
            await _bind(line, dn, password, self._codec, secrets.token_hex(8).encode())
        except Wrong:
            return


async def _bind(
    line: Line, dn: str | bytes, password: Password, codec: Codec, other: bytes | None = None
) -> None:
    """
    @param other: what is sent in the place of the password.
    """

    async def bind(connection: Connection) -> int:
        password.offer()
        return await connection.bind(dn, password.octets if other is None else other)

    code = await line.binds.ask(bind)
    password.unanswered = False
    if code in _REFUSED:
        raise Wrong
    if code != SUCCESS:
        raise DirectoryError(f"it does not let users bind ({codec.name_of(code)})")
