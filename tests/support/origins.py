"""Servers for a proxy to connect to: threads, blocking sockets, one connection at a time."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.support.running import PATIENCE, Address

Handler = Callable[[socket.socket], None]

RST_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(connection: socket.socket) -> None:
    """Close with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    connection.close()


def receive_all(connection: socket.socket) -> bytes:
    """Read to the FIN."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Read so many octets; fewer when the FIN comes first."""
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def until_gone(connection: socket.socket) -> None:
    """Take what comes, to the FIN or to a reset."""
    with suppress(ConnectionResetError):
        receive_all(connection)


def echo(connection: socket.socket) -> None:
    """Send back what comes, and a FIN for a FIN."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


@contextmanager
def origin(handler: Handler, host: str = "127.0.0.1", backlog: int = 128) -> Iterator[Address]:
    """
    Listens, and runs C{handler} in a thread for each connection, which is closed
    after it.  An exception of a handler's fails the test at the end.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=backlog)
    problems: list[BaseException] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(PATIENCE)
                handler(connection)
        except BaseException as problem:  # noqa: BLE001 (told at the end)
            problems.append(problem)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
    if problems:
        raise AssertionError("an origin failed") from problems[0]


@contextmanager
def unanswering() -> Iterator[Address]:
    """A server whose queue is full: connection attempts to it get no answer."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address: Address = full.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def closed_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
