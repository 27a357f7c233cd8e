"""
What rules say about each property of a request, put so that a request finds all the rules that
it satisfies at once: as bit masks, bit 0 for the first rule.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from socks5d.interfaces import USERID
from socks5d.model import Request
from socks5d.rules.destinations import Destination
from socks5d.rules.lists import HostList, Range, range_of
from socks5d.rules.masks import DomainMasks, NetworkMasks, PatternMasks, PortMasks
from socks5d.rules.prefixes import IPNetwork
from socks5d.rules.rule import Rule, has_addresses, is_everywhere, proven, proven_by_ticket
from socks5d.wire.address import IPAddress

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)

#: Of each rule that says anything about a property, its bit and what it says.
Said = Sequence[tuple[int, T]]


def _said(rules: Sequence[Rule], property_: Callable[[Rule], T | None]) -> Said[T]:
    found = ((1 << place, property_(rule)) for place, rule in enumerate(rules))
    return [(bit, value) for bit, value in found if value is not None]


def _bits(said: Said[T]) -> int:
    return sum(bit for bit, _ in said)


def _values(said: Said[frozenset[V]]) -> dict[V, int]:
    masks: dict[V, int] = {}
    for bit, values in said:
        for value in values:
            masks[value] = masks.get(value, 0) | bit
    return masks


def _patterns(said: Said[tuple[str, ...]]) -> PatternMasks:
    masks = PatternMasks()
    for bit, patterns in said:
        masks.add(patterns, bit)
    return masks


def _together(said: Iterable[tuple[int, Iterable[T]]]) -> list[tuple[T, int]]:
    """Things that may be long, each once, with all the rules that have it."""
    masks: dict[int, tuple[T, int]] = {}
    for bit, things in said:
        for each in things:
            _, mask = masks.get(id(each), (each, 0))
            masks[id(each)] = each, mask | bit
    return list(masks.values())


def _networks(said: Said[tuple[IPNetwork | Destination | HostList, ...]]) -> NetworkMasks:
    families: dict[int, list[tuple[Range, int]]] = {4: [], 6: []}
    for each, mask in _together(said):
        if isinstance(each, HostList):
            families[4] += ((network, mask) for network in each.ipv4)
            families[6] += ((network, mask) for network in each.ipv6)
            continue
        network = each.network if isinstance(each, Destination) else each
        if network is not None:
            families[network.version].append((range_of(network), mask))
    return NetworkMasks(families[4], families[6])


class Conditions:
    """
    What rules say about everything but destinations.

    @ivar later: rules that say something about what is not known of a client alone.
    @ivar with_ports: rules that say something about ports.
    """

    def __init__(self, rules: Sequence[Rule], clock: Callable[[], float]) -> None:
        """
        @param clock: says how many seconds have passed since the epoch.
        """
        self._clock = clock
        self._every = (1 << len(rules)) - 1

        client = _said(rules, lambda rule: rule.client)
        listener = _said(rules, lambda rule: rule.listener)
        version = _said(rules, lambda rule: rule.version)
        method = _said(rules, lambda rule: rule.method)
        user = _said(rules, lambda rule: rule.user)
        group = _said(rules, lambda rule: rule.group)
        principal = _said(rules, lambda rule: rule.principal)
        userid = _said(rules, lambda rule: rule.userid)
        ident = _said(rules, lambda rule: rule.ident)
        command = _said(rules, lambda rule: rule.command)
        ports = _said(rules, lambda rule: rule.ports)

        self._clients = _networks(client)
        self._listeners = _patterns(listener)
        self._versions = _values(version)
        self._methods = _values(method)
        self._users = _patterns(user)
        self._groups = PatternMasks()
        for users, mask in _together(group):
            self._groups.add(users.users, mask)
        self._principals = _patterns(principal)
        self._userids = _patterns(userid)
        self._idents = _patterns(ident)
        self._commands = _values(command)
        self._ports = PortMasks((ranges, bit) for bit, ranges in ports)
        self._times = _said(rules, lambda rule: rule.times)
        self._minute: int | None = None
        self._now = 0

        # Rules that say nothing about a property, which any value of it satisfies; None
        # where no rule does, and nobody need ask.
        def others(said: Said[T]) -> int | None:
            return self._every & ~_bits(said) if said else None

        self._any_client = others(client)
        self._any_listener = others(listener)
        self._any_version = others(version)
        self._any_method = others(method)
        self._any_user = others(user)
        self._any_group = others(group)
        self._any_principal = others(principal)
        self._any_userid = others(userid)
        self._any_ident = others(ident)
        self._any_command = others(command)
        self._any_port = others(ports)
        self._any_time = others(self._times)

        self.with_ports = _bits(ports)
        self.later = self.with_ports
        said: Sequence[Said[object]] = (method, user, group, principal, userid, ident, command)
        for each in said:
            self.later |= _bits(each)

    def of_client(self, request: Request) -> int:
        """
        @return: the rules that a client satisfies now, by all that is known from the first.
        """
        found = self._every if self._any_time is None else self._holding(self._any_time)
        if self._any_client is not None:
            address = request.client.address
            known = 0 if address is None else self._clients.get(address)
            found &= known | self._any_client
        if self._any_listener is not None:
            found &= self._listeners.get(request.client.listener) | self._any_listener
        if self._any_version is not None:
            found &= self._versions.get(request.version, 0) | self._any_version
        return found

    def of_request(self, request: Request) -> int:
        """
        @return: the rules that a request satisfies, by its method, identity and command.
        """
        found = self._every
        if self._any_method is not None:
            method = USERID if request.userid is not None else request.method
            known = 0 if method is None else self._methods.get(method, 0)
            found &= known | self._any_method
        if self._any_command is not None:
            assert request.command is not None
            found &= self._commands.get(request.command, 0) | self._any_command
        name = proven(request.identity)
        if self._any_user is not None:
            found &= _by_name(self._users, name) | self._any_user
        if self._any_group is not None:
            found &= _by_name(self._groups, name) | self._any_group
        if self._any_principal is not None:
            principal = proven_by_ticket(request.identity)
            found &= _by_name(self._principals, principal) | self._any_principal
        if self._any_userid is not None:
            found &= _by_name(self._userids, request.userid) | self._any_userid
        if self._any_ident is not None:
            ident = None if request.ident is None else request.ident.name
            found &= _by_name(self._idents, ident) | self._any_ident
        return found

    def of_port(self, port: int) -> int:
        """
        @return: the rules that a port satisfies.
        """
        return self._every if self._any_port is None else self._ports.get(port) | self._any_port

    def _holding(self, any_time: int) -> int:
        """The rules that hold now; looked for once a minute."""
        now = self._clock()
        minute = int(now // 60)
        if minute != self._minute:
            self._now = any_time | sum(bit for bit, times in self._times if times.hold(now))
            self._minute = minute
        return self._now


def _by_name(masks: PatternMasks, name: str | None) -> int:
    return 0 if name is None else masks.get(name)


class Destinations:
    """
    What rules say about destinations.

    @ivar everywhere: the rules that hold for every destination.
    @ivar named: the others.
    @ivar addressed: those of the others that name any address.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        every = (1 << len(rules)) - 1
        said = _said(rules, lambda rule: None if is_everywhere(rule) else rule.destination)
        self.named = _bits(said)
        self.everywhere = every & ~self.named
        self.addressed = _bits([(bit, each) for bit, each in said if any(map(has_addresses, each))])
        self._addresses = _networks(said)
        self._names = DomainMasks()
        for each, mask in _together(said):
            if isinstance(each, HostList):
                self._names.add(each.names, each.suffixes, mask)
            elif each.name is not None:
                self._names.add((each.name,), (), mask)
            elif each.suffix is not None:
                self._names.add((), (each.suffix,), mask)

    def by_address(self, address: IPAddress) -> int:
        """
        @return: the rules that name an address.
        """
        return self._addresses.get(address)

    def by_name(self, name: str) -> int:
        """
        @return: the rules that name a name.
        """
        return self._names.get(name)
