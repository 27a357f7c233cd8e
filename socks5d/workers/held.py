"""Listeners that the parent holds for its workers, and whose clients it does not accept."""

import os
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from socks5d.config import Listener
from socks5d.listening import accepted_address, announce, announce_end, make_endpoint
from socks5d.net import StreamServerEndpoint, faster
from socks5d.net.addresses import endpoint_address, socket_address
from socks5d.values import ConfigError


class _Nobody(Factory):
    """Never asked for a protocol."""

    noisy = False


class HeldListener:
    """
    @ivar sockets: those that listen: one for each worker, or one for all of them.
    """

    def __init__(
        self, sockets: Sequence[socket.socket], port: IListeningPort | None, name: str
    ) -> None:
        """
        @param port: what the sockets are copies of, if anything.
        @param name: what its listener is called.
        """
        self._name = name
        self.sockets = sockets
        self._port = port

    def getHost(self) -> Any:
        """See L{IListeningPort}."""
        if self._port is not None:
            return self._port.getHost()
        return endpoint_address("TCP", self.sockets[0].getsockname())

    def announce_end(self) -> None:
        """Say that nobody listens here any more."""
        announce_end(self._name, socket_address(self.getHost()))

    def stopListening(self) -> Any:
        """See L{IListeningPort}."""
        for each in self.sockets:
            each.close()
        return None if self._port is None else self._port.stopListening()


def hold(listener: Listener, reactor: Any, workers: int) -> HeldListener:
    """
    Listen for workers.

    @param listener: whose endpoint was found to make sense.
    @param workers: how many.
    @raise ConfigError: for what turns out to be an open proxy, or cannot be shared among
        processes.
    @raise CannotListenError: when it cannot be bound; endpoint plugins raise other things
        too.
    """
    endpoint = faster(make_endpoint(listener, reactor, listener.endpoint))
    if isinstance(endpoint, StreamServerEndpoint):
        held = HeldListener(endpoint.sockets(workers), None, listener.name)
    else:
        ports: list[Any] = []
        listening = endpoint.listen(_Nobody()).addCallback(ports.append)
        problems: list[Any] = []
        listening.addErrback(problems.append)
        for problem in problems:
            problem.raiseException()
        held = _sharing(ports[0] if ports else None, listener.name)
    host = accepted_address(listener, held)  # type: ignore[arg-type]
    announce(listener.name, host)
    return held


def _sharing(port: Any, name: str) -> HeldListener:
    try:
        port.stopReading()
        return HeldListener([socket.socket(fileno=os.dup(port.fileno()))], port, name)
    except AttributeError:
        if port is not None:
            port.stopListening()
        raise ConfigError("cannot be shared among workers; use --workers 1") from None
