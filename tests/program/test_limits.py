"""What clients and identities may have, by the real twistd, of one process and of several."""

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from socks5d.wire import socks5
from tests.program.launching import ON_LOOPBACK, REACH_LOOPBACK, one_line, run_twistd, twistd_in
from tests.program.test_workers import Workers, until, written
from tests.support import client
from tests.support.datagrams import Associated, echoing
from tests.support.origins import echo, origin, receive_exactly
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd

HERE = "127.0.0.1"
PROCESSES = pytest.mark.parametrize("count", [1, 2])


@contextmanager
def limited(
    folder: Path, count: int, content: str, *arguments: str
) -> Iterator[tuple[Twistd, Address]]:
    """A server with such a file, of so many processes."""
    config = folder / "socks5d.toml"
    config.write_text(content)
    options = ("--listen", "tcp:0:interface=127.0.0.1", *REACH_LOOPBACK, "--config", str(config))
    with twistd_in(folder, *options, "--workers", str(count), *arguments) as server:
        children: list[int] = []
        running = Workers(server, count)
        address = server.address()
        try:
            if count > 1:
                running.all_serve()
            yield server, address
        finally:
            if count > 1 and server.process.poll() is None:
                children = running.children()
                server.process.kill()
            for pid in children:
                running.waits_for_gone(pid)


@pytest.fixture
def passwords(tmp_path: Path) -> Sequence[str]:
    """Two that are let in."""
    file = tmp_path / "passwords"
    file.write_text("ann:secret\nbob:secret\n")
    return ("--auth", f"file:{file}")


def log_in(server: Address, name: bytes) -> socket.socket:
    connection = client.dial(server)
    assert client.greet(connection, b"\x02") == 2
    assert client.log_in(connection, name, b"secret") == 0
    return connection


def code_for(connection: socket.socket, where: Address) -> int:
    return client.request5(connection, client.destination(*where)).code


def lines(server: Twistd, what: str) -> list[str]:
    return [line for line in server.lines if what in line]


@PROCESSES
def test_a_client_has_so_many_sessions(tmp_path: Path, count: int) -> None:
    log = tmp_path / "log"
    with (
        limited(tmp_path, count, "[limits]\nclient_sessions = 4\n", "--access-log", str(log)) as (
            server,
            address,
        ),
        origin(echo) as here,
        ExitStack() as stack,
    ):
        codes = []
        for _ in range(12):
            connection, reply = client.connect5(address, *here)
            stack.enter_context(connection)
            codes.append(reply.code)
        assert codes == [socks5.SUCCEEDED] * 4 + [socks5.NOT_ALLOWED] * 8
        stack.close()

        def served() -> bool:
            connection, reply = client.connect5(address, *here)
            connection.close()
            return reply.code == socks5.SUCCEEDED

        until(served)
        what = f"limit: 4 sessions of {HERE}"
        until(lambda: sum(each["rule"] == what for each in written(log)) >= 8)
        assert {each["result"] for each in written(log) if each["rule"] == what} == {"over a limit"}
        # One line in twistd's log, however many there were.
        assert [line.partition("] ")[2] for line in server.lines if what in line] == [
            f"{what}: over it"
        ]


def test_the_sessions_of_a_dead_worker_are_had_again(tmp_path: Path) -> None:
    with (
        limited(tmp_path, 2, "[limits]\nclient_sessions = 2\n") as (server, address),
        origin(echo) as here,
        ExitStack() as stack,
    ):
        for _ in range(2):
            connection, reply = client.connect5(address, *here)
            stack.enter_context(connection)
            assert reply.code == socks5.SUCCEEDED
        for pid in Workers(server, 2).serving().values():
            os.kill(pid, signal.SIGKILL)

        def served() -> bool:
            try:
                connection, reply = client.connect5(address, *here)
            except OSError:
                return False
            connection.close()
            return reply.code == socks5.SUCCEEDED

        until(served)


@PROCESSES
def test_a_client_begins_so_many_in_a_second(tmp_path: Path, count: int) -> None:
    content = "[limits]\nsession_rate = 1\nsession_burst = 5\n"
    with limited(tmp_path, count, content) as (server, address), origin(echo) as here:
        codes: list[int] = []
        # However long each takes, there come more in a second than one.
        while len(codes) < 100 and codes.count(socks5.NOT_ALLOWED) < 5:
            connection, reply = client.connect5(address, *here)
            connection.close()
            codes.append(reply.code)
        assert codes[:5] == [socks5.SUCCEEDED] * 5
        assert codes.count(socks5.NOT_ALLOWED) == 5
        what = f"limit: 1 new sessions per second of {HERE}"
        server.wait_for(f"{what}: over it")
        assert len(lines(server, what)) == 1


