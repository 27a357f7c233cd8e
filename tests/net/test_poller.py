"""The poller: on a reactor whose turns a test makes, and on two that are reactors."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from zope.interface.verify import verifyObject

from socks5d.net import available, pipes, poller
from socks5d.net.poller import (
    ENDING,
    ERROR,
    IN,
    OUT,
    TURNS,
    Handler,
    Poller,
    poller_of,
)
from tests.support import origins
from tests.support.running import PATIENCE, in_reactor, reactor

Ends = tuple[socket.socket, socket.socket]


class Turning(MemoryReactorClock):
    """A reactor whose turns a test makes."""

    def calls_due(self) -> int:
        """The first half of a turn: what is due, and not what that makes due; how many."""
        due = [each for each in self.calls if each.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
        return len(due)


def forget(which: object) -> None:
    """Close a reactor's poller."""
    made = poller._pollers.pop(which, None)
    if made is not None:
        made._epoll.close()


class Noting:
    """
    A handler.

    @ivar told: the events that it was told of.
    """

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.told: list[int] = []
        self._then = then

    def __call__(self, events: int) -> None:
        self.told.append(events)
        self._then()

    def take(self) -> list[int]:
        taken, self.told = self.told, []
        return taken


class Scene:
    """A poller of a test's, and sockets that are gone afterwards."""

    def __init__(self) -> None:
        self.reactor = Turning()
        self.poller = Poller(self.reactor)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()
        self.poller._epoll.close()

    def keep(self, *some: socket.socket) -> None:
        self._sockets += some

    def connection(self) -> Ends:
        """Both ends of one."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname(), PATIENCE)
            near, _ = listener.accept()
        near.setblocking(False)
        self.keep(near, far)
        return near, far

    def watched(self, handler: Handler) -> Ends:
        """Both ends of a connection, one watched, of which everything was told already."""
        near, far = self.connection()
        self.poller.watch(near.fileno(), lambda _: None)
        self.poller.doRead()
        self.poller.hand_over(near.fileno(), handler)
        return near, far

    def sends(self, *far: socket.socket) -> None:
        """These send something, which is there afterwards."""
        for each in far:
            each.sendall(b"x")


def arrived(near: socket.socket, events: int = select.POLLIN) -> None:
    """Wait until something is there to be told of."""
    waiting = select.poll()
    waiting.register(near, events)
    assert waiting.poll(PATIENCE * 1000)


# Events.


def test_it_is_a_reader_of_the_reactor() -> None:
    with Scene() as scene:
        assert verifyObject(IReadDescriptor, scene.poller)
        assert scene.poller.fileno() >= 0
        assert scene.poller.logPrefix() == "socks5d.net"
        assert scene.reactor.getReaders() == []
        for _ in range(2):
            scene.watched(Noting())
            assert scene.reactor.getReaders() == [scene.poller]


def test_a_socket_that_can_be_written_to_is_told_so_when_it_is_born() -> None:
    handler = Noting()
    with Scene() as scene:
        near, _ = scene.connection()
        scene.poller.watch(near.fileno(), handler)
        assert handler.told == []
        scene.poller.doRead()
        assert handler.take() == [OUT]
        scene.poller.doRead()
        assert handler.take() == []


def test_each_handler_is_told_of_its_own_sockets_events() -> None:
    handlers = [Noting() for _ in range(3)]
    with Scene() as scene:
        ends = [scene.watched(handler) for handler in handlers]
        for number in (1, 2):
            ends[number][1].sendall(b"x")
            arrived(ends[number][0])
        scene.poller.doRead()
        assert [handler.take() for handler in handlers] == [[], [IN | OUT], [IN | OUT]]


def test_an_event_is_told_once_and_again_when_more_comes() -> None:
    handler = Noting()
    with Scene() as scene:
        near, far = scene.watched(handler)
        for _ in range(2):
            far.sendall(b"x")
            arrived(near)
            scene.poller.doRead()
            assert handler.take() == [IN | OUT]
            # It is still there to be read, of which nobody is told again.
            scene.poller.doRead()
            assert handler.take() == []


def test_a_socket_that_takes_more_is_told_so_once_it_was_full() -> None:
    handler = Noting()
    with Scene() as scene:
        near, far = scene.watched(handler)
        with pytest.raises(BlockingIOError):
            while True:
                near.send(bytes(1 << 16))
        scene.poller.doRead()
        assert handler.take() == []
        far.setblocking(False)
        waiting = select.poll()
        waiting.register(near, select.POLLOUT)
        while not waiting.poll(0):
            arrived(far)
            far.recv(1 << 20)
        scene.poller.doRead()
        (events,) = handler.take()
        assert events & OUT


def test_the_far_ends_fin_is_an_ending_and_no_error() -> None:
    handler = Noting()
    with Scene() as scene:
        near, far = scene.watched(handler)
        far.shutdown(socket.SHUT_WR)
        arrived(near)
        scene.poller.doRead()
        (events,) = handler.take()
        assert events & ENDING
        assert not events & ERROR


def test_a_reset_is_both() -> None:
    handler = Noting()
    with Scene() as scene:
        near, far = scene.watched(handler)
        origins.reset(far)
        arrived(near, 0)
        scene.poller.doRead()
        (events,) = handler.take()
        assert events & ENDING
        assert events & ERROR


def test_another_handler_can_take_a_sockets_events_over() -> None:
    first, second = Noting(), Noting()
    with Scene() as scene:
        near, far = scene.watched(first)
        scene.poller.hand_over(near.fileno(), second)
        far.sendall(b"x")
        arrived(near)
        scene.poller.doRead()
        assert (first.told, second.told) == ([], [IN | OUT])


def _told_at_once(scene: Scene, *handlers: Noting) -> list[Ends]:
    """Connections that the next turn has events for, in no known order."""
    ends = [scene.watched(handler) for handler in handlers]
    for near, far in ends:
        far.sendall(b"x")
        arrived(near)
    return ends


def _fails() -> None:
    raise RuntimeError("of somebody's")


def test_a_handler_that_raises_harms_no_other_and_is_logged(logs: Sequence[LogEvent]) -> None:
    good, bad = [Noting(), Noting()], [Noting(_fails), Noting(_fails)]
    with Scene() as scene:
        # Whatever the order, there is a bad one before a good one or behind the other.
        ends = _told_at_once(scene, bad[0], *good, bad[1])
        scene.poller.doRead()
        assert [len(handler.take()) for handler in (*good, *bad)] == [1] * 4
        assert [event["log_format"] for event in logs] == ["an event could not be dealt with"] * 2
        assert all(event["log_failure"].check(RuntimeError) for event in logs)
        # Nor does it harm itself for good.
        for near, far in ends:
            near.recv(100)
            far.sendall(b"y")
            arrived(near)
        scene.poller.doRead()
        assert [len(handler.told) for handler in (*good, *bad)] == [1] * 4


# Closing.


def test_outside_of_events_a_socket_closes_at_once() -> None:
    handler = Noting()
    with Scene() as scene:
        near, far = scene.watched(handler)
        far.sendall(b"x")
        arrived(near)
        scene.poller.close(near)
        assert near.fileno() == -1
        scene.poller.doRead()
        assert handler.told == []


@pytest.mark.parametrize("raises", [False, True], ids=["", "and who closes it raises"])
def test_among_events_a_sockets_number_stays_taken_until_they_are_dealt_with(
    raises: bool, logs: Sequence[LogEvent]
) -> None:
    """Or the events that were meant for it would be taken for another's."""
    with Scene() as scene:
        opened: list[socket.socket] = []

        def close_the_rest() -> None:
            for near, _ in ends:
                if near not in closed:
                    closed.append(near)
                    scene.poller.close(near)
            assert min(near.fileno() for near in closed) >= 0
            numbers = {near.fileno() for near in closed}
            for _ in range(10):
                opened.append(socket.socket())
            assert numbers.isdisjoint(each.fileno() for each in opened)
            if raises:
                _fails()

        closed: list[socket.socket] = []
        handlers = [Noting(close_the_rest) for _ in range(4)]
        ends = _told_at_once(scene, *handlers)
        scene.poller.doRead()
        scene.keep(*opened)
        # Whoever was the first has closed them all, so that nobody else was told of anything.
        assert sum(len(handler.told) for handler in handlers) == 1
        assert len(opened) == 10
        assert len(closed) == 4
        assert [near.fileno() for near in closed] == [-1] * 4
    assert len(logs) == raises


