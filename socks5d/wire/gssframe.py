"""
The messages of the GSS-API method (RFC 1961): VER 1, MTYP, LEN, TOKEN; and VER, MTYP FF.

What a token holds is the GSS-API's business.
"""

from typing import NamedTuple

from socks5d.wire.parsed import Parsed, WireError

VERSION = 1

# MTYP, sections 3.4, 4.3, 5 and 3.8
CONTEXT = 1
PROTECTION = 2
ENCAPSULATED = 3
ABORT = 0xFF

# Protection levels, section 4.3.  0 stands in no RFC: clients (curl is one) say by it that
# nothing at all is to be wrapped.
NOTHING = 0
INTEGRITY = 1
CONFIDENTIALITY = 2
PER_MESSAGE = 3

#: Octets before a token, and in one.
HEADER = 4
MAX_TOKEN = 65535

#: What says that the context is given up (section 3.8).
ABORT_MESSAGE = bytes((VERSION, ABORT))


class Message(NamedTuple):
    """
    @ivar mtyp: MTYP.
    @ivar token: TOKEN; empty for an abort.
    """

    mtyp: int
    token: bytes


def parse_message(data: bytes | bytearray, start: int = 0) -> Parsed[Message] | None:
    """
    Read a message.

    @param start: where it begins; C{end} counts from the beginning of C{data}.
    @raise WireError: as soon as an octet settles it: another VER, an unknown MTYP; its
        reply is an abort.
    """
    size = len(data) - start
    if size > 0 and data[start] != VERSION:
        raise WireError("the GSS-API message's VER is not 1", ABORT_MESSAGE)
    if size < 2:
        return None
    mtyp = data[start + 1]
    if mtyp == ABORT:
        return Parsed(Message(ABORT, b""), start + 2)
    if mtyp not in (CONTEXT, PROTECTION, ENCAPSULATED):
        raise WireError("unknown GSS-API message type", ABORT_MESSAGE)
    if size < HEADER:
        return None
    token = start + HEADER
    end = token + int.from_bytes(data[start + 2 : token])
    if len(data) < end:
        return None
    return Parsed(Message(mtyp, bytes(data[token:end])), end)


def encode_message(mtyp: int, token: bytes) -> bytes:
    """
    @raise ValueError: for a token that does not fit.
    """
    if len(token) > MAX_TOKEN:
        raise ValueError(f"a token has at most {MAX_TOKEN} octets")
    return bytes((VERSION, mtyp)) + len(token).to_bytes(2) + token


class Messages:
    """
    Finds the messages of a stream, however it was cut up; keeps at most one that is not
    yet whole.
    """

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def __len__(self) -> int:
        """Octets of the message that is not yet whole."""
        return len(self._data)

    def feed(self, data: bytes) -> list[Message]:
        """
        @param data: what came.
        @return: the messages that it makes whole.
        @raise WireError: as L{parse_message} does.
        """
        buffer = self._data
        buffer += data
        found: list[Message] = []
        start = 0
        while (parsed := parse_message(buffer, start)) is not None:
            found.append(parsed.value)
            start = parsed.end
        del buffer[:start]
        return found

    def rest(self) -> bytes:
        """
        @return: the octets of the message that is not yet whole, which are then forgotten.
        """
        rest = bytes(self._data)
        self._data.clear()
        return rest
