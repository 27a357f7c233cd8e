"""What a SIGHUP asks for: settings are read anew, and one that is wrong changes nothing."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.config import Settings
from socks5d.escape import one_line
from socks5d.values import ConfigError, Item

#: Keys and values, as options and files give them; and what they make.
Read = Callable[[], tuple[Sequence[tuple[str, Item]], Settings]]


class Reloads:
    """One after the other: whoever asks while one is under way gets one more."""

    _log = Logger()

    def __init__(self, carry_out: Callable[[], Coroutine[Deferred[Any], Any, str]]) -> None:
        """
        @param carry_out: does it, and says what has changed; raises L{ConfigError}, or
            something else, when nothing has.
        """
        self._carry_out = carry_out
        self._asked = self._running = False

    def ask(self) -> None:
        """Have it done, now or after the one that is under way."""
        self._asked = True
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        while self._asked:
            self._asked = False
            try:
                changed = await self._carry_out()
            except ConfigError as error:
                for problem in error.problems:
                    self._log.error(
                        "socks5d: not reloaded: {problem}", problem=one_line(str(problem))
                    )
            except Exception:  # noqa: BLE001 (plugins are made anew)
                self._log.failure("socks5d: not reloaded: an error in the server", Failure())
            else:
                self._log.info("socks5d: reloaded: {changed}", changed=changed)
        self._running = False


def summary(stay: int, new: int, gone: int) -> str:
    """
    @return: which listeners a reload found, in words.
    """
    return f"of the listeners {stay} stay, {new} are new, {gone} are gone"
