"""
Sending datagrams together that go the same way, have the same size, and came in one turn.

It takes one system call, and one way through the kernel, to send many (UDP_SEGMENT, of
Linux).  Each stays the datagram that it is, and they stay in their order.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

#: Octets of a datagram that may go together with others.  Those that are sent together are
#: never fragmented, so larger ones would not get everywhere.  None at all is no size.
LARGEST: Final = 1200
#: Datagrams that go together: with their headers no more than fits into one.
MOST: Final = 48


class Together:
    """What is to be sent to one side, of one turn."""

    __slots__ = ("_many", "_one", "_packets", "_size", "_turn", "_way")

    def __init__(
        self,
        one: Callable[[Any, bytes], None],
        many: Callable[[Any, Sequence[bytes]], None],
    ) -> None:
        """
        @param one: sends a datagram, given its way.
        @param many: sends several of the same size, given their way.
        """
        self._one = one
        self._many = many
        self._turn = False
        self._way: Any = None
        self._size = 0
        self._packets: list[bytes] = []

    def begin(self) -> None:
        """A turn begins."""
        self._turn = True

    def end(self) -> None:
        """The turn is over."""
        self._turn = False
        self._send()

    def add(self, way: Any, packet: bytes) -> None:
        """
        Send a datagram, now or at the end of the turn.

        @param way: the same object for those that may go together.
        """
        if not self._turn or not 0 < len(packet) <= LARGEST:
            self._send()
            self._one(way, packet)
            return
        if way is not self._way or len(packet) != self._size or len(self._packets) >= MOST:
            self._send()
            self._way, self._size = way, len(packet)
        self._packets.append(packet)

    def forget(self) -> int:
        """
        @return: how many were still to be sent, and will not be.
        """
        left = len(self._packets)
        self._packets.clear()
        return left

    def _send(self) -> None:
        packets = self._packets
        if not packets:
            return
        self._packets = []
        if len(packets) == 1:
            self._one(self._way, packets[0])
        else:
            self._many(self._way, packets)
