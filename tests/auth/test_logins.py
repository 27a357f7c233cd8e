"""Logins that are known, and those that need not be checked again."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from socks5d.auth import logins as module
from socks5d.auth.logins import KNOWN, Logins
from socks5d.model import Identity
from socks5d.wire.userpass import Credentials

ANN = Identity("ann", "password")
RIGHT = Credentials(b"ann", b"open-sesame")
OCTETS = st.binary(max_size=255)


def test_a_login_is_known_for_an_hour() -> None:
    clock = Clock()
    logins = Logins(clock)
    assert not logins.known(RIGHT)
    logins.accepted(RIGHT, ANN)
    clock.advance(KNOWN - 1)
    assert logins.known(RIGHT)
    clock.advance(1)
    assert not logins.known(RIGHT)


def test_without_a_time_nothing_is_cached() -> None:
    logins = Logins(Clock())
    logins.accepted(RIGHT, ANN)
    assert logins.cached(RIGHT) is None


def test_a_login_is_cached_from_its_check_on_and_not_from_its_use() -> None:
    clock = Clock()
    logins = Logins(clock, 30)
    logins.accepted(RIGHT, ANN)
    for _ in range(29):
        clock.advance(1)
        assert logins.cached(RIGHT) == ANN
    clock.advance(1)
    assert logins.cached(RIGHT) is None
    assert logins.known(RIGHT)


def test_what_was_refused_is_not_known_any_more() -> None:
    logins = Logins(Clock(), 30)
    logins.accepted(RIGHT, ANN)
    logins.refused(RIGHT)
    assert not logins.known(RIGHT)
    assert logins.cached(RIGHT) is None
    assert len(logins) == 0


def test_at_the_limit_the_one_checked_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOGINS", 2)
    logins = Logins(Clock())
    first, second, third = (Credentials(name, b"") for name in (b"a", b"b", b"c"))
    for each in (first, second, first, third):
        logins.accepted(each, ANN)
    assert [logins.known(each) for each in (first, second, third)] == [True, False, True]


def test_old_logins_are_not_kept() -> None:
    clock = Clock()
    logins = Logins(clock)
    logins.accepted(RIGHT, ANN)
    clock.advance(KNOWN)
    logins.accepted(Credentials(b"bob", b"x"), ANN)
    assert len(logins) == 1


def test_no_password_is_kept() -> None:
    clock = Clock()
    logins = Logins(clock, 30)
    logins.accepted(RIGHT, ANN)
    assert RIGHT.password not in pickle.dumps(vars(logins) | {"_clock": None})


def test_two_processes_have_different_keys() -> None:
    one, other = Logins(Clock()), Logins(Clock())
    for each in (one, other):
        each.accepted(RIGHT, ANN)
    assert vars(one)["_logins"].keys() != vars(other)["_logins"].keys()


@given(st.lists(st.builds(Credentials, OCTETS, OCTETS), unique=True, min_size=2, max_size=5))
def test_other_credentials_are_never_known(some: list[Credentials]) -> None:
    logins = Logins(Clock(), 30)
    logins.accepted(some[0], ANN)
    assert [logins.known(each) for each in some] == [True] + [False] * (len(some) - 1)


@given(OCTETS.filter(len), OCTETS)
def test_where_the_name_ends_makes_a_difference(name: bytes, password: bytes) -> None:
    logins = Logins(Clock(), 30)
    logins.accepted(Credentials(name, password), ANN)
    assert not logins.known(Credentials(name[:-1], name[-1:] + password))
