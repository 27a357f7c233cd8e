"""What is written of a session, and a file that is full, moved or out of reach."""

import errno
import io
import json
import os
import select
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from zope.interface.verify import verifyObject

from socks5d.interfaces import ISessionObserver, ISessionOpeningObserver
from socks5d.model import (
    ANONYMOUS,
    Client,
    Command,
    Ident,
    Identity,
    Logged,
    Outcome,
    Record,
)
from socks5d.sessionlog import (
    REOPEN_INTERVAL,
    TOGETHER,
    AccessLog,
    SessionLog,
    client_text,
    host_port,
    identity_text,
    record_line,
)

CLIENT = Client(ip_address("192.0.2.10"), 50000, None, "tcp:1080")
GRANTED = Record(
    id=7,
    started=1700000000.25,
    seconds=1.5,
    client=CLIENT,
    version="5",
    method=2,
    identity=Identity("alice", "password"),
    ident=Ident("al"),
    claimed=None,
    command=Command.CONNECT,
    asked="example.com",
    port=443,
    address=ip_address("2001:db8::1"),
    outcome=Outcome.GRANTED,
    rule="allow *",
    end="finished",
    received=10,
    sent=20,
    handshake=30,
)
NOTHING = Record(
    id=8,
    started=0,
    seconds=0,
    client=Client(None),
    version="",
    method=None,
    identity=ANONYMOUS,
    ident=None,
    claimed=None,
    command=None,
    asked=None,
    port=0,
    address=None,
    outcome=Outcome.MALFORMED,
    rule="",
    end="",
    received=0,
    sent=0,
    handshake=1,
)


@pytest.fixture
def logs() -> Iterator[Sequence[LogEvent]]:
    """What is logged meanwhile."""
    with capturedLogs() as captured:
        yield captured


def line(record: Record) -> str:
    """The line of a session."""
    with capturedLogs() as captured:
        SessionLog().closed(record)
    assert len(captured) == 1
    text: str = captured[0]["text"]
    return text


# The line.


def test_they_are_observers(tmp_path: Path) -> None:
    assert verifyObject(ISessionObserver, SessionLog())
    log = AccessLog(tmp_path / "log", Clock())
    assert verifyObject(ISessionObserver, log)
    log.close()


def test_a_line_says_everything_in_one_order() -> None:
    assert line(GRANTED) == (
        "session=7 client=192.0.2.10:50000 listener=tcp:1080 version=5 identity=password:alice "
        "ident=al claimed=- command=CONNECT asked=example.com:443 address=[2001:db8::1]:443 "
        'result=granted rule="allow *" end=finished received=10 sent=20 dropped=0 refused=- '
        "seconds=1.500"
    )


def test_what_is_not_known_is_a_dash() -> None:
    assert line(NOTHING) == (
        "session=8 client=local listener=- version=- identity=- ident=- claimed=- command=- "
        "asked=- address=- result=malformed rule=- end=- received=0 sent=0 dropped=0 refused=- "
        "seconds=0.000"
    )


def test_who_is_over_a_limit_is_worth_no_line_each(logs: Sequence[LogEvent]) -> None:
    for granted in (True, False):
        over = NOTHING._replace(outcome=Outcome.OVER_LIMIT, handshake=20, rule="limit: 1")
        SessionLog(granted).closed(over)
    assert logs == []
    assert json.loads(record_line(over))["result"] == "over a limit"


def test_a_client_that_left_without_a_word_is_not_worth_a_line(logs: Sequence[LogEvent]) -> None:
    SessionLog().closed(NOTHING._replace(outcome=Outcome.CLIENT_LEFT, handshake=0))
    assert logs == []
    SessionLog().closed(NOTHING._replace(outcome=Outcome.CLIENT_LEFT, handshake=1))
    assert len(logs) == 1


