"""What a C{[[rule]]} is, as a value.  Who wins among several is L{RuleTable}'s business."""

from enum import Enum
from typing import Any, Final

from attrs import Attribute, field, frozen
from attrs.validators import optional

from socks5d.interfaces import USERID
from socks5d.model import NO_TERMS, Command, Identity, Terms
from socks5d.rules.destinations import Destination, Ports
from socks5d.rules.lists import HostList, UserList
from socks5d.rules.prefixes import IPNetwork
from socks5d.rules.times import Times

#: Words for methods; C{userid} stands for SOCKS 4, which has none.
METHODS: Final = {"none": 0, "gssapi": 1, "password": 2, "userid": USERID}

#: How a name is known that its client has not proven.
UNPROVEN: Final = frozenset({"none", "userid", "ident"})

VERSIONS: Final = ("4", "4a", "5")


class Action(Enum):
    """What a rule says.  The value is the word that settings use."""

    PERMIT = "permit"
    DENY = "deny"


def _some(rule: "Rule", attribute: "Attribute[Any]", value: Any) -> None:
    if not value:
        raise ValueError(f"{attribute.name!r} is empty, which nothing matches; leave it out")


def _hosts(rule: "Rule", attribute: "Attribute[Any]", value: Any) -> None:
    _some(rule, attribute, value)
    if any(isinstance(each, Destination) and each.ports is not None for each in value):
        raise ValueError("a destination of a rule has no port; ports are a key of their own")
    # An address beside it would be taken to lift the protection, and to deny names.
    if len(value) > 1 and any(map(_is_everything, value)):
        raise ValueError("'*' is everything; write another rule for the others, or leave them out")


def _is_everything(destination: Destination | HostList) -> bool:
    return isinstance(destination, Destination) and destination.everything


def _networks(rule: "Rule", attribute: "Attribute[Any]", value: Any) -> None:
    _some(rule, attribute, value)
    for each in value:
        if isinstance(each, HostList) and each.has_names:
            raise ValueError(f"list {each.name!r} has names; clients are known by address alone")


def _permits(rule: "Rule", attribute: "Attribute[Any]", value: Terms) -> None:
    if value != NO_TERMS and rule.action is not Action.PERMIT:
        raise ValueError("a rule that denies has no terms")


@frozen(slots=True, kw_only=True, eq=False)
class Rule:
    """
    A rule.  It matches when each of its conditions does, and a condition when one of its
    values does.  A condition that is None is not there.  A value that makes no sense
    raises ValueError, whose text the operator gets to see.

    @ivar number: its place in the file, from 1.
    @ivar action: what it says.
    @ivar name: what the operator calls it; may be empty.
    @ivar reason: why, for the log; may be empty.
    @ivar client: networks of the client's address.  A client without one (of a UNIX
        socket) is in none.
    @ivar listener: patterns of the listener, as the operator wrote it.
    @ivar version: of L{VERSIONS}.
    @ivar method: SOCKS 5 METHOD numbers, and L{USERID} for SOCKS 4, which has none; see
        L{parse_method}.
    @ivar user: patterns of the name that the client has proven, in whatever way.
    @ivar group: lists of users, whose patterns are for such a name.
    @ivar principal: patterns of a name that was proven by the GSS-API.
    @ivar userid: patterns of SOCKS 4's USERID, which nobody has proven.
    @ivar ident: patterns of what identd says.
    @ivar command: commands.
    @ivar destination: addresses, networks, names, C{*.name} and lists of them, without
        ports; or C{*} alone.
    @ivar ports: lowest and highest port of ranges.
    @ivar times: when it holds.  What it has permitted by then goes on; but destinations of
        datagrams are judged again each minute.
    @ivar terms: for a permit, on what terms.
    """

    number: int
    action: Action
    name: str = ""
    reason: str = ""
    client: tuple[IPNetwork | HostList, ...] | None = field(
        default=None, validator=optional(_networks)
    )
    listener: tuple[str, ...] | None = field(default=None, validator=optional(_some))
    version: frozenset[str] | None = field(default=None, validator=optional(_some))
    method: frozenset[int] | None = field(default=None, validator=optional(_some))
    user: tuple[str, ...] | None = field(default=None, validator=optional(_some))
    group: tuple[UserList, ...] | None = field(default=None, validator=optional(_some))
    principal: tuple[str, ...] | None = field(default=None, validator=optional(_some))
    userid: tuple[str, ...] | None = field(default=None, validator=optional(_some))
    ident: tuple[str, ...] | None = field(default=None, validator=optional(_some))
    command: frozenset[Command] | None = field(default=None, validator=optional(_some))
    destination: tuple[Destination | HostList, ...] | None = field(
        default=None, validator=optional(_hosts)
    )
    ports: tuple[Ports, ...] | None = field(default=None, validator=optional(_some))
    times: Times | None = None
    terms: Terms = field(default=NO_TERMS, validator=_permits)

    @property
    def title(self) -> str:
        """What logs call it: its name, or its number."""
        return f'rule "{self.name}"' if self.name else f"rule {self.number}"

    @property
    def text(self) -> str:
        """Its title, and its reason where there is one: what a decision says."""
        return f"{self.title}: {self.reason}" if self.reason else self.title


def is_everywhere(rule: Rule) -> bool:
    """Whether a rule holds for every destination."""
    return rule.destination is None or _is_everything(rule.destination[0])


def has_addresses(destination: Destination | HostList) -> bool:
    """Whether any address is named."""
    if isinstance(destination, HostList):
        return bool(destination.ipv4 or destination.ipv6)
    return destination.network is not None


def proven(identity: Identity) -> str | None:
    """
    @return: the name that a client has proven to be its own, or None.
    """
    return None if identity.source in UNPROVEN else identity.name


def proven_by_ticket(identity: Identity) -> str | None:
    """
    @return: the name that a client has proven by the GSS-API, or None.
    """
    return identity.name if identity.source == "gssapi" else None


def parse_method(value: str | int) -> int:
    """
    Read a method: a word of L{METHODS}, or a number from 0 to 254.

    @raise ValueError: says what is wrong.
    """
    if isinstance(value, str) and value in METHODS:
        return METHODS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 254:
        return value
    words = ", ".join(map(repr, METHODS))
    raise ValueError(f"{value!r} is no method: neither of {words}, nor a number from 0 to 254")


def method_word(method: int | None) -> str:
    """
    @param method: a METHOD, or L{USERID}; None for none yet.
    @return: its word, or its number.
    """
    return next((word for word, number in METHODS.items() if number == method), str(method))
