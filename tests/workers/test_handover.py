"""Sockets that a running worker gets."""

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from socks5d.workers.handover import TOGETHER, close, hand_over, take_over

Ways = tuple[socket.socket, socket.socket]


@pytest.fixture
def ways() -> Iterator[Ways]:
    """The parent's end and the worker's."""
    parent, worker = socket.socketpair()
    parent.setblocking(False)
    with parent, worker:
        yield parent, worker


def test_they_arrive(ways: Ways) -> None:
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(TOGETHER - 1)]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hand_over(ways[0], [*files, listening.fileno()])
        hand_over(ways[0], files[:2])
        first = take_over(ways[1], TOGETHER)
        assert len(first) == TOGETHER
        with socket.socket(fileno=first.pop()) as same:
            assert same.getsockname() == listening.getsockname()
    second = take_over(ways[1], 2)
    assert len(second) == 2
    for each in (files, first, second):
        close(each)
    assert (files, first, second) == ([], [], [])


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (of this process)


def test_what_does_not_fit_is_an_error_and_what_does_is_closed(ways: Ways) -> None:
    before = open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    hand_over(ways[0], files)
    hand_over(ways[0], files[:1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files) + 2, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            take_over(ways[1], 3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # And those that come after are those that come after.
    again = take_over(ways[1], 1)
    assert len(again) == 1
    close(again)
    close(files)
    assert open_descriptors() == before


def test_what_is_not_there_is_an_error(ways: Ways) -> None:
    with pytest.raises(BlockingIOError):
        take_over(ways[1], 1)


def test_a_parent_that_is_gone_is_an_error(ways: Ways) -> None:
    ways[0].close()
    with pytest.raises(ConnectionResetError):
        take_over(ways[1], 1)
