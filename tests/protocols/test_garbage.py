"""What is left of sessions that are over: nothing that only a look for garbage would find."""

import gc
import socket
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from socks5d.net import available
from socks5d.wire import socks4, socks5
from tests.support.client import connect4, connect5
from tests.support.origins import closed_port, echo, origin, receive_all, receive_exactly
from tests.support.running import Address, Observed, in_reactor, proxy, reactor

SESSIONS = 20

#: A session by a server, to an address.
Session = Callable[[Address, Address], None]


@pytest.fixture(autouse=True)
def lane() -> None:
    """The fast one alone: Twisted's own transports and what relays between them are in cycles."""
    if not available(reactor):
        pytest.skip("there is no fast lane here")


@pytest.fixture
def collector() -> Iterator[None]:
    """Nothing is looked for but by a test, which keeps what it finds."""
    enabled, flags = gc.isenabled(), gc.get_debug()
    kept = list(gc.garbage)
    gc.disable()
    gc.collect()
    try:
        yield
    finally:
        gc.set_debug(flags)
        gc.garbage[:] = kept
        if enabled:
            gc.enable()
        gc.collect()


def found(package: str = "socks5d") -> Counter[str]:
    """What is unreachable and was not freed, of a package's types: how many of each."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = [type(each) for each in gc.garbage]
    return Counter(kind.__qualname__ for kind in kinds if kind.__module__.startswith(package))


def granted5(server: Address, where: Address) -> None:
    connection, reply = connect5(server, *where)
    with connection:
        assert reply.code == socks5.SUCCEEDED
        passes_on(connection)


def granted4(server: Address, where: Address) -> None:
    connection, reply = connect4(server, *where)
    with connection:
        assert reply.code == socks4.GRANTED
        passes_on(connection)


def passes_on(connection: socket.socket) -> None:
    connection.sendall(b"hello")
    assert receive_exactly(connection, 5) == b"hello"


def refused5(server: Address, where: Address) -> None:
    connection, reply = connect5(server, *where)
    with connection:
        assert reply.code == socks5.CONNECTION_REFUSED
        assert receive_all(connection) == b""


def refused4(server: Address, where: Address) -> None:
    connection, reply = connect4(server, *where)
    with connection:
        assert reply.code == socks4.REJECTED
        assert receive_all(connection) == b""


def left_by(session: Session, where: Address) -> Counter[str]:
    """What is left of a number of sessions to an address, which are over."""
    observed = Observed()
    with proxy(observed) as server:
        # What is made once and for all is made for the first.
        session(server, where)
        observed.record(0)
        in_reactor(gc.collect)
        for _ in range(SESSIONS):
            session(server, where)
        observed.record(SESSIONS)
        # Their turn of the reactor is over too.
        in_reactor(lambda: None)
        return found()


@pytest.mark.usefixtures("collector")
def test_what_is_in_a_cycle_is_found() -> None:
    cycle = Observed()
    cycle.records.append(cycle)  # type: ignore[arg-type]
    del cycle
    assert found(Observed.__module__) == {"Observed": 1}


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("session", [granted4, granted5])
def test_sessions_that_were_granted_leave_nothing(session: Session) -> None:
    with origin(echo) as where:
        assert left_by(session, where) == {}


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("session", [refused4, refused5])
def test_sessions_whose_destination_refused_them_leave_nothing(session: Session) -> None:
    assert left_by(session, ("127.0.0.1", closed_port())) == {}
