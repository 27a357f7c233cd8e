"""What twistd itself offers, and socks5d's own help."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from socks5d import __version__
from tests.program.launching import (
    FOREGROUND,
    ON_LOOPBACK,
    REACH_LOOPBACK,
    inherited_address,
    inheriting,
    run_twistd,
    serves,
    twistd_in,
    until_gone,
)
from tests.support.running import PATIENCE, Address
from tests.support.twistd import TWISTD, twistd

OPTIONS = [
    "listen",
    "auth",
    "authenticator",
    "ruleset",
    "allow",
    "deny",
    "allow-from",
    "deny-from",
    "userid",
    "gssapi-service",
    "gssapi-nec",
    "ident",
    "ident-port",
    "access-log",
    "config",
    "help",
    "help-auth",
    "help-auth-type",
    "version",
    "workers",
]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change user and root folder")


# Help.


def shown(*arguments: str) -> str:
    """Runs it to its end, which is in order; gives what it prints."""
    done = run_twistd(*arguments, own=())
    assert done.returncode == 0, done
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def help_text() -> str:
    return shown("--help")


@pytest.mark.parametrize("option", OPTIONS)
def test_help_lists_every_option(option: str, help_text: str) -> None:
    assert re.search(rf"^ +--{option}=? +\S", help_text, re.MULTILINE)


def test_help_lists_no_option_that_is_not_tested_for(help_text: str) -> None:
    assert sorted(re.findall(r"^ +--([a-z-]+)", help_text, re.MULTILINE)) == sorted(OPTIONS)


@pytest.mark.parametrize("plugin", ["none", "any-userid", "permit"])
def test_help_lists_the_plugins(plugin: str, help_text: str) -> None:
    assert re.search(rf"^ +{plugin} +\S", help_text, re.MULTILINE)


def test_help_says_where_it_listens_by_default(help_text: str) -> None:
    assert "127.0.0.1:1080" in help_text


def test_help_has_no_holes_in_its_lines(help_text: str) -> None:
    plain = [re.sub(r"^ +(--)?[a-z-]+=? +", "", line).strip() for line in help_text.splitlines()]
    assert [line for line in plain if "   " in line] == []


def test_help_auth_lists_checkers_of_passwords() -> None:
    text = shown("--help-auth")
    assert re.search(r"^ +memory\b", text, re.MULTILINE)
    assert re.search(r"^ +file\b", text, re.MULTILINE)
    assert "anonymous" not in text


def test_help_auth_type_describes_a_checker() -> None:
    assert "name:password" in shown("--help-auth-type", "memory")


def test_version_is_that_of_socks5d() -> None:
    assert shown("--version") == f"socks5d {__version__}\n"


def test_twistd_lists_it() -> None:
    done = subprocess.run(
        [str(TWISTD), "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert re.search(r"^ +socks5d +A SOCKS 4, 4a and 5 proxy server$", done.stdout, re.MULTILINE)


# In the background, and its files.


def logged_address(log: str) -> Address:
    """Where it listens, as its log says."""
    match = re.search(r"listening on (\S+):(\d+) ", log)
    assert match is not None, log
    return match[1], int(match[2])


def test_it_runs_in_the_background_until_it_is_told_to_end(tmp_path: Path) -> None:
    log, pid_file = tmp_path / "twistd.log", tmp_path / "twistd.pid"
    with until_gone() as held:
        done = subprocess.run(
            [str(TWISTD), "socks5d", *ON_LOOPBACK, *REACH_LOOPBACK],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=[held],
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done
        pid = int(pid_file.read_text())
        try:
            assert done.stdout + done.stderr == ""
            # twistd returns when the daemon has started, and so has logged that.
            serves(logged_address(log.read_text()))
        finally:
            os.kill(pid, signal.SIGTERM)
    text = log.read_text()
    assert "session=1 " in text
    assert text.splitlines()[-1].endswith("Server Shut Down.")
    assert not pid_file.exists()


def test_the_pid_file_holds_its_pid_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.pid"
    with twistd(*REACH_LOOPBACK, own=("--pidfile", str(path))) as server:
        serves(server.address())
        assert int(path.read_text()) == server.process.pid
        assert server.stop() == 0, server.output()
    assert not path.exists()


def test_the_log_goes_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "socks5d.log"
    listen = ("--listen", "systemd:domain=INET:index=0")
    own = ("--logfile", str(path))
    with twistd_in(tmp_path, *listen, *REACH_LOOPBACK, prefix=inheriting(), own=own) as server:
        serves(inherited_address(server))
        assert server.stop() == 0, server.output()
    text = path.read_text()
    assert "listening on 127.0.0.1:" in text
    assert text.count("session=1 ") == 1
    assert [line for line in server.lines if "inherits" not in line] == []


def test_it_starts_with_its_log_going_to_syslog(tmp_path: Path) -> None:
    # Without a syslog daemon the C library drops what is logged, so this holds anywhere.
    listen = ("--listen", "systemd:domain=INET:index=0")
    own = ("--syslog",)
    with twistd_in(tmp_path, *listen, *REACH_LOOPBACK, prefix=inheriting(), own=own) as server:
        serves(inherited_address(server))
        assert server.stop() == 0, server.output()
    assert "session=1" not in server.output()


# Reactors.


@pytest.mark.parametrize("reactor", ["select", "poll", "epoll", "asyncio"])
def test_it_serves_on_every_reactor(reactor: str) -> None:
    with twistd(*REACH_LOOPBACK, own=("--reactor", reactor)) as server:
        serves(server.address())
        server.wait_for(r"session=1 .* end=finished")
        assert server.stop() == 0, server.output()
    assert f".{reactor}reactor." in server.output()
    assert "Traceback" not in server.output()


# Privileges.


def ids_of(pid: int) -> dict[str, set[int]]:
    """The user and group ids of a process: real, effective, saved and of the file system."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {
        key: {int(each) for each in re.findall(rf"^{key}:(.*)$", text, re.MULTILINE)[0].split()}
        for key in ("Uid", "Gid")
    }


