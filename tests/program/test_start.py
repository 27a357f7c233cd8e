"""Listeners of every make, each through the real twistd."""

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Event

import pytest

from socks5d.wire import socks5
from tests.program.certificates import make_certificate
from tests.program.launching import (
    REACH_LOOPBACK,
    address_of,
    asks_and_echoes,
    echoes,
    inherited_address,
    inheriting,
    serves,
    twistd_in,
)
from tests.support.client import connect4, destination, dial, greet, request5
from tests.support.origins import echo, origin, receive_all, receive_exactly, reset
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

LARGE = bytes(range(256)) * 20_000


def asked(connection: socket.socket, to: Address) -> None:
    """A client's side of the handshake."""
    assert greet(connection) == socks5.NO_AUTHENTICATION
    assert request5(connection, destination(*to)).code == socks5.SUCCEEDED


def half_closes_in_order(connect: Callable[[], socket.socket]) -> None:
    """
    Our FIN arrives at the origin behind everything before it, and what the origin
    says after that still arrives here.
    """

    def answer(connection: socket.socket) -> None:
        received = receive_all(connection)
        connection.sendall(b"%d octets " % len(received) + LARGE)

    with origin(answer) as there, connect() as connection:
        asked(connection, there)
        connection.sendall(LARGE)
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b"%d octets " % len(LARGE) + LARGE


# TCP.


def _somebody_has(address: Address) -> bool:
    try:
        socket.create_server(address).close()
    except OSError:
        return True
    return False


def test_it_listens_on_port_1080_of_this_machine_when_nothing_is_said() -> None:
    if _somebody_has(("127.0.0.1", 1080)):
        pytest.skip("port 1080 is taken")
    with twistd(listen=None) as server:
        assert server.address() == ("127.0.0.1", 1080)
        with dial(("127.0.0.1", 1080)) as connection:
            assert greet(connection) == socks5.NO_AUTHENTICATION


def test_nothing_that_trusts_this_machine_is_reached_when_nothing_is_said() -> None:
    with origin(echo) as there, twistd() as server, dial(server.address()) as connection:
        assert greet(connection) == socks5.NO_AUTHENTICATION
        assert request5(connection, destination(*there)).code == socks5.NOT_ALLOWED


def test_it_serves_on_a_port_that_is_named() -> None:
    with twistd(*REACH_LOOPBACK) as server:
        serves(server.address())


def test_one_port_serves_every_version() -> None:
    with origin(echo) as (host, port), twistd(*REACH_LOOPBACK) as server:
        serves(server.address())
        for asked_for in (host, b"localhost"):
            connection, reply = connect4(server.address(), asked_for, port)
            with connection:
                assert reply.code == 90
                echoes(connection)


def test_it_listens_on_several_endpoints_at_once() -> None:
    listeners = (
        "tcp:0:interface=127.0.0.1",
        "tcp:0:interface=127.0.0.2",
        r"tcp:0:interface=\:\:1",
    )
    more = [argument for each in listeners[1:] for argument in ("--listen", each)]
    with twistd(*REACH_LOOPBACK, *more, listen=listeners[0]) as server:
        found = [address_of(server, each) for each in listeners]
        assert [host for host, _ in found] == ["127.0.0.1", "127.0.0.2", "::1"]
        for address in found:
            serves(address)


@pytest.mark.parametrize("listen", [r"tcp:0:interface=\:\:1", r"tcp6:0:interface=\:\:1"])
def test_it_listens_on_ipv6(listen: str) -> None:
    with twistd(*REACH_LOOPBACK, listen=listen) as server:
        assert server.address()[0] == "::1"
        serves(server.address())


def test_half_close_goes_through() -> None:
    with twistd(*REACH_LOOPBACK) as server:
        half_closes_in_order(lambda: dial(server.address()))


# A UNIX socket.


