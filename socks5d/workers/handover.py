"""Open sockets from the parent to a worker that runs already (SCM_RIGHTS, unix(7))."""

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

#: Descriptors in one message; the kernel takes no more than 253.
TOGETHER: Final = 64


def hand_over(way: socket.socket, descriptors: Sequence[int]) -> None:
    """
    @param way: to the worker; it does not block.
    @param descriptors: of sockets, L{TOGETHER} at most; they stay the caller's, too.
    @raise OSError: when the worker is gone, or has not taken the last ones, or when more are
        under way already than may be.
    """
    socket.send_fds(way, [b"\0"], list(descriptors))


def take_over(way: socket.socket, count: int) -> list[int]:
    """
    @param way: from the parent, which has handed them over already.
    @param count: how many came together.
    @return: the descriptors.
    @raise OSError: when they are not there, or there is no room for them in this process.
    """
    # Not by a flag, which recv_fds() takes and drops.
    way.setblocking(False)
    data, taken, _, _ = socket.recv_fds(way, 1, TOGETHER)
    if not data:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    if len(taken) < count:
        close(taken)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return list(taken)


def close(descriptors: list[int]) -> None:
    """
    @param descriptors: are closed, and taken out of the list.
    """
    while descriptors:
        with suppress(OSError):
            os.close(descriptors.pop())
