"""The servers that are compared: how each is set up and started."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench import processes

TWISTD = str(Path(sys.executable).with_name("twistd"))

#: Seconds that a server may take to start.
PATIENCE = 30.0


class ServerError(Exception):
    """A server cannot be run; the text says why."""


class Kind(NamedTuple):
    """
    A server that can be run.

    @ivar name: what it is called in tables.
    @ivar command: gives the command line, for a port, a folder of its own, and a number of
        rules for those that have them; None goes straight to the target.
    @ivar udp: whether it relays datagrams.
    """

    name: str
    command: Callable[[int, Path, int], Sequence[str]] | None
    udp: bool = True


class Server(NamedTuple):
    """
    A server that runs.

    @ivar port: where it listens; 0 for none, which goes straight to the target.
    @ivar pid: its first process; None for none.
    """

    name: str
    port: int
    pid: int | None
    udp: bool


def program(name: str, package: str) -> str:
    """The path of a server's program."""
    # Not every user's PATH has the folders for administrators.
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    found = shutil.which(name, path=places)
    if found is None:
        raise ServerError(f"{name} is missing: install the Debian package {package}")
    return found


def dante(port: int, folder: Path, rules: int) -> Sequence[str]:
    """Dante, with a line in its log for the beginning and the end of each session."""
    config = folder / "danted.conf"
    # Started by root it must be told whom to be otherwise.
    users = "user.unprivileged: nobody\nuser.privileged: root\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"logoutput: {folder}/danted.log\n"
        f"errorlog: {folder}/danted.errors\n"
        f"internal: 127.0.0.1 port = {port}\n"
        "external: 127.0.0.1\n"
        "clientmethod: none\n"
        "socksmethod: none\n"
        f"{users}"
        "client pass { from: 127.0.0.0/8 to: 0/0 }\n"
        "socks pass { from: 127.0.0.0/8 to: 127.0.0.0/8 log: connect disconnect }\n"
    )
    return [program("danted", "dante-server"), "-f", str(config), "-p", str(folder / "pid")]


def microsocks(port: int, folder: Path, rules: int) -> Sequence[str]:
    """microsocks, which logs each session to its standard error."""
    return [program("microsocks", "microsocks"), "-i", "127.0.0.1", "-p", str(port)]


def denied(count: int) -> list[str]:
    """So many destinations for C{deny}, of every form; the load goes to none of them."""
    forms = (
        lambda n: f"198.{18 + n % 2}.{n // 2 % 256}.0/{24 + n % 9}",
        lambda n: f"100.{64 + n % 64}.{n % 256}.{n // 64 % 256}:{1024 + n}",
        lambda n: f"host-{n}.example.org",
        lambda n: f"*.zone-{n}.example.net",
        lambda n: f"10.{n % 256}.0.0/16:{1 + n % 1024}-{2048 + n}",
        lambda n: f"[2001:db8:{n:x}::/48]",
    )
    return [forms[n % len(forms)](n) for n in range(count)]


def socks5d(port: int, folder: Path, rules: int, *arguments: str) -> Sequence[str]:
    """Ours, with its log as it is installed, an access log, and rules."""
    config = folder / "bench.toml"
    deny = "".join(f'    "{text}",\n' for text in denied(rules))
    config.write_text(
        f'listen = "tcp:{port}:interface=127.0.0.1"\n'
        'allow = "127.0.0.0/8"\n'
        f'access_log = "{folder}/access.json"\n'
        f"deny = [\n{deny}]\n"
    )
    own = ["-n", "--pidfile=", f"--logfile={folder}/twistd.log"]
    return [TWISTD, *own, "socks5d", "--config", str(config), *arguments]


def has_workers() -> bool:
    """Whether this socks5d has processes to share its work."""
    done = subprocess.run(
        [TWISTD, "socks5d", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    return "--workers" in done.stdout


STRAIGHT = "straight"
DANTE = "dante"
MICROSOCKS = "microsocks"
SOCKS5D = "socks5d"
SOCKS5D_X2 = "socks5d-x2"

#: Every server, in the order of the tables.
KINDS = {
    kind.name: kind
    for kind in (
        Kind(STRAIGHT, None),
        Kind(DANTE, dante),
        Kind(MICROSOCKS, microsocks, udp=False),
        Kind(SOCKS5D, socks5d),
        Kind(
            SOCKS5D_X2, lambda port, folder, rules: socks5d(port, folder, rules, "--workers", "2")
        ),
    )
}


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(kind: Kind, folder: Path, rules: int) -> Iterator[Server]:
    """Runs a server from when it accepts."""
    if kind.command is None:
        yield Server(kind.name, 0, None, kind.udp)
        return
    port = free_port()
    own = folder / kind.name
    own.mkdir()
    said = own / "output"
    with said.open("wb") as output:
        # A session of its own keeps the terminal's signals from it: it is ended from here.
        process = subprocess.Popen(
            kind.command(port, own, rules),
            cwd=own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, port, kind.name, own)
        yield Server(kind.name, port, process.pid, kind.udp)
    finally:
        processes.stop(process)


def _wait(process: "subprocess.Popen[bytes]", port: int, name: str, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    said = "".join(
        file.read_text(errors="replace")[-2000:] for file in folder.iterdir() if file.is_file()
    )
    raise ServerError(f"{name} does not accept:\n{said}")
