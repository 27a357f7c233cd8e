"""
UDP sockets: on a L{Poller<socks5d.net.poller.Poller>}, or where there is none on the reactor.

They differ from Twisted's in what a stranger could make use of: a turn of the reactor
takes a bounded number of datagrams, however small they are; nothing is logged when a
socket opens or closes; an error that the network reports ends nothing.
"""

import errno
import socket
import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor, IUDPTransport
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from socks5d.bounded import Complaints
from socks5d.net.addresses import bind_to_device, endpoint_address, host_of, sockaddr
from socks5d.net.ours import own_ports
from socks5d.net.poller import OUT, available, poller_of
from socks5d.wire.address import IPAddress

#: Datagrams that are read in one turn of a reactor without a poller.
BATCH = 64
#: Datagrams that are read before others that share a poller's turn have theirs.
SHARE = 16
#: Octets of datagrams, with what the kernel adds to each, that may wait to be read.
ROOM = 1 << 20
#: More than a datagram can hold.
BUFFER = 1 << 16

# Linux's numbers, which the socket module does not have.
_SO_RCVBUFFORCE = 33
_SOL_UDP = 17
_UDP_SEGMENT = 103
_SIZE = struct.Struct("=H")
_NO_SEGMENTS = (errno.EINVAL, errno.EIO)


class ITurns(Interface):
    """A protocol that wants to know which datagrams come in one turn."""

    def turn_began() -> None:
        """Datagrams are about to be handed over."""

    def turn_ended() -> None:
        """No more are, in this turn."""


@lru_cache(1024)
def _with_zone(host: str, port: int) -> Any:
    return sockaddr(ip_address(host), port)


