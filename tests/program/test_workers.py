"""Several processes that serve as one, by the real twistd."""

import json
import os
import re
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import socks  # type: ignore[import-untyped]

from socks5d.wire import socks5
from socks5d.workers.process import SESSIONS
from socks5d.workers.supervisor import ATTEMPTS
from tests.program.certificates import make_certificate
from tests.program.launching import (
    ON_LOOPBACK,
    REACH_LOOPBACK,
    address_of,
    echoes,
    inherited_address,
    inheriting,
    one_line,
    run_twistd,
    serves,
)
from tests.support.client import connect5, destination, dial, greet, request5
from tests.support.datagrams import Associated, echoing, to
from tests.support.origins import echo, origin, receive_all
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

TCP = "tcp:0:interface=127.0.0.1"
TCP6 = "tcp6:0:interface=\\:\\:1"
HEADER = b"PROXY TCP4 127.0.0.9 127.0.0.1 4321 1080\r\n"


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that no line tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


def fields(pid: int) -> list[str]:
    """What the system says of a process, from its state on; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def name_of(pid: int) -> str:
    """What a process is called; workers are called as their parent once they have begun."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    return fields(pid)[:1] not in ([], ["Z"])


class Workers:
    """
    A running parent, and its workers.

    @ivar server: the parent.
    """

    def __init__(self, server: Twistd, count: int) -> None:
        self.server = server
        self._count = count

    def all_serve(self) -> None:
        """Wait until there is nobody's slot free, and one to spare."""
        until(lambda: len(self.serving()) == self._count and self.spare())

    def serving(self) -> dict[int, int]:
        """Those that serve and are alive: the number and the process of each."""
        said = re.findall(r"worker (\d+) \(process (\d+)\) serves", self.server.output())
        return {int(number): int(pid) for number, pid in said if alive(int(pid))}

    def children(self) -> list[int]:
        """The processes of all workers."""
        pid = self.server.process.pid
        return [
            int(each.name)
            for each in Path("/proc").iterdir()
            if each.name.isdigit() and fields(int(each.name))[1:2] == [str(pid)]
            if alive(int(each.name))
        ]

    def spare(self) -> list[int]:
        idle = set(self.children()) - set(self.serving().values())
        return [pid for pid in idle if name_of(pid) == "twistd"]

    def waits_for_gone(self, pid: int) -> None:
        until(lambda: not alive(pid))


@contextmanager
def workers(count: int, *arguments: str, **options: Any) -> Iterator[Workers]:
    """A server of so many workers, all of which serve."""
    with twistd("--workers", str(count), *REACH_LOOPBACK, *arguments, **options) as server:
        made = Workers(server, count)
        children: list[int] = []
        try:
            made.all_serve()
            yield made
        finally:
            if server.process.poll() is None:
                children = made.children()
                server.process.kill()
            for pid in children:
                made.waits_for_gone(pid)


def written(path: Path) -> list[dict[str, Any]]:
    """The records of an access log, of which every line is whole."""
    text = path.read_bytes()
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


def of_which(record: dict[str, Any]) -> int:
    """The number of the worker whose session it was."""
    return int(record["session"]) // SESSIONS


# Who is served.


def asks(connection: socket.socket) -> None:
    """A whole session, on a connection that may end with a reset, as TLS does."""
    with origin(until_hung_up) as (host, port), connection:
        assert greet(connection) == socks5.NO_AUTHENTICATION
        assert request5(connection, destination(host, port)).code == socks5.SUCCEEDED
        echoes(connection)


def test_clients_of_every_kind_of_listener_are_served(tmp_path: Path) -> None:
    unix = tmp_path / "socket"
    certificate = make_certificate(tmp_path / "server.pem")
    tls = f"ssl:0:interface=127.0.0.1:privateKey={certificate}"
    behind = "haproxy:" + TCP
    log = tmp_path / "log"
    options = [TCP6, f"unix:{unix}", tls, behind, "systemd:domain=INET:index=0"]
    listen = [word for each in options for word in ("--listen", each)]
    arguments = (*listen, "--access-log", str(log))
    with workers(2, *arguments, listen=TCP, prefix=inheriting()) as running:
        server = running.server
        for _ in range(2):
            serves(address_of(server, TCP))
            serves(address_of(server, TCP6))
            serves(inherited_address(server))
            local = socket.socket(socket.AF_UNIX)
            local.settimeout(PATIENCE)
            local.connect(str(unix))
            asks(local)
            context = ssl.create_default_context(cafile=str(certificate))
            plain = dial(address_of(server, tls))
            asks(context.wrap_socket(plain, server_hostname="127.0.0.1"))
            headed = dial(address_of(server, behind))
            headed.sendall(HEADER)
            asks(headed)
        assert server.stop() == 0, server.output()
    records = written(log)
    assert len(records) == 12
    assert {record["listener"] for record in records} == {TCP, *options}
    known = {record["client"] for record in records if record["listener"] == behind}
    assert known == {"127.0.0.9"}
    assert "Traceback" not in server.output()
    assert not unix.exists()


