"""A UDP socket on a port of a range."""

import errno
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from socks5d.egress.ports import Ports, candidates
from socks5d.net import DatagramSocket
from socks5d.wire.address import IPAddress


def open_datagram(
    reactor: Any,
    address: IPAddress,
    ports: Ports | None,
    protocol: DatagramProtocol,
    device: str | None = None,
) -> DatagramSocket:
    """
    @param address: the local address; unspecified for any of its family.
    @param ports: the lowest and highest port; None for the kernel's choice.
    @param protocol: is given the datagrams.
    @param device: the network device that they go and come by; any by default.
    @raise OSError: when no port is to be had.
    """
    problem: OSError | None = None
    for port in candidates(ports):
        try:
            return DatagramSocket(reactor, address, port, protocol, device)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            problem = error
    assert problem is not None
    raise problem
