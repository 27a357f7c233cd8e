"""
Measures the rules alone: how long lists take to load, and how long a decision takes.

Lists of networks and of names are written to files and read as the server reads them.  The
rules are of every kind; half of them refer to both lists, and the last ones do for everybody,
so that every decision depends on the lists.  What is printed is the best of the rounds.

What is aimed at is less than 2 s for lists of 100,000 networks and 100,000 names, and less than
20 us for a decision by 1,000 rules with such lists.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import cycle, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from socks5d.model import Client, Command, Identity, Request
from socks5d.rules import (
    Action,
    HostList,
    Rule,
    RuleTable,
    Times,
    UserList,
    parse_destination,
    parse_network,
    read_lines,
)
from tests.bench.machine import described

#: Decisions of each kind in a round.
DECISIONS = 20_000
#: Requests of each kind, so that they are not all alike.
DIFFERENT = 1_000


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""

    def some(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("at least 1")
        return number

    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rules", type=some, default=1000, metavar="N", help="how many there are; 1000")
    add("--networks", type=some, default=100_000, metavar="N", help="in a list; 100000")
    add("--names", type=some, default=100_000, metavar="N", help="in a list; 100000")
    add("--rounds", type=some, default=5, metavar="N", help="of which the best counts; 5")
    return parser.parse_args(given)


def write_lists(folder: Path, networks: int, names: int, random: Random) -> tuple[Path, Path]:
    """
    Files of networks and of names.  A quarter of the networks are addresses, some are of IPv6;
    a quarter of the names stand for those below them.
    """
    lines = []
    for number in range(networks):
        if number % 8 == 7:
            lines.append(
                f"2001:db8:{random.randrange(1 << 16):x}:{random.randrange(1 << 16):x}::/64"
            )
        else:
            length = 32 if number % 4 == 0 else random.randrange(20, 31)
            first = random.randrange(1 << 32) & ~((1 << 32 - length) - 1)
            lines.append(
                f"{IPv4Address(first)}/{length}" if length < 32 else f"{IPv4Address(first)}"
            )
    address_file, name_file = folder / "networks", folder / "names"
    address_file.write_text("\n".join(["# networks", *lines, ""]))
    lines = [
        f"{'*.' if number % 4 == 0 else ''}host{number}.{random.choice('abcdefgh')}.example"
        for number in range(names)
    ]
    name_file.write_text("\n".join(["# names", *lines, ""]))
    return address_file, name_file


def make_rules(count: int, networks: HostList, names: HostList) -> list[Rule]:
    """So many rules, of every kind."""
    staff = UserList("staff", [f"user{number}" for number in range(0, 1000, 7)] + ["admin*"])
    daytime = Times(zone=ZoneInfo("Europe/Vienna"), hours=((8 * 60, 18 * 60),))
    rules = []
    for number in range(1, count - 1):
        kind = number % 8
        rules.append(
            Rule(
                number=number,
                action=Action.DENY if number % 3 == 0 else Action.PERMIT,
                client=(parse_network(f"10.{number >> 8}.{number & 255}.0/24"),),
                user=(f"user{number}", f"u{number}*") if kind in (0, 1) else None,
                group=(staff,) if kind == 2 else None,
                listener=("tcp:1080", "unix:*") if kind == 3 else None,
                method=frozenset({0, 2}) if kind in (1, 4) else None,
                command=frozenset({Command.CONNECT, Command.BIND}) if kind == 5 else None,
                times=daytime if kind == 6 else None,
                ports=((number, number + 80),) if kind in (0, 7) else None,
                destination=(networks, names)
                if number % 2
                else (
                    parse_destination(f"172.{number & 255}.0.0/16"),
                    parse_destination(f"*.site{number}.example"),
                ),
            )
        )
    rules.append(Rule(number=count - 1, action=Action.DENY, destination=(networks, names)))
    rules.append(Rule(number=count, action=Action.PERMIT))
    return rules


def make_requests(random: Random) -> dict[str, list[Request]]:
    """Requests of each stage, by its title."""
    whole = []
    for _ in range(DIFFERENT):
        address = IPv4Address(f"10.{random.randrange(5)}.{random.randrange(256)}.7")
        whole.append(
            Request(
                Client(address, random.randrange(1024, 65536), None, "tcp:1080"),
                "5",
                random.choice([0, 2]),
                Identity(f"user{random.randrange(2000)}", "password"),
                command=Command.CONNECT,
                name=f"www.host{random.randrange(200_000)}.{random.choice('abcdefgh')}.example",
                address=ip_address(random.randrange(1 << 32)),
                port=random.choice([80, 443, random.randrange(1, 65536)]),
            )
        )
    return {
        "a client alone": [each._replace(command=None, name=None, address=None) for each in whole],
        "a name": [each._replace(address=None) for each in whole],
        "an address of a name": whole,
        "an address": [each._replace(name=None) for each in whole],
        "an IPv6 address to an IPv4 one": [
            each._replace(address=IPv6Address((0x64FF9B << 96) | int(each.address or 0)))
            for each in whole
        ],
    }


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = arguments(given)
    random = Random(1)
    with TemporaryDirectory() as folder:
        files = write_lists(Path(folder), options.networks, options.names, random)
        made: list[RuleTable] = []

        def load() -> None:
            networks, names = (HostList(file.name, read_lines(file), str(file)) for file in files)
            made[:] = [RuleTable(make_rules(options.rules, networks, names))]

        loading = min(seconds(load) for _ in range(options.rounds))
    (table,) = made
    print(
        described(
            [
                f"{options.rules} rules, {options.networks} networks, {options.names} names; "
                f"the best of {options.rounds} rounds"
            ]
        )
    )
    print(f"{'loading the lists and the rules':40} {loading:8.2f} s")
    for title, requests in make_requests(random).items():
        asked = list(islice(cycle(requests), DECISIONS))

        def decide(asked: list[Request] = asked) -> None:
            for request in asked:
                table.decide(request)

        best = min(seconds(decide) for _ in range(options.rounds)) / DECISIONS
        print(f"{'deciding on ' + title:40} {best * 1e6:8.1f} us")


if __name__ == "__main__":
    main(sys.argv[1:])
