"""What can be set: ranges, and that nothing can be changed once it is said."""

from ipaddress import ip_address
from typing import Any

import pytest
from attrs import fields
from attrs.exceptions import FrozenInstanceError

from socks5d.parameters import Limits, LocalAddresses, Timeouts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("handshake", 0),
        ("handshake", -1),
        ("connect", 0),
        ("connect", 120.001),
        ("decision", 0),
        ("idle", 0),
        ("closing", 0),
        ("closing", 10),
        ("ident", 0),
        ("udp_idle", 0),
        ("reassembly", 4.999),
        ("shutdown", -0.001),
        ("attempt", 0),
        ("attempt", 0.009),
        *((each.name, float("nan")) for each in fields(Timeouts)),
    ],
)
def test_a_time_out_of_range_is_a_value_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("handshake", 0.001),
        ("connect", 120),
        ("idle", 1e6),
        ("closing", 9.999),
        ("shutdown", 0),
        ("attempt", 0.01),
        ("reassembly", 5),
    ],
)
def test_a_time_in_range_is_taken(name: str, value: float) -> None:
    assert getattr(Timeouts(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sessions", -1),
        ("handshake", 1099),
        ("early", -1),
        ("addresses", 0),
        ("lookups", 0),
        ("threads", 0),
        ("threads", 1025),
    ],
)
def test_a_limit_out_of_range_is_a_value_error(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("sessions", 0), ("handshake", 1100), ("early", 0), ("threads", 1), ("threads", 1024)],
)
def test_a_limit_in_range_is_taken(name: str, value: int) -> None:
    assert getattr(Limits(**{name: value}), name) == value


def test_the_specifications_bounds_hold_by_default() -> None:
    timeouts = Timeouts()
    assert timeouts.connect <= 120  # the SOCKS 4 note
    assert timeouts.closing < 10  # RFC 1928 section 6
    assert timeouts.idle >= 2 * 3600 + 4 * 60  # RFC 5382 REQ-5
    assert timeouts.attempt >= 0.01  # RFC 8305 section 8


def test_the_longest_handshake_fits_the_smallest_budget() -> None:
    greeting, password, request, socks4a = 2 + 255, 3 + 255 + 255, 3 + 259, 8 + 256 + 256
    assert Limits(handshake=1100).handshake >= max(greeting + password + request, socks4a)


FOUR, OTHER, SIX = (ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1"))


def test_source_addresses_are_told_apart_by_family() -> None:
    assert LocalAddresses.of([]) == LocalAddresses(None, None)
    assert LocalAddresses.of([FOUR]) == LocalAddresses(FOUR, None)
    assert LocalAddresses.of([SIX]) == LocalAddresses(None, SIX)
    assert LocalAddresses.of([SIX, FOUR]) == LocalAddresses(FOUR, SIX)


@pytest.mark.parametrize("addresses", [[FOUR, OTHER], [SIX, SIX], [FOUR, SIX, OTHER]])
def test_two_source_addresses_of_one_family_are_a_value_error(addresses: list[Any]) -> None:
    with pytest.raises(ValueError, match="at most one address of each family"):
        LocalAddresses.of(addresses)


@pytest.mark.parametrize(
    ("parameters", "name"), [(Timeouts(), "idle"), (Limits(), "early"), (LocalAddresses(), "ipv4")]
)
def test_a_parameter_cannot_be_changed(parameters: object, name: str) -> None:
    before = getattr(parameters, name)
    with pytest.raises(FrozenInstanceError):
        setattr(parameters, name, "changed")
    assert getattr(parameters, name) == before
