"""Listeners: from what the operator wrote to endpoints, and what is said about them."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    _TCPServerEndpoint,
    _WrapperServerEndpoint,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLContextFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.config import Serving
from socks5d.escape import one_line
from socks5d.limits.quota import QuotaBook
from socks5d.net.addresses import socket_address
from socks5d.policy import open_to_strangers
from socks5d.proxyheader import PREFIX, FilteredEndpoint, endpoint_of
from socks5d.sessionlog import host_port
from socks5d.signals import fail_in_order
from socks5d.values import ConfigError
from socks5d.wire.address import UNSPECIFIED, Address
from socks5d.wire.names import NotAName, canonical

_SYSTEMD = "systemd:"
_PLACEHOLDER = "tcp:0:interface=127.0.0.1"

_log = Logger()


class StartupError(SystemExit, Exception):
    """
    The service cannot start.

    twistd takes note of an L{Exception} while it starts (it tells the parent of a
    daemon, and removes the PID file) and then lets it through; as a L{SystemExit}
    it ends the process with status 1 and without a traceback.
    """

    def __init__(self, text: str) -> None:
        """
        @param text: one line for the operator.
        """
        super().__init__(text)
        self.code = 1


@implementer(IOpenSSLContextFactory)
class Certificates:
    """
    The TLS context of a listener, which may be another for the next client: what Twisted
    calls a context factory.

    @ivar options: what makes the context.
    """

    def __init__(self, options: Any) -> None:
        """
        @param options: as an endpoint description says.
        """
        self.options = options

    def getContext(self) -> Any:
        """
        @return: the context for one client.
        """
        return self.options.getContext()


def _layers(endpoint: IStreamServerEndpoint) -> Iterator[IStreamServerEndpoint]:
    """An endpoint, and those that it is around, from without."""
    while True:
        yield endpoint
        if isinstance(endpoint, FilteredEndpoint):
            endpoint = endpoint.inner
        elif isinstance(endpoint, _WrapperServerEndpoint):
            endpoint = endpoint._wrappedEndpoint
        else:
            return


def renew(endpoint: IStreamServerEndpoint, other: IStreamServerEndpoint) -> None:
    """
    Have a listener do as another would for those who connect from now on: with its
    certificates, and believing the PROXY headers that it would.

    @param endpoint: one that L{make_endpoint} gave, and that listens.
    @param other: one that it gave for the same description.
    """
    for mine, its in zip(_layers(endpoint), _layers(other), strict=False):
        if isinstance(mine, FilteredEndpoint) and isinstance(its, FilteredEndpoint):
            mine.senders = its.senders
        if isinstance(mine, SSL4ServerEndpoint) and isinstance(its, SSL4ServerEndpoint):
            mine._sslContextFactory.options = its._sslContextFactory.options


def listening_address(endpoint: IStreamServerEndpoint) -> Address | None:
    """
    Where an endpoint will listen, as far as that can be told before it does.

    @return: None for what has no IP address, or will only tell when it listens.
    """
    *_, endpoint = _layers(endpoint)
    if not isinstance(endpoint, (_TCPServerEndpoint, SSL4ServerEndpoint)):
        return None
    try:
        host = canonical(endpoint._interface) if endpoint._interface else UNSPECIFIED
    except NotAName:
        return None
    return None if isinstance(host, str) else Address(host, endpoint._port)


def make_endpoint(serving: Serving, reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    @param serving: how its clients will be served.
    @param reactor: what the endpoint listens on.
    @param description: as the operator wrote it.
    @return: an endpoint that would not be an open proxy, as far as is known before it
        listens.
    @raise ConfigError: for a description that makes no sense, or an open proxy.
    """
    try:
        endpoint = endpoint_of(reactor, description, serving.proxy_from)
    except Exception as error:  # noqa: BLE001 (endpoint plugins raise what they like)
        text = str(error) or type(error).__name__
        if not isinstance(error, ValueError):
            text = f"is no endpoint ({text}); IPv6 is written tcp6:1080:interface=\\:\\:1"
        raise ConfigError(f"listen {description!r}: {text}") from None
    advice = open_to_strangers(serving, listening_address(endpoint))
    if advice is not None:
        raise ConfigError(f"listen {description!r}: {advice}")
    *_, innermost = _layers(endpoint)
    if isinstance(innermost, SSL4ServerEndpoint):
        innermost._sslContextFactory = Certificates(innermost._sslContextFactory)
    return endpoint


def without_systemd(description: str) -> str:
    """
    @param description: an endpoint, as the operator wrote it.
    @return: one that can be made in any process, in the place of a socket of systemd's, which
        is known by a number that is one process's alone; anything else as it is.
    """
    kind = description.removeprefix(PREFIX)
    if not kind.startswith(_SYSTEMD):
        return description
    return description.removesuffix(kind) + _PLACEHOLDER


def kept(before: Sequence[str], after: Sequence[str]) -> list[int | None]:
    """
    @param before: the descriptions of the listeners there are.
    @param after: those of the listeners that there are to be.
    @return: for each of these which of those it is; None for one that is new.
    """
    places: dict[str, list[int]] = {}
    for place, description in enumerate(before):
        places.setdefault(description, []).append(place)
    return [places[each].pop(0) if places.get(each) else None for each in after]


def still_accepted(serving: Serving, host: Address | None) -> None:
    """
    @param host: where one listens that is to serve as is said.
    @raise ConfigError: when it would be an open proxy.
    """
    advice = open_to_strangers(serving, host)
    if advice is not None:
        raise ConfigError(advice)


def accepted_address(serving: Serving, port: IListeningPort) -> Address | None:
    """
    @param port: one that listens.
    @return: where it does; None for what has no IP address.
    @raise ConfigError: when that is an open proxy, in which case the port is stopped.
    """
    host = socket_address(port.getHost())
    try:
        still_accepted(serving, host)
    except ConfigError:
        port.stopListening()
        raise
    return host


def announce(listener: str, host: Address | None) -> None:
    """Say where a listener listens."""
    _log.info("listening on {where} ({listener})", where=_where(host), listener=listener)


def announce_end(listener: str, host: Address | None) -> None:
    """Say where one listens no more."""
    _log.info("no more listening on {where} ({listener})", where=_where(host), listener=listener)


def _where(host: Address | None) -> str:
    return host_port(*host) if host is not None else "a socket without an address"


def keep_quotas(book: QuotaBook, file: Path, reactor: Any) -> None:
    """
    Begin to keep what identities use.  Where that cannot be done the process ends.

    @param file: where.
    """

    def failed(failure: Failure) -> None:
        problem = one_line(failure.getErrorMessage())
        _log.critical(
            "socks5d: quota.file: {file}: cannot be used: {problem}", file=file, problem=problem
        )
        fail_in_order(reactor)

    book.open().addErrback(failed)


def complain(listener: str, failure: Failure) -> str:
    """
    Say that a listener cannot listen.

    @return: in which words.
    """
    text = one_line(f"socks5d: listen {listener!r}: {failure.getErrorMessage()}")
    _log.critical("{text}", text=text)
    return text


def cannot_start(text: str) -> NoReturn:
    """
    @param text: one line for the operator.
    @raise StartupError: always.
    """
    if sys.__stderr__ is not None:
        # twistd has made a part of the log of sys.stderr by now.
        sys.__stderr__.write(text + "\n")
    raise StartupError(text)
