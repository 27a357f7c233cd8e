"""
Passing a stream on between two sockets of one poller.

It does what L{socks5d.relay.stream} does, and differs in how.  Octets are read into one
buffer that all relays share and are sent from it in the same event; nothing waits in
Python but what the sink did not take of one read.  When a read fills the buffer the
direction turns to splice(2), through a pipe that is held while it holds octets; what a
sink does not take stays in the pipe, and the source is not read meanwhile.  When reads
become small it turns back.

Edges are not repeated, so a direction remembers whether its source may have more.
"""

import os
import socket
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from socks5d.net.pipes import Pipe
from socks5d.net.poller import ABNORMAL, BUFFER, ENDING, ERROR, OUT, Poller
from socks5d.net.stream import StreamSocket, reset_on_close
from socks5d.relay.idle import IdleWatch
from socks5d.relay.stream import CLIENT_RESET, FINISHED, IDLE, ORIGIN_RESET, SHUTDOWN

#: Reads in a row, before others have their turn.
ROUNDS: Final = 8
#: Octets that are asked of a splice.
MOST: Final = 1 << 19
#: The same while there are handshakes, which wait for as long as one takes at every step.
LESS: Final = 1 << 17
#: For how long after its last step a handshake counts as one, in seconds.
HANDSHAKE: Final = 0.05
#: A splice that moves less than this ends the bulk.
SMALL: Final = 1 << 14

#: What is sent goes out with what follows it: Linux alone has this, as it has splice.
MSG_MORE: Final = getattr(socket, "MSG_MORE", 0)

_NONBLOCK: Final = getattr(os, "SPLICE_F_NONBLOCK", 0) | getattr(os, "SPLICE_F_MOVE", 0)


class _Reset(Exception):
    """The connection at one end of a direction is gone."""

    def __init__(self, *, at_source: bool) -> None:
        super().__init__(at_source)
        self.at_source = at_source


