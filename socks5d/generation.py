"""
What settings come to, as it is from one reload to the next: L{Generation}; and what is the
same in all of them: L{Lasting}.

What sessions have in common with those of the generation before (their number, what their
clients failed at, the traffic of a month) lasts.  All else is made anew, and costs nothing
that runs: sessions keep what they began with.
"""

import resource
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from socks5d.auth.blocking import login_threads
from socks5d.auth.guessing import Guessing
from socks5d.config import Listener, Settings
from socks5d.config.rules import UPSTREAMS
from socks5d.config.settings import serving
from socks5d.egress import DirectEgress, is_own
from socks5d.egress.resolve import SystemResolver
from socks5d.interfaces import IAuthenticator, IRuleset, ISessionObserver
from socks5d.limits.lease import ILessor
from socks5d.limits.limiter import QUOTA, IElsewhere, Limiter
from socks5d.limits.quota import QuotaBook
from socks5d.memory import give_back
from socks5d.net import available
from socks5d.net.poller import poller_of
from socks5d.parameters import Limits, Timeouts
from socks5d.policy import (
    make_authenticators,
    make_guessing,
    make_quotas,
    make_ruleset,
    shortest_login,
    within_descriptors,
)
from socks5d.protocols import Capacity, SOCKSFactory
from socks5d.protocols.ident import IdentLookups
from socks5d.rules import Protection
from socks5d.values import ConfigError, Problems
from socks5d.wire import socks4, socks5
from socks5d.wire.address import Address

_log = Logger()


@frozen(slots=True, kw_only=True)
class Generation:
    """
    @ivar settings: what it was made of.
    @ivar limits: the same, within what this process may have.
    @ivar limiter: says what each client and each identity may have.
    @ivar ident_lookups: asks identd.
    @ivar listeners: each with what serves its clients.
    """

    settings: Settings
    limits: Limits
    limiter: Limiter
    ident_lookups: IdentLookups
    listeners: Sequence[tuple[Listener, SOCKSFactory]]

    def tell_of_less(self) -> None:
        """Say what was set and cannot be held here."""
        wanted, possible = self.settings.limits.sessions, self.limits.sessions
        if wanted > possible:
            _log.warn(
                "limits.sessions: {wanted} in this process, of which file descriptors allow "
                "{possible}; raise their limit (LimitNOFILE under systemd, or ulimit -n)",
                wanted=wanted,
                possible=possible,
            )


class Lasting:
    """
    @ivar capacity: counts the sessions.
    @ivar quotas: what identities may relay, where that is counted here and limited.
    @ivar addresses: where this server listens, which is protected.
    """

    def __init__(self, settings: Settings, reactor: Any, elsewhere: IElsewhere | None) -> None:
        """
        @param settings: those of the first generation.
        @param elsewhere: where what clients and identities have is counted, where that is
            not done here alone.
        @raise ConfigError: for a quota's file that cannot be.
        """
        self._reactor = reactor
        self._elsewhere = elsewhere
        self.quotas: QuotaBook | None = None
        self._quota: ILessor | None = None
        if elsewhere is None:
            self.quotas = self._quota = make_quotas(settings.quota, reactor)
        elif settings.quota.octets:
            self._quota = elsewhere.lessor(QUOTA)
        limits = _possible(settings)
        self.capacity = Capacity(limits.sessions, reactor, limits, give_back)
        self.addresses: set[Address] = set()
        self._guessing = make_guessing(settings, reactor)
        self._resolver = SystemResolver(reactor, limits.threads, limits.lookups)

    def generation(
        self,
        settings: Settings,
        observers: Iterable[ISessionObserver],
        before: Generation | None = None,
    ) -> Generation:
        """
        Make one, which changes nothing.

        @param observers: are told of every session.
        @param before: the one that it is to take the place of.
        @raise ConfigError: for settings that do not go together, or not here, or not after
            those before.
        """
        problems = Problems()
        if before is not None:
            problems.within(_check_lasting, before.settings, settings)
        limits = _possible(settings)
        limiter = Limiter(limits, self._reactor, self._elsewhere, self._quota)
        if before is not None and before.limits == limits:
            limiter = before.limiter
        egress = DirectEgress(
            self._reactor,
            _longest(settings),
            limits,
            settings.source,
            self._resolver,
            bind=settings.bind_address,
            bind_ports=settings.bind_ports,
        )
        protection = Protection(settings.protect, is_own=is_own)
        protection.listeners = self.addresses
        ident_lookups = self._ident_lookups(settings, limits, limiter, before)
        make = partial(
            SOCKSFactory,
            reactor=self._reactor,
            egress=egress,
            upstreams=dict.fromkeys(UPSTREAMS, egress),
            observers=tuple(observers),
            protection=protection,
            limits=settings.limits,
            capacity=self.capacity,
            limiter=limiter,
            strangers=settings.strangers,
            ident_lookups=ident_lookups,
            udp=settings.udp,
        )
        policies = _Policies(self._reactor, self._guessing, settings.limits)
        factories = [problems.within(_factory, make, policies, each) for each in settings.listeners]
        problems.complain()
        pairs = zip(settings.listeners, factories, strict=True)
        return Generation(
            settings=settings,
            limits=limits,
            limiter=limiter,
            ident_lookups=ident_lookups,
            listeners=[(each, factory) for each, factory in pairs if factory is not None],
        )

    def _ident_lookups(
        self, settings: Settings, limits: Limits, limiter: Limiter, before: Generation | None
    ) -> IdentLookups:
        """They count what is under way, and last while nothing about it changes."""
        if (
            before is not None
            and before.limits == limits
            and before.settings.ident_port == settings.ident_port
            and before.settings.timeouts.ident == settings.timeouts.ident
        ):
            return before.ident_lookups
        return IdentLookups(
            self._reactor,
            port=settings.ident_port,
            seconds=settings.timeouts.ident,
            at_once=limits.idents,
            clients=limiter.clients,
        )

    def begin(self, generation: Generation, before: Generation | None = None) -> None:
        """
        Have what lasts go by its numbers.

        @param generation: the one that serves from now on.
        @param before: the one that did until now.
        """
        settings, limits = generation.settings, generation.limits
        self._guessing.limit(settings.limits, shortest_login(settings))
        if self.quotas is not None:
            self.quotas.limit(settings.quota.octets)
        if before is not None and before.limits == limits:
            return
        if before is not None:
            generation.limiter.take_over(before.limiter)
            self.capacity.adapt(limits.sessions, limits)
            self._resolver.limit(limits.threads, limits.lookups)
        if available(self._reactor):
            poller_of(self._reactor).pipes.limit = limits.pipes
        login_threads(self._reactor).limit(threads=limits.login_threads, jobs=limits.logins)


