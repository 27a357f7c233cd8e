"""Work that blocks, off the reactor's thread, in threads whose number and queue are bounded."""

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from socks5d.rounds import Rounds

T = TypeVar("T")

_log = Logger()
_NICEST = 19


class Overloaded(Exception):
    """As much waits for a thread as may."""


class _Daemon(threading.Thread):
    """
    One that a call which hangs (in a DNS server, in PAM) cannot make the process wait for
    when it ends.
    """

    def __init__(self, nice: int, *args: Any, **options: Any) -> None:
        super().__init__(*args, daemon=True, **options)
        self._nice = nice

    def run(self) -> None:
        # Elsewhere than on Linux it is not of a thread, but of the process.
        if self._nice and sys.platform == "linux":
            _leave_processor(threading.get_native_id(), self._nice)
        super().run()


def _leave_processor(thread: int, nice: int) -> None:
    try:
        own = os.getpriority(os.PRIO_PROCESS, thread)
        # What the process has left to others already stays: to take it back is a privilege.
        os.setpriority(os.PRIO_PROCESS, thread, min(own + nice, _NICEST))
    except OSError as error:
        # A container may forbid even that.  The work is to be done nevertheless.
        _log.debug("a thread keeps its niceness: {problem}", problem=error.strerror)


class _Job(NamedTuple):
    key: Hashable
    call: Callable[[], Any]
    answer: Deferred[Any]


class Threads:
    """
    Threads of one's own: the reactor's pool, which other components share, cannot be
    filled by what takes for ever.

    Jobs have keys, which take turns (L{Rounds}).  Where as many wait as may, one of a key that
    has fewer takes the place of the last of those that have most.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        name: str,
        *,
        threads: int,
        jobs: int,
        nice: int = 0,
        part: int = 1,
    ) -> None:
        """
        @param name: what the threads are called.
        @param threads: jobs that run at once.
        @param jobs: jobs that run or wait for it; one more is refused.
        @param nice: by how much the threads leave the processor to others, 0 to 19;
            Linux only.
        @param part: of how many parts of the threads a key may have one; at least one thread.
        """
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)
        self._pool.threadFactory = partial(_Daemon, nice)  # type: ignore[assignment]
        self._threads = threads
        self._limit = jobs
        self._part = part
        self._started = False
        self._running: Counter[Hashable] = Counter()
        self._waiting: Rounds[_Job] = Rounds()

    @property
    def pending(self) -> int:
        """Jobs that run or wait for it."""
        return self._running.total() + len(self._waiting)

    def limit(self, *, threads: int, jobs: int) -> None:
        """See L{__init__}."""
        self._pool.adjustPoolsize(0, threads)
        self._threads = threads
        self._limit = jobs
        self._begin_more()

    def run(self, call: Callable[[], T], key: Hashable = "") -> Deferred[T]:
        """
        @param call: is called in a thread.
        @param key: whose job it is.
        @return: fires with what it gives, or fails with what it raises, or with
            L{Overloaded}.  A job that is cancelled before its turn is not called; one
            that runs cannot be stopped, and counts until it ends by itself.
        """
        dropped = None
        if self.pending >= self._limit:
            dropped = self._waiting.displaced_by(key)
            if dropped is None:
                return fail(_overloaded())
        if not self._started:
            self._started = True
            self._pool.start()
            if IReactorCore.providedBy(self._reactor):
                self._reactor.addSystemEventTrigger("after", "shutdown", self.stop)
        # What the caller cannot reach, so that it counts until it ends.
        job = _Job(key, call, Deferred(lambda _: self._waiting.discard(key, job)))
        self._waiting.add(key, job)
        if dropped is not None:
            dropped.answer.errback(_overloaded())
        self._begin_more()
        return job.answer

    def _may_run(self, key: Hashable) -> bool:
        return self._running[key] < max(self._threads // self._part, 1)

    def _begin_more(self) -> None:
        while self._running.total() < self._threads:
            turn = self._waiting.next(self._may_run)
            if turn is None:
                return
            key, job = turn
            self._running[key] += 1
            deferToThreadPool(self._reactor, self._pool, job.call).addBoth(self._done, job)

    def _done(self, result: object, job: _Job) -> None:
        self._running[job.key] -= 1
        if not self._running[job.key]:
            del self._running[job.key]
        self._begin_more()
        if job.answer.called:
            # It was cancelled while it ran.
            return
        if isinstance(result, Failure):
            job.answer.errback(result)
        else:
            job.answer.callback(result)

    def stop(self) -> None:
        """End the threads, unless some are still at work: those end with the process."""
        if self._started and not self.pending:
            self._pool.stop()


def _overloaded() -> Overloaded:
    return Overloaded("too much waits for a thread")