@PROCESSES
def test_an_identity_has_so_many_sessions(
    tmp_path: Path, count: int, passwords: Sequence[str]
) -> None:
    content = "[limits]\nidentity_sessions = 3\n"
    with (
        limited(tmp_path, count, content, *passwords) as (server, address),
        origin(echo) as here,
        ExitStack() as stack,
    ):
        codes: dict[bytes, list[int]] = {b"ann": [], b"bob": []}
        for name in [b"ann"] * 8 + [b"bob"] * 4:
            connection = stack.enter_context(log_in(address, name))
            codes[name].append(code_for(connection, here))
        assert codes[b"ann"] == [socks5.SUCCEEDED] * 3 + [socks5.NOT_ALLOWED] * 5
        assert codes[b"bob"] == [socks5.SUCCEEDED] * 3 + [socks5.NOT_ALLOWED]
        server.wait_for("limit: 3 sessions of password:bob: over it")


# Octets in a second.


def sending(size: int) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(bytes(size))


def together(count: int, one: Callable[[], None]) -> float:
    """So many at once; gives how long all of them take."""
    problems: list[BaseException] = []

    def guarded() -> None:
        try:
            one()
        except BaseException as problem:  # noqa: BLE001 (told at the end)
            problems.append(problem)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert problems == []
    return time.monotonic() - began


@PROCESSES
def test_each_session_has_its_rate(tmp_path: Path, count: int) -> None:
    size = 1_000_000
    with (
        limited(tmp_path, count, f"[limits]\nrate = {size}\n") as (_, address),
        origin(sending(size)) as here,
    ):

        def one() -> None:
            connection, reply = client.connect5(address, *here)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                assert len(receive_exactly(connection, size)) == size

        # All but a burst takes its time, and none has to wait for the others.
        assert 0.6 < together(4, one) < 15


@PROCESSES
def test_the_sessions_of_an_identity_share_a_rate(
    tmp_path: Path, count: int, passwords: Sequence[str]
) -> None:
    size = 400_000
    content = "[limits]\nidentity_rate = 1000000\n"
    with (
        limited(tmp_path, count, content, *passwords) as (_, address),
        origin(sending(size)) as here,
    ):

        def one() -> None:
            with log_in(address, b"ann") as connection:
                assert code_for(connection, here) == socks5.SUCCEEDED
                assert len(receive_exactly(connection, size)) == size

        # All but a burst of six times so many takes its time, wherever each is served.
        assert 1.8 < together(6, one) < 30


# Quotas.


QUOTA = "[quota]\noctets = 300000\n"


@PROCESSES
def test_over_a_reload_all_is_counted_on_and_who_relays_keeps_its_rate(
    tmp_path: Path, count: int, passwords: Sequence[str]
) -> None:
    limits = "[limits]\nsession_rate = 1\nsession_burst = 20\nidentity_rate = {rate}\n"
    with (
        limited(tmp_path, count, limits.format(rate=400_000), *passwords) as (server, address),
        origin(patiently_sending(50_000_000)) as here,
    ):
        relaying = log_in(address, b"ann")
        assert code_for(relaying, here) == socks5.SUCCEEDED
        receive_exactly(relaying, 200_000)

        def begun() -> int:
            begun = 0
            for _ in range(20):
                with client.dial(address) as connection, suppress(OSError):
                    begun += client.greet(connection, b"\x02") == 2
            return begun

        assert begun() >= 19
        content = limits.format(rate=2_000) + "logins = 99\n"
        (tmp_path / "socks5d.toml").write_text(content)
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_for("reloaded")
        # A burst of all would be there again.
        assert begun() < 19
        # By the other rate, of two minutes and a half.
        receive_exactly(relaying, 300_000)
        relaying.close()
        assert server.stop() == 0
        assert "Traceback" not in server.output()


WITH_NAMES = "userid = ['ann']\n"
OVER = "limit: 300000 octets a day of password:ann"


