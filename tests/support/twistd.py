"""The real twistd, in a process of its own."""

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.running import PATIENCE, Address

TWISTD = Path(sys.executable).with_name("twistd")


class Twistd:
    """
    A running twistd.

    @ivar process: the process.
    @ivar lines: what it has printed so far.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, prefix: Sequence[str], own: Sequence[str]
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, str(TWISTD), "-n", "--pidfile=", *own, "socks5d", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches; fails when it ends first or takes too long."""
        seen = 0
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.lines)
                assert not self._ended, f"ended without {pattern!r}:\n{self.output()}"
                assert self._changed.wait(PATIENCE), f"no {pattern!r} in:\n{self.output()}"

    def output(self) -> str:
        return "\n".join(self.lines)

    def address(self) -> Address:
        """Where the first listener listens."""
        match = self.wait_for(r"listening on \[?([0-9a-f.:]+?)\]?:(\d+) ")
        return match[1], int(match[2])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it; gives the exit status once it has ended."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def sockets(self) -> int:
        """How many sockets it has open."""
        count = 0
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                count += str(link.readlink()).startswith("socket:")
        return count

    def settle(self, sockets: int) -> None:
        """Wait until it has no more sockets open than these: until its sessions have ended."""
        deadline = time.monotonic() + PATIENCE
        while (count := self.sockets()) > sockets:
            assert time.monotonic() < deadline, f"{count - sockets} sockets stay open"
            select.select([], [], [], 0.02)

    def resident(self) -> int:
        """Its resident memory in octets."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert match is not None
        return int(match[1]) * 1024


@contextmanager
def twistd(
    *arguments: str,
    listen: str | None = "tcp:0:interface=127.0.0.1",
    prefix: Sequence[str] = (),
    own: Sequence[str] = (),
) -> Iterator[Twistd]:
    """
    Runs C{twistd -n socks5d}.

    @param arguments: of socks5d.
    @param listen: an endpoint, or None to give none.
    @param prefix: what runs twistd, as C{prlimit}.
    @param own: options of twistd itself.
    """
    with TemporaryDirectory() as folder:
        listeners = () if listen is None else ("--listen", listen)
        running = Twistd([*listeners, *arguments], Path(folder), prefix, own)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait(PATIENCE)


def refused_start(*arguments: str) -> tuple[int, str]:
    """Runs C{twistd -n socks5d}, which should end by itself; gives status and output."""
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(TWISTD), "-n", "--pidfile=", "socks5d", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    return done.returncode, done.stdout + done.stderr
