"""A SOCKS client of our own, on the client's side of the wire package; blocking."""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

from socks5d.wire import socks4, socks5, userpass
from socks5d.wire.address import Address, Host
from socks5d.wire.parsed import Parsed
from tests.support.running import PATIENCE
from tests.support.running import Address as SocketAddress

T = TypeVar("T")


def dial(server: SocketAddress, source: str = "") -> socket.socket:
    """Connect, from an address of this host, without a word."""
    return socket.create_connection(server, PATIENCE, (source, 0))


def destination(host: str | bytes, port: int) -> Address:
    """An IP address in a string is one; octets are a name."""
    target: Host = host if isinstance(host, bytes) else ip_address(host)
    return Address(target, port)


def read(connection: socket.socket, parser: Callable[[bytes], Parsed[T] | None]) -> T:
    """Read one message and not an octet more."""
    data = b""
    while True:
        parsed = parser(data)
        if parsed is not None:
            return parsed.value
        piece = connection.recv(1)
        if not piece:
            raise ConnectionError(f"the server closed after {data!r}")
        data += piece


def greet(connection: socket.socket, methods: bytes = b"\x00") -> int:
    """Offer methods; gives the one selected."""
    connection.sendall(socks5.encode_greeting(methods))
    return read(connection, socks5.parse_selection)


def log_in(connection: socket.socket, username: bytes, password: bytes) -> int:
    """Username and password; gives STATUS."""
    connection.sendall(userpass.encode_credentials(userpass.Credentials(username, password)))
    return read(connection, userpass.parse_status)


def request5(connection: socket.socket, to: Address, command: int = socks5.CONNECT) -> socks5.Reply:
    """Ask, and read the reply."""
    connection.sendall(socks5.encode_request(socks5.Request(command, to)))
    return read(connection, socks5.parse_reply)


def request4(
    connection: socket.socket, to: Address, userid: bytes = b"", command: int = socks4.CONNECT
) -> socks4.Reply:
    """Ask, and read the reply."""
    connection.sendall(socks4.encode_request(socks4.Request(command, to, userid)))
    return read(connection, socks4.parse_reply)


def connect5(
    server: SocketAddress, host: str | bytes, port: int
) -> tuple[socket.socket, socks5.Reply]:
    """A SOCKS 5 CONNECT without authentication."""
    connection = dial(server)
    assert greet(connection) == socks5.NO_AUTHENTICATION
    return connection, request5(connection, destination(host, port))


def connect4(
    server: SocketAddress, host: str | bytes, port: int, userid: bytes = b""
) -> tuple[socket.socket, socks4.Reply]:
    """A SOCKS 4 CONNECT; 4a for a name."""
    connection = dial(server)
    return connection, request4(connection, destination(host, port), userid)
