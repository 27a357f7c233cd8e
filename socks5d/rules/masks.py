"""
Which of many rules a value satisfies, as a bit mask: bit 0 is the first rule's.

Each of these is made once, of what all rules say about one property, and asked for every
request; so it takes as long to ask it for many rules as for few.  Equal masks are one object.
"""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from socks5d.patterns import NamePatterns
from socks5d.rules.destinations import Ports
from socks5d.rules.lists import Range
from socks5d.wire.address import IPAddress

#: Names that are remembered with what patterns match them.
REMEMBERED: Final = 4096


class Interned:
    """Gives equal masks out as one object."""

    __slots__ = ("_masks",)

    def __init__(self) -> None:
        self._masks: dict[int, int] = {0: 0}

    def __call__(self, mask: int) -> int:
        return self._masks.setdefault(mask, mask)


class NetworkMasks:
    """By address: networks are turned into intervals that do not overlap, to be bisected."""

    __slots__ = ("_ipv4", "_ipv6")

    def __init__(
        self, ipv4: Iterable[tuple[Range, int]], ipv6: Iterable[tuple[Range, int]]
    ) -> None:
        """
        @param ipv4: networks, each with the mask of its rules.
        @param ipv6: networks, each with the mask of its rules.
        """
        self._ipv4 = _intervals(ipv4)
        self._ipv6 = _intervals(ipv6)

    def get(self, address: IPAddress) -> int:
        """
        @return: the rules that name a network with this address in it.
        """
        firsts, masks = self._ipv4 if isinstance(address, IPv4Address) else self._ipv6
        return masks[bisect_right(firsts, int(address)) - 1]


def _intervals(networks: Iterable[tuple[Range, int]]) -> tuple[list[int], list[int]]:
    """
    Two networks are disjoint, or one holds the other; so those that are open at an address
    stand in a stack, the innermost on top.
    """
    interned = Interned()
    firsts, masks = [0], [0]
    open_: list[tuple[int, int]] = []

    def begin(first: int, mask: int) -> None:
        if firsts[-1] == first:
            masks[-1] = mask
        elif masks[-1] is not mask:
            firsts.append(first)
            masks.append(mask)

    for (first, last), mask in sorted(networks, key=_outer_first):
        while open_ and open_[-1][0] < first:
            end, _ = open_.pop()
            begin(end + 1, open_[-1][1] if open_ else 0)
        mask = interned(mask | open_[-1][1] if open_ else mask)
        begin(first, mask)
        open_.append((last, mask))
    while open_:
        end, _ = open_.pop()
        begin(end + 1, open_[-1][1] if open_ else 0)
    return firsts, masks


def _outer_first(entry: tuple[Range, int]) -> tuple[int, int]:
    (first, last), _ = entry
    return first, -last


class DomainMasks:
    """By the name of a host."""

    __slots__ = ("_interned", "_names", "_suffixes")

    def __init__(self) -> None:
        self._interned = Interned()
        self._names: dict[str, int] = {}
        self._suffixes: dict[str, int] = {}

    def add(self, names: Iterable[str], suffixes: Iterable[str], mask: int) -> None:
        """
        @param names: canonical names.
        @param suffixes: what stands after C{*.}; each stands for every name below.
        @param mask: the rules that have these.
        """
        for known, more in ((self._names, names), (self._suffixes, suffixes)):
            if not known:
                known.update(dict.fromkeys(more, mask))
                continue
            for name in more:
                before = known.get(name, 0)
                known[name] = self._interned(before | mask) if before else mask

    def get(self, name: str) -> int:
        """
        @return: the rules that have this name, or C{*.} and the end of it.
        """
        mask = self._names.get(name, 0)
        suffixes = self._suffixes
        if suffixes:
            dot = name.find(".")
            while dot >= 0:
                found = suffixes.get(name[dot + 1 :])
                if found is not None:
                    mask |= found
                dot = name.find(".", dot + 1)
        return mask


class PatternMasks:
    """By a name of somebody or something, with patterns as L{NamePatterns} has them."""

    __slots__ = ("_masks", "_names", "_patterns", "_remembered")

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._masks: dict[str, int] = {}
        self._patterns: list[tuple[NamePatterns, int]] | None = None
        self._remembered: dict[str, int] = {}

    def add(self, patterns: Iterable[str], mask: int) -> None:
        """
        @param mask: the rules that have these patterns.
        """
        self._patterns = None
        self._remembered.clear()
        for pattern in patterns:
            known = self._masks if "*" in pattern else self._names
            known[pattern] = known.get(pattern, 0) | mask

    def get(self, name: str) -> int:
        """
        @return: the rules that have a pattern which matches the name.
        """
        mask = self._names.get(name, 0)
        return mask | self._by_pattern(name) if self._masks else mask

    def _by_pattern(self, name: str) -> int:
        found = self._remembered.get(name)
        if found is None:
            if self._patterns is None:
                self._patterns = [(NamePatterns([p]), mask) for p, mask in self._masks.items()]
            found = 0
            for patterns, mask in self._patterns:
                if mask & ~found and patterns.match(name) is not None:
                    found |= mask
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[name] = found
        return found


class PortMasks:
    """By port."""

    __slots__ = ("_firsts", "_masks")

    def __init__(self, ranges: Iterable[tuple[Iterable[Ports], int]]) -> None:
        """
        @param ranges: ranges, each group with the mask of its rules, which no other group has.
        """
        #: Which rules begin or end to hold at a port.
        turns: dict[int, int] = {}
        for group, mask in ranges:
            for first, last in _joined(group):
                turns[first] = turns.get(first, 0) ^ mask
                turns[last + 1] = turns.get(last + 1, 0) ^ mask
        self._firsts, self._masks = [0], [0]
        for port in sorted(turns):
            self._firsts.append(port)
            self._masks.append(self._masks[-1] ^ turns[port])

    def get(self, port: int) -> int:
        """
        @return: the rules that name this port.
        """
        return self._masks[bisect_right(self._firsts, port) - 1]


def _joined(ranges: Iterable[Ports]) -> list[Ports]:
    """The same ports, in ranges that do not overlap."""
    joined: list[Ports] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined
