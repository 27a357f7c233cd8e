"""
Putting a fragmented datagram together (RFC 1928 section 7).

The queue holds one sequence at a time.  The RFC abandons a sequence when a FRAG comes
that is lower than the highest so far; here also when one is left out, for nothing
that comes later could fill the gap.  Its timer, which must be no less than 5 seconds,
is the caller's, as the time is.
"""

from socks5d.wire.address import Address
from socks5d.wire.udp import END_OF_SEQUENCE, Header

#: What a UDP datagram over IPv4 can carry, and so what a sequence may add up to.
MAX_DATAGRAM = 65507

_POSITION = END_OF_SEQUENCE - 1


class Reassembly:
    """
    One association's queue; its length is the number of fragments that it holds.

    @ivar octets: what it holds.
    """

    __slots__ = ("_address", "_highest", "_pieces", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self._address: Address | None = None
        self._highest = 0
        self._pieces: list[bytes] = []

    def __len__(self) -> int:
        return len(self._pieces)

    def abandon(self) -> None:
        """Drop what is there: the timer has run out, or the sequence cannot be completed."""
        self.octets = 0
        self._address = None
        self._highest = 0
        self._pieces.clear()

    def add(self, header: Header, data: bytes) -> bytes | None:
        """
        Take a fragment.

        @param header: of the datagram it came in; FRAG is not 0.
        @param data: what stood behind the header.
        @return: the data of the whole datagram, when this completes one.
        """
        position = header.frag & _POSITION
        if position == 1:
            self.abandon()
            self._address = header.address
        elif position == self._highest and header.address == self._address:
            # The network's copy of the one before: not lower, so nothing is given up.
            return None
        elif position != self._highest + 1 or header.address != self._address:
            self.abandon()
            return None
        self.octets += len(data)
        if self.octets > MAX_DATAGRAM:
            self.abandon()
            return None
        self._highest = position
        self._pieces.append(bytes(data))
        if not header.frag & END_OF_SEQUENCE:
            return None
        whole = b"".join(self._pieces)
        self.abandon()
        return whole
