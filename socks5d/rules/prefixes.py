"""Which of many networks holds an address, in the time of one bisection."""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Generic, TypeAlias, TypeVar

from socks5d.wire.address import IPAddress

IPNetwork: TypeAlias = IPv4Network | IPv6Network
T = TypeVar("T")

_MAPPED = IPv6Network("::ffff:0:0/96")


class PrefixMap(Generic[T]):
    """
    Networks, each with a value.  An address is looked up among the widest ones: two
    networks are disjoint, or one holds the other, so those that stand inside
    another are not needed to tell whether an address is in any.
    """

    __slots__ = ("_any", "_families")

    def __init__(self, entries: Iterable[tuple[IPNetwork, T]]) -> None:
        """
        @param entries: networks and values; of equal networks the first counts.
        """
        families: dict[type, list[tuple[int, int, T]]] = {IPv4Address: [], IPv6Address: []}
        for network, value in entries:
            first, last = int(network.network_address), int(network.broadcast_address)
            families[type(network.network_address)].append((first, last, value))
        self._families = {family: _widest(ranges) for family, ranges in families.items()}
        self._any = any(families.values())

    def get(self, address: IPAddress) -> T | None:
        """
        @return: the value of the widest network that holds the address, or None.
        """
        firsts, lasts, values = self._families[type(address)]
        if not firsts:
            return None
        number = int(address)
        place = bisect_right(firsts, number) - 1
        if place >= 0 and number <= lasts[place]:
            return values[place]
        return None

    def __bool__(self) -> bool:
        return self._any


def _widest(ranges: list[tuple[int, int, T]]) -> tuple[list[int], list[int], list[T]]:
    firsts: list[int] = []
    lasts: list[int] = []
    values: list[T] = []
    for first, last, value in sorted(ranges, key=lambda entry: (entry[0], -entry[1])):
        if not lasts or last > lasts[-1]:
            firsts.append(first)
            lasts.append(last)
            values.append(value)
    return firsts, lasts, values


def parse_network(text: str) -> IPNetwork:
    """
    Read a CIDR or an address.

    @return: the network.  One inside ::ffff:0:0/96 is the IPv4 network that it
        maps, since that is what mapped addresses are taken for everywhere.
    @raise ValueError: says what is wrong, and the remedy where there is one.
    """
    try:
        network = ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no CIDR and no IP address") from None
        raise ValueError(f"{text!r} has host bits set; write {str(meant)!r}") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return IPv4Network((first, network.prefixlen - 96))
    return network
