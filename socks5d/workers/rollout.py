"""The parent's part of a reload: listeners that it holds, and workers that are to get ready."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from socks5d.bounded import bounded
from socks5d.config import Listener, Settings
from socks5d.listening import kept, still_accepted
from socks5d.net.addresses import socket_address
from socks5d.values import ConfigError, Problems
from socks5d.workers.assignment import Orders
from socks5d.workers.held import HeldListener, hold
from socks5d.workers.worker import Worker

#: What a worker gets to get ready for other settings, in seconds.
PATIENCE: Final = 30.0
#: How what was asked of a worker fails when that has ended.
GONE: Final = (ConnectionDone, ProcessDone, ProcessTerminated)
#: How sockets cannot be sent to it.
CUT_OFF: Final = (BrokenPipeError, ConnectionResetError, ConnectionRefusedError)


def held_for(
    settings: Settings, now: Settings, listeners: Sequence[HeldListener], reactor: Any
) -> list[HeldListener]:
    """
    @param settings: those that are to hold.
    @param now: those that do.
    @param listeners: those that there are, in the order of its.
    @return: all listeners that there will be, of which some may be new.
    @raise ConfigError: for one that cannot listen, or would be an open proxy.
    """
    after = settings.listeners
    before = [each.endpoint for each in now.listeners]
    problems, new = Problems(), list[HeldListener]()
    made: list[HeldListener | None] = []
    for place, listener in zip(kept(before, [each.endpoint for each in after]), after, strict=True):
        if place is None:
            held = problems.within(_hold, listener, reactor, settings.workers)
            new += [held] if held is not None else []
        else:
            held = listeners[place]
            problems.within(still_accepted, listener, socket_address(held.getHost()))
        made.append(held)
    try:
        problems.complain()
    except ConfigError:
        release(new)
        raise
    return [each for each in made if each is not None]


def _hold(listener: Listener, reactor: Any, workers: int) -> HeldListener:
    try:
        return hold(listener, reactor, workers)
    except Exception as error:  # noqa: BLE001 (endpoint plugins raise what they like)
        raise ConfigError(f"listen {listener.endpoint!r}: {error}") from None


async def ready_for(
    workers: Mapping[int, Worker], orders: Orders, sockets: Sequence[int], reactor: Any
) -> list[Worker]:
    """
    Ask workers to get ready for other settings.

    @param workers: all that there are, by their numbers, whenever that is looked at.
    @param sockets: the descriptors of those that no worker has.
    @return: the workers that are ready, which are all that have not gone.
    @raise ConfigError: when one is not.
    """
    asked = [each for each in workers.values() if not each.left]
    for worker in asked:
        # One after the other: only so much may be under way to all of them together.
        await _hand_over(worker, workers, asked, sockets, reactor)
    asked = [each for each in asked if each.number in workers]
    answers = await DeferredList(
        [bounded(reactor, PATIENCE, each.prepare(orders)) for each in asked],
        consumeErrors=True,
    )
    staying = [
        (worker, answer)
        for worker, (ready, answer) in zip(asked, answers, strict=True)
        if worker.number in workers and (ready or not answer.check(*GONE))
    ]
    for worker, answer in staying:
        if isinstance(answer, Failure):
            raise _refused(worker, asked, answer.getErrorMessage())
    return [worker for worker, _ in staying]


async def _hand_over(
    worker: Worker,
    workers: Mapping[int, Worker],
    asked: Sequence[Worker],
    sockets: Sequence[int],
    reactor: Any,
) -> None:
    """
    @raise ConfigError: when a worker that is there does not get them.
    """
    try:
        handing = Deferred.fromCoroutine(worker.hand_over(sockets))
        await bounded(reactor, PATIENCE, handing)
    except CancelledError:
        raise
    except Exception as error:
        # One that has ended is not missed, and its end may be told of later.
        if worker.number in workers and not isinstance(error, (*GONE, *CUT_OFF)):
            what = error.strerror if isinstance(error, OSError) else str(error)
            raise _refused(worker, asked, f"the sockets of its listeners: {what}") from error


def _refused(worker: Worker, asked: Sequence[Worker], why: str) -> ConfigError:
    """
    @param asked: go on as before.
    @param why: one is not ready, on some lines.
    """
    for each in asked:
        each.abandon()
    return ConfigError(*(f"worker {worker.number}: {line}" for line in why.split("\n")))


def release(listeners: Sequence[HeldListener]) -> None:
    """Listen no more, and say so."""
    for each in listeners:
        each.announce_end()
        each.stopListening()
