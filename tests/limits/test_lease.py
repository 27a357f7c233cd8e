"""Octets that come in parts, by a clock that the tests turn."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from socks5d.limits.flow import BURST
from socks5d.limits.lease import AGAIN, EXHAUSTED, SLICE, Lease, LeasedFlow, Reservoirs
from socks5d.limits.pace import Pace
from tests.limits.test_flow import Mover, turn

RATE = 100_000


class Later:
    """What is asked of a lessor takes some time, as it does in another process."""

    def __init__(self, clock: Clock, reservoirs: Reservoirs, holder: int, seconds: float) -> None:
        self._clock = clock
        self._reservoirs = reservoirs
        self._holder = holder
        self._seconds = seconds
        self.asked = 0

    def lease(self, holder: int, key: str, sessions: int) -> Deferred[Lease]:
        self.asked += 1
        answer: Deferred[Lease] = Deferred()
        lease = self._reservoirs.lease(self._holder, key, sessions)
        self._clock.callLater(self._seconds, answer.callback, lease)
        return answer

    def give_back(self, key: str, octets: int) -> None:
        self._reservoirs.give_back(key, octets)


class Fixed:
    """Has so many octets, and gives them in parts."""

    def __init__(self, octets: int, part: int = 1000) -> None:
        self.octets = octets
        self.part = part

    def lease(self, holder: int, key: str, sessions: int) -> Lease:
        part = min(self.part, self.octets)
        self.octets -= part
        return Lease(part) if part else Lease(0, -1.0, "all gone")

    def give_back(self, key: str, octets: int) -> None:
        self.octets += octets


class Asked:
    """A test answers."""

    def __init__(self) -> None:
        self.answers: list[Deferred[Lease]] = []
        self.back = 0

    def lease(self, holder: int, key: str, sessions: int) -> Deferred[Lease]:
        self.answers.append(Deferred())
        return self.answers[-1]

    def give_back(self, key: str, octets: int) -> None:
        self.back += octets


# A rate that several holders share.


@pytest.mark.parametrize("sessions", [(1, 1), (1, 3), (5, 1, 2)])
def test_a_rate_holds_for_all_and_is_shared_by_sessions(sessions: Sequence[int]) -> None:
    clock = Clock()
    reservoirs = Reservoirs(clock, RATE)
    lessors = [Later(clock, reservoirs, holder, 0.002) for holder in range(len(sessions))]
    movers: list[list[Mover]] = []
    for lessor, count in zip(lessors, sessions, strict=True):
        flow = LeasedFlow(clock, lessor, "ann")
        movers.append([Mover([flow]) for _ in range(count)])
    for mover in (each for some in movers for each in some):
        mover.move()
    turn(clock, 20)
    moved = [mover.moved for some in movers for mover in some]
    assert 0.9 * 20 * RATE < sum(moved) < (20 + BURST + SLICE) * RATE
    assert min(moved) > 0.6 * 20 * RATE / sum(sessions)
    # Neither does the way to the parent fill with questions.
    assert all(lessor.asked < 20 * 30 for lessor in lessors)


def test_one_alone_has_all_of_it() -> None:
    clock = Clock()
    reservoirs = Reservoirs(clock, RATE)
    flow = LeasedFlow(clock, Later(clock, reservoirs, 1, 0.002), "ann")
    gone = LeasedFlow(clock, Later(clock, reservoirs, 2, 0.002), "ann")
    idle, mover = Mover([gone]), Mover([flow])
    idle.move()
    mover.move()
    turn(clock, 2)
    idle.pace.stop()
    gone.close()
    before = mover.moved
    turn(clock, 10)
    assert 0.93 * 10 * RATE < mover.moved - before < 1.05 * 10 * RATE


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 100) | st.integers(100, 10_000_000), st.integers(1, 3))
def test_any_rate_holds(rate: int, holders: int) -> None:
    clock = Clock()
    reservoirs = Reservoirs(clock, rate)
    movers = [
        Mover([LeasedFlow(clock, Later(clock, reservoirs, holder, 0.002), "ann")])
        for holder in range(holders)
    ]
    for mover in movers:
        mover.move()
    turn(clock, 20)
    moved = sum(mover.moved for mover in movers)
    assert 0.85 * 20 * rate - 3 < moved <= (20 + BURST) * rate + 2


def test_each_key_has_its_own_and_is_forgotten() -> None:
    clock = Clock()
    reservoirs = Reservoirs(clock, RATE)
    assert reservoirs.lease(1, "ann", 1) == Lease(int(RATE * SLICE))
    while reservoirs.lease(1, "ann", 1).octets:
        pass
    assert reservoirs.lease(1, "ann", 1).seconds > 0
    assert reservoirs.lease(1, "bob", 1).octets
    clock.advance(1)
    for number in range(300):
        reservoirs.lease(1, f"{number}", 1)
        clock.advance(1)
    assert len(reservoirs) < 300


# A flow by leases.


def test_what_counts_here_is_asked_without_a_pause_and_to_the_octet() -> None:
    clock = Clock()
    lessor = Fixed(123_456)
    mover = Mover([LeasedFlow(clock, lessor, "ann")], 700)
    mover.move()
    assert (mover.moved, lessor.octets) == (123_456, 0)


def test_where_there_will_be_no_more_each_is_told_once() -> None:
    clock = Clock()
    flow = LeasedFlow(clock, Fixed(10_000), "ann")
    movers = [Mover([flow]) for _ in range(3)]
    told: list[str] = []
    for mover in movers:
        mover.pace.exhausted = told.append
    for mover in movers:
        mover.move()
        # Not in the midst of it.
        assert told == []
    clock.advance(0)
    assert told == [EXHAUSTED] * 3
    turn(clock, 5)
    assert told == [EXHAUSTED] * 3
    assert clock.getDelayedCalls() == []


def test_datagrams_are_told_too() -> None:
    clock = Clock()
    pace = Pace([LeasedFlow(clock, Fixed(1500), "ann")])
    told: list[str] = []
    pace.exhausted = told.append
    assert pace.admits(1000)
    assert pace.admits(1000)
    assert not pace.admits(1000)
    clock.advance(0)
    assert told == [EXHAUSTED]


def test_who_stops_before_is_not_told() -> None:
    clock = Clock()
    mover = Mover([LeasedFlow(clock, Fixed(0), "ann")])
    told: list[str] = []
    mover.pace.exhausted = told.append
    mover.move()
    mover.pace.stop()
    clock.advance(1)
    assert told == []


def test_what_is_left_is_given_back_and_what_was_too_much_is_taken() -> None:
    lessor = Fixed(10_000)
    flow = LeasedFlow(Clock(), lessor, "ann")
    pace = Pace([flow])
    assert pace.allowed(300) == 300
    pace.spend(300)
    flow.close()
    assert lessor.octets == 9_700
    flow = LeasedFlow(Clock(), lessor, "ann")
    Pace([flow]).spend(700)
    flow.close()
    assert lessor.octets == 9_000


def test_a_lease_that_comes_when_nobody_wants_it_is_given_back() -> None:
    lessor = Asked()
    flow = LeasedFlow(Clock(), lessor, "ann")
    mover = Mover([flow])
    mover.move()
    mover.pace.stop()
    flow.close()
    lessor.answers[0].callback(Lease(500))
    assert lessor.back == 500


def test_one_question_at_a_time_and_a_turn_as_soon_as_it_is_answered() -> None:
    clock, lessor = Clock(), Asked()
    flow = LeasedFlow(clock, lessor, "ann")
    movers = [Mover([flow]) for _ in range(3)]
    for mover in movers:
        mover.move()
    assert len(lessor.answers) == 1
    lessor.answers[0].callback(Lease(3000))
    assert sum(mover.moved for mover in movers) == 3000
    assert [mover.moved for mover in movers] == [1000] * 3
    assert len(lessor.answers) == 2


def test_a_question_that_fails_is_asked_again(logs: Sequence[LogEvent]) -> None:
    clock, lessor = Clock(), Asked()
    mover = Mover([LeasedFlow(clock, lessor, "ann")])
    mover.move()
    lessor.answers[0].errback(ConnectionError("nobody there"))
    assert [each["log_failure"].type for each in logs] == [ConnectionError]
    clock.advance(AGAIN + 0.1)
    assert mover.moved == 0
    lessor.answers[1].callback(Lease(100))
    assert mover.moved == 100


def test_whether_there_is_something_can_be_asked_before() -> None:
    lessor = Fixed(100)
    flow = LeasedFlow(Clock(), lessor, "ann")
    assert flow.ready() == ""
    Pace([flow]).spend(100)
    assert flow.ready() == "all gone"


def test_who_gives_up_asking_loses_no_lease() -> None:
    lessor = Asked()
    flow = LeasedFlow(Clock(), lessor, "ann")
    asking = flow.ready()
    assert isinstance(asking, Deferred)
    asking.addErrback(lambda failure: None)
    asking.cancel()
    lessor.answers[0].callback(Lease(70))
    assert flow.ready() == ""
    flow.close()
    assert lessor.back == 70


def begin(flow: LeasedFlow) -> tuple[Deferred[str], list[object]]:
    """Ask whether there is something, which takes time; and what is said then."""
    asking = flow.ready()
    assert isinstance(asking, Deferred)
    said: list[object] = []
    asking.addBoth(said.append)
    return asking, said


def test_many_that_begin_at_once_ask_for_one_lease() -> None:
    """Or what each had asked for would lie there, and others would have to do without."""
    clock, lessor = Clock(), Asked()
    flow = LeasedFlow(clock, lessor, "ann")
    beginning = [begin(flow) for _ in range(100)]
    mover = Mover([flow])
    mover.move()
    assert len(lessor.answers) == 1
    beginning[7][0].cancel()
    lessor.answers[0].callback(Lease(1000))
    assert [said for _, said in beginning].count([""]) == 99
    assert mover.moved == 1000
    # One who relays has asked already.
    later = begin(flow)[1]
    assert len(lessor.answers) == 2
    lessor.answers[1].callback(Lease(1000))
    assert later == [""]


@pytest.mark.parametrize(
    ("answer", "told"),
    [(Lease(0, -1.0, "all gone"), "all gone"), (Lease(70), ""), (Lease(0, 0.5), "")],
)
def test_what_it_is_told_later_it_tells_all(answer: Lease, told: str) -> None:
    lessor = Asked()
    flow = LeasedFlow(Clock(), lessor, "ann")
    beginning = [begin(flow)[1] for _ in range(3)]
    lessor.answers[0].callback(answer)
    assert beginning == [[told]] * 3


def test_a_question_that_fails_fails_for_all_who_begin(logs: Sequence[LogEvent]) -> None:
    lessor = Asked()
    flow = LeasedFlow(Clock(), lessor, "ann")
    beginning = [begin(flow)[1] for _ in range(3)]
    lessor.answers[0].errback(ConnectionError("nobody there"))
    for said in beginning:
        assert isinstance(said[0], Failure)
        assert said[0].check(ConnectionError)
    # Who asked says so; and whoever comes asks anew.
    assert logs == []
    begin(flow)
    assert len(lessor.answers) == 2


@pytest.mark.parametrize("count", [1, 3, 10, 50])
def test_what_many_share_goes_to_the_last_octet(count: int) -> None:
    clock, lessor = Clock(), Asked()
    flow = LeasedFlow(clock, lessor, "ann")
    movers = [Mover([flow]) for _ in range(count)]
    told: list[str] = []
    for mover in movers:
        mover.pace.exhausted = told.append
        mover.move()
    lessor.answers[0].callback(Lease(65_536))
    for answer in lessor.answers[1:]:
        answer.callback(Lease(0, -1.0, "all gone"))
    for _ in range(10):
        clock.advance(0.1)
        for answer in lessor.answers:
            if not answer.called:
                answer.callback(Lease(0, -1.0, "all gone"))
    assert sum(mover.moved for mover in movers) == 65_536
    assert len(told) == count
