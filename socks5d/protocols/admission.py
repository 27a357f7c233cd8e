"""Whether a session is within the limits of its client and of its identity."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.limits.limiter import UNCOUNTED
from socks5d.model import Outcome, Refusal
from socks5d.protocols.session import Session


async def within_client_limits(session: Session) -> None:
    """
    @raise Refusal: for a session more than its client may have.
    """
    await _without(session.excess, session)


async def within_identity_limits(session: Session) -> None:
    """
    @raise Refusal: for a session more than its identity may have.
    """
    await _without(session.admit_identity(), session)


async def _without(excess: str | Deferred[str], session: Session) -> None:
    server = session.server
    if not isinstance(excess, str):
        try:
            excess = await bounded(server.clock, server.timeouts.decision, excess)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 (the count is kept elsewhere)
            server.blame(Failure(), "a limit could not be counted, which refuses")
            excess = UNCOUNTED
    if excess:
        raise Refusal(Outcome.OVER_LIMIT, excess)
