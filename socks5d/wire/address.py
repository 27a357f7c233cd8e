"""Addresses as SOCKS 5 messages and UDP headers carry them (RFC 1928 sections 4 and 5)."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

from socks5d.wire.parsed import Parsed, WireError

IPV4 = 0x01
DOMAINNAME = 0x03
IPV6 = 0x04

IPAddress: TypeAlias = IPv4Address | IPv6Address
#: A host as the wire has it: an address, or the octets of a name.
Host: TypeAlias = IPv4Address | IPv6Address | bytes

#: What a reply says where there is no address to tell.
UNSPECIFIED = IPv4Address(0)


class Address(NamedTuple):
    """
    @ivar host: an address, or the octets of a domain name (at most 255).
    @ivar port: 0 to 65535.
    """

    host: Host
    port: int


def address_text(address: IPAddress) -> str:
    """
    @return: the address as text; for IPv4 without making it anew each time.
    """
    return _dotted(int(address)) if isinstance(address, IPv4Address) else str(address)


@lru_cache(4096)
def _dotted(number: int) -> str:
    return str(IPv4Address(number))


class UnknownAddressType(WireError):
    """The ATYP octet is none of 1, 3 and 4."""


def parse_address(data: bytes, start: int) -> Parsed[Address] | None:
    """
    Read ATYP, address and port.

    @param data: the octets.
    @param start: where ATYP stands in them.
    @return: the address, its C{end} counted from the beginning of C{data}; None
        for need more.
    @raise UnknownAddressType: with no reply; whose message it is knows the reply.
    """
    if len(data) <= start:
        return None
    atyp = data[start]
    begin = start + 1
    host: Host
    if atyp == IPV4:
        end = begin + 4
        if len(data) < end + 2:
            return None
        host = IPv4Address(data[begin:end])
    elif atyp == DOMAINNAME:
        if len(data) <= begin:
            return None
        begin += 1
        end = begin + data[begin - 1]
        if len(data) < end + 2:
            return None
        host = bytes(data[begin:end])
    elif atyp == IPV6:
        end = begin + 16
        if len(data) < end + 2:
            return None
        host = IPv6Address(bytes(data[begin:end]))
    else:
        raise UnknownAddressType("unknown address type")
    return Parsed(Address(host, data[end] << 8 | data[end + 1]), end + 2)


def encode_port(port: int) -> bytes:
    """
    @raise ValueError: when it is out of range.
    """
    try:
        return port.to_bytes(2, "big")
    except OverflowError:
        raise ValueError(f"no port number: {port}") from None


def encode_address(address: Address) -> bytes:
    """
    Write ATYP, address and port.

    @raise ValueError: for a name over 255 octets or a port out of range.
    """
    host, port = address
    tail = encode_port(port)
    if isinstance(host, IPv4Address):
        return b"\x01" + host.packed + tail
    if isinstance(host, IPv6Address):
        return b"\x04" + host.packed + tail
    if len(host) > 255:
        raise ValueError("a domain name has at most 255 octets")
    return b"\x03" + bytes((len(host),)) + host + tail
