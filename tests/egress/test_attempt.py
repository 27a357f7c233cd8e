"""Attempts that may be given up, by a clock that the test turns."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from socks5d.egress.attempt import abandonable
from tests.relay.test_stream import HalfClosing


class Scene:
    """
    An attempt.

    @ivar heard: what it gave.
    @ivar given_up: how often the connecting was cancelled.
    """

    def __init__(self, answer: Callable[[Deferred[Protocol]], object] = lambda _: None) -> None:
        """
        @param answer: what the connecting does when it is cancelled.
        """
        self.clock = Clock()
        self.heard: list[Any] = []
        self.given_up = 0
        self._answer = answer
        self.connecting: Deferred[Protocol] = Deferred(self._give_up)
        self.attempt = abandonable(self.clock, self.connecting)
        self.attempt.addBoth(self.heard.append)
        self.transport = HalfClosing()
        self.protocol = Protocol()
        self.protocol.makeConnection(self.transport)

    def _give_up(self, connecting: Deferred[Protocol]) -> None:
        self.given_up += 1
        self._answer(connecting)

    def was_cancelled(self) -> bool:
        """Whether that is all it gave."""
        (given,) = self.heard
        return isinstance(given, Failure) and given.check(CancelledError) is not None


def test_it_gives_what_connected() -> None:
    scene = Scene()
    assert scene.heard == []
    scene.connecting.callback(scene.protocol)
    assert scene.heard == [scene.protocol]
    assert not scene.transport.aborted
    assert scene.clock.getDelayedCalls() == []


def test_it_fails_as_the_connecting_does() -> None:
    scene = Scene()
    scene.connecting.errback(Refused(111))
    (given,) = scene.heard
    assert given.check(Refused)


def test_what_is_there_already_is_given_at_once(clock: Clock) -> None:
    heard: list[Any] = []
    protocol = Protocol()
    abandonable(clock, succeed(protocol)).addCallback(heard.append)
    abandonable(clock, fail(Refused(111))).addErrback(heard.append)
    assert heard[0] is protocol
    assert heard[1].check(Refused)


def test_it_is_given_up_at_once_and_its_socket_closed_in_the_next_turn() -> None:
    scene = Scene()
    scene.attempt.cancel()
    assert scene.was_cancelled()
    assert scene.given_up == 0
    scene.clock.advance(0)
    assert scene.given_up == 1
    assert scene.was_cancelled()
    assert scene.clock.getDelayedCalls() == []


def test_what_connects_in_between_is_reset_and_not_given() -> None:
    scene = Scene()
    scene.attempt.cancel()
    scene.connecting.callback(scene.protocol)
    assert scene.transport.aborted
    scene.clock.advance(0)
    assert scene.was_cancelled()
    assert scene.given_up == 0


def test_what_connects_although_it_is_cancelled_is_reset_too() -> None:
    scene = Scene(lambda connecting: connecting.callback(scene.protocol))
    scene.attempt.cancel()
    scene.clock.advance(0)
    assert scene.transport.aborted
    assert scene.was_cancelled()


@pytest.mark.parametrize("when", ["in between", "when it is cancelled", "never"])
def test_what_fails_once_it_is_given_up_is_not_heard_of(
    when: str, logs: Sequence[LogEvent]
) -> None:
    scene = Scene(
        (lambda connecting: connecting.errback(Refused(111)))
        if when == "when it is cancelled"
        else lambda _: None
    )
    scene.attempt.cancel()
    if when == "in between":
        scene.connecting.errback(Refused(111))
    scene.clock.advance(0)
    assert scene.was_cancelled()
    # A failure that nobody takes is logged once it is collected.
    del scene
    gc.collect()
    failures = [event["log_failure"] for event in logs if "log_failure" in event]
    assert not any(failure.check(Refused, CancelledError) for failure in failures)


def test_one_that_has_connected_is_not_to_be_given_up() -> None:
    scene = Scene()
    scene.connecting.callback(scene.protocol)
    scene.attempt.cancel()
    scene.clock.advance(0)
    assert scene.heard == [scene.protocol]
    assert (scene.transport.aborted, scene.given_up) == (False, 0)
