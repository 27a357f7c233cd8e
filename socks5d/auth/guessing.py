"""
Passwords cannot be guessed fast: attempts take turns, by client and by name.

A client waits for what it has failed at.  A name's pauses are short, for it is not its owner
who fails: many clients together cannot try it fast, and none of them can keep its owner out.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from hashlib import blake2b
from unicodedata import normalize

from twisted.internet.interfaces import IReactorTime

from socks5d.auth.failures import LONGEST_PAUSE, Failures
from socks5d.auth.logins import Logins
from socks5d.bounded import DeadlinePassed
from socks5d.limits.keys import Prefixes
from socks5d.model import Client
from socks5d.parameters import Limits

#: How much of the time of a login may be spent waiting for its turn.
PATIENCE = 0.25
#: The longest pause of a name, in seconds; and of the time that somebody may wait for it.
NAME_PAUSE = 1.0
_OF_PATIENCE = 0.8


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
    """
    What became of logins lately: what failed, of each client and for each name; and who was
    let in.

    @ivar logins: those who were let in, who need not wait.
    @ivar clients: how much of an address tells clients apart.
    """

    def __init__(self, clock: IReactorTime, limits: Limits, patience: float) -> None:
        """
        @param limits: C{failures} of each without a pause, and what tells clients apart.
        @param patience: how long an attempt may wait for its turn in all, in seconds.
        """
        self.logins = Logins(clock)
        self._clients = Failures(clock)
        self._names = Failures(clock)
        self.limit(limits, patience)

    def limit(self, limits: Limits, patience: float) -> None:
        """See L{__init__}.  What has failed is not forgotten."""
        self.clients = Prefixes(limits.client_ipv4, limits.client_ipv6)
        each = patience / 2
        self._clients.limit(limits.failures, each, LONGEST_PAUSE)
        self._names.limit(limits.failures, each, min(NAME_PAUSE, each * _OF_PATIENCE))

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
        key = self.clients.of(client)
        if not key:
            async with _turn(self._names, name_key(name), attempt, "for this name"):
                attempt.failed = True
                yield attempt
            return
        async with (
            _turn(self._clients, key, attempt, "from this client"),
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


def name_key(name: bytes) -> bytes:
    """
    @return: what tells names apart where a directory may take some for the same:
        without regard to case, to the form of its characters, and to spaces around and
        between its words.  A digest, for a name can grow by its form eighteenfold.
    """
    text = normalize("NFKC", name.decode("utf-8", "surrogateescape")).casefold()
    # To fold can make what has another form once more.
    text = " ".join(normalize("NFKC", text).split())
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
