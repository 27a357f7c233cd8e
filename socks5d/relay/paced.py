"""
Relays of which each way has its pace: they move no more octets than it allows.

What a source has beyond that is left where it is: the fast lane does not read it, but for
what came before the relay was there; of other transports one read may be held.  Of what is
held the sink gets a part at a time.
"""

from collections.abc import Callable
from socket import MSG_PEEK

from twisted.internet.interfaces import IReactorTime

from socks5d.limits.pace import Pace, Paces
from socks5d.net.pipes import Pipe
from socks5d.net.poller import BUFFER, ERROR
from socks5d.net.stream import StreamSocket
from socks5d.relay.direction import MOST, FastDirection, Reset
from socks5d.relay.fast import FastRelay
from socks5d.relay.stream import Direction, Relay
from socks5d.relay.transports import StreamTransport


class PacedFastDirection(FastDirection):
    """
    One way through a fast relay.  While nothing may go its source counts as read, and an
    event that says otherwise changes nothing.
    """

    __slots__ = ("_held", "_pace", "_waits")

    _pace: Pace

    def follow(self, pace: Pace) -> None:
        """
        @param pace: what it moves goes no faster than so.
        """
        self._pace = pace
        self._waits = False
        #: What was read before the relay was there.
        self._held = b""
        pace.resume = self._resume

    def __call__(self, events: int) -> None:
        """See L{FastDirection}."""
        relay = self._relay
        super().__call__(events)
        if events & ERROR and self._waits and not relay.over:
            # It is not read now, so nobody else would meet it.
            relay.lost(self, at_source=True)

    def add(self, data: bytes) -> None:
        """See L{FastDirection}.  It goes no faster than what is read."""
        self._held += data

    @property
    def stuck(self) -> bool:
        """See L{FastDirection}."""
        return bool(self._held) or super().stuck

    def pump(self) -> bool:
        """See L{FastDirection}."""
        if self._held and not self.flushed and not self._release():
            return False
        return super().pump()

    def _release(self) -> bool:
        """
        Pass on what is held, as far as it may go.

        @return: whether nothing is held any more.
        """
        while self._held:
            if self.rest and not self._send_rest():
                return False
            allowed = self._pace.allowed(len(self._held))
            if not allowed:
                self._waits = True
                return False
            self._pace.spend(allowed)
            self.octets += allowed
            self.rest, self._held = self._held[:allowed], self._held[allowed:]
        return True

    def drop(self) -> None:
        """See L{FastDirection}."""
        self._pace.stop()
        self._held = b""
        super().drop()

    def _copy(self, most: int = BUFFER) -> bool:
        if self._held:
            return True
        allowed = self._allowed(most)
        if not allowed:
            return self._has_ended()
        before = self.octets
        try:
            return super()._copy(allowed)
        finally:
            self._pace.spend(self.octets - before)

    def _splice(self, pipe: Pipe, limit: int = MOST) -> None:
        allowed = self._allowed(limit)
        if not allowed:
            self._return_pipe(pipe)
            self._has_ended()
            return
        before = self.octets
        try:
            super()._splice(pipe, allowed)
        finally:
            self._pace.spend(self.octets - before)

    def _has_ended(self) -> bool:
        """
        Whether a source that may not be read has nothing but its end, which waits for nobody.
        """
        if self.ending:
            try:
                self.ended = not self.source.recv(1, MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                raise Reset(at_source=True) from error
        return self.ended

    def _allowed(self, most: int) -> int:
        allowed = self._pace.allowed(most)
        if not allowed:
            self.readable = False
            self._waits = True
        return allowed

    def _resume(self) -> None:
        self._waits = False
        self.readable = True
        relay = self._relay
        relay.touched = relay.poller.now = relay.poller.reactor.seconds()
        relay.pump(self)


class PacedFastRelay(FastRelay):
    """A L{FastRelay} with a pace each way."""

    __slots__ = ()

    direction = PacedFastDirection

    def __init__(
        self,
        client: StreamSocket,
        origin: StreamSocket,
        clock: IReactorTime,
        idle: float,
        ended: Callable[[], None],
        paces: Paces,
    ) -> None:
        """
        See L{FastRelay}.

        @param paces: from the client, and to it.
        """
        super().__init__(client, origin, clock, idle, ended)
        for direction, pace in zip((self.up, self.down), paces, strict=True):
            assert isinstance(direction, PacedFastDirection)
            direction.follow(pace)
            pace.exhausted = self.abort


class PacedDirection(Direction):
    """
    One way through a relay.  What may not go yet is held, and its source paused.

    @ivar octets: how many came from the source and are not held.
    """

    __slots__ = ("_full", "_pace", "_paused", "_rest", "_said_all", "_sink_gone")

    def __init__(
        self, relay: "PacedRelay", source: StreamTransport, sink: StreamTransport, pace: Pace
    ) -> None:
        self._pace = pace
        self._rest = b""
        #: Whether the sink takes nothing now, and is gone.
        self._full = self._sink_gone = False
        #: Whether the source is paused for what is held, and has said all.
        self._paused = self._said_all = False
        pace.resume = self._move
        super().__init__(relay, source, sink)

    def data(self, data: bytes) -> None:
        """See L{Direction}."""
        if self.ended or self._said_all:
            return
        self._relay.touch()
        if self._sink_gone:
            return
        waited = bool(self._rest)
        self._rest += data
        if waited:
            self._hold()
        else:
            self._move()

    def eof(self) -> None:
        """See L{Direction}.  It is said behind what is held."""
        self._said_all = True
        if not self._rest:
            super().eof()

    def pauseProducing(self) -> None:
        """See L{Direction}."""
        self._full = True
        if not self._said_all:
            super().pauseProducing()

    def resumeProducing(self) -> None:
        """See L{Direction}."""
        self._full = False
        if self._rest:
            self._move()
        elif not self._said_all:
            self._paused = False
            super().resumeProducing()

    def stopProducing(self) -> None:
        """See L{Direction}."""
        self._sink_gone = True
        self._rest = b""

    def _move(self) -> None:
        while self._rest and not self._full:
            allowed = self._pace.allowed(len(self._rest))
            if not allowed:
                break
            self._pace.spend(allowed)
            self.octets += allowed
            self._relay.touch()
            data, self._rest = self._rest[:allowed], self._rest[allowed:]
            self._sink.write(data)
        if self._rest:
            self._hold()
        elif self._said_all:
            if not self.ended:
                super().eof()
                self._relay.finish_if_over()
        elif self._paused and not self._full:
            self._paused = False
            super().resumeProducing()

    def _hold(self) -> None:
        if not self._said_all:
            self._paused = True
            self._source.pauseProducing()


class PacedRelay(Relay):
    """A L{Relay} with a pace each way."""

    def __init__(
        self,
        client: StreamTransport,
        origin: StreamTransport,
        clock: IReactorTime,
        idle: float,
        closing: float,
        ended: Callable[[], None],
        paces: Paces,
    ) -> None:
        """
        See L{Relay}.

        @param paces: from the client, and to it.
        """
        self._paces = paces
        super().__init__(client, origin, clock, idle, closing, ended)
        for pace in paces:
            pace.exhausted = self.abort

    def directions(
        self, client: StreamTransport, origin: StreamTransport
    ) -> tuple[Direction, Direction]:
        """See L{Relay}."""
        up, down = self._paces
        return (
            PacedDirection(self, client, origin, up),
            PacedDirection(self, origin, client, down),
        )

    def gone(self) -> None:
        """See L{Relay}."""
        for pace in self._paces:
            pace.stop()
        super().gone()