def test_a_number_that_is_another_sockets_now_tells_of_that_one() -> None:
    before, after = Noting(), Noting()
    with Scene() as scene:
        near, far = scene.watched(before)
        number = near.fileno()
        far.sendall(b"x")
        arrived(near)
        other, its_far = scene.connection()
        scene.poller.close(near)
        # As the kernel may give it away.
        os.dup2(other.fileno(), number)
        again = socket.socket(fileno=number)
        scene.keep(again)
        scene.poller.watch(number, after)
        scene.poller.doRead()
        assert (before.told, after.take()) == ([], [OUT])
        its_far.sendall(b"y")
        arrived(again)
        scene.poller.doRead()
        assert (before.told, after.take()) == ([], [IN | OUT])


def test_what_ends_the_program_closes_what_was_to_be_closed() -> None:
    def end() -> None:
        scene.poller.close(near)
        raise KeyboardInterrupt

    with Scene() as scene:
        near, far = scene.watched(Noting(end))
        far.sendall(b"x")
        arrived(near)
        with suppress(KeyboardInterrupt):
            scene.poller.doRead()
        assert near.fileno() == -1


# Later.


def test_a_call_comes_in_the_next_turn_in_its_order() -> None:
    called: list[int] = []
    with Scene() as scene:
        for number in range(3):
            scene.poller.soon(lambda number=number: called.append(number))  # type: ignore[misc]
        assert called == []
        # One of the reactor's calls does for all.
        assert scene.reactor.calls_due() == 1
        assert called == [0, 1, 2]
        assert scene.reactor.calls_due() == 0
        assert called == [0, 1, 2]


