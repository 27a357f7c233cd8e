"""
Asking a client's host who its user is (RFC 1413).

The question names the ports of the control connection and comes from the address that
the client connected to, or identd would look at another connection.  What is answered is
a stranger's: one line of a bounded length, within a bounded time, about these ports, or
it is no answer.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from socks5d.bounded import DeadlinePassed, bounded
from socks5d.egress.attempt import abandonable
from socks5d.egress.failures import NETWORK_ERRORS, outcome
from socks5d.limits.keys import Prefixes
from socks5d.limits.shares import Shares
from socks5d.model import Client, Ident
from socks5d.wire.address import Address, IPAddress
from socks5d.wire.identline import PORT, Error, UserID, encode_query, parse_response
from socks5d.wire.parsed import WireError


class IdentQuery(Protocol):
    """
    One question, on a connection of its own.
    """

    transport: ITCPTransport

    def __init__(self, port_on_server: int, port_on_client: int) -> None:
        """
        @param port_on_server: the port on the host that is asked.
        @param port_on_client: the port on this one.
        """
        self._ports = (port_on_server, port_on_client)
        self._buffer = b""
        self._answer: UserID | Error | WireError | None = None
        self._asked: Deferred[UserID | Error] | None = None
        self._over = False

    def answer(self) -> Deferred[UserID | Error]:
        """
        @return: fires with a response about these ports, or fails with L{WireError}, once
            the connection is gone.  Cancelling it closes the connection.
        """
        asked: Deferred[UserID | Error] = Deferred(self._give_up)
        self._asked = asked
        if self._over:
            self._tell()
        return asked

    def _give_up(self, asked: Deferred[UserID | Error]) -> None:
        self._asked = None
        self.transport.abortConnection()

    def _tell(self) -> None:
        asked, self._asked = self._asked, None
        if asked is None:
            return
        if isinstance(self._answer, (UserID, Error)):
            asked.callback(self._answer)
        else:
            asked.errback(self._answer or WireError("closed without a response"))

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self.transport.write(encode_query(*self._ports))

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if self._answer is not None:
            return
        self._buffer += data
        try:
            parsed = parse_response(self._buffer)
            if parsed is None:
                return
            if parsed.value.ports != self._ports:
                raise WireError("the response is about other ports")
        except WireError as error:
            self._answer = error
        else:
            self._answer = parsed.value
        # Whatever else it has to say is not read.
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        self._over = True
        self._tell()


class _Queries(Factory):
    noisy = False

    def __init__(self, port_on_server: int, port_on_client: int) -> None:
        self._ports = (port_on_server, port_on_client)

    def buildProtocol(self, addr: IAddress | None) -> IdentQuery:
        return IdentQuery(*self._ports)


class IdentLookups:
    """Asks, a few questions to the same host at a time."""

    def __init__(
        self,
        reactor: Any,
        *,
        port: int = PORT,
        seconds: float = 5.0,
        at_once: int = 4,
        clients: Prefixes | None = None,
    ) -> None:
        """
        @param port: where identd listens.
        @param seconds: for an answer, waiting for other questions included.
        @param at_once: questions to one client at a time.
        @param clients: tells clients apart.
        """
        self._reactor = reactor
        self._port = port
        self._seconds = seconds
        self._shares = Shares(at_once)
        self._clients = clients if clients is not None else Prefixes()

    async def ask(self, client: Client) -> Ident:
        """
        @param client: whose user it is about.
        @return: the answer, or why there is none.
        """
        address, local = client.address, client.local
        if address is None or local is None or isinstance(local.host, bytes):
            return Ident(problem="the client has no address to ask at")
        if address.version != local.host.version:
            # So a PROXY header says, in which case there is nothing to come from.
            return Ident(problem="the client's address and ours are of two families")
        asking = Deferred.fromCoroutine(self._in_turn(address, client.port, local))
        try:
            response = await bounded(self._reactor, self._seconds, asking)
        except WireError as error:
            return Ident(problem=error.reason)
        except DeadlinePassed:
            return Ident(problem="no answer in time")
        except NETWORK_ERRORS as error:
            return Ident(problem=str(outcome(error)))
        if isinstance(response, Error):
            return Ident(problem=response.error.decode("ascii"))
        return Ident(response.userid.decode("utf-8", "surrogateescape"))

    async def _in_turn(self, address: IPAddress, port: int, local: Address) -> UserID | Error:
        key = self._clients.key(address)
        await self._shares.wait(key)
        try:
            return await self._question(address, port, local)
        finally:
            self._shares.give_back(key)

    async def _question(self, address: IPAddress, port: int, local: Address) -> UserID | Error:
        endpoint = (TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint)(
            self._reactor,
            str(address),
            self._port,
            timeout=self._seconds,
            bindAddress=(str(local.host), 0),
        )
        query = await abandonable(self._reactor, endpoint.connect(_Queries(port, local.port)))
        assert isinstance(query, IdentQuery)
        return await query.answer()
