"""A real identd, ident2, about a real user's curl: RFC 1413 as daemons in use speak it."""

import json
import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from socks5d.wire import socks4
from tests.interop.conftest import LOOPBACK
from tests.interop.programs import DEADLINE, require
from tests.interop.test_curl import REFUSED_BY_PROXY
from tests.program.test_access_log import Logged, logging
from tests.support.client import destination, dial, request4
from tests.support.origins import origin
from tests.support.running import PATIENCE, Address
from tests.support.twistd import twistd

BODY = b"carried"
#: Whom the client runs as: root can be anybody, others are who they are.
USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
#: Somebody else, who is certainly known to the system.
ANOTHER = "root"


@contextmanager
def ident2() -> Iterator[int]:
    """ident2 as inetd would run it, a process for each question; gives the port."""
    program = require("ident2", "ident2")

    def answer(connection: socket.socket) -> None:
        # The daemon expects a socket that blocks.
        connection.setblocking(True)
        process = subprocess.Popen(
            [program, "--force-inetd"],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(PATIENCE)
        finally:
            # It ends when the server has hung up, or not at all.
            process.kill()
            process.wait(PATIENCE)

    with origin(answer) as (_, port):
        yield port


def web(connection: socket.socket) -> None:
    """Just enough of a web server."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(4096)
        assert piece, request
        request += piece
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def curl(proxy: Address, option: str, to: Address, user: str = "") -> tuple[int, bytes, str]:
    """Run curl as the user; gives its exit status, and what it wrote and complained of."""
    host, port = proxy
    who = f"{user}@" if user else ""
    command = [require("curl", "curl"), "-q", "--silent", "--show-error", "--noproxy", ""]
    command += [option, f"{who}{host}:{port}", f"http://{to[0]}:{to[1]}/"]
    if os.geteuid() == 0:
        entry = pwd.getpwnam(USER)
        ids = (f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
        command = [require("setpriv", "util-linux"), *ids, *command]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False, cwd="/")
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


@contextmanager
def asking(folder: Path, port: int, *arguments: str) -> Iterator[Logged]:
    options = (*LOOPBACK, "--ident-port", str(port), *arguments)
    with logging(folder, *options) as logged:
        yield logged


# SOCKS 4 has to give the right name, in USERID; SOCKS 5 gives none.
@pytest.mark.parametrize(
    ("option", "user"),
    [("--socks4", USER), ("--socks4a", USER), ("--socks5", ""), ("--socks5-hostname", "")],
)
def test_whom_a_real_identd_names_is_served_by_that_name(
    option: str, user: str, tmp_path: Path
) -> None:
    with origin(web) as here, ident2() as port:
        with asking(tmp_path, port, "--ident", "require") as logged:
            status, body, complaint = curl(logged.address, option, here, user)
            assert (status, body) == (0, BODY), complaint
            record = logged.record()
    assert (record["ident"], record["ident_problem"]) == (USER, None)
    assert (record["identity"], record["identity_source"]) == (USER, "ident")
    assert record["result"] == "granted"
    assert f" identity=ident:{USER} ident={USER} " in logged.text()


@pytest.mark.parametrize("option", ["--socks4", "--socks4a"])
def test_who_claims_to_be_somebody_else_is_refused(option: str, tmp_path: Path) -> None:
    with origin(web) as here, ident2() as port:
        with asking(tmp_path, port, "--ident", "require") as logged:
            status, body, complaint = curl(logged.address, option, here, ANOTHER)
            assert (status, body) == (REFUSED_BY_PROXY, b"")
            assert "(93)" in complaint
            record = logged.record()
    assert record["result"] == "identd names another user"
    assert (record["claimed"], record["ident"]) == (ANOTHER, USER)
    assert record["identity"] is None


def test_where_it_is_only_logged_anybody_may_be_claimed(tmp_path: Path) -> None:
    with origin(web) as here, ident2() as port:
        with asking(tmp_path, port, "--ident", "log") as logged:
            status, body, complaint = curl(logged.address, "--socks4", here, ANOTHER)
            assert (status, body) == (0, BODY), complaint
            record = logged.record()
    assert (record["claimed"], record["ident"]) == (ANOTHER, USER)
    assert (record["identity"], record["result"]) == (None, "granted")


@pytest.mark.parametrize(("option", "told"), [("--socks4", "(92)"), ("--socks5", "(2)")])
def test_where_no_identd_runs_clients_are_refused(option: str, told: str, tmp_path: Path) -> None:
    # Bound, so that nobody else gets the port; it does not listen.
    with origin(web) as here, socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with asking(tmp_path, port, "--ident", "require") as logged:
            status, body, complaint = curl(logged.address, option, here, USER)
            assert (status, body) == (REFUSED_BY_PROXY, b"")
            assert told in complaint
            record = logged.record()
    assert record["result"] == "identd gave no name"
    assert (record["ident"], record["rule"]) == (None, "no ident: connection refused")


def test_about_ports_that_nobody_uses_it_names_nobody(tmp_path: Path) -> None:
    # A header that makes up a connection, between addresses that are both ours.
    header = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
    with ident2() as port:
        path = tmp_path / "access.log"
        arguments = ("--ident", "require", "--ident-port", str(port), "--access-log", str(path))
        with twistd(*arguments, listen="haproxy:tcp:0:interface=127.0.0.1") as server:
            with dial(server.address()) as connection:
                connection.sendall(header)
                reply = request4(connection, destination("127.0.0.1", 9), USER.encode())
                assert reply.code == socks4.IDENTD_UNREACHABLE
            assert server.stop() == 0, server.output()
    record = json.loads(path.read_text())
    assert (record["ident"], record["ident_problem"]) == (None, "NO-USER")
