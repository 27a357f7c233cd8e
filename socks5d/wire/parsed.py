"""What every parser of this package gives: a value and where it ends, or an error."""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Parsed(NamedTuple, Generic[T]):
    """
    A whole message.

    @ivar value: what it says.
    @ivar end: its length in octets; what follows belongs to the next message.
    """

    value: T
    end: int


class WireError(ValueError):
    """
    Octets that are no message of the protocol.

    @ivar reason: what is wrong, in words of ours alone: nothing a peer sent is in it.
    @ivar reply: the octets the specification wants sent before closing; empty
        where it wants none.
    """

    def __init__(self, reason: str, reply: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply
