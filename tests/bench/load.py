"""The load generator: compiled, and run against a proxy or straight at its target."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench import processes

SOURCE = Path(__file__).with_name("load.c")

#: Seconds that one run may take beyond what it was asked to.
PATIENCE = 60.0

Line = dict[str, float]


class LoadError(Exception):
    """The load could not be put on a server; the text says why."""


class Target(NamedTuple):
    """
    What relays lead to.

    @ivar pid: its process.
    @ivar tcp: its TCP port.
    @ivar udp: its UDP port.
    """

    pid: int
    tcp: int
    udp: int


def compile_load(folder: Path) -> Path:
    """Compile the generator into a folder; gives the program."""
    program = folder / "load"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)],
        check=True,
        timeout=PATIENCE,
    )
    return program


def parse_line(text: str) -> Line:
    """NAME=VALUE, with spaces between."""
    try:
        return {name: float(value) for name, value in (pair.split("=", 1) for pair in text.split())}
    except ValueError:
        raise LoadError(f"the load generator said {text!r}") from None


def raise_descriptors() -> int:
    """Let this process and those it starts have as many descriptors as they can; how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Generator:
    """The compiled generator."""

    def __init__(self, program: Path) -> None:
        self._program = str(program)

    @contextmanager
    def target(self) -> Iterator[Target]:
        """Runs a target."""
        with self._started("target") as process:
            ports = self._said(process)
            yield Target(process.pid, int(ports["tcp"]), int(ports["udp"]))

    def run(self, kind: str, proxy: int, target: int, count: int, seconds: float) -> Line:
        """
        Put load on a server for a while.

        @param kind: C{connect}, C{bulk}, C{echo} or C{udp}.
        @param proxy: the server's port; 0 goes straight to the target.
        @param count: how many at once.
        @return: what the generator counted, and C{cpu}, the processor time it took itself.
        """
        arguments = [self._program, kind, str(proxy), str(target), str(count), str(seconds)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=seconds + PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            raise LoadError(f"{kind} did not end") from None
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise LoadError(f"{kind}: {done.stderr.strip()}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {**parse_line(done.stdout), "cpu": cpu}

    @contextmanager
    def idle(self, proxy: int, target: int, relays: int) -> Iterator[int]:
        """Holds idle relays; gives how many there are, which may be fewer."""
        with self._started("idle", str(proxy), str(target), str(relays), "0") as process:
            yield int(self._said(process)["relays"])

    @contextmanager
    def bulk(self, proxy: int, target: int, relays: int) -> Iterator[None]:
        """Runs bulk beside something else, until that has ended."""
        # Its own end comes only where this process is gone.
        with self._started("bulk", str(proxy), str(target), str(relays), "600") as process:
            yield
            if process.poll() is not None:
                raise LoadError("the bulk beside it ended early")

    @contextmanager
    def _started(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        process = subprocess.Popen(
            [self._program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            yield process
        finally:
            processes.stop(process)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()

    def _said(self, process: "subprocess.Popen[bytes]") -> Line:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if not line:
            raise LoadError("the load generator ended early")
        return parse_line(line)
