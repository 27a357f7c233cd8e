"""An attempt to connect, made fit to be given up."""

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime, ITCPTransport
from twisted.python.failure import Failure

P = TypeVar("P", bound=IProtocol)


def abandonable(clock: IReactorTime, connecting: Deferred[P]) -> Deferred[P]:
    """
    An attempt that is given up closes its socket in the reactor's next turn.

    Closed at once, its number may be another socket's before the poll's remaining
    events are dealt with, one of which may have been meant for it; Twisted would
    take it to the other one, and a listener, say, does not survive that.

    @param connecting: what an endpoint gave.
    @return: fires as it does; cancelling it leaves no connection behind.
    """

    def give_up(_: Deferred[P]) -> None:
        clock.callLater(0, connecting.cancel)

    attempt: Deferred[P] = Deferred(give_up)

    def connected(protocol: P) -> None:
        if attempt.called:
            ITCPTransport(protocol.transport).abortConnection()  # type: ignore[attr-defined]
        else:
            attempt.callback(protocol)

    def failed(failure: Failure) -> None:
        if not attempt.called:
            attempt.errback(failure)

    connecting.addCallbacks(connected, failed)
    return attempt
