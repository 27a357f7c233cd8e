"""The tables C{[list.NAME]}: their keys, and the lists they make, which rules refer to."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from attrs import frozen

from socks5d.config.kinds import PATH, Several, texts
from socks5d.config.tables import Given, Key, keys, suggestion
from socks5d.rules.destinations import parse_destination
from socks5d.rules.lists import HostList, ListError, UserList, read_lines, without_comment
from socks5d.values import ConfigError, Item, Problems

T = TypeVar("T")

#: What stands before the name of a list among addresses or names.
MARK: Final = "@"


def _address(text: str) -> str:
    if parse_destination(text).network is None or "#" in text:
        raise ValueError(f"{text!r} is no CIDR and no IP address; names go under names")
    return _without_ports(text)


def _name(text: str) -> str:
    found = parse_destination(text)
    if found.everything:
        raise ValueError("'*' is everything, which needs no list")
    if found.network is not None:
        raise ValueError(f"{text!r} is no name; addresses go under addresses")
    return _without_ports(text)


def _without_ports(text: str) -> str:
    if parse_destination(text).ports is not None:
        raise ValueError(f"{text!r} has a port; ports are a key of rules")
    return text


def _user(text: str) -> str:
    if not text or without_comment(text) != text:
        raise ValueError(f"{text!r} is no user: it is empty, or has spaces around it, or a comment")
    return text


KEYS = keys(
    Key("addresses", texts(_address, partly=True), "Addresses and CIDRs.", "[]"),
    Key("names", texts(_name, partly=True), "Names, and '*.name' for every name below.", "[]"),
    Key("users", texts(_user, partly=True), "Names of users; '*' stands for any text.", "[]"),
    Key("addresses_file", PATH, "A file of addresses and CIDRs, one a line; # comments."),
    Key("names_file", PATH, "A file of names, one a line; # comments."),
    Key("users_file", PATH, "A file of users, one a line; # comments."),
)


#: Keys that hold paths of files of lists.
FILES: Final = ("addresses_file", "names_file", "users_file")


@frozen(slots=True)
class Reference:
    """
    A list that is referred to.

    @ivar name: its name.
    @ivar place: where that stands.
    """

    name: str
    place: str


def entries(make: Callable[[str], T]) -> Several[T | Reference]:
    """
    @param make: makes a value of a text; may raise ValueError.
    @return: the kind of value that is a list of such texts, and of C{@NAME} for lists.
    """

    def one(item: Item) -> T | Reference:
        if item.value.startswith(MARK):
            return Reference(item.value.removeprefix(MARK), item.place)
        return make(item.value)

    return Several(one, {"type": "string"}, partly=True)


#: Names of lists, and nothing else.
REFERENCES = Several(lambda item: Reference(item.value, item.place), {"type": "string"})


class Lists:
    """The lists that there are."""

    def __init__(self, given: Mapping[str, Given], problems: Problems) -> None:
        """
        @param given: the tables, by the names of their lists.
        @param problems: is given everything that is wrong in them.
        """
        self._hosts: dict[str, HostList] = {}
        self._users: dict[str, UserList] = {}
        self._names = list(given)
        for name, table in given.items():
            if not table.places:
                problems.keep(table.item.wrong(f"has nothing in it; there are {', '.join(KEYS)}"))
            if table.places.keys() & {"addresses", "addresses_file", "names", "names_file"}:
                self._hosts[name] = _hosts(name, table, problems)
            if table.places.keys() & {"users", "users_file"}:
                self._users[name] = _users(name, table, problems)

    def hosts(self, reference: Reference) -> HostList:
        """
        @raise ConfigError: when there is no such list.
        """
        return self._find(reference, self._hosts, "addresses and no names")

    def users(self, reference: Reference) -> UserList:
        """
        @raise ConfigError: when there is no such list.
        """
        return self._find(reference, self._users, "users")

    def _find(self, reference: Reference, among: Mapping[str, T], what: str) -> T:
        name = reference.name
        if name in among:
            return among[name]
        if name in self._names:
            raise ConfigError(f"{reference.place}: list {name!r} has no {what}")
        remedy = suggestion(name, self._names)
        if not self._names:
            remedy = f"write it as [list.{name}]"
        raise ConfigError(f"{reference.place}: there is no list {name!r}; {remedy}")


def list_files(tables: object) -> dict[str, Sequence[str]]:
    """
    @param tables: what the key C{list} holds; anything at all.
    @return: the lines of the files that lists are in, by their paths; without those that
        cannot be read.
    """
    found: dict[str, Sequence[str]] = {}
    for table in tables.values() if isinstance(tables, dict) else ():
        for key in FILES:
            path = table.get(key) if isinstance(table, dict) else None
            if isinstance(path, str) and path not in found:
                with suppress(ListError, ValueError):
                    found[path] = read_lines(Path(path))
    return found


def _hosts(name: str, table: Given, problems: Problems) -> HostList:
    hosts = HostList(name, ())
    for key in ("addresses", "names"):
        _join(hosts, HostList(name, table.values.get(key, ())))
        part = problems.within(_from_file, HostList, name, table, f"{key}_file")
        if part is not None:
            problems.within(_check, part, table, key)
            _join(hosts, part)
    return hosts


def _users(name: str, table: Given, problems: Problems) -> UserList:
    part = problems.within(_from_file, UserList, name, table, "users_file")
    more = part.users if part is not None else ()
    return UserList(name, (*table.values.get("users", ()), *more))


def _from_file(
    kind: Callable[[str, Sequence[str], str], T], name: str, table: Given, key: str
) -> T | None:
    path: Path | None = table.values.get(key)
    if path is None:
        return None
    lines = table.item.files.get(table.places[key].value)
    try:
        lines = read_lines(path) if lines is None else lines
    except ListError as error:
        raise table.wrong(key, "; ".join(error.problems)) from None
    try:
        return kind(name, lines, str(path))
    except ListError as error:
        raise ConfigError(*error.problems) from None


def _join(hosts: HostList, more: HostList) -> None:
    hosts.ipv4 += more.ipv4
    hosts.ipv6 += more.ipv6
    hosts.names += more.names
    hosts.suffixes += more.suffixes


def _check(hosts: HostList, table: Given, key: str) -> None:
    """A file of addresses has no names in it, and the reverse: nobody would look for them."""
    if key == "addresses" and hosts.has_names:
        example = (*hosts.names, *(f"*.{each}" for each in hosts.suffixes))[0]
        problem = f"has {example!r}, which is no address; names go into names_file"
        raise table.wrong(f"{key}_file", problem)
    if key == "names" and (hosts.ipv4 or hosts.ipv6):
        raise table.wrong(f"{key}_file", "has addresses in it; they go into addresses_file")
