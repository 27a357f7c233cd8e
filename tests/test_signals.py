"""What signals do to a process that serves."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.error import ReactorNotRunning

from socks5d import signals
from socks5d.signals import end_in_order, fail_in_order, on_hang_up
from tests.support.running import PATIENCE


class Reactor:
    """Notes what it is to do."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.stops = 0

    def callFromThread(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def stop(self) -> None:
        """Not called before the reactor does it itself."""
        if self.stops:
            raise ReactorNotRunning
        self.stops += 1


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Leaves this process's signals as they were."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_a_sigterm_stops_the_reactor_once_however_many_come() -> None:
    reactor = Reactor()
    end_in_order(reactor)
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
    (call,) = reactor.calls
    for _ in range(2):
        # Somebody else may stop it first.
        call()
    assert reactor.stops == 1


def test_a_sigterm_that_was_held_back_stops_the_reactor() -> None:
    reactor = Reactor()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    end_in_order(reactor)
    (call,) = reactor.calls
    call()
    assert reactor.stops == 1


def test_each_sighup_is_a_call_in_the_reactor() -> None:
    reactor, seen = Reactor(), []
    on_hang_up(reactor, lambda: seen.append(1))
    for _ in range(2):
        signal.raise_signal(signal.SIGHUP)
    assert seen == []
    for call in reactor.calls:
        call()
    assert seen == [1, 1]


# Failing.

_PROGRAM = """
from twisted.internet import reactor

from socks5d.signals import fail_in_order

reactor.addSystemEventTrigger("during", "shutdown", print, "everything is over")
reactor.callWhenRunning(fail_in_order, reactor)
reactor.run()
print("and behind it", flush=True)
"""


def test_a_process_that_fails_ends_with_status_1_once_everything_is_over() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["everything is over", "and behind it"]
    assert done.stderr == ""


class Stopped:
    """A reactor, and what is to be done when its process ends."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def register(self, *call: object) -> None:
        self.seen.append(call)

    def stop(self) -> None:
        self.seen.append("stop")


def test_the_status_is_settled_before_the_reactor_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Stopped()
    monkeypatch.setattr(signals, "atexit", stopped)
    fail_in_order(stopped)
    assert stopped.seen == [(signals._exit_with_failure,), "stop"]
