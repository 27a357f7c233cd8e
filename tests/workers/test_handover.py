"""Sockets that a running worker gets."""

import os
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


def test_they_arrive_by_listener_and_more_than_fit_in_a_message(ways: Ways) -> None:
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(TOGETHER + 3)]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hand_over(ways[0], [*files, listening.fileno()])
        first, none, last = take_over(ways[1], [TOGETHER + 3, 0, 1])
        assert (len(first), none, len(last)) == (TOGETHER + 3, [], 1)
        with socket.socket(fileno=last[0]) as same:
            assert same.getsockname() == listening.getsockname()
    close(files)
    close(first)
    assert (files, first) == ([], [])


def test_what_is_not_there_is_an_error_and_what_is_is_closed(ways: Ways) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (of this process)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hand_over(ways[0], [listening.fileno()])
        with pytest.raises(BlockingIOError):
            take_over(ways[1], [2])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_parent_that_is_gone_is_an_error(ways: Ways) -> None:
    ways[0].close()
    with pytest.raises(OSError, match="did not"):
        take_over(ways[1], [1])
