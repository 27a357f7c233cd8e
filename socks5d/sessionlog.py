"""
Observers of sessions that write: a line an operator can live with, and JSON lines.
"""

import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from errno import ENOSPC
from functools import lru_cache
from io import FileIO, RawIOBase
from ipaddress import IPv4Address
from json.encoder import encode_basestring_ascii as _json
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.bounded import Complaints
from socks5d.escape import printable
from socks5d.interfaces import ISessionObserver
from socks5d.model import Client, Ident, Identity, Logged, Outcome, Record
from socks5d.wire.address import IPAddress, address_text

#: How often the access log is looked for where it should be, in seconds.
REOPEN_INTERVAL = 1.0


#: Lines that are written together at the most.
TOGETHER = 256


def host_port(host: object, port: int) -> str:
    """
    @return: C{host:port}, an IPv6 host in brackets.
    """
    text = str(host)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def client_text(client: Client) -> str:
    """
    @return: the client's address and port, or "local" for one without.
    """
    return "local" if client.address is None else host_port(client.address, client.port)


def identity_text(identity: Identity) -> str:
    """
    @return: C{source:name}, or "-" for nobody in particular.
    """
    return (
        "-" if identity.name is None else f"{printable(identity.source)}:{printable(identity.name)}"
    )


def ident_text(ident: Ident | None) -> str:
    """
    @return: what identd said; "-" when it was not asked, or gave no name.
    """
    return "-" if ident is None or ident.name is None else printable(ident.name)


def _is_told(record: Record, *, granted: bool) -> bool:
    """
    Whether a log tells of a session.

    @param granted: whether it does of one that was granted, where no rule says.
    """
    if record.log is None:
        return granted or record.outcome is not Outcome.GRANTED
    if record.log is Logged.REFUSED:
        return record.outcome is not Outcome.GRANTED
    return record.log is Logged.ALL


@implementer(ISessionObserver)
class SessionLog:
    """
    One line in the log at the end of each session that asked for something.
    """

    _log = Logger()

    def __init__(self, granted: bool = True) -> None:
        """
        @param granted: whether those that were granted get a line too.
        """
        self._granted = granted

    def closed(self, record: Record) -> None:
        """
        See L{ISessionObserver}.  A client that left without a word (a port check, say)
        is not worth a line, nor is each that is over a limit, which is said once and then
        counted; the access log has them.
        """
        if record.outcome is Outcome.OVER_LIMIT or not _is_told(record, granted=self._granted):
            return
        if record.outcome is Outcome.CLIENT_LEFT and not record.handshake:
            return
        asked = "-" if record.asked is None else host_port(record.asked, record.port)
        address = "-" if record.address is None else host_port(record.address, record.port)
        self._log.info(
            "{text}",
            text=" ".join(
                (
                    f"session={record.id}",
                    f"client={client_text(record.client)}",
                    f"listener={record.client.listener or '-'}",
                    f"version={record.version or '-'}",
                    f"identity={identity_text(record.identity)}",
                    f"ident={ident_text(record.ident)}",
                    f"claimed={record.claimed or '-'}",
                    f"command={_word(record.command or '')}",
                    f"asked={asked}",
                    f"address={address}",
                    f"result={_word(record.outcome)}",
                    f"rule={_word(record.rule)}",
                    f"end={_word(record.end)}",
                    f"received={record.received}",
                    f"sent={record.sent}",
                    f"dropped={record.dropped}",
                    f"refused={_word(record.refused)}",
                    f"seconds={record.seconds:.3f}",
                )
            ),
            session=record,
        )


def _word(text: str) -> str:
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "\\')
    return (text or "-") if plain else json.dumps(text)


def record_line(record: Record) -> str:
    """
    @return: the record as a line of JSON, in ASCII.
    """
    second = int(record.started)
    thousandths = int((record.started - second) * 1000)
    rule, end, refused = record.rule, record.end, record.refused
    return (
        f'{{"time":"{_utc(second)}.{thousandths:03d}+00:00"'
        f',"session":{record.id}'
        f',"client":{_text(record.client.address)}'
        f',"client_port":{record.client.port}'
        f"{_who(record)}"
        f',"asked":{"null" if record.asked is None else _json(record.asked)}'
        f',"port":{record.port}'
        f',"address":{_text(record.address)}'
        f',"result":{_constant(record.outcome)}'
        f',"rule":{_constant(rule) if rule else "null"}'
        f',"end":{_constant(end) if end else "null"}'
        f',"received":{record.received},"sent":{record.sent},"dropped":{record.dropped}'
        f',"refused":{_json(refused) if refused else "null"}'
        f',"seconds":{record.seconds:.6f}}}'
    )


