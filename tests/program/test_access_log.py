"""What the access log and the text log say of a session."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from socks5d.wire import socks5
from tests.program.launching import REACH_LOOPBACK, echoes
from tests.support.client import connect4, connect5, destination, dial, greet, log_in, request5
from tests.support.origins import closed_port, echo, origin, receive_all
from tests.support.running import Address
from tests.support.twistd import Twistd, twistd

LISTEN = "tcp:0:interface=127.0.0.1"
KEYS = [
    "time",
    "session",
    "client",
    "client_port",
    "listener",
    "version",
    "method",
    "identity",
    "identity_source",
    "ident",
    "ident_problem",
    "claimed",
    "command",
    "asked",
    "port",
    "address",
    "result",
    "rule",
    "end",
    "received",
    "sent",
    "dropped",
    "refused",
    "seconds",
]
HOSTILE = [
    pytest.param(b'"}\n{"result":"granted"}\n', id="a line of its own"),
    pytest.param(b"\x1b[2J\x1b]0;title\x07", id="terminal escapes"),
    pytest.param(b"a result=granted rule=- end=-", id="fields of its own"),
    pytest.param(b"\xff\xfe\x80", id="no UTF-8"),
    pytest.param("\u2028\u202e\u0085".encode(), id="line separator and override"),
    pytest.param(b"\\x41\\", id="backslashes"),
    pytest.param(b"\r\x0b\x0c\x1c\x1d\x1e", id="other line ends"),
    pytest.param(b"%s{text}{0}%(a)s", id="formats"),
]


class Logged:
    """
    A running server that logs.

    @ivar server: the server.
    """

    def __init__(self, server: Twistd, path: Path) -> None:
        self.server = server
        self._path = path

    @property
    def address(self) -> Address:
        return self.server.address()

    def text(self, number: int = 1) -> str:
        """The line of this session in the text log; waits for it."""
        return self.server.wait_for(rf"\bsession={number} .*")[0]

    def records(self, ended: int = 1) -> list[dict[str, Any]]:
        """What the access log has, once so many sessions have ended."""
        for number in range(1, ended + 1):
            self.text(number)
        # The text log is written first: an orderly end has written both.
        assert self.server.stop() == 0, self.server.output()
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def record(self) -> dict[str, Any]:
        """What the access log has of the only session."""
        (only,) = self.records()
        return only


@contextmanager
def logging(folder: Path, *arguments: str) -> Iterator[Logged]:
    path, both = folder / "access.log", folder / "both.toml"
    both.write_text("log_granted = true\n")
    options = ("--access-log", str(path), "--config", str(both))
    with twistd(*options, *arguments, listen=LISTEN) as server:
        yield Logged(server, path)


def test_a_granted_session_is_recorded(tmp_path: Path) -> None:
    before = time.time()
    with origin(echo) as (host, port), logging(tmp_path, *REACH_LOOPBACK) as logged:
        connection, reply = connect5(logged.address, host, port)
        own_port = connection.getsockname()[1]
        with connection:
            assert reply.code == socks5.SUCCEEDED
            echoes(connection, b"seven!!")
        record = logged.record()
    after = time.time()
    assert list(record) == KEYS
    started = datetime.fromisoformat(record.pop("time"))
    assert started.tzinfo is not None
    # The time is written in thousandths, cut off.
    assert before - 0.001 <= started.timestamp() <= after
    assert 0 <= record.pop("seconds") <= after - before + 0.001
    assert record == {
        "session": 1,
        "client": "127.0.0.1",
        "client_port": own_port,
        "listener": LISTEN,
        "version": "5",
        "method": 0,
        "identity": None,
        "identity_source": "none",
        "ident": None,
        "ident_problem": None,
        "claimed": None,
        "command": "CONNECT",
        "asked": "127.0.0.1",
        "port": port,
        "address": "127.0.0.1",
        "result": "granted",
        "rule": "allow 127.0.0.0/8",
        "end": "finished",
        "received": 7,
        "sent": 7,
        "dropped": 0,
        "refused": None,
    }


def test_a_denied_session_is_recorded(tmp_path: Path) -> None:
    with logging(tmp_path, "--deny", "*.example.com") as logged:
        connection, reply = connect5(logged.address, b"WWW.Example.com.", 443)
        with connection:
            assert reply.code == socks5.NOT_ALLOWED
        record = logged.record()
    assert record["result"] == "denied"
    assert record["rule"] == "deny *.example.com"
    assert record["asked"] == "WWW.Example.com."
    assert record["port"] == 443
    assert record["address"] is None
    assert record["end"] is None
    assert (record["received"], record["sent"]) == (0, 0)


def test_a_failed_session_is_recorded(tmp_path: Path) -> None:
    port = closed_port()
    with logging(tmp_path, *REACH_LOOPBACK) as logged:
        connection, reply = connect4(logged.address, b"localhost", port)
        with connection:
            assert reply.code == 91
        record = logged.record()
    assert record["result"] == "connection refused"
    assert record["version"] == "4a"
    assert record["method"] is None
    assert record["asked"] == "localhost"
    assert record["port"] == port
    assert record["end"] is None


def test_who_showed_a_password_is_recorded(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("alice:secret\n")
    with (
        origin(echo) as (host, port),
        logging(tmp_path, *REACH_LOOPBACK, "--auth", f"file:{passwords}") as logged,
    ):
        with dial(logged.address) as connection:
            assert greet(connection, b"\x00\x02") == 2
            assert log_in(connection, b"alice", b"secret") == 0
            assert request5(connection, destination(host, port)).code == socks5.SUCCEEDED
            echoes(connection)
        record = logged.record()
    assert (record["identity"], record["identity_source"]) == ("alice", "password")
    assert record["method"] == 2
    assert record["claimed"] is None
    assert " identity=password:alice " in logged.text()


def test_who_showed_a_wrong_password_is_recorded_without_it(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("alice:secret\n")
    with logging(tmp_path, "--auth", f"file:{passwords}") as logged:
        with dial(logged.address) as connection:
            assert greet(connection, b"\x02") == 2
            assert log_in(connection, b"alice", b"hunter2") != 0
            assert receive_all(connection) == b""
        record = logged.record()
    assert record["result"] == "not authenticated"
    assert record["claimed"] == "alice"
    assert record["identity"] is None
    assert record["command"] is None
    assert "hunter2" not in logged.server.output() + json.dumps(record)
    assert "secret" not in logged.server.output() + json.dumps(record)


def test_a_client_that_says_nothing_is_in_the_access_log_alone(tmp_path: Path) -> None:
    with logging(tmp_path) as logged:
        dial(logged.address).close()
        connection, _ = connect5(logged.address, "127.0.0.1", 9)
        connection.close()
        logged.text(2)
        silent, _ = logged.records(ended=0)
    assert silent["result"] == "client left"
    assert silent["version"] is None
    assert silent["asked"] is None
    assert "session=1 " not in logged.server.output()


def is_harmless(logged: Logged, records: list[dict[str, Any]], path: Path) -> None:
    """One line for the session in each log, of printable characters, and none made up."""
    assert len(records) == 1
    assert path.read_bytes().isascii()
    assert path.read_text().rstrip("\n").isprintable()
    # What follows the line of the session is twistd's own.
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in logged.server.lines)
    (line,) = (line for line in logged.server.lines if "session=" in line)
    assert line.isprintable()
    assert len(re.findall(r"(?<= )result=", line)) == 1
    assert " result=granted" not in line


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_host_name_is_escaped(name: bytes, tmp_path: Path) -> None:
    with logging(tmp_path) as logged:
        connection, reply = connect5(logged.address, name, 80)
        with connection:
            assert reply.code != socks5.SUCCEEDED
        records = logged.records()
    is_harmless(logged, records, tmp_path / "access.log")
    assert records[0]["result"] == "host unreachable"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_user_name_is_escaped(name: bytes, tmp_path: Path) -> None:
    with logging(tmp_path, "--auth", "memory:user:pass") as logged:
        with dial(logged.address) as connection:
            assert greet(connection, b"\x02") == 2
            assert log_in(connection, name, b"pass") != 0
        records = logged.records()
    is_harmless(logged, records, tmp_path / "access.log")
    assert records[0]["result"] == "not authenticated"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_user_id_is_escaped(name: bytes, tmp_path: Path) -> None:
    with logging(tmp_path, "--userid", "alice") as logged:
        connection, reply = connect4(logged.address, "192.0.2.1", 80, name)
        with connection:
            assert reply.code == 91
        records = logged.records()
    is_harmless(logged, records, tmp_path / "access.log")


def test_the_text_log_has_one_line_for_each_session(tmp_path: Path) -> None:
    with origin(echo) as (host, port), logging(tmp_path, *REACH_LOOPBACK) as logged:
        for number in range(1, 6):
            connection, reply = connect5(logged.address, host, port)
            with connection:
                assert reply.code == socks5.SUCCEEDED
                echoes(connection)
            logged.text(number)
        records = logged.records(5)
    assert [record["session"] for record in records] == [1, 2, 3, 4, 5]
    found = re.findall(r"session=(\d+) ", logged.server.output())
    assert found == ["1", "2", "3", "4", "5"]


def test_the_access_log_is_added_to(tmp_path: Path) -> None:
    for _ in range(2):
        with logging(tmp_path) as logged:
            connection, reply = connect5(logged.address, "127.0.0.1", 9)
            with connection:
                assert reply.code == socks5.NOT_ALLOWED
            records = logged.records()
    assert [record["result"] for record in records] == ["denied", "denied"]


def test_a_session_that_the_end_cuts_short_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "socks5d.toml"
    file.write_text("[timeouts]\nshutdown = 0\n")

    def handler(connection: Any) -> None:
        with pytest.raises(ConnectionResetError):
            echo(connection)

    with (
        origin(handler) as (host, port),
        logging(tmp_path, *REACH_LOOPBACK, "--config", str(file)) as logged,
    ):
        connection, reply = connect5(logged.address, host, port)
        with connection:
            assert reply.code == socks5.SUCCEEDED
            echoes(connection, b"hello")
            (record,) = logged.records(ended=0)
    assert record["result"] == "granted"
    assert record["end"] == "shutdown"
    assert (record["received"], record["sent"]) == (5, 5)
