"""Checks of logins that block: hashing, PAM, Kerberos' files."""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from socks5d.threads import Overloaded, Threads

T = TypeVar("T")

#: Checks that run at once where nobody set a limit, and those that run or wait for it.
THREADS = 4
LOGINS = 256


class TooManyLogins(UnauthorizedLogin):
    """
    As many logins wait to be checked as may.  To an application of C{twisted.cred} it is
    one that was not accepted.
    """


_of: WeakKeyDictionary[IReactorFromThreads, Threads] = WeakKeyDictionary()


def login_threads(reactor: IReactorFromThreads) -> Threads:
    """
    @return: the threads in which all logins on a reactor are checked.
    """
    found = _of.get(reactor)
    if found is None:
        found = Threads(reactor, "socks5d-login", threads=THREADS, jobs=LOGINS)
        _of[reactor] = found
    return found


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
    return login_threads(reactor).run(job).addErrback(_too_many)


def _too_many(failure: Failure) -> NoReturn:
    if failure.check(Overloaded):
        raise TooManyLogins("too many logins at once")
    failure.raiseException()
