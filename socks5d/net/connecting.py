"""
Making connections that are L{StreamSocket}s.

The endpoint takes the place of Twisted's: L{IStreamClientEndpoint}.
"""

import errno
import os
import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from twisted.internet import error as errors
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectError, getConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.net.addresses import bind_to_device, endpoint_address, sockaddr
from socks5d.net.poller import FAILED, OUT, Poller, poller_of
from socks5d.net.stream import StreamSocket
from socks5d.wire.address import IPAddress


class _Attempt:
    """A connection attempt under way."""

    __slots__ = ("_late", "_make", "_poller", "_result", "_socket", "_target", "_watched")

    def __init__(
        self,
        poller: Poller,
        connecting: socket.SocketType,
        target: Any,
        make: Callable[[], IProtocol | None],
        seconds: float,
    ) -> None:
        self._poller = poller
        self._socket = connecting
        self._target = target
        self._make = make
        self._result: Deferred[IProtocol] | None = Deferred(self._given_up)
        self._late = poller.deadlines.after(seconds, self._timed_out)
        number = connecting.connect_ex(target)
        # Not before: one that is not connecting would be told that it can be written to.
        self._watched = number in (0, errno.EINPROGRESS)
        if self._watched:
            try:
                poller.watch(connecting.fileno(), self._event)
            except OSError:
                self._late.cancel()
                raise
        else:
            poller.soon(lambda: self._failed(_connect_error(number)))

    def _timed_out(self) -> None:
        self._failed(errors.TimeoutError())

    def _event(self, events: int) -> None:
        if events & FAILED:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self._failed(_connect_error(number))
                return
        if not events & OUT:
            return
        try:
            protocol = self._make()
        except Exception as error:  # noqa: BLE001 (told to whoever connects)
            self._failed(error)
            return
        if protocol is None:
            self._failed(errors.NoProtocol())
            return
        if self._result is None:
            return  # given up by the factory
        result = self._over()
        stream = StreamSocket(self._poller, self._socket, self._target)
        try:
            stream.start(protocol, events)
        except Exception as error:  # noqa: BLE001 (told to whoever connects)
            stream.fail(Failure())
            result.errback(error)
            return
        if result.called:
            stream.abortConnection()  # given up by the protocol
            return
        result.callback(protocol)
        stream.read_on()

    def result(self) -> Deferred[IProtocol]:
        """
        @return: fires once, with the protocol.
        """
        assert self._result is not None
        return self._result

    def _over(self) -> Deferred[IProtocol]:
        """The two hold each other no longer."""
        result = self.result()
        self._result = None
        self._late.cancel()
        return result

    def _failed(self, problem: BaseException) -> None:
        if self._result is not None:
            result = self._over()
            self._close()
            result.errback(problem)

    def _given_up(self, result: Deferred[IProtocol]) -> None:
        if self._result is not None:
            self._over()
            self._close()

    def _close(self) -> None:
        if self._watched:
            self._poller.close(self._socket)
        else:
            self._socket.close()


def _connect_error(number: int) -> ConnectError:
    error: ConnectError = getConnectError((number, os.strerror(number)))
    return error


def connect_stream(
    poller: Poller,
    host: IPAddress,
    port: int,
    make: Callable[[], IProtocol | None],
    timeout: float,
    source: IPAddress | None = None,
    device: str | None = None,
) -> Deferred[IProtocol]:
    """
    Connect to an address and a port.

    @param make: makes the protocol of the connection.
    @param timeout: for the connection to stand, in seconds.
    @param source: the local address; the kernel's choice by default.
    @param device: the network device to go out by; the kernel's choice by default.
    @return: fires with the protocol; fails with L{ConnectError} or L{TimeoutError}.
        Cancelling it leaves no connection behind.
    """
    family = socket.AF_INET if isinstance(host, IPv4Address) else socket.AF_INET6
    try:
        connecting = socket.SocketType(
            family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
    except OSError as error:
        return fail(ConnectError(error.errno, error.strerror))
    try:
        if device is not None:
            bind_to_device(connecting, device)
        if source is not None:
            connecting.bind(sockaddr(source, 0))
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Attempt(poller, connecting, sockaddr(host, port), make, timeout).result()
    except OSError as error:
        connecting.close()
        return fail(ConnectBindError(error.errno, error.strerror))


@implementer(IStreamClientEndpoint)
class StreamClientEndpoint:
    """Connects to an address and a port."""

    def __init__(
        self,
        reactor: Any,
        host: IPAddress,
        port: int,
        timeout: float = 30.0,
        source: IPAddress | None = None,
    ) -> None:
        """
        @param timeout: for the connection to stand, in seconds.
        @param source: the local address; the kernel's choice by default.
        """
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout
        self._source = source

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.

        @return: fails with L{ConnectError} or L{TimeoutError}.
        """

        def make() -> IProtocol | None:
            peer = endpoint_address("TCP", sockaddr(self._host, self._port))
            return protocolFactory.buildProtocol(peer)

        return connect_stream(
            poller_of(self._reactor), self._host, self._port, make, self._timeout, self._source
        )
