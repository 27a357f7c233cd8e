"""
The UDP ports of this server's own sockets, those of its other processes included.

What one client sends by way of this server comes from this host, and must not be taken
for what another client on this host sends.
"""

from collections import Counter
from typing import Final

#: Octets that a process has for its ports: one for each.
ROW: Final = 1 << 16


class OwnPorts:
    """Known at once, and by every process that has the same memory."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._shared: memoryview | None = None
        self._row = 0

    def share(self, memory: memoryview, row: int) -> None:
        """
        Know other processes' ports too, and let them know this one's.

        @param memory: a row of L{ROW} octets for each process.
        @param row: which is this one's.
        """
        self._shared, self._row = memory, row
        for port in self._counts:
            memory[row * ROW + port] = 1

    def add(self, port: int) -> None:
        """
        @param port: a socket is bound to it from now on.
        """
        self._counts[port] += 1
        if self._shared is not None:
            self._shared[self._row * ROW + port] = 1

    def remove(self, port: int) -> None:
        """
        @param port: a socket that was bound to it is closed.
        """
        self._counts[port] -= 1
        if not self._counts[port]:
            del self._counts[port]
            if self._shared is not None:
                self._shared[self._row * ROW + port] = 0

    def __contains__(self, port: int) -> bool:
        if port in self._counts:
            return True
        return self._shared is not None and any(self._shared[port::ROW])


#: This process's.
own_ports: Final = OwnPorts()


def is_ours(port: int) -> bool:
    """
    @return: whether one of this server's own sockets for datagrams has this port.
    """
    return port in own_ports
