"""By what identd says of the client (RFC 1413)."""

from collections.abc import Iterable

from zope.interface import implementer

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Outcome, Request, Verdict
from socks5d.patterns import NamePatterns


@implementer(IRuleset)
class RequireIdent:
    """
    Denies whom identd does not vouch for; has no opinion of the others.  It needs a
    listener that asks identd (L{IdentMode<socks5d.parameters.IdentMode>}).

    SOCKS 4 clients are told 92 when identd gave no name, and 93 when it gave another
    than their USERID.
    """

    def __init__(self, names: Iterable[str] = ("*",)) -> None:
        """
        @param names: user-ids that are let through, and patterns in which C{*} stands for
            any characters.
        """
        self._names = NamePatterns(names)

    def decide(self, request: Request) -> Decision:
        """See L{IRuleset}."""
        if request.command is None:
            return NO_OPINION
        ident = request.ident
        if ident is None or ident.name is None:
            problem = "nobody asked" if ident is None else ident.problem
            return Decision(Verdict.DENY, f"no ident: {problem}", outcome=Outcome.IDENT_UNREACHABLE)
        if request.userid is not None and request.userid != ident.name:
            return Decision(
                Verdict.DENY, "USERID is not what identd says", outcome=Outcome.IDENT_MISMATCH
            )
        if self._names.match(ident.name) is None:
            return Decision(Verdict.DENY, "ident name not listed")
        return NO_OPINION
