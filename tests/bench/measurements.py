"""What is measured, and how."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.bench import processes
from tests.bench.load import Generator, Line, LoadError, Target
from tests.bench.servers import Server

#: Figures of one measurement, by column.
Figures = dict[str, float]

#: Seconds that a server gets to be done with a load, log lines included, before its time is read.
SETTLING = 0.3

#: Seconds until memory that has not been given back is taken for kept.
RETURNING = 15.0

#: Sessions that may fail for want of descriptors, which servers have other uses for too.
RESERVED = 256


class Column(NamedTuple):
    """
    A column of a table.

    @ivar key: of C{Figures}.
    @ivar digits: behind the point.
    """

    key: str
    heading: str
    digits: int


class Bench(NamedTuple):
    """
    What measurements need.

    @ivar target: what relays lead to.
    @ivar second: another, for what must not wait behind the first's work.
    @ivar seconds: how long one measurement counts.
    @ivar sessions: idle ones, at most.
    @ivar notes: what readers of the tables must know.
    """

    generator: Generator
    target: Target
    second: Target
    seconds: float
    sessions: int
    notes: list[str]


class Measurement(NamedTuple):
    """
    Something that is measured.

    @ivar measure: gives the figures of a server; None where it cannot do it.
    @ivar once: whether it is measured once, on a server just started, not in every round.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    measure: Callable[[Bench, Server], Figures | None]
    once: bool = False


def loaded(bench: Bench, server: Server, kind: str, port: int, count: int) -> Figures:
    """Put load on a server; what came of it, and the processor time that went into it."""

    def cpu() -> tuple[float, float]:
        own = 0.0 if server.pid is None else processes.cpu_of(server.pid)
        return own, processes.cpu_of(bench.target.pid)

    before = cpu()
    begun = time.monotonic()
    line = bench.generator.run(kind, server.port, port, count, bench.seconds)
    seconds = time.monotonic() - begun
    time.sleep(SETTLING)
    after = cpu()
    if line["failed"]:
        bench.notes.append(f"{server.name}: {line['failed']:.0f} of {kind} failed or were lost")
    return figures(line, after[0] - before[0], after[1] - before[1], seconds)


def figures(line: Line, server: float, target: float, seconds: float) -> Figures:
    """
    What the generator counted, with what it cost.

    @param server: processor seconds of the server.
    @param target: those of the target.
    @param seconds: how long the generator ran.
    """
    found = {
        "per_second": line["per_second"],
        "mb_per_second": line["mb_per_second"],
        "p50_ms": line["p50_ms"],
        "p99_ms": line["p99_ms"],
    }
    # Straight there is no server, and nothing that it costs.
    if server and line["count"]:
        found["cpu_us"] = server / line["count"] * 1e6
    if server and line["mb"]:
        found["cpu_per_gb"] = server / line["mb"] * 1e3
    # A server that is kept waiting by its load does not use what it can.
    found["cores"] = server / seconds
    found["load_cores"] = (target + line["cpu"]) / seconds
    return found


def many(kind: str, count: int, bench: Bench, server: Server) -> Figures | None:
    """One kind of load over TCP."""
    return loaded(bench, server, kind, bench.target.tcp, count)


def udp(bench: Bench, server: Server) -> Figures | None:
    """Datagrams, 32 on their way."""
    return loaded(bench, server, "udp", bench.target.udp, 32) if server.udp else None


def waiting(bench: Bench, server: Server) -> Figures | None:
    """How long one connection takes, and how long with bulk on all sides."""

    def alone() -> float:
        # Behind the target of the bulk it would be that one's queue that is measured.
        line = bench.generator.run("connect", server.port, bench.second.tcp, 1, bench.seconds)
        return line["p99_ms"]

    quiet = alone()
    with bench.generator.bulk(server.port, bench.target.tcp, 16):
        time.sleep(SETTLING)
        busy = alone()
    return {"quiet_ms": quiet, "busy_ms": busy, "ratio": busy / quiet}


def idle(bench: Bench, server: Server) -> Figures | None:
    """The memory of idle sessions, and how much of it comes back."""
    if server.pid is None:
        return None

    def passing() -> None:
        bench.generator.run("connect", server.port, bench.target.tcp, 64, bench.seconds)

    # Code and buffers that are there from the first sessions on are no session's.  Few at
    # once, for memory that many had held would be counted with the baseline, not with them.
    passing()
    before = processes.settled_pss(server.pid, RETURNING)
    with bench.generator.idle(server.port, bench.target.tcp, bench.sessions) as relays:
        held = processes.pss_of(server.pid)
    # Some do away with what has ended only when something new comes.
    passing()
    after = processes.settled_pss(server.pid, RETURNING)
    if relays < bench.sessions:
        bench.notes.append(f"{server.name}: idle with {relays} of {bench.sessions} sessions")
    if not relays:
        raise LoadError("no idle session")
    more = held - before
    returned = {"returned": (held - after) / more * 100} if more > 0 else {}
    return {"sessions": relays, "kib": more / relays, **returned}


CORES = (Column("cores", "cores", 2), Column("load_cores", "load's cores", 2))
BULK = (
    Column("mb_per_second", "MB/s", 0),
    Column("cpu_per_gb", "CPU s/GB", 3),
    *CORES,
)

#: Every measurement, in the order of the tables.
MEASUREMENTS = {
    measurement.name: measurement
    for measurement in (
        Measurement(
            "connect",
            "CONNECT, an octet there and back, end; 64 at once",
            (
                Column("per_second", "connections/s", 0),
                Column("p50_ms", "p50 ms", 2),
                Column("p99_ms", "p99 ms", 2),
                Column("cpu_us", "CPU us each", 1),
                *CORES,
            ),
            partial(many, "connect", 64),
        ),
        Measurement("bulk16", "16 downloads at once", BULK, partial(many, "bulk", 16)),
        Measurement("bulk1", "One download", BULK, partial(many, "bulk", 1)),
        Measurement(
            "echo",
            "64 octets there and back, over 32 relays",
            (
                Column("per_second", "echoes/s", 0),
                Column("p50_ms", "p50 ms", 2),
                Column("p99_ms", "p99 ms", 2),
                Column("cpu_us", "CPU us each", 1),
                *CORES,
            ),
            partial(many, "echo", 32),
        ),
        Measurement(
            "udp",
            "Datagrams of 64 octets there and back, 32 on their way",
            (
                Column("per_second", "datagrams/s", 0),
                Column("cpu_us", "CPU us each", 1),
                *CORES,
            ),
            udp,
        ),
        Measurement(
            "p99",
            "p99 of new connections, one at a time: alone, and beside 16 downloads",
            (
                Column("quiet_ms", "alone ms", 2),
                Column("busy_ms", "beside ms", 2),
                Column("ratio", "ratio", 1),
            ),
            waiting,
        ),
        Measurement(
            "idle",
            "Idle sessions",
            (
                Column("sessions", "sessions", 0),
                Column("kib", "KiB PSS each", 2),
                Column("returned", "% returned", 0),
            ),
            idle,
            once=True,
        ),
    )
}


def idle_sessions(wanted: int, descriptors: int) -> int:
    """How many idle sessions a server of one process can have, at two descriptors each."""
    return max(1, min(wanted, (descriptors - RESERVED) // 2))
