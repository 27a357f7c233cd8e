"""The benchmark as a whole, small."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.bench.measurements import MEASUREMENTS
from tests.bench.report import GOALS

ROOT = Path(__file__).parents[2]


def mentioning(text: str) -> list[str]:
    """The command lines of processes in which something stands."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line:
                found.append(line)
    return found


def test_everything_is_measured_and_ended(tmp_path: Path) -> None:
    rows = tmp_path / "rows.rst"
    # What the benchmark starts is in this folder, or named after a file in it.
    folder = tmp_path / "folder"
    folder.mkdir()
    sizes = ["--rounds", "1", "--seconds", "0.1", "--rules", "12", "--sessions", "20"]
    which = ["--servers", "straight,socks5d", "--rows", str(rows)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *sizes, *which],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert mentioning(str(folder)) == []
    assert list(folder.iterdir()) == []
    for name, measurement in MEASUREMENTS.items():
        table = done.stdout.split(f"{name}: {measurement.title}\n\n")[1].split("\n\n")[0]
        ours = table.splitlines()[-1].split()
        assert ours[0] == "socks5d"
        assert len(ours) == len(measurement.columns) + 1
        # Of so little the rest may be too small to be seen.
        assert ours[1] != "-", table
    assert [goal.title for goal in GOALS if goal.title not in done.stdout] == []
    assert re.findall(r"^   \* - (\w+)", rows.read_text(), re.MULTILINE) == [
        "Server",
        "straight",
        "socks5d",
    ]
