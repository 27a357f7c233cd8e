"""
What is to be said of each rule about a request, in words: the slow way to ask the same
questions as L{RuleTable} does, condition by condition.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import Enum
from typing import Any, Final

from attrs import frozen

from socks5d.escape import printable
from socks5d.interfaces import USERID
from socks5d.model import Command, Request
from socks5d.patterns import NamePatterns
from socks5d.rules.destinations import Destination, Ports
from socks5d.rules.lists import HostList, UserList, range_of
from socks5d.rules.prefixes import IPNetwork
from socks5d.rules.rule import (
    Action,
    Rule,
    has_addresses,
    is_everywhere,
    method_word,
    proven,
    proven_by_ticket,
)
from socks5d.rules.times import DAYS, Times
from socks5d.wire.address import IPAddress
from socks5d.wire.names import embedded

#: Values of a condition that are told of.
TOLD: Final = 4


class Match(Enum):
    """Whether a rule matches."""

    YES = "yes"
    NO = "no"
    #: It depends on what is not known yet.
    MAYBE = "maybe"


class By(Enum):
    """By what a rule matches; see L{socks5d.rules.table}."""

    #: It names the name or the address.
    HOST = "host"
    #: It names what the address leads to, and denies it.
    LEADS_TO = "leads to"
    #: It holds for every destination.
    EVERYTHING = "everything"


@frozen
class Considered:
    """
    What was found of a rule.

    @ivar rule: the rule.
    @ivar match: whether it matches.
    @ivar why: the first condition that is not met, or not known to be; for one that
        matches, which of its destinations does.
    @ivar by: by what it matches; None where it does not, or not for certain.
    """

    rule: Rule
    match: Match
    why: str
    by: By | None = None


class Explainer:
    """Considers rules for one request."""

    def __init__(self, request: Request, now: float) -> None:
        """
        @param request: as far as it is known.
        @param now: in seconds since the epoch.
        """
        self._request = request
        self._now = now
        #: What long lists, which may be in many rules, have of a host.
        self._found: dict[tuple[HostList, IPAddress | str], str | None] = {}
        self._conditions: tuple[tuple[str, bool, Callable[[Any], str]], ...] = (
            ("client", True, self._client),
            ("listener", True, self._listener),
            ("version", True, self._version),
            ("times", True, self._times),
            ("method", False, self._method),
            ("user", False, self._user),
            ("group", False, self._group),
            ("principal", False, self._principal),
            ("userid", False, self._userid),
            ("ident", False, self._ident),
            ("command", False, self._command),
            ("ports", False, self._ports),
        )

    def consider(self, rule: Rule) -> Considered:
        """
        @return: what is found of a rule.
        """
        unsure = ""
        for key, early, check in self._conditions:
            value = getattr(rule, key)
            if value is None:
                continue
            if not early and not self._is_known(key):
                unsure = unsure or f"the {_WORDS.get(key, key)} is not known yet"
            elif why := check(value):
                return Considered(rule, Match.NO, why)
        match, why, by = self._destination(rule)
        if unsure and match is not Match.NO:
            return Considered(rule, Match.MAYBE, unsure)
        return Considered(rule, match, why, by)

    def _is_known(self, key: str) -> bool:
        command = self._request.command
        if key == "ports" and command is Command.UDP_ASSOCIATE:
            return self._hosts() != []
        return command is not None

    # Each of these says why a condition is not met; "" where it is.

    def _client(self, value: tuple[IPNetwork | HostList, ...]) -> str:
        address = self._request.client.address
        if address is None:
            return "the client has no address"
        if any(self._has(each, address) is not None for each in value):
            return ""
        return f"client {address} is not in {_told(map(_text, value))}"

    def _listener(self, value: tuple[str, ...]) -> str:
        listener = self._request.client.listener
        if NamePatterns(value).match(listener) is not None:
            return ""
        return f"listener {listener!r} is not {_told(map(repr, value))}"

    def _version(self, value: frozenset[str]) -> str:
        version = self._request.version
        return "" if version in value else f"version {version} is not {_told(sorted(value))}"

    def _times(self, value: Times) -> str:
        if value.hold(self._now):
            return ""
        there = datetime.fromtimestamp(self._now, value.zone)
        return f"it is {DAYS[there.weekday()]} {there:%H:%M} in {value.zone.key}"

    def _method(self, value: frozenset[int]) -> str:
        request = self._request
        method = USERID if request.userid is not None else request.method
        if method in value:
            return ""
        return f"method {method_word(method)} is not {_told(map(method_word, sorted(value)))}"

    def _user(self, value: tuple[str, ...]) -> str:
        return self._is_somebody("user", proven(self._request.identity), value)

    def _group(self, value: tuple[UserList, ...]) -> str:
        name = proven(self._request.identity)
        if name is None:
            return "the client has proven no user name"
        if any(users.match(name) is not None for users in value):
            return ""
        return f"user {_quoted(name)} is not in {_told(f'list {each.name}' for each in value)}"

    def _principal(self, value: tuple[str, ...]) -> str:
        return self._is_somebody("principal", proven_by_ticket(self._request.identity), value)

    def _userid(self, value: tuple[str, ...]) -> str:
        return self._is_somebody("userid", self._request.userid, value)

    def _ident(self, value: tuple[str, ...]) -> str:
        ident = self._request.ident
        return self._is_somebody("ident name", None if ident is None else ident.name, value)

    def _is_somebody(self, what: str, name: str | None, value: tuple[str, ...]) -> str:
        if name is None:
            return f"there is no {what}"
        if NamePatterns(value).match(name) is not None:
            return ""
        return f"{what} {_quoted(name)} is not {_told(map(repr, value))}"

    def _command(self, value: frozenset[Command]) -> str:
        command = self._request.command
        return "" if command in value else f"command {command} is not {_told(sorted(value))}"

    def _ports(self, value: tuple[Ports, ...]) -> str:
        port = self._request.port
        if any(first <= port <= last for first, last in value):
            return ""
        return f"port {port} is not in {_told(map(_ports_text, value))}"

    # Destinations.

    def _hosts(self) -> list[IPAddress | str]:
        """What is known of the destination."""
        request = self._request
        return [host for host in (request.name, request.address) if host is not None]

    def _destination(self, rule: Rule) -> tuple[Match, str, By | None]:
        """Whether a destination matches, what is to be said of it, and by what it does."""
        if is_everywhere(rule):
            return Match.YES, "it is about every destination", By.EVERYTHING
        assert rule.destination is not None
        hosts = self._hosts()
        if self._request.command is None or not hosts:
            return Match.MAYBE, "the destination is not known yet", None
        for host in hosts:
            for each in rule.destination:
                if (found := self._has(each, host)) is not None:
                    return Match.YES, f"{host} is in {found}", By.HOST
        address = self._request.address
        if address is None:
            if any(map(has_addresses, rule.destination)):
                return Match.MAYBE, "what the name resolves to is not known yet", None
        elif rule.action is Action.DENY:
            for inner in embedded(address):
                for each in rule.destination:
                    if (found := self._has(each, inner)) is not None:
                        return Match.YES, f"{address} leads to {inner}, in {found}", By.LEADS_TO
        what = " or ".join(str(host) for host in hosts)
        return Match.NO, f"{what} is not in {_told(map(_text, rule.destination))}", None

    def _has(self, holder: IPNetwork | Destination | HostList, host: IPAddress | str) -> str | None:
        """
        @return: the text of what holds the host, or None.
        """
        if isinstance(holder, HostList):
            key = (holder, host)
            if key not in self._found:
                self._found[key] = holder.find(host)
            found = self._found[key]
            return None if found is None else f"list {holder.name} ({found})"
        network = holder
        if isinstance(holder, Destination):
            if isinstance(host, str):
                named = holder.name == host or (
                    holder.suffix is not None and host.endswith(f".{holder.suffix}")
                )
                return holder.text if named else None
            if holder.network is None:
                return None
            network = holder.network
        assert not isinstance(network, Destination)
        if isinstance(host, str) or network.version != host.version:
            return None
        first, last = range_of(network)
        return str(network) if first <= int(host) <= last else None


#: What conditions are called, where not as their keys.
_WORDS: Final = {
    "ports": "port",
    "group": "user",
    "ident": "ident name",
}


def _told(values: Iterable[str]) -> str:
    """Some of the values, and how many there are."""
    texts = list(values)
    told = ", ".join(texts[:TOLD])
    return told if len(texts) <= TOLD else f"{told} or {len(texts) - TOLD} more"


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"


def _text(holder: IPNetwork | Destination | HostList) -> str:
    if isinstance(holder, HostList):
        return f"list {holder.name}"
    return holder.text if isinstance(holder, Destination) else str(holder)


def _ports_text(ports: Ports) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"
