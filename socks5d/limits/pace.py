"""
One way of one session, and how much may go there; see L{socks5d.limits.flow}.
"""

from collections.abc import Callable, Sequence
from typing import Protocol as Shape


class IFlow(Shape):
    """What a pace asks of a flow."""

    def level(self, pace: "Pace") -> int:
        """
        @return: octets that may go now.
        """

    def spend(self, pace: "Pace", count: int) -> None:
        """
        @param count: octets that went.
        """

    def admits(self, pace: "Pace", count: int) -> bool:
        """
        @return: whether a datagram of so many octets may go; nothing is spent.
        """

    def wait(self, pace: "Pace") -> None:
        """Call L{Pace.turn} when something may go, for which it may be that nothing comes."""

    def leave(self, pace: "Pace") -> None:
        """It waits no more, and asks no more."""


def _nothing(why: str) -> None:
    """What is left to do when nothing goes any more."""


class Pace:
    """
    One way of one session.

    @ivar resume: called when octets may go again, after L{allowed} gave none; None where
        nothing waits.
    @ivar exhausted: called when nothing will go any more, with why.
    """

    __slots__ = ("__weakref__", "_flows", "_waits", "exhausted", "resume")

    def __init__(self, flows: Sequence[IFlow]) -> None:
        """
        @param flows: those that it is part of.
        """
        self._flows = tuple(flows)
        self._waits = False
        self.resume: Callable[[], None] | None = None
        self.exhausted: Callable[[str], object] = _nothing

    def allowed(self, most: int) -> int:
        """
        @param most: octets that could go.
        @return: those that may.  Where that is 0, C{resume} is called when it may be more.
        """
        if self._waits:
            return 0
        for flow in self._flows:
            level = flow.level(self)
            if level < most:
                if level <= 0:
                    self._waits = True
                    flow.wait(self)
                    return 0
                most = level
        return most

    def admits(self, count: int) -> bool:
        """
        @return: whether a datagram of so many octets may go, which are then spent.
        """
        for flow in self._flows:
            if not flow.admits(self, count):
                return False
        self.spend(count)
        return True

    def spend(self, count: int) -> None:
        """
        @param count: octets that went, more than were allowed too.
        """
        for flow in self._flows:
            flow.spend(self, count)

    def turn(self) -> None:
        """Something may go."""
        self._waits = False
        if self.resume is not None:
            self.resume()

    def exhaust(self, why: str) -> None:
        """
        Nothing will go any more.

        @param why: for the log.
        """
        self.exhausted(why)

    def stop(self) -> None:
        """Nothing goes any more."""
        self._waits = True
        self.resume = None
        self.exhausted = _nothing
        flows, self._flows = self._flows, ()
        for flow in flows:
            flow.leave(self)


#: From the client, and to it.
Paces = tuple[Pace, Pace]
