"""
What a relay asks of a transport, and what transports of different make do about it.
"""

from collections.abc import Callable
from select import POLLHUP, poll
from socket import socket
from typing import Protocol as Shape

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import alsoProvides

from socks5d.interfaces import IEncapsulation
from socks5d.net.addresses import socket_address
from socks5d.net.stream import StreamSocket
from socks5d.wire.address import Address

_log = Logger()


class StreamTransport(Shape):
    """The part of L{ITCPTransport} and of its producer and consumer sides that is used here."""

    def getHost(self) -> IAddress: ...

    def getPeer(self) -> IAddress: ...

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...


class Encapsulated:
    """
    A transport to a client with which a method agreed on encapsulation (RFC 1928
    section 3): wraps what is written, and is otherwise the transport below.
    """

    def __init__(self, transport: StreamTransport, encapsulation: IEncapsulation) -> None:
        self.transport = transport
        self._encapsulation = encapsulation
        self.getHost = transport.getHost
        self.getPeer = transport.getPeer
        self.loseConnection = transport.loseConnection
        self.abortConnection = transport.abortConnection
        self.pauseProducing = transport.pauseProducing
        self.resumeProducing = transport.resumeProducing
        self.registerProducer = transport.registerProducer
        self.unregisterProducer = transport.unregisterProducer

    def write(self, data: bytes) -> None:
        """
        @param data: octets to wrap and send.  When they cannot be wrapped the
            connection is aborted: nothing goes out bare, nothing is left out.
        """
        if not data:
            return
        try:
            self.transport.write(self._encapsulation.encapsulate(data))
        except Exception:  # noqa: BLE001 (a stranger's code)
            _log.failure("an encapsulation failed, which ends its session")
            self.transport.abortConnection()


def near(transport: StreamTransport) -> Address | None:
    """
    @return: the near end's address, or None where it has none.
    """
    if isinstance(transport, StreamSocket):
        return transport.near()
    return socket_address(transport.getHost())


def far(transport: StreamTransport) -> Address | None:
    """
    @return: the far end's address, or None where it has none.
    """
    if isinstance(transport, StreamSocket):
        return transport.far()
    return socket_address(transport.getPeer())


def is_bare(transport: object) -> bool:
    """
    Whether nothing can stand before a client's octets that says who else it is: a PROXY header
    is read by a wrapper.
    """
    while isinstance(transport, ProtocolWrapper) and _is_tls(transport):
        transport = transport.transport
    return not isinstance(transport, ProtocolWrapper)


def send_eof(transport: StreamTransport) -> None:
    """
    Say that nothing more will be sent, after what was written.

    A FIN where the transport has one.  TLS has not: there it is the close alert,
    which likewise leaves the other direction open until the peer answers it.  A
    UNIX socket whose peer has closed is told nothing: Twisted would take the failure
    to tell it for the loss of what can still be read from it.
    """
    if IUNIXTransport.providedBy(transport) and _hung_up(transport):
        return
    half_close = half_closer(transport)
    if half_close is None:
        transport.loseConnection()
    else:
        half_close()


def _hung_up(transport: object) -> bool:
    """Whether the peer has closed both its directions."""
    assert ISystemHandle.providedBy(transport)
    handle = transport.getHandle()
    assert isinstance(handle, socket)
    poller = poll()
    poller.register(handle, 0)
    return any(event & POLLHUP for _, event in poller.poll(0))


def half_closer(transport: object) -> Callable[[], None] | None:
    """
    @return: what shuts down the writing side alone, or None where nothing does.
    """
    bare = _bare(transport)
    if ISSLTransport.providedBy(bare):
        return None
    if ITCPTransport.providedBy(bare):
        return bare.loseWriteConnection
    return None


def adapt(transport: object, protocol: IHalfCloseableProtocol) -> None:
    """
    Have a transport do what a relay's protocol expects of it.

    @param protocol: the transport's.
    """
    if isinstance(transport, StreamSocket):
        return  # born so
    tune(transport)
    hear_eof(transport, protocol)


def hear_eof(transport: object, protocol: IHalfCloseableProtocol) -> None:
    """
    Make sure that a protocol is told of its peer's FIN.

    Twisted asks the outermost protocol of a connection whether it knows half-closed
    connections.  Where that is a wrapper (PROXY protocol, traffic policies) it does
    not, and a FIN would end both directions.
    """
    while isinstance(transport, ProtocolWrapper) and not _is_tls(transport):
        transport.readConnectionLost = protocol.readConnectionLost  # type: ignore[attr-defined]
        transport.writeConnectionLost = protocol.writeConnectionLost  # type: ignore[attr-defined]
        alsoProvides(transport, IHalfCloseableProtocol)
        transport = transport.transport


def tune(transport: object) -> None:
    """
    Notice dead peers, and pass on what comes as it comes.
    """
    if ITCPTransport.providedBy(transport) and not IUNIXTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)


def _is_tls(wrapper: ProtocolWrapper) -> bool:
    """Whether this wrapper is the TLS layer itself: what is below it does not speak TLS."""
    return ISSLTransport.providedBy(wrapper) and not ISSLTransport.providedBy(wrapper.transport)


def _bare(transport: object) -> object:
    """The transport below every wrapper, or the TLS layer where one is in between."""
    if isinstance(transport, Encapsulated):
        transport = transport.transport
    while isinstance(transport, ProtocolWrapper):
        if ISSLTransport.providedBy(transport):
            return transport
        transport = transport.transport
    return transport
