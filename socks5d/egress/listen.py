"""A listening socket for one peer (BIND)."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint

from socks5d.egress.ports import Ports, candidates
from socks5d.net import faster
from socks5d.net.listening import StreamServerEndpoint
from socks5d.wire.address import IPAddress

#: Connections that wait to be accepted.
BACKLOG = 128


async def listen_on(
    reactor: Any,
    address: IPAddress,
    ports: Ports | None,
    factory: IProtocolFactory,
    device: str | None = None,
) -> IListeningPort:
    """
    Listen on an address.

    @param ports: the lowest and highest port to listen on; None for the kernel's choice.
    @param device: the network device by which the peer comes, where there is a poller;
        any by default.
    @raise CannotListenError: when no port is to be had.
    """
    endpoint = TCP4ServerEndpoint if address.version == 4 else TCP6ServerEndpoint
    problem: CannotListenError | None = None
    for port in candidates(ports):
        chosen: IStreamServerEndpoint
        if device is not None:
            chosen = StreamServerEndpoint(reactor, port, address, BACKLOG, device)
        else:
            plain = endpoint(reactor, port, backlog=BACKLOG, interface=str(address))
            chosen = faster(plain)
        listening: Deferred[IListeningPort] = chosen.listen(factory)
        try:
            return await listening
        except CannotListenError as error:
            problem = error
    assert problem is not None
    raise problem
