"""What the factories of all SOCKS versions have in common."""

from collections.abc import Container, Iterable, Mapping, Sequence

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from socks5d.egress import DirectEgress, is_own
from socks5d.egress.direct import Reactor
from socks5d.interfaces import IAuthenticator, IEgress, IRuleset, ISessionObserver
from socks5d.limits.limiter import Limiter
from socks5d.model import Command
from socks5d.parameters import IdentMode, Limits, Strangers, Timeouts, UDPParameters
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.capacity import Capacity
from socks5d.protocols.ident import IdentLookups
from socks5d.protocols.server import Server
from socks5d.protocols.session import Session
from socks5d.rules.gate import Gate
from socks5d.rules.protection import Protection

#: Sessions at once, where nobody set a limit.
DEFAULT_SESSIONS = 10_000

STRANGERS: Mapping[str, Strangers] = {"4": Strangers.REFUSE, "5": Strangers.IGNORE}


class TurnedAway(Protocol):
    """For a client more than there may be."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class SOCKSBaseFactory(Factory):
    """
    Makes protocols.  Two factories share nothing unless they are given it.

    @ivar server: what the sessions share.
    @ivar sessions: the protocols that there are.
    @ivar versions: the protocol for each version number, where a port serves several.
    @ivar retired: whether its listener is gone for good.
    """

    noisy = False
    protocol: type[SOCKSProtocol]
    versions: dict[int, type[SOCKSProtocol]] = {}

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
        limiter: Limiter | None = None,
        listener: str = "",
        strangers: Mapping[str, Strangers] | None = None,
        commands: Container[Command] = frozenset(Command),
        ident: IdentMode = IdentMode.OFF,
        ident_lookups: IdentLookups | None = None,
        udp: UDPParameters | None = None,
        upstreams: Mapping[str, IEgress] | None = None,
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
        @param capacity: counts sessions, for factories that share a limit; by default
            this factory has C{limits.sessions} to itself.
        @param limiter: says what each client and each identity may have, for factories that
            share these limits; by default this factory has C{limits} to itself.
        @param strangers: what becomes of a BIND when somebody connects who is not
            expected, by version, "4" and "5"; by default SOCKS 4 refuses, as its note
            says, and SOCKS 5 waits on.
        @param commands: those that are served.
        @param ident: what is done about RFC 1413.
        @param ident_lookups: asks identd, for factories that share its limit; by default
            one of this factory's, with C{timeouts.ident} and C{limits.idents}.
        @param udp: how UDP associations are served.
        @param upstreams: other egresses, by the name that the terms of a permit may have for
            them.  What names another one is refused.
        @param listener: what to call its listener in requests and records.
        @raise ValueError: when two authenticators own the same method, or one owns
            what is no method.
        """
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = installed  # type: ignore[assignment]
        assert reactor is not None
        timeouts = timeouts if timeouts is not None else Timeouts()
        limits = limits if limits is not None else Limits()
        if protection is None:
            protection = Protection(is_own=is_own)
        if egress is None:
            egress = DirectEgress(reactor, timeouts, limits)
        if capacity is None:
            capacity = Capacity(limits.sessions or DEFAULT_SESSIONS, reactor, limits)
        if limiter is None:
            limiter = Limiter(limits, reactor)
        self.server = Server(
            clock=reactor,
            gate=Gate(ruleset, protection, reactor, timeouts.decision),
            egress=egress,
            authenticators=authenticators,
            observers=observers,
            timeouts=timeouts,
            limits=limits,
            capacity=capacity,
            limiter=limiter,
            listener=listener,
            strangers={**STRANGERS, **(strangers or {})},
            commands=commands,
            ident=ident,
            ident_lookups=(
                ident_lookups
                if ident_lookups is not None
                else IdentLookups(
                    reactor,
                    seconds=timeouts.ident,
                    at_once=limits.idents,
                    clients=limiter.clients,
                )
            ),
            udp=udp if udp is not None else UDPParameters(),
            upstreams=upstreams if upstreams is not None else {},
        )
        self.retired = False
        self.sessions: set[SOCKSProtocol] = set()
        # Made once, not for each session, which would keep it.
        self._discard = self.sessions.discard

    def speaks(self, version: str) -> bool:
        """
        @param version: as a session has it.
        @return: whether it is served to those who connect now.
        """
        spoken = self.versions.values() or (self.protocol,)
        return any(each.version == version[:1] for each in spoken)

    def follow(self, other: "SOCKSBaseFactory") -> None:
        """
        Serve those who connect from now on as another factory would.  Sessions that have begun
        keep what they began with.

        @param other: of the same kind; it is not used for anything else.
        """
        self.server, self.versions = other.server, other.versions

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """See L{Factory}.  Never gives None, which wrapping factories cannot take."""
        if not self.server.capacity.enter():
            return TurnedAway()
        return self._adopt(self.protocol(Session(self.server)))

    def _adopt(self, protocol: SOCKSProtocol) -> SOCKSProtocol:
        protocol.factory = self
        protocol.over = self._discard
        self.sessions.add(protocol)
        return protocol
