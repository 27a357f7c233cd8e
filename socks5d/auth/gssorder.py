"""
The order of a client's messages, by the number in each one's token (RFC 4121 section
4.2.6.2).

A mechanism watches for messages that come twice or out of turn where the client asked
for it when it established the context, and for nothing where it did not.  The numbers
are there in either case.
"""

#: Numbers below the highest that are remembered one by one; what is older is refused.
WINDOW = 64

_REMEMBERED = (1 << WINDOW) - 1
_WRAP = b"\x05\x04"
#: Where the number is, and where it ends.
_NUMBER, _END = 8, 16


def sequence_number(token: bytes) -> int | None:
    """
    @param token: one that wraps a message; until it was unwrapped, what it says is any
        stranger's word.
    @return: its number; None where there is none to be seen, as of the older kinds (RFC 1964).
    """
    if len(token) < _END or token[:2] != _WRAP:
        return None
    return int.from_bytes(token[_NUMBER:_END])


class Order:
    """Which numbers were taken.  The first that is sets the beginning."""

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        #: One more than the highest; None until there is one.
        self._next: int | None = None
        #: A bit for each of the last that were taken, the highest's the lowest.
        self._taken = 0

    def is_next(self, number: int) -> bool:
        """Whether a number follows the highest."""
        return self._next is None or number == self._next

    def is_new(self, number: int) -> bool:
        """Whether a number was not taken, and is not too old to tell."""
        if self._next is None or number >= self._next:
            return True
        age = self._next - 1 - number
        return age < WINDOW and not self._taken >> age & 1

    def take(self, number: int) -> None:
        """
        @param number: one that L{is_new}, of a message that was found to be the client's.
        """
        if self._next is None:
            self._next, self._taken = number + 1, 1
        elif number >= self._next:
            # Not shifted by any number that a token may hold.
            ahead = min(number + 1 - self._next, WINDOW)
            self._next, self._taken = number + 1, (self._taken << ahead | 1) & _REMEMBERED
        else:
            self._taken |= 1 << self._next - 1 - number
