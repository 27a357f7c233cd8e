"""
How a table decides, by the book: rule by rule and side by side, with what L{Explainer} finds of
each.  L{RuleTable} does the same at once for all rules.
"""

from collections.abc import Sequence
from typing import NamedTuple

from socks5d.model import Request, Verdict
from socks5d.rules import Action, Match, Rule
from socks5d.rules.explain import By, Considered, Explainer
from socks5d.wire.names import embedded


class Answer(NamedTuple):
    verdict: Verdict
    rule: Rule | None = None
    by_address: bool = False


NO_RULE = Answer(Verdict.DENY)
NO_OPINION = Answer(Verdict.NO_OPINION)


def reference(rules: Sequence[Rule], request: Request, now: float) -> Answer:
    if request.command is None or (request.name is None and request.address is None):
        answer = foreseen(considered(rules, request, now))
        if request.command is None and answer.verdict is Verdict.PERMIT:
            return NO_OPINION
        return answer
    if request.address is None:
        return on_name(considered(rules, request, now))
    return on_address(rules, request, now)


def considered(rules: Sequence[Rule], request: Request, now: float) -> list[Considered]:
    explainer = Explainer(request, now)
    return [explainer.consider(rule) for rule in rules]


def foreseen(rules: list[Considered]) -> Answer:
    for each in rules:
        if each.match is Match.YES:
            return Answer(says(each.rule), each.rule)
        if each.match is Match.MAYBE and each.rule.action is Action.PERMIT:
            return NO_OPINION
    return NO_RULE


def on_name(rules: list[Considered]) -> Answer:
    """What stands behind a rule for everything never comes to decide."""
    end = next(
        (
            place
            for place, each in enumerate(rules)
            if each.match is Match.YES and each.by is By.EVERYTHING
        ),
        len(rules),
    )
    for each in rules[:end]:
        if each.match is Match.YES:
            return Answer(says(each.rule), each.rule)
    return foreseen(rules)


def on_address(rules: Sequence[Rule], request: Request, now: float) -> Answer:
    assert request.address is not None
    address = side(rules, request._replace(name=None), now)
    sides = [address]
    if request.name is not None:
        sides.append(side(rules, request._replace(address=None), now))
    inner = [
        side(rules, request._replace(name=None, address=each), now)
        for each in embedded(request.address)
    ]
    denials = [
        each.rule
        for each in (*sides, *inner)
        if each and each.by is By.HOST and each.rule.action is DENY
    ]
    if denials:
        return Answer(Verdict.DENY, min(denials, key=rules.index))
    deciding = [each.rule for each in sides if each]
    if not deciding:
        return NO_RULE
    first = min(deciding, key=rules.index)
    permits = first.action is Action.PERMIT
    return Answer(says(first), first, permits and address is not None and address.by is By.HOST)


DENY = Action.DENY


def side(rules: Sequence[Rule], request: Request, now: float) -> Considered | None:
    """The rule that decides on one side of a destination."""
    for each in considered(rules, request, now):
        if each.match is Match.YES and each.by is not By.LEADS_TO:
            return each
    return None


def says(rule: Rule) -> Verdict:
    return Verdict.PERMIT if rule.action is Action.PERMIT else Verdict.DENY
