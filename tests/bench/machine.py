"""What the figures were measured on."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("dante-server", "microsocks")


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in /proc/cpuinfo; not every architecture has one."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def package_version(package: str) -> str:
    """The version of a Debian package."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout or "not installed"


def described(notes: Iterable[str]) -> str:
    """The machine, the versions, the date, and notes."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"Linux {platform.release()} {platform.machine()}, "
        f"{cpu_model(Path('/proc/cpuinfo').read_text())}, "
        f"{len(os.sched_getaffinity(0))} cores",
        f"Python {platform.python_version()}, Twisted {version('twisted')}, "
        f"socks5d {version('socks5d')}",
        ", ".join(f"{package} {package_version(package)}" for package in PACKAGES),
        *notes,
    ]
    return "".join(f"{line}\n" for line in lines)
