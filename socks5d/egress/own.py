"""This host's own addresses, as the kernel's routing has them.  No packet is sent."""

import errno
import socket
from ipaddress import ip_address

from socks5d.net.addresses import bind_to_device, host_of, sockaddr
from socks5d.wire.address import IPAddress
from socks5d.wire.names import unmapped

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def source_towards(address: IPAddress, device: str | None = None) -> IPAddress:
    """
    The address of this host's by which another is reached, and reaches it.

    @param device: the network device to go out by; the kernel's choice by default.
    @raise OSError: when there is no way there, or no room to ask.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if device is not None:
            bind_to_device(probe, device)
        probe.connect(sockaddr(address, 9))
        return unmapped(ip_address(host_of(probe.getsockname())))


def is_own(address: IPAddress) -> bool:
    """
    Whether an address is this host's: towards it, the kernel would use it as the source.

    @return: also True when the kernel has no room to answer.
    """
    try:
        return source_towards(address) == address
    except OSError as error:
        return error.errno in _EXHAUSTED
