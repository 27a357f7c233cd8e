"""Names to addresses, by the system's resolver, off the reactor's thread."""

import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from typing import NoReturn

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from socks5d.model import Outcome, Refusal
from socks5d.threads import Overloaded, Threads
from socks5d.wire.address import IPAddress
from socks5d.wire.names import unmapped


class SystemResolver:
    """getaddrinfo(3), in threads of its own."""

    def __init__(self, reactor: IReactorFromThreads, threads: int, lookups: int) -> None:
        """
        @param threads: names that are resolved at once.
        @param lookups: names that are resolved or wait for it; one more is refused.
        """
        self._threads = Threads(reactor, "socks5d-resolve", threads=threads, jobs=lookups)

    def limit(self, threads: int, lookups: int) -> None:
        """See L{__init__}."""
        self._threads.limit(threads=threads, jobs=lookups)

    @property
    def pending(self) -> int:
        """Names that are being resolved or wait for it."""
        return self._threads.pending

    def resolve(self, name: str) -> Deferred[Sequence[IPAddress]]:
        """See L{IEgress<socks5d.interfaces.IEgress>}."""
        return self._threads.run(partial(lookup_name, name)).addErrback(_refuse)


def _refuse(failure: Failure) -> NoReturn:
    if failure.check(Overloaded):
        raise Refusal(Outcome.FAILED, "too many names are being resolved")
    failure.raiseException()


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
