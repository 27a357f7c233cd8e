"""Connections to servers on loopback: TLS, and servers that mean harm or answer nothing."""

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.logger import LogEvent, formatEvent

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.ldap import ldap_checker
from socks5d.auth.ldap.connecting import tls_options
from socks5d.auth.ldap.settings import Server
from tests.auth.ldap.directory import bind_response, entry, extended_response, read_request
from tests.support.authority import Authority, Files
from tests.support.origins import Handler, closed_port, origin, unanswering, until_gone
from tests.support.running import PATIENCE, in_reactor

PASSWORD = b"correct horse"
TEMPLATE = "dn=uid=%s,dc=x"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    """A certificate for localhost."""
    return authority.issue("localhost")


def log_in(argument: str) -> Any:
    """The name, or the type of the failure."""

    checker = in_reactor(ldap_checker, argument)
    try:
        return in_reactor(checker.requestAvatarId, UsernamePassword(b"ann", PASSWORD))
    except UnauthorizedLogin as error:
        return type(error).__name__
    finally:
        in_reactor(checker.close)


def said(logs: Sequence[LogEvent]) -> str:
    """Why the directory fails."""
    (line,) = [formatEvent(each) for each in logs if "fails" in formatEvent(each)]
    return line.partition("accepts nobody: ")[2]


def served(handler: Handler, more: str = "", host: str = "localhost", scheme: str = "ldap") -> Any:
    """What a login to a server comes to."""
    with origin(handler) as (_, port):
        return log_in(f"{scheme}\\://{host}\\:{port}:{TEMPLATE}{more}")


def take(connection: socket.socket, kind: str) -> int:
    """Read a request of a kind; gives its number."""
    octets = connection.recv(1 << 16)
    request, rest = read_request(octets)
    assert rest == b""
    assert type(request.value).__name__ == kind
    number: int = request.id
    return number


def in_tls(files: Files, connection: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context.wrap_socket(connection, server_side=True)


def nothing_came(connection: socket.socket) -> None:
    """To the end."""
    with suppress(ConnectionError, ssl.SSLError):
        assert connection.recv(1 << 16) == b""


@pytest.mark.parametrize(("code", "answer"), [(0, b"ann"), (49, "Wrong")])
def test_without_tls(code: int, answer: object) -> None:
    def server(connection: socket.socket) -> None:
        number = take(connection, "LDAPBindRequest")
        connection.sendall(bind_response(code, number))
        until_gone(connection)

    assert served(server) == answer


@pytest.mark.parametrize("ask", [True, False], ids=["StartTLS", "ldaps"])
@pytest.mark.parametrize(("code", "answer"), [(0, b"ann"), (49, "Wrong")])
def test_with_tls(ask: bool, code: int, answer: object, authority: Authority, files: Files) -> None:
    def server(connection: socket.socket) -> None:
        if ask:
            connection.sendall(extended_response(0, take(connection, "LDAPExtendedRequest")))
        with in_tls(files, connection) as protected:
            protected.sendall(bind_response(code, take(protected, "LDAPBindRequest")))
            take(protected, "LDAPUnbindRequest")

    ca = f":ca={authority.certificate}"
    if ask:
        assert served(server, f":starttls=yes{ca}") == answer
    else:
        assert served(server, ca, scheme="ldaps") == answer


@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_before_tls_is_none_after_it(
    whole: bool, authority: Authority, logs: Sequence[LogEvent]
) -> None:
    injected = bind_response(0, 2)

    def server(connection: socket.socket) -> None:
        number = take(connection, "LDAPExtendedRequest")
        answer = extended_response(0, number)
        connection.sendall(answer + (injected if whole else injected[:5]))
        nothing_came(connection)

    assert served(server, f":starttls=yes:ca={authority.certificate}") == "DirectoryFailed"
    assert said(logs) == "it answers with more than was asked for"


def test_an_answer_in_place_of_a_handshake_is_none(
    authority: Authority, logs: Sequence[LogEvent]
) -> None:
    def server(connection: socket.socket) -> None:
        connection.sendall(extended_response(0, take(connection, "LDAPExtendedRequest")))
        # The client's part of the handshake has come, so this is in time for it.
        hello = connection.recv(1 << 16)
        assert hello[:1] == b"\x16"
        connection.sendall(bind_response(0, 2))
        until_gone(connection)

    assert served(server, f":starttls=yes:ca={authority.certificate}") == "DirectoryFailed"
    assert said(logs).startswith("TLS: ")


@pytest.mark.parametrize("code", [1, 2, 52, 53])
def test_nothing_is_said_where_tls_is_refused(
    code: int, authority: Authority, logs: Sequence[LogEvent]
) -> None:
    def server(connection: socket.socket) -> None:
        connection.sendall(extended_response(code, take(connection, "LDAPExtendedRequest")))
        nothing_came(connection)

    assert served(server, f":starttls=yes:ca={authority.certificate}") == "DirectoryFailed"
    assert said(logs).startswith("it refuses StartTLS (")


@pytest.mark.parametrize("ask", [True, False], ids=["StartTLS", "ldaps"])
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("host", "its certificate is for another name"),
        ("ca", "verify failed"),
        ("system", "verify failed"),
        ("version", "TLS: "),
    ],
)
def test_nothing_is_said_to_a_server_that_is_another(
    ask: bool,
    wrong: str,
    why: str,
    authority: Authority,
    files: Files,
    tmp_path: Path,
    logs: Sequence[LogEvent],
) -> None:
    done = Event()

    def server(connection: socket.socket) -> None:
        if ask:
            connection.sendall(extended_response(0, take(connection, "LDAPExtendedRequest")))
        if wrong == "version":
            assert connection.recv(1 << 16)[:1] == b"\x16"
            connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
            until_gone(connection)
        else:
            # The client may end it during the handshake.
            with suppress(ConnectionError, ssl.SSLError):
                with in_tls(files, connection) as protected:
                    nothing_came(protected)
        done.set()

    ca = Authority(tmp_path, "other").certificate if wrong == "ca" else authority.certificate
    more = "" if wrong == "system" else f":ca={ca}"
    host = "127.0.0.1" if wrong == "host" else "localhost"
    if ask:
        assert served(server, f":starttls=yes{more}", host) == "DirectoryFailed"
    else:
        assert served(server, more, host, "ldaps") == "DirectoryFailed"
    assert why in said(logs)
    assert done.wait(PATIENCE)


