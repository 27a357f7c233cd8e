"""A listening socket for one peer (BIND)."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from socks5d.egress.ports import Ports, candidates
from socks5d.net import faster
from socks5d.wire.address import IPAddress

#: Connections that wait to be accepted.
BACKLOG = 128


async def listen_on(
    reactor: Any,
    address: IPAddress,
    ports: Ports | None,
    factory: IProtocolFactory,
) -> IListeningPort:
    """
    Listen on an address.

    @param ports: the lowest and highest port to listen on; None for the kernel's choice.
    @raise CannotListenError: when no port is to be had.
    """
    endpoint = TCP4ServerEndpoint if address.version == 4 else TCP6ServerEndpoint
    problem: CannotListenError | None = None
    for port in candidates(ports):
        plain = endpoint(reactor, port, backlog=BACKLOG, interface=str(address))
        listening: Deferred[IListeningPort] = faster(plain).listen(factory)
        try:
            return await listening
        except CannotListenError as error:
            problem = error
    assert problem is not None
    raise problem
