"""
Saying who is over a limit: one line when it begins, then it is counted.

How many there were is said once a minute, and at the end, in a line for each; who has not
been over the limit for a minute is forgotten.
"""

from typing import Final

from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.logger import Logger

#: How often counts are said, in seconds.
INTERVAL: Final = 60.0
#: Lines that are told apart; all beyond are one.
LINES: Final = 64
OTHERS: Final = "limit: more clients and identities than are told apart here"


class Excesses:
    """Says it in a log."""

    def __init__(self, clock: IReactorTime, log: Logger) -> None:
        self._clock = clock
        self._log = log
        #: How many there were since the last line.
        self._counts: dict[str, int] = {}
        self._waits = False
        self._told = False

    def tell(self, what: str) -> None:
        """
        @param what: which limit, and of whom.
        """
        if what not in self._counts and len(self._counts) >= LINES:
            what = OTHERS
        if what in self._counts:
            self._counts[what] += 1
            return
        self._counts[what] = 0
        self._log.warn("{what}: over it", what=what)
        self._wait()
        if not self._told and IReactorCore.providedBy(self._clock):
            self._told = True
            self._clock.addSystemEventTrigger("during", "shutdown", self._say)

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._clock.callLater(INTERVAL, self._say)

    def _say(self) -> None:
        self._waits = False
        counts, self._counts = self._counts, {}
        for what, count in counts.items():
            if count:
                self._counts[what] = 0
                self._log.warn("{what}: over it {count} times more", what=what, count=count)
        if self._counts:
            self._wait()
