"""Straight out: the default L{IEgress<socks5d.interfaces.IEgress>}."""

from collections.abc import Callable, Sequence
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorFromThreads,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.egress.listen import Ports, listen_on
from socks5d.egress.own import source_towards
from socks5d.egress.race import Allowance, race
from socks5d.egress.resolve import SystemResolver
from socks5d.interfaces import IEgress
from socks5d.model import Limits, SourceAddresses, Timeouts
from socks5d.wire.address import IPAddress


class Reactor(IReactorTCP, IReactorTime, IReactorFromThreads):
    """What is asked of a reactor: connections, timers, threads."""


class Resolver(Shape):
    """What finds the addresses of a name; see L{IEgress.resolve}."""

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]: ...


class _Outgoing(Factory):
    noisy = False

    def __init__(self, protocol: Callable[[], IProtocol]) -> None:
        self._make = protocol

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        return self._make()


@implementer(IEgress)
class DirectEgress:
    """Resolves by the system's resolver and connects from this host."""

    def __init__(
        self,
        reactor: Reactor,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        source: SourceAddresses | None = None,
        resolver: Resolver | None = None,
        bind: SourceAddresses | None = None,
        bind_ports: Ports | None = None,
    ) -> None:
        """
        @param timeouts: C{connect} and C{attempt} are used.
        @param limits: C{threads}, C{lookups} and C{attempts} are used.
        @param source: local addresses to connect from.
        @param resolver: in the place of the system's.
        @param bind: local addresses to listen on for BIND; by default the one by which
            the peer is reached.
        @param bind_ports: lowest and highest port to listen on for BIND.
        """
        limits = limits if limits is not None else Limits()
        self._reactor = reactor
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        self._allowance = Allowance(limits.attempts)
        self._source = source if source is not None else SourceAddresses()
        self._bind = bind if bind is not None else SourceAddresses()
        self._bind_ports = bind_ports
        self._resolver = (
            resolver
            if resolver is not None
            else SystemResolver(reactor, limits.threads, limits.lookups)
        )

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """See L{IEgress}."""
        return self._resolver.resolve(name)

    def connect(
        self, addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        """See L{IEgress}."""
        factory = _Outgoing(protocol)

        def attempt(address: IPAddress) -> Deferred[IProtocol]:
            return self._abandonable(self._endpoint(address, port).connect(factory))

        return race(self._reactor, self._timeouts.attempt, addresses, attempt, self._allowance)

    def _abandonable(self, connecting: Deferred[IProtocol]) -> Deferred[IProtocol]:
        """
        An attempt that is given up closes its socket in the reactor's next turn.

        Closed at once, its number may be another socket's before the poll's remaining
        events are dealt with, one of which may have been meant for it; Twisted would
        take it to the other one, and a listener, say, does not survive that.
        """

        def give_up(_: Deferred[IProtocol]) -> None:
            self._reactor.callLater(0, connecting.cancel)

        attempt: Deferred[IProtocol] = Deferred(give_up)

        def connected(protocol: IProtocol) -> None:
            if attempt.called:
                ITCPTransport(protocol.transport).abortConnection()  # type: ignore[attr-defined]
            else:
                attempt.callback(protocol)

        def failed(failure: Failure) -> None:
            if not attempt.called:
                attempt.errback(failure)

        connecting.addCallbacks(connected, failed)
        return attempt

    def listen(self, towards: IPAddress, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See L{IEgress}."""
        return Deferred.fromCoroutine(self._listen(towards, factory))

    async def _listen(self, towards: IPAddress, factory: IProtocolFactory) -> IListeningPort:
        set_ = self._bind.ipv4 if towards.version == 4 else self._bind.ipv6
        address = set_ if set_ is not None else source_towards(towards)
        return await listen_on(self._reactor, address, self._bind_ports, factory)

    def _endpoint(self, address: IPAddress, port: int) -> IStreamClientEndpoint:
        v4 = address.version == 4
        source = self._source.ipv4 if v4 else self._source.ipv6
        return (TCP4ClientEndpoint if v4 else TCP6ClientEndpoint)(
            self._reactor,
            str(address),
            port,
            timeout=self._timeouts.connect,
            bindAddress=None if source is None else (str(source), 0),
        )