def unix(path: Path) -> socket.socket:
    """Connect, without a word."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    return connection


def fill(connection: socket.socket) -> int:
    """Send until nothing more is taken; gives how much was."""
    sent = 0
    connection.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            sent += connection.send(bytes(1 << 16))
    connection.settimeout(PATIENCE)
    return sent


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with twistd(*REACH_LOOPBACK, listen=f"unix:{path}") as server:
        server.wait_for("listening on a socket without an address")
        asks_and_echoes(unix(path))
        line = server.wait_for(r"session=1 .*")[0]
        assert " client=local " in line
        assert " end=finished " in line


def test_half_close_goes_through_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with twistd(*REACH_LOOPBACK, listen=f"unix:{path}") as server:
        server.wait_for("listening on a socket without an address")
        half_closes_in_order(lambda: unix(path))


def test_what_a_client_sent_before_it_closed_a_unix_socket_arrives_whole(tmp_path: Path) -> None:
    """The origin has said all it has to say, and is slow to read."""
    path = tmp_path / "socket"
    left, hung_up, proceed = Event(), Event(), Event()
    arrived: Queue[int | OSError] = Queue()

    def handler(connection: socket.socket) -> None:
        assert left.wait(PATIENCE)
        connection.shutdown(socket.SHUT_WR)
        hung_up.set()
        assert proceed.wait(PATIENCE)
        try:
            arrived.put(len(receive_all(connection)))
        except OSError as problem:
            arrived.put(problem)

    with (
        origin(handler) as there,
        twistd(*REACH_LOOPBACK, listen=f"unix:{path}") as server,
    ):
        server.wait_for("listening on a socket without an address")

        def notices() -> None:
            """When a whole session is over, what came before it has been noticed."""
            asks_and_echoes(unix(path))

        with unix(path) as connection:
            asked(connection, there)
            sent = 0
            while more := fill(connection):
                sent += more
                notices()
        left.set()
        assert hung_up.wait(PATIENCE)
        notices()
        proceed.set()
        assert arrived.get(timeout=PATIENCE) == sent, server.output()


def test_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with twistd(*REACH_LOOPBACK, listen=f"unix:{path}") as server:
        server.wait_for("listening on a socket without an address")
        asks_and_echoes(unix(path))
        assert server.stop() == 0, server.output()
    assert list(tmp_path.iterdir()) == []


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


def tls_listener(certificate: Path) -> str:
    return f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"


def tls(server: Twistd, certificate: Path) -> ssl.SSLSocket:
    """Connect, and check the certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    # An end without the close alert is an error then.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context.wrap_socket(
        dial(server.address()), server_hostname="127.0.0.1", suppress_ragged_eofs=False
    )


def test_data_goes_both_ways_over_tls(certificate: Path) -> None:
    with (
        origin(echo) as there,
        twistd(*REACH_LOOPBACK, listen=tls_listener(certificate)) as server,
        tls(server, certificate) as connection,
    ):
        asked(connection, there)
        for start in range(0, len(LARGE), 50_000):
            echoes(connection, LARGE[start : start + 50_000])
        # In order: what ends without the close alert is a reset to the origin.
        connection.unwrap().close()


def test_a_close_over_tls_arrives_as_one_behind_the_data(certificate: Path) -> None:
    arrived: Queue[bytes] = Queue()
    with (
        origin(lambda connection: arrived.put(receive_all(connection))) as there,
        twistd(*REACH_LOOPBACK, listen=tls_listener(certificate)) as server,
        tls(server, certificate) as connection,
    ):
        asked(connection, there)
        connection.sendall(LARGE)
        # Sends the close alert, and waits for the server's.
        connection.unwrap().close()
        assert arrived.get(timeout=PATIENCE) == LARGE
        server.wait_for(r"session=1 .* end=finished")


def test_the_origins_close_arrives_over_tls_behind_the_data(certificate: Path) -> None:
    with (
        origin(lambda connection: connection.sendall(LARGE)) as there,
        twistd(*REACH_LOOPBACK, listen=tls_listener(certificate)) as server,
        tls(server, certificate) as connection,
    ):
        asked(connection, there)
        assert receive_all(connection) == LARGE


def test_a_tls_connection_cut_short_arrives_as_a_reset(certificate: Path) -> None:
    ends: Queue[BaseException | bytes] = Queue()

    def handler(connection: socket.socket) -> None:
        connection.sendall(receive_exactly(connection, 5))
        try:
            ends.put(receive_all(connection))
        except ConnectionResetError as problem:
            ends.put(problem)

    with (
        origin(handler) as there,
        twistd(*REACH_LOOPBACK, listen=tls_listener(certificate)) as server,
    ):
        connection = tls(server, certificate)
        asked(connection, there)
        echoes(connection, b"hello")
        # The FIN of TCP without the close alert of TLS: anybody on the way can send one.
        connection.close()
        assert isinstance(ends.get(timeout=PATIENCE), ConnectionResetError)
        server.wait_for(r'session=1 .* end="client reset"')


