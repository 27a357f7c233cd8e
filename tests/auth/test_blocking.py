"""Logins that are checked in threads: as many as may, by turns, and all come to an end."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred

from socks5d.auth.blocking import Login, checking, current_login, in_login_thread, login_threads
from socks5d.auth.undecided import TooManyLogins
from socks5d.parameters import Limits
from tests.support.running import PATIENCE, Started, in_reactor, reactor


class Job:
    """Hangs until it is released, and says in which thread it ran."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.released.wait(PATIENCE)
        return threading.current_thread().name


Begin = Callable[[Login], tuple[Job, Started]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Jobs, all of which end; two run at once, each of another key, and six wait."""
    made: list[Job] = []

    def begin(login: Login) -> tuple[Job, Started]:
        made.append(Job())
        job = made[-1]

        def run() -> Deferred[str]:
            with checking(login):
                return in_login_thread(job, reactor)

        return job, Started(run)

    in_reactor(lambda: login_threads(reactor).limit(threads=2, jobs=8))
    yield begin
    for job in made:
        job.released.set()
    limits = Limits()
    in_reactor(
        lambda: login_threads(reactor).limit(threads=limits.login_threads, jobs=limits.logins)
    )


def finish(*some: tuple[Job, Started]) -> list[Any]:
    for job, _ in some:
        job.released.set()
    return [started.wait() for _, started in some]


def test_it_is_checked_in_a_thread_of_the_reactors_own() -> None:
    name = in_reactor(in_login_thread, lambda: threading.current_thread().name)
    assert "socks5d-try" in name
    assert login_threads(reactor) is login_threads(reactor)


def test_those_who_are_known_do_not_wait_for_strangers(begin: Begin) -> None:
    strangers = [begin(Login(key=str(number))) for number in range(8)]
    refused = begin(Login(key="9"))[1].wait()
    assert refused.check(TooManyLogins)
    assert "socks5d-login" in finish(begin(Login(key=b"ann", known=True)))[0]
    assert all("socks5d-try" in name for name in finish(*strangers))


@pytest.mark.parametrize("known", [False, True])
def test_who_begins_many_waits_for_themselves_alone(known: bool, begin: Begin) -> None:
    greedy = [begin(Login(key="a", known=known)) for _ in range(8)]
    assert greedy[0][0].begun.wait(PATIENCE)
    # No place is free: the last of those who have most gives way.
    finish(begin(Login(key="b", known=known)))
    assert greedy[7][1].wait().check(TooManyLogins)
    assert [job.begun.is_set() for job, _ in greedy] == [True] + [False] * 7
    finish(*greedy[:7])
    assert [job.begun.is_set() for job, _ in greedy] == [True] * 7 + [False]


def test_a_login_waits_until_its_check_begins(begin: Begin) -> None:
    first, second, third = (Login(key="a") for _ in range(3))
    running, waiting, leaving = map(begin, (first, second, third))
    assert running[0].begun.wait(PATIENCE)
    assert (first.waits, second.waits) == (False, True)
    leaving[1].cancel()
    assert leaving[1].wait().check(CancelledError)
    assert third.waits
    finish(running, waiting)
    assert not second.waits
    assert not leaving[0].begun.is_set()


def test_one_that_leaves_while_it_is_checked_has_its_turn_until_it_ends(begin: Begin) -> None:
    hanging, left = begin(Login(key="a"))
    assert hanging.begun.wait(PATIENCE)
    left.cancel()
    assert left.wait().check(CancelledError)
    behind = begin(Login(key="a"))
    finish(begin(Login(key="b")))
    assert not behind[0].begun.is_set()
    hanging.released.set()
    finish(behind)
    assert behind[0].begun.is_set()


def test_who_was_looked_at_once_does_not_wait_any_more() -> None:
    login = Login()
    assert not login.waits
    login.wait()
    assert login.waits
    login.begin()
    login.wait()
    assert not login.waits


def test_a_check_belongs_to_the_login_in_whose_name_it_begins() -> None:
    one, other = Login(), Login(known=True)
    with checking(one):
        with checking(other):
            assert current_login() is other
        assert current_login() is one
    nobodys = current_login()
    assert (nobodys.client, nobodys.key, nobodys.known) == (None, "", False)
    assert nobodys is not current_login()


def test_a_failure_is_the_checks_own() -> None:
    def wrong() -> None:
        raise UnauthorizedLogin("wrong")

    with pytest.raises(UnauthorizedLogin, match="wrong") as caught:
        in_reactor(in_login_thread, wrong, reactor)
    assert not isinstance(caught.value, TooManyLogins)


def test_one_more_than_may_is_not_accepted_and_room_comes_back(begin: Begin) -> None:
    held = [begin(Login(key="a")) for _ in range(8)]
    refused = begin(Login(key="a"))[1].wait()
    assert refused.check(TooManyLogins)
    assert refused.getErrorMessage() == "too many logins at once"
    finish(*held)
    assert "socks5d-try" in finish(begin(Login(key="a")))[0]
