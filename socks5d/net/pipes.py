"""
Pipes for splice(2), which moves octets between sockets without copying them.

A pipe is held only while it holds octets, so that idle relays need none.  One that
cannot be had is no error: there is the copying way.
"""

import fcntl
import os
from typing import Final

#: Octets that a pipe should hold.  An unprivileged user has a limit for all pipes
#: (pipe-user-pages-soft), beyond which they hold less.
SIZE: Final = 1 << 20
available: Final = hasattr(os, "splice") and hasattr(fcntl, "F_SETPIPE_SZ")


class Pipe:
    """
    @ivar entry: the end that is written to.
    @ivar exit: the end that is read from.
    @ivar held: octets in it.
    """

    __slots__ = ("entry", "exit", "held")

    def __init__(self) -> None:
        """
        @raise OSError: when there is none to be had.
        """
        self.exit, self.entry = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        try:
            fcntl.fcntl(self.entry, fcntl.F_SETPIPE_SZ, SIZE)
        except OSError:
            # It stays as large as it is.
            self.held = 0

    def close(self) -> None:
        """Give its descriptors back; what it holds is gone."""
        os.close(self.entry)
        os.close(self.exit)


class Pipes:
    """
    Lends pipes.

    @ivar limit: how many there may be, each of two descriptors.  As many as an
        unprivileged user may have of full size are enough.
    @ivar lent: how many are out.
    """

    __slots__ = ("_kept", "lent", "limit")

    def __init__(self, limit: int) -> None:
        """
        @param limit: see above.
        """
        self.limit = limit
        self._kept: list[Pipe] = []
        self.lent = 0

    def lend(self) -> Pipe | None:
        """
        @return: an empty pipe; None when there is none to be had.
        """
        if self._kept:
            self.lent += 1
            return self._kept.pop()
        if self.lent >= self.limit:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """
        @param pipe: one that was lent; if it holds octets they are gone.
        """
        self.lent -= 1
        if pipe.held or len(self._kept) + self.lent >= self.limit:
            pipe.close()
        else:
            self._kept.append(pipe)

    def close(self) -> None:
        """Close those that are kept."""
        while self._kept:
            self._kept.pop().close()
