"""Processes as /proc tells of them: the processor time and the memory of a whole tree."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: Seconds that a process gets to end after a signal; socks5d lets sessions finish for ten.
PATIENCE = 20.0

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Stat(NamedTuple):
    """
    What /proc/PID/stat says.

    @ivar ticks: processor time, with that of the children that have ended.
    @ivar started: when it was started; with the pid, what names a process for good.
    """

    pid: int
    parent: int
    ticks: int
    started: int
    zombie: bool


def parse_stat(text: str) -> Stat:
    """The command's name stands in parentheses and may have spaces and parentheses itself."""
    pid, _, _ = text.partition(" ")
    fields = text[text.rindex(")") + 1 :].split()
    ticks = sum(int(field) for field in fields[11:15])
    return Stat(int(pid), int(fields[1]), ticks, int(fields[19]), fields[0] in "ZX")


def parse_pss(text: str) -> int:
    """The proportional set size, in KiB, of /proc/PID/smaps_rollup; a zombie has none."""
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def every() -> dict[int, Stat]:
    """All processes, by pid."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                stat = parse_stat((folder / "stat").read_text(errors="replace"))
                found[stat.pid] = stat
    return found


def descendants(root: int, processes: Mapping[int, Stat]) -> list[Stat]:
    """A process and all that came from it."""
    children: dict[int, list[Stat]] = {}
    for stat in processes.values():
        children.setdefault(stat.parent, []).append(stat)
    found = [processes[root]] if root in processes else []
    for stat in found:
        found.extend(children.get(stat.pid, ()))
    return found


def cpu_seconds(tree: Iterable[Stat]) -> float:
    """The processor time of a tree, ended children included."""
    return sum(stat.ticks for stat in tree) / TICKS


def cpu_of(root: int) -> float:
    """The processor time of a process and all that came from it."""
    return cpu_seconds(descendants(root, every()))


def pss_of(root: int) -> int:
    """The memory, in KiB, of a process and all that came from it; what is shared is shared out."""
    total = 0
    for stat in descendants(root, every()):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += parse_pss((PROC / str(stat.pid) / "smaps_rollup").read_text())
    return total


def settled_pss(root: int, seconds: float) -> int:
    """The memory once it has stopped falling, or after so many seconds."""
    deadline = time.monotonic() + seconds
    least = pss_of(root)
    while time.monotonic() < deadline:
        time.sleep(1)
        last, least = least, min(least, pss_of(root))
        if least == last:
            break
    return least


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that came from it, by their pids."""
    tree = descendants(process.pid, every())
    if process.poll() is None:
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    left = _left(tree)
    deadline = time.monotonic() + (PATIENCE if process.returncode is not None else 0)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = _left(left)
    for stat in left:
        with suppress(ProcessLookupError):
            os.kill(stat.pid, signal.SIGKILL)
    process.wait()


def _left(tree: Iterable[Stat]) -> list[Stat]:
    """Those of a tree that still run, and not others that have got their pids."""
    now = every()
    return [
        stat
        for stat in tree
        if (found := now.get(stat.pid)) and found.started == stat.started and not found.zombie
    ]
