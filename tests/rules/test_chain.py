"""Rulesets one after another."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Terms, Verdict
from socks5d.rules import Chain, PermitUnprotected
from tests.rules.requests import DENY, PERMIT, Says, for_address, for_client, for_name


def answer(chain: Chain) -> Decision:
    """What a chain says at once, be it by a Deferred."""
    found = chain.decide(for_name("example.com"))
    if isinstance(found, Deferred):
        said: list[Decision] = []
        found.addCallback(said.append)
        return said[0]
    return found


@pytest.mark.parametrize("ruleset", [Chain([]), PermitUnprotected()], ids=["chain", "permit"])
def test_it_is_a_ruleset(ruleset: IRuleset) -> None:
    assert verifyObject(IRuleset, ruleset)


def test_an_empty_chain_has_no_opinion() -> None:
    assert Chain([]).decide(for_address("192.0.2.1")) == NO_OPINION


@pytest.mark.parametrize("said", [PERMIT, DENY], ids=["permit", "deny"])
def test_the_first_opinion_counts_and_nobody_else_is_asked(said: Decision) -> None:
    before, after = Says(NO_OPINION), Says(DENY if said is PERMIT else PERMIT)
    assert answer(Chain([before, Says(said), after])) == said
    assert len(before.asked) == 1
    assert after.asked == []


def test_a_chain_without_an_opinion_has_none() -> None:
    assert answer(Chain([Says(NO_OPINION), Says(NO_OPINION)])) == NO_OPINION


@pytest.mark.parametrize("late", [(), (0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_no_opinion_has_the_first_terms_that_there_are(late: tuple[int, ...]) -> None:
    first = Decision(Verdict.NO_OPINION, terms=Terms(idle=5))
    second = Decision(Verdict.NO_OPINION, terms=Terms(idle=6))
    for said in ((NO_OPINION, first, second), (first, NO_OPINION, NO_OPINION)):
        rulesets = [
            Says(succeed(each) if place in late else each) for place, each in enumerate(said)
        ]
        assert answer(Chain(rulesets)) == first


def test_rulesets_that_answer_at_once_cost_no_deferred() -> None:
    found = Chain([Says(NO_OPINION), Says(PERMIT)]).decide(for_name("example.com"))
    assert isinstance(found, Decision)


def test_everybody_is_asked_the_same_request() -> None:
    rulesets = [Says(NO_OPINION), Says(succeed(NO_OPINION)), Says(PERMIT)]
    request = for_name("example.com")
    Chain(rulesets).decide(request)
    assert [ruleset.asked for ruleset in rulesets] == [[request]] * 3


@pytest.mark.parametrize("said", [PERMIT, DENY], ids=["permit", "deny"])
def test_an_opinion_that_comes_later_counts(said: Decision) -> None:
    pending: Deferred[Decision] = Deferred()
    after = Says(DENY if said is PERMIT else PERMIT)
    found = Chain([Says(NO_OPINION), Says(pending), after]).decide(for_name("a"))
    assert isinstance(found, Deferred)
    heard: list[Decision] = []
    found.addCallback(heard.append)
    assert heard == []
    pending.callback(said)
    assert heard == [said]
    assert after.asked == []


def test_no_opinion_that_comes_later_goes_on_to_the_next() -> None:
    first: Deferred[Decision] = Deferred()
    second: Deferred[Decision] = Deferred()
    last = Says(PERMIT)
    found = Chain([Says(first), Says(second), last]).decide(for_name("a"))
    assert isinstance(found, Deferred)
    heard: list[Decision] = []
    found.addCallback(heard.append)
    first.callback(NO_OPINION)
    assert (heard, last.asked) == ([], [])
    second.callback(NO_OPINION)
    assert heard == [PERMIT]


def test_nobody_is_asked_before_those_in_front_have_answered() -> None:
    pending: Deferred[Decision] = Deferred()
    after = Says(DENY)
    Chain([Says(pending), after]).decide(for_name("a"))
    assert after.asked == []


def test_no_opinion_at_all_that_comes_later_is_none() -> None:
    assert answer(Chain([Says(succeed(NO_OPINION)), Says(succeed(NO_OPINION))])) == NO_OPINION


def test_a_ruleset_that_fails_fails_the_chain() -> None:
    heard: list[Failure] = []
    found = Chain([Says(fail(RuntimeError("boom"))), Says(PERMIT)]).decide(for_name("a"))
    assert isinstance(found, Deferred)
    found.addErrback(heard.append)
    assert heard[0].check(RuntimeError)


def test_a_ruleset_that_raises_fails_the_chain() -> None:
    with pytest.raises(RuntimeError, match="boom"):
        Chain([Says(RuntimeError("boom")), Says(PERMIT)]).decide(for_name("a"))


def test_a_cancelled_chain_cancels_the_one_that_is_asked() -> None:
    cancelled: list[object] = []
    pending: Deferred[Decision] = Deferred(cancelled.append)
    after = Says(PERMIT)
    found = Chain([Says(NO_OPINION), Says(pending), after]).decide(for_name("a"))
    assert isinstance(found, Deferred)
    heard: list[Failure] = []
    found.addErrback(heard.append)
    found.cancel()
    assert cancelled == [pending]
    assert heard[0].check(CancelledError)
    assert after.asked == []


def test_a_chain_in_a_chain_goes_on_where_the_inner_one_ends() -> None:
    inner = Chain([Says(NO_OPINION), Says(succeed(NO_OPINION))])
    assert answer(Chain([inner, Says(DENY)])) == DENY


def test_permit_unprotected_permits_destinations_but_not_by_address() -> None:
    for request in (for_name("example.com"), for_address("127.0.0.1")):
        found = PermitUnprotected().decide(request)
        assert (found.verdict, found.by_address) == (Verdict.PERMIT, False)


def test_permit_unprotected_has_no_opinion_of_a_client() -> None:
    assert PermitUnprotected().decide(for_client()) == NO_OPINION
