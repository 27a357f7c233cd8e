"""Blocking work off the reactor's thread: limits, cancelled jobs, and jobs that hang."""

import errno
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from socks5d.threads import Overloaded, Threads
from tests.support.running import PATIENCE, Started, in_reactor, reactor


class Hanging:
    """
    A job that ends when it is released.

    @ivar calls: how many times it was called.
    @ivar threads: in which threads.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.threads: set[threading.Thread] = set()
        self.released = threading.Event()
        self._changed = threading.Condition()

    def __call__(self) -> str:
        with self._changed:
            self.calls += 1
            self.threads.add(threading.current_thread())
            self._changed.notify_all()
        assert self.released.wait(PATIENCE)
        return "done"

    def wait_for(self, calls: int) -> None:
        """Wait until it was called so many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls >= calls, PATIENCE)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    job = Hanging()
    yield job
    job.released.set()


def some(threads: int = 4, jobs: int = 16, part: int = 1) -> Threads:
    return Threads(reactor, "socks5d-test", threads=threads, jobs=jobs, part=part)


def pending(threads: Threads) -> int:
    number: int = in_reactor(lambda: threads.pending)
    return number


def test_a_result_and_a_failure_come_back() -> None:
    mine = some()
    assert in_reactor(mine.run, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        in_reactor(mine.run, lambda: 1 // 0)
    assert pending(mine) == 0


def test_no_more_run_at_once_than_there_are_threads(hanging: Hanging) -> None:
    mine = some(threads=2)
    jobs = [Started(mine.run, hanging) for _ in range(3)]
    hanging.wait_for(2)
    assert (hanging.calls, pending(mine)) == (2, 3)
    hanging.released.set()
    assert [job.wait() for job in jobs] == ["done"] * 3
    assert len(hanging.threads) == 2
    assert all(thread.daemon for thread in hanging.threads)
    assert pending(mine) == 0


def test_one_more_than_the_limit_is_refused_and_room_comes_back(hanging: Hanging) -> None:
    mine = some(threads=1, jobs=2)
    jobs = [Started(mine.run, hanging) for _ in range(2)]
    assert Started(mine.run, hanging).wait().check(Overloaded)
    assert pending(mine) == 2
    hanging.released.set()
    for job in jobs:
        job.wait()
    assert Started(mine.run, hanging).wait() == "done"


def test_limits_can_be_set_later(hanging: Hanging) -> None:
    mine = some(threads=4, jobs=4)
    in_reactor(lambda: mine.limit(threads=1, jobs=2))
    jobs = [Started(mine.run, hanging) for _ in range(2)]
    assert Started(mine.run, hanging).wait().check(Overloaded)
    hanging.wait_for(1)
    hanging.released.set()
    assert [job.wait() for job in jobs] == ["done"] * 2
    assert len(hanging.threads) == 1


def test_a_cancelled_job_ends_at_once_and_counts_until_it_is_over(hanging: Hanging) -> None:
    mine = some(threads=1, jobs=2)
    job = Started(mine.run, hanging)
    hanging.wait_for(1)
    job.cancel()
    assert job.wait().check(CancelledError)
    assert pending(mine) == 1
    behind = Started(mine.run, hanging)
    hanging.released.set()
    assert behind.wait() == "done"
    # One thread, so the first was over before.
    assert pending(mine) == 0
    assert job.result.check(CancelledError)


def test_a_job_that_is_cancelled_before_its_turn_is_not_called(hanging: Hanging) -> None:
    mine = some(threads=1)
    first, second, third = (Started(mine.run, hanging) for _ in range(3))
    second.cancel()
    assert second.wait().check(CancelledError)
    hanging.released.set()
    assert first.wait() == third.wait() == "done"
    assert (hanging.calls, pending(mine)) == (2, 0)


def test_stopping_does_not_wait_for_a_job_that_hangs(hanging: Hanging) -> None:
    mine = some(threads=1)
    job = Started(mine.run, hanging)
    hanging.wait_for(1)
    in_reactor(mine.stop)
    assert pending(mine) == 1
    hanging.released.set()
    assert job.wait() == "done"


def test_stopping_ends_the_threads(hanging: Hanging) -> None:
    mine = some()
    job = Started(mine.run, hanging)
    hanging.released.set()
    job.wait()
    in_reactor(mine.stop)
    (thread,) = hanging.threads
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_stopping_one_that_never_began_is_nothing() -> None:
    mine = some()
    in_reactor(mine.stop)
    assert pending(mine) == 0


def test_what_is_cancelled_before_its_turn_leaves_room(hanging: Hanging) -> None:
    mine = some(threads=1, jobs=2)
    first, second = (Started(mine.run, hanging) for _ in range(2))
    hanging.wait_for(1)
    second.cancel()
    assert second.wait().check(CancelledError)
    third = Started(mine.run, hanging)
    hanging.released.set()
    assert first.wait() == third.wait() == "done"


def test_keys_take_turns(hanging: Hanging) -> None:
    mine = some(threads=1)
    order: list[str] = []
    first = Started(mine.run, hanging)
    hanging.wait_for(1)
    jobs = [Started(mine.run, partial(order.append, key), key) for key in "aaabbc"]
    hanging.released.set()
    for job in (first, *jobs):
        job.wait()
    assert order == ["a", "b", "c", "a", "b", "a"]


def test_a_key_has_its_part_of_the_threads_and_no_more(hanging: Hanging) -> None:
    mine = some(threads=4, part=2)
    jobs = [Started(mine.run, hanging, "a") for _ in range(4)]
    hanging.wait_for(2)
    assert Started(mine.run, lambda: 5, "b").wait() == 5
    assert hanging.calls == 2
    hanging.released.set()
    assert [job.wait() for job in jobs] == ["done"] * 4
    assert (hanging.calls, pending(mine)) == (4, 0)


def test_of_few_threads_a_key_has_one(hanging: Hanging) -> None:
    mine = some(threads=1, part=4)
    assert Started(mine.run, lambda: 5, "a").wait() == 5


def test_who_has_fewer_takes_a_place_of_who_has_most(hanging: Hanging) -> None:
    mine = some(threads=1, jobs=4)
    running, *waiting = [Started(mine.run, hanging, "a") for _ in range(4)]
    hanging.wait_for(1)
    other = Started(mine.run, hanging, "b")
    assert waiting[2].wait().check(Overloaded)
    assert pending(mine) == 4
    # Two of one and one of another: one more of the other would have as many.
    assert Started(mine.run, hanging, "b").wait().check(Overloaded)
    assert Started(mine.run, hanging, "a").wait().check(Overloaded)
    hanging.released.set()
    for job in (running, *waiting[:2], other):
        assert job.wait() == "done"
    assert (hanging.calls, pending(mine)) == (4, 0)


def test_one_that_gives_way_may_ask_for_more_at_once(hanging: Hanging) -> None:
    mine = some(threads=1, jobs=3)
    again: list[object] = []

    def begin() -> None:
        for _ in range(3):
            answer = mine.run(hanging, "a")
        answer.addErrback(lambda _: mine.run(hanging, "a")).addErrback(again.append)
        mine.run(hanging, "b")

    in_reactor(begin)
    (failure,) = again
    assert isinstance(failure, Failure)
    assert failure.check(Overloaded)
    assert pending(mine) == 3
    hanging.released.set()
    hanging.wait_for(3)
    assert hanging.calls == 3


@pytest.mark.skipif(sys.platform != "linux", reason="of threads, only there")
def test_threads_leave_the_processor_to_others() -> None:
    mine = Threads(reactor, "socks5d-test", threads=1, jobs=1, nice=7)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    there = in_reactor(mine.run, lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert there == min(before + 7, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.skipif(sys.platform != "linux", reason="of threads, only there")
@pytest.mark.parametrize("fails", [False, True])
def test_threads_of_a_process_that_leaves_it_to_others_itself(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []

    def set_priority(which: int, who: int, niceness: int) -> None:
        set_to.append(niceness)
        if fails:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "getpriority", lambda which, who: 15)
    monkeypatch.setattr(os, "setpriority", set_priority)
    mine = Threads(reactor, "socks5d-test", threads=1, jobs=1, nice=10)
    assert in_reactor(mine.run, lambda: 5) == 5
    # To take it back would be a privilege.
    assert set_to == [19]
