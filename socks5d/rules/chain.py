"""Rulesets one after another, and the simplest ones."""

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, NO_TERMS, Decision, Request, Verdict


@implementer(IRuleset)
class Chain:
    """
    Asks rulesets in order until one denies, or one permits.

    No opinion goes on to the next; at the end of the chain it is the chain's own,
    and denies where it counts.  Its terms are those of the first that has any.
    """

    def __init__(self, rulesets: Iterable[IRuleset]) -> None:
        """
        @param rulesets: in the order in which they are asked.
        """
        self._rulesets: Sequence[IRuleset] = tuple(rulesets)

    def decide(self, request: Request) -> Decision | Deferred[Decision]:
        """See L{IRuleset}."""
        undecided = NO_OPINION
        for place, ruleset in enumerate(self._rulesets):
            answer = ruleset.decide(request)
            if not isinstance(answer, Decision) and isinstance(answer, Deferred):
                later = self._decide_later(answer, undecided, place, request)
                return Deferred.fromCoroutine(later)
            if answer.verdict is not Verdict.NO_OPINION:
                return answer
            if undecided.terms is NO_TERMS:
                undecided = answer
        return undecided

    async def _decide_later(
        self, pending: Deferred[Decision], undecided: Decision, place: int, request: Request
    ) -> Decision:
        decision = await pending
        if decision.verdict is Verdict.NO_OPINION:
            rest = Chain(self._rulesets[place + 1 :]).decide(request)
            if undecided.terms is NO_TERMS:
                undecided = decision
            decision = await rest if isinstance(rest, Deferred) else rest
        if decision.verdict is Verdict.NO_OPINION and undecided.terms is not NO_TERMS:
            return undecided
        return decision


@implementer(IRuleset)
class PermitUnprotected:
    """
    Permits every destination that is not protected, to every client that gets as
    far: what the server does when no rule is given.
    """

    def decide(self, request: Request) -> Decision:
        """See L{IRuleset}."""
        return NO_OPINION if request.command is None else PERMIT_UNPROTECTED


PERMIT_UNPROTECTED = Decision(Verdict.PERMIT, "default")
