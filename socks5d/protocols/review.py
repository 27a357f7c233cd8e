"""
Sessions that run under rules that hold no more: whether those that hold now permit them.

They are asked what they would be asked if the session began now: about its client, the name,
and the address.  For a UDP association that is about the client; what its datagrams may reach
is decided by the new rules from then on.  What came of authentication stays as it was.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import Complaints
from socks5d.model import Command, Outcome, Refusal, Request, Verdict
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.connect import judge
from socks5d.protocols.session import Session
from socks5d.relay import Association
from socks5d.wire.address import Address

if TYPE_CHECKING:
    from socks5d.protocols.factory import SOCKSBaseFactory

#: Sessions that are asked about in one turn of the reactor.
BATCH = 64
#: Why one ends whose listener is gone.
_NO_LISTENER = "its listener is gone"


class Review:
    """Goes through sessions, some in each turn of the reactor, and ends those that are denied."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the reactor's timers.
        """
        self._clock = clock
        self._waiting: deque[SOCKSProtocol] = deque()
        self._running = False
        self._complaints = Complaints(clock, self._log)

    def add(self, connections: Iterable[SOCKSProtocol]) -> None:
        """
        @param connections: those whose requests were granted.
        """
        self._waiting.extend(connections)
        if not self._running:
            self._running = True
            # Never at once: the caller may be in the middle of something with one of them.
            self._clock.callLater(0, lambda: Deferred.fromCoroutine(self._run()))

    async def _run(self) -> None:
        judged = ended = 0
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            judged += len(batch)
            # Side by side: who decides may take its time.
            ended += sum(await gatherResults(map(self._reviewed, batch)))
            await deferLater(self._clock, 0)
        self._running = False
        self._log.info(
            "{judged} sessions were judged by the new rules, and {ended} ended",
            judged=judged,
            ended=ended,
        )

    def _reviewed(self, connection: SOCKSProtocol) -> Deferred[bool]:
        """
        @return: whether it was ended.
        """

        def failed(failure: Failure) -> bool:
            self._complaints.complain("a session could not be reviewed, which ends it", failure)
            return _end(connection, "nobody has decided")

        return Deferred.fromCoroutine(self._review(connection)).addErrback(failed)

    async def _review(self, connection: SOCKSProtocol) -> bool:
        carrier, factory = connection.carrier, cast("SOCKSBaseFactory", connection.factory)
        if carrier is None or carrier.end:
            return False
        session, server = connection.session, factory.server
        session.client = session.client._replace(listener=server.listener)
        try:
            await _still_permitted(session, factory)
        except Refusal as refusal:
            return _end(connection, refusal.rule)
        if factory.server is not server:
            # Others hold already, and it waits for those.
            return False
        session.server = server
        if isinstance(carrier, Association):
            carrier.forget_verdicts()
        return False


def _end(connection: SOCKSProtocol, rule: str) -> bool:
    carrier = connection.carrier
    if carrier is None or carrier.end:
        return False
    connection.abort(Outcome.DENIED, f"reload: {rule}")
    return True


async def _still_permitted(session: Session, factory: "SOCKSBaseFactory") -> None:
    """
    @raise Refusal: where the session would not be permitted now.
    """
    server = factory.server
    if factory.retired:
        raise Refusal(Outcome.DENIED, _NO_LISTENER)
    if not factory.speaks(session.version) or session.command not in server.commands:
        raise Refusal(Outcome.DENIED, "switched off")
    for request in _requests(session):
        decision = await judge(server, request)
        if request.address is not None and decision.verdict is not Verdict.PERMIT:
            raise Refusal(decision.outcome, decision.rule)


def _requests(session: Session) -> Iterator[Request]:
    address, name = session.address, session.name
    if session.command is Command.UDP_ASSOCIATE:
        yield session.request(port=0)
        return
    if name is not None:
        yield session.request()
    if address is None:
        raise Refusal(Outcome.DENIED, "nobody knows its address")
    peer = Address(address, session.port) if session.command is Command.BIND else None
    yield session.request(address, peer)
