"""Straight out: the default L{IEgress<socks5d.interfaces.IEgress>}."""

from collections.abc import Callable, Sequence
from copy import copy
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol as Shape

from attrs import evolve
from twisted.internet.defer import Deferred, execute
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
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol, Factory
from zope.interface import implementer

from socks5d.egress.attempt import abandonable
from socks5d.egress.datagram import open_datagram
from socks5d.egress.listen import listen_on
from socks5d.egress.own import source_towards
from socks5d.egress.ports import Ports
from socks5d.egress.race import Allowance, race
from socks5d.egress.resolve import SystemResolver
from socks5d.interfaces import IEgressOnTerms
from socks5d.model import Outcome, Refusal, Terms
from socks5d.net import available, connect_stream
from socks5d.net.addresses import CAN_CHOOSE_DEVICES
from socks5d.net.poller import poller_of
from socks5d.parameters import Limits, LocalAddresses, Timeouts
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


@implementer(IEgressOnTerms)
class DirectEgress:
    """Resolves by the system's resolver and connects from this host."""

    def __init__(
        self,
        reactor: Reactor,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        source: LocalAddresses | None = None,
        resolver: Resolver | None = None,
        bind: LocalAddresses | None = None,
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
        self._poller = poller_of(reactor) if available(reactor) else None
        self._timeouts = timeouts if timeouts is not None else Timeouts()
        self._allowance = Allowance(limits.attempts)
        self._source = source if source is not None else LocalAddresses()
        self._device: str | None = None
        self._bind = bind if bind is not None else LocalAddresses()
        self._bind_ports = bind_ports
        self._resolver = (
            resolver
            if resolver is not None
            else SystemResolver(reactor, limits.threads, limits.lookups)
        )

    def on_terms(self, terms: Terms) -> "DirectEgress":
        """See L{IEgressOnTerms}.  The two share what bounds them."""
        if terms.device is not None and (self._poller is None or not CAN_CHOOSE_DEVICES):
            raise Refusal(Outcome.DENIED, "devices cannot be chosen on this platform")
        other = copy(self)
        if terms.connect is not None:
            other._timeouts = evolve(self._timeouts, connect=terms.connect)
        if terms.source is not None:
            other._source = terms.source.or_else(self._source)
            other._bind = terms.source.or_else(self._bind)
        if terms.device is not None:
            other._device = terms.device
        return other

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """See L{IEgress}."""
        return self._resolver.resolve(name)

    def connect(
        self, addresses: Sequence[IPAddress], port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        """See L{IEgress}."""
        if len(addresses) == 1:
            return self._connect(addresses[0], port, protocol)
        return race(
            self._reactor,
            self._timeouts.attempt,
            addresses,
            lambda address: self._connect(address, port, protocol),
            self._allowance,
        )

    def _connect(
        self, address: IPAddress, port: int, protocol: Callable[[], IProtocol]
    ) -> Deferred[IProtocol]:
        if self._poller is not None:
            seconds, source = self._timeouts.connect, self._source.towards(address)
            return connect_stream(
                self._poller, address, port, protocol, seconds, source, self._device
            )
        connecting = self._endpoint(address, port).connect(_Outgoing(protocol))
        return abandonable(self._reactor, connecting)

    def listen(self, towards: IPAddress, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See L{IEgress}."""
        return Deferred.fromCoroutine(self._listen(towards, factory))

    async def _listen(self, towards: IPAddress, factory: IProtocolFactory) -> IListeningPort:
        address = self._bind.towards(towards) or source_towards(towards, self._device)
        return await listen_on(self._reactor, address, self._bind_ports, factory, self._device)

    def open_datagram(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        """See L{IEgress}."""
        any_address = IPv4Address(0) if towards.version == 4 else IPv6Address(0)
        address = self._source.towards(towards) or any_address
        return execute(open_datagram, self._reactor, address, None, protocol, self._device)

    def _endpoint(self, address: IPAddress, port: int) -> IStreamClientEndpoint:
        source = self._source.towards(address)
        return (TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint)(
            self._reactor,
            str(address),
            port,
            timeout=self._timeouts.connect,
            bindAddress=None if source is None else (str(source), 0),
        )