class FastDirection:
    """
    One way through the relay, and what is told of the events of its source.

    @ivar source: the socket whose octets it moves.
    @ivar sink: the one that they go to.
    @ivar octets: how many came from the source.
    @ivar readable: whether the source may have more than was read.
    @ivar ending: whether a read may stop short of everything that is there.
    @ivar finishing: whether the source has sent its end, and nothing urgent.
    @ivar ended: whether the source has said that nothing more comes.
    @ivar flushed: whether the sink has been told so, behind everything else.
    @ivar queued: whether it waits for a turn, which it shares with others.
    @ivar bulk: whether so much comes that splice(2) is worth its price.
    @ivar rest: octets that were read, and that the sink has not taken.
    @ivar pipe: what bulk goes through, where there is bulk.
    """

    __slots__ = (
        "_relay",
        "bulk",
        "ended",
        "ending",
        "finishing",
        "flushed",
        "octets",
        "pipe",
        "queued",
        "readable",
        "rest",
        "sink",
        "source",
    )

    def __init__(self, relay: "FastRelay") -> None:
        self._relay = relay
        self.source: socket.SocketType
        self.sink: socket.SocketType
        self.rest: bytes | memoryview = b""
        self.pipe: Pipe | None = None
        self.octets = 0
        self.readable = self.ending = self.finishing = False
        self.ended = False
        self.flushed = False
        self.queued = False
        self.bulk = False

    def __call__(self, events: int) -> None:
        """
        @param events: the source's.
        """
        relay = self._relay
        relay.touched = relay.poller.now
        if events & OUT:
            other = relay.down if self is relay.up else relay.up
            if other.rest or other.pipe is not None:
                relay.pump(other)
                if relay.over:
                    return
        if not events & ~OUT:
            return
        self.readable = True
        if events & ENDING:
            self.ending = True
            # Nothing but the end of the stream is then left behind what is read.
            self.finishing = not events & ABNORMAL
        if self.rest or self.pipe is not None or self.ended:
            relay.pump(self)
            if events & ERROR and (self.ended or self.stuck) and not relay.over:
                # It is not read now, so nobody else would meet it.
                relay.lost(self, at_source=True)
        elif self.bulk and not self.ending:
            relay.share(self)
        elif not self.queued:
            # Little has come, as most often, and can go.
            try:
                more = self._copy()
            except _Reset as reset:
                relay.lost(self, at_source=reset.at_source)
                return
            if more:
                relay.pump(self)

    def go_on(self) -> bool:
        """
        Move what can be moved, in a turn that others share.

        @return: no; the relay has asked for another turn, if there is more to do.
        """
        self.queued = False
        if not self.flushed:
            self._relay.touched = self._relay.poller.now
            self._relay.pump(self)
        return False

    def reactor_ended(self) -> None:
        """The reactor ends, and takes both connections along."""
        self._relay.abort(SHUTDOWN)

    def add(self, data: bytes) -> None:
        """
        @param data: octets of the source's that were read before the relay was there.
        """
        self.octets += len(data)
        self.rest = bytes(self.rest) + data

    @property
    def stuck(self) -> bool:
        """Whether there are octets that the sink has not taken."""
        return bool(self.rest) or self.pipe is not None

    @property
    def over(self) -> bool:
        """Whether everything that there was and will be has been passed on."""
        return self.ended and not self.stuck

    def pump(self) -> bool:
        """
        Move what can be moved.

        @return: whether there is more to do, in another turn.
        @raise _Reset: when either end is found to be gone.
        """
        if self.flushed:
            return False
        had_its_share = False
        for _ in range(ROUNDS):
            if self.pipe is not None and not self._empty_pipe(self.pipe):
                return False
            if self.rest and not self._send_rest():
                return False
            if self.ended:
                if not self._relay.last(self):
                    self._tell_end()
                return False
            if not self.readable:
                return False
            if had_its_share:
                return True
            if self.bulk and self.pipe is None:
                self.pipe = self._relay.poller.pipes.lend()
            if self.pipe is not None:
                self._splice(self.pipe)
                had_its_share = True
            elif self._copy():
                had_its_share = self.bulk
            else:
                return False
        return True

    def drop(self) -> None:
        """Nothing more will be moved."""
        if self.pipe is not None:
            self._return_pipe(self.pipe)
        self.rest = b""
        self.flushed = True
        # The two hold each other no longer.
        del self._relay

    def _copy(self) -> bool:
        """
        @return: whether there is something left to do now.
        """
        buffer = self._relay.poller.buffer
        try:
            count = self.source.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            self.readable = False
            return False
        except OSError as error:
            raise _Reset(at_source=True) from error
        if not count:
            self.ended = True
            return True
        self.octets += count
        if self.finishing and count < BUFFER:
            # These octets are the last, and go out with the end.
            self.ended = True
        try:
            sent = self.sink.send(buffer[:count], MSG_MORE if self.ended else 0)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            raise _Reset(at_source=False) from error
        if sent < count:
            self.rest = bytes(buffer[sent:count])
        self.bulk = count == BUFFER
        if self.bulk or self.ending:
            return True
        self.readable = False
        return bool(self.rest)

    def _splice(self, pipe: Pipe) -> None:
        poller = self._relay.poller
        most = MOST if poller.now - poller.talked > HANDSHAKE else LESS
        try:
            count = os.splice(self.source.fileno(), pipe.entry, most, flags=_NONBLOCK)
        except (BlockingIOError, InterruptedError):
            self.readable = False
            self._return_pipe(pipe)
            return
        except OSError as error:
            raise _Reset(at_source=True) from error
        if not count:
            self.ended = True
            self._return_pipe(pipe)
            return
        self.octets += count
        pipe.held = count

    def _empty_pipe(self, pipe: Pipe) -> bool:
        """
        @return: whether it is empty now.
        """
        last = pipe.held
        while pipe.held:
            try:
                pipe.held -= os.splice(pipe.exit, self.sink.fileno(), pipe.held, flags=_NONBLOCK)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                raise _Reset(at_source=False) from error
        if 0 < last < SMALL:
            self.bulk = False
            self._return_pipe(pipe)
        return True

    def _return_pipe(self, pipe: Pipe) -> None:
        self.pipe = None
        self._relay.poller.pipes.give_back(pipe)

    def _send_rest(self) -> bool:
        """
        @return: whether nothing of it is left.
        """
        try:
            sent = self.sink.send(self.rest)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise _Reset(at_source=False) from error
        self.rest = memoryview(self.rest)[sent:] if sent < len(self.rest) else b""
        return not self.rest

    def _tell_end(self) -> None:
        self.flushed = True
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise _Reset(at_source=False) from error


