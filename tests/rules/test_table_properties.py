"""RuleTable against the reference, and what must hold of every table."""

from hypothesis import given, settings

from socks5d.model import Request, Verdict
from socks5d.rules import Action, Match, Rule, RuleTable
from socks5d.rules.explain import By
from tests.rules.reference import Answer, reference
from tests.rules.tables import MOMENTS, requests, stages, tables


def answer(rules: list[Rule], request: Request, now: float) -> Answer:
    found = RuleTable(rules, lambda: now).explain(request)
    return Answer(found.decision.verdict, found.rule, found.decision.by_address)


@settings(max_examples=300, deadline=None)
@given(tables(), requests(), MOMENTS)
def test_as_the_reference(rules: list[Rule], request: Request, now: int) -> None:
    for each in (*stages(request), request):
        assert answer(rules, each, now) == reference(rules, each, now)


@settings(max_examples=120, deadline=None)
@given(tables(), requests(), MOMENTS)
def test_what_is_denied_early_would_be_denied_in_the_end(
    rules: list[Rule], request: Request, now: int
) -> None:
    table = RuleTable(rules, lambda: now)
    if any(table.decide(each).verdict is Verdict.DENY for each in stages(request)):
        assert table.decide(request).verdict is Verdict.DENY


@settings(max_examples=120, deadline=None)
@given(tables(), requests(), MOMENTS)
def test_explained_as_decided(rules: list[Rule], request: Request, now: int) -> None:
    table = RuleTable(rules, lambda: now)
    for each in (*stages(request), request):
        explanation = table.explain(each)
        decision = explanation.decision
        assert decision == table.decide(each)
        assert [found.rule for found in explanation.considered] == rules
        assert all(found.why for found in explanation.considered)
        if explanation.rule is None:
            assert decision.verdict is not Verdict.PERMIT
            continue
        (found,) = [every for every in explanation.considered if every.rule is explanation.rule]
        assert found.match is Match.YES
        assert decision.rule == explanation.rule.text
        permits = explanation.rule.action is Action.PERMIT
        assert decision.verdict is (Verdict.PERMIT if permits else Verdict.DENY)
        assert decision.terms == explanation.rule.terms


@settings(max_examples=120, deadline=None)
@given(tables(), requests(), MOMENTS)
def test_a_name_gives_an_address_no_more_than_a_permit_of_the_name(
    rules: list[Rule], request: Request, now: int
) -> None:
    """
    An address that is denied is not reached by any name but one that a permit names, and what
    is protected not even so.
    """
    table = RuleTable(rules, lambda: now)
    if request.name is None:
        return
    by_name = table.explain(request)
    by_address = table.explain(request._replace(name=None))
    if by_name.decision.by_address:
        assert by_address.decision.by_address
    if by_name.decision.verdict is Verdict.PERMIT and by_address.decision.verdict is Verdict.DENY:
        assert by_name.rule is not None and by_name.rule.destination is not None
        assert table.explain(request._replace(address=None)).rule is by_name.rule
        # And no rule names the address to deny it.
        assert (
            by_address.rule is None
            or by_address.rule.destination is None
            or not next(
                every.by is By.HOST
                for every in by_address.considered
                if every.rule is by_address.rule
            )
        )


@settings(max_examples=100, deadline=None)
@given(tables(), requests(), MOMENTS)
def test_no_rule_no_permit(rules: list[Rule], request: Request, now: int) -> None:
    denying = [rule for rule in rules if rule.action is Action.DENY]
    for each in (*stages(request), request):
        assert RuleTable(denying, lambda: now).decide(each).verdict is Verdict.DENY
