"""
One way through a relay between two sockets of one poller.

Octets are read into one buffer that all relays share and are sent from it in the same
event; nothing waits in Python but what the sink did not take of one read.  When a read
fills the buffer the direction turns to splice(2), through a pipe that is held while it
holds octets; what a sink does not take stays in the pipe, and the source is not read
meanwhile.  When reads become small it turns back.

Edges are not repeated, so a direction remembers whether its source may have more.
"""

import os
import socket
from typing import Final, Protocol

from socks5d.net.pipes import Pipe
from socks5d.net.poller import ABNORMAL, BUFFER, ENDING, ERROR, OUT, Poller
from socks5d.relay.stream import SHUTDOWN

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


class Reset(Exception):
    """The connection at one end of a direction is gone."""

    def __init__(self, *, at_source: bool) -> None:
        super().__init__(at_source)
        self.at_source = at_source


class BothWays(Protocol):
    """
    What a direction asks of the relay that it is one way of.

    @ivar poller: tells the directions of events.
    @ivar touched: when something moved last.
    @ivar over: whether it has ended.
    @ivar up: from the client to the origin.
    @ivar down: from the origin to the client.
    """

    poller: Poller
    touched: float
    over: bool
    up: "FastDirection"
    down: "FastDirection"

    def pump(self, direction: "FastDirection") -> None: ...

    def share(self, direction: "FastDirection") -> None: ...

    def last(self, direction: "FastDirection") -> bool: ...

    def lost(self, direction: "FastDirection", *, at_source: bool) -> None: ...

    def abort(self, end: str) -> None: ...


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

    def __init__(self, relay: "BothWays") -> None:
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
            except Reset as reset:
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
        @raise Reset: when either end is found to be gone.
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

    def _copy(self, most: int = BUFFER) -> bool:
        """
        @param most: octets that are read.
        @return: whether there is something left to do now.
        """
        buffer = self._relay.poller.buffer
        try:
            count = self.source.recv_into(buffer, most)
        except (BlockingIOError, InterruptedError):
            self.readable = False
            return False
        except OSError as error:
            raise Reset(at_source=True) from error
        if not count:
            self.ended = True
            return True
        self.octets += count
        if self.finishing and count < most:
            # These octets are the last, and go out with the end.
            self.ended = True
        try:
            sent = self.sink.send(buffer[:count], MSG_MORE if self.ended else 0)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            raise Reset(at_source=False) from error
        if sent < count:
            self.rest = bytes(buffer[sent:count])
        self.bulk = count == BUFFER
        if count == most or self.ending:
            return True
        self.readable = False
        return bool(self.rest)

    def _splice(self, pipe: Pipe, limit: int = MOST) -> None:
        poller = self._relay.poller
        most = min(MOST if poller.now - poller.talked > HANDSHAKE else LESS, limit)
        try:
            count = os.splice(self.source.fileno(), pipe.entry, most, flags=_NONBLOCK)
        except (BlockingIOError, InterruptedError):
            self._return_pipe(pipe)
            # Urgent data stops it in the same way, and not a read.
            self.readable = self.ending
            self.bulk = self.bulk and not self.ending
            return
        except OSError as error:
            raise Reset(at_source=True) from error
        if not count:
            # Whether that is the end, or urgent data before it, a read tells.
            self._return_pipe(pipe)
            self.bulk = False
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
                raise Reset(at_source=False) from error
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
            raise Reset(at_source=False) from error
        self.rest = memoryview(self.rest)[sent:] if sent < len(self.rest) else b""
        return not self.rest

    def _tell_end(self) -> None:
        self.flushed = True
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Reset(at_source=False) from error
