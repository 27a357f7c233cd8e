"""
What there may be of each client's and of each identity's: asked in one place.

Each limit has a word for its kind, by which what counts it is found: here, or in another
process.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from typing import Protocol as Shape

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints
from socks5d.limits.excess import Excesses
from socks5d.limits.flow import Flow, Turns, turns_of
from socks5d.limits.holding import Holding
from socks5d.limits.keys import identity_key, prefixes
from socks5d.limits.lease import ILessor, LeasedFlow
from socks5d.limits.pace import IFlow, Pace, Paces
from socks5d.limits.shares import IShares, Shares
from socks5d.limits.starts import Starts
from socks5d.model import Client, Identity
from socks5d.parameters import Limits

ASSOCIATIONS: Final = "associations"
STARTS: Final = "starts"
CLIENT_SESSIONS: Final = "client sessions"
IDENTITY_SESSIONS: Final = "identity sessions"

#: What could not be counted is refused.
UNCOUNTED: Final = "limit: could not be counted"

#: Octets a second of an identity's sessions, from their clients and to them.
_RATE_UP: Final = "rate up"
_RATE_DOWN: Final = "rate down"
#: Octets of an identity in a period, both ways.
QUOTA: Final = "quota"


class IElsewhere(Shape):
    """Another place where things are counted."""

    def shares(self, kind: str) -> IShares:
        """
        @return: what counts a kind there.
        """

    def lessor(self, kind: str) -> ILessor:
        """
        @return: what gives leases of a kind there.
        """


def words(limits: Limits) -> Mapping[str, str]:
    """
    @return: for each kind how a line of the log begins, which goes on with whose it is.
    """
    return {
        STARTS: f"limit: {limits.session_rate} new sessions per second of ",
        CLIENT_SESSIONS: f"limit: {limits.client_sessions} sessions of ",
        IDENTITY_SESSIONS: f"limit: {limits.identity_sessions} sessions of ",
    }


def at_once(limits: Limits) -> Mapping[str, int]:
    """
    @return: for each kind that is given back, how many a key may have; 0 for any number.
    """
    return {
        ASSOCIATIONS: limits.associations,
        CLIENT_SESSIONS: limits.client_sessions,
        IDENTITY_SESSIONS: limits.identity_sessions,
    }


def rates(rate: int) -> tuple[str, str]:
    """
    @param rate: of an identity, octets a second.
    @return: the kinds of leases of it, up and down, which are others for each rate: sessions
        keep the one that they began with.
    """
    return f"{_RATE_UP} {rate}", f"{_RATE_DOWN} {rate}"


def counting_here(limits: Limits, clock: IReactorTime) -> Mapping[str, IShares]:
    """
    @return: what counts each kind that is limited.
    """
    made: dict[str, IShares] = {
        kind: Shares(most) for kind, most in at_once(limits).items() if most
    }
    if limits.session_rate:
        made[STARTS] = Starts(clock, limits.session_rate, limits.session_burst)
    return made


class Limiter:
    """
    @ivar clients: tells clients apart.
    @ivar limits_clients: whether clients have limits, so that there is anything to ask.
    @ivar limits_identities: whether the sessions of identities have.
    @ivar paces_identities: whether what those relay has.
    """

    _log = Logger()

    def __init__(
        self,
        limits: Limits,
        clock: IReactorTime,
        elsewhere: IElsewhere | None = None,
        quota: ILessor | None = None,
    ) -> None:
        """
        @param elsewhere: where everything is counted that is not here, and where what is over
            a limit is said, too.
        @param quota: gives leases of what identities may relay; None for any number.
        """
        self.clients = prefixes(limits)
        self._clock = clock
        self._limits = limits
        self._identity_rate = limits.identity_rate
        self._shares = dict(counting_here(limits, clock))
        self._excesses = None
        if elsewhere is None:
            self._excesses = Excesses(clock, self._log)
        else:
            self._shares = {kind: elsewhere.shares(kind) for kind in self._shares}
        self._elsewhere = elsewhere
        self._words = words(limits)
        self._complaints = Complaints(clock, self._log)
        self._of_clients = [each for each in (STARTS, CLIENT_SESSIONS) if each in self._shares]
        self.limits_clients = bool(self._of_clients)
        self._quota = quota
        self.limits_identities = IDENTITY_SESSIONS in self._shares or quota is not None
        self.paces_identities = bool(limits.identity_rate) or quota is not None
        self._of_identities: dict[str, _Shared] = {}

    def take_over(self, before: "Limiter") -> None:
        """
        Go on from what another has counted.  Its sessions keep the rates that they began with.

        @param before: one with other limits; it is asked for nothing new any more.
        """
        self._excesses = before._excesses
        for kind, most in at_once(self._limits).items():
            counted = before._shares.get(kind)
            if most and isinstance(counted, Shares):
                counted.limit(most)
                self._shares[kind] = counted
        ours, starts = self._shares.get(STARTS), before._shares.get(STARTS)
        if isinstance(ours, Starts) and isinstance(starts, Starts) and ours.limit == starts.limit:
            self._shares[STARTS] = starts
        if self._identity_rate == before._identity_rate:
            self._of_identities = before._of_identities

    @property
    def associations(self) -> IShares:
        """Counts UDP associations, by client."""
        return self._shares[ASSOCIATIONS]

    def admit_client(self, client: Client, holding: Holding) -> str | Deferred[str]:
        """
        Ask for a session of a client's.

        @param holding: gets what is counted.
        @return: the limit that is in the way, "" for none; where that takes time a Deferred
            of it, which never fails but by its cancellation.
        """
        if client.address is None:
            return ""
        return self._admit(self._of_clients, self.clients.key(client.address), holding)

    def admit_identity(self, identity: Identity, holding: Holding) -> str | Deferred[str]:
        """
        Ask for a session of an identity's; see L{admit_client}.
        """
        key = identity_key(identity)
        if key is None:
            return ""
        excess: str | Deferred[str] = ""
        if IDENTITY_SESSIONS in self._shares:
            excess = self._admit([IDENTITY_SESSIONS], key, holding)
        if excess == "":
            excess = self._within_quota(key, holding)
        elif isinstance(excess, Deferred):
            excess.addCallback(lambda excess: excess or self._within_quota(key, holding))
        return excess

    def _within_quota(self, key: str, holding: Holding) -> str | Deferred[str]:
        if self._quota is None:
            return ""
        quota = self._shared(key, holding).quota
        assert quota is not None
        ready = quota.ready()
        return ready if isinstance(ready, str) else ready.addErrback(self._uncounted)

    def _uncounted(self, failure: Failure) -> str:
        if failure.check(CancelledError):
            failure.raiseException()
        self._complaints.complain("a limit could not be counted, which refuses", failure)
        return UNCOUNTED

    def _admit(self, kinds: Sequence[str], key: str, holding: Holding) -> str | Deferred[str]:
        for number, kind in enumerate(kinds):
            taking = holding.take(self._shares[kind], key)
            if not isinstance(taking, bool):
                rest = kinds[number + 1 :]
                return Deferred.fromCoroutine(self._admit_later(taking, kind, rest, key, holding))
            if not taking:
                return self._over(kind, key)
        return ""

    async def _admit_later(
        self, taking: Deferred[bool], kind: str, rest: Sequence[str], key: str, holding: Holding
    ) -> str:
        try:
            if not await taking:
                return self._over(kind, key)
        except Exception:  # noqa: BLE001 (what counts may be gone)
            return self._uncounted(Failure())
        answer = self._admit(rest, key, holding)
        return answer if isinstance(answer, str) else await answer

    def _over(self, kind: str, key: str) -> str:
        """
        Say that a key would have one too many of a kind.

        @return: in words.
        """
        what = self._words[kind] + key
        if self._excesses is not None:
            self._excesses.tell(what)
        return what

    def paces(self, rate: int, identity: Identity, holding: Holding) -> Paces | None:
        """
        How fast a session may go, each way.

        @param rate: octets a second of this session; 0 for any.
        @param identity: whose it is.
        @param holding: gets what is shared with the identity's other sessions.
        @return: None for as fast as can be.
        """
        up: list[IFlow] = []
        down: list[IFlow] = []
        if rate:
            up.append(Flow(self._clock, rate))
            down.append(Flow(self._clock, rate))
        key = identity_key(identity) if self.paces_identities else None
        if key is not None:
            shared = self._shared(key, holding)
            up.extend(shared.up)
            down.extend(shared.down)
        return (Pace(up), Pace(down)) if up else None

    def _shared(self, key: str, holding: Holding) -> "_Shared":
        shared = self._of_identities.get(key)
        if shared is None:
            self._of_identities[key] = shared = _Shared()
            if self._identity_rate:
                up, down = rates(self._identity_rate)
                shared.up.append(self._flow(up, key))
                shared.down.append(self._flow(down, key))
        if self._quota is not None and shared.quota is None:
            shared.quota = LeasedFlow(self._clock, self._quota, key)
            shared.up.append(shared.quota)
            shared.down.append(shared.quota)
        shared.sessions += 1
        holding.keep(lambda: self._leave(key))
        return shared

    def _flow(self, kind: str, key: str) -> Turns:
        if self._elsewhere is None:
            return Flow(self._clock, self._identity_rate)
        return LeasedFlow(self._clock, self._elsewhere.lessor(kind), key)

    def _leave(self, key: str) -> None:
        shared = self._of_identities[key]
        shared.sessions -= 1
        if not shared.sessions:
            shared.close_quota()
        self._forget(key)

    def _forget(self, key: str) -> None:
        """Not before it is as good as new, or who comes again and again would have more."""
        shared = self._of_identities.get(key)
        if shared is None or shared.sessions:
            return
        flows = [*shared.up, *shared.down]
        seconds = max((each.seconds_until_full() for each in flows), default=0.0)
        if seconds:
            turns_of(self._clock).after(seconds, lambda: self._forget(key))
        else:
            del self._of_identities[key]
            for each in flows:
                each.close()


class _Shared:
    """
    What the sessions of one identity share.

    @ivar up: how much may come from their clients.
    @ivar down: how much may go to them.
    @ivar quota: how much both together, which is in both of these.
    @ivar sessions: how many there are.
    """

    __slots__ = ("down", "quota", "sessions", "up")

    def __init__(self) -> None:
        self.up: list[Turns] = []
        self.down: list[Turns] = []
        self.quota: LeasedFlow | None = None
        self.sessions = 0

    def close_quota(self) -> None:
        """Nobody relays: what is left of a lease is given back, however fast it may go later."""
        quota, self.quota = self.quota, None
        if quota is not None:
            self.up.remove(quota)
            self.down.remove(quota)
            quota.close()
