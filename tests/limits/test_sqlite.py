"""What only a file can do."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.python.failure import Failure

from socks5d.limits.sqlite import SQLiteStore
from tests.limits.test_store import Kept, Wall
from tests.support.running import reactor


@pytest.fixture
def wall() -> Wall:
    return Wall()


def test_a_file_outlives_its_store(tmp_path: Path, wall: Wall) -> None:
    for expected in (0, 5, 10):
        made = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
        made.open()
        assert made.used("day 1", "ann") == expected
        made.add("day 1", 200.0, {"ann": 5})
        made.close()
    assert (tmp_path / "quota").stat().st_mode & 0o777 == 0o600


def test_two_do_not_keep_the_same(tmp_path: Path, wall: Wall) -> None:
    one = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
    one.open()
    other = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
    refused = other.open()
    assert isinstance(refused, Failure)
    assert "another process keeps its quotas in it" in refused.getErrorMessage()
    one.close()
    other.open()
    other.close()


def test_it_can_be_read_meanwhile(tmp_path: Path, wall: Wall) -> None:
    made = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
    made.open()
    made.add("day 1", 200.0, {"ann": 5})
    with closing(sqlite3.connect(tmp_path / "quota")) as database:
        rows = database.execute("SELECT period, identity, octets, ends FROM used").fetchall()
    assert rows == [("day 1", "ann", 5, 200.0)]
    made.close()


def test_the_reactor_does_not_wait_for_the_file(tmp_path: Path, wall: Wall) -> None:
    made = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
    threads: list[threading.Thread] = []
    look_up = made.store._look_up

    def noted(*arguments: str) -> int:
        threads.append(threading.current_thread())
        return int(look_up(*arguments))

    made.store._look_up = noted
    made.open()
    made.used("day 1", "ann")
    made.close()
    assert [each.name.startswith("PoolThread-socks5d quota") for each in threads] == [True]


def test_what_fails_is_not_added_in_part(tmp_path: Path, wall: Wall) -> None:
    made = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
    made.open()
    failure = made.add("day 1", 200.0, {"ann": 5, "bob": 1 << 70})
    assert isinstance(failure, Failure)
    assert failure.check(OverflowError)
    assert made.used("day 1", "ann") == 0
    made.add("day 1", 200.0, {"ann": 6})
    assert made.used("day 1", "ann") == 6
    made.close()


def nonsense(path: Path) -> None:
    path.write_text("dear diary, " * 100)


def somebody_elses(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE diary (entry TEXT)")
        database.commit()


def of_the_future(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (nonsense, "file is not a database"),
        (somebody_elses, "it is a database of something else"),
        (of_the_future, "it is a database of something else"),
        (folder, "Is a directory"),
    ],
)
def test_what_is_no_database_of_ours_is_left_alone(
    tmp_path: Path, wall: Wall, make: Any, problem: str
) -> None:
    path = tmp_path / "quota"
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    failure = Kept(SQLiteStore(reactor, path, wall)).open()
    assert isinstance(failure, Failure)
    assert problem in failure.getErrorMessage()
    assert (None if path.is_dir() else path.read_bytes()) == before
