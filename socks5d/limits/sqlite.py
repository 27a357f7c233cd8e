"""Where what identities have used is kept for longer than this program runs: SQLite."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import time
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from socks5d.interfaces import IQuotaStore
from socks5d.threads import Threads

#: Jobs that wait for the database at the most; one more is refused.
JOBS: Final = 1024
#: What a database of ours says of itself.
VERSION: Final = 1
#: How long it may be locked by somebody else, in seconds.
LOCKED: Final = 5.0

_OURS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC

_SCHEMA = """\
CREATE TABLE IF NOT EXISTS used (
    period TEXT NOT NULL,
    identity TEXT NOT NULL,
    octets INTEGER NOT NULL,
    ends REAL NOT NULL,
    PRIMARY KEY (period, identity)
) WITHOUT ROWID
"""
_ADD = """\
INSERT INTO used (period, identity, octets, ends) VALUES (?, ?, ?, ?)
ON CONFLICT (period, identity) DO UPDATE SET octets = octets + excluded.octets
"""


@implementer(IQuotaStore)
class SQLiteStore:
    """
    Keeps it in a file, in a thread of its own.  What was added survives the end of this
    process, however it comes; a failure of the machine may cost the last additions.
    """

    def __init__(
        self, reactor: IReactorFromThreads, path: Path, wall: Callable[[], float] = time
    ) -> None:
        """
        @param path: the file, beside which there is another that says that it is in use, and
            SQLite has two more while it is open.
        @param wall: the time, in seconds since the epoch.
        """
        self._path = path.absolute()
        self._wall = wall
        # One at a time, in their order.
        self._threads = Threads(reactor, "socks5d quota", threads=1, jobs=JOBS)
        self._database: sqlite3.Connection

    def open(self) -> Deferred[None]:
        """See L{IQuotaStore}."""
        return self._threads.run(self._open)

    def used(self, period: str, identity: str) -> Deferred[int]:
        """See L{IQuotaStore}."""
        return self._threads.run(partial(self._look_up, period, identity))

    def add(self, period: str, ends: float, octets: Mapping[str, int]) -> Deferred[None]:
        """See L{IQuotaStore}."""
        rows = [(period, identity, count, ends) for identity, count in octets.items()]
        return self._threads.run(partial(self._add, rows))

    def close(self) -> Deferred[None]:
        """See L{IQuotaStore}."""
        return self._threads.run(self._close)

    # In the thread.

    def _open(self) -> None:
        self._lock = _locked(self._path.with_name(f"{self._path.name}.lock"))
        try:
            self._connect()
        except BaseException:
            os.close(self._lock)
            raise

    def _connect(self) -> None:
        # Names of people are in it.
        os.close(os.open(self._path, _OURS, 0o600))
        database = sqlite3.connect(
            self._path, timeout=LOCKED, isolation_level=None, check_same_thread=False
        )
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version != VERSION and (version or tables):
                raise sqlite3.DatabaseError("it is a database of something else")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_SCHEMA)
            database.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            database.close()
            raise
        self._database = database

    def _look_up(self, period: str, identity: str) -> int:
        found = self._database.execute(
            "SELECT octets FROM used WHERE period = ? AND identity = ?", (period, identity)
        ).fetchone()
        return int(found[0]) if found is not None else 0

    def _add(self, rows: list[tuple[str, str, int, float]]) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            database.execute("DELETE FROM used WHERE ends <= ?", (self._wall(),))
            database.executemany(_ADD, rows)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        self._database.close()
        os.close(self._lock)


def _locked(path: Path) -> int:
    """
    @return: the descriptor of a file that no other process has locked.  Two that keep one
        database would both give what is left of a quota.
    @raise sqlite3.OperationalError: when another one has.
    """
    lock = os.open(path, _OURS, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise sqlite3.OperationalError("another process keeps its quotas in it") from None
    return lock
