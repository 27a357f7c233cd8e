"""
Passing a stream on between two sockets of one poller.

It does what L{socks5d.relay.stream} does, and differs in how; see
L{socks5d.relay.direction}.
"""

from collections.abc import Callable
from typing import ClassVar

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from socks5d.net.poller import Poller
from socks5d.net.stream import StreamSocket, reset_on_close
from socks5d.relay.direction import FastDirection, Reset
from socks5d.relay.idle import IdleWatch
from socks5d.relay.stream import CLIENT_RESET, FINISHED, IDLE, ORIGIN_RESET


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

    @cvar direction: what moves octets one way.
    @ivar up: from the client to the origin.
    @ivar down: from the origin to the client.
    @ivar end: how it ended; "" while it has not.
    @ivar over: whether it has ended.
    """

    __slots__ = ("_ended", "down", "end", "over", "poller", "up")

    direction: ClassVar[type[FastDirection]] = FastDirection

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
        up, down = self.direction(self), self.direction(self)
        self.up, self.down = up, down
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
            if direction.readable or direction.stuck or direction.ended:
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
        except Reset as reset:
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
