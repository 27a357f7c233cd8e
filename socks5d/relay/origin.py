"""The connection to a destination."""

from collections.abc import Callable

from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.limits.pace import Paces
from socks5d.net.stream import StreamSocket
from socks5d.relay.fast import FastRelay, can_take_over
from socks5d.relay.paced import PacedFastRelay, PacedRelay
from socks5d.relay.stream import Relay
from socks5d.relay.transports import StreamTransport, adapt, far, near
from socks5d.wire.address import Address

AnyRelay = Relay | FastRelay


def relay_between(
    client: StreamTransport,
    origin: StreamTransport,
    clock: IReactorTime,
    idle: float,
    closing: float,
    ended: Callable[[], None],
    paces: Paces | None = None,
) -> AnyRelay:
    """
    @param paces: of what comes from the client, and of what goes to it; None for as fast as
        can be.
    @return: the fastest relay that there is for two connections; see L{Relay}.
    """
    if can_take_over(client, origin):
        assert isinstance(client, StreamSocket)
        assert isinstance(origin, StreamSocket)
        if paces is not None:
            return PacedFastRelay(client, origin, clock, idle, ended, paces)
        return FastRelay(client, origin, clock, idle, ended)
    if paces is not None:
        return PacedRelay(client, origin, clock, idle, closing, ended, paces)
    return Relay(client, origin, clock, idle, closing, ended)


@implementer(IHalfCloseableProtocol)
class Origin(Protocol):
    """
    The protocol of a connection to a destination.  What happens on it before there
    is a relay is kept for the relay: one read at most, the rest waits in the kernel.

    @ivar host: the near end of the connection, once it stands.
    """

    transport: StreamTransport  # type: ignore[assignment]

    def __init__(self) -> None:
        self.host: Address | None = None
        self._relay: AnyRelay | None = None
        self._early = b""
        self._eof = False
        self._gone: Failure | None = None

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self.host = near(self.transport)
        adapt(self.transport, self)

    @property
    def peer(self) -> Address | None:
        """The far end of the connection, until a relay takes it over."""
        return far(self.transport)

    @property
    def gone(self) -> bool:
        """Whether the connection is over, and was when it was expected to begin."""
        return self._gone is not None

    def attach(self, relay: AnyRelay) -> None:
        """
        Begin to relay.

        @param relay: made with this protocol's transport.
        """
        self._relay = relay
        if self._early:
            early, self._early = self._early, b""
            relay.origin_data(early)
            self.transport.resumeProducing()
        if self._gone is not None:
            relay.origin_lost(self._gone)
        elif self._eof:
            self.readConnectionLost()
        relay.start()

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if self._relay is None:
            self._early += data
            self.transport.pauseProducing()
        else:
            self._relay.origin_data(data)

    def readConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}."""
        self._eof = True
        if self._relay is not None:
            self._relay.origin_eof()

    def writeConnectionLost(self) -> None:
        """See L{IHalfCloseableProtocol}."""
        if self._relay is not None:
            self._relay.origin_told()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        self._gone = reason
        if self._relay is not None:
            self._relay.origin_lost(reason)
