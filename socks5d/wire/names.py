"""
What a host asked for really is.

A name can be an address in disguise, and an IPv6 address can hold an IPv4 one.
Whoever decides about a destination decides about what L{canonical} gives, and
about each address that L{embedded} finds in it; nothing else is dialled.

Sources: the numbers-and-dots notation of inet_aton(3), which getaddrinfo(3)
takes too; RFC 4291 (mapped and compatible addresses), RFC 6052 and RFC 8215
(NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 2765 (SIIT);
RFC 1123 section 2.1 and RFC 1035 section 2.3.4 for names.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from socks5d.wire.address import Host, IPAddress

_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,15}")


class NotAName(ValueError):
    """What was asked for can be neither a domain name nor an address: it resolves to nothing."""


def canonical(host: Host | str) -> IPAddress | str:
    """
    Take every disguise off a host.

    @param host: an address, or a name as somebody wrote it.
    @return: an address (never an IPv4-mapped one), or a domain name in lower case
        without its trailing dot.
    @raise NotAName: when it is neither.  IDNs are names only in their ASCII form.
    """
    if isinstance(host, IPv4Address):
        return host
    if isinstance(host, IPv6Address):
        return _zoned(host, host.scope_id)
    if isinstance(host, bytes):
        try:
            text = host.decode("ascii")
        except UnicodeDecodeError:
            raise NotAName("a name has ASCII letters only") from None
    else:
        if not host.isascii():
            raise NotAName("a name has ASCII letters only")
        text = host
    if ":" in text:
        return _ipv6_literal(text)
    name = text.lower()
    if name.endswith("."):
        name = name[:-1]
    if not name or len(name) > 253:
        raise NotAName("a name has 1 to 253 characters")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _numbers_and_dots(labels)
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise NotAName("no domain name: a label is malformed")
    return name


def unmapped(address: IPAddress) -> IPAddress:
    """
    The IPv4 address that an IPv4-mapped one is (RFC 4291 section 2.5.5.2), which is
    also what the kernel makes of it; any other address as it is.
    """
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is not None:
            return mapped
    return address


def _ipv6_literal(text: str) -> IPAddress:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    literal, percent, zone = text.rstrip(".").partition("%")
    if percent and not _ZONE.fullmatch(zone):
        raise NotAName("malformed zone id")
    try:
        address = IPv6Address(literal)
    except AddressValueError:
        raise NotAName("malformed IPv6 address") from None
    return _zoned(address, zone or None)


def _zoned(address: IPv6Address, zone: str | None) -> IPAddress:
    """A zone says something of link-local addresses alone (RFC 4007 section 11)."""
    bare = unmapped(IPv6Address(int(address)))
    if zone is None or isinstance(bare, IPv4Address) or not bare.is_link_local:
        return bare
    if not _ZONE.fullmatch(zone):
        raise NotAName("malformed zone id")
    return IPv6Address(f"{bare}%{zone}")


def _numbers_and_dots(labels: list[str]) -> IPv4Address:
    """inet_aton(3)'s forms: a, a.b, a.b.c, a.b.c.d, each decimal, octal or hexadecimal."""
    if len(labels) > 4:
        raise NotAName("malformed IPv4 address")
    numbers = []
    for label in labels:
        if not _NUMBER.fullmatch(label):
            raise NotAName("malformed IPv4 address")
        try:
            if label.startswith("0x"):
                number = int(label[2:] or "0", 16)
            elif label.startswith("0"):
                number = int(label, 8)
            else:
                number = int(label)
        except ValueError:
            raise NotAName("malformed IPv4 address") from None
        numbers.append(number)
    *high, low = numbers
    if any(number > 255 for number in high) or low >= 256 ** (4 - len(high)):
        raise NotAName("malformed IPv4 address")
    for place, number in enumerate(high):
        low |= number << 8 * (3 - place)
    return IPv4Address(low)


_NAT64 = bytes.fromhex("0064ff9b0000000000000000")  # 64:ff9b::/96
_NAT64_LOCAL = bytes.fromhex("0064ff9b0001")  # 64:ff9b:1::/48
_SIIT = bytes.fromhex("0000000000000000ffff0000")  # ::ffff:0:0:0/96
_6TO4 = bytes.fromhex("2002")
_TEREDO = bytes.fromhex("20010000")
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))


def embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    """
    The IPv4 addresses that a packet to this IPv6 address may end at, by NAT64,
    6to4, Teredo, ISATAP, SIIT or an IPv4-compatible address.

    @return: most often none at all.
    """
    if isinstance(address, IPv4Address):
        return ()
    packed = address.packed
    tail = packed[12:]
    found: list[bytes] = []
    if packed.startswith((bytes(12), _NAT64, _SIIT)):
        found.append(tail)
    elif packed.startswith(_NAT64_LOCAL):
        # RFC 6052 section 2.2: the forms for a prefix of 96, of 64, of 56 and of 48 bits.
        found += [tail, packed[9:13], packed[7:8] + packed[9:12], packed[6:8] + packed[9:11]]
    elif packed.startswith(_6TO4):
        found.append(packed[2:6])
    elif packed.startswith(_TEREDO):
        found += [packed[4:8], bytes(octet ^ 0xFF for octet in tail)]
    if packed[8:12] in _ISATAP:
        found.append(tail)
    return tuple(IPv4Address(octets) for octets in found)
