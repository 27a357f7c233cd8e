"""
Endpoints that listen on sockets that somebody else has bound.

An endpoint asks the reactor to listen, and may put something (TLS, say) in front of the
factory first.  Here the reactor that it asks has the listening socket already.
"""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorSocket,
    IReactorSSL,
    IReactorTCP,
    IReactorUNIX,
    IStreamServerEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from socks5d.config import Serving
from socks5d.listening import make_endpoint, without_systemd
from socks5d.net import StreamServerEndpoint, faster
from socks5d.net.listening import AdoptedStreamServerEndpoint

Take = Callable[[], socket.socket]


class _UNIXPort(unix.Port):
    """
    Others have the same socket: neither is it shut down here, nor its file's mode set, nor
    its file removed.
    """

    _shouldShutdown = False

    def startListening(self) -> None:
        factory, inherited = self.factory, self._preexistingSocket
        assert factory is not None and inherited is not None
        tcp._reservedFD.reserve()
        factory.doStart()
        self._preexistingSocket = None
        self.socket = inherited
        self.fileno = inherited.fileno  # type: ignore[method-assign]
        self.connected = True
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)


@implementer(IReactorTCP, IReactorSSL, IReactorUNIX, IReactorSocket)
class InheritingReactor:
    """Another reactor, but for what listens."""

    def __init__(self, reactor: Any, take: Take) -> None:
        """
        @param take: gives the listening socket.
        """
        self._reactor = reactor
        self._take = take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """See L{IReactorTCP}."""
        return self._adopt(factory)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """See L{IReactorSSL}."""
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory))

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> IListeningPort:
        """See L{IReactorUNIX}."""
        return self._adopt(factory)

    def _adopt(self, factory: IProtocolFactory) -> IListeningPort:
        with self._take() as inherited:
            inherited.setblocking(False)
            if inherited.family != socket.AF_UNIX:
                adopted: IListeningPort = self._reactor.adoptStreamPort(
                    inherited.fileno(), inherited.family, factory
                )
                return adopted
            port: IListeningPort = _UNIXPort._fromListeningDescriptor(
                self._reactor, inherited.fileno(), factory
            )
            port.startListening()
            return port


def inherited_endpoint(
    serving: Serving, reactor: Any, description: str, take: Take
) -> IStreamServerEndpoint:
    """
    @param description: as the operator wrote it.
    @param take: gives the listening socket, once somebody listens.
    @return: an endpoint that does with it what one by the description would.
    @raise ConfigError: for one that cannot be made here.
    """
    inheriting = InheritingReactor(reactor, take)
    findable = without_systemd(description)
    if findable != description:
        return make_endpoint(serving, inheriting, findable)
    if isinstance(faster(make_endpoint(serving, reactor, description)), StreamServerEndpoint):
        return AdoptedStreamServerEndpoint(reactor, take)
    return make_endpoint(serving, inheriting, description)
