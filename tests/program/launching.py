"""What these tests share: running twistd to its end, and a session to try a server with."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from socks5d.wire import socks5
from tests.support.client import connect5, destination, greet, request5
from tests.support.origins import echo, origin, receive_exactly
from tests.support.running import PATIENCE, Address
from tests.support.twistd import TWISTD, Twistd
from tests.support.waiting import readable

#: twistd's own options for a process in the foreground.
FOREGROUND = ("-n", "--pidfile=")
#: Lets clients reach this machine, where the origins are.
REACH_LOOPBACK = ("--allow", "127.0.0.0/8", "--allow", "::1")
ON_LOOPBACK = ("--listen", "tcp:0:interface=127.0.0.1")

_PASS_SOCKET_ON = """\
import os, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 0), family=family)
print("inherits", *listener.getsockname()[:2], flush=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="socks", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def run_twistd(
    *arguments: str, own: Sequence[str] = FOREGROUND, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """
    Runs C{twistd socks5d}, which should end by itself; waits until no process is left
    of it, and ends a daemon that should not be there.
    """
    with TemporaryDirectory() as temporary, until_gone() as held:
        folder = cwd or Path(temporary)
        done = subprocess.run(
            [str(TWISTD), *own, "socks5d", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=[held],
            timeout=PATIENCE,
            check=False,
        )
        pid_file = folder / "twistd.pid"
        if done.returncode == 0 and pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
    return done


@contextmanager
def until_gone() -> Iterator[int]:
    """
    Gives a file descriptor to pass on to a process, and waits at the end until it and
    its children are gone, daemons too.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as end:
        try:
            yield writing
        finally:
            os.close(writing)
        assert readable([end], PATIENCE), "a process does not end"
        assert end.read() == b""


def inheriting(host: str = "127.0.0.1") -> tuple[str, ...]:
    """A prefix that gives twistd a listening socket as systemd does, and prints where."""
    return (sys.executable, "-c", _PASS_SOCKET_ON, host)


def inherited_address(server: Twistd) -> Address:
    """Where the socket of L{inheriting} listens: at once, whether twistd has started or not."""
    match = server.wait_for(r"inherits (\S+) (\d+)")
    return match[1], int(match[2])


@contextmanager
def twistd_in(
    folder: Path, *arguments: str, prefix: Sequence[str] = (), own: Sequence[str] = ()
) -> Iterator[Twistd]:
    """Like L{tests.support.twistd.twistd}, in a folder of the test's."""
    running = Twistd(arguments, folder, prefix, own)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait(PATIENCE)


def address_of(server: Twistd, listen: str) -> Address:
    """Where the listener with this description listens."""
    match = server.wait_for(rf"listening on \[?([0-9a-f.:]+?)\]?:(\d+) \({re.escape(listen)}\)")
    return match[1], int(match[2])


def echoes(connection: socket.socket, text: bytes = b"over and out") -> None:
    """An echo origin is at the other end, and hangs up when we do."""
    connection.sendall(text)
    assert receive_exactly(connection, len(text)) == text


def asks_and_echoes(connection: socket.socket) -> None:
    """On a connection to a server: a whole session, to an origin of our own."""
    with origin(echo) as (host, port), connection:
        assert greet(connection) == socks5.NO_AUTHENTICATION
        assert request5(connection, destination(host, port)).code == socks5.SUCCEEDED
        echoes(connection)


def serves(server: Address) -> None:
    """A server at this address carries a whole session."""
    with origin(echo) as (host, port):
        connection, reply = connect5(server, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            echoes(connection)


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """It would not start: status 1 and one line on stderr, which this gives."""
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, f"stderr:\n{done.stderr}\nstdout:\n{done.stdout}"
    assert lines[0].startswith("socks5d: "), lines
    return lines[0]
