"""The book of quotas, by a clock and a store of the tests'."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socks5d.interfaces import IQuotaStore
from socks5d.limits.lease import Lease, LeasedFlow
from socks5d.limits.pace import Pace
from socks5d.limits.quota import INTERVAL, LARGEST, PATIENCE, SMALLEST, UNPROVEN, QuotaBook
from socks5d.limits.store import MemoryStore
from socks5d.parameters import QuotaParameters
from tests.limits.test_flow import Mover

DAY = 86400.0
BEGAN = 20_000 * DAY


@implementer(IQuotaStore)
class Later:
    """A store that answers when the test does."""

    def __init__(self) -> None:
        self.opening: Deferred[None] = Deferred()
        self.asked: list[tuple[str, Deferred[int]]] = []
        self.adding: list[tuple[str, dict[str, int], Deferred[None]]] = []
        self.closed = 0

    def open(self) -> Deferred[None]:
        return self.opening

    def used(self, period: str, identity: str) -> Deferred[int]:
        self.asked.append((identity, Deferred()))
        return self.asked[-1][1]

    def add(self, period: str, ends: float, octets: Mapping[str, int]) -> Deferred[None]:
        self.adding.append((period, dict(octets), Deferred()))
        return self.adding[-1][2]

    def close(self) -> None:
        self.closed += 1


class Scene:
    """A book, and what it told."""

    def __init__(self, octets: int, store: Any = None) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.store = store if store is not None else MemoryStore(self.wall)
        self.book = self.another(octets)
        opening = self.book.open()
        if isinstance(self.store, Later):
            self.store.opening.callback(None)
        assert opening.called

    def another(self, octets: int) -> QuotaBook:
        parameters = QuotaParameters(octets=octets)
        return QuotaBook(self.clock, parameters, self.store, self.told.append, self.wall)

    def wall(self) -> float:
        return BEGAN + self.clock.seconds()

    def lease(self, key: str = "ann") -> Lease:
        lease = self.book.lease(0, key, 1)
        assert isinstance(lease, Lease)
        return lease

    def all_of_it(self, key: str = "ann") -> int:
        total = 0
        while octets := self.lease(key).octets:
            total += octets
        return total


def test_the_store_of_these_tests_is_one() -> None:
    assert verifyObject(IQuotaStore, Later())


@pytest.mark.parametrize("octets", [1, SMALLEST, 1_000_000, 10 * LARGEST + 1, 1 << 36])
def test_leases_come_to_the_quota_and_to_no_octet_more(octets: int) -> None:
    scene = Scene(octets)
    total, largest = 0, 0
    while lease := scene.lease().octets:
        assert lease <= max(SMALLEST, min(LARGEST, (octets - total) / 64))
        total, largest = total + lease, max(largest, lease)
        if octets > 1 << 30 and total > 1 << 28:
            assert largest == LARGEST
            return
    assert total == octets
    over = f"limit: {octets} octets a day of ann"
    assert scene.lease() == Lease(0, -1.0, over)
    assert set(scene.told) == {over}


def test_each_identity_has_its_own() -> None:
    scene = Scene(1000)
    assert scene.all_of_it() == 1000
    assert scene.all_of_it("bob") == 1000


def test_what_is_given_back_can_be_had_again() -> None:
    scene = Scene(1000)
    scene.all_of_it()
    scene.book.give_back("ann", 300)
    assert scene.all_of_it() == 300
    scene.book.give_back("ann", -50)
    scene.book.give_back("ann", 60)
    assert scene.all_of_it() == 10


def test_the_next_day_there_is_as_much_again() -> None:
    scene = Scene(1000)
    scene.all_of_it()
    scene.clock.advance(DAY - 1)
    assert scene.all_of_it() == 0
    scene.clock.advance(2)
    assert scene.all_of_it() == 1000


def test_what_was_used_is_stored_soon_and_outlives_the_book() -> None:
    scene = Scene(1000)
    lease = scene.lease().octets
    scene.book.give_back("ann", lease - 400)
    scene.clock.advance(INTERVAL)
    assert scene.store.used("day 2024-10-04", "ann") == 400
    scene.book = scene.another(1000)
    scene.book.open()
    assert scene.all_of_it() == 600


def test_what_was_used_since_is_stored_at_the_end() -> None:
    scene = Scene(1000)
    lease = scene.lease().octets
    scene.book.give_back("ann", lease - 1)
    closing = scene.book.close()
    assert closing.called
    assert scene.store.used("day 2024-10-04", "ann") == 1
    assert scene.clock.getDelayedCalls() == []


def test_who_has_used_nothing_is_not_remembered() -> None:
    store = Later()
    scene = Scene(1 << 20, store)
    for who in ("ann", "bob"):
        scene.book.lease(0, who, 1)
    for _, asked in store.asked:
        asked.callback(0)
    for who in ("ann", "bob"):
        scene.book.give_back(who, scene.lease(who).octets)
    scene.clock.advance(INTERVAL)
    # The first lease of each waits here.
    assert [set(each[1]) for each in store.adding] == [{"ann", "bob"}]
    store.adding[0][2].callback(None)
    for who in ("ann", "bob"):
        scene.book.give_back(who, scene.lease(who).octets)
    scene.clock.advance(INTERVAL)
    assert len(store.adding) == 1


def test_who_has_been_away_is_looked_up_again_and_costs_nothing_meanwhile() -> None:
    scene = Scene(1000)
    scene.all_of_it()
    scene.clock.pump([INTERVAL] * 4)
    assert scene.book._accounts == {}
    assert scene.clock.getDelayedCalls() == []
    assert scene.all_of_it() == 0
    # What it gives back late is known all the same.
    scene.clock.pump([INTERVAL] * 4)
    scene.book.give_back("ann", 100)
    assert scene.all_of_it() == 100


def test_an_answer_that_comes_later_is_waited_for_once() -> None:
    store = Later()
    scene = Scene(1000, store)
    answers: list[Any] = []
    for _ in range(3):
        asking = scene.book.lease(0, "ann", 1)
        assert isinstance(asking, Deferred)
        asking.addCallback(answers.append)
    assert len(store.asked) == 1
    store.asked[0][1].callback(900)
    assert [each.octets for each in answers] == [100, 0, 0]


def test_who_gives_up_waiting_gets_nothing() -> None:
    store = Later()
    scene = Scene(1000, store)
    asking = scene.book.lease(0, "ann", 1)
    assert isinstance(asking, Deferred)
    asking.addErrback(lambda failure: None)
    asking.cancel()
    store.asked[0][1].callback(0)
    assert scene.lease().octets == 1000


@pytest.mark.parametrize("hangs", [False, True])
def test_a_store_that_cannot_say_refuses_and_is_asked_anew(hangs: bool) -> None:
    store = Later()
    scene = Scene(1000, store)
    failures: list[Any] = []
    asking = scene.book.lease(0, "ann", 1)
    assert isinstance(asking, Deferred)
    asking.addErrback(failures.append)
    if hangs:
        scene.clock.advance(PATIENCE)
    else:
        store.asked[0][1].errback(OSError("no such luck"))
    assert len(failures) == 1
    again = scene.book.lease(0, "ann", 1)
    assert isinstance(again, Deferred)
    store.asked[1][1].callback(0)
    assert scene.lease().octets == 0 or again.called


def test_what_could_not_be_stored_is_stored_later(logs: Sequence[LogEvent]) -> None:
    store = Later()
    scene = Scene(1 << 20, store)
    scene.book.lease(0, "ann", 1)
    store.asked[0][1].callback(0)
    scene.book.lease(0, "ann", 1)
    scene.clock.advance(INTERVAL)
    (_, first, adding) = store.adding[0]
    scene.book.lease(0, "ann", 1)
    adding.errback(OSError("disk full"))
    assert [each["log_failure"].type for each in logs] == [OSError]
    scene.clock.advance(INTERVAL)
    (_, second, adding) = store.adding[1]
    assert second["ann"] == first["ann"] + SMALLEST
    adding.callback(None)
    # And not once more.
    scene.clock.pump([INTERVAL] * 3)
    assert len(store.adding) == 2


def test_nothing_is_stored_twice_while_a_store_takes_its_time() -> None:
    store = Later()
    scene = Scene(1 << 20, store)
    scene.book.lease(0, "ann", 1)
    store.asked[0][1].callback(0)
    scene.book.lease(0, "ann", 1)
    scene.clock.advance(INTERVAL)
    scene.book.lease(0, "ann", 1)
    scene.clock.advance(10 * INTERVAL)
    assert len(store.adding) == 1
    closing = scene.book.close()
    store.adding[0][2].callback(None)
    assert [each[1]["ann"] for each in store.adding][1:] == [SMALLEST]
    assert (closing.called, store.closed) == (False, 0)
    store.adding[1][2].callback(None)
    assert (closing.called, store.closed) == (True, 1)


def test_an_end_does_not_wait_for_ever(logs: Sequence[LogEvent]) -> None:
    store = Later()
    scene = Scene(1 << 20, store)
    scene.book.lease(0, "ann", 1)
    store.asked[0][1].callback(0)
    scene.book.lease(0, "ann", 1)
    closing = scene.book.close()
    assert not closing.called
    scene.clock.advance(PATIENCE)
    assert closing.called
    assert [each["log_failure"].type.__name__ for each in logs] == ["DeadlinePassed"]


def test_what_cannot_be_opened_is_not_closed() -> None:
    store = Later()
    clock = Clock()
    book = QuotaBook(clock, QuotaParameters(octets=1), store, lambda what: None)
    failures: list[Any] = []
    book.open().addErrback(failures.append)
    store.opening.errback(OSError("no such luck"))
    assert failures[0].check(OSError)
    assert book.close().called
    assert store.closed == 0


class Books(RuleBasedStateMachine):
    """Sessions of two workers that relay what they may, beside what they have relayed."""

    QUOTA = 500_000

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(self.QUOTA)
        self.flows = [LeasedFlow(self.scene.clock, self.scene.book, "ann") for _ in range(2)]
        self.paces = [Pace([flow]) for flow in self.flows]
        self.moved = 0

    @rule(which=st.integers(0, 1), most=st.integers(1, 200_000))
    def relay(self, which: int, most: int) -> None:
        pace = self.paces[which]
        allowed = pace.allowed(most)
        pace.spend(allowed)
        self.moved += allowed
        if not allowed:
            self.session_ends(which)

    @rule(which=st.integers(0, 1))
    def session_ends(self, which: int) -> None:
        self.paces[which].stop()
        self.flows[which].close()
        self.flows[which] = LeasedFlow(self.scene.clock, self.scene.book, "ann")
        self.paces[which] = Pace([self.flows[which]])

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.scene.clock.advance(seconds)

    @invariant()
    def no_octet_more_than_the_quota_goes(self) -> None:
        assert self.moved <= self.QUOTA

    def teardown(self) -> None:
        for which in range(2):
            self.session_ends(which)
        last = Mover([self.flows[0]])
        last.move()
        # Nothing was lost either.
        assert self.moved + last.moved == self.QUOTA


TestBooks = Books.TestCase


def test_names_that_nobody_proved_have_so_many_accounts_and_no_more() -> None:
    scene = Scene(100)
    for number in range(UNPROVEN):
        assert scene.lease(f"{('userid', 'ident')[number % 2]}:{number}").octets == 100
    for key in ("userid:another", "ident:another"):
        lease = scene.lease(key)
        assert (lease.octets, lease.seconds) == (0, -1.0)
        assert lease.rule == f"limit: {UNPROVEN} names that nobody proved a day"
    assert scene.told == [lease.rule] * 2
    # Who has proven a name has its quota, and who has an account has what is left of that.
    assert scene.lease("password:ann").octets == 100
    scene.book.give_back("userid:0", 40)
    assert scene.lease("userid:0").octets == 40
    scene.clock.advance(DAY)
    assert scene.lease("userid:another").octets == 100
