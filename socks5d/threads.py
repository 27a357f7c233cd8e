"""Work that blocks, off the reactor's thread, in threads whose number and queue are bounded."""

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class Overloaded(Exception):
    """As much waits for a thread as may."""


class _Daemons(ThreadPool):
    """
    Threads that a call which hangs (in a DNS server, in PAM) cannot make the process
    wait for when it ends.
    """

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]


class Threads:
    """
    Threads of one's own: the reactor's pool, which other components share, cannot be
    filled by what takes for ever.

    @ivar pending: jobs that run or wait for it.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str, *, threads: int, jobs: int) -> None:
        """
        @param name: what the threads are called.
        @param threads: jobs that run at once.
        @param jobs: jobs that run or wait for it; one more is refused.
        """
        self._reactor = reactor
        self._pool = _Daemons(minthreads=0, maxthreads=threads, name=name)
        self._limit = jobs
        self._started = False
        self.pending = 0

    def limit(self, *, threads: int, jobs: int) -> None:
        """See L{__init__}."""
        self._pool.adjustPoolsize(0, threads)
        self._limit = jobs

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        """
        @param job: is called in a thread.
        @return: fires with what it gives, or fails with what it raises, or with
            L{Overloaded}.  A job that is cancelled before its turn is not called; one
            that runs cannot be stopped, and counts until it ends by itself.
        """
        if self.pending >= self._limit:
            return fail(Overloaded("too much waits for a thread"))
        if not self._started:
            self._started = True
            self._pool.start()
            if IReactorCore.providedBy(self._reactor):
                self._reactor.addSystemEventTrigger("after", "shutdown", self.stop)
        self.pending += 1
        # What the caller cannot reach, so that it counts until it ends.
        answer: Deferred[T] = Deferred()

        def unless_cancelled() -> T:
            if answer.called:
                raise CancelledError
            return job()

        def done(result: T | Failure) -> None:
            self.pending -= 1
            # Where it was cancelled, a Deferred takes this one call and drops it.
            if isinstance(result, Failure):
                answer.errback(result)
            else:
                answer.callback(result)

        running = deferToThreadPool(self._reactor, self._pool, unless_cancelled)
        running.addBoth(done)
        return answer

    def stop(self) -> None:
        """End the threads, unless some are still at work: those end with the process."""
        if self._started and not self.pending:
            self._pool.stop()
