"""
BIND: listening for one peer.

The rules are asked for the request as for a CONNECT, and again for the peer that
connects.  The terms of the first answer are for listening, those of the second for the
relay; a peer that would have to be met another way (at another address, by another
device or upstream) is refused.

The listening socket is gone with the first peer that is let in, with the control
connection, and with the deadline, whichever comes first.
"""

from collections.abc import Callable, Iterable

from twisted.internet.defer import DeferredQueue, QueueOverflow, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from socks5d.egress.failures import outcome
from socks5d.egress.own import source_towards
from socks5d.model import Decision, Outcome, Refusal
from socks5d.net.addresses import socket_address
from socks5d.parameters import Strangers
from socks5d.protocols.connect import judge, named, permitted_addresses
from socks5d.protocols.session import Session
from socks5d.protocols.ways import way_of
from socks5d.relay import Origin
from socks5d.wire.address import Address, Host, IPAddress

#: Peers that wait to be judged.
WAITING = 2


class _Peer(Origin):
    """Says that it has come."""

    def __init__(self, arrivals: "_Arrivals") -> None:
        super().__init__()
        self._arrivals = arrivals

    def connectionMade(self) -> None:
        super().connectionMade()
        self._arrivals.came(self)


class _Arrivals(Factory):
    """Those who connect, in their order."""

    noisy = False

    def __init__(self) -> None:
        self._queue: DeferredQueue[_Peer] = DeferredQueue(size=WAITING)
        self._over = False
        self.next = self._queue.get

    def buildProtocol(self, addr: IAddress | None) -> _Peer:
        return _Peer(self)

    def came(self, peer: _Peer) -> None:
        try:
            if self._over:
                raise QueueOverflow
            self._queue.put(peer)
        except QueueOverflow:
            peer.transport.abortConnection()

    def close(self) -> None:
        """Whoever has not been let in by now is not."""
        self._over = True
        for peer in self._queue.pending:
            peer.transport.abortConnection()
        self._queue.pending.clear()


async def bind(session: Session, host: Host, listening: Callable[[Address], None]) -> Origin:
    """
    Do what a BIND request asks for.

    @param host: the peer that is expected, as it came; all zeros for any that the
        rules let in (RFC 1928 leaves it open, and clients send it).
    @param listening: called with the address and port to tell the client of.
    @return: the protocol of the peer that has connected.
    @raise Refusal: with the outcome that the client is to be told.
    """
    server = session.server
    expected: dict[IPAddress, Decision] | None = None
    if isinstance(host, bytes) or not host.is_unspecified:
        session.name, target = named(host)
        expected = await permitted_addresses(session, session.request, target)
        towards = _towards(session, expected)
        terms = expected[towards].terms
    else:
        terms = (await judge(session.server, session.request())).terms
        if session.client.address is None:
            raise Refusal(Outcome.FAILED, "nobody knows where a peer would come from")
        towards = _towards(session, [session.client.address])
    session.terms = terms
    arrivals = _Arrivals()
    try:
        port = await server.ways.out(terms).listen(towards, arrivals)
    except (OSError, CannotListenError) as error:
        raise Refusal(outcome(error), str(error)) from error
    try:
        bound = socket_address(port.getHost())
        assert bound is not None
        listening(_told(bound, towards))
        while True:
            peer = await arrivals.next()
            try:
                await _let_in(session, peer, expected)
            except Refusal:
                peer.transport.abortConnection()
                if server.strangers[session.version[0]] is Strangers.REFUSE:
                    raise
            except BaseException:
                peer.transport.abortConnection()
                raise
            else:
                if not peer.gone:
                    return peer
    finally:
        arrivals.close()
        maybeDeferred(port.stopListening).addErrback(_complain, session)


def _told(bound: Address, towards: IPAddress) -> Address:
    """Where a peer is to connect: never to all zeros, which is nowhere."""
    if isinstance(bound.host, bytes) or not bound.host.is_unspecified:
        return bound
    return Address(source_towards(towards), bound.port)


def _towards(session: Session, expected: Iterable[IPAddress]) -> IPAddress:
    """The first address that a client can be told about; SOCKS 4 has no IPv6."""
    for address in expected:
        if session.version == "5" or address.version == 4:
            return address
    raise Refusal(Outcome.ADDRESS_TYPE_NOT_SUPPORTED, "SOCKS 4 has no IPv6 addresses")


async def _let_in(
    session: Session, peer: _Peer, expected: dict[IPAddress, Decision] | None
) -> None:
    address = peer.peer
    if address is None or isinstance(address.host, bytes):
        raise Refusal(Outcome.DENIED, "the peer has no address")
    if expected is not None and address.host not in expected:
        raise Refusal(Outcome.DENIED, "a stranger connected")
    decision = await judge(session.server, session.request(address.host, address))
    if way_of(decision.terms) != way_of(session.terms):
        raise Refusal(Outcome.DENIED, f"{decision.rule}: wants another way out")
    session.address, session.rule = address.host, decision.rule
    session.terms = decision.terms


def _complain(failure: Failure, session: Session) -> None:
    session.server.blame(failure)