def silence(connection: socket.socket) -> None:
    until_gone(connection)


def half(connection: socket.socket) -> None:
    take(connection, "LDAPBindRequest")
    connection.sendall(bind_response(0)[:-1])
    until_gone(connection)


@pytest.mark.parametrize(
    ("handler", "more", "why"),
    [
        (silence, "", "Unanswered"),
        (half, "", "Unanswered"),
        (silence, ":starttls=yes", "DirectoryFailed"),
    ],
    ids=["silence", "half a message", "silence before TLS"],
)
def test_a_server_that_does_not_answer_is_left(
    handler: Handler, more: str, why: str, logs: Sequence[LogEvent]
) -> None:
    assert served(handler, f"{more}:timeout=0.2") == why
    assert said(logs) == "no answer in 0.2 seconds"


def test_a_handshake_that_does_not_go_on_is_left(logs: Sequence[LogEvent]) -> None:
    assert served(silence, ":timeout=0.2", scheme="ldaps") == "DirectoryFailed"
    assert said(logs) == "no answer in 0.2 seconds"


def flood(octets: Callable[[int], bytes]) -> Handler:
    def handler(connection: socket.socket) -> None:
        number = take(connection, "LDAPBindRequest")
        with suppress(ConnectionError):
            while True:
                connection.sendall(octets(number))

    return handler


@pytest.mark.parametrize(
    "octets",
    [
        lambda number: entry("uid=ann", number, uid=[b"ann"]),
        lambda number: b"\x30\x83\x00\xff\xff" + b"x" * 1000,
        lambda number: b"garbage",
        lambda number: bind_response(0, number) * 2,
    ],
    ids=["entries", "a long message", "garbage", "answers"],
)
def test_a_server_that_floods_is_left(octets: Callable[[int], bytes]) -> None:
    assert served(flood(octets), ":timeout=5") == "Unanswered"


def test_a_server_that_leaves_is_told(logs: Sequence[LogEvent]) -> None:
    def server(connection: socket.socket) -> None:
        take(connection, "LDAPBindRequest")

    assert served(server) == "Unanswered"
    assert said(logs) == "it ended the connection"


def test_a_server_that_is_not_there_is_told(logs: Sequence[LogEvent]) -> None:
    assert log_in(f"localhost\\:{closed_port()}:{TEMPLATE}") == "DirectoryFailed"
    assert said(logs) == "it refuses connections"


def test_a_server_that_cannot_be_reached_is_left() -> None:
    with unanswering() as (host, port):
        argument = f"ldap\\://{host}\\:{port}:{TEMPLATE}:timeout=0.2"
        assert log_in(argument) == "DirectoryFailed"


def test_a_ca_must_be_one() -> None:
    for text in ("", "nonsense", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ArgumentError, match="'ca' holds no certificate"):
            tls_options(Server("localhost", 636, tls=True, ask=False, ca=text))
    assert tls_options(Server("localhost", 389, tls=False, ask=False)) is None


def test_several_cas(authority: Authority, files: Files, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    other = Authority(tmp_path, "other").certificate
    both.write_bytes(other.read_bytes() + authority.certificate.read_bytes())

    def server(connection: socket.socket) -> None:
        with in_tls(files, connection) as protected:
            protected.sendall(bind_response(0, take(protected, "LDAPBindRequest")))
            take(protected, "LDAPUnbindRequest")

    assert served(server, f":ca={both}", scheme="ldaps") == b"ann"
