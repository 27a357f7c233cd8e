"""
Logins: whether the time of a wrong one tells if its name is known, and how long others' CONNECT
takes while passwords are guessed.  Needs C{htpasswd} (Debian's apache2-utils).

    .venv/bin/python -m tests.bench.logins
"""

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

from socks5d.wire import socks5, userpass
from tests.support.client import destination, greet, log_in, request5
from tests.support.origins import echo, origin, receive_exactly
from tests.support.running import PATIENCE, Address
from tests.support.twistd import Twistd, twistd

METHOD = bytes((socks5.USERNAME_PASSWORD,))
ANN = (b"ann", b"open-sesame")
#: Guessers that try at once, and the first of the addresses that they come from.
AT_ONCE = 512
FIRST_SOURCE = int(IPv4Address("127.1.0.1"))
#: CONNECTs of the others that are measured where nobody guesses.
QUIET = 300


@contextmanager
def serving(cost: int, settings: str = "") -> Iterator[Twistd]:
    """A server with some users, one of whom is L{ANN}."""
    with TemporaryDirectory() as folder:
        file, config = Path(folder) / "htpasswd", Path(folder) / "socks5d.toml"
        for number, (name, password) in enumerate([ANN, (b"bob", b"x"), (b"eve", b"y")]):
            create = "-c" if number == 0 else "-b"
            subprocess.run(
                ["htpasswd", "-b", "-B", "-C", str(cost), create, str(file), name, password],
                check=True,
                capture_output=True,
                timeout=PATIENCE,
            )
        config.write_text(settings)
        passwords = ("--auth", f"htpasswd:{file}", "--config", str(config))
        with twistd(*passwords, "--allow", "127.0.0.0/8") as server:
            yield server
            assert server.stop() == 0, server.output()


def wrong(server: Address, name: bytes) -> float:
    """Seconds that a wrong login takes, from its credentials to the answer."""
    with socket.create_connection(server, PATIENCE) as client:
        greet(client, METHOD)
        began = time.perf_counter()
        assert log_in(client, name, b"guess") != userpass.SUCCESS
        return time.perf_counter() - began


def compare(cost: int, logins: int) -> tuple[float, float]:
    """Medians of wrong logins of a known name and of unknown ones, in turn, in seconds."""
    known, unknown = [], []
    with serving(cost, "limits.failures = 1000000\n") as server:
        address = server.address()
        for number in range(logins):
            known.append(wrong(address, b"ann"))
            unknown.append(wrong(address, b"nobody-%d" % number))
    return statistics.median(known), statistics.median(unknown)


async def guess(server: Address, number: int, sources: int) -> str:
    """One guess, from one of many addresses; gives what came of it."""
    source = str(IPv4Address(FIRST_SOURCE + number % sources))
    name = b"ann" if number % 2 else b"nobody-%d" % number
    try:
        reader, writer = await asyncio.open_connection(*server, local_addr=(source, 0))
    except OSError:
        return "not connected"
    try:
        credentials = userpass.Credentials(name, b"guess-%d" % number)
        writer.write(socks5.encode_greeting(METHOD) + userpass.encode_credentials(credentials))
        answer = await asyncio.wait_for(reader.readexactly(4), PATIENCE)
    except (OSError, EOFError, TimeoutError):
        return "no answer"
    finally:
        writer.close()
    return "refused" if answer[-1:] != bytes((userpass.SUCCESS,)) else "let in"


async def guess_all(server: Address, guesses: int, sources: int) -> Counter[str]:
    """Many guesses, some at once."""
    numbers, came = iter(range(guesses)), Counter[str]()

    async def go_on() -> None:
        for number in numbers:
            came[await guess(server, number, sources)] += 1

    await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
    return came


def guessers(server: Address, guesses: int, sources: int) -> None:
    """A process of its own."""
    began = time.perf_counter()
    came = asyncio.run(guess_all(server, guesses, sources))
    took = time.perf_counter() - began
    print(f"{guesses} guesses from {sources} addresses in {took:.1f} s: {dict(came)}", flush=True)
    assert came["refused"] == guesses


def connect(server: Address, target: Address) -> float:
    """Seconds that a CONNECT of a user takes, login and an octet there and back included."""
    began = time.perf_counter()
    with socket.create_connection(server, PATIENCE) as client:
        assert greet(client, METHOD) == socks5.USERNAME_PASSWORD
        assert log_in(client, *ANN) == userpass.SUCCESS
        assert request5(client, destination(*target)).code == socks5.SUCCEEDED
        client.sendall(b"x")
        assert receive_exactly(client, 1) == b"x"
    return time.perf_counter() - began


def beside(cost: int, guesses: int, sources: int) -> tuple[list[float], list[float], Counter[str]]:
    """
    Seconds of others' CONNECTs where nobody guesses, and beside guesses; and how many
    guesses were refused for which reason.
    """
    with serving(cost) as server, origin(echo) as target:
        address = server.address()
        alone = [connect(address, target) for _ in range(QUIET)]
        process = multiprocessing.get_context("spawn").Process(
            target=guessers, args=(address, guesses, sources)
        )
        process.start()
        try:
            busy = []
            while process.is_alive():
                busy.append(connect(address, target))
        finally:
            process.join(PATIENCE)
            process.kill()
        assert process.exitcode == 0
        status = server.stop()
        assert status == 0, status
        reasons = Counter(
            line.split('rule="')[1].split('"')[0]
            for line in server.lines
            if 'result="not authenticated"' in line
        )
    return alone, busy, reasons


def quantile(values: Sequence[float], part: float) -> float:
    """In milliseconds."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] * 1000


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logins", type=int, default=1000, help="wrong ones of each kind; 1000")
    parser.add_argument("--guesses", type=int, default=10_000, help="beside others; 10000")
    parser.add_argument("--cost", type=int, default=5, help="of bcrypt, as htpasswd -C; 5")
    options = parser.parse_args(given)
    known, unknown = compare(options.cost, options.logins)
    print(
        f"median of {options.logins} wrong logins: {known * 1e3:.3f} ms of a known name, "
        f"{unknown * 1e3:.3f} ms of unknown ones; ratio {unknown / known:.3f}"
    )
    for sources in (1, 250, options.guesses):
        alone, busy, reasons = beside(options.cost, options.guesses, sources)
        for what, values in (("alone", alone), ("beside guesses", busy)):
            print(
                f"others' CONNECT {what}: {len(values)}, median {quantile(values, 0.5):.2f} ms, "
                f"p99 {quantile(values, 0.99):.2f} ms, longest {quantile(values, 1):.2f} ms"
            )
        print(f"guesses, why refused: {dict(reasons)}", flush=True)


if __name__ == "__main__":
    main()
