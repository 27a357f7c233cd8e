"""
One edge-triggered epoll, which is itself one reader of the reactor.

What a reactor does for each event (a logging context, and a call of epoll_ctl whenever
reading or writing starts or stops) is done here once for all the events of a turn:
sockets are registered when they are born, for everything, and never changed.

An event is a hint that something may be possible now, and is not repeated.  Whoever is
told of one, and does not use it up, has to remember it.
"""

import select
from collections import deque
from collections.abc import Callable
from socket import SocketType
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from zope.interface import implementer

from socks5d.deadlines import deadlines_of
from socks5d.net import pipes
from socks5d.parameters import Limits

_HAS_EPOLL: Final = hasattr(select, "epoll")
IN: Final = select.EPOLLIN if _HAS_EPOLL else 0
OUT: Final = select.EPOLLOUT if _HAS_EPOLL else 0
#: What says that a read may stop short of everything: at an end of the stream or of the
#: connection, or at urgent data.
ENDING: Final = (
    select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI if _HAS_EPOLL else 0
)
#: What says that it stops for another reason than that everything has been read.
ABNORMAL: Final = select.EPOLLERR | select.EPOLLPRI if _HAS_EPOLL else 0
#: What says that a connection attempt may have failed.
FAILED: Final = select.EPOLLHUP | select.EPOLLERR if _HAS_EPOLL else 0
ERROR: Final = select.EPOLLERR if _HAS_EPOLL else 0

#: What every socket is registered for, once.
WATCHED: Final = (
    IN | OUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET if _HAS_EPOLL else 0
)

#: Octets that are read from a stream at once.
BUFFER: Final = 1 << 16

#: Those that share a turn of the reactor, before it turns to what else it has.
TURNS: Final = 8

Handler = Callable[[int], None]


def available(reactor: object) -> bool:
    """
    @return: whether the platform has what this needs, and a reactor does.
    """
    return _HAS_EPOLL and pipes.available and IReactorFDSet.providedBy(reactor)


@implementer(IReadDescriptor)
class Poller:
    """
    Tells handlers of what happens to their sockets.

    @ivar buffer: room to read into, for whoever is told of an event, until it returns.
    @ivar pipes: for splice(2).
    @ivar deadlines: those of the reactor's clock.
    @ivar now: when the events came that are being dealt with, by the reactor's clock.
    @ivar talked: when a connection last did something that nobody has taken over.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: provides L{IReactorFDSet} and L{IReactorTime}.
        """
        self.reactor = reactor
        self.buffer = memoryview(bytearray(BUFFER))
        self.pipes = pipes.Pipes(Limits().pipes)
        self.now: float = reactor.seconds()
        self.talked = 0.0
        self.deadlines = deadlines_of(reactor)
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._lost: dict[int, Callable[[], None]] = {}
        self._soon: list[Callable[[], None]] = []
        self._sharing: deque[Callable[[], bool]] = deque()
        self._share_queued = False
        self._closing: list[SocketType] = []
        self._polling = False
        self._dealing = False

    def watch(self, descriptor: int, handler: Handler) -> None:
        """
        @param descriptor: a socket's, which is from now on watched until it closes.
        @param handler: is told of its events, as epoll has them; see L{connectionLost} too.
        @raise OSError: when there is no room for one more.
        """
        if not self._polling and self not in self.reactor.getReaders():
            # The first time, or because the reactor has dropped all it had.
            self.reactor.addReader(self)
        self._epoll.register(descriptor, WATCHED)
        self._handlers[descriptor] = handler

    def hand_over(self, descriptor: int, handler: Handler) -> None:
        """
        @param handler: is told of a watched socket's events from now on.
        """
        self._handlers[descriptor] = handler

    def close(self, closing: SocketType) -> None:
        """
        Close a watched socket.  In the midst of a turn's events its number stays taken
        until they are all dealt with, or one of them could be taken for another socket's.
        """
        self._handlers.pop(closing.fileno(), None)
        if self._dealing:
            self._closing.append(closing)
        else:
            closing.close()

    def soon(self, call: Callable[[], None]) -> None:
        """
        @param call: is called in the reactor's next turn.
        """
        if not self._soon:
            self.reactor.callLater(0, self._call)
        self._soon.append(call)

    def share(self, move: Callable[[], bool]) -> None:
        """
        Move something of what there is much of: datagrams, bulk.  Whoever shares has its
        turn, and before the next one events are dealt with, so that nobody waits for
        longer than one of them takes.

        @param move: moves a bounded part, and gives whether there is more, in which case
            it has another turn after the others.
        """
        self._sharing.append(move)
        if not self._polling:
            self._share_soon()

    def _share_soon(self) -> None:
        if not self._share_queued:
            self._share_queued = True
            self.soon(self._share_next)

    def _share_next(self) -> None:
        self._share_queued = False
        self.doRead()

    def _call(self) -> None:
        self.now = self.reactor.seconds()
        calls, self._soon = self._soon, []
        for call in calls:
            try:
                call()
            except BaseException:  # noqa: BLE001 (the next call is not to blame)
                self._log.failure("a call failed")

    # IReadDescriptor

    def fileno(self) -> int:
        """See L{IReadDescriptor}."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        """See L{IReadDescriptor}."""
        return "socks5d.net"

    def doRead(self) -> None:
        """See L{IReadDescriptor}."""
        self.now = self.reactor.seconds()
        self._polling = True
        try:
            for _ in range(TURNS):
                told = self._epoll.poll(0)
                if not told:
                    break
                self._deal_with(told)
            if not self._share_queued:
                self._take_turns()
        finally:
            self._polling = False
        if self._sharing:
            self._share_soon()

    def _deal_with(self, told: list[tuple[int, int]]) -> None:
        handlers = self._handlers
        self._dealing = True
        try:
            for descriptor, events in told:
                handler = handlers.get(descriptor)
                if handler is None:
                    continue
                try:
                    handler(events)
                except BaseException:  # noqa: BLE001 (the next handler is not to blame)
                    self._log.failure("an event could not be dealt with")
        finally:
            self._dealing = False
            if self._closing:
                closing, self._closing = self._closing, []
                for each in closing:
                    each.close()

    def _take_turns(self) -> None:
        sharing = self._sharing
        for _ in range(TURNS):
            if not sharing:
                return
            move = sharing.popleft()
            try:
                more = move()
            except BaseException:  # noqa: BLE001 (the next is not to blame)
                self._log.failure("what shares a turn failed")
            else:
                if more:
                    sharing.append(move)
            self.now = self.reactor.seconds()
            told = self._epoll.poll(0)
            if told:
                self._deal_with(told)

    def connectionLost(self, reason: object = CONNECTION_DONE) -> None:
        """
        See L{IReadDescriptor}.  The reactor ends, and whatever is watched hears of it, where
        its handler's object has a method C{reactor_ended}.
        """
        for descriptor, handler in list(self._handlers.items()):
            if self._handlers.get(descriptor) is not handler:
                continue  # another's end was its end too
            ended = getattr(getattr(handler, "__self__", handler), "reactor_ended", None)
            if ended is None:
                continue
            try:
                ended()
            except BaseException:  # noqa: BLE001 (the next is not to blame)
                self._log.failure("the end of the reactor could not be dealt with")


_pollers: WeakKeyDictionary[Any, Poller] = WeakKeyDictionary()


def poller_of(reactor: Any) -> Poller:
    """
    @return: the reactor's one.
    """
    poller = _pollers.get(reactor)
    if poller is None:
        _pollers[reactor] = poller = Poller(reactor)
    return poller
