"""
The UDP request header (RFC 1928 section 7): RSV, FRAG, ATYP, DST.ADDR, DST.PORT, then data.

A datagram arrives whole or not at all, so there is no "need more" here, and the
relay answers a bad one with silence, so an error carries no reply.
"""

from typing import NamedTuple

from socks5d.wire.address import (
    DOMAINNAME,
    IPV4,
    IPV6,
    Address,
    UnknownAddressType,
    encode_address,
    parse_address,
)
from socks5d.wire.parsed import Parsed, WireError

#: FRAG: the high-order bit ends a fragment sequence, the rest is the position.
END_OF_SEQUENCE = 0x80

#: Where the header ends by ATYP, for addresses of a fixed length.
_FIXED = {IPV4: 10, IPV6: 22}


class Header(NamedTuple):
    """
    @ivar frag: FRAG; 0 is a datagram that stands alone.
    @ivar address: where it goes (from a client) or came from (to a client).
    """

    frag: int
    address: Address


def parse_header(datagram: bytes) -> Parsed[Header]:
    """
    Read the header of a datagram; C{datagram[end:]} is its data.  RSV is not looked at.

    @raise WireError: when the datagram ends before its header, or for an unknown ATYP.
    """
    parsed = parse_address(datagram, 3)
    if parsed is None:
        raise WireError("the datagram ends before its header does")
    return Parsed(Header(datagram[2], parsed.value), parsed.end)


def header_end(datagram: bytes) -> int:
    """
    Find where the header ends, and look at nothing else in it: octets 3 to there are
    the same for every datagram with the same destination.

    @raise WireError: as L{parse_header} does.
    """
    if len(datagram) > 3:
        atyp = datagram[3]
        if atyp == DOMAINNAME:
            end = 7 + datagram[4] if len(datagram) > 4 else 7
        elif atyp in _FIXED:
            end = _FIXED[atyp]
        else:
            raise UnknownAddressType("unknown address type")
        if len(datagram) >= end:
            return end
    raise WireError("the datagram ends before its header does")


def encode_header(header: Header) -> bytes:
    """
    @raise ValueError: for a name, a port or a FRAG that does not fit.
    """
    return bytes((0, 0, header.frag)) + encode_address(header.address)
