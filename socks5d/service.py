"""The program as an L{IService<twisted.application.service.IService>}: settings to listeners."""

import resource
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.auth.blocking import login_threads
from socks5d.auth.turns import login_turns
from socks5d.bounded import DeadlinePassed, bounded
from socks5d.config import Listener, Settings
from socks5d.config.rules import UPSTREAMS
from socks5d.config.settings import serving
from socks5d.egress import DirectEgress, is_own
from socks5d.interfaces import IAuthenticator, IRuleset, ISessionObserver
from socks5d.limits.lease import ILessor
from socks5d.limits.limiter import QUOTA, IElsewhere, Limiter
from socks5d.limits.quota import QuotaBook
from socks5d.listening import (
    accepted_address,
    announce,
    cannot_start,
    complain,
    keep_quotas,
    make_endpoint,
)
from socks5d.memory import give_back
from socks5d.net import available, faster
from socks5d.net.poller import poller_of
from socks5d.parameters import Timeouts
from socks5d.policy import (
    make_authenticators,
    make_guessing,
    make_quotas,
    make_ruleset,
    within_descriptors,
)
from socks5d.protocols import Capacity, SOCKSFactory
from socks5d.protocols.ident import IdentLookups
from socks5d.rules import Protection
from socks5d.signals import fail_in_order
from socks5d.values import ConfigError, Problems
from socks5d.wire import socks4, socks5

#: How long sessions that are ended at shutdown get to be gone, in seconds.
ABORT_GRACE = 2.0


