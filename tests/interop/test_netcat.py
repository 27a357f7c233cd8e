"""OpenBSD's netcat, nmap's ncat, and socat, with HTTP spoken by hand on their standard input."""

import subprocess

import pytest

from tests.interop.programs import DEADLINE, converse, missing, require, running
from tests.interop.webserver import SIZE, WebServer
from tests.support.running import Address


def moves_both_ways(web: WebServer, command: list[str]) -> None:
    """Fetch the large file, and send it back."""
    fetched = converse(command, f"GET {web.down} HTTP/1.0\r\n\r\n".encode())
    assert fetched == (200, web.blob.digest)
    path = web.new_upload()
    header = f"PUT {path} HTTP/1.0\r\nContent-Length: {SIZE}\r\n\r\n"
    assert converse(command, header.encode(), web.blob.path).status == 201
    assert web.take_uploaded(path) == web.blob.digest


def netcat(version: str, proxy: Address, host: str, port: int) -> list[str]:
    """A command line of OpenBSD's netcat."""
    program = require("nc", "netcat-openbsd")
    shown = subprocess.run([program, "-h"], capture_output=True, timeout=DEADLINE, check=False)
    if b"OpenBSD" not in shown.stderr + shown.stdout:
        missing("OpenBSD's nc", "netcat-openbsd")
    return [program, "-X", version, "-x", f"{proxy[0]}:{proxy[1]}", host, str(port)]


def ncat(kind: str, proxy: Address, host: str, port: int, *more: str) -> list[str]:
    """A command line of nmap's ncat."""
    options = ["--proxy", f"{proxy[0]}:{proxy[1]}", "--proxy-type", kind, *more]
    return [require("ncat", "ncat"), *options, host, str(port)]


def socat(kind: str, proxy: Address, user: str, host: str, port: int) -> list[str]:
    """A command line of socat; after one end it waits for the other, as the rest do."""
    address = f"{kind}:{proxy[0]}:{host}:{port},socksport={proxy[1]},socksuser={user}"
    return [require("socat", "socat"), "-t", str(DEADLINE), "-b", "65536", "-", address]


# For a name it sends no SOCKS 4a, and gives up.
@pytest.mark.parametrize(
    ("version", "host"), [("4", "127.0.0.1"), ("5", "127.0.0.1"), ("5", "localhost")]
)
def test_netcat_moves_a_large_file_both_ways(
    version: str, host: str, web: WebServer, open_proxy: Address
) -> None:
    moves_both_ways(web, netcat(version, open_proxy, host, web.port4))


@pytest.mark.parametrize("kind", ["socks4", "socks5"])
def test_ncat_moves_a_large_file_both_ways(kind: str, web: WebServer, open_proxy: Address) -> None:
    moves_both_ways(web, ncat(kind, open_proxy, "localhost", web.port4))


def test_ncat_moves_a_large_file_both_ways_with_a_password(
    web: WebServer, password_proxy: Address
) -> None:
    credentials = ("--proxy-auth", "user:pass")
    moves_both_ways(web, ncat("socks5", password_proxy, "localhost", web.port4, *credentials))


def test_ncat_is_not_let_in_with_a_wrong_password(web: WebServer, password_proxy: Address) -> None:
    credentials = ("--proxy-auth", "user:wrong")
    command = ncat("socks5", password_proxy, "localhost", web.port4, *credentials)
    with running(command, status=1) as program:
        assert program.stdout.read() == b""


@pytest.mark.parametrize("kind", ["SOCKS4", "SOCKS4A"])
def test_socat_moves_a_large_file_both_ways(
    kind: str, web: WebServer, userid_proxy: Address
) -> None:
    moves_both_ways(web, socat(kind, userid_proxy, "alice", "localhost", web.port4))


@pytest.mark.parametrize("kind", ["SOCKS4", "SOCKS4A"])
def test_socat_is_not_let_in_as_a_user_who_is_not_listed(
    kind: str, web: WebServer, userid_proxy: Address
) -> None:
    command = socat(kind, userid_proxy, "mallory", "localhost", web.port4)
    with running(command, status=1) as program:
        assert program.stdout.read() == b""
