"""Trying several addresses, by the clock (RFC 8305)."""

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectError, NoRouteError, TCPTimedOutError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from socks5d.egress.race import AT_ONCE, PATIENCE, Allowance, interleaved, race
from socks5d.wire.address import IPAddress
from tests.wire.cases import IPS

DELAY = 0.25
FIRST, SECOND, THIRD = (ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
ALL = (FIRST, SECOND, THIRD)


class Attempts:
    """
    Attempts that end when the test says so.

    @ivar made: the addresses that were tried, in order.
    @ivar cancelled: the addresses whose attempt was cancelled.
    @ivar heard: what the race gave.
    """

    def __init__(self, addresses: Sequence[IPAddress] = ALL, allowed: int = 64) -> None:
        self.clock = Clock()
        self.made: list[IPAddress] = []
        self.cancelled: list[IPAddress] = []
        self.heard: list[object] = []
        self._pending: dict[IPAddress, Deferred[IPAddress]] = {}
        self.allowance = Allowance(allowed)
        self.result = race(self.clock, DELAY, addresses, self._attempt, self.allowance)
        self.result.addBoth(self.heard.append)

    def _attempt(self, address: IPAddress) -> Deferred[IPAddress]:
        self.made.append(address)
        self._pending[address] = Deferred(lambda _: self.cancelled.append(address))
        return self._pending[address]

    def connects(self, address: IPAddress) -> None:
        self._pending[address].callback(address)

    def fails(self, address: IPAddress, problem: Exception | None = None) -> None:
        self._pending[address].errback(problem or ConnectError())

    def failure(self) -> BaseException | None:
        """What the race failed with; it must have."""
        assert len(self.heard) == 1
        assert isinstance(self.heard[0], Failure)
        return self.heard[0].value


def test_the_first_address_is_tried_at_once_and_alone() -> None:
    attempts = Attempts()
    assert attempts.made == [FIRST]
    attempts.clock.advance(DELAY - 0.001)
    assert attempts.made == [FIRST]


def test_the_next_is_tried_beside_one_that_does_not_answer() -> None:
    attempts = Attempts()
    attempts.clock.advance(DELAY)
    assert attempts.made == [FIRST, SECOND]
    attempts.clock.advance(DELAY)
    assert attempts.made == [FIRST, SECOND, THIRD]
    assert attempts.cancelled == []
    assert attempts.clock.getDelayedCalls() == []


def test_the_next_is_tried_at_once_when_one_fails() -> None:
    attempts = Attempts()
    attempts.fails(FIRST)
    assert attempts.made == [FIRST, SECOND]
    assert attempts.heard == []


def test_an_attempt_that_follows_a_failure_gets_the_whole_delay() -> None:
    attempts = Attempts()
    attempts.clock.advance(DELAY - 0.01)
    attempts.fails(FIRST)
    attempts.clock.advance(DELAY - 0.01)
    assert attempts.made == [FIRST, SECOND]
    attempts.clock.advance(0.01)
    assert attempts.made == [FIRST, SECOND, THIRD]


def test_the_first_to_answer_wins_and_the_others_are_cancelled() -> None:
    attempts = Attempts()
    attempts.clock.advance(DELAY)
    attempts.connects(SECOND)
    assert attempts.heard == [SECOND]
    assert attempts.cancelled == [FIRST]
    assert attempts.clock.getDelayedCalls() == []
    attempts.clock.advance(10 * DELAY)
    assert attempts.made == [FIRST, SECOND]


def test_the_slow_first_address_can_still_win() -> None:
    attempts = Attempts()
    attempts.clock.pump([DELAY] * 4)
    attempts.connects(FIRST)
    assert attempts.heard == [FIRST]
    assert sorted(attempts.cancelled) == [SECOND, THIRD]


def test_losers_are_gone_before_the_winner_is_told() -> None:
    attempts = Attempts()
    attempts.clock.advance(DELAY)
    at_the_time: list[list[IPAddress]] = []
    attempts.result.addCallback(lambda _: at_the_time.append(list(attempts.cancelled)))
    attempts.connects(SECOND)
    assert at_the_time == [[FIRST]]


def test_cancelling_the_race_cancels_every_attempt() -> None:
    attempts = Attempts()
    attempts.clock.advance(DELAY)
    attempts.result.cancel()
    assert sorted(attempts.cancelled) == [FIRST, SECOND]
    assert isinstance(attempts.failure(), CancelledError)
    assert attempts.clock.getDelayedCalls() == []
    assert attempts.made == [FIRST, SECOND]


def test_cancelling_a_race_of_one_cancels_its_attempt() -> None:
    attempts = Attempts([FIRST])
    attempts.result.cancel()
    assert attempts.cancelled == [FIRST]
    assert isinstance(attempts.failure(), CancelledError)


def test_a_race_of_one_needs_no_timer() -> None:
    attempts = Attempts([FIRST])
    assert attempts.clock.getDelayedCalls() == []
    attempts.connects(FIRST)
    assert attempts.heard == [FIRST]


def test_it_fails_only_when_the_last_attempt_has() -> None:
    attempts = Attempts()
    attempts.clock.pump([DELAY, DELAY])
    attempts.fails(THIRD)
    attempts.fails(FIRST)
    assert attempts.heard == []
    last = ConnectError()
    attempts.fails(SECOND, last)
    assert attempts.failure() is last


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([error.ConnectionRefusedError(111), TCPTimedOutError(110), NoRouteError(101)], 0),
        ([NoRouteError(101), TCPTimedOutError(110), error.ConnectionRefusedError(111)], 2),
        ([NoRouteError(101), TCPTimedOutError(110), NoRouteError(101)], 1),
        ([NoRouteError(101), ConnectError(113), NoRouteError(101)], 1),
        ([ConnectError(5), NoRouteError(101), ConnectError(5)], 1),
        ([ConnectError(5), ConnectError(6), ConnectError(7)], 2),
    ],
)
def test_it_fails_as_the_attempt_that_got_farthest(errors: list[Exception], told: int) -> None:
    attempts = Attempts()
    for address, problem in zip(ALL, errors, strict=True):
        attempts.fails(address, problem)
    assert attempts.failure() is errors[told]


