"""Username and password over credentials checkers: those that accept, refuse, fail and hang."""

from collections.abc import Sequence

import pytest
from twisted.cred.checkers import (
    ANONYMOUS,
)
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from zope.interface.verify import verifyObject

from socks5d.auth import PasswordAuthenticator
from socks5d.interfaces import IAuthenticator, INegotiation
from socks5d.model import Authenticated, Client, Identity, More, NotAuthenticated
from socks5d.wire.userpass import Credentials, encode_credentials
from tests.support.checkers import (
    ACCEPTED,
    GOOD,
    REFUSED,
    SECONDS,
    SECRET,
    WRONG,
    Checker,
    begin,
    database,
    heard,
    told,
)


def test_it_is_an_authenticator(clock: Clock) -> None:
    authenticator = PasswordAuthenticator([database()], clock, SECONDS)
    assert verifyObject(IAuthenticator, authenticator)
    assert verifyObject(INegotiation, authenticator.negotiate(Client(None)))
    assert (authenticator.method, authenticator.refusal) == (2, REFUSED)


def test_each_client_has_a_negotiation_of_its_own(clock: Clock) -> None:
    authenticator = PasswordAuthenticator([database(alice=SECRET.decode())], clock, SECONDS)
    one, other = authenticator.negotiate(Client(None)), authenticator.negotiate(Client(None))
    one.receive(GOOD[:5])
    other.receive(WRONG[:3])
    assert isinstance(heard(one.receive(GOOD[5:]))[0], Authenticated)
    assert isinstance(heard(other.receive(WRONG[3:]))[0], NotAuthenticated)


# Accepting and refusing.


def test_the_right_password_lets_in(clock: Clock) -> None:
    step = told(clock, [database(alice=SECRET.decode())])
    assert step == Authenticated(Identity("alice", "password"), ACCEPTED)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (b"alice", b"wrong"),
        (b"alice", b""),
        (b"", SECRET),
        (b"", b""),
        (b"Alice", SECRET),
        (b"alice\0", SECRET),
        (b"mallory", SECRET),
        (b"alice", SECRET + b" "),
        (b"\xff", b"\xff"),
    ],
)
def test_anything_else_is_an_ordinary_failure(
    clock: Clock, logs: Sequence[LogEvent], username: bytes, password: bytes
) -> None:
    data = encode_credentials(Credentials(username, password))
    step = told(clock, [database(alice=SECRET.decode())], data)
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (REFUSED, "wrong username or password")
    assert logs == []


def test_an_empty_name_is_nobodys(clock: Clock) -> None:
    step = told(clock, [database(**{"": ""})], encode_credentials(Credentials(b"", b"")))
    assert (step.send, step.reason) == (REFUSED, "a credentials checker failed")


def test_an_empty_password_can_be_right(clock: Clock) -> None:
    step = told(clock, [database(ann="")], encode_credentials(Credentials(b"ann", b"")))
    assert step == Authenticated(Identity("ann", "password"), ACCEPTED)


def test_a_checker_is_given_the_octets_as_they_came(clock: Clock) -> None:
    checker = Checker(b"somebody")
    told(clock, [checker], encode_credentials(Credentials(b"\xff\0 a", b"\xfe\0 p")))
    assert (checker.asked[0].username, checker.asked[0].password) == (b"\xff\0 a", b"\xfe\0 p")


@pytest.mark.parametrize(
    ("avatar", "name"),
    [
        (b"alice@example.com", "alice@example.com"),
        ("alice@example.com", "alice@example.com"),
        ("j\u00f6rg".encode(), "j\u00f6rg"),
        (b"\xff", "\udcff"),
    ],
)
def test_the_checker_gives_the_name(clock: Clock, avatar: object, name: str) -> None:
    step = told(clock, [Checker(avatar)])
    assert step == Authenticated(Identity(name, "password"), ACCEPTED)


@pytest.mark.parametrize("avatar", [b"", "", ANONYMOUS, None, 42])
def test_who_is_nobody_in_particular_is_not_who_the_client_says(
    clock: Clock, avatar: object
) -> None:
    step = told(clock, [Checker(avatar)])
    assert (step.send, step.reason) == (REFUSED, "a credentials checker failed")


def test_what_a_refused_client_claims_is_told_as_it_came(clock: Clock) -> None:
    data = encode_credentials(Credentials(b"x\nsession=1 \xff", b"secret"))
    step = told(clock, [database()], data)
    assert step.claimed == "x\nsession=1 \udcff"


# However it is cut up.


def test_fed_octet_by_octet_it_wants_more_until_the_last(clock: Clock) -> None:
    checker = Checker(b"alice")
    negotiation = begin(clock, checker)
    assert negotiation.receive(b"") == More()
    for octet in GOOD[:-1]:
        assert negotiation.receive(bytes((octet,))) == More()
    assert checker.asked == []
    step = heard(negotiation.receive(GOOD[-1:]))
    assert step == [Authenticated(Identity("alice", "password"), ACCEPTED)]


@pytest.mark.parametrize("cut", range(len(GOOD) + 1))
def test_what_follows_the_password_is_kept(clock: Clock, cut: int) -> None:
    data = GOOD + b"\x05\x01\x00"
    negotiation = begin(clock, Checker(b"alice"))
    first = negotiation.receive(data[:cut])
    step = heard(first if isinstance(first, Deferred) else negotiation.receive(data[cut:]))[0]
    assert isinstance(step, Authenticated)
    assert step.rest == (data[cut:] if cut < len(GOOD) else b"")[len(GOOD) - cut :]


@pytest.mark.parametrize("ver", [0, 2, 5, 71])
def test_another_version_is_refused_at_once(clock: Clock, ver: int) -> None:
    checker = Checker(b"alice")
    step = begin(clock, checker).receive(bytes((ver,)))
    assert isinstance(step, NotAuthenticated)
    assert step.send == REFUSED
    assert checker.asked == []
