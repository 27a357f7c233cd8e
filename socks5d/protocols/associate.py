"""
UDP ASSOCIATE: from the request to an association.

The rules are asked for the request, of which only the client is known, and again for
each destination that a datagram names: for the name, and for each address it resolves to.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.egress.datagram import open_datagram
from socks5d.egress.failures import NETWORK_ERRORS
from socks5d.escape import printable
from socks5d.model import Outcome, Refusal
from socks5d.protocols.connect import judge, named, permitted_addresses
from socks5d.protocols.session import Session, socket_address
from socks5d.relay import Association, StreamTransport
from socks5d.wire.address import Address, Host, IPAddress
from socks5d.wire.names import NotAName, canonical

T = TypeVar("T")


async def associate(
    session: Session, announced: Address, control: StreamTransport, ended: Callable[[], None]
) -> tuple[Association, Address]:
    """
    Do what a UDP ASSOCIATE request asks for.

    @param announced: DST.ADDR and DST.PORT: where the client will send from, zeros where
        it does not know.  An address that is not the one it connected from is not what
        comes here (there is a NAT in between), and its port is not either.
    @param control: the control connection.
    @param ended: called once, when the association and its control connection are gone.
    @return: the association, and where the client is to send to.
    @raise Refusal: with the outcome that the client is to be told.
    """
    server = session.server
    client, local = session.client.address, session.client.local
    if client is None or local is None or isinstance(local.host, bytes):
        raise Refusal(Outcome.FAILED, "the client has no address that it could send from")
    await judge(session, evolve(session.request(), port=0))
    if not server.associations.take(client):
        raise Refusal(Outcome.FAILED, "the client has as many associations as it may")
    if not server.capacity.enter():
        server.associations.give_back(client)
        raise Refusal(Outcome.FAILED, "no room for the sockets of an association")

    def give_back() -> None:
        server.associations.give_back(client)
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
            clock=server.clock,
            client=client,
            port=_port(announced, client),
            filtering=server.udp.filtering,
            reassembly=server.timeouts.reassembly if server.udp.fragments else None,
            idle=server.timeouts.udp_idle,
            closing=server.timeouts.closing,
            destinations=server.limits.destinations,
            reach=destinations.reach,
            welcome=destinations.welcome,
            open_client_side=partial(open_datagram, server.clock, address, server.udp.ports),
            open_socket=destinations.open_socket,
            ended=over,
        )
    except OSError as error:
        give_back()
        raise Refusal(Outcome.FAILED, f"no socket for datagrams: {error}") from error
    bound = socket_address(association.host())
    assert bound is not None
    return association, Address(server.udp.advertise.towards(client) or bound.host, bound.port)


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

    def reach(self, destination: Address) -> Deferred[Sequence[Address]]:
        """Names and addresses to permitted addresses."""
        return self._bounded(self._reach(destination), destination)

    def welcome(self, source: Address) -> Deferred[None]:
        """Whether a stranger may send to the client: if the client could send there."""
        return self._bounded(self._welcome(source), source)

    def open_socket(
        self, towards: IPAddress, protocol: DatagramProtocol
    ) -> Deferred[IUDPTransport]:
        """A socket of the egress's, within a deadline."""
        server = self._session.server
        opening = server.egress.open_datagram(towards, protocol)
        return bounded(server.clock, server.timeouts.connect, opening)

    async def _reach(self, destination: Address) -> Sequence[Address]:
        session = self._session
        name, target = named(destination.host)
        request = evolve(session.request(), name=name, port=destination.port)
        rules = await permitted_addresses(session, request, target)
        return [Address(address, destination.port) for address in rules]

    async def _welcome(self, source: Address) -> None:
        assert not isinstance(source.host, bytes)
        request = evolve(
            self._session.request(source.host), name=None, port=source.port, peer=source
        )
        await judge(self._session, request)

    def _bounded(self, answer: Coroutine[Deferred[Any], Any, T], where: Address) -> Deferred[T]:
        server = self._session.server
        deciding = bounded(server.clock, server.timeouts.connect, Deferred.fromCoroutine(answer))
        return deciding.addErrback(self._refused, where)

    def _refused(self, failure: Failure, where: Address) -> Failure:
        """Whatever it is, it refuses.  The record tells of the first."""
        session, error = self._session, failure.value
        if isinstance(error, Refusal) and not session.rule:
            host = where.host if isinstance(where.host, bytes) else str(where.host)
            session.rule = f"{error.rule}, for {printable(host)}:{where.port}"
        elif not isinstance(error, (*NETWORK_ERRORS, CancelledError)):
            session.server.blame(failure)
        return failure