def test_an_origins_reset_is_no_close_over_tls(certificate: Path) -> None:
    def handler(connection: socket.socket) -> None:
        assert receive_exactly(connection, 5) == b"hello"
        reset(connection)

    with (
        origin(handler) as there,
        twistd(*REACH_LOOPBACK, listen=tls_listener(certificate)) as server,
        tls(server, certificate) as connection,
    ):
        asked(connection, there)
        connection.sendall(b"hello")
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            receive_all(connection)


def test_who_speaks_no_tls_is_not_served(certificate: Path) -> None:
    with (
        twistd(*REACH_LOOPBACK, listen=tls_listener(certificate)) as server,
        dial(server.address()) as connection,
    ):
        # More than the header of a TLS record, which it would wait for.
        connection.sendall(socks5.encode_greeting(bytes(64)))
        with suppress(ConnectionResetError):
            # A TLS alert at the most.
            assert receive_all(connection)[:1] != b"\x05"


# The PROXY protocol.

BEHIND_PROXY = "haproxy:tcp:0:interface=127.0.0.1"
V1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 1080\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 1080\r\n"
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_IPV4 = socket.inet_aton("203.0.113.9") + socket.inet_aton("192.0.2.1")
V2 = _V2_SIGNATURE + struct.pack("!BBH12sHH", 0x21, 0x11, 12, b"", 0, 0)[:4]
V2 += _V2_IPV4 + struct.pack("!HH", 4711, 1080)
_V2_IPV6 = b"".join(socket.inet_pton(socket.AF_INET6, f"2001:db8::{each}") for each in "91")
V2_IPV6 = _V2_SIGNATURE + struct.pack("!BBH", 0x21, 0x21, 36)
V2_IPV6 += _V2_IPV6 + struct.pack("!HH", 4711, 1080)

HEADERS = [
    pytest.param(V1, "203.0.113.9", "203.0.113.9:4711", id="v1"),
    pytest.param(V1_IPV6, "2001:db8::9", "[2001:db8::9]:4711", id="v1 IPv6"),
    pytest.param(V2, "203.0.113.9", "203.0.113.9:4711", id="v2"),
    pytest.param(V2_IPV6, "2001:db8::9", "[2001:db8::9]:4711", id="v2 IPv6"),
]


@pytest.mark.parametrize(("header", "address", "shown"), HEADERS)
def test_the_address_in_a_proxy_header_is_the_clients(
    header: bytes, address: str, shown: str
) -> None:
    with twistd("--allow-from", address, *REACH_LOOPBACK, listen=BEHIND_PROXY) as server:
        connection = dial(server.address())
        connection.sendall(header)
        asks_and_echoes(connection)
        line = server.wait_for(r"session=1 .*")[0]
        assert f" client={shown} " in line
        assert " result=granted " in line


def is_denied(connection: socket.socket) -> None:
    """Not served, and not for its destination, which would not answer."""
    assert greet(connection) == socks5.NO_AUTHENTICATION
    assert request5(connection, destination("127.0.0.1", 9)).code == socks5.NOT_ALLOWED
    assert receive_all(connection) == b""


@pytest.mark.parametrize(("header", "address", "shown"), HEADERS)
def test_a_client_is_denied_by_the_address_in_a_proxy_header(
    header: bytes, address: str, shown: str
) -> None:
    with (
        twistd("--deny-from", address, *REACH_LOOPBACK, listen=BEHIND_PROXY) as server,
        dial(server.address()) as connection,
    ):
        connection.sendall(header)
        is_denied(connection)
        connection.close()
        line = server.wait_for(r"session=1 .*")[0]
        assert f" client={shown} " in line
        assert " result=denied " in line
        assert "deny-from" in line


