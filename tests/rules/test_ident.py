"""The rule about what identd says of clients."""

from collections.abc import Iterable

import pytest
from zope.interface.verify import verifyObject

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Ident, Outcome, Request, Verdict
from socks5d.rules import Chain, RequireIdent
from tests.rules.requests import DENY, PERMIT, Says, for_address, for_client, for_name


def identified(name: str | None, userid: str | None = None, problem: str = "") -> Request:
    """A request of a client that identd was asked about."""
    request = for_address("192.0.2.1")._replace(ident=Ident(name, problem))
    return request if userid is None else request._replace(version="4", userid=userid)


def test_it_is_a_ruleset() -> None:
    assert verifyObject(IRuleset, RequireIdent())


@pytest.mark.parametrize("names", [(), ("*",), ("ann",)])
def test_of_a_client_that_has_asked_for_nothing_there_is_no_opinion(names: Iterable[str]) -> None:
    rules = RequireIdent(names)
    assert rules.decide(for_client()) == NO_OPINION
    assert rules.decide(for_client()._replace(ident=Ident(problem="NO-USER"))) == NO_OPINION


@pytest.mark.parametrize("name", ["ann", "", "a name\n\udcff"])
def test_by_default_anybody_passes_whom_identd_names(name: str) -> None:
    assert RequireIdent().decide(identified(name)) == NO_OPINION


def test_it_is_asked_at_every_stage_of_a_request() -> None:
    for request in (for_name("example.com"), for_address("192.0.2.1")):
        assert RequireIdent().decide(request._replace(ident=Ident("ann"))) == NO_OPINION
        assert RequireIdent().decide(request).verdict is Verdict.DENY


@pytest.mark.parametrize("problem", ["NO-USER", "connection refused", "no answer in time"])
def test_without_a_name_the_denial_says_why(problem: str) -> None:
    assert RequireIdent().decide(identified(None, problem=problem)) == Decision(
        Verdict.DENY, f"no ident: {problem}", outcome=Outcome.IDENT_UNREACHABLE
    )


def test_where_nobody_asks_identd_everybody_is_denied() -> None:
    assert RequireIdent().decide(for_address("192.0.2.1")) == Decision(
        Verdict.DENY, "no ident: nobody asked", outcome=Outcome.IDENT_UNREACHABLE
    )


def test_the_same_userid_passes() -> None:
    assert RequireIdent().decide(identified("ann", "ann")) == NO_OPINION


@pytest.mark.parametrize("userid", ["bob", "Ann", "an", "ann ", "", "*"])
def test_another_userid_is_denied(userid: str) -> None:
    assert RequireIdent().decide(identified("ann", userid)) == Decision(
        Verdict.DENY, "USERID is not what identd says", outcome=Outcome.IDENT_MISMATCH
    )


def test_a_userid_does_not_make_up_for_a_name() -> None:
    decision = RequireIdent(["ann"]).decide(identified(None, "ann", "NO-USER"))
    assert decision.outcome is Outcome.IDENT_UNREACHABLE


@pytest.mark.parametrize("name", ["ann", "ops-1", "ops-"])
def test_a_listed_name_passes(name: str) -> None:
    assert RequireIdent(["ann", "ops-*"]).decide(identified(name)) == NO_OPINION


@pytest.mark.parametrize("name", ["bob", "Ann", "ops", "", "\udcff"])
@pytest.mark.parametrize("userid", [None, "the same"])
def test_a_name_that_is_not_listed_is_denied_like_anything_else(
    name: str, userid: str | None
) -> None:
    request = identified(name, name if userid else None)
    assert RequireIdent(["ann", "ops-*"]).decide(request) == Decision(
        Verdict.DENY, "ident name not listed"
    )


def test_another_userid_is_told_before_a_name_that_is_not_listed() -> None:
    decision = RequireIdent(["ann"]).decide(identified("bob", "ann"))
    assert decision.outcome is Outcome.IDENT_MISMATCH


def test_an_empty_list_lets_nobody_through() -> None:
    assert RequireIdent([]).decide(identified("ann")).verdict is Verdict.DENY


def test_in_a_chain_the_next_decides_about_those_it_lets_through() -> None:
    after = Says(PERMIT)
    chain = Chain([RequireIdent(["ann"]), after])
    assert chain.decide(identified("ann")) == PERMIT
    assert after.asked == [identified("ann")]
    denial = chain.decide(identified("bob"))
    assert isinstance(denial, Decision)
    assert denial.verdict is Verdict.DENY
    assert len(after.asked) == 1
    assert Chain([RequireIdent(["ann"]), Says(DENY)]).decide(identified("ann")) == DENY
