"""The relay by itself: transports of a test's, and a clock that it turns."""

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.relay import Origin, Relay
from socks5d.relay.stream import CLIENT_RESET, FINISHED, IDLE, ORIGIN_RESET

IDLE_SECONDS = 100.0
CLOSING_SECONDS = 5.0


class Closing(StringTransport):
    """A transport that can only be closed as a whole, as TLS; keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.finished = False

    def abortConnection(self) -> None:
        self.aborted = True


@implementer(ITCPTransport)
class HalfClosing(Closing):
    """A transport that can be half-closed, as TCP."""

    def loseWriteConnection(self) -> None:
        self.finished = True

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled


class Scene:
    """A relay between two transports."""

    def __init__(self, kind: type[Closing] = HalfClosing) -> None:
        self.clock = Clock()
        self.client = kind()
        self.origin = HalfClosing()
        self.ended = 0
        self.relay = Relay(
            self.client, self.origin, self.clock, IDLE_SECONDS, CLOSING_SECONDS, self._end
        )

    def _end(self) -> None:
        self.ended += 1


def done() -> Failure:
    return Failure(ConnectionDone())


def lost() -> Failure:
    return Failure(ConnectionLost())


def test_what_comes_from_one_side_goes_to_the_other_and_is_counted() -> None:
    scene = Scene()
    scene.relay.up.data(b"question")
    scene.relay.down.data(b"the answer")
    assert scene.origin.value() == b"question"
    assert scene.client.value() == b"the answer"
    assert (scene.relay.up.octets, scene.relay.down.octets) == (8, 10)


def test_each_direction_is_the_producer_of_its_sink() -> None:
    scene = Scene()
    assert verifyObject(IPushProducer, scene.relay.up)
    assert scene.origin.producer is scene.relay.up
    assert scene.client.producer is scene.relay.down
    scene.relay.up.pauseProducing()
    assert (scene.client.producerState, scene.origin.producerState) == ("paused", "producing")
    scene.relay.up.resumeProducing()
    assert scene.client.producerState == "producing"


def test_a_side_that_has_said_its_fin_is_not_read_again() -> None:
    scene = Scene()
    scene.client.pauseProducing()
    scene.relay.up.eof()
    scene.relay.up.resumeProducing()
    assert scene.client.producerState == "paused"


def test_a_fin_is_passed_on_and_the_other_direction_goes_on() -> None:
    scene = Scene()
    scene.relay.up.eof()
    scene.relay.finish_if_over()
    assert (scene.origin.finished, scene.origin.disconnecting) == (True, False)
    scene.relay.down.data(b"still here")
    assert scene.client.value() == b"still here"
    scene.relay.down.eof()
    scene.relay.finish_if_over()
    assert (scene.client.finished, scene.client.disconnecting) == (True, True)
    assert scene.origin.disconnecting
    scene.relay.client_lost(done())
    assert scene.ended == 0
    scene.relay.origin_lost(done())
    assert (scene.ended, scene.relay.end) == (1, FINISHED)
    assert scene.clock.getDelayedCalls() == []


def test_a_transport_that_cannot_half_close_is_closed_behind_what_was_written() -> None:
    scene = Scene(Closing)
    scene.relay.down.data(b"all of it")
    scene.relay.down.eof()
    assert scene.client.disconnecting
    assert scene.client.value() == b"all of it"


@pytest.mark.parametrize(("side", "end"), [("client", CLIENT_RESET), ("origin", ORIGIN_RESET)])
def test_a_reset_is_passed_on_at_once(side: str, end: str) -> None:
    scene = Scene()
    getattr(scene.relay, f"{side}_lost")(lost())
    other = scene.origin if side == "client" else scene.client
    assert other.aborted
    getattr(scene.relay, "origin_lost" if side == "client" else "client_lost")(
        Failure(ConnectionAborted())
    )
    assert (scene.ended, scene.relay.end) == (1, end)
    assert scene.clock.getDelayedCalls() == []


def test_a_side_closed_in_order_gives_the_other_a_while_to_close() -> None:
    """
    A TLS client's close ends both its directions; the origin still gets its data, and
    only when it has been told of the end does its time to close begin.
    """
    scene = Scene(Closing)
    scene.relay.up.data(b"upload")
    scene.relay.client_lost(done())
    assert (scene.origin.finished, scene.origin.aborted) == (True, False)
    scene.clock.advance(CLOSING_SECONDS * 3)
    scene.relay.down.data(b"to nobody")
    assert not scene.origin.disconnecting
    scene.relay.told(scene.relay.up)
    scene.clock.advance(CLOSING_SECONDS - 0.1)
    assert not scene.origin.disconnecting
    scene.clock.advance(0.2)
    assert (scene.origin.disconnecting, scene.origin.aborted) == (True, False)
    scene.relay.origin_lost(done())
    assert (scene.ended, scene.relay.end) == (1, FINISHED)
    assert scene.clock.getDelayedCalls() == []


def test_an_origin_whose_client_was_slow_is_read_again_when_it_is_gone() -> None:
    """What is unread when it is closed would reset it, and cost it the upload's tail."""
    scene = Scene(Closing)
    scene.relay.down.pauseProducing()
    assert scene.origin.producerState == "paused"
    scene.relay.client_lost(done())
    assert scene.origin.producerState == "producing"


