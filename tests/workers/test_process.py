"""What a worker is told to prepare, in a worker that has no parent."""

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from socks5d.workers import process
from socks5d.workers.assignment import Orders
from socks5d.workers.channel import NotPrepared
from socks5d.workers.process import WorkerProcess

ORDERS = Orders(items=[], sockets=[1])


class Service:
    """
    Is ready when it is told so.

    @ivar preparing: each time that it was asked.
    @ivar abandoned: the changes that were given up.
    """

    def __init__(self) -> None:
        self.preparing: list[Deferred[str]] = []
        self.abandoned: list[str] = []

    async def prepare(self, *_: object) -> str:
        self.preparing.append(Deferred())
        return await self.preparing[-1]

    def abandon(self, change: str) -> None:
        self.abandoned.append(change)


class Worker(WorkerProcess):
    """One without a parent."""

    def __init__(self, service: Any, handover: socket.socket) -> None:
        self._service = service
        self._handover = handover
        self._handed = []
        self._prepared = None
        self._preparations = 0
        self._listeners = ()
        self._sockets = []
        self._access_log = None

    def _settings(self, items: object) -> Any:
        return SimpleNamespace(listeners=[SimpleNamespace(endpoint="slow:1")])

    def _endpoints(self, settings: object, sockets: object) -> Any:
        return []


class Scene:
    """
    @ivar service: what the worker serves with.
    @ivar worker: the worker.
    """

    def __init__(self, way: socket.socket, handover: socket.socket) -> None:
        self._way = way
        self.service = Service()
        self.worker = Worker(self.service, handover)

    def prepare(self) -> list[Any]:
        """Hand a socket over, and have it prepared; what is said to that."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            socket.send_fds(self._way, [b"\0"], [listening.fileno()])
        self.worker.receive(1)
        said: list[Any] = []
        Deferred.fromCoroutine(self.worker.prepare(ORDERS)).addBoth(said.append)
        return said


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(process, "make_observers", lambda *_: [])
    way, handover = socket.socketpair()
    with way, handover:
        yield Scene(way, handover)


def test_what_was_given_up_while_it_was_prepared_is_abandoned_when_it_is_ready(
    scene: Scene,
) -> None:
    before = descriptors()
    late = scene.prepare()
    scene.worker.abandon()
    scene.service.preparing[0].callback("first")
    assert isinstance(late[0], Failure)
    assert late[0].check(NotPrepared)
    assert scene.service.abandoned == ["first"]
    assert descriptors() == before


def test_what_was_prepared_and_forgotten_is_abandoned_by_the_next(scene: Scene) -> None:
    before = descriptors()
    first = scene.prepare()
    scene.service.preparing[0].callback("first")
    second = scene.prepare()
    assert scene.service.abandoned == ["first"]
    scene.service.preparing[1].callback("second")
    assert first == second == [None]
    scene.worker.abandon()
    assert scene.service.abandoned == ["first", "second"]
    assert descriptors() == before
