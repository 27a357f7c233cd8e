"""Measures the servers in turn, and prints tables."""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench import report
from tests.bench.load import Generator, LoadError, compile_load, raise_descriptors
from tests.bench.machine import described
from tests.bench.measurements import (
    MEASUREMENTS,
    Bench,
    Figures,
    Measurement,
    idle_sessions,
)
from tests.bench.servers import KINDS, SOCKS5D_X2, Server, ServerError, has_workers, running

Results = dict[tuple[str, str], list[Figures]]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""

    def chosen(known: Mapping[str, object]) -> Any:
        def parse(text: str) -> list[str]:
            names = text.split(",")
            if unknown := set(names) - set(known):
                raise argparse.ArgumentTypeError(
                    f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}"
                )
            return [name for name in known if name in names]

        return parse

    def some(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("at least 1")
        return number

    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    add = parser.add_argument
    names = "NAME[,NAME]"
    measured, compared = ", ".join(MEASUREMENTS), ", ".join(KINDS)
    add("--rounds", type=some, default=5, metavar="N", help="in which all are measured; 5")
    add("--seconds", type=float, default=2.0, metavar="S", help="of each measurement; 2")
    add(
        "--only",
        type=chosen(MEASUREMENTS),
        default=list(MEASUREMENTS),
        metavar=names,
        help=f"what is measured; by default all: {measured}",
    )
    add(
        "--servers",
        type=chosen(KINDS),
        default=list(KINDS),
        metavar=names,
        help=f"which are compared; by default all: {compared}",
    )
    add("--rules", type=some, default=1000, metavar="N", help="that socks5d has; 1000")
    add("--sessions", type=some, default=10_000, metavar="N", help="idle ones; 10000")
    add("--rows", type=Path, metavar="FILE", help="for the README's table, not the standard output")
    return parser.parse_args(given)


def take(measurement: Measurement, bench: Bench, server: Server, results: Results) -> None:
    """Measure one server once."""
    try:
        figures = measurement.measure(bench, server)
    except LoadError as problem:
        bench.notes.append(f"{server.name}, {measurement.name}: {problem}")
        return
    if figures is not None:
        results.setdefault((measurement.name, server.name), []).append(figures)


def measure(
    chosen: Sequence[Measurement], bench: Bench, servers: Sequence[Server], rounds: int
) -> Results:
    """Round by round, each server in turn, another one first each time."""
    results: Results = {}
    for number in range(rounds):
        turn = number % len(servers)
        for measurement in chosen:
            for server in (*servers[turn:], *servers[:turn]):
                progress(f"round {number + 1} of {rounds}: {measurement.name}, {server.name}")
                take(measurement, bench, server, results)
    return results


def progress(text: str) -> None:
    """Say what is going on, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Everything, from compiling to the tables."""
    options = arguments()
    # To end is to leave the contexts below, which end what was started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    notes: list[str] = []
    descriptors = raise_descriptors()
    names = list(options.servers)
    if SOCKS5D_X2 in names and not has_workers():
        names.remove(SOCKS5D_X2)
        notes.append(f"{SOCKS5D_X2} is left out: this socks5d has no --workers")
    sessions = idle_sessions(options.sessions, descriptors)
    if sessions < options.sessions and "idle" in options.only:
        notes.append(
            f"idle with {sessions} sessions, not {options.sessions}: "
            f"a process may have {descriptors} descriptors here"
        )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        # A server that has given up its privileges still goes to its log.
        folder.chmod(0o755)
        generator = Generator(compile_load(folder))
        targets = (stack.enter_context(generator.target()), stack.enter_context(generator.target()))
        bench = Bench(generator, *targets, options.seconds, sessions, notes)
        chosen = [MEASUREMENTS[name] for name in options.only]
        in_rounds = [measurement for measurement in chosen if not measurement.once]
        with ExitStack() as started:
            servers = [
                started.enter_context(running(KINDS[name], folder, options.rules)) for name in names
            ]
            results = measure(in_rounds, bench, servers, options.rounds)
        for measurement in chosen:
            for name in names if measurement.once else ():
                progress(f"{measurement.name}, {name}")
                fresh = folder / measurement.name
                fresh.mkdir(exist_ok=True)
                with running(KINDS[name], fresh, options.rules) as server:
                    take(measurement, bench, server, results)
    progress("")
    tell(options, names, results, notes)


def tell(
    options: argparse.Namespace, names: Sequence[str], results: Results, notes: Sequence[str]
) -> None:
    """Print what was found."""
    head = [
        f"medians of {options.rounds} rounds, {options.seconds:g} s each; "
        f"{options.rules} rules in socks5d"
    ]
    print(described([*head, *notes]))
    for name in options.only:
        print(report.measurement_table(MEASUREMENTS[name], results, names))
    print(report.goal_table(results))
    rows = report.rst_rows(results, names)
    if options.rows is None:
        print(rows, end="")
    else:
        options.rows.write_text(rows, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ServerError as problem:
        sys.exit(str(problem))
