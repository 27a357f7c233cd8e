"""The UDP ports of this server's own sockets, in several processes that share memory."""

from collections import Counter
from mmap import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.net.ours import ROW, OwnPorts

SOME = (0, 1, 53, 1080, 40000, 65535)
PORTS = st.sampled_from(SOME)


def memory(rows: int) -> memoryview:
    """Rows for so many processes, as a file that they have in common gives them."""
    return memoryview(mmap(-1, rows * ROW))


def test_a_port_is_known_from_its_first_socket_to_its_last() -> None:
    ports = OwnPorts()
    assert 53 not in ports
    ports.add(53)
    ports.add(53)
    ports.remove(53)
    assert 53 in ports
    assert 54 not in ports
    ports.remove(53)
    assert 53 not in ports


def test_processes_know_each_others_ports() -> None:
    shared = memory(3)
    first, second = OwnPorts(), OwnPorts()
    first.share(shared, 0)
    second.share(shared, 2)
    first.add(40000)
    assert 40000 in second
    assert 40001 not in second
    first.remove(40000)
    assert 40000 not in second


@pytest.mark.parametrize("port", [0, 1, 65535])
def test_the_ends_of_a_row_are_nobody_elses(port: int) -> None:
    shared = memory(3)
    processes = [OwnPorts() for _ in range(3)]
    for row, each in enumerate(processes):
        each.share(shared, row)
    processes[1].add(port)
    assert bytes(shared).count(1) == 1
    assert shared[ROW + port] == 1
    assert [other for other in (0, 1, 65535) if other in processes[0]] == [port]


def test_ports_from_before_are_shared_too() -> None:
    shared = memory(2)
    first, second = OwnPorts(), OwnPorts()
    first.add(1080)
    first.share(shared, 1)
    second.share(shared, 0)
    assert 1080 in second


def test_what_a_dead_process_had_is_gone_when_its_row_is_cleared() -> None:
    shared = memory(2)
    first, second = OwnPorts(), OwnPorts()
    first.share(shared, 0)
    second.share(shared, 1)
    first.add(1080)
    second.add(53)
    shared[:ROW] = bytes(ROW)
    assert (1080 in second, 53 in second) == (False, True)


@given(st.lists(st.tuples(st.integers(0, 2), PORTS)), st.integers(0, 3))
def test_every_process_knows_what_all_have(taken: list[tuple[int, int]], kept: int) -> None:
    shared = memory(3)
    processes = [OwnPorts() for _ in range(3)]
    for row, each in enumerate(processes):
        each.share(shared, row)
    for who, port in taken:
        processes[who].add(port)
    for who, port in taken[kept:]:
        processes[who].remove(port)
    left = Counter(port for _, port in taken[:kept])
    for each in processes:
        assert {port for port in SOME if port in each} == set(left)
