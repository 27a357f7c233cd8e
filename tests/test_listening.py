"""From what the operator wrote to endpoints, and what is said about them."""

import sys
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

from socks5d.config import Settings
from socks5d.listening import (
    StartupError,
    accepted_address,
    announce,
    cannot_start,
    complain,
    listening_address,
    make_endpoint,
    without_systemd,
)
from socks5d.naming import make_checker
from socks5d.rules import parse_network
from socks5d.values import ConfigError
from socks5d.wire.address import Address
from tests.support.client import destination

PASSWORD = (make_checker("memory:ann:secret"),)
EVERYWHERE = ("tcp:1080",)


# Open proxies.


@pytest.mark.parametrize(
    "settings",
    [
        Settings(listen=EVERYWHERE),
        Settings(listen=("tcp:1080:interface=192.0.2.1",)),
        Settings(listen=("tcp6:1080",)),
        Settings(listen=("haproxy:tcp:1080",)),
        Settings(listen=EVERYWHERE, deny_from=(parse_network("192.0.2.0/24"),)),
        Settings(listen=EVERYWHERE, checkers=PASSWORD, userids=("ann",)),
    ],
)
def test_an_open_proxy_is_not_made(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"open proxy: .*(--auth|--userid).*--allow-from"):
        make_endpoint(settings, MemoryReactorClock(), settings.listen[0])


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(listen=("tcp6:1080:interface=\\:\\:1",)),
        Settings(listen=EVERYWHERE, checkers=PASSWORD),
        Settings(listen=EVERYWHERE, allow_from=(parse_network("192.0.2.0/24"),)),
    ],
)
def test_a_proxy_that_is_not_open_is_made(settings: Settings) -> None:
    assert make_endpoint(settings, MemoryReactorClock(), settings.listen[0])


class Port:
    """A port that listens somewhere."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.stopped = False

    def getHost(self) -> Any:
        return self.host

    def stopListening(self) -> None:
        self.stopped = True


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (IPv4Address("TCP", "127.0.0.1", 1080), destination("127.0.0.1", 1080)),
        (IPv6Address("TCP", "::1", 1080), destination("::1", 1080)),
        (UNIXAddress(b"/run/socks5d"), None),
    ],
)
def test_a_port_that_strangers_do_not_reach_is_accepted(host: Any, address: Address | None) -> None:
    port: Any = Port(host)
    assert accepted_address(Settings(), port) == address
    assert not port.stopped


def test_a_port_that_turns_out_to_be_an_open_proxy_is_stopped() -> None:
    port: Any = Port(IPv4Address("TCP", "192.0.2.1", 1080))
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:1080 would be an open proxy"):
        accepted_address(Settings(), port)
    assert port.stopped


# Where endpoints will listen.


@pytest.mark.parametrize(
    ("description", "address"),
    [
        ("tcp:1080:interface=127.0.0.1", destination("127.0.0.1", 1080)),
        ("tcp:1080", destination("0.0.0.0", 1080)),
        ("tcp6:1080:interface=\\:\\:1", destination("::1", 1080)),
        ("haproxy:tcp:1080:interface=127.0.0.2", destination("127.0.0.2", 1080)),
        ("tcp:1080:interface=no such thing", None),
        ("unix:/run/socks5d", None),
    ],
)
def test_an_endpoint_tells_where_it_will_listen(description: str, address: Address | None) -> None:
    assert listening_address(serverFromString(MemoryReactorClock(), description)) == address


def test_a_tcp_endpoint_is_the_one_that_is_described() -> None:
    made = make_endpoint(Settings(), MemoryReactorClock(), "tcp:1080:interface=127.0.0.1")
    assert isinstance(made, TCP4ServerEndpoint)


@pytest.mark.parametrize(
    "description",
    ["", "nonsense", "tcp", "tcp:x", "ssl:1443:privateKey=/none", "tcp6:1080:a:b:c:d"],
)
def test_what_is_no_endpoint_is_refused_with_one_line(description: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_endpoint(Settings(), MemoryReactorClock(), description)
    assert str(caught.value).startswith(f"listen {description!r}: ")
    assert "\n" not in str(caught.value)


# What is said.


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (destination("127.0.0.1", 1080), "127.0.0.1:1080"),
        (destination("::1", 1080), "[::1]:1080"),
        (None, "a socket without an address"),
    ],
)
def test_a_listener_is_announced(
    address: Address | None, where: str, logs: Sequence[LogEvent]
) -> None:
    announce("its description", address)
    assert [formatEvent(event) for event in logs] == [f"listening on {where} (its description)"]


def test_a_complaint_is_one_line_in_the_log(logs: Sequence[LogEvent]) -> None:
    text = complain("tcp:1080", Failure(OSError("no\nsuch luck")))
    assert text.splitlines() == [text]
    assert text.startswith("socks5d: listen 'tcp:1080': no")
    assert [formatEvent(event) for event in logs] == [text]


def test_a_start_that_fails_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = StringIO()
    monkeypatch.setattr(sys, "__stderr__", errors)
    with pytest.raises(StartupError) as caught:
        cannot_start("socks5d: no such luck")
    assert caught.value.code == 1
    assert errors.getvalue() == "socks5d: no such luck\n"


def test_a_start_that_fails_without_a_standard_error_fails_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "__stderr__", None)
    with pytest.raises(SystemExit, match="no such luck"):
        cannot_start("no such luck")


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ("systemd:domain=INET:index=0", "tcp:0:interface=127.0.0.1"),
        ("haproxy:systemd:domain=INET:index=0", "haproxy:tcp:0:interface=127.0.0.1"),
        ("tcp:1080", "tcp:1080"),
        ("unix:/run/systemd:x", "unix:/run/systemd:x"),
    ],
)
def test_a_socket_of_systemds_has_a_stand_in(description: str, found: str) -> None:
    assert without_systemd(description) == found
