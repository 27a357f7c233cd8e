"""
SOCKS 4 and its extension 4a: the request, and the reply.

Sources: "SOCKS: A protocol for TCP proxy across firewalls" (Ying-Da Lee) and
"SOCKS 4A: A Simple Extension to SOCKS 4 Protocol".

The note sets no bound on USERID and HOSTNAME; here both end at 255 octets, which
is what a domain name may have.
"""

from ipaddress import IPv4Address
from typing import NamedTuple

from socks5d.wire.address import UNSPECIFIED, Address, Host, encode_port
from socks5d.wire.parsed import Parsed, WireError

VERSION = 4

CONNECT = 1
BIND = 2

GRANTED = 90
REJECTED = 91
IDENTD_UNREACHABLE = 92
USERID_MISMATCH = 93

MAX_FIELD = 255


class Request(NamedTuple):
    """
    @ivar command: C{CONNECT} or C{BIND}.
    @ivar destination: DSTIP and DSTPORT; for 4a HOSTNAME in the place of DSTIP.
    @ivar userid: USERID without its NUL, at most 255 octets.
    """

    command: int
    destination: Address
    userid: bytes


class Reply(NamedTuple):
    """
    @ivar code: CD, one of 90 to 93.
    @ivar bound: DSTIP and DSTPORT; only a granted BIND gives them a meaning.
    """

    code: int
    bound: Address


def encode_reply(code: int, bound: Address | None = None) -> bytes:
    """
    @param code: CD.
    @param bound: DSTIP and DSTPORT.  A host that is not IPv4 cannot be said and
        is sent as 0.0.0.0.
    @raise ValueError: for a port out of range.
    """
    if bound is None:
        return bytes((0, code, 0, 0, 0, 0, 0, 0))
    host = bound.host if isinstance(bound.host, IPv4Address) else UNSPECIFIED
    return bytes((0, code)) + encode_port(bound.port) + host.packed


_REJECTION = encode_reply(REJECTED)


def _field(data: bytes, start: int, what: str) -> int | None:
    """Where the NUL stands that ends the field at C{start}; None for need more."""
    nul = data.find(0, start, start + MAX_FIELD + 1)
    if nul < 0:
        if len(data) > start + MAX_FIELD:
            raise WireError(f"{what} is longer than {MAX_FIELD} octets", _REJECTION)
        return None
    return nul


def _means_name(dstip: bytes) -> bool:
    """Whether DSTIP is 0.0.0.x with x other than 0, which is how 4a says that a name follows."""
    return dstip[:3] == b"\0\0\0" and dstip[3] != 0


def parse_request(data: bytes) -> Parsed[Request] | None:
    """
    Read VN, CD, DSTPORT, DSTIP, USERID, NUL and, for 4a, HOSTNAME, NUL.

    @raise WireError: for another VN or CD, a field that is too long, an empty
        HOSTNAME; its reply is 91.
    """
    if data and data[0] != VERSION:
        raise WireError("VN is not 4", _REJECTION)
    if len(data) >= 2 and data[1] not in (CONNECT, BIND):
        raise WireError("unknown command", _REJECTION)
    if len(data) < 9:
        return None
    nul = _field(data, 8, "USERID")
    if nul is None:
        return None
    userid = bytes(data[8:nul])
    end = nul + 1
    host: Host = IPv4Address(bytes(data[4:8]))
    if _means_name(data[4:8]):
        nul = _field(data, end, "HOSTNAME")
        if nul is None:
            return None
        host = bytes(data[end:nul])
        end = nul + 1
        if not host:
            raise WireError("HOSTNAME is empty", _REJECTION)
    return Parsed(Request(data[1], Address(host, data[2] << 8 | data[3]), userid), end)


def encode_request(request: Request) -> bytes:
    """
    The client's side.  A destination that is a name makes it a 4a request.

    @raise ValueError: for what a 4 or 4a request cannot say: an IPv6 address, an
        address that means 4a, an empty name, a field that is too long or holds a NUL.
    """
    command, (host, port), userid = request
    name = b""
    if isinstance(host, IPv4Address):
        packed = host.packed
        if _means_name(packed):
            raise ValueError("an address 0.0.0.x says that a name follows")
    elif isinstance(host, bytes):
        if not host:
            raise ValueError("HOSTNAME cannot be empty")
        packed, name = b"\0\0\0\1", host + b"\0"
    else:
        raise ValueError("SOCKS 4 has no IPv6 addresses")
    if len(userid) > MAX_FIELD or len(name) > MAX_FIELD + 1:
        raise ValueError(f"USERID and HOSTNAME have at most {MAX_FIELD} octets")
    if 0 in userid or 0 in name[:-1]:
        raise ValueError("USERID and HOSTNAME cannot hold a NUL")
    head = bytes((VERSION, command)) + encode_port(port)
    return head + packed + userid + b"\0" + name


def parse_reply(data: bytes) -> Parsed[Reply] | None:
    """
    The client's side: read VN, CD, DSTPORT, DSTIP.

    @raise WireError: when VN is not 0 (4, which some servers send, is let pass).
    """
    if data and data[0] not in (0, VERSION):
        raise WireError("the reply's VN is not 0")
    if len(data) < 8:
        return None
    bound = Address(IPv4Address(bytes(data[4:8])), data[2] << 8 | data[3])
    return Parsed(Reply(data[1], bound), 8)