@pytest.fixture
def privileged_port() -> Iterator[int]:
    """A port below 1024 that nobody has."""
    for port in range(999, 900, -1):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        yield port
        return
    pytest.fail("no port below 1024 is free")


@as_root
def test_it_gives_up_its_privileges_once_it_listens(privileged_port: int, tmp_path: Path) -> None:
    # Not for anybody else to write in, once those are given up.
    tmp_path.chmod(0o700)
    log = tmp_path / "access.log"
    own = ("--uid", str(NOBODY), "--gid", str(NOBODY))
    arguments = (*REACH_LOOPBACK, "--access-log", str(log))
    with twistd(*arguments, listen=f"tcp:{privileged_port}:interface=127.0.0.1", own=own) as server:
        assert server.address() == ("127.0.0.1", privileged_port)
        serves(server.address())
        assert ids_of(server.process.pid) == {"Uid": {NOBODY}, "Gid": {NOBODY}}
        assert server.stop() == 0, server.output()
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["result"] == "granted"
    assert "Traceback" not in server.output()


def root_folder(folder: Path) -> Path:
    """A root folder with what Twisted needs: /dev/null to listen, and the user to become."""
    root = folder / "root"
    (root / "dev").mkdir(parents=True)
    (root / "dev" / "null").touch()
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text(f"nobody:x:{NOBODY}:{NOBODY}::/:/bin/false\n")
    return root


@as_root
def test_it_serves_in_a_root_folder_of_its_own(privileged_port: int, tmp_path: Path) -> None:
    root = root_folder(tmp_path)
    log = tmp_path / "access.log"
    own = ("--chroot", str(root), "--uid", str(NOBODY), "--gid", str(NOBODY))
    arguments = (*REACH_LOOPBACK, "--access-log", str(log))
    with twistd(*arguments, listen=f"tcp:{privileged_port}:interface=127.0.0.1", own=own) as server:
        serves(server.address())
        assert Path(f"/proc/{server.process.pid}/root").readlink() == root
        assert ids_of(server.process.pid) == {"Uid": {NOBODY}, "Gid": {NOBODY}}
        assert server.stop() == 0, server.output()
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["result"] == "granted"
    assert "Traceback" not in server.output()


def test_its_foreground_options_are_what_the_harness_uses() -> None:
    done = run_twistd("--version", own=FOREGROUND)
    assert done.stdout == f"socks5d {__version__}\n"
