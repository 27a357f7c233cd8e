"""What signals do to a process that serves."""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from twisted.internet.error import ReactorNotRunning


def end_in_order(reactor: Any) -> None:
    """
    Make SIGTERM end the process with status 0 once everything is over.

    Twisted stops the reactor too, but then has the process die of the signal.  One
    that comes before the reactor runs is held back until then.

    @param reactor: one that runs, for it sets its own handlers when it starts.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            reactor.callFromThread(partial(_stop, reactor))

    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _stop(reactor: Any) -> None:
    # Somebody else may have done so: who presses Ctrl-C tells all processes at once.
    with suppress(ReactorNotRunning):
        reactor.stop()


def fail_in_order(reactor: Any) -> None:
    """
    End the process with status 1 once everything is over.

    Twisted would end it with 0, as if that were what somebody wanted.
    """
    atexit.register(_exit_with_failure)
    reactor.stop()


def _exit_with_failure() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)


def on_hang_up(reactor: Any, call: Callable[[], None]) -> None:
    """
    One that was blocked until now counts.

    @param call: is called by the reactor after each SIGHUP.
    """

    def hang_up(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(call)

    signal.signal(signal.SIGHUP, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
