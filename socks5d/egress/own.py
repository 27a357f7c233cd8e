"""Whether an address is one of this host's."""

import errno
import socket

from socks5d.wire.address import IPAddress

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def is_own(address: IPAddress) -> bool:
    """
    Ask the kernel: towards an address of its own, it would use that address as the
    source.  No packet is sent.

    @return: also True when the kernel has no room to answer.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            source: str = probe.getsockname()[0]
    except OSError as error:
        return error.errno in _EXHAUSTED
    return source == str(address)
