"""Medians, ratios and tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from tests.bench.measurements import MEASUREMENTS, Column, Figures, Measurement
from tests.bench.servers import DANTE, MICROSOCKS, SOCKS5D, SOCKS5D_X2

#: The figures of every round, by measurement and server.
Results = Mapping[tuple[str, str], Sequence[Figures]]

NONE = "-"


class Goal(NamedTuple):
    """
    What the figures of ours shall be.

    @ivar ours: whose figures are judged.
    @ivar peers: whose best they are divided by; with none the figure itself is judged.
    @ivar least: whether the bound is the least that reaches the goal, and larger figures
        are better; otherwise it is the most.
    """

    title: str
    measurement: str
    column: str
    ours: str
    peers: tuple[str, ...]
    bound: float
    least: bool = True


PEERS = (DANTE, MICROSOCKS)

GOALS = (
    Goal("connections/s", "connect", "per_second", SOCKS5D, (MICROSOCKS,), 1.1),
    Goal("connections/s, two workers", "connect", "per_second", SOCKS5D_X2, (MICROSOCKS,), 1.25),
    Goal("bulk16 MB/s", "bulk16", "mb_per_second", SOCKS5D, PEERS, 1.3),
    Goal("bulk16 CPU s/GB", "bulk16", "cpu_per_gb", SOCKS5D, PEERS, 1.0, least=False),
    Goal("bulk1 MB/s", "bulk1", "mb_per_second", SOCKS5D, PEERS, 1.1),
    Goal("echoes/s", "echo", "per_second", SOCKS5D, (DANTE,), 1.0),
    Goal("datagrams/s", "udp", "per_second", SOCKS5D, (DANTE,), 2.0),
    Goal("KiB PSS per idle session", "idle", "kib", SOCKS5D, (), 2.0, least=False),
    Goal("p99 beside bulk / alone", "p99", "ratio", SOCKS5D, (), 5.0, least=False),
)


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each column over the rounds that have it."""
    keys = {key: None for figures in rounds for key in figures}
    return {key: median([figures[key] for figures in rounds if key in figures]) for key in keys}


def written(value: float | None, digits: int) -> str:
    """A figure in a table."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in plain text: the first column to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in rest)]
        for line in lines
        for rest in [zip(line[1:], widths[1:], strict=True)]
    ]
    aligned.insert(1, ["-" * width for width in widths])
    return "".join("  ".join(line).rstrip() + "\n" for line in aligned)


def measurement_table(measurement: Measurement, results: Results, servers: Sequence[str]) -> str:
    """The medians of all servers."""
    rows = []
    for server in servers:
        found = medians(results.get((measurement.name, server), ()))
        rows.append([server, *_cells(measurement.columns, found)])
    header = ["", *(column.heading for column in measurement.columns)]
    return f"{measurement.name}: {measurement.title}\n\n{text_table(header, rows)}"


def _cells(columns: Iterable[Column], figures: Figures) -> list[str]:
    return [written(figures.get(column.key), column.digits) for column in columns]


def judged(goal: Goal, figures: Mapping[str, Figures]) -> tuple[float, str] | None:
    """
    A goal's figure, and the peer that it is a ratio to (empty for none).

    @param figures: of each server, for the goal's measurement.
    @return: None where a figure is missing.
    """
    own = figures.get(goal.ours, {}).get(goal.column)
    if own is None:
        return None
    if not goal.peers:
        return own, ""
    theirs = {
        peer: value
        for peer in goal.peers
        if (value := figures.get(peer, {}).get(goal.column)) is not None
    }
    if not theirs:
        return None
    best = (max if goal.least else min)(theirs, key=theirs.__getitem__)
    return (own / theirs[best] if theirs[best] else math.inf), best


def reached(goal: Goal, value: float) -> bool:
    """Whether a figure is as good as the goal."""
    return value >= goal.bound if goal.least else value <= goal.bound


def goal_table(results: Results) -> str:
    """The goals: the ratio of medians, and the lowest and highest of single rounds."""
    rows = []
    for goal in GOALS:
        found = {
            server: list(results.get((goal.measurement, server), ()))
            for server in (goal.ours, *goal.peers)
        }
        result = judged(goal, {server: medians(rounds) for server, rounds in found.items()})
        if result is None:
            rows.append([goal.title, goal.ours, NONE, NONE, NONE, _bound(goal), NONE])
            continue
        value, peer = result
        singles = sorted(_rounds(goal, found))
        spread = f"{singles[0]:.2f}..{singles[-1]:.2f}" if singles else NONE
        verdict = "reached" if reached(goal, value) else "missed"
        rows.append(
            [goal.title, goal.ours, peer or NONE, f"{value:.2f}", spread, _bound(goal), verdict]
        )
    header = ["", "ours", "to", "value", "of the rounds", "goal", ""]
    return text_table(header, rows)


def _rounds(goal: Goal, found: Mapping[str, Sequence[Figures]]) -> Iterable[float]:
    """The goal's figure in each round that has one."""
    for number in range(max(map(len, found.values()))):
        one = {server: rounds[number] for server, rounds in found.items() if number < len(rounds)}
        if (result := judged(goal, one)) is not None:
            yield result[0]


def _bound(goal: Goal) -> str:
    return f"{'>=' if goal.least else '<='} {goal.bound:g}"


#: Columns of the README's table: heading, measurement, column.
ROW = (
    ("CONNECT/s", "connect", "per_second"),
    ("CPU µs each", "connect", "cpu_us"),
    ("16 downloads, MB/s", "bulk16", "mb_per_second"),
    ("CPU s/GB", "bulk16", "cpu_per_gb"),
    ("one, MB/s", "bulk1", "mb_per_second"),
    ("echoes/s", "echo", "per_second"),
    ("datagrams/s", "udp", "per_second"),
    ("KiB per idle session", "idle", "kib"),
    ("p99 beside bulk / alone", "p99", "ratio"),
)


def rst_rows(results: Results, servers: Sequence[str]) -> str:
    """A table for the README, in reStructuredText."""
    lines = [["Server", *(heading for heading, _, _ in ROW)]]
    for server in servers:
        line = [server]
        for _, name, key in ROW:
            digits = {column.key: column.digits for column in MEASUREMENTS[name].columns}[key]
            found = medians(results.get((name, server), ()))
            line.append(written(found.get(key), digits))
        lines.append(line)
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for line in lines:
        # A lone hyphen would begin a list.
        cells = ["\\-" if cell == NONE else cell for cell in line]
        text += "   * - " + "\n     - ".join(cells) + "\n"
    return text
