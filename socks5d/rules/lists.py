"""
Named lists: hosts (addresses, networks, names) and users, which rules refer to.

They may be long.  What a line says is read the quick way where it is plain, and otherwise by
L{parse_destination}, which the quick way agrees with.
"""

import re
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from socks5d.patterns import NamePatterns
from socks5d.rules.destinations import parse_destination
from socks5d.rules.prefixes import IPNetwork
from socks5d.wire.address import IPAddress

#: Errors of one file that are told of.
MOST_ERRORS: Final = 20

#: First and last address of a network, as numbers.
Range = tuple[int, int]

#: A name that is canonical as it stands: its last label begins with a letter.
_PLAIN_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z][a-z0-9_-]{0,62}")

_PLAIN_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")

_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)

#: For each length of an IPv4 prefix, the bits behind it.
_HOST_BITS = {str(length): (1 << 32 - length) - 1 for length in range(33)}


class ListError(ValueError):
    """
    Lines of a list cannot be read.

    @ivar problems: one line for each, which names the list or the file, and the line.  No
        more than L{MOST_ERRORS}, and then one which says how many more there are.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class HostList:
    """
    Addresses, networks, names and C{*.name}.

    @ivar name: what the operator calls it.
    @ivar ipv4: its IPv4 networks.
    @ivar ipv6: its IPv6 networks.
    @ivar names: its names.
    @ivar suffixes: what stands after C{*.}; each stands for every name below.
    """

    __slots__ = ("ipv4", "ipv6", "name", "names", "suffixes")

    def __init__(self, name: str, lines: Iterable[str], where: str = "") -> None:
        """
        @param name: what the operator calls it.
        @param lines: one host each; see L{without_comment}.
        @param where: the file, for errors; by default they name the list.
        @raise ListError: for lines that are no hosts.
        """
        self.name = name
        self.ipv4: list[Range] = []
        self.ipv6: list[Range] = []
        self.names: list[str] = []
        self.suffixes: list[str] = []
        _read(lines, self._add, where or f"list {name!r}")

    @property
    def has_names(self) -> bool:
        """Whether there is any name in it."""
        return bool(self.names or self.suffixes)

    def find(self, host: IPAddress | str) -> str | None:
        """
        Walk through the list, which takes as long as it is.

        @param host: an address, or a canonical name.
        @return: the text of something that holds the host, or None.
        """
        if isinstance(host, str):
            if host in self.names:
                return host
            return next((f"*.{each}" for each in self.suffixes if host.endswith(f".{each}")), None)
        number = int(host)
        family, make = (self.ipv4, IPv4Address) if host.version == 4 else (self.ipv6, IPv6Address)
        for first, last in family:
            if first <= number <= last:
                length = host.max_prefixlen - (last - first).bit_length()
                return f"{make(first)}/{length}"
        return None

    def _add(self, text: str) -> None:
        if _PLAIN_NAME.fullmatch(text):
            if len(text) <= 253:
                self.names.append(text)
                return
        elif (plain := _plain_network(text)) is not None:
            self.ipv4.append(plain)
            return
        found = parse_destination(text)
        if found.ports is not None:
            raise ValueError(f"{text!r} has a port, which is a condition of its own")
        if found.everything:
            raise ValueError("'*' is everything, which needs no list")
        if found.network is not None:
            (self.ipv4 if found.network.version == 4 else self.ipv6).append(range_of(found.network))
        elif found.name is not None:
            self.names.append(found.name)
        else:
            assert found.suffix is not None
            self.suffixes.append(found.suffix)


class UserList:
    """
    Users: names, and patterns in which C{*} stands for any characters.

    @ivar name: what the operator calls it.
    @ivar users: the patterns, as they were written.
    """

    __slots__ = ("_patterns", "name", "users")

    def __init__(self, name: str, lines: Iterable[str], where: str = "") -> None:
        """
        @param name: what the operator calls it.
        @param lines: one name or pattern each; see L{without_comment}.
        @param where: the file, for errors; by default they name the list.
        @raise ListError: for lines that are no users.
        """
        self.name = name
        self.users: list[str] = []
        _read(lines, self.users.append, where or f"list {name!r}")
        self._patterns = NamePatterns(self.users)

    def match(self, name: str) -> str | None:
        """
        @return: the pattern that matches, as it was written, or None.
        """
        return self._patterns.match(name)


def read_lines(path: Path) -> list[str]:
    """
    @param path: a file of a list, in UTF-8.
    @return: its lines.
    @raise ListError: when it cannot be read.
    """
    try:
        return path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise ListError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ListError([f"{path}:{line}: not in UTF-8"]) from None


def without_comment(line: str) -> str:
    """
    @return: the line without the spaces around it, and without what follows a C{#} at its
        beginning or behind a space; may be empty.
    """
    return _COMMENT.sub("", line).strip() if "#" in line else line.strip()


def _read(lines: Iterable[str], add: Callable[[str], None], where: str) -> None:
    problems: list[str] = []
    more = 0
    for number, line in enumerate(lines, 1):
        text = without_comment(line)
        if not text:
            continue
        try:
            add(text)
        except ValueError as error:
            if len(problems) < MOST_ERRORS:
                problems.append(f"{where}:{number}: {error}")
            else:
                more += 1
    if more:
        problems.append(f"{where}: and {more} more lines that cannot be read")
    if problems:
        raise ListError(problems)


def _plain_network(text: str) -> Range | None:
    """An IPv4 address or network in its plain form; None for anything else."""
    host, slash, length = text.partition("/")
    bits = _HOST_BITS.get(length, -1) if slash else 0
    if bits < 0 or not _PLAIN_IPV4.fullmatch(host):
        return None
    try:
        first = int.from_bytes(socket.inet_pton(socket.AF_INET, host))
    except OSError:
        return None
    return None if first & bits else (first, first | bits)


def range_of(network: IPNetwork) -> Range:
    """
    @return: its first and last address.
    """
    return int(network.network_address), int(network.broadcast_address)
