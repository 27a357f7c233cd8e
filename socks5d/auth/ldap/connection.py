"""
One connection to a directory.

It is asked one thing at a time, and takes as an answer only what comes while it waits for
one, bears the number of what it asked, and has nothing behind it.  Whatever else comes ends
it, and so does giving up on an answer: a connection that is kept is one that owes nothing.
"""

from collections.abc import Callable
from typing import Any, Final

from attrs import field, frozen, mutable
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.auth.ldap.failures import ConnectionEnded, DirectoryError, reason
from socks5d.auth.ldap.messages import Answer, Codec, Entry, Garbled, Reference, Result, frame

#: Octets of all that answers one question.
LONGEST_ANSWER: Final = 1 << 18
#: Seconds that a server has to end a connection when it is told to.
GOODBYE: Final = 2.0

_SEQUENCE: Final = 0x30
_UNASKED: Final = "it said what it was not asked for"


@frozen
class Found:
    """
    What a search gave.

    @ivar code: its resultCode.
    @ivar entries: those found, perhaps fewer than there are.
    """

    code: int
    entries: tuple[Entry, ...]


@mutable
class _Question:
    """What is not yet answered."""

    number: int
    kind: str
    answer: "Deferred[Found]"
    room: int = LONGEST_ANSWER
    entries: list[Entry] = field(factory=list)


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    See the module's documentation.

    @ivar ended: whether it is of no use any more.
    """

    def __init__(self, codec: Codec, clock: IReactorTime) -> None:
        self._codec = codec
        self._clock = clock
        self._buffer = bytearray()
        self._number = 0
        self._question: _Question | None = None
        self._handshake: Deferred[None] | None = None
        self._goodbye: IDelayedCall | None = None
        self.ended = False

    # What can be asked.  Each fails with a DirectoryError, and ends it when cancelled.

    async def bind(self, dn: str | bytes, password: bytes) -> int:
        """
        Become somebody.

        @param dn: who, not empty.
        @param password: not empty.
        @return: the resultCode.
        """
        if not dn or not password:
            raise DirectoryError("nobody binds without a name and a password")
        found = await self._ask("bind", lambda number: self._codec.bind(number, dn, password))
        return found.code

    async def search(
        self, base: str, wanted: Any, attribute: str, *, most: int, seconds: int
    ) -> Found:
        """See L{Codec.search}."""
        return await self._ask(
            "search",
            lambda number: self._codec.search(number, base, wanted, attribute, most, seconds),
        )

    async def start_tls(self, options: IOpenSSLClientConnectionCreator, ask: bool) -> None:
        """
        Go on in TLS, once the certificate is verified.  Where that fails, it has ended.

        @param ask: whether the server is asked first.
        """
        try:
            if ask:
                found = await self._ask("extended", self._codec.start_tls)
                if found.code:
                    name = self._codec.name_of(found.code)
                    raise DirectoryError(f"it refuses StartTLS ({name})")
            if self.ended:
                raise ConnectionEnded("it ended the connection")
            self._handshake = Deferred(self._give_up)
            assert self.transport is not None
            self.transport.startTLS(options)  # type: ignore[attr-defined]
            await self._handshake
        except BaseException:
            self.abort()
            raise

    # Its end.

    def close(self) -> None:
        """Say goodbye, and end it in any case."""
        if self.ended:
            return
        self.ended = True
        assert self.transport is not None
        self.transport.write(self._codec.unbind(self._next_number()))
        self.transport.loseConnection()
        self._goodbye = self._clock.callLater(GOODBYE, self._abort_transport)

    def abort(self) -> None:
        """End it at once."""
        if not self.ended:
            self.ended = True
            self._abort_transport()

    def _abort_transport(self) -> None:
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    # What comes.

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        """See L{IHandshakeListener}."""
        handshake, self._handshake = self._handshake, None
        if handshake is not None and not handshake.called:
            handshake.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        if self.ended:
            return
        question = self._question
        if question is None:
            self._fail(_UNASKED)
            return
        question.room -= len(data)
        if question.room < 0:
            self._fail("its answer is too long")
            return
        self._buffer += data
        try:
            self._take(question)
        except Garbled as error:
            self._fail(f"it answers with {error}")

    def connectionLost(self, reason_: Failure = connectionDone) -> None:
        """See L{Protocol}."""
        self._fail(reason(reason_))
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()

    def _take(self, question: _Question) -> None:
        while (whole := frame(self._buffer, _SEQUENCE)) is not None:
            message = bytes(self._buffer[: whole.end])
            del self._buffer[: whole.end]
            number, answer = self._codec.decode(message)
            if number == 0:
                # RFC 4511 section 4.4.1, whatever else may be meant by it some day.
                self._fail("it ends the connection")
                return
            if number != question.number or not self._belongs(question, answer):
                raise Garbled("what was not asked for")
            if isinstance(answer, Result):
                # What stands behind StartTLS's answer did not come through TLS, and nothing
                # may stand behind another.
                if self._buffer:
                    raise Garbled("more than was asked for")
                self._question = None
                question.answer.callback(Found(answer.code, tuple(question.entries)))
                return

    def _belongs(self, question: _Question, answer: Answer) -> bool:
        if isinstance(answer, Entry):
            question.entries.append(answer)
        elif isinstance(answer, Result):
            return answer.kind == question.kind
        return question.kind == "search" and isinstance(answer, Entry | Reference)

    def _fail(self, why: str) -> None:
        self.abort()
        self._buffer.clear()
        question, self._question = self._question, None
        handshake, self._handshake = self._handshake, None
        if question is not None and not question.answer.called:
            question.answer.errback(ConnectionEnded(why))
        if handshake is not None and not handshake.called:
            handshake.errback(ConnectionEnded(why))

    # Asking.

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, kind: str, encode: Callable[[int], bytes]) -> Found:
        if self.ended:
            raise ConnectionEnded("it ended the connection")
        if self._question is not None or self._handshake is not None:
            raise DirectoryError("it is asked two things at once")
        number = self._next_number()
        self._question = question = _Question(number, kind, Deferred(self._give_up))
        assert self.transport is not None
        self.transport.write(encode(number))
        return await question.answer

    def _give_up(self, _deferred: object) -> None:
        # Before the end of the connection could answer in their place.
        self._question = self._handshake = None
        self.abort()
