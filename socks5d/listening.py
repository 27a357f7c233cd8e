"""Listeners: from what the operator wrote to endpoints, and what is said about them."""

import sys
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    _TCPServerEndpoint,
    _WrapperServerEndpoint,
)
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

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


def listening_address(endpoint: IStreamServerEndpoint) -> Address | None:
    """
    Where an endpoint will listen, as far as that can be told before it does.

    @return: None for what has no IP address, or will only tell when it listens.
    """
    while isinstance(endpoint, (_WrapperServerEndpoint, FilteredEndpoint)):
        endpoint = (
            endpoint.inner if isinstance(endpoint, FilteredEndpoint) else endpoint._wrappedEndpoint
        )
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


def accepted_address(serving: Serving, port: IListeningPort) -> Address | None:
    """
    @param port: one that listens.
    @return: where it does; None for what has no IP address.
    @raise ConfigError: when that is an open proxy, in which case the port is stopped.
    """
    host = socket_address(port.getHost())
    advice = open_to_strangers(serving, host)
    if advice is not None:
        port.stopListening()
        raise ConfigError(advice)
    return host


def announce(listener: str, host: Address | None) -> None:
    """Say where a listener listens."""
    where = host_port(*host) if host is not None else "a socket without an address"
    _log.info("listening on {where} ({listener})", where=where, listener=listener)


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