def test_the_logs_do_not_want_to_know_when_a_session_opens(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", Clock())
    for observer in (SessionLog(), log):
        verifyObject(ISessionObserver, observer)
        assert not ISessionOpeningObserver.providedBy(observer)
    log.close()
    assert (tmp_path / "log").read_text() == ""


def test_the_record_goes_along_with_the_line_for_other_observers(logs: Sequence[LogEvent]) -> None:
    SessionLog().closed(GRANTED)
    assert logs[0]["session"] is GRANTED
    assert logs[0]["log_format"] == "{text}"


def test_braces_in_a_name_are_no_format() -> None:
    assert "asked={log_source}:443 " in line(GRANTED._replace(asked="{log_source}"))


@given(st.text(max_size=40))
def test_whatever_name_was_proved_it_stays_one_word_of_one_line(name: str) -> None:
    text = line(GRANTED._replace(identity=Identity(name, "password")))
    assert text.isprintable()
    words = text.split(" ")
    assert len(words) == len(line(GRANTED).split(" "))
    assert words[4].startswith("identity=password:")


@given(st.text(max_size=40))
def test_whatever_a_rule_is_called_the_line_is_one_line(rule: str) -> None:
    text = line(GRANTED._replace(rule=rule))
    assert text.isprintable()
    assert " end=finished received=10 " in text


@pytest.mark.parametrize(
    ("host", "text"),
    [("192.0.2.1", "192.0.2.1:80"), ("2001:db8::1", "[2001:db8::1]:80"), ("a.test", "a.test:80")],
)
def test_a_host_and_a_port_are_told_apart(host: str, text: str) -> None:
    assert host_port(host, 80) == text


def test_a_client_without_an_address_is_local() -> None:
    assert client_text(Client(None)) == "local"
    assert client_text(Client(ip_address("::1"), 5)) == "[::1]:5"


def test_nobody_in_particular_is_a_dash_and_an_empty_name_is_not() -> None:
    assert identity_text(ANONYMOUS) == "-"
    assert identity_text(Identity("", "password")) == "password:"
    assert identity_text(Identity("a b\n", "userid")) == r"userid:a\x20b\n"


# JSON.


def test_a_record_has_its_fields() -> None:
    assert json.loads(record_line(GRANTED)) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "session": 7,
        "client": "192.0.2.10",
        "client_port": 50000,
        "listener": "tcp:1080",
        "version": "5",
        "method": 2,
        "identity": "alice",
        "identity_source": "password",
        "ident": "al",
        "ident_problem": None,
        "claimed": None,
        "command": "CONNECT",
        "asked": "example.com",
        "port": 443,
        "address": "2001:db8::1",
        "result": "granted",
        "rule": "allow *",
        "end": "finished",
        "received": 10,
        "sent": 20,
        "dropped": 0,
        "refused": None,
        "seconds": 1.5,
    }


def test_what_is_not_known_is_null() -> None:
    fields = json.loads(record_line(NOTHING))
    unknown = {key for key, value in fields.items() if value is None}
    assert unknown == {
        "client",
        "version",
        "method",
        "identity",
        "ident",
        "ident_problem",
        "claimed",
        "command",
        "asked",
        "address",
        "rule",
        "end",
        "refused",
    }


@given(st.text(max_size=60), st.text(max_size=60))
def test_every_record_is_one_line_of_ascii_json(name: str, claimed: str) -> None:
    disk = Disk()
    log = AccessLog(Path("log"), Clock(), lambda path: disk)
    log.closed(GRANTED._replace(identity=Identity(name, "x"), claimed=claimed, rule=claimed))
    log.flush()
    written = disk.written
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    fields = json.loads(written)
    assert (fields["claimed"], fields["rule"]) == (claimed, claimed or None)
    assert all(32 <= octet < 127 for octet in written[:-1])


# The file.


def write(log: AccessLog, record: Record) -> None:
    """As in a turn of the reactor in which one session ends."""
    log.closed(record)
    log.flush()


def ids(path: Path) -> list[int]:
    return [json.loads(text)["session"] for text in path.read_text().splitlines()]