def _who(record: Record) -> str:
    ident, claimed = record.ident, record.claimed
    name = ident.name if ident is not None else None
    problem = ident.problem if ident is not None else ""
    return (
        f"{_way(record.client.listener, record.version, record.method)}"
        f"{_identity(record.identity)}"
        f',"ident":{"null" if name is None else _json(printable(name))}'
        f',"ident_problem":{_json(problem) if problem else "null"}'
        f',"claimed":{"null" if claimed is None else _json(claimed)}'
        f',"command":{"null" if record.command is None else _constant(record.command)}'
    )


#: What stands in many lines the same is made once.
@lru_cache(256)
def _way(listener: str, version: str, method: int | None) -> str:
    return (
        f',"listener":{_json(listener)}'
        f',"version":{_json(version) if version else "null"}'
        f',"method":{"null" if method is None else method}'
    )


@lru_cache(1024)
def _identity(identity: Identity) -> str:
    return (
        f',"identity":{"null" if identity.name is None else _json(printable(identity.name))}'
        f',"identity_source":{_json(identity.source)}'
    )


@lru_cache(4)
def _utc(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


#: Of words that come again and again.
_constant = lru_cache(1024)(_json)


def _text(address: IPAddress | None) -> str:
    # Nothing in an address wants escaping, but perhaps in its zone.
    if isinstance(address, IPv4Address):
        return f'"{address_text(address)}"'
    return "null" if address is None else _json(str(address))


@implementer(ISessionObserver)
class AccessLog:
    """
    The same records as JSON lines in a file.  When the file has been moved away (by
    logrotate, say) a new one is opened in its place.

    @ivar path: the file, wherever it is now.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        clock: IReactorTime,
        open_file: Callable[[Path], RawIOBase] | None = None,
        opened: RawIOBase | None = None,
    ) -> None:
        """
        @param path: the file, which is appended to.
        @param clock: says when to look whether the file is still there.
        @param open_file: in the place of opening the file.
        @param opened: the file, where it is open already.
        @raise OSError: when the file cannot be opened.
        """
        self.path = path.absolute()
        self._clock = clock
        self._open = open_file if open_file is not None else _append
        self._file = opened if opened is not None else self._open(self.path)
        self._regular = _is_regular(self._file)
        self._looked = clock.seconds()
        self._lines: list[str] = []
        #: Whether the last line is there in part.
        self._torn = False
        self._complaints = Complaints(clock, self._log)

    def closed(self, record: Record) -> None:
        """
        See L{ISessionObserver}.  What a turn of the reactor brings is written together, at
        its end.
        """
        if not _is_told(record, granted=True):
            return
        if not self._lines:
            self._clock.callLater(0, self.flush)
        self._lines.append(record_line(record) + "\n")
        if len(self._lines) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """
        Write what has not been written yet: into a file in one piece, so that nothing of
        another process gets in between; into anything else line by line, for the same reason.
        """
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        try:
            self._reopen_if_moved()
            if self._regular:
                self._write("".join(lines))
            else:
                for line in lines:
                    self._write(line)
        except OSError:
            self._complaints.complain("the access log cannot be written", Failure())

    def _write(self, lines: str) -> None:
        data = lines.encode("ascii")
        if self._torn:
            data = b"\n" + data
        written = self._file.write(data)
        if written:
            self._torn = data[written - 1] != ord("\n")
        if written != len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.flush()
        self._file.close()

    def fileno(self) -> int:
        """
        @return: the open file's descriptor.
        """
        return self._file.fileno()

    def _reopen_if_moved(self) -> None:
        if self._clock.seconds() - self._looked >= REOPEN_INTERVAL:
            self.reopen()

    def reopen(self) -> None:
        """Open the file anew, if it is not where it should be."""
        self.flush()
        self._looked = self._clock.seconds()
        try:
            there = os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            # Moved away, or its folder is out of reach since privileges were dropped.
            there = False
        if there:
            return
        try:
            new = self._open(self.path)
        except OSError as error:
            # No privilege any more, or another root directory: the old one still serves.
            self._complaints.warn(f"the access log cannot be opened anew: {error.strerror}")
            return
        old, self._file = self._file, new
        self._torn = False
        self._regular = _is_regular(new)
        old.close()


def _append(path: Path) -> RawIOBase:
    return FileIO(path, "a")


def _is_regular(file: RawIOBase) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
