"""SOCKS 4's USERID, which nobody proves."""

import pytest
from zope.interface.verify import verifyObject

from socks5d.auth import AnyUserID, UserIDList
from socks5d.interfaces import USERID, IAuthenticator, INegotiation
from socks5d.model import ANONYMOUS, Authenticated, Client, Identity, NotAuthenticated, Step


def answer(authenticator: AnyUserID | UserIDList, userid: bytes) -> Step:
    step = authenticator.negotiate(Client(None)).receive(userid)
    assert isinstance(step, (Authenticated, NotAuthenticated))
    return step


@pytest.mark.parametrize("authenticator", [AnyUserID(), UserIDList(["fred"])], ids=["any", "list"])
def test_it_is_an_authenticator_of_user_ids(authenticator: AnyUserID | UserIDList) -> None:
    assert verifyObject(IAuthenticator, authenticator)
    assert verifyObject(INegotiation, authenticator.negotiate(Client(None)))
    assert (authenticator.method, authenticator.refusal) == (USERID, b"")


@pytest.mark.parametrize("userid", [b"", b"fred", b"\xff\n"])
def test_any_user_id_is_let_in_as_nobody_in_particular(userid: bytes) -> None:
    assert answer(AnyUserID(), userid) == Authenticated(ANONYMOUS)


def test_a_listed_user_id_is_let_in_by_its_name() -> None:
    ids = UserIDList(["fred", "j\u00f6rg"])
    assert answer(ids, b"fred") == Authenticated(Identity("fred", "userid"))
    assert answer(ids, "j\u00f6rg".encode()) == Authenticated(Identity("j\u00f6rg", "userid"))


@pytest.mark.parametrize(
    "userid", [b"", b"Fred", b"fred ", b"fre", b"fredd", "j\u00f6rg".encode("latin-1"), b"\xff"]
)
def test_any_other_user_id_is_not(userid: bytes) -> None:
    step = answer(UserIDList(["fred", "j\u00f6rg"]), userid)
    assert isinstance(step, NotAuthenticated)
    assert (step.send, step.reason) == (b"", "userid not listed")


def test_what_a_client_claims_is_told_as_it_came() -> None:
    step = answer(UserIDList(["fred"]), b"x\nsession=1 \xff\x1b[2J")
    assert isinstance(step, NotAuthenticated)
    assert step.claimed == "x\nsession=1 \udcff\x1b[2J"


def test_who_claims_nothing_has_claimed_nothing() -> None:
    assert answer(UserIDList(["fred"]), b"") == NotAuthenticated(reason="userid not listed")


def test_an_empty_user_id_can_be_listed() -> None:
    assert answer(UserIDList([""]), b"") == Authenticated(Identity("", "userid"))


def test_an_empty_list_lets_nobody_in() -> None:
    assert isinstance(answer(UserIDList([]), b"fred"), NotAuthenticated)


@pytest.mark.parametrize("userid", [b"ops-", b"ops-ann", b"ops-\xff\n", b"ops-*"])
def test_a_pattern_lets_in_under_the_name_that_was_given(userid: bytes) -> None:
    name = userid.decode("utf-8", "surrogateescape")
    assert answer(UserIDList(["fred", "ops-*"]), userid) == Authenticated(Identity(name, "userid"))


@pytest.mark.parametrize("userid", [b"", b"ops", b"Ops-ann", b"xops-ann", b"*"])
def test_what_no_pattern_matches_is_not_let_in(userid: bytes) -> None:
    step = answer(UserIDList(["fred", "ops-*"]), userid)
    assert isinstance(step, NotAuthenticated)
    assert step.reason == "userid not listed"


@pytest.mark.parametrize("userid", [b"", b"fred", b"\xff\n"])
def test_a_star_lets_everybody_in_by_name(userid: bytes) -> None:
    step = answer(UserIDList(["*"]), userid)
    assert step == Authenticated(Identity(userid.decode("utf-8", "surrogateescape"), "userid"))


@pytest.mark.parametrize("userid", [b"a*b", b"*"])
def test_a_star_of_the_clients_is_no_pattern(userid: bytes) -> None:
    assert isinstance(answer(UserIDList(["axb"]), userid), NotAuthenticated)
