"""How connections to a directory come about: the network, TLS, and whom they are bound as."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet import ssl
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.ldap.connection import Connection
from socks5d.auth.ldap.failures import DirectoryError, reason
from socks5d.auth.ldap.messages import SUCCESS, Codec
from socks5d.auth.ldap.settings import Search, Server

Connect = Callable[[], Awaitable[Connection]]

#: Seconds for which an account that was refused is not tried again.
HOLD: Final = 10.0

_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


class _Connections(Factory):
    noisy = False

    def __init__(self, codec: Codec, clock: Any) -> None:
        self._codec = codec
        self._clock = clock

    def buildProtocol(self, _address: object) -> Connection:
        return Connection(self._codec, self._clock)


def tls_options(server: Server) -> IOpenSSLClientConnectionCreator | None:
    """
    @return: what verifies the server's certificate for its name; None without TLS.
    @raise ArgumentError: when there is no CA in what should hold one.
    """
    if not server.tls:
        return None
    if server.ca is None:
        return ssl.optionsForClientTLS(server.host)
    try:
        trusted = [ssl.Certificate.loadPEM(each) for each in _CERTIFICATE.findall(server.ca)]
    except Exception:  # noqa: BLE001 (OpenSSL's own, of several kinds)
        trusted = []
    if not trusted:
        raise ArgumentError("'ca' holds no certificate, in PEM")
    return ssl.optionsForClientTLS(server.host, trustRoot=ssl.trustRootFromCertificates(trusted))


def connecting(
    reactor: Any,
    server: Server,
    options: IOpenSSLClientConnectionCreator | None,
    codec: Codec,
    seconds: float,
) -> Connect:
    """
    @param seconds: what reaching an address may take.
    @return: gives a connection that is bound as nobody; fails with L{DirectoryError}.
    """
    endpoint = HostnameEndpoint(reactor, server.host, server.port, timeout=seconds)
    factory = _Connections(codec, reactor)

    async def connect() -> Connection:
        try:
            connection = await endpoint.connect(factory)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 (of many kinds; all are told)
            raise DirectoryError(reason(Failure())) from None
        assert isinstance(connection, Connection)
        if options is not None:
            await connection.start_tls(options, server.ask)
        return connection

    return connect


def bound(connect: Connect, way: Search, codec: Codec, clock: IReactorTime) -> Connect:
    """
    @return: gives a connection that is bound as the account that searches, if there is one.
        Where that is refused it is not tried again for L{HOLD} seconds: directories lock
        accounts for which there are too many wrong passwords.
    """
    held_until = 0.0

    async def connect_and_bind() -> Connection:
        nonlocal held_until
        if clock.seconds() < held_until:
            raise DirectoryError("it has refused the account that searches")
        connection = await connect()
        if way.bind:
            try:
                code = await connection.bind(way.bind, way.secret)
                if code != SUCCESS:
                    held_until = clock.seconds() + HOLD
                    raise DirectoryError(
                        f"it refuses the account that searches ({codec.name_of(code)})"
                    )
            except BaseException:
                connection.abort()
                raise
        return connection

    return connect_and_bind
