"""Listeners that a parent holds: whom they take, and what cannot be shared."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import LogEvent, formatEvent
from zope.interface import implementer

from socks5d.config import Listener
from socks5d.net import StreamServerEndpoint, poller
from socks5d.values import ConfigError
from socks5d.workers import held as held_module
from socks5d.workers.held import HeldListener, hold
from tests.support.running import in_reactor, reactor

LOOPBACK = "tcp:0:interface=127.0.0.1"


def of(endpoint: str) -> Listener:
    """A listener that has nothing of its own."""
    return Listener(endpoint=endpoint, name=endpoint)


@contextmanager
def held(description: str, workers: int = 3) -> Iterator[HeldListener]:
    """A listener that is held."""
    made: HeldListener = in_reactor(hold, of(description), reactor, workers)
    try:
        yield made
    finally:
        in_reactor(made.stopListening)


def nobody_is_accepted(listener: HeldListener, client: socket.socket) -> bool:
    """Whether a client still waits, after the reactor has had a turn."""
    in_reactor(lambda: None)
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.mark.parametrize("description", [LOOPBACK, "tcp6:0:interface=\\:\\:1"])
def test_there_is_a_socket_for_each_worker_and_one_port(description: str) -> None:
    with held(description) as listener:
        ports = {each.getsockname()[1] for each in listener.sockets}
        assert len(listener.sockets) == 3
        assert ports == {listener.getHost().port}


@pytest.mark.parametrize("description", [LOOPBACK, "haproxy:" + LOOPBACK])
def test_clients_wait_until_a_worker_takes_them(description: str) -> None:
    with held(description) as listener:
        where = listener.getHost()
        with socket.create_connection((where.host, where.port)) as client:
            assert nobody_is_accepted(listener, client)
            taken = 0
            for each in listener.sockets:
                each.setblocking(False)
                try:
                    each.accept()[0].close()
                    taken += 1
                except BlockingIOError:
                    pass
            assert taken == 1


def test_a_unix_socket_is_one_for_all_and_goes_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with held(f"unix:{path}:mode=600") as listener:
        (only,) = listener.sockets
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert nobody_is_accepted(listener, client)
            only.accept()[0].close()
    assert not path.exists()


def test_its_listener_is_announced(logs: Sequence[LogEvent]) -> None:
    with held(LOOPBACK) as listener:
        said = [formatEvent(event) for event in logs]
        assert said == [f"listening on 127.0.0.1:{listener.getHost().port} ({LOOPBACK})"]


def test_after_its_end_nobody_listens() -> None:
    with held(LOOPBACK) as listener:
        where = listener.getHost()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.host, where.port))


# What cannot be.


@pytest.mark.parametrize("workers", [2, 5])
def test_a_second_server_on_a_port_is_refused(workers: int) -> None:
    with held(LOOPBACK) as listener:
        port = listener.getHost().port
        with pytest.raises(CannotListenError):
            in_reactor(hold, of(f"tcp:{port}:interface=127.0.0.1"), reactor, workers)


def test_a_port_that_somebody_shares_already_is_refused() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotListenError):
            in_reactor(hold, of(f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"), reactor, 2)


def test_the_sockets_that_there_were_are_closed_when_one_cannot_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    plain = StreamServerEndpoint._listening

    def listening(self: Any, port: int, **shared: Any) -> socket.socket:
        if len(made) == 3:
            raise CannotListenError("127.0.0.1", port, OSError("no such luck"))
        made.append(plain(self, port, **shared))
        return made[-1]

    monkeypatch.setattr(StreamServerEndpoint, "_listening", listening)
    with pytest.raises(CannotListenError, match="no such luck"):
        in_reactor(hold, of(LOOPBACK), reactor, 3)
    assert [each.fileno() for each in made] == [-1, -1, -1]


@pytest.mark.parametrize("description", ["tcp:0", "haproxy:tcp:0", "tcp6:0"])
def test_an_open_proxy_is_refused(description: str) -> None:
    with pytest.raises(ConfigError, match="open proxy"):
        in_reactor(hold, of(description), reactor, 2)


def test_one_that_only_its_socket_shows_to_be_open_is_refused_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As systemd's, whose address no description tells.
    with closing(socket.create_server(("0.0.0.0", 0))) as inherited:
        port = in_reactor(
            reactor.adoptStreamPort, inherited.fileno(), socket.AF_INET, held_module._Nobody()
        )
        given = Endpoint(succeed(port))
        monkeypatch.setattr(held_module, "make_endpoint", lambda *_: given)
        with pytest.raises(ConfigError, match="open proxy"):
            in_reactor(hold, of("systemd:domain=INET:index=0"), reactor, 2)
        assert not port.connected


@implementer(IStreamServerEndpoint)
class Endpoint:
    """One of somebody else's."""

    def __init__(self, listening: Deferred[Any]) -> None:
        self._listening = listening

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self._listening


@implementer(IListeningPort)
class Unshareable:
    """A port without a descriptor."""

    stopped = False

    def startListening(self) -> None:
        raise NotImplementedError

    def getHost(self) -> Any:
        raise NotImplementedError

    def stopListening(self) -> None:
        self.stopped = True


def test_a_port_without_a_descriptor_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    port = Unshareable()
    monkeypatch.setattr(held_module, "make_endpoint", lambda *_: Endpoint(succeed(port)))
    with pytest.raises(ConfigError, match=r"cannot be shared among workers; use --workers 1"):
        hold(of("other:"), reactor, 2)
    assert port.stopped


def test_an_endpoint_that_takes_its_time_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "make_endpoint", lambda *_: Endpoint(Deferred()))
    with pytest.raises(ConfigError, match="cannot be shared"):
        hold(of("other:"), reactor, 2)


@pytest.mark.parametrize("workers", [2, 3])
def test_without_epoll_there_is_one_socket_for_all(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "_HAS_EPOLL", False)
    with held(LOOPBACK, workers) as listener:
        assert len(listener.sockets) == 1
        assert os.fstat(listener.sockets[0].fileno())
