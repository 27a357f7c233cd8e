"""
Passwords cannot be guessed fast: attempts take turns, by client and by name.

A client waits for what it has failed at.  A name's pauses are short, for it is not its owner
who fails: many clients together cannot try it fast.  Those who have failed for a name come
behind those who have not, so that each of them can be in its owner's way once.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from hashlib import blake2b
from unicodedata import category, normalize

from twisted.internet.interfaces import IReactorTime

from socks5d.auth.failures import FORGET, KEYS, LONGEST_PAUSE, Failures
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

#: What is nothing in a name, beside the characters that only control (RFC 4518 section 2.2).
_NOTHING = frozenset("\u034f\u1806\u180b\u180c\u180d\ufffc") | set(map(chr, range(0xFE00, 0xFE10)))
_SPACES = frozenset("\t\n\v\f\r\x85")


class NotChecked(Exception):
    """An attempt is refused without being checked.  The text says why."""


class Attempt:
    """
    @ivar failed: whether it counts as a guess: somebody looked at it, and did not say that
        it is right.
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
        self._failed = _Pairs()
        self._clock = clock
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
        who, whose = self.clients.of(client), name_key(name)
        pair = who, whose
        last = self._failed.has(pair, self._clock.seconds())
        try:
            if not who:
                async with _turn(self._names, whose, who, last, attempt, "for this name"):
                    yield attempt
                return
            async with (
                _turn(self._clients, who, whose, last, attempt, "from this client"),
                _turn(self._names, whose, who, last, attempt, "for this name"),
            ):
                yield attempt
        finally:
            if attempt.failed:
                self._failed.add(pair, self._clock.seconds())


@asynccontextmanager
async def _turn(
    failures: Failures, key: Hashable, by: Hashable, last: bool, attempt: Attempt, what: str
) -> AsyncIterator[None]:
    try:
        await failures.take(key, by, last=last)
    except DeadlinePassed:
        why = "failures" if failures.failed(key) else "logins at once"
        raise NotChecked(f"too many {why} {what}, not checked") from None
    try:
        yield
    finally:
        failures.give_back(key, failed=attempt.failed)


class _Pairs:
    """Which clients have failed for which names lately."""

    def __init__(self) -> None:
        #: When they did, in that order.
        self._when: dict[Hashable, float] = {}

    def add(self, pair: Hashable, now: float) -> None:
        self._when.pop(pair, None)
        self._when[pair] = now
        if len(self._when) > KEYS:
            del self._when[next(iter(self._when))]

    def has(self, pair: Hashable, now: float) -> bool:
        when = self._when.get(pair)
        return when is not None and now - when < FORGET


def name_key(name: bytes) -> bytes:
    """
    @return: what tells names apart where a directory may take some for the same:
        without regard to case, to the form of its characters, to those that nobody sees,
        and to spaces around and between its words (RFC 4518).  A digest, for a name can
        grow by its form eighteenfold.
    """
    text = "".join(filter(_is_something, name.decode("utf-8", "surrogateescape")))
    text = normalize("NFKC", text).casefold()
    # To fold can make what has another form once more.
    text = " ".join(normalize("NFKC", text).split())
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _is_something(character: str) -> bool:
    if category(character) in ("Cc", "Cf"):
        return character in _SPACES
    return character not in _NOTHING
