"""A client of the GSS-API method (RFC 1961), on the wire package and MIT's library; blocking."""

import socket
from typing import Any

from socks5d.wire import gssframe, socks5
from socks5d.wire.address import Address
from socks5d.wire.gssframe import (
    CONTEXT,
    ENCAPSULATED,
    PROTECTION,
    Message,
    Messages,
    encode_message,
    parse_message,
)
from tests.support import client
from tests.support.running import Address as SocketAddress

SERVICE = "rcmd@localhost"
#: What RFC 1961 section 3.2 has clients of TCP ask for, delegation left out.
FLAGS = (
    "mutual_authentication",
    "replay_detection",
    "out_of_sequence_detection",
    "confidentiality",
    "integrity",
)
#: The same without order, for datagrams.
UDP_FLAGS = tuple(flag for flag in FLAGS if flag != "out_of_sequence_detection")


def initiator(cache: str, service: str = SERVICE, flags: tuple[str, ...] = FLAGS) -> Any:
    """A context towards a service, with the tickets of a credential cache."""
    import gssapi

    return gssapi.SecurityContext(
        name=gssapi.Name(service, gssapi.NameType.hostbased_service),
        creds=gssapi.Credentials(usage="initiate", store={"ccache": cache}),
        flags=sum(gssapi.RequirementFlag[flag] for flag in set(flags)),
        usage="initiate",
    )


class GSSClient:
    """
    A client, connected, and authenticated when it is told to.

    @ivar control: the connection.
    @ivar context: the security context.
    @ivar level: the protection level that the server took.
    @ivar rounds: context tokens that were sent.
    """

    def __init__(self, server: SocketAddress, context: Any) -> None:
        self.control = client.dial(server)
        self.context = context
        self.level = 0
        self.rounds = 0
        self._messages = Messages()
        self._plain = b""

    def __enter__(self) -> "GSSClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()

    # The sub-negotiation.

    def greet(self) -> None:
        """Offer the GSS-API, and nothing else."""
        assert client.greet(self.control, b"\x01") == socks5.GSSAPI

    def read(self) -> Message:
        """Read one message and not an octet more."""
        return client.read(self.control, parse_message)

    def establish(self) -> None:
        """Exchange context tokens, until there is a context."""
        token = self.context.step()
        while token:
            self.control.sendall(encode_message(CONTEXT, token))
            self.rounds += 1
            if self.context.complete:
                break
            message = self.read()
            if message.mtyp == gssframe.ABORT:
                raise ConnectionAbortedError("the server gave the context up")
            assert message.mtyp == CONTEXT
            token = self.context.step(message.token)

    def protect(self, level: int, *, wrapped: bool = True) -> int:
        """Ask for a protection level; gives the one that the server takes."""
        octet = bytes((level,))
        token = self.context.wrap(octet, False).message if wrapped else octet
        self.control.sendall(encode_message(PROTECTION, token))
        message = self.read()
        if message.mtyp == gssframe.ABORT:
            raise ConnectionAbortedError("the server does not take the level")
        assert message.mtyp == PROTECTION
        answer = self.context.unwrap(message.token).message if wrapped else message.token
        assert len(answer) == 1
        self.level = answer[0]
        return self.level

    def authenticate(self, level: int) -> "GSSClient":
        """All of it."""
        self.greet()
        self.establish()
        self.protect(level)
        return self

    # What follows it.

    def wrap(self, data: bytes, *, encrypt: bool | None = None) -> bytes:
        """A message on the wire."""
        if encrypt is None:
            encrypt = self.level != gssframe.INTEGRITY
        return encode_message(ENCAPSULATED, self.context.wrap(data, encrypt).message)

    def unwrap(self, message: Message) -> bytes:
        """What a message holds, which is protected as was agreed on."""
        assert message.mtyp == ENCAPSULATED
        data, encrypted, _ = self.context.unwrap(message.token)
        assert encrypted is (self.level != gssframe.INTEGRITY)
        plain: bytes = data
        return plain

    def send(self, data: bytes) -> None:
        """Send octets, wrapped, at most 32 KiB to a message."""
        for start in range(0, len(data), 1 << 15):
            self.control.sendall(self.wrap(data[start : start + (1 << 15)]))

    def receive(self, size: int) -> bytes:
        """Read exactly so many octets, unwrapped; fewer when the FIN comes first."""
        while len(self._plain) < size:
            data = self.control.recv(1 << 16)
            if not data:
                break
            self._plain += b"".join(map(self.unwrap, self._messages.feed(data)))
        found, self._plain = self._plain[:size], self._plain[size:]
        return found

    def reply(self) -> socks5.Reply:
        """Read a reply."""
        data = b""
        while (parsed := socks5.parse_reply(data)) is None:
            piece = self.receive(1)
            if not piece:
                raise ConnectionError(f"the server closed after {data!r}")
            data += piece
        return parsed.value

    def request(self, to: Address, command: int = socks5.CONNECT) -> socks5.Reply:
        """Ask, and read the reply."""
        self.send(socks5.encode_request(socks5.Request(command, to)))
        return self.reply()

    def end(self) -> str:
        """How the server ends the connection: with a "FIN" or a "reset"."""
        try:
            while self.control.recv(1 << 16):
                continue
        except ConnectionResetError:
            return "reset"
        return "FIN"

    def half_close(self) -> None:
        """Say that nothing more comes."""
        self.control.shutdown(socket.SHUT_WR)
