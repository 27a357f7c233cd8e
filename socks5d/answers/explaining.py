"""
What a server with these settings decides, and why.

The rulesets are the server's own, in their own chain, behind the server's own gate; what is
told of them is what they answered there.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socks5d.answers.question import Question, stages
from socks5d.answers.rows import method_text
from socks5d.auth import UserIDList
from socks5d.config import Listener, Settings
from socks5d.egress import is_own
from socks5d.egress.resolve import SystemResolver
from socks5d.escape import printable
from socks5d.interfaces import USERID, IRuleset
from socks5d.listening import listening_address, make_endpoint
from socks5d.model import Command, Decision, Identity, NotAuthenticated, Refusal, Request, Verdict
from socks5d.parameters import IdentMode
from socks5d.policy import make_rulesets
from socks5d.rules import (
    Chain,
    ClientRules,
    DestinationRules,
    Gate,
    Match,
    PermitUnprotected,
    Protection,
    RequireIdent,
    RuleTable,
)
from socks5d.values import ConfigError
from socks5d.wire.address import IPAddress
from socks5d.wire.names import unmapped

#: What rulesets of our own are called.
_WORDS: dict[type, str] = {
    ClientRules: "allow_from and deny_from",
    DestinationRules: "allow and deny",
    PermitUnprotected: "ruleset permit",
}


@implementer(IRuleset)
class _Told:
    """A ruleset, of which is told what it answers."""

    def __init__(self, ruleset: IRuleset, tell: Callable[[str], None]) -> None:
        self._ruleset = ruleset
        self._tell = tell

    def decide(self, request: Request) -> Decision | Deferred[Decision]:
        """See L{IRuleset}."""
        answer = self._ruleset.decide(request)
        if isinstance(answer, Decision):
            return self._hear(answer, request)
        return answer.addCallback(self._hear, request)

    def _hear(self, decision: Decision, request: Request) -> Decision:
        if isinstance(self._ruleset, RuleTable):
            for each in self._ruleset.explain(request).considered:
                matches = {Match.YES: "matches", Match.NO: "no", Match.MAYBE: "may match"}
                rule = f"{each.rule.title} ({each.rule.action.value})"
                self._tell(f"  {rule}: {matches[each.match]}: {each.why}")
        else:
            what = _WORDS.get(type(self._ruleset), f"ruleset {type(self._ruleset).__name__}")
            self._tell(f"  {what}: {_decision_text(decision)}")
        return decision


def _decision_text(decision: Decision) -> str:
    if decision.verdict is Verdict.NO_OPINION:
        return "no opinion"
    return f"{decision.verdict.value}, by {decision.rule!r}"


class Explainer:
    """Explains one question."""

    def __init__(
        self, settings: Settings, question: Question, reactor: Any, tell: Callable[[str], None]
    ) -> None:
        """
        @param tell: is given each line of the explanation.
        @raise ConfigError: for settings that do not go together.
        """
        self._question = question
        self._reactor = reactor
        self._tell = tell
        self._limits = settings.limits
        listener = question.listener
        at = question.seconds
        rulesets = make_rulesets(listener, time if at is None else lambda: at)
        protection = Protection(settings.protect, is_own=is_own)
        for each in settings.listeners:
            host = _where(each, reactor)
            if host is not None:
                protection.listeners.add(host)
        chain = Chain([_Told(each, tell) for each in rulesets])
        self._gate = Gate(chain, protection, reactor, listener.timeouts.decision)

    async def explain(self) -> bool:
        """
        @return: whether it is permitted.
        """
        question = self._question
        self._tell(_summary(question))
        refusal = _refused_before_rules(question)
        if refusal is not None:
            return self._denied(refusal)
        known = stages(question, ())
        if (refusal := await self._judge_all(known[:1])) is not None:
            return self._denied(refusal)
        if question.listener.ident is IdentMode.REQUIRE:
            decision = RequireIdent().decide(question.request)
            if decision.verdict is Verdict.DENY:
                return self._denied(f"ident: {decision.rule}")
            question = self._question = _vouched_for(question)
            known = stages(question, ())
        if (refusal := await self._judge_all(known[1:])) is not None:
            return self._denied(refusal)
        addresses = await self._addresses()
        if not addresses:
            return self._denied("the name does not resolve here; give --address")
        refusals = [
            await self._judge_all([stage])
            for stage in stages(question, addresses)[-len(addresses) :]
        ]
        if all(each is not None for each in refusals):
            return self._denied(str(refusals[0]))
        self._tell("permitted")
        return True

    def _denied(self, why: str) -> bool:
        self._tell(f"denied: {why}")
        return False

    async def _judge_all(self, known: Sequence[tuple[str, Request]]) -> str | None:
        """Why one of them is refused; None when none is."""
        for what, request in known:
            self._tell(f"{what}:")
            answer = self._gate.judge(request)
            decision = answer if isinstance(answer, Decision) else await answer
            self._tell(f"  -> {_decision_text(decision)}")
            if decision.verdict is Verdict.DENY:
                return decision.rule
        return None

    async def _addresses(self) -> Sequence[IPAddress]:
        question = self._question
        if question.address is not None:
            return (question.address,)
        assert question.request.name is not None
        resolver = SystemResolver(self._reactor, 1, 1)
        try:
            found = await resolver.resolve(question.request.name)
        except Refusal:
            return ()
        return [unmapped(each) for each in found][: self._limits.addresses]


def _where(listener: Listener, reactor: Any) -> Any:
    try:
        return listening_address(make_endpoint(listener, reactor, listener.endpoint))
    except ConfigError:
        # That it cannot listen (here) changes nothing about what it would decide.
        return None


def _vouched_for(question: Question) -> Question:
    request = question.request
    identity, ident = request.identity, request.ident
    if ident is not None and (identity.name is None or identity.source == "userid"):
        request = request._replace(identity=Identity(ident.name, "ident"))
    return Question(question.listener, request, question.address, question.seconds)


def _refused_before_rules(question: Question) -> str | None:
    """What a server refuses without asking its rules."""
    listener, request = question.listener, question.request
    if not (listener.socks5 if request.version == "5" else listener.socks4):
        return f"SOCKS {request.version} is not served"
    method = USERID if request.method is None else request.method
    if method not in listener.methods:
        return f"no client is let in by method {method_text(method)}"
    if request.userid is not None and listener.userids:
        step = UserIDList(listener.userids).receive(request.userid.encode("utf-8", "replace"))
        if isinstance(step, NotAuthenticated):
            return step.reason
    if request.command is not None and request.command not in listener.commands:
        return f"{request.command} is not served"
    return None


def _summary(question: Question) -> str:
    request = question.request
    identity = request.identity
    parts = [
        f"listener {request.client.listener}",
        f"client {request.client.address or 'without an address'}",
        f"SOCKS {request.version}",
    ]
    if identity.name is not None:
        parts.append(f"{identity.source} {printable(identity.name)}")
    host = request.name if request.name is not None else question.address
    if request.command is Command.UDP_ASSOCIATE:
        parts.append(f"{request.command} to {host} port {request.port}")
    else:
        parts.append(f"{request.command} {host} port {request.port}")
    return ", ".join(parts)