def can_take_over(client: object, origin: object) -> bool:
    """Whether both ends are connections that this can relay between."""
    return (
        isinstance(client, StreamSocket)
        and isinstance(origin, StreamSocket)
        and client.usable
        and origin.usable
        and client.poller is origin.poller
    )


class FastRelay(IdleWatch):
    """
    Relays between a client and an origin, whose connections it takes over.

    @ivar up: from the client to the origin.
    @ivar down: from the origin to the client.
    @ivar end: how it ended; "" while it has not.
    @ivar over: whether it has ended.
    """

    __slots__ = ("_ended", "down", "end", "over", "poller", "up")

    def __init__(
        self,
        client: StreamSocket,
        origin: StreamSocket,
        clock: IReactorTime,
        idle: float,
        ended: Callable[[], None],
    ) -> None:
        """
        @param idle: seconds after which a relay without an octet either way is ended.
        @param ended: called once, when both connections are gone.
        """
        self.poller: Poller = client.poller
        self._ended = ended
        self.over = False
        self.end = ""
        self.up, self.down = up, down = FastDirection(self), FastDirection(self)
        up.source, up.readable, down.rest = client.take_over(up)
        down.source, down.readable, up.rest = origin.take_over(down)
        up.sink, down.sink = down.source, up.source
        # What has been told of them already may have been an end.
        up.ending, down.ending = up.readable, down.readable
        super().__init__(clock, idle, self.poller.deadlines)

    def idled(self) -> None:
        """See L{IdleWatch}."""
        self.abort(IDLE)

    def start(self) -> None:
        """Move what is there already."""
        for direction in (self.up, self.down):
            if direction.readable or direction.rest or direction.ended:
                self.pump(direction)

    # What a carrier is asked.

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
        @param data: what the client sent before this was there.
        """
        self.up.add(data)

    def client_eof(self) -> None:
        """The client said before this was there that it sends no more."""
        self.up.ended = True

    def origin_data(self, data: bytes) -> None:
        """
        @param data: what the origin sent before this was there.
        """
        self.down.add(data)

    def origin_eof(self) -> None:
        """The origin said before this was there that it sends no more."""
        self.down.ended = True

    def client_told(self) -> None:
        """Nobody else tells the client."""

    def origin_told(self) -> None:
        """Nobody else tells the origin."""

    def client_lost(self, reason: Failure) -> None:
        """Nobody else hears of it."""

    def origin_lost(self, reason: Failure) -> None:
        """Nobody else hears of it."""

    def abort(self, end: str) -> None:
        """
        End both connections with a reset, so that neither side takes what it has
        for the whole.

        @param end: why, for the log.
        """
        self._finish(end, reset=True)

    def last(self, direction: FastDirection) -> bool:
        """
        @return: whether the other direction is over, so that both ends can be closed,
            which tells the sink as well.
        """
        return (self.down if direction is self.up else self.up).over

    # Events.

    def pump(self, direction: FastDirection) -> None:
        """
        Move what can be moved, unless the direction waits for its turn to do so.
        """
        if self.over or direction.queued:
            return
        try:
            more = direction.pump()
        except _Reset as reset:
            self.lost(direction, at_source=reset.at_source)
            return
        if more:
            self.share(direction)
        elif direction.ended and self.up.over and self.down.over:
            self._finish(FINISHED, reset=False)

    def share(self, direction: FastDirection) -> None:
        """
        Move what can be moved in a turn that others share.
        """
        if not direction.queued:
            direction.queued = True
            self.poller.share(direction.go_on)

    # The end.

    def lost(self, direction: FastDirection, *, at_source: bool) -> None:
        """
        @param at_source: whether it is the connection of the direction's source that is gone.
        """
        self._finish(
            CLIENT_RESET if (direction is self.up) is at_source else ORIGIN_RESET, reset=True
        )

    def _finish(self, end: str, *, reset: bool) -> None:
        if self.over:
            return
        self.over = True
        self.end = end
        self.cancel()
        for direction in (self.up, self.down):
            direction.drop()
            if reset:
                reset_on_close(direction.source)
            self.poller.close(direction.source)
        ended = self._ended
        del self._ended
        ended()
