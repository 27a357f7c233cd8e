"""Networks looked up by bisection, compared with a walk over all of them."""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.rules.prefixes import IPNetwork, PrefixMap, parse_network
from socks5d.wire.address import IPAddress


@st.composite
def networks(draw: st.DrawFn) -> IPNetwork:
    """Networks that crowd around a few places, so that they nest and repeat."""
    if draw(st.sampled_from([4, 6])) == 4:
        length = draw(st.integers(0, 32))
        number = draw(st.sampled_from([0, 0x0A000000, 0x0A0000FF, 0x7F000001, 0xFFFFFFFF]))
        return IPv4Network((number >> (32 - length) << (32 - length), length))
    length = draw(st.integers(0, 128))
    number = draw(st.sampled_from([0, 1, 0x0A000000, 0x20010DB8 << 96, 2**128 - 1]))
    return IPv6Network((number >> (128 - length) << (128 - length), length))


@st.composite
def addresses_near(draw: st.DrawFn, among: list[IPNetwork]) -> IPAddress:
    """An edge of a network, or its neighbour outside, or any address."""
    if draw(st.booleans()) and among:
        network = among[draw(st.integers(0, len(among) - 1))]
        edges = network.network_address, network.broadcast_address
        edge = edges[draw(st.integers(0, 1))]
        top = 2**edge.max_prefixlen - 1
        number = min(max(int(edge) + draw(st.integers(-1, 1)), 0), top)
        return IPv4Address(number) if edge.version == 4 else IPv6Address(number)
    if draw(st.booleans()):
        return IPv4Address(draw(st.integers(0, 2**32 - 1)))
    return IPv6Address(draw(st.integers(0, 2**128 - 1)))


def walk(entries: list[tuple[IPNetwork, int]], address: IPAddress) -> int | None:
    """What L{PrefixMap.get} should say, in the plainest way."""
    best: tuple[IPNetwork, int] | None = None
    for network, value in entries:
        if (
            network.version == address.version
            and address in network
            and (best is None or network.prefixlen < best[0].prefixlen)
        ):
            best = network, value
    return None if best is None else best[1]


@given(st.data())
def test_a_lookup_gives_what_a_walk_gives(data: st.DataObject) -> None:
    among = data.draw(st.lists(networks(), max_size=12))
    entries = [(network, place) for place, network in enumerate(among)]
    prefixes = PrefixMap(entries)
    for address in data.draw(st.lists(addresses_near(among), min_size=1, max_size=8)):
        assert prefixes.get(address) == walk(entries, address)


@given(st.lists(networks(), max_size=12))
def test_every_network_finds_its_own_edges(among: list[IPNetwork]) -> None:
    prefixes = PrefixMap((network, str(network)) for network in among)
    for network in among:
        for edge in (network.network_address, network.broadcast_address):
            found = prefixes.get(edge)
            assert found is not None
            assert edge in ip_network(found)


def test_an_empty_map_is_false_and_finds_nothing() -> None:
    prefixes: PrefixMap[str] = PrefixMap([])
    assert not prefixes
    assert prefixes.get(IPv4Address(0)) is None
    assert prefixes.get(IPv6Address(0)) is None


def test_a_map_of_either_family_is_true() -> None:
    assert PrefixMap([(ip_network("10.0.0.0/8"), "x")])
    assert PrefixMap([(ip_network("::/0"), "x")])


def test_a_network_of_one_family_holds_no_address_of_the_other() -> None:
    prefixes = PrefixMap([(ip_network("0.0.0.0/0"), "four")])
    assert prefixes.get(IPv6Address("::1")) is None
    prefixes = PrefixMap([(ip_network("::/0"), "six")])
    assert prefixes.get(IPv4Address("127.0.0.1")) is None


def test_of_equal_networks_the_first_counts() -> None:
    network = ip_network("10.0.0.0/8")
    assert PrefixMap([(network, "first"), (network, "second")]).get(IPv4Address("10.1.1.1")) == (
        "first"
    )


def test_a_value_that_is_false_is_found_all_the_same() -> None:
    assert PrefixMap([(ip_network("10.0.0.0/8"), "")]).get(IPv4Address("10.0.0.1")) == ""


def test_a_zone_does_not_take_an_address_out_of_its_network() -> None:
    assert PrefixMap([(ip_network("fe80::/10"), "local")]).get(IPv6Address("fe80::1%eth0")) == (
        "local"
    )


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_a_network_is_read_and_a_mapped_one_is_ipv4(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.0.0.1/8", r"'10.0.0.1/8' has host bits set; write '10.0.0.0/8'"),
        ("2001:db8::1/32", r"has host bits set; write '2001:db8::/32'"),
        ("10.0.0.0/33", r"'10.0.0.0/33' is no CIDR and no IP address"),
        ("10.0.0/8", r"is no CIDR and no IP address"),
        ("10.0.0.0/8/8", r"is no CIDR and no IP address"),
        ("::/129", r"is no CIDR and no IP address"),
        ("", r"'' is no CIDR and no IP address"),
        ("example.com", r"'example.com' is no CIDR and no IP address"),
        ("10.0.0.0/-1", r"is no CIDR and no IP address"),
        (" 10.0.0.0/8", r"is no CIDR and no IP address"),
        ("0x7f.0.0.1", r"is no CIDR and no IP address"),
        ("010.0.0.1", r"is no CIDR and no IP address"),
    ],
)
def test_what_is_no_network_is_told_with_its_remedy(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_network(text)


@given(networks())
def test_a_network_reads_back_from_its_text(network: IPNetwork) -> None:
    assert parse_network(str(network)) == network


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_mapped_network_holds_the_ipv4_addresses_it_maps(number: int, length: int) -> None:
    network = IPv4Network((number >> (32 - length) << (32 - length), length))
    mapped = f"::ffff:{network.network_address}/{96 + length}"
    assert parse_network(mapped) == network
    assert ip_address(number) in parse_network(mapped)
