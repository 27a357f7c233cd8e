"""Logins that are known, and where; those who may be guessing make them forgotten."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from socks5d.auth import logins as module
from socks5d.auth.logins import KNOWN, MISSES, Logins
from socks5d.model import Identity
from socks5d.wire.userpass import Credentials

ANN = Identity("ann", "password")
RIGHT = Credentials(b"ann", b"open-sesame")
HOME, AWAY = "192.0.2.1", "192.0.2.2"
OCTETS = st.binary(max_size=255)


def known(logins: Logins, credentials: Credentials = RIGHT, client: str = HOME) -> bool:
    return logins.find(client, credentials) is not None


def guess(logins: Logins, *passwords: bytes, client: str = HOME) -> None:
    for password in passwords:
        assert not known(logins, Credentials(b"ann", password), client)


def test_a_login_is_known_for_an_hour(clock: Clock) -> None:
    logins = Logins(clock)
    assert not known(logins)
    logins.accepted(HOME, RIGHT, ANN)
    clock.advance(KNOWN - 1)
    assert known(logins)
    clock.advance(1)
    assert not known(logins)


def test_what_was_accepted_says_by_whom_and_how_long_ago(clock: Clock) -> None:
    logins, me = Logins(clock), object()
    logins.accepted(HOME, RIGHT, ANN, me)
    clock.advance(30)
    # To be found makes it no younger.
    assert known(logins)
    login = logins.find(HOME, RIGHT)
    assert login is not None
    assert (login.identity, login.by, logins.age(login)) == (ANN, me, 30)
    logins.accepted(HOME, RIGHT, ANN, me)
    login = logins.find(HOME, RIGHT)
    assert login is not None
    assert logins.age(login) == 0


def test_a_login_is_known_where_it_came_from_alone(clock: Clock) -> None:
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    assert not known(logins, client=AWAY)
    assert not known(logins, client="")
    # Whoever tries there has taken nothing from whom it is.
    guess(logins, *(b"%d" % number for number in range(20)), client=AWAY)
    assert known(logins)
    logins.accepted(AWAY, RIGHT, ANN)
    assert known(logins, client=AWAY)
    assert len(logins) == 2


def test_after_a_few_other_passwords_a_login_is_not_known_any_more(clock: Clock) -> None:
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    guess(logins, *(b"%d" % number for number in range(MISSES)))
    assert known(logins)
    # To be right meanwhile forgives nothing.
    logins.accepted(HOME, RIGHT, ANN)
    guess(logins, b"one more")
    assert not known(logins)
    # Nor afterwards, whatever was right then, for as long as a login is known.
    clock.advance(KNOWN - 1)
    logins.accepted(HOME, RIGHT, ANN)
    assert not known(logins)
    clock.advance(1)
    assert known(logins)
    guess(logins, *(b"again %d" % number for number in range(MISSES)))
    assert known(logins)


def test_the_same_other_password_counts_once(clock: Clock) -> None:
    """As of a device that has not heard of a new one."""
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    guess(logins, *[b"old"] * 50)
    assert known(logins)


def test_other_names_are_no_guesses_of_this_one(clock: Clock) -> None:
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    for number in range(20):
        assert not known(logins, Credentials(b"bob", b"%d" % number))
    assert known(logins)


def test_another_password_that_is_right_is_known_in_its_place(clock: Clock) -> None:
    logins, fresh = Logins(clock), Credentials(b"ann", b"fresh")
    logins.accepted(HOME, RIGHT, ANN)
    guess(logins, b"1", b"2")
    logins.accepted(HOME, fresh, ANN)
    assert known(logins, fresh)
    # What was tried before is not forgiven.
    guess(logins, *(b"%d" % number for number in range(MISSES)))
    assert known(logins, fresh)
    guess(logins, b"one more")
    assert not known(logins, fresh)


def test_what_was_refused_is_not_known_any_more(clock: Clock) -> None:
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    logins.refused(AWAY, RIGHT)
    logins.refused(HOME, Credentials(b"ann", b"other"))
    assert known(logins)
    logins.refused(HOME, RIGHT)
    assert not known(logins)
    logins.accepted(HOME, RIGHT, ANN)
    assert known(logins)


def test_at_the_limit_the_one_checked_longest_ago_is_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGINS", 2)
    logins = Logins(clock)
    first, second, third = (Credentials(name, b"") for name in (b"a", b"b", b"c"))
    for each in (first, second, first, third):
        logins.accepted(HOME, each, ANN)
    assert [known(logins, each) for each in (first, second, third)] == [True, False, True]


def test_nobody_can_have_the_logins_of_others_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a name that can be spelled in many ways, or from many addresses."""
    monkeypatch.setattr(module, "LOGINS", 20)
    monkeypatch.setattr(module, "EACH", 5)
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    mallory = Identity("mallory", "password")
    for number in range(100):
        logins.accepted(AWAY, Credentials(b"mallory" + b" " * number, b"x"), mallory)
    assert known(logins)
    assert len(logins) == 6
    # The last ones are known.
    assert known(logins, Credentials(b"mallory" + b" " * 99, b"x"), AWAY)
    assert not known(logins, Credentials(b"mallory" + b" " * 94, b"x"), AWAY)
    clock.advance(KNOWN)
    logins.accepted(HOME, RIGHT, ANN)
    assert (len(logins), len(logins._of)) == (1, 1)


def test_old_logins_are_not_kept(clock: Clock) -> None:
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    clock.advance(KNOWN)
    logins.accepted(HOME, Credentials(b"bob", b"x"), ANN)
    assert len(logins) == 1


def everything(logins: Logins) -> bytes:
    kept = {
        place: [getattr(login, name) for name in type(login).__slots__]
        for place, login in vars(logins)["_logins"].items()
    }
    return pickle.dumps(kept)


def test_no_password_is_kept(clock: Clock) -> None:
    logins = Logins(clock)
    logins.accepted(HOME, RIGHT, ANN)
    guess(logins, b"a wrong one")
    assert b"192.0.2.1" in everything(logins)
    assert RIGHT.password not in everything(logins)
    assert b"a wrong one" not in everything(logins)


def test_two_processes_have_different_keys(clock: Clock) -> None:
    one, other = Logins(clock), Logins(clock)
    for each in (one, other):
        each.accepted(HOME, RIGHT, ANN)
    assert everything(one) != everything(other)


@given(st.lists(st.builds(Credentials, OCTETS, OCTETS), unique=True, min_size=2, max_size=5))
def test_other_credentials_are_never_known(some: list[Credentials]) -> None:
    logins = Logins(Clock())
    logins.accepted(HOME, some[0], ANN)
    assert [known(logins, each) for each in some] == [True] + [False] * (len(some) - 1)


@given(OCTETS.filter(len), OCTETS)
def test_where_the_name_ends_makes_a_difference(name: bytes, password: bytes) -> None:
    logins = Logins(Clock())
    logins.accepted(HOME, Credentials(name, password), ANN)
    assert not known(logins, Credentials(name[:-1], name[-1:] + password))
