"""
Settings: what the options and the file say, as one validated value.

The two are read into the same keys.  Where a key is a list, what the command line
gives is added to what the file gives; where it is one value, the command line's
counts.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from attrs import field, fields, frozen
from twisted.cred.checkers import ICredentialsChecker

from socks5d.interfaces import IAuthenticator, IRuleset
from socks5d.model import Command
from socks5d.naming import make_authenticator, make_checker, make_ruleset
from socks5d.parameters import (
    Filtering,
    GSSAPIParameters,
    IdentMode,
    Limits,
    LocalAddresses,
    MessageProtection,
    QuotaParameters,
    QuotaPeriod,
    QuotaStore,
    Strangers,
    Timeouts,
    UDPParameters,
)
from socks5d.patterns import Renaming
from socks5d.rules import Destination, parse_destination, parse_network
from socks5d.rules.destinations import Ports
from socks5d.rules.prefixes import IPNetwork
from socks5d.values import (
    ConfigError,
    Item,
    count,
    parts,
    path,
    port,
    port_range,
    switch,
    table,
    text,
    text_table,
    texts,
    word,
    workers,
)
from socks5d.wire import identline

DEFAULT_LISTEN = ("tcp:1080:interface=127.0.0.1",)

#: Whose PROXY headers are believed where nothing is set.
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


@frozen(slots=True, kw_only=True)
class Settings:
    """
    Everything that can be set.

    @ivar listen: endpoint descriptions.
    @ivar checkers: credentials checkers; with one, SOCKS 5 clients need a password.
    @ivar authenticators: authenticators named by their plugins.
    @ivar gssapi: how clients authenticate by the GSS-API; None for not at all.
    @ivar rulesets: rulesets named by their plugins, asked before the ones below.
    @ivar allow: destinations that are let through; without any, all that are not
        protected are, unless there are rulesets.
    @ivar deny: destinations that are not.
    @ivar allow_from: networks whose clients are served; without any, all are.
    @ivar deny_from: networks whose clients are not.
    @ivar userids: SOCKS 4 user-ids that are let in.
    @ivar protect: networks that are protected besides those that always are.
    @ivar proxy_from: networks whose PROXY headers are believed.
    @ivar source: local addresses of outgoing connections.
    @ivar bind_address: local addresses that a BIND listens on.
    @ivar bind_ports: lowest and highest port that a BIND listens on; None for any.
    @ivar strangers: what becomes of a BIND when a stranger connects, by version.
    @ivar ident: what is done about RFC 1413.
    @ivar ident_port: where identd listens on clients' hosts.
    @ivar commands: what is served.
    @ivar udp: how UDP associations are served.
    @ivar access_log: where JSON lines go, or None.
    @ivar log_granted: whether twistd's log tells of sessions that were granted, too; None
        for only where there is no access log.
    @ivar socks4: whether SOCKS 4 and 4a are served.
    @ivar socks5: whether SOCKS 5 is served.
    @ivar workers: processes that serve; with 1 there is no other.
    @ivar timeouts: how long things may take.
    @ivar limits: how much there may be.
    @ivar quota: how much each identity may relay in a period.
    """

    listen: tuple[str, ...] = DEFAULT_LISTEN
    checkers: tuple[ICredentialsChecker, ...] = ()
    authenticators: tuple[IAuthenticator, ...] = ()
    gssapi: GSSAPIParameters | None = None
    rulesets: tuple[IRuleset, ...] = ()
    allow: tuple[Destination, ...] = ()
    deny: tuple[Destination, ...] = ()
    allow_from: tuple[IPNetwork, ...] = ()
    deny_from: tuple[IPNetwork, ...] = ()
    userids: tuple[str, ...] = ()
    protect: tuple[IPNetwork, ...] = ()
    proxy_from: tuple[IPNetwork, ...] = LOOPBACK
    source: LocalAddresses = field(factory=LocalAddresses)
    bind_address: LocalAddresses = field(factory=LocalAddresses)
    bind_ports: Ports | None = None
    strangers: Mapping[str, Strangers] = field(factory=dict)
    ident: IdentMode = IdentMode.OFF
    ident_port: int = identline.PORT
    commands: frozenset[Command] = frozenset(Command)
    udp: UDPParameters = field(factory=UDPParameters)
    access_log: Path | None = None
    log_granted: bool | None = None
    socks4: bool = True
    socks5: bool = True
    workers: int = 1
    timeouts: Timeouts = field(factory=Timeouts)
    limits: Limits = field(factory=Limits)
    quota: QuotaParameters = field(factory=QuotaParameters)


def _text(value: str) -> str:
    return value


def _endpoint(value: str) -> str:
    if not value:
        raise ValueError("an endpoint description cannot be empty")
    return value


#: Keys that hold a list of texts: the field, and what makes a value of one text.
LISTS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "listen": ("listen", _endpoint),
    "auth": ("checkers", make_checker),
    "authenticator": ("authenticators", make_authenticator),
    "ruleset": ("rulesets", make_ruleset),
    "allow": ("allow", parse_destination),
    "deny": ("deny", parse_destination),
    "allow_from": ("allow_from", parse_network),
    "deny_from": ("deny_from", parse_network),
    "userid": ("userids", _text),
    "protect": ("protect", parse_network),
    "proxy_from": ("proxy_from", parse_network),
    "source": ("source", ip_address),
    "bind_address": ("bind_address", ip_address),
    "udp_address": ("udp_address", ip_address),
    "udp_advertise": ("udp_advertise", ip_address),
}

#: Keys that hold at most one address of each family.
LOCAL_ADDRESSES = ("source", "bind_address", "udp_address", "udp_advertise")
SWITCHES = ("socks4", "socks5", "udp_fragments", "log_granted")
COMMANDS = {"bind": Command.BIND, "udp": Command.UDP_ASSOCIATE}
PORT_RANGES = ("bind_ports", "udp_ports")
WORDS: Mapping[str, type[Enum]] = {
    "socks4_strangers": Strangers,
    "socks5_strangers": Strangers,
    "udp_filtering": Filtering,
    "ident": IdentMode,
}
UDP = tuple(each.name for each in fields(UDPParameters))
TABLES: Mapping[str, type[Timeouts] | type[Limits]] = {"timeouts": Timeouts, "limits": Limits}

#: Keys that hold one value, and what reads it.
SINGLE: Mapping[str, Callable[[Item], object]] = {
    **dict.fromkeys((*SWITCHES, *COMMANDS), switch),
    **dict.fromkeys(PORT_RANGES, port_range),
    **{key: partial(word, kind=kind) for key, kind in WORDS.items()},
    "ident_port": port,
    "access_log": path,
    "workers": workers,
    **{key: partial(table, kind=kind) for key, kind in TABLES.items()},
}
#: The keys of the table C{gssapi}.
GSSAPI: Mapping[str, Callable[[Item], object]] = {
    "service": text,
    "keytab": path,
    "least": partial(word, kind=MessageProtection),
    "most": partial(word, kind=MessageProtection),
    "nec": switch,
    "principals": partial(texts, make=str),
    "names": text_table,
}
#: The keys of the table C{quota}.
QUOTA: Mapping[str, Callable[[Item], object]] = {
    "octets": count,
    "period": partial(word, kind=QuotaPeriod),
    "store": partial(word, kind=QuotaStore),
    "file": path,
}
KEYS = (*LISTS, *SINGLE, "gssapi", "quota")


def read_file(file_path: Path) -> list[tuple[str, Item]]:
    """
    Read a TOML file.

    @return: its keys, each with its value and where that stands.
    @raise ConfigError: when it cannot be read or is no TOML.
    """
    try:
        with file_path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{file_path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file_path}: is no TOML: {error}") from None
    return [(key, Item(f"{file_path}: {key}", value)) for key, value in content.items()]


def make_settings(items: Sequence[tuple[str, Item]]) -> Settings:
    """
    Validate.

    @param items: keys and values; of a key that is one value, the last counts.
    @raise ConfigError: for the first that is wrong.
    """
    lists: dict[str, list[object]] = {}
    values: dict[str, Any] = {}
    for key, item in items:
        if key in LISTS:
            attribute, make = LISTS[key]
            lists.setdefault(attribute, []).extend(texts(item, make))
        elif key in SINGLE:
            values[key] = SINGLE[key](item)
        elif key not in ("gssapi", "quota"):
            raise ConfigError(f"{item.where}: unknown key; there are {', '.join(KEYS)}")
    quota = _values([item for key, item in items if key == "quota"], QUOTA)
    values["quota"] = QuotaParameters(**quota)
    values["gssapi"] = _gssapi([item for key, item in items if key == "gssapi"])
    for key in LOCAL_ADDRESSES:
        values[key] = _one_of_each(key, lists.pop(key, []), items)
    strangers = {version: values.pop(f"socks{version}_strangers", None) for version in ("4", "5")}
    values["strangers"] = {version: word for version, word in strangers.items() if word is not None}
    off = {command for key, command in COMMANDS.items() if not values.pop(key, True)}
    values["commands"] = frozenset(Command) - off
    udp = {key: values.pop(f"udp_{key}") for key in UDP if f"udp_{key}" in values}
    values["udp"] = UDPParameters(**udp)
    values.update({attribute: tuple(made) for attribute, made in lists.items() if made})
    settings = Settings(**values)
    if not (settings.socks4 or settings.socks5):
        raise ConfigError("socks4 and socks5 are both off, which leaves nothing to serve")
    return settings


def _gssapi(items: Sequence[Item]) -> GSSAPIParameters | None:
    """
    @param items: tables; where two have the same key, the last counts.
    """
    if not items:
        return None
    values = _values(items, GSSAPI)
    try:
        Renaming(values.get("names", ()))
    except ValueError as error:
        raise ConfigError(f"{items[-1].where}: {error}") from None
    parameters = GSSAPIParameters(**values)
    words = list(MessageProtection)
    if words.index(parameters.least) > words.index(parameters.most):
        raise ConfigError(f"{items[-1].where}: least must not be more than most")
    return parameters


def _values(items: Sequence[Item], keys: Mapping[str, Callable[[Item], object]]) -> dict[str, Any]:
    """
    @param items: tables; where two have the same key, the last counts.
    @param keys: what reads each.
    """
    values: dict[str, Any] = {}
    for item in items:
        for key, each in parts(item):
            if key not in keys:
                raise ConfigError(f"{each.where}: unknown key; there are {', '.join(keys)}")
            values[key] = keys[key](each)
    return values


def _one_of_each(
    name: str, addresses: list[object], items: Sequence[tuple[str, Item]]
) -> LocalAddresses:
    try:
        return LocalAddresses.of([ip_address(str(each)) for each in addresses])
    except ValueError as error:
        where = [item.where for key, item in items if key == name]
        raise ConfigError(f"{where[-1]}: {error}") from None
