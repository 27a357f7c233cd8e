"""From where: the ruleset of C{--allow-from} and C{--deny-from}."""

from collections.abc import Iterable

from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Request, Verdict
from socks5d.rules.prefixes import IPNetwork, PrefixMap


@implementer(IRuleset)
class ClientRules:
    """
    Denies clients by address; has no opinion of those it lets in, for what they may
    reach is another ruleset's business.  A client without an address (a UNIX
    socket) is in no network: it is denied where C{allow} is given.
    """

    def __init__(self, allow: Iterable[IPNetwork] = (), deny: Iterable[IPNetwork] = ()) -> None:
        """
        @param allow: once there is one, clients outside of all are denied.
        @param deny: clients that are denied, whatever C{allow} says.
        """
        self._allow = PrefixMap((network, str(network)) for network in allow)
        self._deny = PrefixMap((network, str(network)) for network in deny)

    def decide(self, request: Request) -> Decision:
        """See L{IRuleset}."""
        address = request.client.address
        if address is not None:
            if (rule := self._deny.get(address)) is not None:
                return Decision(Verdict.DENY, f"deny-from {rule}")
            if self._allow and self._allow.get(address) is not None:
                return NO_OPINION
        if self._allow:
            return Decision(Verdict.DENY, "no --allow-from mentions the client")
        return NO_OPINION