class _Policies:
    """
    Those listeners that have nothing of their own have the same, which may be large.
    """

    def __init__(self, reactor: Any, guessing: Guessing, limits: Limits) -> None:
        self._reactor = reactor
        self._guessing = guessing
        self._limits = limits
        self._made: dict[tuple[int, ...], tuple[IRuleset, Sequence[IAuthenticator]]] = {}

    def of(self, listener: Listener) -> tuple[IRuleset, Sequence[IAuthenticator]]:
        key = tuple(id(each) for each in serving(listener).values())
        if key not in self._made:
            authenticators = make_authenticators(
                listener, self._reactor, self._guessing, self._limits
            )
            self._made[key] = make_ruleset(listener), authenticators
        return self._made[key]


def _factory(
    make: Callable[..., SOCKSFactory], policies: _Policies, listener: Listener
) -> SOCKSFactory:
    ruleset, authenticators = policies.of(listener)
    try:
        factory = make(
            ruleset=ruleset,
            authenticators=authenticators,
            timeouts=listener.timeouts,
            listener=listener.name,
            commands=listener.commands,
            ident=listener.ident,
        )
    except ValueError as error:
        raise ConfigError(f"authenticator: {error}") from None
    served = {socks4.VERSION: listener.socks4, socks5.VERSION: listener.socks5}
    factory.versions = {v: p for v, p in SOCKSFactory.versions.items() if served[v]}
    return factory


def _possible(settings: Settings) -> Limits:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return within_descriptors(settings.limits, descriptors)


def _longest(settings: Settings) -> Timeouts:
    """For what all share: who serves a listener ends it earlier where that has less time."""
    connect = max(each.timeouts.connect for each in (settings, *settings.own))
    return evolve(settings.timeouts, connect=connect)


def _check_lasting(before: Settings, after: Settings) -> None:
    """
    @raise ConfigError: for what only a restart can change.
    """
    pairs = {
        "workers": (before.workers, after.workers),
        "access_log": (before.access_log, after.access_log),
        "quota.store": (before.quota.store, after.quota.store),
        "quota.file": (before.quota.file, after.quota.file),
        "quota.period": (before.quota.period, after.quota.period),
        "quota (whether there is one)": (bool(before.quota.octets), bool(after.quota.octets)),
    }
    problems = [
        f"{key}: only a restart changes it; it is {_shown(old)} now, and would be {_shown(new)}"
        for key, (old, new) in pairs.items()
        if old != new
    ]
    if problems:
        raise ConfigError(*problems)


def _shown(value: object) -> str:
    return "not set" if value is None else str(getattr(value, "value", value))
