"""Username and password (RFC 1929): VER 1, ULEN, UNAME, PLEN, PASSWD; and VER, STATUS."""

from typing import NamedTuple

from socks5d.wire.parsed import Parsed, WireError

VERSION = 1
SUCCESS = 0
FAILURE = 1


class Credentials(NamedTuple):
    """
    What a client gives (section 2).  Both may be empty, and both are octets: the
    RFC names no character set.
    """

    username: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, <hidden>)"


def encode_status(status: int) -> bytes:
    """The server's answer: VER, STATUS."""
    return bytes((VERSION, status))


_REFUSED = encode_status(FAILURE)


def parse_credentials(data: bytes) -> Parsed[Credentials] | None:
    """
    Read a username/password request.

    @raise WireError: for another VER; its reply is a failure.
    """
    if data and data[0] != VERSION:
        raise WireError("the sub-negotiation's VER is not 1", _REFUSED)
    if len(data) < 2:
        return None
    middle = 2 + data[1]
    if len(data) <= middle:
        return None
    end = middle + 1 + data[middle]
    if len(data) < end:
        return None
    return Parsed(Credentials(bytes(data[2:middle]), bytes(data[middle + 1 : end])), end)


def encode_credentials(credentials: Credentials) -> bytes:
    """
    The client's side.

    @raise ValueError: when either is longer than 255 octets.
    """
    username, password = credentials
    if len(username) > 255 or len(password) > 255:
        raise ValueError("username and password have at most 255 octets each")
    return b"".join((bytes((VERSION, len(username))), username, bytes((len(password),)), password))


def parse_status(data: bytes) -> Parsed[int] | None:
    """
    The client's side: read VER, STATUS.

    @raise WireError: for another VER.
    """
    if data and data[0] != VERSION:
        raise WireError("the status's VER is not 1")
    return Parsed(data[1], 2) if len(data) >= 2 else None