def test_attempts_that_fail_at_once_lead_through_all_addresses_at_once() -> None:
    made: list[IPAddress] = []
    addresses = [ip_address(number) for number in range(1, 200)]

    def attempt(address: IPAddress) -> Deferred[IPAddress]:
        made.append(address)
        return fail(ConnectError())

    heard: list[Failure] = []
    clock = Clock()
    race(clock, DELAY, addresses, attempt, Allowance(9)).addErrback(heard.append)
    assert made == addresses
    assert heard[0].check(ConnectError)
    assert clock.getDelayedCalls() == []


def test_an_attempt_that_connects_at_once_is_the_only_one() -> None:
    made: list[IPAddress] = []

    def attempt(address: IPAddress) -> Deferred[IPAddress]:
        made.append(address)
        return succeed(address)

    heard: list[IPAddress] = []
    clock = Clock()
    race(clock, DELAY, ALL, attempt, Allowance(9)).addCallback(heard.append)
    assert (heard, made) == ([FIRST], [FIRST])
    assert clock.getDelayedCalls() == []


# How many at once.

MANY = tuple(ip_address(f"198.51.100.{number}") for number in range(1, 10))


def test_no_more_than_a_few_attempts_run_at_once_and_the_oldest_gives_way() -> None:
    attempts = Attempts(MANY)
    attempts.clock.pump([DELAY] * 4)
    assert (attempts.made, attempts.cancelled) == (list(MANY[:AT_ONCE]), [])
    attempts.clock.advance(PATIENCE)
    assert attempts.cancelled == [MANY[0]]
    assert attempts.made == list(MANY[: AT_ONCE + 1])
    attempts.connects(MANY[3])
    assert attempts.heard == [MANY[3]]
    assert attempts.cancelled == [MANY[0], MANY[1], MANY[2]]
    assert attempts.allowance.left == 64


def test_every_silent_address_gets_its_turn() -> None:
    attempts = Attempts(MANY)
    for _ in range(200):
        attempts.clock.advance(DELAY)
    assert attempts.made == list(MANY)
    for address in MANY[-AT_ONCE:]:
        attempts.fails(address)
    assert isinstance(attempts.failure(), TimeoutError)
    assert attempts.allowance.left == 64
    assert attempts.clock.getDelayedCalls() == []


def test_without_an_allowance_one_runs_after_the_other() -> None:
    attempts = Attempts(ALL, allowed=0)
    attempts.clock.pump([DELAY] * 4)
    assert attempts.made == [FIRST]
    attempts.fails(FIRST)
    assert attempts.made == [FIRST, SECOND]
    attempts.clock.pump([DELAY] * int(PATIENCE / DELAY + 1))
    assert attempts.made == [FIRST, SECOND, THIRD]
    attempts.connects(THIRD)
    assert (attempts.heard, attempts.allowance.left) == ([THIRD], 0)


def test_what_a_race_took_of_the_allowance_it_gives_back() -> None:
    attempts = Attempts(ALL)
    attempts.clock.pump([DELAY] * 3)
    assert attempts.allowance.left == 62
    attempts.result.cancel()
    assert attempts.allowance.left == 64


# The order.

SIX = [ip_address(f"2001:db8::{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        ([*SIX, FIRST, SECOND], [SIX[0], FIRST, SIX[1], SECOND, SIX[2]]),
        ([FIRST, *SIX, SECOND], [FIRST, SIX[0], SECOND, SIX[1], SIX[2]]),
        ([FIRST, SECOND, SIX[0]], [FIRST, SIX[0], SECOND]),
        (list(ALL), list(ALL)),
        (SIX, SIX),
        ([FIRST], [FIRST]),
    ],
)
def test_the_families_alternate_and_the_resolvers_first_is_first(
    addresses: list[IPAddress], order: list[IPAddress]
) -> None:
    assert interleaved(addresses) == order
    attempts = Attempts(addresses)
    attempts.clock.pump([DELAY] * 40)
    assert attempts.made == order


@given(st.lists(IPS, min_size=1, max_size=20, unique=True))
def test_no_address_is_lost_and_each_family_keeps_its_order(addresses: list[IPAddress]) -> None:
    order = interleaved(addresses)
    assert order[0] == addresses[0]
    for version in (4, 6):
        assert [a for a in order if a.version == version] == [
            a for a in addresses if a.version == version
        ]
    fewer = min(sum(a.version == version for a in addresses) for version in (4, 6))
    for one, other in pairwise(order[: 2 * fewer]):
        assert one.version != other.version
