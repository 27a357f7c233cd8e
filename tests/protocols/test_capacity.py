"""How many sessions there may be, and what happens at the limit."""

import resource
import socket
from contextlib import suppress

import pytest
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer
from twisted.internet.task import Clock
from zope.interface import implementer

from socks5d.model import Outcome
from socks5d.parameters import Limits
from socks5d.protocols.capacity import MANY, Capacity
from socks5d.wire import socks5
from tests.support import client
from tests.support.origins import echo, origin, receive_exactly
from tests.support.running import Observed, proxy
from tests.support.twistd import twistd


def test_at_the_limit_a_client_more_is_closed_and_served_again_when_one_leaves() -> None:
    seen = Observed()
    with origin(echo) as (host, port), proxy(seen, limits=Limits(sessions=2)) as server:
        first, _ = client.connect5(server, host, port)
        second, _ = client.connect5(server, host, port)
        with client.dial(server) as third:
            assert until_closed(third) == b""
        first.close()
        seen.record()
        again, reply = client.connect5(server, host, port)
        assert reply.code == socks5.SUCCEEDED
        again.close()
        second.close()


def until_closed(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1)
    except ConnectionError:
        return b""


def echo_until_gone(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        echo(connection)


def test_a_client_too_many_behind_a_wrapper_leaves_nothing_behind() -> None:
    """Wrapping factories cannot take it when a factory makes no protocol."""
    seen = Observed()
    with proxy(seen, "haproxy:tcp:0:interface=127.0.0.1", limits=Limits(sessions=1)) as server:
        with client.dial(server):
            for _ in range(3):
                with client.dial(server) as more:
                    assert until_closed(more) == b""
        assert seen.record().outcome is Outcome.CLIENT_LEFT
        with client.dial(server) as connection:
            connection.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\x05\x01\x00")
            assert receive_exactly(connection, 2) == b"\x05\x00"


@pytest.mark.parametrize("clients", [300])
def test_at_the_descriptor_limit_it_stays_alive_and_quiet_and_serves_again(clients: int) -> None:
    """C{ulimit -n 64}; the clients connect, some ask, and all stay."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert own[0] > 2 * clients
    with (
        origin(echo_until_gone, backlog=500) as (host, port),
        twistd("--allow", "127.0.0.1", prefix=("prlimit", "--nofile=64:64")) as server,
    ):
        address = server.address()
        request = socks5.encode_request(socks5.Request(1, client.destination(host, port)))
        crowd = []
        for _ in range(clients):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(address)
            crowd.append(connection)
        server.wait_for("the limit")
        for connection in crowd:
            try:
                connection.send(b"\x05\x01\x00" + request)
            except OSError:
                continue
        before = processor_seconds(server.process.pid)
        # The first in the queue are served while the others wait.
        crowd[0].settimeout(10)
        assert receive_exactly(crowd[0], 2) == b"\x05\x00"
        assert server.process.poll() is None
        assert server.descriptors() <= 64
        for connection in crowd:
            connection.close()
        connection, reply = client.connect5(address, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            connection.sendall(b"served again")
            assert receive_exactly(connection, 12) == b"served again"
        assert processor_seconds(server.process.pid) - before < 5
        assert server.stop() == 0
        assert "Traceback" not in server.output()
        about_the_limit = [line for line in server.lines if "limit" in line or "EMFILE" in line]
        assert len(about_the_limit) <= 5, server.output()


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def ebbing(most: int) -> tuple[Capacity, Clock, list[float]]:
    """What counts sessions, of which there are so many, and when they were said to have ebbed."""
    clock, ebbs = Clock(), list[float]()
    capacity = Capacity(5000, clock, ebbed=lambda: ebbs.append(clock.seconds()))
    for _ in range(most):
        assert capacity.enter()
    return capacity, clock, ebbs


def leave(capacity: Capacity, count: int) -> None:
    for _ in range(count):
        capacity.leave()


def test_when_most_of_many_sessions_have_ended_that_is_said_twice() -> None:
    capacity, clock, ebbs = ebbing(2000)
    leave(capacity, 1500)
    clock.pump([1] * 20)
    assert ebbs == []
    leave(capacity, 500)
    clock.pump([1] * 20)
    assert ebbs == [21, 30]


def test_sessions_that_come_and_go_do_not_ebb() -> None:
    capacity, clock, ebbs = ebbing(MANY - 1)
    for _ in range(5):
        leave(capacity, 700)
        for _ in range(700):
            capacity.enter()
    leave(capacity, MANY - 1)
    clock.pump([1] * 20)
    assert ebbs == []


# Another limit.


@implementer(IListeningPort, IPushProducer)
class Port:
    """
    One that listens.

    @ivar paused: whether nobody is accepted.
    """

    paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        raise AssertionError("nobody stops it")

    def startListening(self) -> None:
        raise AssertionError("it listens already")

    def stopListening(self) -> None:
        raise AssertionError("nobody stops it")

    def getHost(self) -> IAddress:
        raise AssertionError("nobody asks")


def test_a_lower_limit_stops_accepting_until_enough_have_ended() -> None:
    clock, port = Clock(), Port()
    capacity = Capacity(4, clock)
    capacity.governs(port)
    for _ in range(3):
        assert capacity.enter()
    capacity.adapt(2, Limits())
    assert port.paused
    assert not capacity.enter()
    capacity.leave()
    assert port.paused
    capacity.leave()
    assert not port.paused
    assert capacity.enter()
    capacity.adapt(3, Limits())
    assert not port.paused
