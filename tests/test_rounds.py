"""A queue that serves keys in turn: order, places in the round, who gives way."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.rounds import Rounds


@pytest.fixture
def rounds() -> Rounds[int]:
    return Rounds()


def fill(rounds: Rounds[int], keys: str) -> None:
    for number, key in enumerate(keys):
        rounds.add(key, number)


def test_keys_take_turns_and_what_each_has_keeps_its_order(rounds: Rounds[int]) -> None:
    fill(rounds, "aaabbc")
    served = [rounds.next() for _ in range(7)]
    assert served == [("a", 0), ("b", 3), ("c", 5), ("a", 1), ("b", 4), ("a", 2), None]


def test_who_comes_late_waits_for_one_of_each_and_no_more(rounds: Rounds[int]) -> None:
    fill(rounds, "aaaab")
    rounds.next()
    rounds.add("c", 9)
    assert [rounds.next() for _ in range(2)] == [("b", 4), ("a", 1)]
    assert rounds.next() == ("c", 9)


def test_whose_turn_may_not_be_keeps_its_place(rounds: Rounds[int]) -> None:
    fill(rounds, "ab")
    assert rounds.next(lambda key: key == "b") == ("b", 1)
    assert rounds.next(lambda key: key == "b") is None
    assert rounds.next() == ("a", 0)


def test_who_leaves_is_passed_over(rounds: Rounds[int]) -> None:
    fill(rounds, "aab")
    for key, item in (("a", 0), ("a", 0), ("a", 7), ("b", 2), ("c", 0)):
        rounds.discard(key, item)
    assert (len(rounds), rounds.waiting("a"), rounds.waiting("b")) == (1, 1, 0)
    assert rounds.next() == ("a", 1)
    assert rounds.next() is None


def test_those_that_begin_alike_have_a_turn_together(rounds: Rounds[int]) -> None:
    for number, key in enumerate([("a", "1"), ("a", "2"), ("a", "2"), ("a", "3"), ("b", "1"), "c"]):
        rounds.add(key, number)
    assert len(rounds) == 6
    served = [rounds.next() for _ in range(6)]
    assert served == [
        (("a", "1"), 0),
        (("b", "1"), 4),
        ("c", 5),
        (("a", "2"), 1),
        (("a", "3"), 3),
        (("a", "2"), 2),
    ]
    assert len(rounds) == 0


def test_whose_turn_may_not_be_leaves_it_to_another_that_begins_alike(rounds: Rounds[int]) -> None:
    for number, key in enumerate([("a", "1"), ("a", "2"), ("b", "1")]):
        rounds.add(key, number)
    assert rounds.next(lambda key: key != ("a", "1")) == (("a", "2"), 1)
    assert rounds.next() == (("b", "1"), 2)
    assert rounds.next() == (("a", "1"), 0)


@pytest.mark.parametrize(
    ("waiting", "key", "gives_way"),
    [
        # Many that begin alike give way together to one of another kind,
        (["a1", "a2", "a3", "a3"], "b1", 3),
        (["a1", "a2", "b1"], "c1", 1),
        (["a1"], "b1", None),
        # and not to one of their own that has no fewer.
        (["a1", "a2", "a3", "b1"], "a4", None),
        (["a1", "a2", "a2", "a2"], "a3", 3),
        (["a1", "a1", "b1", "b1"], "a2", 1),
    ],
)
def test_who_gives_way_is_sought_from_the_widest_on(
    rounds: Rounds[int], waiting: list[str], key: str, gives_way: int | None
) -> None:
    for number, each in enumerate(waiting):
        rounds.add(tuple(each), number)
    assert rounds.displaced_by(tuple(key)) == gives_way
    assert len(rounds) == len(waiting) - (gives_way is not None)
    left = [rounds.next() for _ in range(len(rounds))]
    assert None not in left
    assert rounds.next() is None


@pytest.mark.parametrize(
    ("waiting", "key", "gives_way"),
    [
        ("", "a", None),
        ("aaaa", "a", None),
        ("aa", "b", 1),
        ("a", "b", None),
        ("aab", "b", None),
        ("aaab", "b", 2),
        ("abababb", "c", 6),
        ("abc", "d", None),
    ],
)
def test_who_has_fewer_takes_the_last_place_of_who_has_most(
    rounds: Rounds[int], waiting: str, key: str, gives_way: int | None
) -> None:
    fill(rounds, waiting)
    assert rounds.displaced_by(key) == gives_way
    assert len(rounds) == len(waiting) - (gives_way is not None)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abc")),
            st.tuples(st.just("next"), st.sets(st.sampled_from("abc"))),
            st.tuples(st.just("discard"), st.integers(0, 20)),
            st.tuples(st.just("displace"), st.sampled_from("abc")),
        )
    )
)
def test_nothing_is_lost_and_what_each_has_keeps_its_order(
    script: list[tuple[str, object]],
) -> None:
    rounds: Rounds[int] = Rounds()
    queues: dict[object, deque[int]] = {key: deque() for key in "abc"}
    number = 0
    for word, value in script:
        if word == "add":
            number += 1
            queues[value].append(number)
            rounds.add(value, number)
        elif word == "discard":
            for key, queue in queues.items():
                rounds.discard(key, int(str(value)))
                if value in queue:
                    queue.remove(int(str(value)))
        elif word == "displace":
            item = rounds.displaced_by(value)
            if item is not None:
                (owner,) = [key for key, queue in queues.items() if item in queue]
                assert len(queues[owner]) > len(queues[value]) + 1
                assert queues[owner].pop() == item
        else:
            assert isinstance(value, set)
            turn = rounds.next(value.__contains__)
            if turn is None:
                assert not any(queues[key] for key in value)
                continue
            key, item = turn
            assert key in value
            assert queues[key].popleft() == item
        assert {key: rounds.waiting(key) for key in "abc"} == {
            key: len(queue) for key, queue in queues.items()
        }
        assert len(rounds) == sum(map(len, queues.values()))


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_no_key_is_served_twice_in_a_round(keys: list[str]) -> None:
    rounds: Rounds[int] = Rounds()
    fill(rounds, "".join(keys))
    served = [turn[0] for turn in iter(rounds.next, None) if turn is not None]
    assert sorted(map(str, served)) == sorted(keys)
    left = {key: keys.count(key) for key in keys}
    while served:
        of_this_round = served[: sum(count > 0 for count in left.values())]
        assert len(set(of_this_round)) == len(of_this_round)
        del served[: len(of_this_round)]
        left = {key: count - 1 for key, count in left.items()}