@PROCESSES
def test_an_identity_has_a_quota_that_outlives_the_server(
    tmp_path: Path, count: int, passwords: Sequence[str]
) -> None:
    def relayed(address: Address) -> int:
        """How much comes of too much."""
        total = 0
        with log_in(address, b"ann") as connection:
            code = code_for(connection, here)
            if code != socks5.SUCCEEDED:
                assert code == socks5.NOT_ALLOWED
                return 0
            with suppress(ConnectionResetError):
                while data := connection.recv(1 << 16):
                    total += len(data)
        return total

    with origin(patiently_sending(80_000)) as here:
        with limited(tmp_path, count, QUOTA, *passwords) as (server, address):
            for _ in range(2):
                assert relayed(address) == 80_000
            assert server.stop() == 0
        with limited(tmp_path, count, QUOTA, *passwords) as (server, address):
            assert relayed(address) == 80_000
            # What is left of its lease is back by then, which may be in another process.
            server.wait_for("end=finished received=0 sent=80000")
            # What was used up ends a session that is there; no octet more goes.
            assert relayed(address) <= 60_000
            server.wait_for(r"end=quota received=0 sent=60000")
            assert relayed(address) == 0
            server.wait_for(f"{OVER}: over it")
            assert len(lines(server, OVER)) == 1
            with log_in(address, b"bob") as other:
                assert code_for(other, here) == socks5.SUCCEEDED
            assert server.stop() == 0
        with limited(tmp_path, count, QUOTA, *passwords) as (server, address):
            assert relayed(address) == 0
            assert server.stop() == 0
    assert (tmp_path / "socks5d-quota.sqlite3").stat().st_mode & 0o777 == 0o600


@PROCESSES
def test_what_was_leased_and_did_not_go_is_not_counted(
    tmp_path: Path, count: int, passwords: Sequence[str]
) -> None:
    log = tmp_path / "log"
    content = "[quota]\noctets = 100000000\n"
    with (
        limited(tmp_path, count, content, "--access-log", str(log), *passwords) as (
            server,
            address,
        ),
        origin(patiently_sending(50_000_000)) as here,
        ExitStack() as stack,
    ):
        for _ in range(4):
            connection = stack.enter_context(log_in(address, b"ann"))
            assert code_for(connection, here) == socks5.SUCCEEDED
            receive_exactly(connection, 100_000)
        # In the middle of it, so that each process has some to give back.
        assert server.stop() == 0
    relayed = sum(each["sent"] for each in written(log))
    with closing(sqlite3.connect(tmp_path / "socks5d-quota.sqlite3")) as database:
        assert database.execute("SELECT octets FROM used").fetchall() == [(relayed,)]


def patiently_sending(size: int) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        with suppress(ConnectionError):
            connection.sendall(bytes(size))

    return send


@PROCESSES
def test_a_server_that_is_killed_forgets_no_more_than_seconds(
    tmp_path: Path, count: int, passwords: Sequence[str]
) -> None:
    content = "[quota]\noctets = 1000000\n"
    with origin(patiently_sending(600_000)) as here:
        with limited(tmp_path, count, content, *passwords) as (server, address):
            with log_in(address, b"ann") as connection:
                assert code_for(connection, here) == socks5.SUCCEEDED
                assert len(receive_exactly(connection, 600_000)) == 600_000

            def stored() -> bool:
                with closing(sqlite3.connect(tmp_path / "socks5d-quota.sqlite3")) as database:
                    rows = database.execute("SELECT identity, octets FROM used").fetchall()
                return rows == [("password:ann", 600_000)]

            until(stored)
            server.stop(signal.SIGKILL)
        with limited(tmp_path, count, content, *passwords) as (server, address):
            with log_in(address, b"ann") as connection:
                assert code_for(connection, here) == socks5.SUCCEEDED
                total = 0
                with suppress(ConnectionResetError):
                    while data := connection.recv(1 << 16):
                        total += len(data)
            assert total <= 400_000
            server.wait_for("end=quota received=0 sent=400000")


@PROCESSES
def test_a_file_that_is_no_database_ends_the_start(tmp_path: Path, count: int) -> None:
    (tmp_path / "socks5d-quota.sqlite3").write_text("dear diary, " * 100)
    config = tmp_path / "socks5d.toml"
    config.write_text(WITH_NAMES + QUOTA)
    done = run_twistd(*ON_LOOPBACK, "--config", str(config), "--workers", str(count), cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "quota.file" in line]
    assert "socks5d-quota.sqlite3: cannot be used: file is not a database" in line
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_that_is_not_there_is_found_before(tmp_path: Path) -> None:
    config = tmp_path / "socks5d.toml"
    config.write_text(WITH_NAMES + QUOTA + 'file = "nowhere/quota"\n')
    line = one_line(run_twistd(*ON_LOOPBACK, "--config", str(config)))
    assert line == "socks5d: quota.file: nowhere/quota: there is no such folder"


# Datagrams.


def test_datagrams_have_a_rate(tmp_path: Path) -> None:
    with limited(tmp_path, 1, "[limits]\nrate = 20000\n") as (server, address):
        with echoing() as there, Associated(address) as association:
            assert association.ask(*there, b"first") == b"first"
            for _ in range(100):
                association.send(*there, bytes(1000))
            association.socket.settimeout(0.5)
            answers = 0
            with pytest.raises(TimeoutError):
                while True:
                    association.receive()
                    answers += 1
        assert 1 <= answers < 20
        match = server.wait_for(r"dropped=(\d+)")
        assert int(match[1]) > 80
