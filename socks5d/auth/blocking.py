"""
Logins that take their turns where there is not room for all at once: in the threads where
hashing, PAM and Kerberos' files block, and at the connections to a directory.

Nobody who begins many keeps others waiting: turns go from one user to the next, or of those
whom nobody knows yet from one network to the next, and in it from one client.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from socks5d.auth.undecided import TooManyLogins
from socks5d.model import Client
from socks5d.parameters import Limits
from socks5d.threads import Overloaded, Threads

T = TypeVar("T")

#: By how much the threads leave the processor to what serves those who are let in.
NICE = 10
#: Which part of the threads is one user's, or one client's.
PART = 2


class Login:
    """
    One that is being checked, as those know it who check it.

    @ivar client: whose it is; None where nobody says.
    @ivar key: what it takes turns by (L{Rounds<socks5d.rounds.Rounds>}): of somebody known
        the name, of others the networks of the client and the client.
    @ivar known: whether it is of somebody who was let in lately.
    @ivar waits: whether it waits for its turn, so that nobody has begun with it.
    @ivar offered: whether the password was given to whoever knows it, as far as it is known:
        it is where nobody says that it was not.
    """

    def __init__(
        self, client: Client | None = None, key: Hashable = "", *, known: bool = False
    ) -> None:
        self.client = client
        self.key = key
        self.known = known
        self.waits = False
        self.offered = True
        self._began = False

    def withhold(self) -> None:
        """Whoever knows will be given the password later, which L{offer} says."""
        self.offered = False

    def offer(self) -> None:
        """Whoever knows is given it, or what stands for it."""
        self.offered = True

    @property
    def looked_at(self) -> bool:
        """Whether somebody may know by now whether it is right."""
        return self.offered and not self.waits

    def wait(self) -> None:
        """It waits for a turn; whether that is the first is known here."""
        self.waits = not self._began

    def begin(self) -> None:
        """Somebody begins with it; may be called in any thread."""
        self._began = True
        self.waits = False


_current: ContextVar[Login | None] = ContextVar("login", default=None)


@contextmanager
def checking(login: Login) -> Iterator[None]:
    """Checks that are begun within are this login's."""
    token = _current.set(login)
    try:
        yield
    finally:
        _current.reset(token)


def current_login() -> Login:
    """
    @return: the login whose check begins now; a stranger's where nobody said.
    """
    return _current.get() or Login()


class LoginThreads:
    """
    @ivar known: for those who were let in lately.
    @ivar strangers: for everybody else.  These leave the processor to the others.
    """

    def __init__(self, reactor: IReactorFromThreads, *, threads: int, jobs: int) -> None:
        """See L{limit}."""
        self.known = Threads(reactor, "socks5d-login", threads=threads, jobs=jobs, part=PART)
        self.strangers = Threads(
            reactor, "socks5d-try", threads=threads, jobs=jobs, part=PART, nice=NICE
        )

    def limit(self, *, threads: int, jobs: int) -> None:
        """
        @param threads: checks of each kind at once.
        @param jobs: checks of each kind that run or wait for it.
        """
        for each in (self.known, self.strangers):
            each.limit(threads=threads, jobs=jobs)


_of: WeakKeyDictionary[IReactorFromThreads, LoginThreads] = WeakKeyDictionary()


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


def in_login_thread(job: Callable[[], T], reactor: Any = None) -> Deferred[T]:
    """
    Check a login off the reactor's thread, when its turn comes.

    @param job: is called in a thread.
    @param reactor: whose threads; the global one's by default.
    @return: fires with what C{job} gives, and fails with what it raises, or with
        L{TooManyLogins}.  Cancelling it leaves a job that runs to itself.
    """
    if reactor is None:
        from twisted.internet import reactor
    threads = login_threads(reactor)
    login = current_login()

    def begin() -> T:
        login.begin()
        return job()

    login.wait()
    mine = threads.known if login.known else threads.strangers
    return mine.run(begin, login.key).addErrback(_too_many)


def _too_many(failure: Failure) -> NoReturn:
    if failure.check(Overloaded):
        raise TooManyLogins("too many logins at once")
    failure.raiseException()
