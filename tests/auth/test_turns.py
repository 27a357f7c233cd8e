"""Logins by turns: no client's crowd out another's, and all come to an end."""

import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from socks5d.auth.blocking import login_threads
from socks5d.auth.turns import Turns, login_turns
from socks5d.auth.undecided import TooManyLogins
from socks5d.model import Client
from socks5d.parameters import Limits
from tests.support.running import PATIENCE, Started, in_reactor, reactor

GREEDY = Client(ip_address("192.0.2.1"))
OTHER = Client(ip_address("192.0.2.2"))
LIMITS = Limits(logins=16, login_threads=4)


class Job:
    """Hangs until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(PATIENCE)
        return "done"


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    """All of them end."""
    made: list[Job] = []
    in_reactor(lambda: login_threads(reactor).limit(threads=4, jobs=16))
    yield made
    for job in made:
        job.released.set()
    limits = Limits()
    in_reactor(
        lambda: login_threads(reactor).limit(threads=limits.login_threads, jobs=limits.logins)
    )


@pytest.fixture
def begin(jobs: list[Job]) -> Callable[[Client], tuple[Job, Started]]:
    turns = Turns(reactor, LIMITS)

    def begin(client: Client) -> tuple[Job, Started]:
        job = Job()
        jobs.append(job)
        return job, Started(lambda: Deferred.fromCoroutine(turns.run(client, job)))

    return begin


Begin = Callable[[Client], tuple[Job, Started]]


def test_a_client_that_begins_many_waits_for_itself_alone(begin: Begin) -> None:
    first, second = begin(GREEDY), begin(GREEDY)
    assert first[0].begun.wait(PATIENCE)
    job, other = begin(OTHER)
    job.released.set()
    assert other.wait() == "done"
    assert not second[0].begun.is_set()
    first[0].released.set()
    assert first[1].wait() == "done"
    assert second[0].begun.wait(PATIENCE)


def test_one_more_than_a_quarter_is_refused_and_others_are_not(begin: Begin) -> None:
    held = [begin(GREEDY) for _ in range(4)]
    refused = begin(GREEDY)[1].wait()
    assert refused.check(TooManyLogins)
    assert refused.getErrorMessage() == "too many logins of this client at once"
    job, other = begin(OTHER)
    job.released.set()
    assert other.wait() == "done"
    for job, started in held:
        job.released.set()
        assert started.wait() == "done"
    job, again = begin(GREEDY)
    job.released.set()
    assert again.wait() == "done"


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        (None, None, True),
        (None, "192.0.2.1", False),
    ],
)
def test_clients_are_told_apart_by_the_prefix_that_is_theirs(
    one: str | None, another: str | None, same: bool, begin: Begin
) -> None:
    def client(text: str | None) -> Client:
        return Client(None if text is None else ip_address(text))

    first, _ = begin(client(one))
    assert first.begun.wait(PATIENCE)
    job, started = begin(client(another))
    if same:
        first.released.set()
    job.released.set()
    assert started.wait() == "done"
    assert first.released.is_set() is same


def test_one_that_leaves_while_it_waits_is_not_called_and_leaves_its_place(begin: Begin) -> None:
    held = [begin(GREEDY) for _ in range(4)]
    held[1][1].cancel()
    assert held[1][1].wait().check(CancelledError)
    held.append(begin(GREEDY))
    for number in (0, 2, 3, 4):
        held[number][0].released.set()
        assert held[number][1].wait() == "done"
    assert not held[1][0].begun.is_set()


def test_one_that_leaves_while_it_is_checked_has_its_turn_until_it_ends(begin: Begin) -> None:
    hanging, left = begin(GREEDY)
    assert hanging.begun.wait(PATIENCE)
    left.cancel()
    assert left.wait().check(CancelledError)
    waiting = [begin(GREEDY) for _ in range(3)]
    assert begin(GREEDY)[1].wait().check(TooManyLogins)
    assert not any(job.begun.is_set() for job, _ in waiting)
    hanging.released.set()
    for job, started in waiting:
        job.released.set()
        assert started.wait() == "done"


def test_one_that_leaves_before_its_thread_begins_is_not_called(begin: Begin) -> None:
    # Four clients have the threads.
    held = [begin(Client(ip_address(f"192.0.2.{number}"))) for number in range(11, 15)]
    assert all(job.begun.wait(PATIENCE) for job, _ in held)
    job, waiting = begin(GREEDY)
    waiting.cancel()
    assert waiting.wait().check(CancelledError)
    behind, started = begin(GREEDY)
    behind.released.set()
    held[0][0].released.set()
    assert started.wait() == "done"
    assert not job.begun.is_set()


def test_a_failure_is_the_jobs_own_and_ends_the_turn() -> None:
    turns = Turns(reactor, LIMITS)

    def run(job: Callable[[], Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(turns.run(GREEDY, job))

    for _ in range(6):
        with pytest.raises(ZeroDivisionError):
            in_reactor(run, lambda: 1 // 0)
    assert in_reactor(run, lambda: 5) == 5
    assert len(turns._places) == len(turns._turns) == 0


def test_where_all_have_too_many_a_place_is_left_too(begin: Begin) -> None:
    in_reactor(lambda: login_threads(reactor).limit(threads=1, jobs=1))
    job, started = begin(OTHER)
    assert job.begun.wait(PATIENCE)
    for _ in range(6):
        refused = begin(GREEDY)[1].wait()
        assert refused.getErrorMessage() == "too many logins at once"
    job.released.set()
    assert started.wait() == "done"
    job, started = begin(GREEDY)
    job.released.set()
    assert started.wait() == "done"


def test_limits_can_be_set_later(jobs: list[Job]) -> None:
    turns = Turns(reactor, Limits(logins=4, login_threads=4))
    first, second = Job(), Job()
    jobs += [first, second]
    one = Started(lambda: Deferred.fromCoroutine(turns.run(GREEDY, first)))
    in_reactor(lambda: turns.limit(Limits(logins=8)))
    two = Started(lambda: Deferred.fromCoroutine(turns.run(GREEDY, second)))
    for job, started in ((second, two), (first, one)):
        job.released.set()
        assert started.wait() == "done"


def test_all_on_a_reactor_share_them() -> None:
    assert login_turns(reactor) is login_turns(reactor)
