"""A UDP socket on a port of a range, over real sockets that nothing is sent by."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock

from socks5d.egress import datagram
from socks5d.egress.datagram import open_datagram
from socks5d.egress.ports import TRIES, Ports
from socks5d.net import DatagramSocket, poller

#: Addresses of the loopback interface that nobody else uses, and ports that no kernel gives away.
HOSTS = "127.{}.{}.{}"
PORTS = range(20000, 30000)


@pytest.fixture(autouse=True)
def no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the reactor of these tests sees what is opened."""
    monkeypatch.setattr(poller, "_HAS_EPOLL", False)


@contextmanager
def taken(count: int, free: int = 0) -> Iterator[tuple[str, int]]:
    """So many ports in use, and as many as asked for behind them that are free."""
    random = Random()
    for _ in range(100):
        host = HOSTS.format(*(random.randint(2, 254) for _ in range(3)))
        low = random.choice(PORTS)
        with ExitStack() as stack:
            try:
                made = [stack.enter_context(_bound(host, low + n)) for n in range(count + free)]
            except OSError:
                # Somebody listens on one of them, whatever the address.
                continue
            for each in made[count:]:
                each.close()
            yield host, low
            return
    raise AssertionError("no ports to be had")


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def opened(host: str, ports: Ports | None) -> Iterator[DatagramSocket]:
    reactor = MemoryReactorClock()
    made = open_datagram(reactor, ip_address(host), ports, DatagramProtocol())
    try:
        assert reactor.getReaders() == [made]
        yield made
    finally:
        made.connectionLost()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_without_a_range_the_kernel_chooses(host: str) -> None:
    with opened(host, None) as made:
        assert made.getHost().host == host
        assert made.getHost().port != 0


def test_a_range_of_one_is_that_one() -> None:
    with taken(0, free=1) as (host, low), opened(host, (low, low)) as made:
        assert (made.getHost().host, made.getHost().port) == (host, low)


# Once for each port that it might begin with.
@pytest.mark.parametrize("start", range(4))
def test_ports_that_are_in_use_are_passed_over(monkeypatch: pytest.MonkeyPatch, start: int) -> None:
    monkeypatch.setattr("socks5d.egress.ports.randrange", lambda stop: start)
    with taken(3, free=1) as (host, low), opened(host, (low, low + 3)) as made:
        assert made.getHost().port == low + 3


def test_each_port_of_a_range_can_be_had() -> None:
    with taken(0, free=4) as (host, low), ExitStack() as stack:
        made = [stack.enter_context(opened(host, (low, low + 3))) for _ in range(4)]
        assert {each.getHost().port for each in made} == set(range(low, low + 4))


@pytest.mark.parametrize("count", [1, 4])
def test_a_range_whose_ports_are_all_in_use_is_an_oserror(count: int) -> None:
    reactor, protocol = MemoryReactorClock(), DatagramProtocol()
    with taken(count) as (host, low):
        with pytest.raises(OSError, match="in use") as caught:
            open_datagram(reactor, ip_address(host), (low, low + count - 1), protocol)
    assert caught.value.errno == errno.EADDRINUSE
    assert reactor.getReaders() == []
    assert protocol.transport is None


@pytest.mark.parametrize(("number", "tries"), [(errno.EADDRINUSE, TRIES), (errno.EACCES, 1)])
def test_a_bounded_number_is_tried_and_one_for_what_is_no_ports_fault(
    monkeypatch: pytest.MonkeyPatch, number: int, tries: int
) -> None:
    tried: list[int] = []

    def cannot(
        reactor: object, address: object, port: int, protocol: object, device: object
    ) -> Any:
        tried.append(port)
        raise OSError(number, "it cannot be had")

    monkeypatch.setattr(datagram, "DatagramSocket", cannot)
    with pytest.raises(OSError, match="it cannot be had") as caught:
        open_datagram(MemoryReactorClock(), ip_address("127.0.0.1"), (1, 65535), DatagramProtocol())
    assert (caught.value.errno, len(set(tried))) == (number, tries)
    assert len(tried) == tries


def test_an_address_of_somebody_elses_is_an_oserror() -> None:
    with pytest.raises(OSError, match="assign") as caught:
        open_datagram(
            MemoryReactorClock(), ip_address("198.51.100.1"), (20000, 20010), DatagramProtocol()
        )
    assert caught.value.errno == errno.EADDRNOTAVAIL
