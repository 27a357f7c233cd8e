"""The client's side of a UDP association, and servers that answer datagrams."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_address
from pathlib import Path

from socks5d.wire import socks5
from socks5d.wire.address import Address
from socks5d.wire.udp import Header, encode_header, parse_header
from tests.support import client
from tests.support.running import PATIENCE
from tests.support.running import Address as SocketAddress

#: Larger than any datagram.
BUFFER = 1 << 16


def udp_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A bound UDP socket that gives up waiting after a while."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, port))
    made.settimeout(PATIENCE)
    return made


def to(host: str | bytes, port: int, data: bytes = b"", frag: int = 0) -> bytes:
    """A datagram for the relay."""
    return encode_header(Header(frag, client.destination(host, port))) + data


class Associated:
    """
    A client with an association.

    @ivar control: the control connection.
    @ivar socket: the client's UDP socket.
    @ivar relay: where the relay is.
    """

    def __init__(
        self,
        server: SocketAddress,
        host: str = "127.0.0.1",
        announced: Address | None = None,
        udp: socket.socket | None = None,
    ) -> None:
        """
        @param host: the address that the client connects and sends from.
        @param announced: DST.ADDR and DST.PORT; all zeros by default.
        @param udp: in the place of a socket of its own.
        """
        self.control = socket.create_connection(server, PATIENCE, (host, 0))
        self.socket = udp if udp is not None else udp_socket(host)
        client.greet(self.control)
        wanted = announced if announced is not None else Address(ip_address("0.0.0.0"), 0)
        self.reply = client.request5(self.control, wanted, socks5.UDP_ASSOCIATE)
        self.relay = (str(self.reply.bound.host), self.reply.bound.port)

    def __enter__(self) -> "Associated":
        assert self.reply.code == socks5.SUCCEEDED
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self.control.close()
        self.socket.close()

    def send(self, host: str | bytes, port: int, data: bytes, frag: int = 0) -> None:
        """Send to a destination."""
        self.socket.sendto(to(host, port, data, frag), self.relay)

    def receive(self) -> tuple[SocketAddress, bytes]:
        """One answer: from where, and its data."""
        datagram, source = self.socket.recvfrom(BUFFER)
        assert source[:2] == self.relay
        parsed = parse_header(datagram)
        header = parsed.value
        assert datagram[:2] == b"\0\0"
        assert header.frag == 0
        return (str(header.address.host), header.address.port), datagram[parsed.end :]

    def ask(self, host: str | bytes, port: int, data: bytes = b"still there?") -> bytes:
        """Send to an echo, and give what comes back."""
        self.send(host, port, data)
        return self.receive()[1]


def until_taken(where: SocketAddress) -> None:
    """Wait until whoever is there has read what came; the kernel drops what it has no room for."""
    number = f":{where[1]:04X}"
    deadline = time.monotonic() + PATIENCE
    while any(
        int(fields[4].partition(":")[2], 16)
        for fields in map(str.split, Path("/proc/net/udp").read_text().splitlines()[1:])
        if fields[1].endswith(number)
    ):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.001)


@contextmanager
def answering(
    answer: Callable[[socket.socket, bytes, SocketAddress], None], host: str = "127.0.0.1"
) -> Iterator[SocketAddress]:
    """A UDP server in a thread; C{answer} is given its socket, a datagram, and its source."""
    server = udp_socket(host)
    server.settimeout(None)
    problems: list[BaseException] = []
    stop = b"stop " + str(id(server)).encode()

    def serve() -> None:
        try:
            while True:
                data, source = server.recvfrom(BUFFER)
                if data == stop:
                    return
                answer(server, data, source)
        except BaseException as problem:  # noqa: BLE001 (told at the end)
            problems.append(problem)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address: SocketAddress = server.getsockname()[:2]
    try:
        yield address
    finally:
        with udp_socket(host) as last:
            last.sendto(stop, address)
        thread.join(PATIENCE)
        server.close()
    if problems:
        raise AssertionError("a UDP server failed") from problems[0]


def _echo(server: socket.socket, data: bytes, source: SocketAddress) -> None:
    server.sendto(data, source)


def echoing(host: str = "127.0.0.1") -> AbstractContextManager[SocketAddress]:
    """A UDP server that sends back what comes."""
    return answering(_echo, host)