def test_what_a_turn_brings_is_written_at_its_end(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "log"
    log = AccessLog(path, clock)
    for number in (1, 2):
        log.closed(GRANTED._replace(id=number))
    assert ids(path) == []
    clock.advance(0)
    assert ids(path) == [1, 2]
    log.closed(GRANTED._replace(id=3))
    clock.advance(0)
    assert ids(path) == [1, 2, 3]
    log.close()


def test_no_more_than_so_many_lines_wait(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", Clock())
    for number in range(TOGETHER):
        assert ids(tmp_path / "log") == []
        log.closed(GRANTED._replace(id=number))
    assert ids(tmp_path / "log") == list(range(TOGETHER))
    log.close()


def test_what_is_left_is_written_when_it_is_closed(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", Clock())
    log.closed(GRANTED)
    log.close()
    assert ids(tmp_path / "log") == [7]


def test_records_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"session":1}\n')
    log = AccessLog(path, Clock())
    write(log, GRANTED)
    assert ids(path) == [1, 7]
    write(log, NOTHING)
    assert ids(path) == [1, 7, 8]
    log.close()


def test_a_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog(tmp_path / "none" / "log", Clock())


def test_when_the_file_was_moved_a_new_one_is_opened(
    tmp_path: Path, logs: Sequence[LogEvent]
) -> None:
    clock, path = Clock(), tmp_path / "log"
    log = AccessLog(path, clock)
    write(log, GRANTED)
    path.rename(tmp_path / "log.1")
    clock.advance(REOPEN_INTERVAL)
    write(log, NOTHING)
    assert (ids(tmp_path / "log.1"), ids(path)) == ([7], [8])
    log.close()
    assert logs == []


def test_a_file_that_is_still_there_stays_open(tmp_path: Path, logs: Sequence[LogEvent]) -> None:
    clock, path = Clock(), tmp_path / "log"
    opened: list[Path] = []

    def open_file(path: Path) -> io.RawIOBase:
        opened.append(path)
        return io.FileIO(path, "a")

    log = AccessLog(path, clock, open_file)
    for _ in range(3):
        clock.advance(REOPEN_INTERVAL)
        write(log, GRANTED)
    log.close()
    assert ids(path) == [7, 7, 7]
    assert opened == [path]
    assert logs == []


def test_when_another_file_took_its_place_that_one_is_written(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "log"
    log = AccessLog(path, clock)
    path.rename(tmp_path / "log.1")
    path.write_text('{"session":1}\n')
    clock.advance(REOPEN_INTERVAL)
    write(log, GRANTED)
    assert (ids(tmp_path / "log.1"), ids(path)) == ([], [1, 7])
    log.close()


def test_it_is_looked_for_once_a_second(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "log"
    log = AccessLog(path, clock)
    path.rename(tmp_path / "log.1")
    clock.advance(REOPEN_INTERVAL - 0.001)
    write(log, GRANTED)
    assert ids(tmp_path / "log.1") == [7]
    assert not path.exists()
    log.close()


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    log = AccessLog(Path("log"), clock)
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "log").unlink()
    clock.advance(REOPEN_INTERVAL)
    write(log, GRANTED)
    assert ids(tmp_path / "log") == [7]
    log.close()


def test_a_file_that_cannot_be_opened_again_is_written_where_it_went(
    tmp_path: Path, logs: Sequence[LogEvent]
) -> None:
    clock, folder = Clock(), tmp_path / "folder"
    folder.mkdir()
    log = AccessLog(folder / "log", clock)
    folder.rename(tmp_path / "moved")
    for _ in range(3):
        clock.advance(REOPEN_INTERVAL)
        write(log, GRANTED)
    assert ids(tmp_path / "moved" / "log") == [7, 7, 7]
    (event,) = logs
    assert event["text"].startswith("the access log cannot be opened anew: ")
    log.close()


def test_a_file_that_cannot_be_looked_for_is_written_where_it_is(
    tmp_path: Path, logs: Sequence[LogEvent]
) -> None:
    # As after giving up privileges, when its folder is out of reach.
    clock, folder = Clock(), tmp_path / "folder"
    folder.mkdir()
    log = AccessLog(folder / "log", clock)
    folder.rename(tmp_path / "moved")
    folder.write_text("no folder any more")
    for _ in range(3):
        clock.advance(REOPEN_INTERVAL)
        write(log, GRANTED)
    assert ids(tmp_path / "moved" / "log") == [7, 7, 7]
    assert len(logs) == 1
    log.close()


class Disk(io.RawIOBase):
    """
    A disk that can be full, below a file of the real kinds.

    @ivar full: whether it is.
    @ivar room: octets that it takes before it is; None for any number.
    @ivar written: what was written.
    """

    def __init__(self) -> None:
        super().__init__()
        self._there = TemporaryFile()  # noqa: SIM115 (closed with this)
        self.full = False
        self.room: int | None = None
        self.written = b""

    def fileno(self) -> int:
        return self._there.fileno()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data)[: self.room]
        self.written += taken
        return len(taken)

    def records(self) -> list[Any]:
        return [json.loads(text) for text in self.written.decode("ascii").splitlines()]


def test_a_full_disk_hurts_nobody_and_is_complained_of_once(logs: Sequence[LogEvent]) -> None:
    disk = Disk()
    log = AccessLog(Path("log"), Clock(), lambda path: disk)
    disk.full = True
    for _ in range(100):
        write(log, GRANTED)
    assert disk.written == b""
    assert [event["text"] for event in logs] == ["the access log cannot be written"]
    assert "No space left" in logs[0]["log_failure"].getErrorMessage()


def test_a_line_that_was_cut_off_spoils_no_other(logs: Sequence[LogEvent]) -> None:
    disk = Disk()
    log = AccessLog(Path("log"), Clock(), lambda path: disk)
    disk.room = 10
    write(log, GRANTED)
    disk.room = None
    write(log, NOTHING)
    cut_off, whole = disk.written.splitlines()
    assert len(cut_off) == 10
    assert json.loads(whole)["session"] == 8
    assert [event["text"] for event in logs] == ["the access log cannot be written"]


def test_a_line_that_was_cut_off_is_no_matter_of_the_next_file(tmp_path: Path) -> None:
    disk, clock, path = Disk(), Clock(), tmp_path / "log"
    files: list[io.RawIOBase] = [disk]
    log = AccessLog(path, clock, lambda path: files.pop() if files else io.FileIO(path, "a"))
    disk.room = 10
    write(log, GRANTED)
    clock.advance(REOPEN_INTERVAL)
    write(log, NOTHING)
    assert ids(path) == [8]
    log.close()


def test_what_is_not_written_at_all_is_no_end_of_a_line(logs: Sequence[LogEvent]) -> None:
    disk = Disk()
    log = AccessLog(Path("log"), Clock(), lambda path: disk)
    for room in (10, 0, None):
        disk.room = room
        write(log, NOTHING)
    cut_off, whole = disk.written.splitlines()
    assert len(cut_off) == 10
    assert json.loads(whole)["session"] == 8


def test_lines_of_several_processes_do_not_mix_in_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(fifo, Clock())
    pieces: list[int] = []
    log._file = Spy(log._file, pieces)  # type: ignore[assignment]
    for number in range(40):
        log.closed(GRANTED._replace(id=number))
    log.close()
    found = b""
    while data := os.read(reader, 1 << 16):
        found += data
    os.close(reader)
    assert [json.loads(line)["session"] for line in found.splitlines()] == list(range(40))
    # Each goes in whole, or not at all.
    assert max(pieces) <= select.PIPE_BUF


class Spy:
    """A file of which is known how much was written at once."""

    def __init__(self, file: io.RawIOBase, pieces: list[int]) -> None:
        self._file = file
        self._pieces = pieces

    def write(self, data: bytes) -> int | None:
        self._pieces.append(len(data))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_when_there_is_room_again_every_line_is_a_whole_record(logs: Sequence[LogEvent]) -> None:
    disk = Disk()
    log = AccessLog(Path("log"), Clock(), lambda path: disk)
    disk.full = True
    for number in range(200):
        write(log, GRANTED._replace(id=number))
    disk.full = False
    write(log, NOTHING)
    write(log, NOTHING)
    records = disk.records()
    assert [record["session"] for record in records[-2:]] == [8, 8]


def test_a_new_file_is_written_even_if_the_old_one_cannot_be_closed(
    tmp_path: Path, logs: Sequence[LogEvent]
) -> None:
    # What the full disk did not take is tried again when the file is closed.
    clock, path = Clock(), tmp_path / "log"
    files = iter([Path("/dev/full"), path])
    log = AccessLog(path, clock, lambda path: io.FileIO(next(files), "a"))
    write(log, GRANTED._replace(id=1))
    clock.advance(REOPEN_INTERVAL)
    write(log, GRANTED._replace(id=2))
    write(log, GRANTED._replace(id=3))
    clock.advance(REOPEN_INTERVAL)
    write(log, GRANTED._replace(id=4))
    assert ids(path)[-2:] == [3, 4]
    log.close()
    assert "the access log cannot be written" in [event["text"] for event in logs]


def test_granted_sessions_can_be_left_to_the_access_log(logs: Sequence[LogEvent]) -> None:
    log = SessionLog(granted=False)
    log.closed(GRANTED)
    assert logs == []
    log.closed(NOTHING)
    assert len(logs) == 1


# What the workers' parent, and a SIGHUP, ask of it.


def test_it_is_opened_anew_at_once_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(path, Clock())
    write(log, GRANTED._replace(id=1))
    path.rename(tmp_path / "moved")
    log.reopen()
    write(log, GRANTED._replace(id=2))
    log.close()
    assert (ids(tmp_path / "moved"), ids(path)) == ([1], [2])


def test_a_file_that_is_where_it_should_be_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(path, Clock())
    before = log.fileno()
    log.reopen()
    assert log.fileno() == before
    assert os.path.samestat(os.fstat(before), path.stat())
    log.close()


def test_a_file_that_is_open_already_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(json.dumps({"session": 1}) + "\n", encoding="ascii")
    log = AccessLog(path, Clock(), opened=io.FileIO(path, "a"))
    write(log, GRANTED._replace(id=2))
    log.close()
    assert ids(path) == [1, 2]


def test_several_processes_add_whole_lines_to_one_file(tmp_path: Path) -> None:
    # As workers do, whose file is their parent's.
    path = tmp_path / "log"
    first = AccessLog(path, Clock())
    second = AccessLog(path, Clock(), opened=io.FileIO(os.dup(first.fileno()), "a"))
    for number in range(6):
        write((second if number % 2 else first), GRANTED._replace(id=number))
    first.close()
    second.close()
    assert ids(path) == list(range(6))


def test_it_knows_where_it_is_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = AccessLog(Path("log"), Clock())
    log.close()
    assert log.path == tmp_path / "log"


# What a rule says of logs.


@pytest.mark.parametrize(
    ("log", "granted", "outcome", "told"),
    [
        (None, True, Outcome.GRANTED, True),
        (None, False, Outcome.GRANTED, False),
        (None, False, Outcome.REFUSED, True),
        (Logged.ALL, False, Outcome.GRANTED, True),
        (Logged.ALL, False, Outcome.REFUSED, True),
        (Logged.REFUSED, True, Outcome.GRANTED, False),
        (Logged.REFUSED, True, Outcome.REFUSED, True),
        (Logged.NONE, True, Outcome.GRANTED, False),
        (Logged.NONE, True, Outcome.REFUSED, False),
    ],
)
def test_a_rule_says_which_of_its_sessions_the_logs_tell_of(
    tmp_path: Path, log: Logged | None, granted: bool, outcome: Outcome, told: bool
) -> None:
    record = GRANTED._replace(log=log, outcome=outcome)
    with capturedLogs() as captured:
        SessionLog(granted=granted).closed(record)
    assert len(captured) == told
    access_log = AccessLog(tmp_path / "log", Clock())
    access_log.closed(record)
    access_log.close()
    always = told or log is None
    assert len((tmp_path / "log").read_text().splitlines()) == always
