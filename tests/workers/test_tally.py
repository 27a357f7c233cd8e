"""Counts for all workers: never too many, nothing lost with a worker, and asked for by AMP."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent
from twisted.protocols.amp import AMP, CommandLocator
from twisted.python.failure import Failure

from socks5d.limits.lease import Lease, Reservoirs
from socks5d.limits.limiter import STARTS
from socks5d.limits.starts import Starts
from socks5d.workers.channel import Channel, GiveBack, Take
from socks5d.workers.tally import ParentShares, Tally

LIMITS = {"associations": 2, "others": 3}
HOLDERS = st.integers(1, 4)
KINDS = st.sampled_from(list(LIMITS))
KEYS = st.sampled_from(["4/1", "4/2", "6/1"])

ANN, BOB = "192.0.2.1", "192.0.2.2"


class Tallies(RuleBasedStateMachine):
    """A tally beside a list of what every worker holds."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally(LIMITS)
        self.held: list[tuple[int, str, str]] = []

    def used(self, kind: str, key: str) -> int:
        return sum(each[1:] == (kind, key) for each in self.held)

    @rule(holder=HOLDERS, kind=KINDS, key=KEYS)
    def take(self, holder: int, kind: str, key: str) -> None:
        there_is_one = self.used(kind, key) < LIMITS[kind]
        assert self.tally.take(holder, kind, key) is there_is_one
        if there_is_one:
            self.held.append((holder, kind, key))

    @rule(holder=HOLDERS, kind=KINDS, key=KEYS)
    def give_back(self, holder: int, kind: str, key: str) -> None:
        self.tally.give_back(holder, kind, key)
        if (holder, kind, key) in self.held:
            self.held.remove((holder, kind, key))

    @rule(holder=HOLDERS)
    def forget(self, holder: int) -> None:
        self.tally.forget(holder)
        self.held = [each for each in self.held if each[0] != holder]

    @invariant()
    def nothing_else_is_remembered(self) -> None:
        used = Counter((kind, key) for _, kind, key in self.held)
        assert dict(self.tally._used) == dict(used)
        assert all(count <= LIMITS[kind] for (kind, _), count in used.items())


TestTallies = Tallies.TestCase


def test_of_what_has_no_limit_there_is_none() -> None:
    assert not Tally({}).take(1, "associations", "4/1")


def test_what_begins_is_counted_for_all_and_not_given_back() -> None:
    clock = Clock()
    tally = Tally({}, Starts(clock, 1, 2))
    assert [tally.take(holder, STARTS, ANN) for holder in (1, 2, 3)] == [True, True, False]
    tally.give_back(1, STARTS, ANN)
    tally.forget(1)
    assert not tally.take(2, STARTS, ANN)
    clock.advance(1)
    assert tally.take(2, STARTS, ANN)


def test_each_one_too_many_is_told() -> None:
    told: list[tuple[str, str]] = []
    starts = Starts(Clock(), 1, 1)
    tally = Tally({"associations": 1}, starts, lambda kind, key: told.append((kind, key)))
    for holder in (1, 2, 3):
        tally.take(holder, "associations", ANN)
    assert told == [("associations", ANN)] * 2
    tally.take(1, STARTS, BOB)
    tally.take(2, STARTS, BOB)
    assert told[2:] == [(STARTS, BOB)]


# By AMP.


class Wire(StringTransport):
    """A transport of AMP's, whose octets a test carries over."""

    def take(self) -> bytes:
        octets: bytes = self.value()
        self.clear()
        return octets


