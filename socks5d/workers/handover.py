"""Open sockets from the parent to a worker that runs already (SCM_RIGHTS, unix(7))."""

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
    @param descriptors: of the sockets; they stay the caller's, too.
    @raise OSError: when the worker is gone, or has not taken the last ones.
    """
    for start in range(0, len(descriptors), TOGETHER):
        socket.send_fds(way, [b"\0"], list(descriptors[start : start + TOGETHER]))


def take_over(way: socket.socket, counts: Sequence[int]) -> list[list[int]]:
    """
    @param way: from the parent, which has handed all of them over already.
    @param counts: how many there are of each listener.
    @return: the descriptors, by listener.
    @raise OSError: when they are not there.
    """
    taken: list[int] = []
    # Not by a flag, which recv_fds() takes and drops.
    way.setblocking(False)
    try:
        while len(taken) < sum(counts):
            _, descriptors, _, _ = socket.recv_fds(way, 1, TOGETHER)
            if not descriptors:
                raise OSError("sockets that were to come did not")
            taken += descriptors
    except OSError:
        close(taken)
        raise
    rest = iter(taken)
    return [[next(rest) for _ in range(count)] for count in counts]


def close(descriptors: list[int]) -> None:
    """
    @param descriptors: are closed, and taken out of the list.
    """
    while descriptors:
        with suppress(OSError):
            os.close(descriptors.pop())