@implementer(IUDPTransport, IReadDescriptor)
class DatagramSocket:
    """One socket, bound to an address of one family."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: IPAddress,
        port: int,
        protocol: DatagramProtocol,
        device: str | None = None,
    ) -> None:
        """
        Bind, and begin to read.

        @param reactor: provides L{IReactorFDSet} and L{IReactorTime}.
        @param address: the local address; unspecified for any of its family.
        @param port: the local port; 0 for the kernel's choice.
        @param protocol: is given the datagrams.
        @param device: the network device that they go and come by; any by default.
        @raise OSError: when it cannot be bound.
        """
        self._reactor = reactor
        self._poller = poller_of(reactor) if available(reactor) else None
        self._protocol = protocol
        self._closed: Deferred[None] | None = None
        self._open = True
        self._connected = False
        self._queued = False
        self._turns: ITurns | None = ITurns(protocol, None)
        #: Whether the kernel sends several at once, as far as is known.
        self._segments = True
        self._ipv4 = address.version == 4
        self._complaints = Complaints(reactor, self._log)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._make_room()
            if address.version == 6:
                # Or IPv4 peers would come in disguise.
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if device is not None:
                bind_to_device(self._socket, device)
            self._socket.bind(sockaddr(address, port))
            protocol.makeConnection(self)
        except BaseException:
            self._socket.close()
            raise
        self._port = self.getHost().port
        own_ports.add(self._port)
        if self._poller is not None:
            self._poller.watch(self.fileno(), self._event)
        else:
            reactor.addReader(self)

    def _make_room(self) -> None:
        """Hold bursts, which the kernel's default would drop in part."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM)
        except OSError:
            # Not privileged: as much as everybody may have.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)

    # IReadDescriptor

    def fileno(self) -> int:
        """See L{IReadDescriptor}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See L{IReadDescriptor}."""
        return f"{type(self._protocol).__name__} (UDP)"

    def doRead(self) -> None:
        """See L{IReadDescriptor}."""
        self._read_some(BATCH)

    def _event(self, events: int) -> None:
        if events & ~OUT and not self._queued and self._poller is not None:
            self._queued = True
            self._poller.share(self._read)

    def _read(self) -> bool:
        """
        @return: whether there may be more.
        """
        turns = self._turns
        if not self._open or self._closed is not None:
            self._queued = False
        elif turns is None:
            self._queued = self._read_some(SHARE)
        else:
            self._queued = False
            turns.turn_began()
            try:
                more = self._read_some(SHARE)
            finally:
                turns.turn_ended()
            self._queued = more
        return self._queued

    def _read_some(self, count: int) -> bool:
        receive, received = self._socket.recvfrom, self._protocol.datagramReceived
        ipv4 = self._ipv4
        for _ in range(count):
            try:
                data, source = receive(BUFFER)
            except BlockingIOError:
                return False
            except OSError:
                # It came back for something sent, and says nothing of what waits here.
                continue
            try:
                received(data, source if ipv4 else (host_of(source), source[1]))
            except Exception:  # noqa: BLE001 (the next datagram is not to blame)
                self._complaints.complain("a datagram could not be dealt with", Failure())
            if self._closed is not None:
                return False
        return True

    def connectionLost(self, reason: object = CONNECTION_DONE) -> None:
        """See L{IReadDescriptor}.  The socket is gone."""
        if not self._open:
            return
        self._open = False
        own_ports.remove(self._port)
        if self._poller is not None:
            self._poller.close(self._socket)
        else:
            self._reactor.removeReader(self)
            self._socket.close()
        self._protocol.doStop()
        if self._closed is not None:
            self._closed.callback(None)

    def write_together(
        self, pieces: Sequence[bytes], size: int, addr: tuple[str, int] | None = None
    ) -> bool:
        """
        Send datagrams of the same size to one address.

        @param pieces: what they hold, one after another; at most 64 of them.
        @param size: octets of each; at least 1.
        @param addr: as in L{write}.
        @return: whether they were sent; if not, none was, and one by one they may yet go.
        """
        if not self._segments:
            return False
        segment = [(_SOL_UDP, _UDP_SEGMENT, _SIZE.pack(size))]
        try:
            if addr is None or self._connected:
                self._socket.sendmsg(pieces, segment)
            else:
                self._socket.sendmsg(pieces, segment, 0, addr if self._ipv4 else _with_zone(*addr))
        except OSError as error:
            # This kernel, or what is beneath it, cannot.
            self._segments = error.errno not in _NO_SEGMENTS
            return False
        return True

    # IUDPTransport

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """
        See L{IUDPTransport}.

        @raise OSError: when it cannot be sent: too large, no way there, no room.
        """
        if addr is None or self._connected:
            try:
                self._socket.send(packet)
            except ConnectionRefusedError:
                # That was about an earlier one.
                self._socket.send(packet)
        else:
            self._socket.sendto(packet, addr if self._ipv4 else _with_zone(*addr))

    def connect(self, host: str, port: int) -> None:
        """
        See L{IUDPTransport}.  The kernel drops what comes from elsewhere.

        @raise OSError: when it cannot be done; on a reactor it never can, for that takes
            an error that comes back for the end of the socket.
        """
        if self._poller is None:
            raise OSError(errno.EOPNOTSUPP, "needs a poller")
        self._socket.connect((host, port) if self._ipv4 else _with_zone(host, port))
        self._connected = True

    def getHost(self) -> IPv4Address | IPv6Address:
        """See L{IUDPTransport}."""
        return endpoint_address("UDP", self._socket.getsockname())

    def stopListening(self) -> Deferred[None]:
        """
        See L{IUDPTransport}.  The socket closes in the reactor's next turn: closed at
        once, its number could be another's before the poll's other events are dealt with.
        """
        if not self._open:
            return succeed(None)
        if self._closed is None:
            self._closed = Deferred()
            if self._poller is None:
                self._reactor.removeReader(self)
            self._reactor.callLater(0, self.connectionLost)
        return self._closed

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """See L{IUDPTransport}."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, enabled)

    def getBroadcastAllowed(self) -> bool:
        """See L{IUDPTransport}."""
        return bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
