"""
The one door that every request passes: asks the ruleset, applies the protection,
and makes a denial of whatever goes wrong.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints, bounded
from socks5d.interfaces import IRuleset
from socks5d.model import Decision, Request, Verdict
from socks5d.rules.protection import Protection

_NO_RULE = Decision(Verdict.DENY, "no rule mentions it")
_FAILED = Decision(Verdict.DENY, "the ruleset failed to decide")


class Gate:
    """Judges requests: whatever comes out of it other than a permit is a denial."""

    _log = Logger()

    def __init__(
        self, ruleset: IRuleset, protection: Protection, clock: IReactorTime, seconds: float
    ) -> None:
        """
        @param ruleset: who decides.
        @param protection: what only a permit by address reaches.
        @param seconds: how long the ruleset may take.
        """
        self._ruleset = ruleset
        self._protection = protection
        self._clock = clock
        self._seconds = seconds
        self._complaints = Complaints(clock, self._log)

    def judge(self, request: Request) -> Decision | Deferred[Decision]:
        """
        @return: a decision.  One about an address is a permit or a deny; one about a
            client or a name may be no opinion.  A Deferred of it fails only when it
            is cancelled.
        """
        try:
            answer = self._ruleset.decide(request)
        except Exception:  # noqa: BLE001 (a stranger's code)
            return self._failed(Failure())
        if not isinstance(answer, Decision) and isinstance(answer, Deferred):
            pending = bounded(self._clock, self._seconds, answer)
            return pending.addCallback(self._settle, request).addErrback(self._late)
        return self._settle(answer, request)

    def _late(self, failure: Failure) -> Decision:
        if failure.check(CancelledError):
            failure.raiseException()
        return self._failed(failure)

    def _failed(self, failure: Failure) -> Decision:
        self._complaints.complain("a ruleset failed to decide, which denies", failure)
        return _FAILED

    def _settle(self, decision: Decision, request: Request) -> Decision:
        if not isinstance(decision, Decision):
            self._complaints.complain("a ruleset gave something that is no Decision")  # type: ignore[unreachable]
            return _FAILED
        address = request.address
        if decision.verdict is Verdict.DENY or address is None:
            return decision
        if decision.verdict is not Verdict.PERMIT:
            return _NO_RULE
        if not decision.by_address:
            what = self._protection.covers(address, request.port)
            if what is not None:
                return Decision(Verdict.DENY, f"protected: {what}")
        return decision
