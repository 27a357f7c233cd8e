"""
Logins that take turns, client by client: one that begins many waits for itself alone.

It is for what nobody can be told by before it was checked.  A client has a quarter of the
threads that check strangers' logins, and of the logins that may wait for them.
"""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorFromThreads

from socks5d.auth.blocking import in_login_thread
from socks5d.auth.undecided import TooManyLogins
from socks5d.limits.keys import Prefixes
from socks5d.limits.shares import Shares
from socks5d.model import Client
from socks5d.parameters import Limits

T = TypeVar("T")

#: Which part of the threads, and of the places, is one client's.
PART = 4


class Turns:
    """One turn after the other; those of different clients side by side."""

    def __init__(self, reactor: IReactorFromThreads, limits: Limits) -> None:
        """
        @param reactor: in whose threads logins are checked.
        @param limits: C{logins} and C{login_threads}, and what tells clients apart; one
            on a UNIX socket has no address, and they are one client together.
        """
        self._reactor = reactor
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """
        @param limits: what holds for those that come from now on.
        """
        self._clients = Prefixes(limits.client_ipv4, limits.client_ipv6)
        self._places = Shares(max(limits.logins // PART, 1))
        self._turns = Shares(max(limits.login_threads // PART, 1))

    async def run(self, client: Client, job: Callable[[], T]) -> T:
        """
        @param client: whose login it is.
        @param job: is called in a thread.
        @return: what it gives; what it raises is raised.
        @raise TooManyLogins: when as many of this client, or of all, wait as may.
        """
        places, turns = self._places, self._turns
        key = "" if client.address is None else self._clients.key(client.address)
        if not places.take(key):
            raise TooManyLogins("too many logins of this client at once")
        try:
            await turns.wait(key)
        except CancelledError:
            places.give_back(key)
            raise

        def over() -> None:
            places.give_back(key)
            turns.give_back(key)

        turn = _Turn(job, self._reactor, over)
        try:
            return await in_login_thread(turn, self._reactor)
        finally:
            turn.leave()


class _Turn(Generic[T]):
    """A job that nobody may wait for any more, and that is over when it ends all the same."""

    def __init__(
        self, job: Callable[[], T], reactor: IReactorFromThreads, over: Callable[[], None]
    ) -> None:
        self._job = job
        self._reactor = reactor
        self._over = over
        self._lock = Lock()
        self._runs = self._left = False

    def __call__(self) -> T:
        """In a thread."""
        with self._lock:
            if self._left:
                raise CancelledError
            self._runs = True
        try:
            return self._job()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._runs = False
            left = self._left
        if left:
            self._reactor.callFromThread(self._over)

    def leave(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._left = True
            runs = self._runs
        if not runs:
            self._over()


_of: WeakKeyDictionary[IReactorFromThreads, Turns] = WeakKeyDictionary()


def login_turns(reactor: IReactorFromThreads) -> Turns:
    """
    @return: the turns of all logins on a reactor; within what L{Limits} has by default,
        until somebody says otherwise.
    """
    found = _of.get(reactor)
    if found is None:
        found = _of[reactor] = Turns(reactor, Limits())
    return found
