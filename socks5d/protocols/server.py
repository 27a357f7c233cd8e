"""What all the sessions of a factory share."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints, bounded
from socks5d.deadlines import deadlines_of
from socks5d.interfaces import (
    USERID,
    IAuthenticator,
    IBudgetedAuthenticator,
    IEgress,
    ISessionObserver,
)
from socks5d.limits.limiter import Limiter
from socks5d.model import Client, Command, Opened, Record
from socks5d.parameters import IdentMode, Limits, Strangers, Timeouts, UDPParameters
from socks5d.protocols.capacity import Capacity
from socks5d.protocols.ident import IdentLookups
from socks5d.protocols.ways import Ways
from socks5d.rules.gate import Gate
from socks5d.wire.address import IPAddress

#: After how long a lookup counts no more, whatever became of it, in seconds.
LOOKUP = 60.0


class Server:
    """
    @ivar clock: the reactor's timers.
    @ivar deadlines: for what is many and hardly ever late.
    @ivar gate: decides about requests.
    @ivar egress: reaches out, and resolves names.
    @ivar ways: how to reach out on terms that a rule sets.
    @ivar timeouts: how long things may take.
    @ivar limits: how much there may be.
    @ivar capacity: counts the sessions.
    @ivar limiter: says what each client and each identity may have.
    @ivar listener: what the listener is called in requests and records.
    @ivar strangers: what becomes of a BIND when a stranger connects, by version.
    @ivar commands: what is served.
    @ivar ident: what is done about RFC 1413.
    @ivar ident_lookups: asks identd.
    @ivar udp: how UDP associations are served.
    @ivar superseded: called with a connection whose request was granted by these rules, which
        hold no more; None while they do, or where that changes nothing for it.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        gate: Gate,
        egress: IEgress,
        authenticators: Sequence[IAuthenticator],
        observers: Iterable[ISessionObserver],
        timeouts: Timeouts,
        limits: Limits,
        capacity: Capacity,
        limiter: Limiter,
        listener: str,
        strangers: Mapping[str, Strangers],
        commands: Container[Command],
        ident: IdentMode,
        ident_lookups: IdentLookups,
        udp: UDPParameters,
        upstreams: Mapping[str, IEgress],
    ) -> None:
        """
        @param authenticators: in the order of preference.
        @param observers: are told of every session.
        @param upstreams: egresses that rules may name.
        @raise ValueError: when two authenticators own the same method, or one owns
            what is no method.
        """
        self.clock = clock
        self.deadlines = deadlines_of(clock)
        self.gate = gate
        self.egress = egress
        self.ways = Ways(egress, upstreams)
        self.timeouts = timeouts
        self.limits = limits
        self.capacity = capacity
        self.limiter = limiter
        self.listener = listener
        self.strangers = strangers
        self.commands = commands
        self.ident = ident
        self.ident_lookups = ident_lookups
        self.udp = udp
        self.superseded: Callable[[Any], object] | None = None
        self._observers = tuple(observers)
        #: Those who want to know when sessions begin.
        self._opening = tuple(each.opened for each in self._observers if hasattr(each, "opened"))
        self._complaints = Complaints(clock, self._log)
        self._authenticators: dict[int, IAuthenticator] = {}
        #: What the sub-negotiations of some of them may take.
        self._octets: dict[int | None, int] = {}
        for authenticator in authenticators:
            method = authenticator.method
            if method in self._authenticators:
                what = "USERID" if method == USERID else f"method {method}"
                raise ValueError(f"two authenticators for {what}")
            if method != USERID and not 0 <= method <= 254:
                raise ValueError(f"no SOCKS 5 method: {method}")
            self._authenticators[method] = authenticator
            if IBudgetedAuthenticator.providedBy(authenticator):
                self._octets[method] = authenticator.octets

    def choose(self, offered: bytes) -> IAuthenticator | None:
        """
        @param offered: the METHODs a client has.
        @return: the authenticator of ours that comes first, or None.
        """
        for method, authenticator in self._authenticators.items():
            if method != USERID and method in offered:
                return authenticator
        return None

    def refusal(self, method: int | None) -> bytes:
        """
        @param method: the one that was chosen; None while none was.
        @return: what to send to a client whose authenticator failed.
        """
        return b"" if method is None else self._authenticators[method].refusal

    def budget(self, method: int | None) -> int:
        """
        @param method: the one that was chosen; None while none was.
        @return: octets that a client may send before its request is complete.
        """
        return self.limits.handshake + self._octets.get(method, 0)

    def userid_authenticator(self) -> IAuthenticator | None:
        """
        @return: who judges SOCKS 4's USERID, or None.
        """
        return self._authenticators.get(USERID)

    async def resolve(self, client: Client, name: str) -> Sequence[IPAddress]:
        """
        Resolve a name for a client, within its share.

        A lookup takes up a thread, or a question to somebody, until it has ended, whoever
        has left in the meantime; so that is how long it counts.

        @raise Refusal: when it does not resolve; and what else the egress fails with.
        """
        address = client.address
        if address is None:
            return await self.egress.resolve(name)
        key = self.limiter.clients.key(address)
        await self.capacity.lookups.wait(key)
        answer: Deferred[Sequence[IPAddress]] = Deferred()

        def ended(result: Sequence[IPAddress] | Failure) -> None:
            self.capacity.lookups.give_back(key)
            # Where it was cancelled, a Deferred takes this one call and drops it.
            if isinstance(result, Failure):
                answer.errback(result)
            else:
                answer.callback(result)

        looking = bounded(self.clock, LOOKUP, maybeDeferred(self.egress.resolve, name))
        looking.addBoth(ended)
        return await answer

    def opened(self, event: Callable[[], Opened]) -> None:
        """
        A session begins to relay.

        @param event: makes what goes to the observers, where there are any for it.
        """
        if not self._opening:
            return
        made = event()
        for opened in self._opening:
            try:
                opened(made)
            except Exception:  # noqa: BLE001 (a stranger's code)
                self._complaints.complain("a session observer failed at a beginning", Failure())

    def ended(self, record: Callable[[], Record]) -> None:
        """
        A session is over.

        @param record: makes what goes to the observers.
        """
        try:
            made = record()
        except Exception:  # noqa: BLE001 (it holds what strangers gave)
            self.blame(Failure())
        else:
            for observer in self._observers:
                try:
                    observer.closed(made)
                except Exception:  # noqa: BLE001 (a stranger's code)
                    self._complaints.complain("a session observer failed at an end", Failure())
        # Not before: with the last session a server that stops is gone.
        self.capacity.leave()

    def blame(
        self, failure: Failure, what: str = "a session failed on an error it should not have met"
    ) -> None:
        """
        Say that something broke.

        @param failure: with its traceback.
        @param what: what it was, in few and fixed words.
        """
        self._complaints.complain(what, failure)
