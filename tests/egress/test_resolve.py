"""The system's resolver, off the reactor's thread: answers, limits, and lookups that hang."""

import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from socks5d.egress import FixedResolver, SystemResolver
from socks5d.egress.resolve import lookup_name
from socks5d.model import Outcome, Refusal
from socks5d.wire.address import IPAddress
from tests.support.running import PATIENCE, Started, in_reactor, reactor

LOOPBACK = {ip_address("127.0.0.1"), ip_address("::1")}
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


class Hanging:
    """
    A getaddrinfo(3) that answers when it is released.

    @ivar names: whom it was asked for.
    @ivar threads: in which threads it was asked.
    """

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.threads: set[threading.Thread] = set()
        self._released = threading.Event()
        self._changed = threading.Condition()

    def __call__(self, name: bytes, *args: Any, **kwargs: Any) -> list[Any]:
        with self._changed:
            self.names.append(name)
            self.threads.add(threading.current_thread())
            self._changed.notify_all()
        assert self._released.wait(PATIENCE)
        return FOUND

    def wait_for(self, number: int) -> None:
        """Wait until so many names are asked for."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.names) >= number, PATIENCE)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """getaddrinfo(3) hangs."""
    fake = Hanging()
    monkeypatch.setattr(socket, "getaddrinfo", fake)
    yield fake
    fake.release()


def resolver(threads: int = 4, lookups: int = 16) -> SystemResolver:
    return SystemResolver(reactor, threads, lookups)


def pending(resolver: SystemResolver) -> int:
    number: int = in_reactor(lambda: resolver.pending)
    return number


def test_localhost_is_this_machine() -> None:
    found = in_reactor(resolver().resolve, "localhost")
    assert found
    assert set(found) <= LOOPBACK


@pytest.mark.parametrize("name", ["does-not-exist.invalid", "x" * 64 + ".invalid", "a.b"])
def test_a_name_without_an_address_is_an_unreachable_host(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Refusal) as caught:
        in_reactor(resolver().resolve, name)
    assert caught.value.outcome is Outcome.HOST_UNREACHABLE
    assert caught.value.rule == "the name does not resolve"


def test_addresses_come_in_order_each_once_and_mapped_ones_as_ipv4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def found(name: bytes, *args: object, **kwargs: object) -> list[Any]:
        asked.append(name)
        texts = ("2001:db8::1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.2.1", "fe80::1%lo")
        return [(None, None, None, "", (text, 0)) for text in texts]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    wanted: list[IPAddress] = [
        ip_address("2001:db8::1"),
        ip_address("192.0.2.1"),
        ip_address("192.0.2.2"),
        IPv6Address("fe80::1%lo"),
    ]
    assert lookup_name("example.com") == wanted
    # As octets: as text it would go through IDNA.
    assert asked == [b"example.com"]


def test_a_lookup_does_not_hold_up_the_reactor_nor_use_its_threads(hanging: Hanging) -> None:
    mine = resolver()
    lookup = Started(mine.resolve, "example.com")
    hanging.wait_for(1)
    assert in_reactor(lambda: "alive") == "alive"
    assert all(thread.daemon for thread in hanging.threads)
    assert not hanging.threads & set(reactor.getThreadPool().threads)
    hanging.release()
    assert lookup.wait() == [ip_address("192.0.2.1")]
    assert pending(mine) == 0


def test_one_name_more_than_the_limit_is_refused_and_room_comes_back(hanging: Hanging) -> None:
    mine = resolver(threads=1, lookups=2)
    lookups = [Started(mine.resolve, name) for name in ("a", "b")]
    refused = Started(mine.resolve, "c").wait()
    assert refused.check(Refusal)
    assert refused.value.outcome is Outcome.FAILED
    assert pending(mine) == 2
    hanging.release()
    for lookup in lookups:
        lookup.wait()
    assert Started(mine.resolve, "c").wait() == [ip_address("192.0.2.1")]


def test_a_refusal_comes_by_the_deferred_as_the_interface_says(hanging: Hanging) -> None:
    mine = resolver(threads=1, lookups=1)
    first = Started(mine.resolve, "a")
    # In a list, which blockingCallFromThread does not wait for.
    answer = in_reactor(lambda: [mine.resolve("b")])[0]
    in_reactor(answer.addErrback, lambda failure: failure.trap(Refusal))
    assert isinstance(answer, Deferred)
    hanging.release()
    first.wait()


def test_a_fixed_table_answers_what_it_holds_and_nothing_else() -> None:
    table = FixedResolver({"a.test": [ip_address("192.0.2.1")], "empty.test": []})
    heard: list[object] = []
    table.resolve("a.test").addCallback(heard.append)
    assert heard == [[ip_address("192.0.2.1")]]
    for name in ("b.test", "empty.test"):
        failed: Deferred[Any] = maybeDeferred(table.resolve, name)
        failed.addErrback(_outcome).addCallback(heard.append)
    assert heard[1:] == [Outcome.HOST_UNREACHABLE] * 2


def _outcome(failure: Failure) -> Outcome:
    assert isinstance(failure.value, Refusal)
    return failure.value.outcome
