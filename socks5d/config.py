"""
Settings: what the options and the file say, as one validated value.

The two are read into the same keys.  Where a key is a list, what the command line
gives is added to what the file gives; where it is one value, the command line's
counts.
"""

import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, fields, frozen
from twisted.cred.checkers import (
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import InvalidAuthType, findCheckerFactories, findCheckerFactory

from socks5d.auth.arguments import ArgumentError
from socks5d.interfaces import IAuthenticator, IRuleset
from socks5d.model import Command
from socks5d.naming import make_authenticator, make_ruleset
from socks5d.parameters import (
    Filtering,
    IdentMode,
    Limits,
    LocalAddresses,
    Strangers,
    Timeouts,
    UDPParameters,
)
from socks5d.rules import Destination, parse_destination, parse_network
from socks5d.rules.destinations import Ports, parse_ports
from socks5d.rules.prefixes import IPNetwork
from socks5d.wire import identline

DEFAULT_LISTEN = ("tcp:1080:interface=127.0.0.1",)

#: Whose PROXY headers are believed where nothing is set.
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))

#: Processes that can be asked for.
MOST_WORKERS = 256

T = TypeVar("T")


class ConfigError(ValueError):
    """
    What the operator wrote cannot be done.  The text is one line that names where
    it stands and what is wrong.
    """


@frozen(slots=True, kw_only=True)
class Settings:
    """
    Everything that can be set.

    @ivar listen: endpoint descriptions.
    @ivar checkers: credentials checkers; with one, SOCKS 5 clients need a password.
    @ivar authenticators: authenticators named by their plugins.
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
    """

    listen: tuple[str, ...] = DEFAULT_LISTEN
    checkers: tuple[ICredentialsChecker, ...] = ()
    authenticators: tuple[IAuthenticator, ...] = ()
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


def make_checker(description: str) -> ICredentialsChecker:
    """
    @param description: what C{--auth} takes.
    @raise ValueError: for an unknown checker, one that takes no user names and
        passwords, or an argument it refuses; what the argument was is not told,
        for it may hold a password.
    """
    kind, _, argument = description.partition(":")
    try:
        factory = findCheckerFactory(kind)
    except InvalidAuthType:
        known = ", ".join(
            sorted(
                each.authType
                for each in findCheckerFactories()
                if IUsernamePassword in each.credentialInterfaces
            )
        )
        raise ValueError(f"{kind!r} is no credentials checker; there are {known}") from None
    if IUsernamePassword not in factory.credentialInterfaces:
        raise ValueError(f"{kind!r} takes no user name and password")
    if kind == "file":
        _require_file(argument)
    try:
        checker: ICredentialsChecker = factory.generateChecker(argument)
    except ArgumentError as error:
        raise ValueError(f"{kind!r}: {error}; see --help-auth-type {kind}") from None
    except Exception as error:  # noqa: BLE001 (a stranger's code)
        text = str(error) if not argument else f"its argument is wrong ({type(error).__name__})"
        raise ValueError(f"{kind!r}: {text}; see --help-auth-type {kind}") from None
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # Twisted's plugin for "memory" fills it with text, which no client's octets equal.
        checker.users = {_octets(name): _octets(word) for name, word in checker.users.items()}
    return checker


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _require_file(path: str) -> None:
    if not path:
        raise ValueError("'file': give the path of a file, as file:/etc/socks5d/passwords")
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.count(b":") > 1:
                    # Twisted's checker would take what stands before it for the password.
                    raise ValueError(f"'file': {path!r} line {number} has a second colon")
    except OSError as error:
        raise ValueError(f"'file': {path!r} cannot be read: {error.strerror}") from None


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
KEYS = (
    *LISTS,
    *SWITCHES,
    *COMMANDS,
    *PORT_RANGES,
    *WORDS,
    "ident_port",
    "access_log",
    "workers",
    *TABLES,
)


@frozen(slots=True)
class Item:
    """
    A value and where it stands.

    @ivar where: as the operator would find it: an option, or a file and a key.
    @ivar value: what stands there.
    """

    where: str
    value: Any


def read_file(path: Path) -> list[tuple[str, Item]]:
    """
    Read a TOML file.

    @return: its keys, each with its value and where that stands.
    @raise ConfigError: when it cannot be read or is no TOML.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from None
    return [(key, Item(f"{path}: {key}", value)) for key, value in content.items()]


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
            lists.setdefault(attribute, []).extend(_list(item, make))
        elif key in SWITCHES or key in COMMANDS:
            values[key] = _switch(item)
        elif key == "access_log":
            values[key] = _path(item)
        elif key in PORT_RANGES:
            values[key] = _ports(item)
        elif key == "ident_port":
            values[key] = _port(item)
        elif key == "workers":
            values[key] = _workers(item)
        elif key in WORDS:
            values[key] = _word(item, WORDS[key])
        elif key in TABLES:
            values[key] = _table(item, TABLES[key])
        else:
            raise ConfigError(f"{item.where}: unknown key; there are {', '.join(KEYS)}")
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


def _one_of_each(
    name: str, addresses: list[object], items: Sequence[tuple[str, Item]]
) -> LocalAddresses:
    try:
        return LocalAddresses.of([ip_address(str(each)) for each in addresses])
    except ValueError as error:
        where = [item.where for key, item in items if key == name]
        raise ConfigError(f"{where[-1]}: {error}") from None


def _list(item: Item, make: Callable[[str], T]) -> list[T]:
    value = item.value
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"{item.where}: must be a text or a list of texts")
    try:
        return [make(each) for each in value]
    except ValueError as error:
        raise ConfigError(f"{item.where}: {error}") from None


def _switch(item: Item) -> bool:
    if not isinstance(item.value, bool):
        raise ConfigError(f"{item.where}: must be true or false")
    return item.value


def _ports(item: Item) -> Ports:
    try:
        return parse_ports(item.value if isinstance(item.value, str) else str(item.value))
    except ValueError as error:
        raise ConfigError(f"{item.where}: {error}") from None


def _port(item: Item) -> int:
    low, high = _ports(item)
    if low != high:
        raise ConfigError(f"{item.where}: must be one port")
    return low


def _processors() -> int:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _workers(item: Item) -> int:
    if item.value == "auto":
        return min(_processors(), MOST_WORKERS)
    try:
        count = int(item.value) if isinstance(item.value, (int, str)) else 0
    except ValueError:
        count = 0
    if isinstance(item.value, bool) or not 1 <= count <= MOST_WORKERS:
        raise ConfigError(f"{item.where}: must be 'auto' or a number from 1 to {MOST_WORKERS}")
    return count


def _word(item: Item, kind: type[Enum]) -> Enum:
    try:
        return kind(item.value)
    except ValueError:
        *words, last = (repr(each.value) for each in kind)
        raise ConfigError(f"{item.where}: must be {', '.join(words)} or {last}") from None


def _path(item: Item) -> Path:
    if not isinstance(item.value, str) or not item.value:
        raise ConfigError(f"{item.where}: must be the path of a file")
    return Path(item.value)


def _table(item: Item, kind: type[T]) -> T:
    if not isinstance(item.value, dict):
        raise ConfigError(f"{item.where}: must be a table")
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, float | int] = {}
    for key, value in item.value.items():
        where = f"{item.where}.{key}"
        if key not in known:
            raise ConfigError(f"{where}: unknown key; there are {', '.join(known)}")
        whole = known[key].type is int
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ConfigError(f"{where}: must be a {'whole number' if whole else 'number'}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: must be finite")
        values[key] = value
        try:
            kind(**{key: value})
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
    return kind(**values)
