"""
Who is one and the same: for clients their addresses say so, for identities their names.

Keys are text, fit for a log, and of a bounded length.
"""

from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, ip_network

from attrs import frozen

from socks5d.escape import LIMIT, printable
from socks5d.model import Client, Identity
from socks5d.parameters import Limits
from socks5d.wire.address import IPAddress, address_text

#: Bits of an address of each family.
IPV4_BITS = 32
IPV6_BITS = 128
#: Bits of the wider networks of an address, which one holder can have many of the narrower of.
_WIDER = {4: (16,), 6: (32, 48)}
#: Sources of names that a client, or its host, says of itself.
_SAID = ("userid:", "ident:")


@frozen(slots=True)
class Prefixes:
    """
    How much of an address tells clients apart.

    @ivar ipv4: bits of an IPv4 address.
    @ivar ipv6: bits of an IPv6 address; a client has at least 64 bits to itself (RFC 6177).
    """

    ipv4: int = 32
    ipv6: int = 64

    def of(self, client: Client) -> str:
        """
        @return: the L{key} of a client's address; "" for those without, who are one.
        """
        return "" if client.address is None else self.key(client.address)

    def path(self, client: Client) -> tuple[str, ...]:
        """
        @return: the networks that a client is in, the widest first, and what it is L{of}.
        """
        address = client.address
        if address is None:
            return ("",)
        bits, own = (IPV4_BITS, self.ipv4) if address.version == 4 else (IPV6_BITS, self.ipv6)
        wider = (
            _network(address.version, int(address) >> (bits - each), each)
            for each in _WIDER[address.version]
            if each < own
        )
        return (*wider, self.key(address))

    def key(self, address: IPAddress) -> str:
        """
        @return: the address where it is a client by itself, or its network.
        """
        if isinstance(address, IPv4Address):
            if self.ipv4 == IPV4_BITS:
                return address_text(address)
            return _network(4, int(address) >> (IPV4_BITS - self.ipv4), self.ipv4)
        return _network(6, int(address) >> (IPV6_BITS - self.ipv6), self.ipv6)


#: An address of IPv4, and a /64 of IPv6.
USUAL = Prefixes()


def prefixes(limits: Limits) -> Prefixes:
    """
    @return: how much tells clients apart by these.
    """
    return Prefixes(limits.client_ipv4, limits.client_ipv6)


@lru_cache(4096)
def _network(version: int, number: int, prefix: int) -> str:
    bits = IPV4_BITS if version == 4 else IPV6_BITS
    octets = (number << (bits - prefix)).to_bytes(bits // 8, "big")
    network = ip_network((octets, prefix))
    return str(network.network_address if prefix == bits else network)


@lru_cache(1024)
def identity_key(identity: Identity) -> str | None:
    """
    A name that nobody proved is never one that somebody did: how it is known is part of it.

    @return: C{source:name}, or None for nobody in particular.
    """
    if identity.name is None:
        return None
    source, name = printable(identity.source).replace(":", "\\x3a"), printable(identity.name)
    key = f"{source}:{name}"
    if len(source) < LIMIT and len(name) < LIMIT:
        return key
    # It was cut, and is told apart from others that begin so.
    whole = f"{len(identity.source)}:{identity.source}:{identity.name}"
    return f"{key}#{sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()}"


def is_proven(key: str) -> bool:
    """
    @param key: as L{identity_key} gives it.
    @return: whether somebody has vouched for the name who is not its owner.
    """
    return not key.startswith(_SAID)
