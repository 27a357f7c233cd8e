"""Turns and pauses after failures: how many attempts run, and how long the next one waits."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from socks5d.auth import failures
from socks5d.auth.failures import FORGET, LONGEST_PAUSE, WAITING, Failures
from socks5d.bounded import DeadlinePassed

FREE, PATIENCE = 3, 100.0


class Attempt:
    """
    One that waits for its turn.

    @ivar runs: whether it has it.
    @ivar refused: what it failed with.
    """

    def __init__(
        self,
        table: Failures,
        key: str = "a",
        *by: str,
        patience: float = PATIENCE,
        calm: float | None = None,
        weight: float = 1.0,
    ) -> None:
        self.runs = False
        self.refused: Any = None
        self._turn: Deferred[None] = table.take(key, by or ("",), patience, calm, weight)
        self._turn.addCallbacks(self._begin, self._refuse)

    def _begin(self, _: None) -> None:
        self.runs = True

    def _refuse(self, failure: Failure) -> None:
        self.refused = failure.type

    def leave(self) -> None:
        self._turn.cancel()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> Failures:
    return Failures(clock, FREE)


def fail(clock: Clock, table: Failures, times: int, key: str = "a") -> None:
    """Attempts that fail, each as soon as it may be made."""
    for _ in range(times):
        attempt = Attempt(table, key)
        clock.pump([LONGEST_PAUSE / 8] * 9)
        assert attempt.runs
        table.give_back(key, failed=True)


def test_the_first_failures_cost_nothing(clock: Clock, table: Failures) -> None:
    for _ in range(FREE):
        assert Attempt(table).runs
        table.give_back("a", failed=True)
    assert not Attempt(table).runs
    assert clock.seconds() == 0


def test_pauses_double_up_to_the_longest(clock: Clock, table: Failures) -> None:
    pauses = []
    for _ in range(FREE):
        Attempt(table)
        table.give_back("a", failed=True)
    for _ in range(8):
        began = clock.seconds()
        attempt = Attempt(table)
        while not attempt.runs:
            clock.advance(0.25)
        pauses.append(clock.seconds() - began)
        table.give_back("a", failed=True)
    assert pauses == [1, 2, 4, 8, 16, 32, 32, 32]


def test_the_longest_pause_can_be_another(clock: Clock) -> None:
    table = Failures(clock, 1, 2.5)
    fail(clock, table, 1)
    for pause in (1, 2, 2.5, 2.5):
        attempt = Attempt(table)
        clock.advance(pause - 0.01)
        assert not attempt.runs
        clock.advance(0.02)
        assert attempt.runs
        table.give_back("a", failed=True)


def test_attempts_side_by_side_gain_nothing(clock: Clock, table: Failures) -> None:
    attempts = [Attempt(table) for _ in range(20)]
    assert [each.runs for each in attempts] == [True] * FREE + [False] * 17
    for _ in range(FREE):
        table.give_back("a", failed=True)
    # From now on one at a time, each after a longer pause.
    for done, pause in enumerate((1, 2, 4, 8), FREE):
        assert sum(each.runs for each in attempts) == done
        clock.advance(pause - 0.001)
        assert sum(each.runs for each in attempts) == done
        clock.advance(0.002)
        assert sum(each.runs for each in attempts) == done + 1
        table.give_back("a", failed=True)


def test_a_failure_in_a_pause_makes_it_longer(clock: Clock, table: Failures) -> None:
    attempts = [Attempt(table) for _ in range(FREE)]
    assert all(each.runs for each in attempts)
    # Other attempts fail before, so that those that run are more than may.
    table.give_back("a", failed=True)
    table.give_back("a", failed=True)
    table.give_back("a", failed=True)
    waiting = Attempt(table)
    clock.advance(1)
    assert waiting.runs
    second = Attempt(table)
    table.give_back("a", failed=True)
    clock.advance(1)
    assert not second.runs
    clock.advance(1)
    assert second.runs


def test_success_holds_nothing_against_anybody(clock: Clock, table: Failures) -> None:
    for _ in range(100):
        assert Attempt(table).runs
        table.give_back("a", failed=False)
    assert len(table) == 0


def test_success_takes_no_failure_back(clock: Clock, table: Failures) -> None:
    """Or whoever has a password could guess another between two logins of their own."""
    for _ in range(FREE):
        assert Attempt(table).runs
        table.give_back("a", failed=True)
        if Attempt(table).runs:
            table.give_back("a", failed=False)
    assert not Attempt(table).runs


def test_keys_are_apart(clock: Clock, table: Failures) -> None:
    fail(clock, table, FREE + 3)
    assert not Attempt(table).runs
    assert Attempt(table, "b").runs


def test_who_would_wait_for_too_long_waits_in_vain(clock: Clock) -> None:
    table = Failures(clock, 1)
    assert Attempt(table).runs
    table.give_back("a", failed=True)
    waits = Attempt(table, patience=1.5)
    clock.advance(1)
    assert waits.runs
    table.give_back("a", failed=True)
    in_vain = Attempt(table, patience=1.5)
    clock.advance(0.5)
    waits = Attempt(table, patience=1.5)
    clock.advance(1)
    assert (in_vain.runs, in_vain.refused) == (False, DeadlinePassed)
    clock.advance(0.5)
    assert waits.runs


def test_who_waits_for_others_is_refused_when_it_took_too_long(clock: Clock) -> None:
    table = Failures(clock, 1)
    assert Attempt(table).runs
    waiting = Attempt(table, patience=5)
    clock.advance(5)
    assert waiting.refused is DeadlinePassed
    table.give_back("a", failed=False)
    assert len(table) == 0


def test_where_nobody_failed_there_is_another_patience(clock: Clock) -> None:
    table = Failures(clock, 1)
    assert Attempt(table).runs
    calm = Attempt(table, patience=2, calm=8)
    clock.advance(7)
    assert calm.refused is None
    table.give_back("a", failed=True)
    # What it was told when it came holds.
    hasty = Attempt(table, patience=0.5, calm=8)
    clock.advance(0.5)
    assert hasty.refused is DeadlinePassed
    clock.advance(0.5)
    assert not calm.runs
    assert calm.refused is DeadlinePassed
    table = Failures(clock, 1)
    assert Attempt(table).runs
    calm = Attempt(table, patience=2, calm=8)
    clock.advance(7)
    table.give_back("a", failed=False)
    clock.advance(0)
    assert calm.runs


def test_no_more_wait_than_may(clock: Clock, table: Failures) -> None:
    for _ in range(FREE):
        Attempt(table)
    waiting = [Attempt(table) for _ in range(WAITING + 3)]
    assert waiting[7].refused is None
    for _ in range(FREE + WAITING):
        table.give_back("a", failed=False)
        clock.advance(0)
    # One of them waited in vain for each that was too many.
    assert [each.runs for each in waiting].count(False) == 3
    clock.advance(PATIENCE)
    assert [each.refused for each in waiting if not each.runs] == [DeadlinePassed] * 3
    assert len(table) == 0


def shares(count: int, run: Callable[[int], str]) -> Counter[str]:
    """How often each has what there is, of so many times."""
    return Counter(run(number) for number in range(count))


def next_of(clock: Clock, *groups: tuple[int, tuple[str, ...], float]) -> str:
    """
    Whose the next turn is.

    @param groups: so many of each that wait, by whom, and their weights.
    """
    table = Failures(clock, 1)
    running = Attempt(table)
    assert running.runs
    waiting = [
        (by[0], Attempt(table, "a", *by, weight=weight))
        for count, by, weight in groups
        for _ in range(count)
    ]
    table.give_back("a", failed=False)
    clock.advance(0)
    (winner,) = [name for name, each in waiting if each.runs]
    for _, each in waiting:
        each.leave()
    return winner


def test_nobody_has_a_better_chance_for_having_come_before_or_with_many(clock: Clock) -> None:
    many, one = (20, ("many",), 1.0), (1, ("one",), 1.0)
    won = shares(400, lambda number: next_of(clock, *((many, one) if number % 2 else (one, many))))
    # One of two; that it is fewer than this is seldomer than one in 10 ** 15.
    assert 120 < won["one"] < 280


def test_nor_for_having_taken_the_queue(clock: Clock) -> None:
    many, one = (WAITING * 3, ("many",), 1.0), (1, ("one",), 1.0)
    won = shares(200, lambda number: next_of(clock, *((many, one) if number % 2 else (one, many))))
    assert 40 < won["one"] < 160


def test_nor_for_trying_again_until_the_lot_is_good(clock: Clock) -> None:
    def run(number: int) -> str:
        table = Failures(clock, 1)
        assert Attempt(table).runs
        one = Attempt(table, "a", "one")
        for _ in range(20):
            Attempt(table, "a", "again").leave()
        again = Attempt(table, "a", "again")
        table.give_back("a", failed=False)
        clock.advance(0)
        one.leave()
        again.leave()
        return "one" if one.runs else "again"

    assert 120 < shares(400, run)["one"] < 280


def test_a_network_has_one_chance_and_what_is_in_it_the_parts_of_that(clock: Clock) -> None:
    wide = [(1, ("wide", f"client {number}"), 1.0) for number in range(30)]
    won = shares(300, lambda _: next_of(clock, *wide, (1, ("other", "client"), 1.0)))
    assert 80 < won["other"] < 220


def test_many_networks_that_fill_the_queue_have_a_chance_each(clock: Clock) -> None:
    """Also where no more than a part of them can wait."""
    networks = [(1, (str(number),), 1.0) for number in range(WAITING * 2)]
    won = shares(200, lambda _: next_of(clock, *networks))
    early = sum(times for name, times in won.items() if int(name) < WAITING)
    assert 45 < early < 155


def test_who_weighs_less_has_a_worse_chance(clock: Clock) -> None:
    first, last = (1, ("first",), 1.0), (1, ("last",), 0.25)
    won = shares(500, lambda _: next_of(clock, first, last))
    # One of five.
    assert 40 < won["last"] < 170
    # And is not worse off where all are.
    won = shares(400, lambda _: next_of(clock, (1, ("one",), 0.25), (1, ("other",), 0.25)))
    assert 120 < won["one"] < 280


def test_a_network_is_as_good_as_the_best_in_it(clock: Clock) -> None:
    mixed = [(1, ("mixed", "last"), 0.25), (1, ("mixed", "first"), 1.0)]
    won = shares(400, lambda _: next_of(clock, *mixed, (1, ("other", "first"), 1.0)))
    assert 120 < won["mixed"] < 280


def test_many_that_are_over_at_once_do_not_end_within_each_other(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "WAITING", 5000)
    table = Failures(clock, 1)
    assert Attempt(table).runs
    over = []

    def end(_: None, number: int) -> None:
        over.append(number)
        table.give_back("a", failed=False)

    for number in range(1000):
        table.take("a", (str(number),), PATIENCE).addCallback(end, number)
    table.give_back("a", failed=False)
    clock.advance(0)
    assert sorted(over) == list(range(1000))
    assert len(table) == 0
    assert clock.getDelayedCalls() == []


def test_who_leaves_is_passed_over(clock: Clock, table: Failures) -> None:
    running = [Attempt(table) for _ in range(FREE)]
    first, second = Attempt(table), Attempt(table)
    first.leave()
    table.give_back("a", failed=False)
    clock.advance(0)
    assert (first.runs, second.runs, running[0].runs) == (False, True, True)


def test_nothing_is_left_to_be_called_when_nobody_waits(clock: Clock, table: Failures) -> None:
    fail(clock, table, FREE)
    waiting = Attempt(table)
    assert clock.getDelayedCalls()
    waiting.leave()
    assert not clock.getDelayedCalls()


def test_failures_are_forgotten_after_a_time(clock: Clock, table: Failures) -> None:
    fail(clock, table, FREE + 2)
    clock.advance(FORGET)
    for _ in range(FREE):
        assert Attempt(table).runs
        table.give_back("a", failed=True)
    assert not Attempt(table).runs


def test_a_clock_that_is_put_back_makes_no_pause_longer(table: Failures, clock: Clock) -> None:
    fail(clock, table, FREE)
    clock.rightNow -= 3600
    waiting = Attempt(table)
    assert not waiting.runs
    clock.advance(LONGEST_PAUSE)
    assert waiting.runs


def test_busy_keys_are_not_looked_at_each_time(clock: Clock, table: Failures) -> None:
    busy = [Attempt(table, str(number)) for number in range(failures._LOOKS * 3)]
    assert all(each.runs for each in busy)
    fail(clock, table, 1, "old")
    clock.advance(FORGET)
    for number in range(4):
        assert Attempt(table, f"new {number}").runs
    assert "old" not in table._keys
    assert len(table) == len(busy) + 4


def test_old_keys_make_room_by_themselves(clock: Clock, table: Failures) -> None:
    for key in "abc":
        fail(clock, table, 1, key)
    clock.advance(FORGET)
    fail(clock, table, 1, "d")
    assert len(table) == 1


def test_at_the_limit_the_oldest_is_forgotten(
    clock: Clock, table: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "KEYS", 3)
    for key in "abc":
        fail(clock, table, FREE, key)
    fail(clock, table, 1, "a")
    fail(clock, table, 1, "d")
    assert len(table) == 3
    # Of a key with failures one attempt runs at a time.  "b" was the one forgotten.
    assert [Attempt(table, "a").runs for _ in range(2)] == [True, False]
    assert [Attempt(table, "b").runs for _ in range(2)] == [True, True]


def test_who_runs_is_not_forgotten(
    clock: Clock, table: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "KEYS", 2)
    busy = [Attempt(table, key) for key in "abcd"]
    assert all(each.runs for each in busy)
    assert len(table) == 4
    for key in "abcd":
        table.give_back(key, failed=True)
    fail(clock, table, 1, "e")
    assert len(table) <= 4


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.sampled_from("ab"), st.floats(2.0**-6, 1)),
            st.tuples(st.just("end"), st.booleans()),
            st.tuples(st.just("leave"), st.integers(0, 9)),
            st.tuples(st.just("wait"), st.floats(0, 50, width=32)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_turns_are_counted(script: list[tuple[Any, ...]]) -> None:
    clock = Clock()
    table = Failures(clock, FREE)
    attempts: list[tuple[str, Attempt]] = []
    ended: set[int] = set()
    failed = dict.fromkeys("ab", 0)
    for word, value, *weight in script:
        if word == "take":
            attempts.append((value, Attempt(table, value, weight=weight[0])))
        elif word == "wait":
            clock.advance(value)
        elif word == "leave" and value < len(attempts):
            if not attempts[value][1].runs:
                attempts[value][1].leave()
        elif word == "end":
            for place, (key, attempt) in enumerate(attempts):
                if attempt.runs and place not in ended:
                    ended.add(place)
                    failed[key] += value
                    table.give_back(key, failed=value)
                    break
        for key in "ab":
            running = sum(
                attempt.runs and place not in ended
                for place, (its, attempt) in enumerate(attempts)
                if its == key
            )
            assert running <= FREE
    # Everybody is served or refused in the end, and nothing is left.
    for _ in range(len(attempts) + 1):
        for place, (key, attempt) in enumerate(attempts):
            if attempt.runs and place not in ended:
                ended.add(place)
                table.give_back(key, failed=False)
        clock.advance(PATIENCE)
    assert all(attempt.runs or attempt.refused for _, attempt in attempts)
    assert not clock.getDelayedCalls()
    assert len(table) == sum(count > 0 for count in failed.values())
