"""The filter for fail2ban in README.rst, by the real fail2ban-regex over the real twistd's log."""

import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from socks5d.wire.socks5 import USERNAME_PASSWORD
from socks5d.wire.userpass import SUCCESS
from tests.interop.programs import DEADLINE, require
from tests.program.launching import REACH_LOOPBACK
from tests.support.client import greet, log_in
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

README = Path(__file__).parents[2] / "README.rst"


@pytest.fixture(scope="module")
def fail2ban() -> str:
    return require("fail2ban-regex", "fail2ban")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The filter, as README.rst has it."""
    (text,) = re.findall(r"^( +\[Definition\]\n(?: +.*\n)+)", README.read_text(), re.MULTILINE)
    file = tmp_path / "socks5d.conf"
    file.write_text(dedent(text))
    return file


@pytest.fixture
def passwords(tmp_path: Path) -> tuple[str, ...]:
    file = tmp_path / "passwords"
    file.write_text("ann:open-sesame\n")
    return ("--auth", f"file:{file}", *REACH_LOOPBACK)


def logs_in(server: Address, source: str, name: bytes, password: bytes) -> bool:
    """Whether a client at one of this machine's addresses is let in."""
    with socket.create_connection(server, PATIENCE, (source, 0)) as client:
        assert greet(client, bytes((USERNAME_PASSWORD,))) == USERNAME_PASSWORD
        return log_in(client, name, password) == SUCCESS


def banned(fail2ban: str, server: Twistd, sessions: int, recipe: Path) -> list[str]:
    """The addresses of the lines that match, once the log tells of so many sessions."""
    for number in range(1, sessions + 1):
        server.wait_for(rf"\bsession={number} ")
    log = recipe.with_name("log")
    log.write_text(server.output() + "\n")
    done = subprocess.run(
        [fail2ban, "-o", "ip", str(log), str(recipe)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return done.stdout.split()


def test_who_guesses_is_found(fail2ban: str, recipe: Path, passwords: Sequence[str]) -> None:
    with twistd(*passwords) as server:
        for number in (2, 3, 2):
            assert not logs_in(server.address(), f"127.0.0.{number}", b"ann", b"guess")
        assert banned(fail2ban, server, 3, recipe) == ["127.0.0.2", "127.0.0.3", "127.0.0.2"]


def test_over_ipv6(fail2ban: str, recipe: Path, passwords: Sequence[str]) -> None:
    with twistd(*passwords, listen=r"tcp6:0:interface=\:\:1") as server:
        assert not logs_in(server.address(), "::1", b"ann", b"guess")
        assert banned(fail2ban, server, 1, recipe) == ["::1"]


def test_who_is_refused_without_being_checked_is_found(
    fail2ban: str, recipe: Path, passwords: Sequence[str], tmp_path: Path
) -> None:
    config = tmp_path / "socks5d.toml"
    config.write_text("limits.failures = 1\ntimeouts.decision = 0.4\n")
    with twistd(*passwords, "--config", str(config)) as server:
        for _ in range(3):
            assert not logs_in(server.address(), "127.0.0.2", b"ann", b"guess")
        assert banned(fail2ban, server, 3, recipe) == ["127.0.0.2"] * 3


def test_nobody_else_is_found(fail2ban: str, recipe: Path, passwords: Sequence[str]) -> None:
    forged = b'x client=127.0.0.9:1 result="not authenticated" rule="wrong username or password" '
    with twistd(*passwords, "--userid", "*") as server:
        assert logs_in(server.address(), "127.0.0.2", b"ann", b"open-sesame")
        with socket.create_connection(server.address(), PATIENCE, ("127.0.0.3", 0)) as client:
            # SOCKS 4, granted or not, with a user-id that looks like a line of the log.
            client.sendall(b"\x04\x01\x00\x01\x7f\x00\x00\x01" + forged + b"\0")
            assert client.recv(8)[:1] == b"\0"
        with socket.create_connection(server.address(), PATIENCE, ("127.0.0.4", 0)) as client:
            assert greet(client, b"\x00") == 0xFF
        assert not logs_in(server.address(), "127.0.0.5", forged, b"guess")
        assert banned(fail2ban, server, 4, recipe) == ["127.0.0.5"]
