"""Logins that are checked in threads: as many as may, and no more."""

import threading

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from socks5d.auth.blocking import in_login_thread, login_threads, of_known
from socks5d.auth.undecided import TooManyLogins
from tests.support.running import PATIENCE, in_reactor, reactor


def test_it_is_checked_in_a_thread_of_the_reactors_own() -> None:
    name = in_reactor(in_login_thread, lambda: threading.current_thread().name)
    assert "socks5d-try" in name
    assert login_threads(reactor) is login_threads(reactor)


def test_those_who_are_known_do_not_wait_for_strangers() -> None:
    released = threading.Event()

    def begin() -> list[Deferred[object]]:
        login_threads(reactor).limit(threads=1, jobs=1)
        return [in_login_thread(lambda: released.wait(PATIENCE), reactor)]

    (waiting,) = in_reactor(begin)

    def of_somebody_known() -> Deferred[str]:
        with of_known():
            return in_login_thread(lambda: threading.current_thread().name, reactor)

    try:
        with pytest.raises(TooManyLogins):
            in_reactor(in_login_thread, lambda: True, reactor)
        assert "socks5d-login" in in_reactor(of_somebody_known)
    finally:
        released.set()
        assert in_reactor(lambda: waiting) is True
        in_reactor(lambda: login_threads(reactor).limit(threads=4, jobs=256))


def test_a_failure_is_the_checks_own() -> None:
    def wrong() -> None:
        raise UnauthorizedLogin("wrong")

    with pytest.raises(UnauthorizedLogin, match="wrong") as caught:
        in_reactor(in_login_thread, wrong, reactor)
    assert not isinstance(caught.value, TooManyLogins)


def test_one_more_than_may_is_not_accepted() -> None:
    released = threading.Event()

    def begin() -> list[Deferred[object]]:
        login_threads(reactor).limit(threads=1, jobs=2)
        return [in_login_thread(lambda: released.wait(PATIENCE), reactor) for _ in range(2)]

    waiting = in_reactor(begin)
    try:
        with pytest.raises(TooManyLogins):
            in_reactor(in_login_thread, lambda: True, reactor)
    finally:
        released.set()
        for each in waiting:
            assert in_reactor(lambda each=each: each) is True
        in_reactor(lambda: login_threads(reactor).limit(threads=4, jobs=256))
