"""Whether an address is this host's, as the kernel sees it."""

import errno
import socket
from ipaddress import ip_address
from types import SimpleNamespace
from typing import NoReturn

import pytest

from socks5d.egress import is_own


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_is_this_hosts(address: str) -> None:
    assert is_own(ip_address(address))


@pytest.mark.parametrize(
    "address", ["203.0.113.77", "2001:db8::77", "0.0.0.0", "255.255.255.255", "224.0.0.1"]
)
def test_an_address_of_nobody_here_is_not(address: str) -> None:
    assert not is_own(ip_address(address))


def _kernel_that_says(number: int) -> SimpleNamespace:
    def refuse(*args: object) -> NoReturn:
        raise OSError(number, "")

    return SimpleNamespace(
        AF_INET=socket.AF_INET,
        AF_INET6=socket.AF_INET6,
        SOCK_DGRAM=socket.SOCK_DGRAM,
        socket=refuse,
    )


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_kernel_without_room_to_answer_means_yes(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("socks5d.egress.own.socket", _kernel_that_says(number))
    assert is_own(ip_address("203.0.113.77"))


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EACCES])
def test_a_kernel_that_finds_no_way_means_no(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("socks5d.egress.own.socket", _kernel_that_says(number))
    assert not is_own(ip_address("203.0.113.77"))
