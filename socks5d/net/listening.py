"""
Listening for connections that are L{StreamSocket}s.

The endpoints take the place of Twisted's: L{IStreamServerEndpoint}.
"""

import errno
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import TCP6ServerEndpoint, _TCPServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IPushProducer,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.bounded import Complaints
from socks5d.net.addresses import bind_to_device, endpoint_address, host_of, sockaddr
from socks5d.net.poller import Poller, available, poller_of
from socks5d.net.stream import StreamSocket
from socks5d.wire.address import IPAddress

#: Connections that are accepted in one turn of the reactor.
ACCEPTS = 64
#: Connections that wait to be accepted.
BACKLOG = 1024
#: What Twisted's endpoints have where nobody says anything.
_UNSET_BACKLOG = 50
#: For how long nothing is accepted when there are no descriptors left, in seconds.
PAUSE = 0.1

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


@implementer(IListeningPort, IPushProducer)
class StreamPort:
    """A listening socket."""

    _log = Logger()

    def __init__(self, poller: Poller, listening: socket.socket, factory: IProtocolFactory) -> None:
        """
        @param listening: a socket that listens and does not block.
        @param factory: makes the protocols of those who connect.
        """
        self._poller = poller
        self._socket = listening
        self._family = listening.family
        self._factory = factory
        host = listening.getsockname()
        #: Where all who connect have connected to; None where that differs.
        self._host = None if ip_address(host_of(host)).is_unspecified else host
        self._open = False
        self._paused = False
        self._exhausted = False
        self._acceptable = False
        self._queued = False
        self._complaints = Complaints(poller.reactor, self._log)

    def startListening(self) -> None:
        """See L{IListeningPort}."""
        self._open = True
        self._factory.doStart()
        self._poller.watch(self._socket.fileno(), self._event)

    def getHost(self) -> IPv4Address | IPv6Address:
        """See L{IListeningPort}."""
        return endpoint_address("TCP", self._socket.getsockname())

    def fileno(self) -> int:
        """The listening socket's number."""
        return self._socket.fileno()

    def stopListening(self) -> Deferred[None]:
        """See L{IListeningPort}."""
        if self._open:
            self._open = False
            self._poller.close(self._socket)
            self._factory.doStop()
        # By the next turn the socket is closed, also where this one's events are not over.
        stopped: Deferred[None] = Deferred()
        self._poller.soon(lambda: stopped.callback(None))
        return stopped

    def pauseProducing(self) -> None:
        """See L{IPushProducer}.  Clients wait in the kernel."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        self._paused = False
        self._queue_accepting()

    def _recovered(self) -> None:
        self._exhausted = False
        self._queue_accepting()

    def stopProducing(self) -> None:
        """See L{IProducer}."""
        self.stopListening()

    def _event(self, events: int) -> None:
        self._acceptable = True
        if not self._queued:
            self._accept()

    def _queue_accepting(self) -> None:
        if not self._queued and self._acceptable and self._open:
            self._queued = True
            self._poller.soon(self._accept_next)

    def _accept_next(self) -> None:
        self._queued = False
        self._accept()

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            if self._paused or self._exhausted or not self._open:
                return
            try:
                number, peer = self._socket._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError):
                self._acceptable = False
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._complaints.warn(f"cannot accept: {error.strerror}")
                    self._exhausted = True
                    self._poller.reactor.callLater(PAUSE, self._recovered)
                    return
                continue  # whoever it was has gone already
            # An object of a plainer kind than accept() makes, at half its price.
            accepted = socket.SocketType(self._family, socket.SOCK_STREAM, 0, number)
            accepted.setblocking(False)
            self._admit(accepted, peer)
        self._queue_accepting()

    def _admit(self, accepted: socket.SocketType, peer: Any) -> None:
        """
        @param peer: the far end, as the kernel has it.
        """
        try:
            protocol = self._factory.buildProtocol(endpoint_address("TCP", peer))
        except Exception:  # noqa: BLE001 (the next client is not to blame)
            self._log.failure("a factory failed")
            protocol = None
        if protocol is None:
            accepted.close()
        else:
            stream = StreamSocket(self._poller, accepted, peer, self._host)
            try:
                stream.start(protocol)
            except Exception:  # noqa: BLE001 (the next client is not to blame)
                self._log.failure("a protocol failed at its beginning")
                stream.fail(Failure())


@implementer(IStreamServerEndpoint)
class StreamServerEndpoint:
    """Listens on an address and a port."""

    def __init__(
        self,
        reactor: Any,
        port: int,
        interface: IPAddress,
        backlog: int = BACKLOG,
        device: str | None = None,
    ) -> None:
        """
        @param port: 0 for the kernel's choice.
        @param interface: unspecified for any of its family.
        @param device: the network device by which clients come; any by default.
        """
        self._reactor = reactor
        self.port = port
        self.interface = interface
        self._backlog = backlog
        self._device = device

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See L{IStreamServerEndpoint}."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        return _start(self._reactor, self._listening(self.port), factory)

    def sockets(self, count: int) -> list[socket.socket]:
        """
        Listen with several sockets, among which the kernel shares out the clients, and
        whose clients nobody accepts yet.

        @raise CannotListenError: when that cannot be.
        """
        # By itself it fails where anybody listens, which those that share would not.
        self._listening(self.port).close()
        listening: list[socket.socket] = []
        try:
            port = self.port
            for _ in range(count):
                listening.append(self._listening(port, shared=True))
                port = listening[0].getsockname()[1]
        except CannotListenError:
            for each in listening:
                each.close()
            raise
        return listening

    def _listening(self, port: int, *, shared: bool = False) -> socket.socket:
        host = str(self.interface)
        listening = socket.socket(
            _family(self.interface), socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Those that are accepted have from it that they notice dead peers, and pass
            # on what comes as it comes.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._device is not None:
                bind_to_device(listening, self._device)
            listening.bind(sockaddr(self.interface, port))
            listening.listen(self._backlog)
        except OSError as error:
            listening.close()
            raise CannotListenError(host, port, error) from error
        except BaseException:
            listening.close()
            raise
        return listening


@implementer(IStreamServerEndpoint)
class AdoptedStreamServerEndpoint:
    """Accepts the clients of a socket that listens already."""

    def __init__(self, reactor: Any, take: Callable[[], socket.socket]) -> None:
        """
        @param take: gives the socket, which is the port's from then on.
        """
        self._reactor = reactor
        self._take = take

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See L{IStreamServerEndpoint}."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        listening = self._take()
        listening.setblocking(False)
        return _start(self._reactor, listening, factory)


def _start(reactor: Any, listening: socket.socket, factory: IProtocolFactory) -> IListeningPort:
    port = StreamPort(poller_of(reactor), listening, factory)
    port.startListening()
    return port


def faster(endpoint: IStreamServerEndpoint) -> IStreamServerEndpoint:
    """
    @param endpoint: any.
    @return: one of ours that listens at the same place, where it is one of Twisted's TCP
        endpoints and the platform has what ours need; otherwise the same.
    """
    if not isinstance(endpoint, _TCPServerEndpoint) or not available(endpoint._reactor):
        return endpoint
    unspecified = "::" if isinstance(endpoint, TCP6ServerEndpoint) else "0.0.0.0"  # noqa: S104
    try:
        interface = ip_address(endpoint._interface or unspecified)
    except ValueError:
        return endpoint
    return StreamServerEndpoint(
        endpoint._reactor,
        endpoint._port,
        interface,
        BACKLOG if endpoint._backlog == _UNSET_BACKLOG else endpoint._backlog,
    )
