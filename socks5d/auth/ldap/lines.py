"""
The connections that logins share.

A login has a line to itself: one connection that searches, bound as the account for it, and
one on which users bind, which has their rights and never searches.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from socks5d.auth.blocking import current_login
from socks5d.auth.ldap.connecting import Connect
from socks5d.auth.ldap.connection import Connection
from socks5d.auth.ldap.failures import ConnectionEnded
from socks5d.auth.undecided import TooManyLogins
from socks5d.rounds import Rounds

T = TypeVar("T")

#: One line of so many is for those who were let in lately.
_SHARE: Final = 4


class Kept:
    """A connection that is kept between logins, and replaced when it has ended."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: Connection | None = None

    async def ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """
        @param question: is asked again, once, where a connection that was kept has died.
        @raise DirectoryError: when there is no answer.
        """
        kept = self._connection
        if kept is not None and not kept.ended:
            try:
                return await question(kept)
            except ConnectionEnded:
                self._connection = None
        self._connection = fresh = await self._connect()
        return await question(fresh)

    def close(self) -> None:
        """End it; another is made when it is needed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Line:
    """
    What a login has to itself.

    @ivar searches: for searches alone.
    @ivar binds: for binds alone.
    """

    def __init__(self, searching: Connect, binding: Connect) -> None:
        self.searches = Kept(searching)
        self.binds = Kept(binding)
        self.unused: IDelayedCall | None = None

    def close(self) -> None:
        """End its connections."""
        self.searches.close()
        self.binds.close()


class Lines:
    """
    As many lines as may be, and a queue for them, in which turns go from one user, or one
    client, to the next.
    """

    def __init__(
        self,
        clock: IReactorTime,
        make: Callable[[], Line],
        *,
        most: int,
        waiting: int,
        idle: float,
    ) -> None:
        """
        @param most: lines.  Of four one is for those who were let in lately, whom others
            cannot keep waiting.
        @param waiting: logins of them, and of others, that wait for one; one more is refused,
            or where many are one user's, or one client's, the last of those.
        @param idle: for how long an unused line keeps its connections, in seconds.
        """
        self._clock = clock
        self._make = make
        self._most = most
        self._waiting = waiting
        self._idle = idle
        self._free: list[Line] = []
        self._known: Rounds[Deferred[Line]] = Rounds()
        self._strangers: Rounds[Deferred[Line]] = Rounds()
        self.taken = 0

    async def take(self) -> Line:
        """
        @return: a line that must be given back.
        @raise TooManyLogins: when as many wait as may.
        """
        login = current_login()
        queue, most = self._strangers, self._most - self._most // _SHARE
        if login.known:
            queue, most = self._known, self._most
        if self.taken < most:
            login.begin()
            return self._one()
        dropped = None
        if len(queue) >= self._waiting:
            dropped = queue.displaced_by(login.key)
            if dropped is None:
                raise _too_many()
        turn: Deferred[Line] = Deferred(partial(queue.discard, login.key))
        queue.add(login.key, turn)
        if dropped is not None:
            dropped.errback(_too_many())
        login.wait()
        line = await turn
        login.begin()
        return line

    def _one(self) -> Line:
        self.taken += 1
        if not self._free:
            return self._make()
        # The one used last, so that those that are not needed grow old.
        line = self._free.pop()
        if line.unused is not None:
            line.unused.cancel()
            line.unused = None
        return line

    def give_back(self, line: Line) -> None:
        """To the login that has waited longest, if one may have it."""
        self.taken -= 1
        self._free.append(line)
        line.unused = self._clock.callLater(self._idle, self._forget, line)
        turn = self._known.next()
        if turn is None and self.taken < self._most - self._most // _SHARE:
            turn = self._strangers.next()
        if turn is not None:
            turn[1].callback(self._one())

    def close(self) -> None:
        """End the connections of those lines that no login has."""
        while self._free:
            line = self._free[-1]
            if line.unused is not None:
                line.unused.cancel()
            self._forget(line)

    def _forget(self, line: Line) -> None:
        line.unused = None
        self._free.remove(line)
        line.close()


def _too_many() -> TooManyLogins:
    return TooManyLogins("too many logins at once")
