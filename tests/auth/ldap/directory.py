"""A directory in memory: what it is asked, and answers of a test's choice."""

from typing import Any

from ldaptor.protocols import pureber, pureldap
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from socks5d.auth.ldap.connection import Connection
from socks5d.auth.ldap.messages import Codec

ROOT = "dc=example,dc=org"
PASSWORD = b"correct horse"

_CONTEXT = pureldap.LDAPBERDecoderContext_TopLevel(
    inherit=pureldap.LDAPBERDecoderContext_LDAPMessage(
        fallback=pureldap.LDAPBERDecoderContext(fallback=pureber.BERDecoderContext()),
        inherit=pureldap.LDAPBERDecoderContext(fallback=pureber.BERDecoderContext()),
    )
)


def read_request(octets: bytes) -> tuple[Any, bytes]:
    """The first message in octets that a client wrote, and what stands behind it."""
    message, used = pureber.berDecodeObject(_CONTEXT, octets)
    return message, octets[used:]


def message(operation: Any, number: int = 1) -> bytes:
    octets: bytes = pureldap.LDAPMessage(operation, id=number).toWire()
    return octets


def bind_response(code: int = 0, number: int = 1) -> bytes:
    return message(pureldap.LDAPBindResponse(resultCode=code), number)


def search_done(code: int = 0, number: int = 1) -> bytes:
    return message(pureldap.LDAPSearchResultDone(resultCode=code), number)


def extended_response(code: int = 0, number: int = 1) -> bytes:
    return message(pureldap.LDAPExtendedResponse(resultCode=code), number)


def entry(dn: str, number: int = 1, **attributes: list[bytes]) -> bytes:
    return message(pureldap.LDAPSearchResultEntry(dn, list(attributes.items())), number)


class Wire(StringTransport):
    """
    The transport of a connection to a directory in memory.

    @ivar requests: what was asked, in order.
    @ivar aborted: whether the connection was ended without a goodbye.
    """

    def __init__(self, directory: "Directory") -> None:
        super().__init__()
        self._directory = directory
        self.requests: list[Any] = []
        self.connection: Connection
        self.aborted = False
        self.open = True

    def write(self, data: bytes) -> None:
        request, rest = read_request(data)
        assert not rest
        self.requests.append(request.value)
        self._directory.asked.append((self, request.value))
        self._directory.clock.callLater(0, self._answer, request)

    def _answer(self, request: Any) -> None:
        octets = self._directory.answer(self, request)
        if octets and self.open:
            self.connection.dataReceived(octets)

    def loseConnection(self) -> None:
        self._directory.clock.callLater(0, self.lose)

    def abortConnection(self) -> None:
        self.aborted = True
        self._directory.clock.callLater(0, self.lose)

    def lose(self) -> None:
        """The connection ends."""
        if self.open:
            self.open = False
            self.connection.connectionLost(Failure(ConnectionDone()))


class Directory:
    """
    A directory whose connections are in memory.

    @ivar people: the DN, the attributes and the password of each.
    @ivar asked: what came, and on which wire.
    @ivar wires: the connections there have been.
    @ivar mute: whether it leaves what it is asked without an answer.
    @ivar silent_about: of which types of requests it does so in any case.
    @ivar codes: result codes to give in place of those that are right, by a request's type.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.codec = Codec()
        self.people: dict[str, tuple[dict[str, list[bytes]], bytes]] = {}
        self.asked: list[tuple[Wire, Any]] = []
        self.wires: list[Wire] = []
        self.mute = False
        self.silent_about: set[str] = set()
        self.codes: dict[str, int] = {}
        self.refusing: Exception | None = None

    def add(self, dn: str, password: bytes = PASSWORD, **attributes: list[bytes]) -> None:
        self.people[dn] = (attributes, password)

    async def connect(self) -> Connection:
        """As L{socks5d.auth.ldap.connecting} has it."""
        if self.refusing is not None:
            raise self.refusing
        wire = Wire(self)
        wire.connection = Connection(self.codec, self.clock)
        wire.connection.makeConnection(wire)
        self.wires.append(wire)
        turn: Deferred[None] = Deferred()
        call = self.clock.callLater(0, turn.callback, None)
        try:
            await turn
        except BaseException:
            call.cancel()
            wire.connection.abort()
            raise
        return wire.connection

    def answer(self, wire: Wire, request: Any) -> bytes:
        operation = request.value
        kind = type(operation).__name__
        if self.mute or kind in self.silent_about:
            return b""
        if kind == "LDAPBindRequest":
            return bind_response(self.codes.get(kind, self._bind(operation)), request.id)
        if kind == "LDAPSearchRequest":
            found = [
                entry(dn, request.id, **attributes)
                for dn, (attributes, _) in self.people.items()
                if self._matches(operation.filter, attributes)
            ]
            done = search_done(self.codes.get(kind, 0), request.id)
            return b"".join(found) + done
        assert kind == "LDAPUnbindRequest"
        return b""

    def _bind(self, operation: Any) -> int:
        if not operation.auth:
            # RFC 4513 section 5.1.2, as many servers have it.
            return 0
        _, password = self.people.get(operation.dn.decode(), ({}, None))
        return 0 if password == operation.auth else 49

    def _matches(self, wanted: Any, attributes: dict[str, list[bytes]]) -> bool:
        assert type(wanted).__name__ == "LDAPFilter_equalityMatch"
        values = attributes.get(wanted.attributeDesc.value.decode(), [])
        value: bytes = wanted.assertionValue.value
        return value.strip().lower() in [each.lower() for each in values]

    def turn(self, seconds: float = 0.0, times: int = 50) -> None:
        """Let happen what happens at once, and then what does in so many seconds."""
        for _ in range(times):
            self.clock.advance(0)
        if seconds:
            self.clock.advance(seconds)
            self.turn()

    def binds(self) -> list[tuple[str, bytes]]:
        """Who has tried to bind, and with which password."""
        return [
            (each.dn.decode(), each.auth)
            for _, each in self.asked
            if type(each).__name__ == "LDAPBindRequest"
        ]
