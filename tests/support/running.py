"""
The real reactor, running in a thread of its own, so that a test can be an ordinary
program with blocking sockets on the other end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.threads import blockingCallFromThread

from socks5d.auth import AnyUserID, NoAuthentication
from socks5d.bounded import DeadlinePassed, bounded
from socks5d.model import Opened, Record
from socks5d.net import faster
from socks5d.protocols import SOCKSFactory
from socks5d.rules import DestinationRules, parse_destination

T = TypeVar("T")
Address = tuple[str, int]

#: The reactor has no useful type.
reactor: Any = _reactor

#: How long anything in a test may take before it has failed, in seconds.
PATIENCE = 20.0

LOOPBACK = ("127.0.0.0/8", "::1")


def start() -> threading.Thread:
    """Run the reactor in a thread."""
    running = threading.Event()
    reactor.callWhenRunning(running.set)
    thread = threading.Thread(
        target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True
    )
    thread.start()
    assert running.wait(PATIENCE)
    return thread


def in_reactor(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call in the reactor's thread; wait for the result, or for its Deferred's."""
    return blockingCallFromThread(reactor, function, *args, **kwargs)


class Started:
    """
    What gives a Deferred, called in the reactor's thread, and going on while the test does.

    @ivar result: what became of it, once it is over.
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._over = threading.Event()
        self.result: Any = None
        # In a list, which blockingCallFromThread does not wait for.
        self._deferred: Deferred[Any] = in_reactor(
            lambda: [maybeDeferred(function, *args).addBoth(self._end)]
        )[0]

    def _end(self, result: object) -> None:
        self.result = result
        self._over.set()

    def wait(self) -> Any:
        """Wait for its end; gives the result, or the Failure."""
        assert self._over.wait(PATIENCE)
        return self.result

    def cancel(self) -> None:
        """Give it up."""
        in_reactor(self._deferred.cancel)


@contextmanager
def listening(factory: Factory, endpoint: str = "tcp:0:interface=127.0.0.1") -> Iterator[Address]:
    """A factory on an endpoint; gives the address it listens on."""
    port: IListeningPort = in_reactor(
        lambda: faster(serverFromString(reactor, endpoint)).listen(factory)
    )
    host = port.getHost()
    try:
        yield (getattr(host, "host", ""), getattr(host, "port", 0))
    finally:
        in_reactor(port.stopListening)


class Observed:
    """An observer of sessions that a test can wait for."""

    def __init__(self) -> None:
        self.openings: list[Opened] = []
        self.records: list[Record] = []
        self._changed = threading.Condition()

    def opened(self, event: Opened) -> None:
        with self._changed:
            self.openings.append(event)
            self._changed.notify_all()

    def closed(self, record: Record) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def record(self, number: int = 0) -> Record:
        """The record of the session that ended so-manieth; waits for it."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.records) > number, PATIENCE)
            return self.records[number]


@contextmanager
def proxy_factory(
    observed: Observed | None = None, kind: type[Any] = SOCKSFactory, **changes: Any
) -> Iterator[Any]:
    """
    A factory that lets everybody reach this machine; C{changes} are arguments of it.
    At the end its sessions are.
    """
    arguments: dict[str, Any] = {
        "ruleset": DestinationRules([parse_destination(text) for text in LOOPBACK]),
        "authenticators": [NoAuthentication(), AnyUserID()],
        "observers": [] if observed is None else [observed],
        "reactor": reactor,
        **changes,
    }
    factory = in_reactor(lambda: kind(**arguments))
    try:
        yield factory
    finally:
        in_reactor(lambda: Deferred.fromCoroutine(_end_sessions(factory)))


@contextmanager
def proxy(
    observed: Observed | None = None,
    endpoint: str = "tcp:0:interface=127.0.0.1",
    kind: type[Any] = SOCKSFactory,
    **changes: Any,
) -> Iterator[Address]:
    """A SOCKS server with such a factory; gives the address it listens on."""
    with (
        proxy_factory(observed, kind, **changes) as factory,
        listening(factory, endpoint) as address,
    ):
        yield address


async def _end_sessions(factory: Any) -> None:
    """What a test has closed gets a moment to end by itself; what it left open is ended."""
    try:
        await bounded(reactor, 1.0, factory.server.capacity.when_idle())
    except DeadlinePassed:
        for protocol in list(factory.sessions):
            protocol.shut_down(now=True)
        await factory.server.capacity.when_idle()
