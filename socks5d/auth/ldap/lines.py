"""
The connections that logins share.

A login has a line to itself: one connection that searches, bound as the account for it, and
one on which users bind, which has their rights and never searches.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from socks5d.auth.blocking import Login, current_login
from socks5d.auth.ldap.connecting import Connect
from socks5d.auth.ldap.connection import Connection
from socks5d.auth.ldap.failures import ConnectionEnded
from socks5d.auth.undecided import TooManyLogins
from socks5d.rounds import Rounds

T = TypeVar("T")

#: One line of so many is for those who were let in lately, and one for everybody else.
_SHARE: Final = 4
#: Which part of the lines is one user's, or one client's.
_PART: Final = 2


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
    @ivar login: whose it is now.
    """

    def __init__(self, searching: Connect, binding: Connect) -> None:
        self.searches = Kept(searching)
        self.binds = Kept(binding)
        self.login = Login()
        self.unused: IDelayedCall | None = None

    def close(self) -> None:
        """End its connections."""
        self.searches.close()
        self.binds.close()


class _Kind:
    """
    Logins of those who were let in lately, or of the others.

    @ivar taken: lines that they have.
    @ivar waiting: those that wait for one.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: Rounds[_Turn] = Rounds()


class _Turn(NamedTuple):
    login: Login
    line: Deferred[Line]


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
        @param most: lines.  Of four one is for those who were let in lately, and one for the
            others, whom those can keep waiting no more than these can them.  One user, or one
            client, has half of them at most.
        @param waiting: logins of the ones, and of the others, that wait for one; one more is
            refused, or where many are one user's, or one client's, the last of those.
        @param idle: for how long an unused line keeps its connections, in seconds.
        """
        self._clock = clock
        self._make = make
        self._most = most
        self._most_of_kind = most - most // _SHARE
        self._most_of_key = max(most // _PART, 1)
        self._waiting = waiting
        self._idle = idle
        self._free: list[Line] = []
        self._known = _Kind()
        self._strangers = _Kind()
        self._of_keys: Counter[Hashable] = Counter()
        self._serving = False

    @property
    def taken(self) -> int:
        """Lines that somebody has."""
        return self._known.taken + self._strangers.taken

    async def take(self) -> Line:
        """
        @return: a line that must be given back.
        @raise TooManyLogins: when as many wait as may.
        """
        login = current_login()
        kind = self._kind(login)
        if self._has_one_for(kind) and self._may_have_one(login.key):
            return self._one(login)
        dropped = None
        if len(kind.waiting) >= self._waiting:
            dropped = kind.waiting.displaced_by(login.key)
            if dropped is None:
                raise _too_many()
        turn = _Turn(login, Deferred(lambda _: kind.waiting.discard(login.key, turn)))
        kind.waiting.add(login.key, turn)
        login.wait()
        if dropped is not None:
            dropped.line.errback(_too_many())
        return await turn.line

    def _kind(self, login: Login) -> _Kind:
        return self._known if login.known else self._strangers

    def _has_one_for(self, kind: _Kind) -> bool:
        return self.taken < self._most and kind.taken < self._most_of_kind

    def _may_have_one(self, key: Hashable) -> bool:
        # Where nobody says whose logins they are, they are all sorts of people's.
        return not key or self._of_keys[key] < self._most_of_key

    def _one(self, login: Login) -> Line:
        self._kind(login).taken += 1
        self._of_keys[login.key] += 1
        login.begin()
        # The one used last, so that those that are not needed grow old.
        line = self._free.pop() if self._free else self._make()
        if line.unused is not None:
            line.unused.cancel()
            line.unused = None
        line.login = login
        return line

    def give_back(self, line: Line) -> None:
        """To whose turn it is, if anybody may have it."""
        login, line.login = line.login, Login()
        self._kind(login).taken -= 1
        self._of_keys[login.key] -= 1
        if not self._of_keys[login.key]:
            del self._of_keys[login.key]
        self._free.append(line)
        line.unused = self._clock.callLater(self._idle, self._forget, line)
        # One that is over at once gives its line back within this.
        if not self._serving:
            self._serving = True
            # Where there are too few for that, they go from the ones to the others in turn.
            known_first = self._most >= _SHARE or not login.known
            while (turn := self._next(known_first=known_first)) is not None:
                turn.line.callback(self._one(turn.login))
            self._serving = False

    def _next(self, *, known_first: bool) -> _Turn | None:
        kinds = (self._known, self._strangers)
        for kind in kinds if known_first else kinds[::-1]:
            turn = kind.waiting.next(self._may_have_one) if self._has_one_for(kind) else None
            if turn is not None:
                return turn[1]
        return None

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
