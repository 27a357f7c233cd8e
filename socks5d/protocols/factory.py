"""What the factories of all SOCKS versions have in common."""

from collections.abc import Iterable, Sequence

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints
from socks5d.egress import DirectEgress, is_own
from socks5d.egress.direct import Reactor
from socks5d.interfaces import USERID, IAuthenticator, IEgress, IRuleset, ISessionObserver
from socks5d.model import Limits, Opened, Record, Timeouts
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.capacity import Capacity
from socks5d.protocols.session import Session
from socks5d.rules.gate import Gate
from socks5d.rules.protection import Protection

#: Sessions at once, where nobody set a limit.
DEFAULT_SESSIONS = 10_000


class SOCKSBaseFactory(Factory):
    """
    Makes protocols, and holds what they share.  Two factories share nothing unless
    they are given it.

    @ivar clock: the reactor's timers.
    @ivar gate: decides about requests.
    @ivar egress: reaches out.
    @ivar timeouts: how long things may take.
    @ivar limits: how much there may be.
    @ivar capacity: counts its sessions.
    @ivar listener: what its listener is called in requests and records.
    @ivar sessions: the protocols that there are.
    @ivar versions: the protocol for each version number, where a port serves several.
    """

    noisy = False
    protocol: type[SOCKSProtocol]  # type: ignore[assignment]
    versions: dict[int, type[SOCKSProtocol]] = {}
    _log = Logger()

    def __init__(
        self,
        *,
        ruleset: IRuleset,
        authenticators: Sequence[IAuthenticator],
        reactor: Reactor | None = None,
        egress: IEgress | None = None,
        observers: Iterable[ISessionObserver] = (),
        protection: Protection | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        capacity: Capacity | None = None,
        listener: str = "",
    ) -> None:
        """
        @param ruleset: decides about every request.
        @param authenticators: in the order of preference.  A client that offers none
            of their methods is not served, nor is SOCKS 4 without one for USERID.
        @param reactor: the reactor to run on; the global one by default.
        @param egress: how to reach out; straight by default.
        @param observers: are told of every session.
        @param protection: what only a permit by address reaches; by default the
            addresses that trust this host.
        @param timeouts: how long things may take.
        @param limits: how much there may be.
        @param capacity: counts sessions, for factories that share a limit; by
            default this factory has C{limits.sessions} to itself.
        @param listener: what to call its listener in requests and records.
        @raise ValueError: when two authenticators own the same method, or one owns
            what is no method.
        """
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = installed  # type: ignore[assignment]
        assert reactor is not None
        self.clock: IReactorTime = reactor
        self.timeouts = timeouts if timeouts is not None else Timeouts()
        self.limits = limits if limits is not None else Limits()
        self.listener = listener
        if protection is None:
            protection = Protection(is_own=is_own)
        self.gate = Gate(ruleset, protection, self.clock, self.timeouts.decision)
        self.egress = (
            egress if egress is not None else DirectEgress(reactor, self.timeouts, self.limits)
        )
        self.sessions: set[SOCKSProtocol] = set()
        self.capacity = (
            capacity
            if capacity is not None
            else Capacity(self.limits.sessions or DEFAULT_SESSIONS, self.clock)
        )
        self._observers = tuple(observers)
        self._complaints = Complaints(self.clock, self._log)
        self._authenticators: dict[int, IAuthenticator] = {}
        for authenticator in authenticators:
            method = authenticator.method
            if method in self._authenticators:
                what = "USERID" if method == USERID else f"method {method}"
                raise ValueError(f"two authenticators for {what}")
            if method != USERID and not 0 <= method <= 254:
                raise ValueError(f"no SOCKS 5 method: {method}")
            self._authenticators[method] = authenticator

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> SOCKSProtocol | None:
        """See L{Factory}."""
        if not self.capacity.enter():
            return None
        protocol = self.protocol(Session(self, addr))
        protocol.factory = self
        self.sessions.add(protocol)
        return protocol

    def choose(self, offered: bytes) -> IAuthenticator | None:
        """
        @param offered: the METHODs a client has.
        @return: the authenticator of ours that comes first, or None.
        """
        for method, authenticator in self._authenticators.items():
            if method != USERID and method in offered:
                return authenticator
        return None

    def userid_authenticator(self) -> IAuthenticator | None:
        """
        @return: who judges SOCKS 4's USERID, or None.
        """
        return self._authenticators.get(USERID)

    def opened(self, event: Opened) -> None:
        """
        @param event: goes to the observers.
        """
        for observer in self._observers:
            try:
                observer.opened(event)
            except Exception:  # noqa: BLE001 (a stranger's code)
                self._complaints.complain("a session observer failed", Failure())

    def ended(self, record: Record) -> None:
        """
        A session is over.

        @param record: goes to the observers.
        """
        self.capacity.leave()
        for observer in self._observers:
            try:
                observer.closed(record)
            except Exception:  # noqa: BLE001 (a stranger's code)
                self._complaints.complain("a session observer failed", Failure())

    def blame(self, failure: Failure) -> None:
        """
        Say that something of ours, or of an authenticator's or an egress's, broke.

        @param failure: with its traceback.
        """
        self._complaints.complain("a session failed on an error it should not have met", failure)
