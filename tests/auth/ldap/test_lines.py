"""Connections that logins share: how many, who waits, how long they are kept."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from socks5d.auth.blocking import Login, checking
from socks5d.auth.ldap.connection import Connection
from socks5d.auth.ldap.failures import ConnectionEnded, DirectoryError
from socks5d.auth.ldap.lines import Kept, Line, Lines
from socks5d.auth.undecided import TooManyLogins
from tests.auth.ldap.directory import PASSWORD, Directory

ANN = "uid=ann"


@pytest.fixture
def directory(clock: Clock) -> Directory:
    directory = Directory(clock)
    directory.add(ANN)
    return directory


def begin(coroutine: Any) -> tuple[Deferred[Any], list[Any]]:
    said: list[Any] = []
    return Deferred.fromCoroutine(coroutine).addBoth(said.append), said


async def bind(connection: Connection) -> int:
    return await connection.bind(ANN, PASSWORD)


def make(directory: Directory, most: int = 2, waiting: int = 1) -> Lines:
    return Lines(
        directory.clock,
        lambda: Line(directory.connect, directory.connect),
        most=most,
        waiting=waiting,
        idle=60.0,
    )


def ask(directory: Directory, kept: Kept) -> Any:
    _, said = begin(kept.ask(bind))
    directory.turn()
    assert len(said) == 1
    return said[0]


def test_a_connection_is_kept(directory: Directory) -> None:
    kept = Kept(directory.connect)
    assert [ask(directory, kept) for _ in range(3)] == [0, 0, 0]
    assert len(directory.wires) == 1


def test_one_that_died_is_replaced_before_it_is_asked(directory: Directory) -> None:
    kept = Kept(directory.connect)
    assert ask(directory, kept) == 0
    directory.wires[0].lose()
    assert ask(directory, kept) == 0
    assert len(directory.wires) == 2


def test_one_that_dies_when_it_is_asked_is_replaced_once(directory: Directory) -> None:
    kept = Kept(directory.connect)
    assert ask(directory, kept) == 0
    directory.mute = True
    _, said = begin(kept.ask(bind))
    directory.turn()
    directory.mute = False
    directory.wires[0].lose()
    directory.turn()
    assert said == [0]
    assert len(directory.wires) == 2


def test_a_fresh_one_that_dies_is_not_replaced(directory: Directory) -> None:
    kept = Kept(directory.connect)
    directory.mute = True
    _, said = begin(kept.ask(bind))
    directory.turn()
    directory.wires[0].lose()
    directory.turn()
    assert [each.type for each in said] == [ConnectionEnded]
    assert len(directory.wires) == 1


def test_the_replacement_that_dies_is_not_replaced(directory: Directory) -> None:
    kept = Kept(directory.connect)
    assert ask(directory, kept) == 0
    directory.mute = True
    _, said = begin(kept.ask(bind))
    for wire in (0, 1):
        directory.turn()
        directory.wires[wire].lose()
    directory.turn()
    assert [each.type for each in said] == [ConnectionEnded]
    assert len(directory.wires) == 2


def test_another_failure_is_not_tried_again(directory: Directory) -> None:
    kept = Kept(directory.connect)
    assert ask(directory, kept) == 0

    async def fail(connection: Connection) -> int:
        raise DirectoryError("no")

    _, said = begin(kept.ask(fail))
    assert said[0].type is DirectoryError
    assert len(directory.wires) == 1


def test_who_gives_up_leaves_no_connection(directory: Directory) -> None:
    kept = Kept(directory.connect)
    for turns in (0, 50):
        directory.mute = True
        deferred, said = begin(kept.ask(bind))
        directory.turn(times=turns)
        deferred.cancel()
        directory.turn()
        assert said[0].type is CancelledError
        assert not any(wire.open for wire in directory.wires)
        directory.mute = False
        assert ask(directory, kept) == 0
        directory.wires[-1].lose()


def test_so_many_lines_and_so_many_wait(directory: Directory) -> None:
    lines = make(directory)
    taken = [begin(lines.take()) for _ in range(4)]
    assert [len(said) for _, said in taken] == [1, 1, 0, 1]
    assert isinstance(taken[0][1][0], Line)
    assert taken[3][1][0].type is TooManyLogins
    lines.give_back(taken[0][1][0])
    assert taken[2][1] == [taken[0][1][0]]
    assert lines.taken == 2


def test_who_has_waited_longest_is_next(directory: Directory) -> None:
    lines = make(directory, most=1, waiting=3)
    first, *rest = [begin(lines.take()) for _ in range(4)]
    rest[0][0].cancel()
    assert rest[0][1][0].type is CancelledError
    lines.give_back(first[1][0])
    assert [len(said) for _, said in rest] == [1, 1, 0]
    # A place in the queue that was given up is another's.
    assert [len(begin(lines.take())[1]) for _ in range(3)] == [0, 0, 1]
    lines.give_back(first[1][0])
    assert [len(said) for _, said in rest] == [1, 1, 1]


@pytest.mark.parametrize("known", [False, True])
def test_one_line_of_four_is_for_the_others(directory: Directory, known: bool) -> None:
    """For those who are known, whom strangers cannot keep out; and the other way round."""
    lines = make(directory, most=4, waiting=2)
    with checking(Login(known=not known)):
        many = [begin(lines.take())[1] for _ in range(6)]
    assert [len(said) for said in many] == [1, 1, 1, 0, 0, 1]
    with checking(Login(known=known)):
        few = [begin(lines.take())[1] for _ in range(4)]
    assert [len(said) for said in few] == [1, 0, 0, 1]
    assert many[5][0].type is few[3][0].type is TooManyLogins
    lines.give_back(few[0][0])
    # What they have not, the many do not get.
    assert [len(said) for said in few] == [1, 1, 0, 1]
    assert [len(said) for said in many[3:5]] == [0, 0]
    lines.give_back(few[1][0])
    lines.give_back(few[2][0])
    assert [len(said) for said in many[3:5]] == [0, 0]
    assert lines.taken == 3
    for said in many[:3]:
        lines.give_back(said[0])
    for said in many[3:5]:
        lines.give_back(said[0])
    assert lines.taken == 0
    assert len(directory.wires) == 0


def test_of_what_is_for_both_those_who_are_known_get_it_first(directory: Directory) -> None:
    lines = make(directory, most=4, waiting=2)
    strangers = [begin(lines.take())[1] for _ in range(4)]
    with checking(Login(known=True)):
        known = [begin(lines.take())[1] for _ in range(2)]
    assert [len(said) for said in strangers] == [1, 1, 1, 0]
    assert [len(said) for said in known] == [1, 0]
    lines.give_back(strangers[0][0])
    assert (len(known[1]), len(strangers[3])) == (1, 0)
    lines.give_back(strangers[1][0])
    assert len(strangers[3]) == 1


def test_fewer_lines_go_from_the_ones_to_the_others(directory: Directory) -> None:
    lines = make(directory, most=1, waiting=9)
    strangers = [begin(lines.take())[1] for _ in range(3)]
    with checking(Login(known=True)):
        known = [begin(lines.take())[1] for _ in range(2)]
    order = []
    for said in (strangers[0], known[0], strangers[1], known[1], strangers[2]):
        order.append(len(said))
        lines.give_back(said[0])
    assert order == [1] * 5


def test_one_user_or_one_client_has_half_of_them(directory: Directory) -> None:
    lines = make(directory, most=8, waiting=9)

    def take(key: str) -> list[Any]:
        with checking(Login(key=key)):
            return begin(lines.take())[1]

    greedy = [take("a") for _ in range(6)]
    assert [len(said) for said in greedy] == [1, 1, 1, 1, 0, 0]
    assert [len(take(key)) for key in "bc"] == [1, 1]
    lines.give_back(greedy[0][0])
    assert [len(said) for said in greedy] == [1, 1, 1, 1, 1, 0]


def test_many_that_are_over_at_once_do_not_end_within_each_other(directory: Directory) -> None:
    lines = make(directory, most=1, waiting=5000)
    first = begin(lines.take())[1]

    async def fail() -> None:
        lines.give_back(await lines.take())

    rest = [begin(fail())[1] for _ in range(5000)]
    lines.give_back(first[0])
    assert rest == [[None]] * 5000
    assert lines.taken == 0


@pytest.mark.parametrize("known", [False, True])
def test_who_begins_many_waits_for_themselves_alone(directory: Directory, known: bool) -> None:
    lines = make(directory, most=1, waiting=4)

    def take(key: str) -> list[Any]:
        with checking(Login(key=key, known=known)):
            return begin(lines.take())[1]

    greedy = [take("a") for _ in range(5)]
    assert [len(said) for said in greedy] == [1, 0, 0, 0, 0]
    # No place is free: the last of those who have most gives way.
    other = take("b")
    assert [each.type for each in greedy[4]] == [TooManyLogins]
    lines.give_back(greedy[0][0])
    lines.give_back(greedy[1][0])
    assert (len(other), len(greedy[2])) == (1, 0)
    for said in (other, greedy[2], greedy[3]):
        lines.give_back(said[0])
    assert lines.taken == 0


def test_a_login_waits_until_it_has_a_line(directory: Directory) -> None:
    lines = make(directory, most=1)
    first, second = Login(), Login()
    taken = []
    for login in (first, second):
        with checking(login):
            taken.append(begin(lines.take())[1])
    assert (first.waits, second.waits) == (False, True)
    lines.give_back(taken[0][0])
    assert not second.waits


def test_an_unused_line_is_closed(directory: Directory, clock: Clock) -> None:
    lines = make(directory)
    taken = [begin(lines.take())[1][0] for _ in range(2)]
    for line in taken:
        assert ask(directory, line.binds) == 0
        assert ask(directory, line.searches) == 0
        lines.give_back(line)
    assert len(directory.wires) == 4
    clock.advance(59)
    again = begin(lines.take())[1][0]
    # The one used last, so that the other grows old.
    assert again is taken[1]
    directory.turn(1)
    assert [wire.open for wire in directory.wires] == [False, False, True, True]
    lines.give_back(again)
    directory.turn(60)
    assert not any(wire.open for wire in directory.wires)
    assert clock.getDelayedCalls() == []


def test_all_that_nobody_uses_can_be_closed(directory: Directory, clock: Clock) -> None:
    lines = make(directory)
    free, used = (begin(lines.take())[1][0] for _ in range(2))
    for line in (free, used):
        assert ask(directory, line.binds) == 0
    lines.give_back(free)
    lines.close()
    directory.turn()
    assert [wire.open for wire in directory.wires] == [False, True]
    assert clock.getDelayedCalls() == []