def test_what_a_call_calls_for_comes_in_the_turn_after_it() -> None:
    called: list[str] = []

    def first() -> None:
        called.append("first")
        scene.poller.soon(lambda: called.append("second"))

    with Scene() as scene:
        scene.poller.soon(first)
        scene.reactor.calls_due()
        assert called == ["first"]
        scene.reactor.calls_due()
        assert called == ["first", "second"]


def test_what_an_event_calls_for_comes_in_the_next_turn() -> None:
    called: list[str] = []
    with Scene() as scene:
        near, far = scene.watched(Noting(lambda: scene.poller.soon(lambda: called.append("soon"))))
        far.sendall(b"x")
        arrived(near)
        scene.poller.doRead()
        assert called == []
        scene.reactor.calls_due()
        assert called == ["soon"]


def test_a_call_that_raises_harms_no_other_and_is_logged(logs: Sequence[LogEvent]) -> None:
    called: list[int] = []

    def again() -> None:
        called.append(1)
        scene.poller.soon(lambda: called.append(2))
        _fails()

    with Scene() as scene:
        scene.poller.soon(_fails)
        scene.poller.soon(again)
        scene.poller.soon(lambda: called.append(3))
        scene.reactor.calls_due()
        assert called == [1, 3]
        scene.reactor.calls_due()
        assert called == [1, 3, 2]
    assert [event["log_format"] for event in logs] == ["a call failed"] * 2
    assert all(event["log_failure"].check(RuntimeError) for event in logs)


def test_a_socket_that_a_call_closes_is_closed_at_once() -> None:
    with Scene() as scene:
        near, _ = scene.watched(Noting())
        scene.poller.soon(lambda: scene.poller.close(near))
        scene.reactor.calls_due()
        assert near.fileno() == -1


# Shares of a turn.


class Mover:
    """
    Has much to move.

    @ivar moved: how often it has moved a part.
    """

    def __init__(self, parts: int, then: Callable[[], object] = lambda: None) -> None:
        self.parts = parts
        self.moved = 0
        self._then = then

    def __call__(self) -> bool:
        self.moved += 1
        self._then()
        return self.moved < self.parts


def test_who_has_much_to_move_has_a_bounded_number_of_turns_before_the_reactor_has_its() -> None:
    mover = Mover(3 * TURNS)
    with Scene() as scene:
        scene.poller.share(mover)
        for number in range(3):
            assert mover.moved == number * TURNS
            scene.reactor.calls_due()
        assert mover.moved == 3 * TURNS
        assert scene.reactor.calls_due() == 0


def test_in_a_turn_a_bounded_number_moves_and_then_the_others() -> None:
    movers = [Mover(2) for _ in range(2 * TURNS + 1)]
    with Scene() as scene:
        for mover in movers:
            scene.poller.share(mover)
        rounds = [[mover.moved for mover in movers]]
        while scene.reactor.calls_due():
            rounds.append([mover.moved for mover in movers])
        for before, after in pairwise(rounds):
            assert 0 < sum(after) - sum(before) <= TURNS
            assert max(after) - min(after) <= 1
        assert rounds[-1] == [2] * len(movers)