class Parent(CommandLocator):
    """The parent's end."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    @Take.responder
    def take(self, kind: str, key: str) -> dict[str, Any]:
        return {"granted": self.tally.take(1, kind, key)}

    @GiveBack.responder
    def give_back(self, kind: str, key: str) -> dict[str, Any]:
        self.tally.give_back(1, kind, key)
        return {}


class Pair:
    """A worker's shares and the parent's tally, with a channel between them."""

    def __init__(self, limit: int) -> None:
        self.tally = Tally({"associations": limit})
        self.worker, self.parent = Channel(), Channel(locator=Parent(self.tally))
        self._wires: list[tuple[AMP, Wire]] = []
        for end in (self.worker, self.parent):
            wire = Wire()
            end.makeConnection(wire)
            self._wires.append((end, wire))
        self.shares = ParentShares(self.worker, "associations")

    def carry(self) -> None:
        """Bring each end what the other has said, until both are silent."""
        (worker, to_parent), (parent, to_worker) = self._wires
        while (asked := to_parent.take()) + (answered := to_worker.take()):
            for octets, end in ((asked, parent), (answered, worker)):
                if octets:
                    end.dataReceived(octets)

    def used(self) -> int:
        return sum(self.tally._used.values())


def results(taken: Deferred[bool]) -> list[Any]:
    """What has come of it so far."""
    seen: list[Any] = []
    taken.addBoth(seen.append)
    return seen


def test_the_parent_grants_and_refuses() -> None:
    pair = Pair(1)
    taken = [results(pair.shares.take(ANN)) for _ in range(2)]
    other = results(pair.shares.take(BOB))
    assert [*taken, other] == [[], [], []]
    pair.carry()
    assert [*taken, other] == [[True], [False], [True]]


def test_what_is_given_back_can_be_had_again() -> None:
    pair = Pair(1)
    first = results(pair.shares.take(ANN))
    pair.carry()
    pair.shares.give_back(ANN)
    second = results(pair.shares.take(ANN))
    pair.carry()
    assert (first, second) == ([True], [True])


def test_who_gives_up_waiting_leaves_nothing_taken() -> None:
    pair = Pair(2)
    taken = pair.shares.take(ANN)
    seen = results(taken)
    taken.cancel()
    assert isinstance(seen[0].value, CancelledError)
    pair.carry()
    assert pair.used() == 0


def test_who_gives_up_waiting_and_is_refused_gives_back_nothing() -> None:
    pair = Pair(1)
    first = results(pair.shares.take(ANN))
    second = pair.shares.take(ANN)
    seen = results(second)
    second.cancel()
    pair.carry()
    assert first == [True]
    assert isinstance(seen[0].value, CancelledError)
    assert pair.used() == 1


def test_a_parent_that_goes_fails_who_waits_and_who_comes(logs: Sequence[LogEvent]) -> None:
    pair = Pair(1)
    before, given_up = results(pair.shares.take(ANN)), pair.shares.take(ANN)
    given_up.addErrback(lambda failure: failure.trap(CancelledError) and None)
    given_up.cancel()
    pair.worker.connectionLost(Failure(ConnectionDone()))
    after = results(pair.shares.take(BOB))
    for seen in (before, after):
        assert isinstance(seen[0].value, ConnectionDone)
    assert logs == []


def test_giving_back_to_a_parent_that_is_gone_is_no_problem(logs: Sequence[LogEvent]) -> None:
    pair = Pair(1)
    pair.shares.take(ANN)
    pair.carry()
    pair.worker.connectionLost(Failure(ConnectionDone()))
    pair.shares.give_back(ANN)
    assert logs == []


def test_of_a_kind_that_nobody_leases_there_is_nothing() -> None:
    tally = Tally({})
    tally.return_lease("rate up", ANN, 5)
    lease = tally.lease(1, "rate up", ANN, 1)
    assert lease == Lease(0, -1.0, "limit: no rate up")


def test_other_limits_leave_what_is_counted_where_its_numbers_are_the_same() -> None:
    clock = Clock()
    tally = Tally({}, Starts(clock, 1, 2), lessors={"up 5": Reservoirs(clock, 500)})
    assert [tally.take(1, STARTS, ANN) for _ in range(3)] == [True, True, False]
    leased = tally.lease(1, "up 5", ANN, 1)
    assert isinstance(leased, Lease)
    assert leased.octets > 0

    def renew(starts: Starts | None, *kinds: str) -> None:
        tally.renew(
            {}, starts, lambda kind, key: None, {kind: Reservoirs(clock, 500) for kind in kinds}
        )

    renew(Starts(clock, 1, 2), "up 5")
    assert not tally.take(1, STARTS, ANN)
    again = tally.lease(1, "up 5", ANN, 1)
    assert isinstance(again, Lease)
    assert again.octets < leased.octets
    # Whoever still goes by what there was before does so.
    renew(Starts(clock, 1, 3), "up 6")
    assert [tally.take(1, STARTS, ANN) for _ in range(4)] == [True, True, True, False]
    assert tally.lease(2, "up 5", BOB, 1) == leased
    renew(None)
    assert tally.take(1, STARTS, ANN)
