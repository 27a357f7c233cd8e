"""
Passing a stream on, both ways, between two transports of any make.

Each direction reads from one transport and writes to the other, and is the
producer of what it writes to: when that holds as much as it will take, the
direction stops reading.  So what one stalled peer makes us keep is what Twisted
buffers of a transport (64 KiB) and one read (64 KiB) beyond.

A FIN is passed on as a FIN, behind everything that came before it, and the other
direction goes on.  A reset is passed on as a reset, at once.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IPushProducer,
    IReactorTime,
    IUNIXTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.relay.idle import IdleTimer
from socks5d.relay.transports import StreamTransport, send_eof

# How a relay ended.
FINISHED: Final = "finished"
CLIENT_RESET: Final = "client reset"
ORIGIN_RESET: Final = "origin reset"
IDLE: Final = "idle"
SHUTDOWN: Final = "shutdown"


@implementer(IPushProducer)
class Direction:
    """
    One way through the relay.

    @ivar octets: how many came from the source.
    @ivar ended: whether the source has said that nothing more comes.
    @ivar flushed: whether the sink has been told so, behind everything else.
    """

    __slots__ = ("_relay", "_sink", "_source", "ended", "flushed", "octets")

    def __init__(self, relay: "Relay", source: StreamTransport, sink: StreamTransport) -> None:
        self._relay = relay
        self._source = source
        self._sink = sink
        self.octets = 0
        self.ended = False
        self.flushed = False
        sink.registerProducer(self, True)

    def data(self, data: bytes) -> None:
        """
        @param data: what came from the source.
        """
        if self.ended:
            return
        self.octets += len(data)
        self._relay.touch()
        self._sink.write(data)

    def eof(self) -> None:
        """The source will send no more."""
        if not self.ended:
            self.ended = True
            self._relay.touch()
            self._sink.unregisterProducer()
            send_eof(self._sink)

    def pauseProducing(self) -> None:
        """See L{IPushProducer}."""
        if not self.ended:
            self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """See L{IPushProducer}."""
        if not self.ended:
            self._relay.touch()
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """See L{IPushProducer}.  The sink is gone; its protocol hears of it by itself."""


class Relay:
    """
    Relays between a client and an origin.

    The protocols at its ends report what happens there.

    @ivar up: from the client to the origin.
    @ivar down: from the origin to the client.
    @ivar end: how it ended; "" while it has not.
    """

    def __init__(
        self,
        client: StreamTransport,
        origin: StreamTransport,
        clock: IReactorTime,
        idle: float,
        closing: float,
        ended: Callable[[], None],
    ) -> None:
        """
        @param idle: seconds after which a relay without an octet either way is ended.
        @param closing: seconds that one side gets to close after the other has
            closed both its directions in order.
        @param ended: called once, when both connections are gone.
        """
        self._client: StreamTransport | None = client
        self._origin: StreamTransport | None = origin
        self._clock = clock
        self._closing = closing
        self._ended = ended
        self._closed = False
        self._unix = IUNIXTransport.providedBy(client)
        self.end = ""
        self._timer = IdleTimer(clock, idle, self._idle)
        self.touch = self._timer.touch
        self.up, self.down = self.directions(client, origin)

    def directions(
        self, client: StreamTransport, origin: StreamTransport
    ) -> tuple[Direction, Direction]:
        """
        @return: what moves octets from the client, and to it.
        """
        return Direction(self, client, origin), Direction(self, origin, client)

    def gone(self) -> None:
        """Nothing is left of either connection."""
        self._timer.cancel()
        if not self.end:
            self.end = FINISHED
        self._ended()

    @property
    def received(self) -> int:
        """Octets that came from the client."""
        return self.up.octets

    @property
    def sent(self) -> int:
        """Octets that came from the origin."""
        return self.down.octets

    def client_data(self, data: bytes) -> None:
        """
        @param data: what came from the client.
        """
        self.up.data(data)

    def client_eof(self) -> None:
        """The client will send no more."""
        self.up.eof()
        self.finish_if_over()

    def client_told(self) -> None:
        """The client has been told that nothing more comes."""
        self.told(self.down)

    def origin_data(self, data: bytes) -> None:
        """
        @param data: what came from the origin.
        """
        self.down.data(data)

    def origin_eof(self) -> None:
        """The origin will send no more."""
        self.down.eof()
        self.finish_if_over()

    def origin_told(self) -> None:
        """The origin has been told that nothing more comes."""
        self.told(self.up)

    def start(self) -> None:
        """What came early has been told.  The rest comes by itself."""

    def client_lost(self, reason: Failure) -> None:
        """
        @param reason: as the client's protocol was told.
        """
        self._client = None
        self._lost(self.up, self._origin, reason, CLIENT_RESET)

    def origin_lost(self, reason: Failure) -> None:
        """
        @param reason: as the origin's protocol was told.
        """
        self._origin = None
        self._lost(self.down, self._client, reason, ORIGIN_RESET)

    def finish_if_over(self) -> None:
        """Close both connections once both sides have said that nothing more comes."""
        if self.up.ended and self.down.ended and not self._closed:
            self._closed = True
            self._lose_both()

    def abort(self, end: str) -> None:
        """
        End both connections with a reset, so that neither side takes what it has
        for the whole.

        @param end: why, for the log.
        """
        if not self.end:
            self.end = end
        if self._closed:
            # Twisted may already have the end of a connection scheduled, and does
            # not expect to be asked for another.  What is stuck is there after it.
            self._clock.callLater(0, self._abort_both)
        else:
            self._abort_both()

    def _abort_both(self) -> None:
        for transport in (self._client, self._origin):
            if transport is not None:
                transport.abortConnection()

    def _lost(
        self, direction: Direction, other: StreamTransport | None, reason: Failure, reset: str
    ) -> None:
        if reason.check(ConnectionDone) is None and not self.end and not self._over(direction):
            self.end = reset
        if other is None:
            self.gone()
        elif self.end:
            direction.ended = True
            if not self._closed:
                other.abortConnection()
        elif not self._closed:
            # One side is gone, in order.  The other is told behind everything that is
            # still on its way, and then gets some time to close by itself.  It is read
            # again, should the one that is gone have been slower than it.
            direction.eof()
            (self.down if direction is self.up else self.up).resumeProducing()
            if direction.flushed:
                self._linger()

    def told(self, direction: Direction) -> None:
        """
        @param direction: one whose sink has been told that nothing more comes.
        """
        direction.flushed = True
        if not self._closed and None in (self._client, self._origin):
            self._linger()

    def _linger(self) -> None:
        """
        Close what is left in a while, in order.  Until then it is read: closing a
        socket with unread octets resets it, and what it has still to send is lost.
        """
        self._closed = True
        self._clock.callLater(self._closing, self._lose_both)

    def _lose_both(self) -> None:
        for transport in (self._client, self._origin):
            if transport is not None:
                transport.loseConnection()

    def _over(self, direction: Direction) -> bool:
        """Whether both had said all: then a UNIX socket ends as if it were reset."""
        return self._unix and direction is self.up and self.up.ended and self.down.ended

    def _idle(self) -> None:
        self.abort(IDLE)
