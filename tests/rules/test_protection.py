"""Destinations that trust this host, in every disguise."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.rules import Protection
from socks5d.rules.protection import PROTECTED
from socks5d.wire.address import Address, IPAddress
from socks5d.wire.names import canonical
from tests.wire.cases import IPV4

COVERED = (
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("169.254.169.254", "link-local"),
    ("169.254.0.0", "link-local"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("ff02::1", "multicast"),
    ("fd00:ec2::254", "cloud metadata"),
    ("fd20:ce::254", "cloud metadata"),
    # By way of something that turns it into IPv4.
    ("::127.0.0.1", "loopback"),
    ("64:ff9b::127.0.0.1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b:1::7f00:1", "loopback"),
    ("2002:7f00:1::", "loopback"),
    ("2002:a9fe:a9fe::1", "link-local"),
    ("2001:0:7f00:1::1", "loopback"),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback"),
    ("2001:db8::5efe:127.0.0.1", "loopback"),
    ("2001:db8::200:5efe:127.0.0.1", "loopback"),
    ("::ffff:0:127.0.0.1", "loopback"),
)

REACHED = (
    "1.0.0.0",
    "10.0.0.1",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "223.255.255.255",
    "240.0.0.1",
    "255.255.255.254",
    "2001:db8::1",
    "fd00::1",
    "fec0::1",
    "64:ff9b::10.0.0.1",
    "2002:a00:1::1",
)


@pytest.mark.parametrize(("address", "what"), COVERED)
def test_what_trusts_this_host_is_protected(address: str, what: str) -> None:
    assert Protection().covers(ip_address(address), 443) == what


@pytest.mark.parametrize(
    "address", ["64:ff9b:1:7f00:0:100::", "64:ff9b:1:7f:0:1::", "64:ff9b:1:0:7f:0:100:0"]
)
def test_loopback_in_every_form_of_local_nat64_is_protected(address: str) -> None:
    assert Protection().covers(ip_address(address), 443) is not None


@pytest.mark.parametrize("address", REACHED)
def test_anything_else_is_not(address: str) -> None:
    assert Protection().covers(ip_address(address), 443) is None


@pytest.mark.parametrize(
    "name",
    [
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "::ffff:127.0.0.1",
        "::FFFF:7F00:1",
        "::ffff:127.0.0.1%lo",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "[::1]",
        "::1%1",
    ],
)
def test_an_address_in_disguise_is_protected_once_it_is_canonical(name: str) -> None:
    address = canonical(name)
    assert not isinstance(address, str)
    assert Protection().covers(address, 443) == "loopback"


@given(st.sampled_from(PROTECTED), st.data())
def test_every_address_of_a_protected_network_is_protected(
    entry: tuple[object, str], data: st.DataObject
) -> None:
    network = ip_network(str(entry[0]))
    first, last = int(network.network_address), int(network.broadcast_address)
    number = data.draw(st.integers(first, last))
    address: IPAddress = IPv4Address(number) if network.version == 4 else IPv6Address(number)
    assert Protection().covers(address, data.draw(st.integers(0, 65535))) is not None


@given(IPV4)
def test_nat64_and_6to4_protect_what_ipv4_protects(address: IPv4Address) -> None:
    protection = Protection()
    what = protection.covers(address, 443)
    for disguise in (f"64:ff9b::{address}", f"2002:{address.packed.hex(':', 2)}::"):
        assert protection.covers(ip_address(disguise), 443) == what


def test_more_networks_can_be_protected() -> None:
    protection = Protection([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])
    assert protection.covers(ip_address("10.1.2.3"), 443) == "protect"
    assert protection.covers(ip_address("2001:db8::1"), 443) == "protect"
    assert protection.covers(ip_address("64:ff9b::10.0.0.1"), 443) == "protect"
    assert protection.covers(ip_address("192.0.2.1"), 443) is None


# The server's own listeners.

OWN = ip_address("192.0.2.2")
OWN6 = ip_address("2001:db8::2")
OTHER = ip_address("192.0.2.3")
LISTENER = "the server's own listener"


def test_a_listener_is_protected_at_its_address_and_port_alone() -> None:
    protection = Protection(listeners=[Address(OWN, 1080)])
    assert protection.covers(OWN, 1080) == LISTENER
    assert protection.covers(OWN, 1081) is None
    assert protection.covers(OTHER, 1080) is None


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_listener_on_every_address_is_protected_on_each_of_this_hosts(wildcard: str) -> None:
    own = {OWN, OWN6}
    protection = Protection(
        listeners=[Address(ip_address(wildcard), 1080)], is_own=own.__contains__
    )
    assert protection.covers(OWN, 1080) == LISTENER
    assert protection.covers(OWN6, 1080) == LISTENER
    assert protection.covers(OTHER, 1080) is None
    assert protection.covers(OWN, 1081) is None


def test_without_knowing_every_address_could_be_this_hosts() -> None:
    protection = Protection(listeners=[Address(ip_address("0.0.0.0"), 1080)])
    assert protection.covers(OTHER, 1080) == LISTENER


def test_whose_an_address_is_is_asked_for_a_wildcard_listeners_port_alone() -> None:
    asked: list[IPAddress] = []

    def is_own(address: IPAddress) -> bool:
        asked.append(address)
        return False

    protection = Protection(
        listeners=[Address(ip_address("0.0.0.0"), 1080), Address(OWN, 443)], is_own=is_own
    )
    protection.covers(OTHER, 443)
    protection.covers(OWN, 443)
    assert asked == []
    protection.covers(OTHER, 1080)
    assert asked == [OTHER]


def test_listeners_can_come_and_go() -> None:
    protection = Protection()
    assert protection.covers(OWN, 1080) is None
    protection.listeners.add(Address(OWN, 1080))
    assert protection.covers(OWN, 1080) == LISTENER
    protection.listeners.clear()
    assert protection.covers(OWN, 1080) is None


@pytest.mark.parametrize("disguise", ["64:ff9b::192.0.2.2", "2002:c000:202::1"])
def test_a_listener_is_protected_in_disguise_too(disguise: str) -> None:
    protection = Protection(listeners=[Address(OWN, 1080)])
    assert protection.covers(ip_address(disguise), 1080) == LISTENER
    wildcard = Protection(
        listeners=[Address(ip_address("0.0.0.0"), 1080)], is_own={OWN}.__contains__
    )
    assert wildcard.covers(ip_address(disguise), 1080) == LISTENER
