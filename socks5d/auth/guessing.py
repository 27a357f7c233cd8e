"""Passwords cannot be guessed fast: attempts take turns, by client and by name."""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from unicodedata import normalize

from twisted.internet.interfaces import IReactorTime

from socks5d.auth.failures import Failures
from socks5d.bounded import DeadlinePassed
from socks5d.model import Client, client_key

#: How much of the time of a login may be spent waiting for its turn.
PATIENCE = 0.25


class NotChecked(Exception):
    """An attempt is refused without being checked.  The text says why."""


class Attempt:
    """
    @ivar failed: whether somebody looked at it and found it wrong; once it has begun so it
        is until somebody says otherwise, for who leaves before the answer has not been right.
    """

    def __init__(self) -> None:
        self.failed = False


class Guessing:
    """What failed lately: of each client address (of IPv6: of a /64), and for each name."""

    def __init__(self, clock: IReactorTime, free: int, patience: float) -> None:
        """
        @param free: failures of each without a pause.
        @param patience: how long an attempt may wait for its turn in all, in seconds.
        """
        self._clients = Failures(clock, free, patience / 2)
        self._names = Failures(clock, free, patience / 2)

    def limit(self, free: int, patience: float) -> None:
        """See L{__init__}.  What has failed is not forgotten."""
        for each in (self._clients, self._names):
            each.limit(free, patience / 2)

    @asynccontextmanager
    async def attempt(self, client: Client, name: bytes) -> AsyncIterator[Attempt]:
        """
        Wait for the client's turn and for the name's.

        @param client: who tries.  One on a UNIX socket has no address; its turns are
            its name's alone.
        @param name: whose password is tried.
        @return: the attempt, in whose C{failed} to say what came of it.
        @raise NotChecked: when it would have to wait for too long.
        """
        attempt = Attempt()
        address = None if client.address is None else client_key(client.address)
        if address is None:
            async with _turn(self._names, name_key(name), attempt, "for this name"):
                attempt.failed = True
                yield attempt
            return
        async with (
            _turn(self._clients, address, attempt, "from this client"),
            _turn(self._names, name_key(name), attempt, "for this name"),
        ):
            attempt.failed = True
            yield attempt


@asynccontextmanager
async def _turn(
    failures: Failures, key: Hashable, attempt: Attempt, what: str
) -> AsyncIterator[None]:
    try:
        await failures.take(key)
    except DeadlinePassed:
        raise NotChecked(f"too many failures {what}, not checked") from None
    try:
        yield
    finally:
        failures.give_back(key, failed=attempt.failed)


def name_key(name: bytes) -> str:
    """
    @return: what tells names apart where a directory may take some for the same:
        without regard to case, to the form of its characters, and to spaces around and
        between its words.
    """
    text = normalize("NFKC", name.decode("utf-8", "surrogateescape")).casefold()
    # To fold can make what has another form once more.
    return " ".join(normalize("NFKC", text).split())
