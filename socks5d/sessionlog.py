"""
Observers of sessions that write: a line an operator can live with, and JSON lines.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socks5d.bounded import Complaints
from socks5d.escape import printable
from socks5d.interfaces import ISessionObserver
from socks5d.model import Client, Ident, Identity, Opened, Outcome, Record

#: How often the access log is looked for where it should be, in seconds.
REOPEN_INTERVAL = 1.0


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


@implementer(ISessionObserver)
class SessionLog:
    """One line in the log at the end of each session that asked for something."""

    _log = Logger()

    def opened(self, event: Opened) -> None:
        """See L{ISessionObserver}.  What matters is written at the end."""

    def closed(self, record: Record) -> None:
        """
        See L{ISessionObserver}.  A client that left without a word (a port check, say)
        is not worth a line; the access log has it.
        """
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
                    f"command={record.command.value if record.command else '-'}",
                    f"asked={asked}",
                    f"address={address}",
                    f"result={_word(record.outcome.value)}",
                    f"rule={_word(record.rule)}",
                    f"end={_word(record.end)}",
                    f"received={record.received}",
                    f"sent={record.sent}",
                    f"dropped={record.dropped}",
                    f"seconds={record.seconds:.3f}",
                )
            ),
            session=record,
        )


def _word(text: str) -> str:
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "\\')
    return (text or "-") if plain else json.dumps(text)


def record_fields(record: Record) -> dict[str, Any]:
    """
    @return: the record as JSON has it.
    """
    ident = record.ident
    started = datetime.fromtimestamp(record.started, UTC)
    return {
        "time": started.isoformat(timespec="milliseconds"),
        "session": record.id,
        "client": None if record.client.address is None else str(record.client.address),
        "client_port": record.client.port,
        "listener": record.client.listener,
        "version": record.version or None,
        "method": record.method,
        "identity": None if record.identity.name is None else printable(record.identity.name),
        "identity_source": record.identity.source,
        "ident": None if ident is None or ident.name is None else printable(ident.name),
        "ident_problem": None if ident is None else printable(ident.problem) or None,
        "claimed": record.claimed,
        "command": record.command.value if record.command else None,
        "asked": record.asked,
        "port": record.port,
        "address": None if record.address is None else str(record.address),
        "result": record.outcome.value,
        "rule": record.rule,
        "end": record.end or None,
        "received": record.received,
        "sent": record.sent,
        "dropped": record.dropped,
        "seconds": round(record.seconds, 6),
    }


@implementer(ISessionObserver)
class AccessLog:
    """
    The same records as JSON lines in a file.  When the file has been moved away (by
    logrotate, say) a new one is opened in its place.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        clock: IReactorTime,
        open_file: Callable[[Path], TextIOWrapper] | None = None,
    ) -> None:
        """
        @param path: the file, which is appended to.
        @param clock: says when to look whether the file is still there.
        @param open_file: in the place of opening the file.
        @raise OSError: when the file cannot be opened.
        """
        self._path = path.absolute()
        self._clock = clock
        self._open = open_file if open_file is not None else _append
        self._file = self._open(self._path)
        self._looked = clock.seconds()
        self._complaints = Complaints(clock, self._log)

    def opened(self, event: Opened) -> None:
        """See L{ISessionObserver}.  What matters is written at the end."""

    def closed(self, record: Record) -> None:
        """See L{ISessionObserver}."""
        line = json.dumps(record_fields(record), ensure_ascii=True, separators=(",", ":"))
        try:
            self._reopen_if_moved()
            self._file.write(line + "\n")
            self._file.flush()
        except OSError:
            self._complaints.complain("the access log cannot be written", Failure())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _reopen_if_moved(self) -> None:
        now = self._clock.seconds()
        if now - self._looked < REOPEN_INTERVAL:
            return
        self._looked = now
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            # Moved away, or its folder is out of reach since privileges were dropped.
            there = False
        if there:
            return
        try:
            new = self._open(self._path)
        except OSError as error:
            # No privilege any more, or another root directory: the old one still serves.
            self._complaints.warn(f"the access log cannot be opened anew: {error.strerror}")
            return
        old, self._file = self._file, new
        old.close()


def _append(path: Path) -> TextIOWrapper:
    return path.open("a", encoding="ascii")
