"""
The ruleset of C{[[rule]]} tables.

The first rule that matches decides; what no rule matches is denied.  A request becomes known
piece by piece, and has up to three things that a rule can be about: the client and what it
wants, the name it asks for, and each address that would be connected to.  Hence:

Sides.  A destination has sides: the name, if one was asked for; the address; and each IPv4
address that an IPv6 one leads to (NAT64, 6to4 and their like).  A rule I{names} a side when one
of its destinations does: a name or C{*.name} the side that is a name, a network the others.  A
rule without destinations, or with C{*}, holds for every side and names none.  Of a side, the
first rule decides that matches the rest of the request and either names the side or holds for
every side.

1. A side is denied by a rule that names it: the request is denied, whatever the other sides
   say, and whichever rule stands before the other.
2. Otherwise the first of the rules that decide on the name and on the address decides.  What an
   IPv6 address leads to can only be denied.
3. No rule decides on either: denied.

So C{permit 10.0.0.0/8} does not reach a name that C{deny *.example} names further below, and
C{permit *.example} no address that C{deny 10.0.0.0/8} names further below; but either is reached
by what names the same side further above, and where the last rule denies everything else, a
name that is permitted is reached at any address that no rule names.

A permit is I{by address} when the rule that decides on the address names it.  Nothing else
reaches what is protected (L{Gate}): no name, no C{*}, no rule without a destination.

What is not known yet.  Before there is a request, nobody knows what rules say about methods,
identities, commands and destinations; with a name only, what they say about addresses; with a
UDP association or a BIND for any peer, what they say about destinations at all.  A rule that
depends on such is one that I{may} match.  Then:

- A rule that names the name decides on it at once, also behind rules that may match.
- Otherwise it is denied when no permit that matches, or may, stands before the first rule that
  surely matches and denies everything (or before the end).  The address would be denied too.
- Otherwise a permit that surely matches, with none before it but denies that may, permits as
  far as is known.
- Otherwise there is no opinion.  Its terms are those of the first rule that surely matches,
  where that permits, or else of the first permit that may match.

For a client alone no opinion takes the place of a permit.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from time import time
from typing import Final, TypeAlias

from attrs import evolve, frozen
from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Command, Decision, Request, Verdict
from socks5d.rules.conditions import Conditions, Destinations
from socks5d.rules.explain import Considered, Explainer
from socks5d.rules.rule import Action, Rule
from socks5d.wire.address import IPAddress
from socks5d.wire.names import embedded

#: A decision, and the place of the rule that made it.
Decided: TypeAlias = tuple[Decision, int | None]

_NO_RULE: Final = Decision(Verdict.DENY, "no rule mentions it")


@frozen
class Explanation:
    """
    What becomes of a request, and why.

    @ivar decision: what the server would decide, before it protects its own host.
    @ivar rule: the rule that decides; None when none does.
    @ivar considered: what was found of each rule, in their order.
    """

    decision: Decision
    rule: Rule | None
    considered: Sequence[Considered]


@implementer(IRuleset)
class RuleTable:
    """Decides by rules, at once; any number of them and of what they list is as fast as few."""

    def __init__(self, rules: Iterable[Rule], clock: Callable[[], float] = time) -> None:
        """
        @param rules: in their order.
        @param clock: says how many seconds have passed since the epoch.
        """
        self._rules = rules = tuple(rules)
        self._clock = clock
        self._conditions = Conditions(rules, clock)
        self._destinations = Destinations(rules)
        self._denies = [rule.action is Action.DENY for rule in rules]
        self._permits = sum(1 << place for place, no in enumerate(self._denies) if not no)
        #: Rules that depend on what is not known of a client alone, and without a port.
        self._later = self._conditions.later | self._destinations.named
        self._aimed = self._conditions.with_ports | self._destinations.named
        #: What each rule decides, where it names the address and where not, and what it
        #: leads to where it is the first that may permit.
        self._decisions = [_decision(rule) for rule in rules]
        self._by_address = [
            evolve(each, by_address=each.verdict is Verdict.PERMIT) for each in self._decisions
        ]
        self._undecided = [evolve(NO_OPINION, terms=rule.terms) for rule in rules]

    def decide(self, request: Request) -> Decision:
        """See L{IRuleset}."""
        return self._decide(request)[0]

    def explain(self, request: Request) -> Explanation:
        """
        @param request: what to decide, as far as it is known.
        @return: what L{decide} decides, by which rule, and what is to be said of each.
        """
        decision, place = self._decide(request)
        rule = None if place is None else self._rules[place]
        explainer = Explainer(request, self._clock())
        return Explanation(decision, rule, [explainer.consider(rule) for rule in self._rules])

    def _decide(self, request: Request) -> Decided:
        conditions = self._conditions
        known = conditions.of_client(request)
        if request.command is None:
            decided = self._foresee(known, self._later)
            return decided if decided[0].verdict is Verdict.DENY else (NO_OPINION, None)
        known &= conditions.of_request(request)
        name, address = request.name, request.address
        if name is None and address is None and request.command is Command.UDP_ASSOCIATE:
            return self._foresee(known, self._aimed)
        known &= conditions.of_port(request.port)
        if address is not None:
            return self._on_address(known, name, address)
        if name is not None:
            return self._on_name(known, name)
        return self._foresee(known, self._destinations.named)

    def _on_name(self, known: int, name: str) -> Decided:
        destinations = self._destinations
        named = known & destinations.by_name(name)
        if named:
            first = _first(named | known & destinations.everywhere)
            if named >> first & 1:
                return self._decisions[first], first
        addressed = destinations.addressed
        return self._foresee(known & (addressed | destinations.everywhere), addressed)

    def _on_address(self, known: int, name: str | None, address: IPAddress) -> Decided:
        destinations, denies, none = self._destinations, self._denies, len(self._rules)
        everywhere = known & destinations.everywhere
        addressed = known & destinations.by_address(address)
        either = addressed | everywhere
        first = _first(either) if either else none
        by_address = addressed >> first & 1
        denying = first if by_address and denies[first] else none
        if name is not None and (named := known & destinations.by_name(name)):
            by_name = _first(named | everywhere)
            # A rule for everything would have been found before.
            if named >> by_name & 1:
                first = min(first, by_name)
                if denies[by_name]:
                    denying = min(denying, by_name)
        if not isinstance(address, IPv4Address):
            for inner in embedded(address):
                if leading := known & destinations.by_address(inner):
                    by_inner = _first(leading | everywhere)
                    if leading >> by_inner & 1 and denies[by_inner]:
                        denying = min(denying, by_inner)
        first = denying if denying < none else first
        if first == none:
            return _NO_RULE, None
        return (self._by_address if by_address else self._decisions)[first], first

    def _foresee(self, possible: int, unsure: int) -> Decided:
        """
        Decide among rules of which some may match and the others do.

        @param possible: both.
        @param unsure: rules that may match, if they are possible.
        """
        matching = possible & ~unsure
        sure = _first(matching) if matching else len(self._rules)
        if permitting := possible & self._permits:
            permit = _first(permitting)
            if permit < sure:
                likely = sure if matching and not self._denies[sure] else permit
                return self._undecided[likely], None
        return (self._decisions[sure], sure) if matching else (_NO_RULE, None)


def _first(mask: int) -> int:
    """
    @param mask: not 0.
    @return: the place of its first rule.
    """
    return (mask ^ (mask - 1)).bit_length() - 1


def _decision(rule: Rule) -> Decision:
    if rule.action is Action.PERMIT:
        return Decision(Verdict.PERMIT, rule.text, terms=rule.terms)
    return Decision(Verdict.DENY, rule.text)
