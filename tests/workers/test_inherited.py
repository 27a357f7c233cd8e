"""A worker's endpoints on its parent's sockets: what stands in front of clients stays there."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from socks5d.config import Settings
from socks5d.net.listening import AdoptedStreamServerEndpoint
from socks5d.values import ConfigError
from socks5d.workers.inherited import InheritingReactor, inherited_endpoint
from tests.program.certificates import make_certificate
from tests.support.lanes import lane
from tests.support.origins import receive_all
from tests.support.running import PATIENCE, in_reactor, reactor

__all__ = ["lane"]

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 1080\r\n"


class Peer(Protocol):
    """Says who the client is, and hangs up, once something comes."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        peer = self.transport.getPeer()
        self.transport.write(getattr(peer, "host", "-").encode())
        self.transport.loseConnection()


@contextmanager
def inheriting(listening: socket.socket, description: str) -> Iterator[Any]:
    """A worker's port, on a socket of its parent's."""
    taken: list[socket.socket] = []

    def take() -> socket.socket:
        taken.append(listening.dup())
        return taken[-1]

    endpoint = inherited_endpoint(Settings(), reactor, description, take)
    assert taken == []
    port = in_reactor(lambda: endpoint.listen(Factory.forProtocol(Peer)))
    try:
        yield port
    finally:
        in_reactor(port.stopListening)
        assert len(taken) == 1


def says(connection: socket.socket, host: str, header: bytes = b"") -> None:
    """It is served, and known by this address."""
    connection.settimeout(PATIENCE)
    connection.sendall(header + b"hello")
    assert receive_all(connection) == host.encode()


@pytest.mark.parametrize(
    ("description", "host", "known", "header"),
    [
        ("tcp:0:interface=127.0.0.1", "127.0.0.1", "127.0.0.1", b""),
        ("tcp6:0:interface=\\:\\:1", "::1", "::1", b""),
        ("haproxy:tcp:0:interface=127.0.0.1", "127.0.0.1", "192.0.2.7", HEADER),
        ("systemd:domain=INET:index=0", "127.0.0.1", "127.0.0.1", b""),
        ("systemd:domain=INET6:index=0", "::1", "::1", b""),
        ("haproxy:systemd:domain=INET:index=0", "127.0.0.1", "192.0.2.7", HEADER),
    ],
)
def test_clients_of_the_socket_are_served_as_the_description_says(
    description: str, host: str, known: str, header: bytes
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        where = listening.getsockname()[:2]
        with inheriting(listening, description) as port:
            assert port.getHost().port == where[1]
            with socket.create_connection(where) as connection:
                says(connection, known, header)


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")
def test_tls_stands_in_front_of_them(tmp_path: Path) -> None:
    file = make_certificate(tmp_path / "server.pem")
    description = f"ssl:0:interface=127.0.0.1:privateKey={file}"
    context = ssl.create_default_context(cafile=str(file))
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        inheriting(listening, description),
        socket.create_connection(listening.getsockname()) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        says(connection, "127.0.0.1")


@contextmanager
def on_a_path(path: Path, mode: int = 0o600) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(mode)
        listening.listen()
        yield listening


def test_a_unix_socket_outlives_a_worker(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with on_a_path(path) as listening:
        for _ in range(2):
            with inheriting(listening, f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                says(client, "-")
        assert path.exists()


def test_a_unix_socket_is_still_another_workers_when_one_has_stopped(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with on_a_path(path) as listening, inheriting(listening, f"unix:{path}"):
        with inheriting(listening, f"unix:{path}"):
            pass
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                says(client, "-")


def test_a_unix_socket_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with on_a_path(path, 0o600) as listening, inheriting(listening, f"unix:{path}:mode=600"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_parents_socket_still_listens_when_a_worker_has_stopped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with inheriting(listening, "tcp:0:interface=127.0.0.1"):
            pass
        with socket.create_connection(listening.getsockname()) as waiting:
            with inheriting(listening, "tcp:0:interface=127.0.0.1"):
                says(waiting, "127.0.0.1")


def unneeded() -> socket.socket:
    raise AssertionError


def test_a_plain_listener_has_the_fast_lane(lane: str) -> None:
    endpoint = inherited_endpoint(Settings(), reactor, "tcp:0:interface=127.0.0.1", unneeded)
    assert isinstance(endpoint, AdoptedStreamServerEndpoint) is (lane == "fast")


@pytest.mark.parametrize("description", ["nonsense:", "tcp:0", "ssl:0:privateKey=/none"])
def test_what_the_parent_would_refuse_is_refused(description: str) -> None:
    with pytest.raises(ConfigError):
        inherited_endpoint(Settings(), reactor, description, unneeded)


def test_what_does_not_listen_is_the_reactors_own() -> None:
    inheriting_reactor: Any = InheritingReactor(reactor, unneeded)
    assert inheriting_reactor.seconds == reactor.seconds
    assert inheriting_reactor.connectTCP == reactor.connectTCP
