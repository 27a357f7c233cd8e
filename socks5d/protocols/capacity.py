"""How many sessions there may be at once, and what happens at the limit."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IPushProducer, IReactorTime
from twisted.internet.tcp import Port
from twisted.logger import Logger

from socks5d.bounded import Complaints
from socks5d.limits.shares import Shares
from socks5d.parameters import Limits

#: More than the clients that a port accepts in one burst.
BURST = 256
#: Sessions that are many.
MANY = 1000
#: How long after most of them have ended it has ebbed, in seconds: when those that end
#: together have, and again when the calls and buckets of their time have gone too.
EBB = (1.0, 10.0)


class Capacity:
    """
    Counts sessions.  At the limit the listeners stop accepting, and new clients wait
    in the kernel's queue; when a session ends they accept again.

    @ivar used: sessions that there are; one with more sockets counts for more.
    @ivar limit: sessions that there may be.
    @ivar lookups: counts names that are being resolved, by client.
    """

    _log = Logger()

    def __init__(
        self,
        limit: int,
        clock: IReactorTime,
        limits: Limits | None = None,
        ebbed: Callable[[], object] = lambda: None,
    ) -> None:
        """
        @param limits: C{threads} is used; no client has more than a quarter of the lookups
            that are possible at once.
        @param ebbed: called when of many sessions few are left, which is seldom.
        """
        limits = limits if limits is not None else Limits()
        self.lookups = Shares(_lookups(limits))
        self.limit = limit
        self.used = 0
        #: The most that there were, since it ebbed.
        self._most = 0
        self._ebbed = ebbed
        self._ports: list[IListeningPort] = []
        self._clock = clock
        self._braking = False
        self._idle: list[Deferred[None]] = []
        self._complaints = Complaints(clock, self._log)

    def adapt(self, limit: int, limits: Limits) -> None:
        """
        Count to another limit.  Sessions that there are stay, be they too many.

        @param limit: sessions that there may be from now on.
        @param limits: as at the beginning.
        """
        self.lookups.limit(_lookups(limits))
        self.limit = limit
        for port in self._ports:
            self._hold_or_resume(port)
        self._brake()

    def _hold_or_resume(self, port: IListeningPort) -> None:
        if not IPushProducer.providedBy(port):
            return
        if self.used >= self.limit:
            port.pauseProducing()
        else:
            port.resumeProducing()

    def governs_no_more(self, port: IListeningPort) -> None:
        """
        @param port: one that is about to stop.
        """
        self._ports.remove(port)

    def governs(self, port: IListeningPort) -> None:
        """
        @param port: a listener that feeds sessions counted here.
        """
        self._ports.append(port)
        if self.used >= self.limit:
            self._hold_or_resume(port)
        self._brake()

    def enter(self) -> bool:
        """
        @return: whether there is room for one session more, which is then counted.
        """
        if self.used >= self.limit:
            return False
        self.used += 1
        if self.used > self._most:
            self._most = self.used
        if not self._braking and self.limit - self.used < BURST:
            self._braking = True
            self._clock.callLater(0, self._brake)
        if self.used == self.limit:
            self._complaints.warn(
                f"{self.limit} sessions, the limit: accepting waits for one to end"
            )
            for port in self._ports:
                if IPushProducer.providedBy(port):
                    port.pauseProducing()
        return True

    @property
    def scarce(self) -> bool:
        """Whether so few are left that none can be spent on waiting for who is refused."""
        return self.used > self.limit // 2

    def _brake(self) -> None:
        """
        Near the limit, accept one client at a time.  Twisted's ports accept in bursts,
        whose length they set anew after each, and do not stop in the middle of one.
        """
        self._braking = False
        if self.limit - self.used < BURST:
            for port in self._ports:
                if isinstance(port, Port):
                    port.numberAccepts = 1

    def leave(self) -> None:
        """A session that was counted has ended."""
        self.used -= 1
        if self.used < self._most >> 2 and self._most >= MANY:
            self._most = self.used
            for seconds in EBB:
                self._clock.callLater(seconds, self._ebbed)
        if self.used == self.limit - 1:
            for port in self._ports:
                if IPushProducer.providedBy(port):
                    port.resumeProducing()
        if not self.used:
            waiting, self._idle = self._idle, []
            for deferred in waiting:
                deferred.callback(None)

    def when_idle(self) -> Deferred[None]:
        """
        @return: fires when there is no session, at once where there is none.
        """
        idle: Deferred[None] = Deferred(self._idle.remove)
        if self.used:
            self._idle.append(idle)
        else:
            idle.callback(None)
        return idle


def _lookups(limits: Limits) -> int:
    """A quarter of those that are possible at once."""
    return max(limits.threads // 4, 1)
