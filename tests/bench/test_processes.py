"""What /proc says, read."""

import os

import pytest

from tests.bench import processes
from tests.bench.processes import Stat, parse_pss, parse_stat

STAT = (
    "{pid} ({name}) {state} {parent} 7 7 0 -1 4194560 100 0 0 0 "
    "{times} 20 0 1 0 {started} 1000 200 18446744073709551615\n"
)


def stat(
    pid: int,
    parent: int,
    times: str = "1 2 3 4",
    name: str = "danted",
    state: str = "S",
    started: int = 900,
) -> str:
    return STAT.format(pid=pid, name=name, state=state, parent=parent, times=times, started=started)


def test_a_process_has_the_time_of_its_ended_children() -> None:
    assert parse_stat(stat(12, 7, "100 20 3 4")) == Stat(12, 7, 127, 900, False)


@pytest.mark.parametrize("name", ["a b", "a) S 1 (b", ")", "("])
def test_a_name_may_have_anything_in_it(name: str) -> None:
    assert parse_stat(stat(12, 7, name=name)) == Stat(12, 7, 10, 900, False)


def test_a_zombie_is_one() -> None:
    assert parse_stat(stat(12, 7, state="Z")).zombie


def test_a_tree_is_a_process_and_all_that_came_from_it() -> None:
    parents = {10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}
    every = {pid: parse_stat(stat(pid, parent)) for pid, parent in parents.items()}
    tree = processes.descendants(10, every)
    assert sorted(found.pid for found in tree) == [10, 11, 12, 13]
    assert processes.cpu_seconds(tree) == 40 / os.sysconf("SC_CLK_TCK")


def test_nothing_came_from_a_process_that_is_not_there() -> None:
    assert processes.descendants(10, {11: parse_stat(stat(11, 1))}) == []


def test_memory_is_the_proportional_set() -> None:
    text = "55d0-7fff ---p 00000000 00:00 0 [rollup]\nRss: 90 kB\nPss: 40 kB\nPss_Anon: 30 kB\n"
    assert parse_pss(text) == 40
    assert parse_pss("") == 0


def test_this_process_is_found_with_its_memory() -> None:
    assert os.getpid() in processes.every()
    assert processes.pss_of(os.getpid()) > 0