def test_other_peoples_clients_are_served() -> None:
    with origin(echo) as where, workers(2) as running:
        host, port = running.server.address()
        with socks.socksocket() as connection:
            connection.settimeout(PATIENCE)
            connection.set_proxy(socks.SOCKS5, host, port)
            connection.connect(where)
            echoes(connection)


def test_all_workers_have_clients_and_write_whole_lines_into_one_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with origin(echo) as (host, port), workers(2, "--access-log", str(log)) as running:
        numbers = set(running.serving())
        # The kernel shares them out by chance: the odds are 2 ** -63 that one gets none.
        for _ in range(64):
            connection, reply = connect5(running.server.address(), host, port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                echoes(connection)
        assert running.server.stop() == 0
    records = written(log)
    assert len(records) == 64
    assert len({record["session"] for record in records}) == 64
    assert {of_which(record) for record in records} == numbers


# What they have and are.


def test_all_processes_have_the_same_name() -> None:
    with workers(2) as running:
        pids = [running.server.process.pid, *running.children()]
        assert len(pids) == 4
        assert {name_of(pid) for pid in pids} == {"twistd"}


def listening_sockets(pid: int, address: Address) -> int:
    """How many sockets that listen here a process has open."""
    number = f":{address[1]:04X}"
    listening = {
        f"socket:[{line[9]}]"
        for line in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if line[1].endswith(number) and line[3] == "0A"
    }
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(link.readlink()) in listening
    return count


def has_one(pid: int, address: Address) -> bool:
    return listening_sockets(pid, address) == 1


def test_a_worker_has_no_other_slots_sockets() -> None:
    with workers(3) as running:
        address = running.server.address()
        for pid in running.serving().values():
            until(partial(has_one, pid, address))
        for pid in running.spare():
            assert listening_sockets(pid, address) == 3
        assert listening_sockets(running.server.process.pid, address) == 3


# Ends.


@contextmanager
def relays(
    running: Workers, host: str, port: int, enough: Callable[[dict[int, list[socket.socket]]], bool]
) -> Iterator[dict[int, list[socket.socket]]]:
    """Clients of all workers, by the worker's process, that relay; until there are enough."""
    by_process: dict[int, list[socket.socket]] = {}
    address = running.server.address()
    with ExitStack() as stack:
        for _ in range(256):
            connection, reply = connect5(address, host, port)
            stack.enter_context(connection)
            assert reply.code == socks5.SUCCEEDED
            owner = owner_of(running, connection)
            by_process.setdefault(owner, []).append(connection)
            if enough(by_process):
                break
        yield by_process


def owner_of(running: Workers, connection: socket.socket) -> int:
    """The process of the worker that has accepted a connection."""
    ends = [f":{each[1]:04X}" for each in (connection.getpeername(), connection.getsockname())]
    (inode,) = [
        line[9]
        for line in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if [each[-5:] for each in line[1:3]] == ends and line[3] == "01"
    ]
    for pid in running.children():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if str(link.readlink()) == f"socket:[{inode}]":
                    return pid
    raise AssertionError("nobody has it")


def all_of(count: int) -> Callable[[dict[int, list[socket.socket]]], bool]:
    return lambda by_process: len(by_process) == count


def test_the_sessions_of_a_worker_that_is_killed_end_and_no_others() -> None:
    with (
        origin(until_hung_up) as (host, port),
        workers(4) as running,
        relays(running, host, port, all_of(4)) as by_process,
    ):
        victim = next(iter(by_process))
        os.kill(victim, signal.SIGKILL)
        for pid, connections in by_process.items():
            for connection in connections:
                if pid == victim:
                    assert ended(connection)
                else:
                    echoes(connection)
        for _ in range(16):
            serves(running.server.address())
        running.all_serve()
        assert victim not in running.children()
        for pid, connections in by_process.items():
            if pid != victim:
                for connection in connections:
                    echoes(connection)


def until_hung_up(connection: socket.socket) -> None:
    """An echo that takes a reset for an end."""
    with suppress(ConnectionResetError):
        echo(connection)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_who_waits_in_the_queue_of_a_killed_worker_is_served() -> None:
    with workers(2) as running, ExitStack() as stack:
        pids = list(running.serving().values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        waiting = [stack.enter_context(dial(running.server.address())) for _ in range(16)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for connection in waiting:
            assert greet(connection) == socks5.NO_AUTHENTICATION


def test_a_spare_that_is_killed_is_replaced() -> None:
    with workers(2) as running:
        before = running.serving()
        (spare,) = running.spare()
        os.kill(spare, signal.SIGKILL)
        running.server.wait_for("was ended by signal 9")
        running.all_serve()
        assert running.serving() == before
        serves(running.server.address())


def test_a_sigterm_ends_all_with_status_0_and_lets_sessions_finish() -> None:
    with origin(echo) as (host, port), workers(2) as running:
        with relays(running, host, port, all_of(2)) as by_process:
            children = running.children()
            os.kill(running.server.process.pid, signal.SIGTERM)
            until(lambda: refused(running.server.address()))
            for connections in by_process.values():
                for connection in connections:
                    echoes(connection)
            assert running.server.process.poll() is None
        assert running.server.process.wait(PATIENCE) == 0, running.server.output()
        assert not any(alive(pid) for pid in children)
    assert "Traceback" not in running.server.output()


def refused(address: Address) -> bool:
    try:
        with dial(address):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False


def test_it_ends_as_soon_as_it_says_that_it_listens() -> None:
    for _ in range(2):
        with twistd("--workers", "2") as server:
            server.address()
            assert server.stop() == 0, server.output()
            assert "Traceback" not in server.output()


def test_a_worker_that_is_told_to_end_finishes_its_sessions_and_is_replaced() -> None:
    with (
        origin(echo) as (host, port),
        workers(2) as running,
        relays(running, host, port, all_of(2)) as by_process,
    ):
        pid, connections = next(iter(by_process.items()))
        before = set(running.serving())
        os.kill(pid, signal.SIGTERM)
        until(lambda: set(running.serving()) - before)
        for _ in range(8):
            serves(running.server.address())
        for connection in connections:
            echoes(connection)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b""
        running.waits_for_gone(pid)
        running.all_serve()
        serves(running.server.address())
    # It was asked to, which is nothing to warn of.
    assert "ended with status" not in running.server.output()


@pytest.mark.parametrize("kind", ["unix", "haproxy"])
def test_a_listener_that_workers_share_outlives_one_that_ends(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listen = f"unix:{path}:mode=600" if kind == "unix" else "haproxy:" + TCP
    with workers(2, listen=listen) as running:
        for pid in list(running.serving().values()):
            os.kill(pid, signal.SIGTERM)
            running.waits_for_gone(pid)
            running.all_serve()
        if kind == "unix":
            assert path.stat().st_mode & 0o777 == 0o600
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(str(path))
        else:
            client = dial(running.server.address())
            client.sendall(HEADER)
        asks(client)


def test_workers_without_a_parent_end() -> None:
    with workers(2) as running:
        children = running.children()
        assert len(children) == 3
        running.server.process.kill()
        for pid in children:
            running.waits_for_gone(pid)


# Logs.


def test_after_a_sighup_all_write_to_the_new_file(tmp_path: Path) -> None:
    log, moved = tmp_path / "log", tmp_path / "moved"
    with origin(echo) as (host, port), workers(2, "--access-log", str(log)) as running:
        serves(running.server.address())
        log.rename(moved)
        os.kill(running.server.process.pid, signal.SIGHUP)
        until(lambda: all(log in files_of(pid) for pid in running.children()))
        before = len(written(moved))
        for _ in range(32):
            connection, reply = connect5(running.server.address(), host, port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
        assert running.server.stop() == 0
    assert before == len(written(moved)) <= 1
    assert len(written(log)) >= 32


def files_of(pid: int) -> set[Path]:
    """The files that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(link.readlink())
    return found


RAISING = """
from socks5d.interfaces import IRuleset
from socks5d.naming import NamedRuleset
from zope.interface import implementer


@implementer(IRuleset)
class Raising:
    def __init__(self, argument):
        pass

    def decide(self, request):
        raise ValueError("no such luck")


raising = NamedRuleset("raising", "raises", Raising)
"""


def raising(folder: Path, text: str = RAISING) -> tuple[str, ...]:
    """A prefix with which there is a plugin of a ruleset that raises."""
    plugins = folder / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "raising_plugin.py").write_text(text)
    return ("env", f"PYTHONPATH={folder}")


def test_a_workers_failure_is_in_the_log_once_with_its_traceback(tmp_path: Path) -> None:
    with workers(2, "--ruleset", "raising", prefix=raising(tmp_path)) as running:
        connection, reply = connect5(running.server.address(), "127.0.0.1", 9)
        with connection:
            assert reply.code != socks5.SUCCEEDED
        running.server.wait_for("ValueError: no such luck")
        running.server.wait_for(r"session=\d+ .*result=")
        assert running.server.stop() == 0
    text = running.server.output()
    assert text.count("ValueError: no such luck") == 1
    assert text.count("Traceback") == 1
    assert "in decide" in text


#: Raises where it is made, but in the parent.
RAISING_EARLY = """
import sys

from socks5d.naming import NamedRuleset


class Raising:
    def __init__(self, argument):
        if sys.argv[0].endswith("process.py"):
            raise RuntimeError("no such luck")


raising = NamedRuleset("raising", "raises", Raising)
"""


def test_where_no_worker_gets_ready_the_service_ends_with_status_1(tmp_path: Path) -> None:
    own = raising(tmp_path, RAISING_EARLY)
    arguments = ("--workers", "2", "--ruleset", "raising")
    with twistd(*arguments, prefix=own) as server:
        server.wait_for("no worker can serve; see the lines above")
        server.wait_for("Server Shut Down")
        assert server.stop() == 1, server.output()
    text = server.output()
    assert text.count("ended with status 1") >= ATTEMPTS
    # What went wrong is said by the workers.
    assert text.count("RuntimeError: no such luck") >= ATTEMPTS


# Limits for all.


def limited(folder: Path) -> str:
    file = folder / "socks5d.toml"
    file.write_text("[limits]\nassociations = 2\n")
    return str(file)


def test_a_clients_associations_are_counted_for_all_workers(tmp_path: Path) -> None:
    with workers(4, "--config", limited(tmp_path)) as running:
        address = running.server.address()
        with Associated(address), Associated(address) as second:
            for _ in range(8):
                third = Associated(address)
                assert third.reply.code == socks5.GENERAL_FAILURE
                third.close()
            second.control.close()
            until(lambda: associates(address))


def associates(address: Address) -> bool:
    made = Associated(address)
    made.close()
    return made.reply.code == socks5.SUCCEEDED


def test_the_associations_of_a_dead_worker_are_had_again(tmp_path: Path) -> None:
    with workers(2, "--config", limited(tmp_path)) as running:
        address = running.server.address()
        with Associated(address) as first, Associated(address):
            os.kill(owner_of(running, first.control), signal.SIGKILL)
            until(lambda: associates(address))


def test_what_another_worker_sends_does_not_pin_an_association() -> None:
    with workers(2) as running, echoing() as where, ExitStack() as stack:
        address = running.server.address()
        by_process: dict[int, Associated] = {}
        for _ in range(64):
            made = stack.enter_context(Associated(address))
            by_process.setdefault(owner_of(running, made.control), made)
            if len(by_process) == 2:
                break
        one, other = by_process.values()
        # By way of one, to where the other's client is expected: as if it were that client.
        one.send(*other.relay, to(*where, b"not mine"))
        # What comes after it has been judged is the other's own.
        assert one.ask(*where) == b"still there?"
        assert other.ask(*where) == b"still there?"


# Starts that are refused.


@pytest.mark.parametrize(
    "arguments",
    [
        ("--listen", "tcp:0"),
        ("--listen", "ssl:0:privateKey=/none"),
        (*ON_LOOPBACK, *2 * ("--authenticator", "none")),
        (*ON_LOOPBACK, "--access-log", "/none/log"),
    ],
)
def test_a_start_is_refused_in_the_words_of_one_process(arguments: Sequence[str]) -> None:
    several, one = [one_line(run_twistd("--workers", n, *arguments)) for n in ("2", "1")]
    assert several == one


def test_no_workers_are_none() -> None:
    assert "--workers: must be 'auto'" in one_line(run_twistd("--workers", "0"))


def test_a_port_in_use_is_refused() -> None:
    with workers(2) as running:
        _, port = running.server.address()
        for count in ("1", "2"):
            listen = f"tcp:{port}:interface=127.0.0.1"
            done = run_twistd("--workers", count, "--listen", listen)
            assert "in use" in one_line(done)