def test_who_is_told_of_an_event_moves_in_the_same_turn_and_not_twice() -> None:
    mover = Mover(3 * TURNS)
    with Scene() as scene:
        near, far = scene.watched(Noting(lambda: scene.poller.share(mover)))
        far.sendall(b"x")
        arrived(near)
        scene.poller.doRead()
        assert mover.moved == TURNS
        # What is left is moved before the next events are looked for, and not behind them too.
        scene.reactor.calls_due()
        scene.poller.doRead()
        assert mover.moved == 2 * TURNS


def test_events_are_dealt_with_before_the_next_moves() -> None:
    """So that who asks for little waits for one part of much, and not for all of it."""
    seen: list[int] = []
    with Scene() as scene:
        near, far = scene.watched(Noting(lambda: seen.append(mover.moved)))

        def send() -> None:
            if mover.moved == 2:
                far.sendall(b"x")
                arrived(near)

        mover = Mover(TURNS, send)
        scene.poller.doRead()
        seen.clear()
        scene.poller.share(mover)
        scene.reactor.calls_due()
        assert mover.moved == TURNS
        assert seen == [2]


def test_to_share_wakes_nobody_in_the_same_call() -> None:
    mover = Mover(1)
    with Scene() as scene:
        scene.poller.share(mover)
        assert mover.moved == 0
        assert scene.reactor.calls_due() == 1
        assert mover.moved == 1


@pytest.mark.parametrize("by_event", [False, True], ids=["in a call", "at an event"])
def test_a_mover_that_raises_harms_no_other_and_is_logged(
    by_event: bool, logs: Sequence[LogEvent]
) -> None:
    bad, good = Mover(1, _fails), Mover(1)
    with Scene() as scene:

        def share() -> None:
            scene.poller.share(bad)
            scene.poller.share(good)

        if by_event:
            near, far = scene.watched(Noting(share))
            far.sendall(b"x")
            arrived(near)
            scene.poller.doRead()
        else:
            share()
        while scene.reactor.calls_due():
            pass
        assert (bad.moved, good.moved) == (1, 1)
    assert len(logs) == 1
    assert logs[0]["log_failure"].check(RuntimeError)


def test_it_knows_when_it_is() -> None:
    seen: list[float] = []
    with Scene() as scene:
        near, far = scene.watched(Noting(lambda: seen.append(scene.poller.now)))
        scene.reactor.advance(5)
        far.sendall(b"x")
        arrived(near)
        scene.poller.doRead()
        scene.poller.soon(lambda: seen.append(scene.poller.now))
        scene.reactor.advance(7)
        assert seen == [5, 12]


# Reactors.


def test_a_reactor_has_one() -> None:
    first, second = Turning(), Turning()
    try:
        assert poller_of(first) is poller_of(first)
        assert poller_of(first) is not poller_of(second)
        assert poller_of(first).reactor is first
        assert in_reactor(poller_of, reactor) is in_reactor(poller_of, reactor)
    finally:
        forget(first)
        forget(second)


def test_it_is_available_where_platform_and_reactor_have_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert available(reactor)
    assert available(MemoryReactorClock())
    # A reactor that watches no descriptors.
    assert not available(Clock())
    with monkeypatch.context() as patched:
        patched.setattr(pipes, "available", False)
        assert not available(reactor)
    monkeypatch.setattr(poller, "_HAS_EPOLL", False)
    assert not available(reactor)


Kind = Callable[[], Any]


def _epoll() -> Any:
    return EPollReactor()


def _asyncio() -> Any:
    return AsyncioSelectorReactor(asyncio.SelectorEventLoop())


KINDS = [_epoll, _asyncio]
every_kind = pytest.mark.parametrize("kind", KINDS)


@contextmanager
def own(kind: Kind) -> Iterator[Any]:
    """A reactor that is run by a test, turn by turn."""
    made = kind()
    try:
        yield made
    finally:
        made.removeAll()
        forget(made)
        for each in list(made._internalReaders):
            made.removeReader(each)
            made._internalReaders.remove(each)
            each.connectionLost(None)
        if kind is _epoll:
            made._poller.close()
        else:
            made._asyncioEventloop.close()


