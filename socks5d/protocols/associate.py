"""
UDP ASSOCIATE: from the request to an association.

The rules are asked for the request, of which only the client is known, and again for
each destination that a datagram names: for the name, and for each address it resolves to.
The terms are those of the first answer; what would have to go out another way (from another
address, by another device or upstream) is refused.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.egress import is_own
from socks5d.egress.datagram import open_datagram
from socks5d.egress.failures import NETWORK_ERRORS
from socks5d.escape import printable
from socks5d.interfaces import IDatagramEncapsulation
from socks5d.model import Decision, Outcome, Refusal, Request, Verdict
from socks5d.protocols.connect import judge, named, permitted_addresses
from socks5d.protocols.session import Session
from socks5d.protocols.ways import way_of
from socks5d.relay import Association, StreamTransport
from socks5d.wire.address import Address, Host, IPAddress
from socks5d.wire.names import NotAName, canonical

T = TypeVar("T")


async def associate(
    session: Session,
    announced: Address,
    control: StreamTransport,
    encapsulation: IDatagramEncapsulation | None,
    ended: Callable[[], None],
) -> tuple[Association, Address]:
    """
    Do what a UDP ASSOCIATE request asks for.

    @param announced: DST.ADDR and DST.PORT: where the client will send from, zeros where
        it does not know.  An address that is not the one it connected from is not what
        comes here (there is a NAT in between), and its port is not either.
    @param control: the control connection.
    @param encapsulation: wraps the client's datagrams, where that was agreed on.
    @param ended: called once, when the association and its control connection are gone.
    @return: the association, and where the client is to send to.
    @raise Refusal: with the outcome that the client is to be told.
    """
    server = session.server
    client, local = session.client.address, session.client.local
    if client is None or local is None or isinstance(local.host, bytes):
        raise Refusal(Outcome.FAILED, "the client has no address that it could send from")
    decision = await judge(session.server, session.request(port=0))
    session.rule, session.terms = decision.rule, decision.terms
    server.ways.out(decision.terms)  # or it is refused
    idle = decision.terms.udp_idle
    associations, key = server.limiter.associations, server.limiter.clients.key(client)
    if not await _counted(session, key):
        raise Refusal(Outcome.FAILED, "the client has as many associations as it may")
    if not server.capacity.enter():
        associations.give_back(key)
        raise Refusal(Outcome.FAILED, "no room for the sockets of an association")

    def give_back() -> None:
        associations.give_back(key)
        server.capacity.leave()

    def over() -> None:
        give_back()
        session.dropped = association.dropped
        ended()

    address = server.udp.address.towards(client) or local.host
    destinations = _Destinations(session)
    try:
        association = Association(
            control=control,
            encapsulation=encapsulation,
            clock=server.clock,
            client=client,
            port=_port(announced, client),
            local=is_own(client),
            filtering=server.udp.filtering,
            reassembly=server.timeouts.reassembly if server.udp.fragments else None,
            idle=server.timeouts.udp_idle if idle is None else idle,
            closing=server.timeouts.closing,
            destinations=server.limits.destinations,
            reach=destinations.reach,
            welcome=destinations.welcome,
            open_client_side=partial(open_datagram, server.clock, address, server.udp.ports),
            open_socket=destinations.open_socket,
            broken=destinations.blame,
            ended=over,
            paces=session.paces(),
        )
    except OSError as error:
        give_back()
        raise Refusal(Outcome.FAILED, f"no socket for datagrams: {error}") from error
    where = association.host()
    told = server.udp.advertise.towards(client) or ip_address(where.host)
    return association, Address(local.host if told.is_unspecified else told, where.port)


async def _counted(session: Session, key: str) -> bool:
    """
    @param key: the client's.
    @return: whether the client may have one association more, which then counts.
    @raise Refusal: when nobody says.
    """
    server = session.server
    taking = server.limiter.associations.take(key)
    if not isinstance(taking, Deferred):
        return taking
    try:
        return await bounded(server.clock, server.timeouts.decision, taking)
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 (the count may be kept elsewhere)
        server.blame(Failure(), "a client's associations could not be counted, which refuses it")
        raise Refusal(Outcome.FAILED, "the client's associations could not be counted") from None


def _port(announced: Address, client: IPAddress) -> int:
    """The port that a client will send from; 0 where it has not told."""
    return announced.port if _is_same(announced.host, client) else 0


def _is_same(host: Host, client: IPAddress) -> bool:
    try:
        target = canonical(host)
    except NotAName:
        return False
    return target == client or (not isinstance(target, str) and target.is_unspecified)


class _Destinations:
    """What an association has to ask the rest of the server."""

    def __init__(self, session: Session) -> None:
        self._session = session
        seconds = session.terms.connect
        self._seconds = session.server.timeouts.connect if seconds is None else seconds
        self._way = way_of(session.terms)

    def reach(self, destination: Address) -> Sequence[Address] | Deferred[Sequence[Address]]:
        """A name or an address to permitted addresses; at once where that is possible."""
        host, port = destination
        if isinstance(host, bytes):
            return self._within(self._resolve(host, port), destination)
        _, target = named(host)
        assert not isinstance(target, str)
        reached = Address(target, port)
        return self._decide(self._session.request(target, port=port), destination, (reached,))

    def welcome(self, source: Address) -> Sequence[Address] | Deferred[Sequence[Address]]:
        """Whether a stranger may send to the client: if the client could send there."""
        assert not isinstance(source.host, bytes)
        request = self._session.request(source.host, source, port=source.port)
        return self._decide(request, source, (source,))

    def open_socket(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        """A socket of the egress's, within a deadline."""
        server = self._session.server
        egress = server.ways.out(self._session.terms)
        opening = maybeDeferred(egress.open_datagram, towards, protocol)
        return bounded(server.clock, self._seconds, opening).addErrback(self._blame)

    def blame(self, failure: Failure) -> None:
        """A datagram could not be passed on, for no reason of the network's."""
        self._session.server.blame(failure, "a socket for datagrams failed, which drops them")

    def _decide(
        self, request: Request, where: Address, reached: Sequence[Address]
    ) -> Sequence[Address] | Deferred[Sequence[Address]]:
        answer = self._session.server.gate.judge(request)
        if isinstance(answer, Deferred):
            return self._within(self._when_decided(answer, reached), where)
        refusal = self._refusal(answer)
        if refusal is not None:
            self._note(refusal, where)
            raise refusal
        return reached

    async def _when_decided(
        self, answer: Deferred[Decision], reached: Sequence[Address]
    ) -> Sequence[Address]:
        refusal = self._refusal(await answer)
        if refusal is not None:
            raise refusal
        return reached

    def _refusal(self, decision: Decision) -> Refusal | None:
        if decision.verdict is not Verdict.PERMIT:
            return Refusal(decision.outcome, decision.rule)
        if way_of(decision.terms) != self._way:
            return Refusal(Outcome.DENIED, f"{decision.rule}: wants another way out")
        return None

    async def _resolve(self, host: bytes, port: int) -> Sequence[Address]:
        name, target = named(host)
        request = partial(self._session.request, name=name, port=port)
        permits = await permitted_addresses(self._session, request, target)
        found = {address: self._refusal(decision) for address, decision in permits.items()}
        reached = [Address(address, port) for address, no in found.items() if no is None]
        if not reached:
            raise next(no for no in found.values() if no is not None)
        return reached

    def _within(self, answer: Coroutine[Deferred[Any], Any, T], where: Address) -> Deferred[T]:
        server = self._session.server
        deciding = bounded(server.clock, self._seconds, Deferred.fromCoroutine(answer))
        return deciding.addErrback(self._refused, where)

    def _refused(self, failure: Failure, where: Address) -> Failure:
        if isinstance(failure.value, Refusal):
            self._note(failure.value, where)
        return self._blame(failure)

    def _note(self, refusal: Refusal, where: Address) -> None:
        """The record tells of the first."""
        if not self._session.refused:
            host = where.host if isinstance(where.host, bytes) else str(where.host)
            self._session.refused = f"{refusal.rule}, for {printable(host)}:{where.port}"

    def _blame(self, failure: Failure) -> Failure:
        if not isinstance(failure.value, (*NETWORK_ERRORS, CancelledError, LookupError)):
            self._session.server.blame(failure)
        return failure
