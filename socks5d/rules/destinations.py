"""Where to: DEST as operators write it, and the ruleset made of such."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from attrs import frozen
from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Request, Verdict
from socks5d.rules.prefixes import IPNetwork, PrefixMap, parse_network
from socks5d.wire.address import IPAddress
from socks5d.wire.names import NotAName, canonical, embedded

Ports = tuple[int, int]

#: Ports of which is remembered what holds them.
PORTS = 4096

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](/[0-9]+)?(?::(.*))?")


@frozen(slots=True)
class Destination:
    """
    One DEST.  Exactly one of C{network}, C{name}, C{suffix} and C{everything} is set.

    @ivar text: as it was written.
    @ivar network: a CIDR or an address.
    @ivar name: a name.
    @ivar suffix: for C{*.name}, what stands after the star and its dot: it stands
        for every name below, at any depth, and not for the name itself.
    @ivar everything: for C{*}: any address and any name.
    @ivar ports: lowest and highest port, or None for all.
    """

    text: str
    network: IPNetwork | None = None
    name: str | None = None
    suffix: str | None = None
    everything: bool = False
    ports: Ports | None = None


def parse_destination(text: str) -> Destination:
    """
    Read DEST: a CIDR, an address, a name, C{*.name} or C{*}, each with an optional
    C{:port} or C{:port-port}; IPv6 in brackets when a port follows.

    @raise ValueError: says what is wrong.
    """
    host, ports_text = _split(text)
    ports = None if ports_text is None else parse_ports(ports_text)
    if host == "*":
        return Destination(text, everything=True, ports=ports)
    if host.startswith("*."):
        suffix = _canonical(host[2:])
        if not isinstance(suffix, str):
            raise ValueError(f"{text!r}: '*.' goes before a name, not before an address")
        return Destination(text, suffix=suffix, ports=ports)
    if "/" in host:
        return Destination(text, network=parse_network(host), ports=ports)
    found = _canonical(host)
    if isinstance(found, str):
        return Destination(text, name=found, ports=ports)
    if isinstance(found, IPv6Address):
        found = IPv6Address(int(found))  # without a zone: a rule is about all of them
    return Destination(text, network=parse_network(str(found)), ports=ports)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        match = _BRACKETED.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r}: write IPv6 with a port as '[address]:port'")
        host, length, ports = match.groups()
        if ":" not in host:
            raise ValueError(f"{text!r}: brackets are for IPv6")
        return host + (length or ""), ports
    if text.count(":") > 1:
        return text, None
    host, colon, ports = text.partition(":")
    return host, ports if colon else None


def parse_ports(text: str) -> Ports:
    """
    Read a port or a range of ports.

    @return: the lowest and the highest.
    @raise ValueError: says what is wrong.
    """
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no port and no range of ports (as 443 or 8000-8099)")
    low = int(match[1])
    high = int(match[2]) if match[2] is not None else low
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"{text!r}: ports go from 1 to 65535, the lower one first")
    return low, high


def _canonical(host: str) -> IPAddress | str:
    try:
        return canonical(host)
    except NotAName as error:
        remedy = "" if host.isascii() else "; write its form that begins with 'xn--'"
        raise ValueError(f"{host!r} is no address and no name: {error}{remedy}") from None


class _Hosts:
    """The entries that share their ports."""

    __slots__ = ("everything", "names", "prefixes", "suffixes")

    def __init__(self, entries: Sequence[Destination]) -> None:
        self.prefixes = PrefixMap((e.network, e.text) for e in entries if e.network is not None)
        self.names = {e.name: e.text for e in reversed(entries) if e.name is not None}
        self.suffixes = {e.suffix: e.text for e in reversed(entries) if e.suffix is not None}
        self.everything = next((e.text for e in entries if e.everything), None)


class DestinationSet:
    """Many destinations, looked up at once."""

    __slots__ = ("_at", "_groups")

    def __init__(self, entries: Iterable[Destination]) -> None:
        by_ports: dict[Ports, list[Destination]] = {}
        for entry in entries:
            by_ports.setdefault(entry.ports or (0, 65535), []).append(entry)
        self._groups = [(*ports, _Hosts(entries)) for ports, entries in by_ports.items()]
        #: Those that hold a port, of the ports that were asked about last.
        self._at: dict[int, list[_Hosts]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def by_address(self, address: IPAddress, port: int) -> str | None:
        """
        @return: the text of an entry that names this address, or None.
        """
        for hosts in self._holding(port):
            if (text := hosts.prefixes.get(address)) is not None:
                return text
        return None

    def by_name(self, name: str | None, port: int) -> str | None:
        """
        @return: the text of an entry that names this name or everything, or None.
        """
        for hosts in self._holding(port):
            if hosts.everything is not None:
                return hosts.everything
            if name is None:
                continue
            if (text := hosts.names.get(name)) is not None:
                return text
            if hosts.suffixes:
                dot = name.find(".")
                while dot >= 0:
                    if (text := hosts.suffixes.get(name[dot + 1 :])) is not None:
                        return text
                    dot = name.find(".", dot + 1)
        return None

    def names_addresses(self, port: int) -> bool:
        """Whether any address at all could be named for this port."""
        return any(hosts.prefixes for hosts in self._holding(port))

    def _holding(self, port: int) -> list[_Hosts]:
        found = self._at.get(port)
        if found is None:
            if len(self._at) >= PORTS:
                self._at.clear()
            found = [hosts for low, high, hosts in self._groups if low <= port <= high]
            self._at[port] = found
        return found


@lru_cache(1024)
def _allowed(rule: str, by_address: bool) -> Decision:
    return Decision(Verdict.PERMIT, f"allow {rule}", by_address=by_address)


@implementer(IRuleset)
class DestinationRules:
    """
    C{--allow} and C{--deny}.  A deny is judged before an allow.  Once there is an
    allow, what none mentions is denied; without any, C{otherwise} is the answer.

    An IPv6 address that leads to an IPv4 one (NAT64, 6to4 and their like) is denied
    where either is; only an allow of the IPv6 address lets it through.
    """

    def __init__(
        self,
        allow: Iterable[Destination] = (),
        deny: Iterable[Destination] = (),
        otherwise: Decision = NO_OPINION,
    ) -> None:
        """
        @param allow: what is let through.
        @param deny: what is not, whatever C{allow} says.
        @param otherwise: the answer for the rest, when C{allow} is empty.
        """
        self._allow = DestinationSet(allow)
        self._deny = DestinationSet(deny)
        self._otherwise = (
            Decision(Verdict.DENY, "no --allow mentions it") if self._allow else otherwise
        )

    def decide(self, request: Request) -> Decision:
        """See L{IRuleset}."""
        if request.command is None:
            return NO_OPINION
        name, address, port = request.name, request.address, request.port
        if (rule := self._denies(name, address, port)) is not None:
            return Decision(Verdict.DENY, f"deny {rule}")
        if address is not None and (rule := self._allow.by_address(address, port)) is not None:
            return _allowed(rule, True)
        if (rule := self._allow.by_name(name, port)) is not None:
            return _allowed(rule, False)
        if address is None and (name is None or self._allow.names_addresses(port)):
            return NO_OPINION
        return self._otherwise

    def _denies(self, name: str | None, address: IPAddress | None, port: int) -> str | None:
        if not self._deny:
            return None
        if (rule := self._deny.by_name(name, port)) is not None or address is None:
            return rule
        if (rule := self._deny.by_address(address, port)) is not None:
            return rule
        if isinstance(address, IPv4Address):
            return None
        hidden = (self._deny.by_address(inner, port) for inner in embedded(address))
        return next((rule for rule in hidden if rule is not None), None)
