"""
TCP connections on a L{Poller}: they provide L{ITCPTransport} and behave as Twisted's.

They differ in what cannot be seen: octets that are written go out at once as far as the
kernel takes them, and what starts and stops reading asks nothing of the kernel.  A
connection can be taken over whole, by something that moves octets by means of its own.
"""

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPullProducer,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.net.addresses import address_of, endpoint_address
from socks5d.net.poller import BUFFER, ENDING, ERROR, OUT, Handler, Poller
from socks5d.wire.address import Address

#: Octets that wait to be sent, beyond which a producer is paused.
FULL = 1 << 16
#: Reads in a row, before others have their turn.
ROUNDS = 4

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset_on_close(closing: socket.SocketType) -> None:
    """Make a socket's end a reset."""
    closing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


@implementer(ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class StreamSocket:
    """
    One connection.  Whoever makes one has set TCP_NODELAY and SO_KEEPALIVE.

    @ivar poller: tells it of events.
    @ivar protocol: is told of what happens on it.
    @ivar connected: whether it still is.
    @ivar disconnecting: whether it ends as soon as everything is sent.
    """

    __slots__ = (
        "__weakref__",
        "_aborting",
        "_ended",
        "_ending",
        "_half_closing",
        "_host",
        "_paused_producer",
        "_peer",
        "_producer",
        "_queue",
        "_queued",
        "_readable",
        "_reading",
        "_socket",
        "_streaming",
        "_unsent",
        "_waiting",
        "_write_ended",
        "connected",
        "disconnecting",
        "poller",
        "protocol",
    )

    _log = Logger()

    def __init__(
        self,
        poller: Poller,
        connected: socket.SocketType,
        peer: Any = None,
        host: Any = None,
    ) -> None:
        """
        @param connected: a socket that does not block.
        @param peer: the far end's address as the kernel has it, where it is known.
        @param host: the near end's address as the kernel has it, where it is known.
        """
        self.poller = poller
        self._socket = connected
        self._peer = peer
        self._host = host
        self.protocol: IProtocol
        self.connected = True
        self.disconnecting = False
        self._reading = True
        self._readable = False
        self._ending = False
        self._ended = False
        self._aborting = False
        self._queue: list[bytes] = []
        self._queued = False
        self._unsent: bytes | memoryview = b""
        self._waiting = 0
        self._half_closing = False
        self._write_ended = False
        self._producer: Any = None
        self._streaming = False
        self._paused_producer = False

    def start(self, protocol: IProtocol, told: int | None = None) -> None:
        """
        Begin: the protocol is told of the connection, and then of what comes.

        @param told: the events that were told of a socket that is watched already; what
            they say of reading is dealt with by L{read_on}, which the caller calls.
        """
        self.protocol = protocol
        if told is None:
            self.poller.watch(self._socket.fileno(), self._event)
        else:
            self.poller.hand_over(self._socket.fileno(), self._event)
            self._readable = bool(told & ~OUT)
            self._ending = bool(told & ENDING)
        protocol.makeConnection(self)

    # Events.

    def _event(self, events: int) -> None:
        if events & OUT and self._waiting:
            self._flush()
        if events & ~OUT:
            self.poller.talked = self.poller.now
            if events & ERROR and not self._reading and not self._aborting:
                # Nobody reads, so nobody else would meet it.
                self._lost(ConnectionLost())
            elif not self._ended:
                self._readable = True
                if events & ENDING:
                    self._ending = True
                if self._reading:
                    self._read()

    def _read(self) -> None:
        if self._queued:
            return
        buffer, receive = self.poller.buffer, self._socket.recv_into
        for _ in range(ROUNDS):
            try:
                count = receive(buffer)
            except (BlockingIOError, InterruptedError):
                self._readable = False
                return
            except OSError:
                self._lost(ConnectionLost())
                return
            if not count:
                self._end_of_stream()
                return
            try:
                self.protocol.dataReceived(bytes(buffer[:count]))
            except Exception:  # noqa: BLE001 (a stranger's code)
                self._protocol_failed()
            if not self._reading:
                return
            if count < BUFFER and not self._ending:
                self._readable = False
                return
        self._queue_reading()

    def _queue_reading(self) -> None:
        """Read in the next turn, so that others have theirs."""
        if not self._queued:
            self._queued = True
            self.poller.soon(self._read_next)

    def _read_next(self) -> None:
        self._queued = False
        self.read_on()

    def read_on(self) -> None:
        """Read what may be there, unless nobody wants it."""
        if self._reading and self._readable and self.connected:
            self._read()

    def _end_of_stream(self) -> None:
        self._reading = self._readable = False
        self._ended = True
        if not IHalfCloseableProtocol.providedBy(self.protocol):
            self._lost(ConnectionDone())
            return
        self._tell(self.protocol.readConnectionLost)

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Call somebody's code.  What raises loses its connection, as Twisted has it."""
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001 (a stranger's code)
            self._protocol_failed()

    def _protocol_failed(self) -> None:
        failure = Failure()
        self._log.failure("a protocol failed, and loses its connection", failure)
        self._lost(failure)

    def fail(self, failure: Failure) -> None:
        """
        End it: something that ought to deal with it failed.

        @param failure: what the protocol is told.
        """
        self._lost(failure)

    def reactor_ended(self) -> None:
        """The reactor ends, and takes its connections along."""
        self._lost(ConnectionLost())

    def _lost(self, reason: Failure | BaseException) -> None:
        """The connection is over."""
        if not self.connected:
            return
        self.connected = self._reading = False
        self._queue.clear()
        self._unsent = b""
        self._waiting = 0
        failure = reason if isinstance(reason, Failure) else Failure(reason)
        if failure.check(ConnectionAborted):
            reset_on_close(self._socket)
        self.poller.close(self._socket)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        # The two hold each other no longer.
        protocol = self.protocol
        del self.protocol
        protocol.connectionLost(failure)

    # Writing.

    def write(self, data: bytes) -> None:
        """See L{ITransport}."""
        if not isinstance(data, bytes):
            raise TypeError("data must be bytes")
        if not self.connected or self._write_ended or not data:
            return
        if self._waiting:
            self._queue.append(data)
            self._waiting += len(data)
        else:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                # Told in the next turn: whoever writes does not expect it in between.
                self.poller.soon(self._broken)
                self._write_ended = True
                return
            if sent == len(data):
                return
            self._unsent = memoryview(data)[sent:]
            self._waiting = len(data) - sent
        if self._waiting > FULL and self._producer is not None and self._streaming:
            self._paused_producer = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See L{ITransport}."""
        self.write(b"".join(data))

    def _broken(self) -> None:
        self._lost(ConnectionLost())

    def _flush(self) -> None:
        while self._waiting:
            if not self._unsent:
                self._unsent = memoryview(b"".join(self._queue))
                self._queue.clear()
            try:
                sent = self._socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._lost(ConnectionLost())
                return
            self._unsent = self._unsent[sent:]
            self._waiting -= sent
        self._unsent = b""
        self._flushed()

    def _flushed(self) -> None:
        """Nothing waits to be sent."""
        if not self.connected or self._waiting or self._aborting:
            return
        if self._producer is not None and (not self._streaming or self._paused_producer):
            self._paused_producer = False
            self._tell(self._producer.resumeProducing)
            if not self._streaming and self._producer is not None and not self._waiting:
                self.poller.soon(self._flushed)
        elif self.disconnecting:
            self._lost(ConnectionDone())
        elif self._half_closing:
            self._end_writing()

    def _end_writing(self) -> None:
        if self._write_ended:
            return
        self._write_ended = True
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._log.debug("the connection was over before its writing side was")
        if not IHalfCloseableProtocol.providedBy(self.protocol):
            return
        self._tell(self.protocol.writeConnectionLost)

    # Its end.

    def loseConnection(self) -> None:
        """See L{ITransport}.  Ends when everything is sent."""
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = True
        self._reading = False
        if not self._waiting:
            self.poller.soon(self._flushed)

    def loseWriteConnection(self) -> None:
        """See L{ITCPTransport}."""
        if not self.connected or self._half_closing:
            return
        self._half_closing = True
        if not self._waiting:
            self.poller.soon(self._flushed)

    def abortConnection(self) -> None:
        """See L{ITCPTransport}."""
        if self.connected and not self._aborting:
            self._aborting = True
            self._reading = False
            self._write_ended = True
            self.poller.soon(self._aborted)

    def _aborted(self) -> None:
        self._lost(ConnectionAborted())

    # IPushProducer

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        self._reading = False

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        if self.connected and not (
            self._reading or self._ended or self.disconnecting or self._aborting
        ):
            self._reading = True
            if self._readable:
                self._queue_reading()

    def stopProducing(self) -> None:
        """See L{IProducer}."""
        self.loseConnection()

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See L{IConsumer}."""
        if self._producer is not None:
            raise RuntimeError(f"there is a producer already: {self._producer!r}")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._paused_producer = False
        if not streaming:
            pull: IPullProducer = producer  # type: ignore[assignment]
            pull.resumeProducing()
            if not self._waiting:
                self.poller.soon(self._flushed)

    def unregisterProducer(self) -> None:
        """See L{IConsumer}."""
        self._producer = None
        self._paused_producer = False
        if not self._waiting and (self.disconnecting or self._half_closing):
            self.poller.soon(self._flushed)

    # The rest of ITCPTransport

    def getHost(self) -> IPv4Address | IPv6Address:
        """See L{ITCPTransport}."""
        return endpoint_address("TCP", self._host_name())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """See L{ITCPTransport}."""
        return endpoint_address("TCP", self._peer_name())

    def near(self) -> Address:
        """What L{getHost} says, as requests and records have it."""
        return address_of(self._host or self._host_name())

    def far(self) -> Address:
        """What L{getPeer} says, as requests and records have it."""
        return address_of(self._peer or self._peer_name())

    def _host_name(self) -> Any:
        if self._host is None:
            self._host = self._socket.getsockname()
        return self._host

    def _peer_name(self) -> Any:
        if self._peer is None:
            self._peer = self._socket.getpeername()
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """See L{ITCPTransport}."""
        return bool(self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See L{ITCPTransport}."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """See L{ITCPTransport}."""
        return bool(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See L{ITCPTransport}."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def getHandle(self) -> socket.SocketType:
        """See L{ISystemHandle}."""
        return self._socket

    @property
    def usable(self) -> bool:
        """Whether it is connected, and nobody has asked for its end."""
        return self.connected and not (
            self.disconnecting or self._half_closing or self._write_ended or self._aborting
        )

    def take_over(self, handler: Handler) -> "Taken":
        """
        Give the connection away.  Its protocol hears of nothing any more.

        @param handler: is told of the socket's events from now on.
        """
        self.poller.hand_over(self._socket.fileno(), handler)
        unsent = b"".join((self._unsent, *self._queue)) if self._waiting else b""
        self.connected = self._reading = False
        del self.protocol
        return self._socket, self._readable or self._ending, unsent


#: A connection that was taken over: the socket, which the poller watches; whether something
#: may be there to read that no event will tell of; octets that have to be sent first.
Taken = tuple[socket.SocketType, bool, bytes]
