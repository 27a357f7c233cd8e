"""SOCKS 5 (RFC 1928): method selection, the request and the reply."""

from typing import NamedTuple

from socks5d.wire.address import (
    UNSPECIFIED,
    Address,
    UnknownAddressType,
    encode_address,
    parse_address,
)
from socks5d.wire.parsed import Parsed, WireError

VERSION = 5

# METHOD, section 3
NO_AUTHENTICATION = 0x00
GSSAPI = 0x01
USERNAME_PASSWORD = 0x02
NO_ACCEPTABLE_METHODS = 0xFF

# CMD, section 4
CONNECT = 0x01
BIND = 0x02
UDP_ASSOCIATE = 0x03

# REP, section 6
SUCCEEDED = 0x00
GENERAL_FAILURE = 0x01
NOT_ALLOWED = 0x02
NETWORK_UNREACHABLE = 0x03
HOST_UNREACHABLE = 0x04
CONNECTION_REFUSED = 0x05
TTL_EXPIRED = 0x06
COMMAND_NOT_SUPPORTED = 0x07
ADDRESS_TYPE_NOT_SUPPORTED = 0x08


class Request(NamedTuple):
    """
    @ivar command: CMD, one of 1, 2 and 3.
    @ivar destination: DST.ADDR and DST.PORT.
    """

    command: int
    destination: Address


class Reply(NamedTuple):
    """
    @ivar code: REP.
    @ivar bound: BND.ADDR and BND.PORT.
    """

    code: int
    bound: Address


def encode_selection(method: int) -> bytes:
    """The server's METHOD selection message (section 3): VER, METHOD."""
    return bytes((VERSION, method))


def encode_reply(code: int, bound: Address | None = None) -> bytes:
    """
    @param code: REP.
    @param bound: BND.ADDR and BND.PORT; 0.0.0.0 and 0 when a failure has none.
    """
    tail = encode_address(bound if bound is not None else Address(UNSPECIFIED, 0))
    return bytes((VERSION, code, 0)) + tail


_NO_METHOD = encode_selection(NO_ACCEPTABLE_METHODS)
_FAILURE = encode_reply(GENERAL_FAILURE)
_COMMAND = encode_reply(COMMAND_NOT_SUPPORTED)
_ADDRESS_TYPE = encode_reply(ADDRESS_TYPE_NOT_SUPPORTED)


def parse_greeting(data: bytes) -> Parsed[bytes] | None:
    """
    Read VER, NMETHODS, METHODS (section 3).

    @return: the method numbers, in the client's order.
    @raise WireError: for another VER, or no method at all; its reply is FF.
    """
    if data and data[0] != VERSION:
        raise WireError("VER is not 5", _NO_METHOD)
    if len(data) < 2:
        return None
    if data[1] == 0:
        raise WireError("NMETHODS is 0", _NO_METHOD)
    end = 2 + data[1]
    if len(data) < end:
        return None
    return Parsed(bytes(data[2:end]), end)


def encode_greeting(methods: bytes) -> bytes:
    """
    The client's side.

    @raise ValueError: unless there are 1 to 255 methods.
    """
    if not 1 <= len(methods) <= 255:
        raise ValueError("a greeting has 1 to 255 methods")
    return bytes((VERSION, len(methods))) + methods


def parse_selection(data: bytes) -> Parsed[int] | None:
    """The client's side: read VER, METHOD."""
    if data and data[0] != VERSION:
        raise WireError("the selection's VER is not 5")
    return Parsed(data[1], 2) if len(data) >= 2 else None


def parse_request(data: bytes) -> Parsed[Request] | None:
    """
    Read VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT (section 4).  RSV is not looked at.

    @raise WireError: as soon as an octet settles it: another VER (its reply is
        01), an unknown CMD (07), an unknown ATYP (08).
    """
    if data and data[0] != VERSION:
        raise WireError("the request's VER is not 5", _FAILURE)
    if len(data) >= 2 and data[1] not in (CONNECT, BIND, UDP_ASSOCIATE):
        raise WireError("unknown command", _COMMAND)
    try:
        parsed = parse_address(data, 3)
    except UnknownAddressType as error:
        raise WireError(error.reason, _ADDRESS_TYPE) from None
    if parsed is None:
        return None
    return Parsed(Request(data[1], parsed.value), parsed.end)


def encode_request(request: Request) -> bytes:
    """
    The client's side.

    @raise ValueError: for a name or a port that does not fit.
    """
    return bytes((VERSION, request.command, 0)) + encode_address(request.destination)


def parse_reply(data: bytes) -> Parsed[Reply] | None:
    """
    The client's side: read VER, REP, RSV, ATYP, BND.ADDR, BND.PORT (section 6).

    @raise WireError: for another VER or an unknown ATYP.
    """
    if data and data[0] != VERSION:
        raise WireError("the reply's VER is not 5")
    parsed = parse_address(data, 3)
    if parsed is None:
        return None
    return Parsed(Reply(data[1], parsed.value), parsed.end)
