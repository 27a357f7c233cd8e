"""Names to addresses, by the system's resolver, off the reactor's thread."""

import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from threading import Thread

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from socks5d.model import Outcome, Refusal
from socks5d.wire.address import IPAddress
from socks5d.wire.names import unmapped


class _Daemons(ThreadPool):
    """
    Threads that a hanging DNS server cannot make the process wait for when it ends.
    """

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]


class SystemResolver:
    """
    getaddrinfo(3), in threads of its own: the reactor's own pool, which other
    components share, cannot be filled by names that take for ever.
    """

    def __init__(self, reactor: IReactorFromThreads, threads: int, lookups: int) -> None:
        """
        @param threads: names that are resolved at once.
        @param lookups: names that are resolved or wait for it; one more is refused.
        """
        self._reactor = reactor
        self._pool = _Daemons(minthreads=0, maxthreads=threads, name="socks5d-resolve")
        self._limit = lookups
        self._started = False
        #: Names that are being resolved or wait for it.
        self.pending = 0

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """See L{IEgress<socks5d.interfaces.IEgress>}."""
        if self.pending >= self._limit:
            return fail(Refusal(Outcome.FAILED, "too many names are being resolved"))
        if not self._started:
            self._started = True
            self._pool.start()
            if IReactorCore.providedBy(self._reactor):
                self._reactor.addSystemEventTrigger("after", "shutdown", self.stop)
        self.pending += 1
        # The lookup cannot be cancelled, so what it takes up is counted until it
        # ends, by a Deferred that the caller cannot reach.
        answer: Deferred[Sequence[IPAddress]] = Deferred()

        def look_up() -> Sequence[IPAddress]:
            # Whoever has left while it waited for its turn takes up nobody's time.
            return [] if answer.called else lookup_name(name)

        lookup = deferToThreadPool(self._reactor, self._pool, look_up)

        def done(result: Sequence[IPAddress] | Failure) -> None:
            self.pending -= 1
            # Where it was cancelled, a Deferred takes this one call and drops it.
            if isinstance(result, Failure):
                answer.errback(result)
            else:
                answer.callback(result)

        lookup.addBoth(done)
        return answer

    def stop(self) -> None:
        """End the threads, unless some still wait for an answer: those end with the process."""
        if self._started and not self.pending:
            self._pool.stop()


def lookup_name(name: str) -> Sequence[IPAddress]:
    """
    Ask the system's resolver; blocks.

    @return: addresses in its order (RFC 6724), each once, mapped ones as IPv4.
    @raise Refusal: when the name has none.
    """
    try:
        # As octets, for as text getaddrinfo would apply IDNA to it first.
        found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refusal(Outcome.HOST_UNREACHABLE, "the name does not resolve") from error
    addresses = (unmapped(ip_address(entry[4][0])) for entry in found)
    return list(dict.fromkeys(addresses))


class FixedResolver:
    """Names and addresses from a table: for tests, and for closed networks."""

    def __init__(self, names: dict[str, Sequence[IPAddress]]) -> None:
        """
        @param names: canonical names, each with its addresses in order.
        """
        self._names = names

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """See L{IEgress<socks5d.interfaces.IEgress>}."""
        addresses = self._names.get(name)
        if not addresses:
            return fail(Refusal(Outcome.HOST_UNREACHABLE, "the name does not resolve"))
        return succeed(addresses)
