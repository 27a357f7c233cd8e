"""Checks of logins that block: hashing, PAM, Kerberos' files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from socks5d.parameters import Limits
from socks5d.threads import Overloaded, Threads

T = TypeVar("T")

#: By how much the threads leave the processor to what serves those who are let in.
NICE = 10


class TooManyLogins(UnauthorizedLogin):
    """
    As many logins wait to be checked as may.  To an application of C{twisted.cred} it is
    one that was not accepted.
    """


_of: WeakKeyDictionary[IReactorFromThreads, Threads] = WeakKeyDictionary()
_first: ContextVar[bool] = ContextVar("first", default=False)


def login_threads(reactor: IReactorFromThreads) -> Threads:
    """
    @return: the threads in which all logins on a reactor are checked; as many, and as
        many logins, as L{Limits} has by default, until somebody says otherwise.
    """
    found = _of.get(reactor)
    if found is None:
        limits = Limits()
        found = Threads(
            reactor,
            "socks5d-login",
            threads=limits.login_threads,
            jobs=limits.logins,
            nice=NICE,
        )
        _of[reactor] = found
    return found


@contextmanager
def going_first() -> Iterator[None]:
    """Logins whose check is begun within go before the others that wait for a thread."""
    token = _first.set(True)
    try:
        yield
    finally:
        _first.reset(token)


def goes_first() -> bool:
    """
    @return: whether a login whose check begins now goes before others.
    """
    return _first.get()


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
    return login_threads(reactor).run(job, first=goes_first()).addErrback(_too_many)


def _too_many(failure: Failure) -> NoReturn:
    if failure.check(Overloaded):
        raise TooManyLogins("too many logins at once")
    failure.raiseException()
