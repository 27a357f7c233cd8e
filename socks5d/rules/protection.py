"""
Destinations that trust this host, and are not reached unless a rule names their address.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from socks5d.rules.prefixes import IPNetwork, PrefixMap
from socks5d.wire.address import Address, IPAddress
from socks5d.wire.names import embedded

#: Networks that no name and no general rule reaches.
PROTECTED: tuple[tuple[IPNetwork, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
    # Where clouds serve a machine's credentials on IPv6, as on 169.254.169.254.
    (IPv6Network("fd00:ec2::254/128"), "cloud metadata"),
    (IPv6Network("fd20:ce::254/128"), "cloud metadata"),
)


class Protection:
    """
    Tells whether a destination is protected, in every disguise that an address has.

    @ivar listeners: where the server itself listens; whoever opens and closes
        listeners keeps it up to date.
    """

    def __init__(
        self,
        more: Iterable[IPNetwork] = (),
        listeners: Iterable[Address] = (),
        is_own: Callable[[IPAddress], bool] = lambda address: True,
    ) -> None:
        """
        @param more: networks to protect besides L{PROTECTED}.
        @param listeners: addresses and ports where the server listens.
        @param is_own: whether an address is one of this host's; asked only for a
            port on which a listener listens on every address.
        """
        self._networks: PrefixMap[str] = PrefixMap(
            [*PROTECTED, *((network, "protect") for network in more)]
        )
        self.listeners: set[Address] = set(listeners)
        self._is_own = is_own

    def covers(self, address: IPAddress, port: int) -> str | None:
        """
        @return: as what the destination is protected, or None when it is not.
        """
        for each in (address, *embedded(address)):
            what = self._networks.get(each)
            if what is not None:
                return what
            if self._is_listener(each, port):
                return "the server's own listener"
        return None

    def _is_listener(self, address: IPAddress, port: int) -> bool:
        for host, listening in self.listeners:
            if listening != port or isinstance(host, bytes):
                continue
            if host == address or (host.is_unspecified and self._is_own(address)):
                return True
        return False
