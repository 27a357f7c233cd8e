"""
Listeners behind HAProxy: the PROXY header says who the client is, so what sends one
is believed everything.  Only some may.
"""

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import _WrapperServerEndpoint, serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from zope.interface import implementer

from socks5d.bounded import Complaints
from socks5d.net.addresses import socket_address
from socks5d.protocols.control import ControlConnection
from socks5d.protocols.factory import TurnedAway
from socks5d.rules.prefixes import IPNetwork, PrefixMap

PREFIX = "haproxy:"


class _Senders(Factory):
    """Lets the connections of some to another factory."""

    noisy = False
    _log = Logger()

    def __init__(
        self, inner: IProtocolFactory, endpoint: "FilteredEndpoint", complaints: Complaints
    ) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._complaints = complaints

    def doStart(self) -> None:
        self._inner.doStart()

    def doStop(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]
        peer = socket_address(addr)
        # A UNIX socket has no address; who may connect to it is the file system's business.
        if peer is None or isinstance(peer.host, bytes) or self._endpoint.senders.get(peer.host):
            return self._inner.buildProtocol(addr)
        self._complaints.warn(f"{peer.host} is not in proxy_from, so its PROXY header is not read")
        return TurnedAway()


class _Headed(HAProxyProtocolWrapper):
    """Says when the header is there, though nothing comes behind it."""

    def dataReceived(self, data: bytes) -> None:
        known = self._proxyInfo is not None
        super().dataReceived(data)
        inner = self.wrappedProtocol
        if not known and self._proxyInfo is not None and isinstance(inner, ControlConnection):
            inner.identified()


class _Headers(HAProxyWrappingFactory):
    protocol = _Headed  # type: ignore[assignment]


@implementer(IStreamServerEndpoint)
class FilteredEndpoint:
    """
    An endpoint that turns away the connections of others than some.

    @ivar inner: the endpoint that listens.
    @ivar senders: the networks of those that are let through; may change while it listens.
    """

    def __init__(
        self, reactor: Any, inner: IStreamServerEndpoint, senders: Iterable[IPNetwork]
    ) -> None:
        """
        @param inner: the endpoint that listens.
        @param senders: the networks of those that are let through.
        """
        self.inner = inner
        self.senders = PrefixMap((network, True) for network in senders)
        self._complaints = Complaints(reactor, _Senders._log)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See L{IStreamServerEndpoint}."""
        return self.inner.listen(_Senders(protocolFactory, self, self._complaints))


def endpoint_of(
    reactor: Any, description: str, senders: Iterable[IPNetwork]
) -> IStreamServerEndpoint:
    """
    As L{serverFromString}, but a C{haproxy:} endpoint takes headers from some alone.

    @param description: an endpoint description.
    @param senders: the networks of those that may send PROXY headers.
    @raise ValueError: for a description that makes no sense; endpoint plugins raise
        other things too.
    """
    if not description.startswith(PREFIX):
        plain: IStreamServerEndpoint = serverFromString(reactor, description)
        return plain
    inner = serverFromString(reactor, description.removeprefix(PREFIX))
    filtered = FilteredEndpoint(reactor, inner, senders)
    wrapped: IStreamServerEndpoint = _WrapperServerEndpoint(filtered, _Headers)
    return wrapped