def turns(which: Any, until: Callable[[], object]) -> None:
    """Run a reactor until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, "it does not happen"
        which.iterate(0.01)


@every_kind
def test_a_reactor_polls_it(kind: Kind) -> None:
    handler, called = Noting(), list[str]()
    with own(kind) as which, Scene() as scene:
        near, far = scene.connection()
        its = poller_of(which)
        its.watch(near.fileno(), handler)
        turns(which, lambda: handler.told)
        assert handler.take() == [OUT]
        far.sendall(b"x")
        turns(which, lambda: handler.told)
        assert handler.take() == [IN | OUT]
        its.soon(lambda: called.append("soon"))
        turns(which, lambda: called)
        assert handler.told == []
        its.close(near)
        assert near.fileno() == -1


@pytest.mark.parametrize("kinds", [(_epoll, _asyncio), (_asyncio, _epoll), (_epoll, _epoll)])
def test_two_reactors_are_independent_of_each_other(kinds: tuple[Kind, Kind]) -> None:
    with own(kinds[0]) as one, own(kinds[1]) as other, Scene() as scene:
        pollers = [poller_of(one), poller_of(other)]
        assert pollers[0] is not pollers[1]
        assert pollers[0].buffer is not pollers[1].buffer
        assert pollers[0].pipes is not pollers[1].pipes
        handlers = [Noting(), Noting()]
        called: list[int] = []
        ends = [scene.connection() for _ in pollers]
        for number, (near, far) in enumerate(ends):
            far.sendall(b"x")
            arrived(near)
            pollers[number].watch(near.fileno(), handlers[number])
            pollers[number].soon(lambda number=number: called.append(number))  # type: ignore[misc]
        for number, which in enumerate((one, other)):
            turns(which, lambda number=number: handlers[number].told and number in called)  # type: ignore[misc]
            assert [len(handler.told) for handler in handlers] == [1, number]
            assert called == list(range(number + 1))
        # A socket that one has closed is nothing to the other, even of the same number.
        pollers[0].close(ends[0][0])
        ends[1][1].sendall(b"y")
        turns(other, lambda: len(handlers[1].told) == 2)
        assert len(handlers[0].told) == 1


def _watched_on(which: Any, scene: Scene, handler: Handler) -> Ends:
    """Both ends of a connection, one watched, of which everything was told already."""
    near, far = scene.connection()
    told: list[int] = []
    poller_of(which).watch(near.fileno(), told.append)
    turns(which, lambda: told)
    poller_of(which).hand_over(near.fileno(), handler)
    return near, far


@every_kind
def test_a_handler_that_wants_to_end_the_program_harms_no_other(kind: Kind) -> None:
    """
    Nor do the reactors with it that Twisted's own transports are read by; and what is raised
    out of a poller ends it, with all its sockets.
    """

    def leave() -> None:
        raise SystemExit(1)

    bad, good = Noting(leave), Noting()
    with own(kind) as which, Scene() as scene:
        ends = [_watched_on(which, scene, handler) for handler in (bad, good, bad)]
        for near, far in ends:
            far.sendall(b"x")
            arrived(near)
        turns(which, lambda: len(good.told) == 1 and len(bad.told) == 2)
        ends[1][1].sendall(b"y")
        turns(which, lambda: len(good.told) == 2)
        assert poller_of(which) in which.getReaders()


@every_kind
def test_a_reactor_that_has_dropped_it_takes_it_up_again(kind: Kind) -> None:
    """As trial has a reactor drop everything behind each class of tests."""
    handler = Noting()
    with own(kind) as which, Scene() as scene:
        its = poller_of(which)
        its.watch(scene.connection()[0].fileno(), Noting())
        assert its in which.removeAll()
        its.watch(scene.connection()[0].fileno(), handler)
        turns(which, lambda: handler.told)
        assert handler.told == [OUT]


@every_kind
def test_a_reactor_that_has_ended_can_begin_again(kind: Kind) -> None:
    """As it does with what it still reads when it stops."""
    handler = Noting()
    with own(kind) as which, Scene() as scene:
        its = poller_of(which)
        its.watch(scene.connection()[0].fileno(), Noting())
        assert its in which.getReaders()
        for each in which.removeAll():
            each.connectionLost(None)
        assert its not in which.getReaders()
        its.watch(scene.connection()[0].fileno(), handler)
        turns(which, lambda: handler.told)
        assert handler.told == [OUT]
