"""Addresses as the kernel has them."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from socks5d.net.addresses import endpoint_address, host_of, sockaddr, socket_address
from socks5d.wire.address import Address

LO = socket.if_nametoindex("lo")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("192.0.2.1", ("192.0.2.1", 9)),
        ("2001:db8::1", ("2001:db8::1", 9, 0, 0)),
        ("fe80::1%lo", ("fe80::1", 9, 0, LO)),
        (f"fe80::1%{LO}", ("fe80::1", 9, 0, LO)),
    ],
)
def test_an_address_is_what_the_kernel_takes(text: str, name: Any) -> None:
    assert sockaddr(ip_address(text), 9) == name


def test_a_zone_that_is_not_here_is_an_oserror() -> None:
    with pytest.raises(OSError, match=r"No such device|no interface"):
        sockaddr(ip_address("fe80::1%nowhere"), 9)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        (("192.0.2.1", 9), "192.0.2.1"),
        (("2001:db8::1", 9, 0, 0), "2001:db8::1"),
        (("fe80::1", 9, 0, LO), "fe80::1%lo"),
        (("fe80::1%lo", 9, 0, LO), "fe80::1%lo"),
        (("fe80::1", 9, 0, 99_999), "fe80::1%99999"),
    ],
)
def test_a_host_has_its_zone(name: Any, host: str) -> None:
    assert host_of(name) == host
    made = endpoint_address("TCP", name)
    assert (made.type, made.host, made.port) == ("TCP", host, 9)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (IPv4Address("TCP", "192.0.2.1", 9), Address(ip_address("192.0.2.1"), 9)),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 9), Address(ip_address("192.0.2.1"), 9)),
        (IPv6Address("TCP", "fe80::1%lo", 9), Address(ip_address("fe80::1%lo"), 9)),
        (IPv4Address("TCP", "not an address", 9), None),
        (IPv4Address("TCP", "192.0.2.1", 65536), None),
        (UNIXAddress("/run/socket"), None),
        (None, None),
    ],
)
def test_what_a_transport_says_is_an_address_or_nothing(address: Any, told: Any) -> None:
    assert socket_address(address) == told