def test_the_address_of_the_proxy_itself_lets_nobody_in() -> None:
    arguments = ("--allow-from", "127.0.0.0/8", *REACH_LOOPBACK)
    with (
        twistd(*arguments, listen=BEHIND_PROXY) as server,
        dial(server.address()) as connection,
    ):
        connection.sendall(V1)
        is_denied(connection)
        connection.close()
        assert " result=denied " in server.wait_for(r"session=1 client=203\.0\.113\.9:4711 .*")[0]


# Twisted tells a header's version by its first 8 (1) or 16 (2) octets, in one piece.
@pytest.mark.parametrize(
    ("header", "cut"),
    [
        pytest.param(V1, 8, id="v1 early"),
        pytest.param(V1, len(V1) - 1, id="v1 late"),
        pytest.param(V2, 16, id="v2 early"),
        pytest.param(V2, len(V2) - 1, id="v2 late"),
    ],
)
def test_a_proxy_header_may_arrive_in_two_pieces(header: bytes, cut: int) -> None:
    arguments = ("--allow-from", "203.0.113.9", "--allow-from", "192.0.2.7", *REACH_LOOPBACK)
    with twistd(*arguments, listen=BEHIND_PROXY) as server:
        connection = dial(server.address())
        connection.sendall(header[:cut])
        # When a whole session that came later is over, the first piece has been read.
        other = dial(server.address())
        other.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 4712 1080\r\n")
        asks_and_echoes(other)
        server.wait_for(r"client=192\.0\.2\.7:4712 .* result=granted")
        connection.sendall(header[cut:])
        asks_and_echoes(connection)
        server.wait_for(r"client=203\.0\.113\.9:4711 .* result=granted")


def test_optimistic_data_behind_a_proxy_header_is_not_lost() -> None:
    with (
        origin(echo) as there,
        twistd(*REACH_LOOPBACK, listen=BEHIND_PROXY) as server,
        dial(server.address()) as connection,
    ):
        request = socks5.encode_request(socks5.Request(socks5.CONNECT, destination(*there)))
        connection.sendall(V1 + socks5.encode_greeting(b"\x00") + request + b"at once")
        connection.shutdown(socket.SHUT_WR)
        said = receive_all(connection)
        assert said.startswith(b"\x05\x00\x05\x00")
        assert said.endswith(b"at once")


def test_half_close_goes_through_behind_a_proxy() -> None:
    with twistd(*REACH_LOOPBACK, listen=BEHIND_PROXY) as server:

        def connect() -> socket.socket:
            connection = dial(server.address())
            connection.sendall(V1)
            return connection

        half_closes_in_order(connect)
        server.wait_for(r"session=1 .* end=finished")


def test_an_origins_reset_goes_through_behind_a_proxy() -> None:
    def handler(connection: socket.socket) -> None:
        assert receive_exactly(connection, 5) == b"hello"
        reset(connection)

    with (
        origin(handler) as there,
        twistd(*REACH_LOOPBACK, listen=BEHIND_PROXY) as server,
        dial(server.address()) as connection,
    ):
        connection.sendall(V1)
        asked(connection, there)
        connection.sendall(b"hello")
        with pytest.raises(ConnectionResetError):
            receive_all(connection)


def test_a_client_without_a_proxy_header_is_not_served_behind_a_proxy() -> None:
    with (
        twistd(*REACH_LOOPBACK, listen=BEHIND_PROXY) as server,
        dial(server.address()) as connection,
    ):
        connection.sendall(socks5.encode_greeting(b"\x00"))
        with suppress(ConnectionResetError):
            assert receive_all(connection) == b""


# systemd.


@pytest.mark.parametrize("description", ["domain=INET:index=0", "domain=INET:name=socks"])
def test_it_takes_a_socket_from_systemd(description: str, tmp_path: Path) -> None:
    listen = ("--listen", f"systemd:{description}")
    with twistd_in(tmp_path, *listen, *REACH_LOOPBACK, prefix=inheriting()) as server:
        address = inherited_address(server)
        # Who is early waits in the socket's queue.
        serves(address)
        assert server.address() == address
        assert server.stop() == 0, server.output()


def test_it_takes_an_ipv6_socket_from_systemd(tmp_path: Path) -> None:
    listen = ("--listen", "systemd:domain=INET6:index=0")
    with twistd_in(tmp_path, *listen, *REACH_LOOPBACK, prefix=inheriting("::1")) as server:
        serves(inherited_address(server))