def test_an_origin_that_has_been_told_before_the_client_left_gets_its_while_too() -> None:
    scene = Scene()
    scene.relay.up.eof()
    scene.relay.told(scene.relay.up)
    scene.relay.client_lost(done())
    scene.clock.advance(CLOSING_SECONDS)
    assert (scene.origin.disconnecting, scene.origin.aborted) == (True, False)


def test_what_is_still_on_its_way_to_a_slow_reader_is_not_cut_off() -> None:
    """Both have said all they had to say; one is gone, the other still reads."""
    scene = Scene()
    scene.relay.up.eof()
    scene.relay.down.data(b"the tail")
    scene.relay.down.eof()
    scene.relay.finish_if_over()
    scene.relay.origin_lost(done())
    scene.clock.advance(IDLE_SECONDS - 1)
    assert not scene.client.aborted
    scene.clock.advance(2)
    scene.clock.advance(0)
    assert scene.client.aborted
    scene.relay.client_lost(Failure(ConnectionAborted()))
    assert scene.relay.end == IDLE


def test_traffic_either_way_keeps_a_relay_alive() -> None:
    scene = Scene()
    for _ in range(3):
        scene.clock.advance(IDLE_SECONDS * 0.9)
        scene.relay.up.data(b"x")
        scene.clock.advance(IDLE_SECONDS * 0.9)
        scene.relay.down.data(b"x")
    assert not scene.client.aborted
    scene.clock.advance(IDLE_SECONDS * 0.9)
    assert not scene.client.aborted
    scene.clock.advance(IDLE_SECONDS * 0.2)
    assert scene.client.aborted
    assert scene.origin.aborted
    assert scene.relay.end == IDLE


def test_a_close_that_is_stuck_is_ended_by_the_idle_deadline() -> None:
    scene = Scene()
    scene.relay.up.eof()
    scene.relay.down.eof()
    scene.relay.finish_if_over()
    scene.clock.advance(IDLE_SECONDS)
    scene.clock.advance(0)
    assert scene.client.aborted
    assert scene.origin.aborted


def test_what_an_origin_says_before_there_is_a_relay_is_kept() -> None:
    origin = Origin()
    assert verifyObject(IHalfCloseableProtocol, origin)
    scene = Scene()
    origin.makeConnection(scene.origin)
    origin.dataReceived(b"220 ready")
    assert scene.origin.producerState == "paused"
    origin.readConnectionLost()
    origin.attach(scene.relay)
    assert scene.client.value() == b"220 ready"
    assert scene.client.finished


def test_an_origin_lost_before_there_is_a_relay_ends_it() -> None:
    origin = Origin()
    scene = Scene()
    origin.makeConnection(scene.origin)
    origin.connectionLost(lost())
    origin.attach(scene.relay)
    assert scene.client.aborted
    assert scene.relay.end == ORIGIN_RESET
