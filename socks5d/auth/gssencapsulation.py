"""Per-message protection (RFC 1961 section 5): what follows a context is wrapped in it."""

from collections.abc import Callable
from typing import Protocol as Shape

from zope.interface import implementer

from socks5d.interfaces import IDatagramEncapsulation
from socks5d.wire.gssframe import (
    CONFIDENTIALITY,
    ENCAPSULATED,
    INTEGRITY,
    MAX_TOKEN,
    Message,
    Messages,
    encode_message,
    parse_message,
)


class Wrapping(Shape):
    """The part of L{Context<socks5d.auth.gsscontext.Context>} that is used here."""

    def wrap(self, data: bytes, confidential: bool) -> bytes: ...

    def unwrap(self, token: bytes) -> tuple[bytes, bool]: ...

    def unwrap_datagram(self, token: bytes) -> tuple[bytes, bool]: ...

    def room(self, token: int, confidential: bool) -> int: ...


class Unprotected(Exception):
    """A message is not what was agreed on."""


@implementer(IDatagramEncapsulation)
class GSSEncapsulation:
    """
    One session's.  Nothing in it waits for anybody: to wrap and to unwrap takes the
    processor alone.
    """

    def __init__(self, context: Wrapping, level: int) -> None:
        """
        @param context: an established one.
        @param level: what was agreed on: 1, 2 or 3.  Where each side may choose for
            each message (3), this one encrypts.
        @raise ValueError: when nothing fits into a token.
        """
        self._context = context
        self._level = level
        self._confidential = level != INTEGRITY
        self._messages = Messages()
        self._room = min(context.room(MAX_TOKEN, self._confidential), MAX_TOKEN)
        if self._room <= 0:
            raise ValueError("the mechanism's tokens do not fit")

    def encapsulate(self, data: bytes) -> bytes:
        """See L{IEncapsulation<socks5d.interfaces.IEncapsulation>}."""
        room = self._room
        if len(data) <= room:
            return self._wrapped(data)
        return b"".join(
            self._wrapped(data[start : start + room]) for start in range(0, len(data), room)
        )

    def decapsulate(self, data: bytes) -> bytes:
        """See L{IEncapsulation<socks5d.interfaces.IEncapsulation>}."""
        unwrap = self._context.unwrap
        return b"".join([self._plain(message, unwrap) for message in self._messages.feed(data)])

    def finish(self) -> None:
        """See L{IEncapsulation<socks5d.interfaces.IEncapsulation>}."""
        if len(self._messages):
            raise Unprotected("the last message is not whole")

    def encapsulate_datagram(self, datagram: bytes) -> bytes:
        """See L{IDatagramEncapsulation}."""
        return self._wrapped(datagram)

    def decapsulate_datagram(self, datagram: bytes) -> bytes:
        """See L{IDatagramEncapsulation}."""
        parsed = parse_message(datagram)
        if parsed is None or parsed.end != len(datagram):
            raise Unprotected("a datagram is not one message")
        return self._plain(parsed.value, self._context.unwrap_datagram)

    def _wrapped(self, data: bytes) -> bytes:
        return encode_message(ENCAPSULATED, self._context.wrap(data, self._confidential))

    def _plain(self, message: Message, unwrap: Callable[[bytes], tuple[bytes, bool]]) -> bytes:
        if message.mtyp != ENCAPSULATED:
            raise Unprotected("a message is not encapsulated")
        data, encrypted = unwrap(message.token)
        if self._level == CONFIDENTIALITY and not encrypted:
            raise Unprotected("a message is not encrypted")
        return data
