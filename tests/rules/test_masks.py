"""Masks against the plain way: asking rule by rule."""

from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.patterns import NamePatterns
from socks5d.rules import masks
from socks5d.rules.lists import range_of
from socks5d.rules.masks import DomainMasks, NetworkMasks, PatternMasks, PortMasks
from socks5d.rules.prefixes import IPNetwork

#: So few networks that many hold each other.
SMALL = st.builds(
    lambda number, length: IPv4Network((number << 28 & ~((1 << 32 - length) - 1), length)),
    st.integers(0, 15),
    st.integers(0, 5),
)
SMALL_IPV6 = st.builds(
    lambda number, length: IPv6Network((number << 124 & ~((1 << 128 - length) - 1), length)),
    st.integers(0, 15),
    st.integers(0, 5),
)
MASKS = st.integers(1, 255)


@given(
    st.lists(st.tuples(SMALL | SMALL_IPV6, MASKS), max_size=12),
    st.lists(st.ip_addresses(), max_size=5),
)
def test_networks(said: list[tuple[IPNetwork, int]], more: list[object]) -> None:
    made = NetworkMasks(
        [(range_of(network), mask) for network, mask in said if network.version == 4],
        [(range_of(network), mask) for network, mask in said if network.version == 6],
    )
    edges = [edge for network, _ in said for edge in (network[0], network[-1])]
    ends = [ip_address(text) for text in ("0.0.0.0", "255.255.255.255", "::")]
    after = [each + 1 for each in edges if int(each) + 1 < 1 << each.max_prefixlen]
    for address in (*edges, *ends, *after, *map(ip_address, map(str, more))):
        expected = 0
        for network, mask in said:
            if network.version == address.version and address in network:
                expected |= mask
        assert made.get(address) == expected


LABELS = st.sampled_from(["a", "b", "example", "x-a"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(NAMES, st.booleans(), MASKS), max_size=10), NAMES)
def test_names(said: list[tuple[str, bool, int]], name: str) -> None:
    made = DomainMasks()
    expected = 0
    for text, below, mask in said:
        made.add([] if below else [text], [text] if below else [], mask)
        if name.endswith("." + text) if below else name == text:
            expected |= mask
    assert made.get(name) == expected


PATTERNS = st.text("ab*", max_size=4)


@given(
    st.lists(st.tuples(st.lists(PATTERNS, max_size=3), MASKS), max_size=6),
    st.lists(st.text("ab", max_size=4), max_size=5),
)
def test_patterns(said: list[tuple[list[str], int]], names: list[str]) -> None:
    made = PatternMasks()
    for patterns, mask in said:
        made.add(patterns, mask)
    for name in (*names, *names):
        expected = 0
        for patterns, mask in said:
            if NamePatterns(patterns).match(name) is not None:
                expected |= mask
        assert made.get(name) == expected


def test_what_strangers_say_is_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "REMEMBERED", 3)
    made = PatternMasks()
    made.add(["a*"], 1)
    for number in range(20):
        assert made.get(f"a{number}") == 1
        assert made.get(f"b{number}") == 0
        assert len(made._remembered) <= 3


PORTS = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda p: (min(p), max(p)))


@given(st.lists(st.lists(PORTS, max_size=4), max_size=5))
def test_ports(said: list[list[tuple[int, int]]]) -> None:
    made = PortMasks((ranges, 1 << place) for place, ranges in enumerate(said))
    for port in (*range(23), 65535):
        expected = 0
        for place, ranges in enumerate(said):
            if any(first <= port <= last for first, last in ranges):
                expected |= 1 << place
        assert made.get(port) == expected


def test_the_last_port() -> None:
    made = PortMasks([([(65535, 65535)], 1), ([(1, 65535)], 2)])
    assert [made.get(port) for port in (0, 1, 65534, 65535)] == [0, 2, 2, 3]
