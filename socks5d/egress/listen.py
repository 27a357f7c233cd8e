"""A listening socket for one peer (BIND): where it listens, and on which port."""

from random import randrange
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from socks5d.wire.address import IPAddress

#: Connections that wait to be accepted.
BACKLOG = 8
#: Ports of a range that are tried for one request.
TRIES = 64

Ports = tuple[int, int]


async def listen_on(
    reactor: Any, address: IPAddress, ports: Ports | None, factory: IProtocolFactory
) -> IListeningPort:
    """
    Listen on an address.

    @param ports: the lowest and highest port to listen on, tried from a random one
        on; None for the kernel's choice.
    @raise CannotListenError: when no port is to be had.
    """
    endpoint = TCP4ServerEndpoint if address.version == 4 else TCP6ServerEndpoint
    low, high = ports if ports is not None else (0, 0)
    count = high - low + 1
    start = randrange(count)  # noqa: S311 (spreads the load, hides nothing)
    problem: CannotListenError | None = None
    for offset in range(min(count, TRIES)):
        port = low + (start + offset) % count
        listening: Deferred[IListeningPort] = endpoint(
            reactor, port, backlog=BACKLOG, interface=str(address)
        ).listen(factory)
        try:
            return await listening
        except CannotListenError as error:
            problem = error
    assert problem is not None
    raise problem
