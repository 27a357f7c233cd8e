"""
Passwords cannot be guessed fast: attempts take turns, by client and by name.

A client waits for what it has failed at.  A name's pauses are short, for it is not its owner
who fails: many clients together cannot try it fast.  Whoever fails for a name again and again
has a worse chance of its turns than who does not, and all of a wide network together have that
of one: so its owner has it, while many guess, in the time in which few networks would have had
theirs.  From where it was let in lately it does not wait at all (L{socks5d.auth.logins}).
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import blake2b
from unicodedata import category, normalize

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from socks5d.auth.failures import FORGET, KEYS, LONGEST_PAUSE, Failures, Path
from socks5d.auth.logins import Logins
from socks5d.bounded import DeadlinePassed
from socks5d.limits.keys import prefixes
from socks5d.model import Client
from socks5d.parameters import Limits

#: How much of the time of a login may be spent waiting for each of its two turns; and how much
#: where nobody has failed, so that one only waits for others to be checked.
PATIENCE = 0.125
CALM = 0.4
#: The longest pause of a name, in seconds; and of the time that somebody may wait for it.
NAME_PAUSE = 1.0
_OF_PATIENCE = 0.8
#: The least chance of a turn that who fails for a name again and again has, of that of others.
_LEAST = 4.0**-4

#: What is nothing in a name, beside the characters that only control (RFC 4518 section 2.2).
_NOTHING = frozenset("\u034f\u1806\u180b\u180c\u180d\ufffc") | set(map(chr, range(0xFE00, 0xFE10)))
#: Of katakana.
_HIRAGANA = {kana: kana - 0x60 for kana in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}
_SPACES = frozenset("\t\n\v\f\r\x85")


class NotChecked(Exception):
    """An attempt is refused without being checked.  The text says why."""


class Attempt:
    """
    @ivar failed: whether it counts as a guess: somebody looked at it, and did not say that
        it is right.
    @ivar right: whether somebody did.
    """

    def __init__(self) -> None:
        self.failed = False
        self.right = False


class Guessing:
    """
    What became of logins lately: what failed, of each client and for each name; and who was
    let in.

    @ivar logins: those who were let in, who need not wait.
    @ivar clients: how much of an address tells clients apart.
    """

    def __init__(self, clock: IReactorTime, limits: Limits, seconds: float) -> None:
        """
        @param limits: C{failures} of each without a pause, and what tells clients apart.
        @param seconds: how long a login may take where it may take the least.
        """
        self.logins = Logins(clock)
        self._clients = Failures(clock)
        self._names = Failures(clock)
        self._failed = _Pairs()
        #: Who had both turns, and left before anybody looked.
        self._left = _Pairs()
        self._clock = clock
        self.limit(limits, seconds)

    def limit(self, limits: Limits, seconds: float) -> None:
        """See L{__init__}.  What has failed is not forgotten."""
        self.clients = prefixes(limits)
        self._clients.limit(limits.failures, LONGEST_PAUSE)
        longest = min(NAME_PAUSE, seconds * PATIENCE * _OF_PATIENCE)
        self._names.limit(limits.failures, longest)

    @asynccontextmanager
    async def attempt(self, client: Client, name: bytes, seconds: float) -> AsyncIterator[Attempt]:
        """
        Wait for the client's turn and for the name's.

        @param client: who tries.  One on a UNIX socket has no address; its turns are
            its name's alone.
        @param name: whose password is tried.
        @param seconds: how long the login may take.
        @return: the attempt, which is to say what came of it.
        @raise NotChecked: when it would have to wait for too long.
        """
        attempt = Attempt()
        path, whose = self.clients.path(client), name_key(name)
        who = path[-1]
        pair = who, whose
        # Of those without an address there may be many, who are one.
        weight = self._weight(pair) if who else 1.0
        turn = partial(_turn, attempt=attempt, seconds=seconds, weight=weight)
        begun = left = False
        try:
            async with AsyncExitStack() as stack:
                if who:
                    turns = turn(self._clients, who, (whose,), what="from this client")
                    await stack.enter_async_context(turns)
                turns = turn(self._names, whose, path, what="for this name")
                await stack.enter_async_context(turns)
                begun = True
                yield attempt
        except CancelledError:
            # If it held the turns, though only for somebody to begin, it has a worse chance.
            left = begun
            raise
        finally:
            if attempt.right:
                self._failed.discard(pair)
                self._left.discard(pair)
            elif attempt.failed:
                self._failed.add(pair, self._clock.seconds())
            elif left:
                self._left.add(pair, self._clock.seconds())

    def _weight(self, pair: Hashable) -> float:
        """
        @return: the chance of its turns: once is not held against anybody, and from the second
            time on it is a quarter of that before.
        """
        now = self._clock.seconds()
        times = self._failed.times(pair, now) + self._left.times(pair, now)
        return max(min(4.0 ** (1 - times), 1.0), _LEAST)


@asynccontextmanager
async def _turn(
    failures: Failures,
    key: Hashable,
    by: Path,
    *,
    attempt: Attempt,
    seconds: float,
    weight: float,
    what: str,
) -> AsyncIterator[None]:
    try:
        await failures.take(key, by, seconds * PATIENCE, seconds * CALM, weight)
    except DeadlinePassed:
        why = "failures" if failures.failed(key) else "logins at once"
        raise NotChecked(f"too many {why} {what}, not checked") from None
    try:
        yield
    finally:
        failures.give_back(key, failed=attempt.failed)


class _Pairs:
    """Which clients did something to which names lately, and how often."""

    def __init__(self) -> None:
        #: How often they did, and when last, in that order.
        self._pairs: dict[Hashable, tuple[int, float]] = {}

    def add(self, pair: Hashable, now: float) -> None:
        times = self.times(pair, now)
        self._pairs.pop(pair, None)
        self._pairs[pair] = times + 1, now
        if len(self._pairs) > KEYS:
            del self._pairs[next(iter(self._pairs))]

    def discard(self, pair: Hashable) -> None:
        self._pairs.pop(pair, None)

    def times(self, pair: Hashable, now: float) -> int:
        times, when = self._pairs.get(pair, (0, 0.0))
        return times if 0 <= now - when < FORGET else 0


def name_key(name: bytes) -> bytes:
    """
    @return: what tells names apart where a directory may take some for the same:
        without regard to case, to the form of its characters, to those that nobody sees,
        and to spaces around and between its words (RFC 4518), nor to marks and to the kind of
        kana, as Active Directory does.  A digest, for a name can grow by its form eighteenfold.
    """
    text = "".join(filter(_is_something, name.decode("utf-8", "surrogateescape")))
    text = normalize("NFKD", text).casefold()
    # To fold can make what has another form once more.
    text = normalize("NFKD", text).translate(_HIRAGANA)
    text = "".join(each for each in text if category(each) not in ("Mn", "Me"))
    text = " ".join(text.split())
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _is_something(character: str) -> bool:
    if category(character) in ("Cc", "Cf"):
        return character in _SPACES
    return character not in _NOTHING