class SOCKSService(Service):
    """
    Listens, and stops in order.

    @ivar capacity: counts the sessions of all listeners.
    @ivar ports: the listeners there are.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        observers: Iterable[ISessionObserver] = (),
        *,
        elsewhere: IElsewhere | None = None,
        endpoints: Sequence[IStreamServerEndpoint] | None = None,
    ) -> None:
        """
        @param settings: what to do.
        @param reactor: the reactor to run on.
        @param observers: are told of every session.
        @param elsewhere: where what clients and identities have is counted, where that is
            not done here alone.
        @param endpoints: where to listen, in the place of making them; one for each
            C{settings.listen}.  Nothing is said about them then.
        @raise ConfigError: for settings that do not go together, or not here.
        """
        self.setName("socks5d")
        self._settings = settings
        self._reactor = reactor
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = within_descriptors(settings.limits, descriptors)
        self.capacity = Capacity(limits.sessions, reactor, limits, give_back)
        self._quotas: QuotaBook | None = None
        quota: ILessor | None = None
        if elsewhere is None:
            self._quotas = quota = make_quotas(settings.quota, reactor)
        elif settings.quota.octets:
            quota = elsewhere.lessor(QUOTA)
        self._limiter = Limiter(limits, reactor, elsewhere, quota)
        if available(reactor):
            poller_of(reactor).pipes.limit = limits.pipes
        login_threads(reactor).limit(threads=limits.login_threads, jobs=limits.logins)
        login_turns(reactor).limit(limits)
        self._ident_lookups = IdentLookups(
            reactor,
            port=settings.ident_port,
            seconds=settings.timeouts.ident,
            at_once=limits.idents,
            clients=self._limiter.clients,
        )
        self.ports: list[IListeningPort] = []
        self._listening = False
        self._protection = Protection(settings.protect, is_own=is_own)
        self._egress = DirectEgress(
            reactor,
            _longest(settings),
            limits,
            settings.source,
            bind=settings.bind_address,
            bind_ports=settings.bind_ports,
        )
        self._guessing = make_guessing(settings, reactor)
        self._announcing = endpoints is None
        listeners = settings.listeners
        problems = Problems()
        self._policies: dict[tuple[int, ...], tuple[IRuleset, Sequence[IAuthenticator]]] = {}
        factories = [problems.within(self._factory, each, observers) for each in listeners]
        if endpoints is None:
            made = [
                problems.within(make_endpoint, each, reactor, each.endpoint) for each in listeners
            ]
            problems.complain()
            endpoints = [faster(each) for each in made if each is not None]
        problems.complain()
        #: Of each listener: what is set, where it listens, and what serves its clients.
        self._listeners = [
            (listener, endpoint, factory)
            for listener, endpoint, factory in zip(listeners, endpoints, factories, strict=True)
            if factory is not None
        ]

    def _factory(self, listener: Listener, observers: Iterable[ISessionObserver]) -> SOCKSFactory:
        settings = self._settings
        ruleset, authenticators = self._policy(listener)
        try:
            factory = SOCKSFactory(
                ruleset=ruleset,
                authenticators=authenticators,
                reactor=self._reactor,
                egress=self._egress,
                upstreams=dict.fromkeys(UPSTREAMS, self._egress),
                observers=observers,
                protection=self._protection,
                timeouts=listener.timeouts,
                limits=settings.limits,
                capacity=self.capacity,
                limiter=self._limiter,
                listener=listener.name,
                strangers=settings.strangers,
                commands=listener.commands,
                ident=listener.ident,
                ident_lookups=self._ident_lookups,
                udp=settings.udp,
            )
        except ValueError as error:
            raise ConfigError(f"authenticator: {error}") from None
        served = {socks4.VERSION: listener.socks4, socks5.VERSION: listener.socks5}
        factory.versions = {v: p for v, p in SOCKSFactory.versions.items() if served[v]}
        return factory

    def _policy(self, listener: Listener) -> tuple[IRuleset, Sequence[IAuthenticator]]:
        """Those listeners that have nothing of their own have the same, which may be large."""
        key = tuple(id(each) for each in serving(listener).values())
        if key not in self._policies:
            authenticators = make_authenticators(listener, self._reactor, self._guessing)
            self._policies[key] = make_ruleset(listener), authenticators
        return self._policies[key]

    def privilegedStartService(self) -> None:
        """
        See L{Service}.  Listens, while twistd still has the privileges it was started with.

        @raise StartupError: when a listener cannot listen, or would be an open proxy.
        """
        super().privilegedStartService()
        self._listening = True
        for listener, endpoint, factory in self._listeners:
            listening = endpoint.listen(factory).addCallback(self._listens, listener)
            if not listening.called:
                listening.addErrback(self._stop_late, listener.endpoint)
                continue
            failures: list[Failure] = []
            listening.addErrback(failures.append)
            if failures:
                self._cannot_start(listener.endpoint, failures[0])

    def startService(self) -> None:
        """See L{Service}.  Listens here where nobody called L{privilegedStartService}."""
        if not self._listening:
            self.privilegedStartService()
        super().startService()
        if self._quotas is not None:
            # Not before: the file belongs to whoever this process runs as from now on.
            keep_quotas(self._quotas, self._settings.quota.file, self._reactor)

    def _listens(self, port: IListeningPort, listener: Listener) -> None:
        host = accepted_address(listener, port)
        if not self._listening:
            port.stopListening()
            raise ConfigError("the service has stopped")
        self.ports.append(port)
        if host is not None:
            self._protection.listeners.add(host)
        self.capacity.governs(port)
        if self._announcing:
            announce(listener.name, host)

    def _stop_late(self, failure: Failure, listener: str) -> None:
        """A listener that took its time cannot listen after all."""
        complain(listener, failure)
        fail_in_order(self._reactor)

    def _cannot_start(self, listener: str, failure: Failure) -> NoReturn:
        for port in self.ports:
            port.stopListening()
        cannot_start(complain(listener, failure))

    def stopService(self) -> Deferred[None]:
        """
        See L{Service}.  Accepts nobody any more, ends what has no request yet, gives
        the rest its time to finish, and ends it.
        """
        super().stopService()
        self._listening = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])
        self._shut_down(now=False)
        if not await self._idle(self._settings.timeouts.shutdown):
            left = sum(len(factory.sessions) for _, _, factory in self._listeners)
            self._log.info("{count} sessions did not finish and end now", count=left)
            self._shut_down(now=True)
            await self._idle(ABORT_GRACE)
        if self._quotas is not None:
            await self._quotas.close()

    def _shut_down(self, *, now: bool) -> None:
        for _, _, factory in self._listeners:
            for protocol in list(factory.sessions):
                protocol.shut_down(now=now)

    async def _idle(self, seconds: float) -> bool:
        try:
            await bounded(self._reactor, seconds, self.capacity.when_idle())
        except DeadlinePassed:
            return False
        return True


def _longest(settings: Settings) -> Timeouts:
    """For what all share: who serves a listener ends it earlier where that has less time."""
    connect = max(each.timeouts.connect for each in (settings, *settings.own))
    return evolve(settings.timeouts, connect=connect)
