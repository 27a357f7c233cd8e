"""Checks of logins that block: hashing, PAM, Kerberos' files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from socks5d.auth.undecided import TooManyLogins
from socks5d.parameters import Limits
from socks5d.threads import Overloaded, Threads

T = TypeVar("T")

#: By how much the threads leave the processor to what serves those who are let in.
NICE = 10


class LoginThreads:
    """
    @ivar known: for those who were let in lately.
    @ivar strangers: for everybody else.  These leave the processor to the others.
    """

    def __init__(self, reactor: IReactorFromThreads, *, threads: int, jobs: int) -> None:
        """See L{limit}."""
        self.known = Threads(reactor, "socks5d-login", threads=threads, jobs=jobs)
        self.strangers = Threads(reactor, "socks5d-try", threads=threads, jobs=jobs, nice=NICE)

    def limit(self, *, threads: int, jobs: int) -> None:
        """
        @param threads: checks of each kind at once.
        @param jobs: checks of each kind that run or wait for it.
        """
        for each in (self.known, self.strangers):
            each.limit(threads=threads, jobs=jobs)


_of: WeakKeyDictionary[IReactorFromThreads, LoginThreads] = WeakKeyDictionary()
_known: ContextVar[bool] = ContextVar("known", default=False)


def login_threads(reactor: IReactorFromThreads) -> LoginThreads:
    """
    @return: the threads in which all logins on a reactor are checked; as many, and as
        many logins, as L{Limits} has by default, until somebody says otherwise.
    """
    found = _of.get(reactor)
    if found is None:
        limits = Limits()
        found = LoginThreads(reactor, threads=limits.login_threads, jobs=limits.logins)
        _of[reactor] = found
    return found


@contextmanager
def of_known() -> Iterator[None]:
    """Logins whose check is begun within are of somebody who was let in lately."""
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


def is_known() -> bool:
    """
    @return: whether a login whose check begins now is of somebody who was let in lately.
    """
    return _known.get()


def in_login_thread(job: Callable[[], T], reactor: Any = None) -> Deferred[T]:
    """
    Check a login off the reactor's thread.

    @param job: is called in a thread.
    @param reactor: whose threads; the global one's by default.
    @return: fires with what C{job} gives, and fails with what it raises, or with
        L{TooManyLogins}.  Cancelling it leaves a job that runs to itself.
    """
    if reactor is None:
        from twisted.internet import reactor
    threads = login_threads(reactor)
    mine = threads.known if is_known() else threads.strangers
    return mine.run(job).addErrback(_too_many)


def _too_many(failure: Failure) -> NoReturn:
    if failure.check(Overloaded):
        raise TooManyLogins("too many logins at once")
    failure.raiseException()
