"""Pipes for splice(2), which are lent as far as there are any."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.net import pipes
from socks5d.net.pipes import Pipe, Pipes

pytestmark = pytest.mark.skipif(not pipes.available, reason="needs splice(2)")


def inode(descriptor: int) -> int | None:
    """What tells a pipe from a later one whose descriptors have the same numbers."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError as error:
        assert error.errno == errno.EBADF
        return None


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


class Lent:
    """
    Pipes.

    @ivar out: those that are lent.
    @ivar inodes: those that ever were, and what each is known by.
    """

    def __init__(self, limit: int) -> None:
        self.pipes = Pipes(limit)
        self.out: list[Pipe] = []
        self.inodes: dict[Pipe, int | None] = {}

    def __enter__(self) -> "Lent":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.out:
            each.close()
        self.pipes.close()

    def ask(self) -> Pipe | None:
        made = self.pipes.lend()
        if made is not None:
            self.out.append(made)
            self.inodes[made] = inode(made.entry)
        return made

    def lend(self, count: int = 1) -> list[Pipe]:
        made = [self.ask() for _ in range(count)]
        assert None not in made
        return [each for each in made if each is not None]

    def give_back(self, *some: Pipe) -> None:
        for each in some:
            self.out.remove(each)
            self.pipes.give_back(each)

    def is_open(self, pipe: Pipe) -> bool:
        """Whether both its ends are open; fails where only one is."""
        (found,) = {inode(end) == self.inodes[pipe] for end in (pipe.entry, pipe.exit)}
        return found


# One.


def test_what_is_written_at_one_end_is_read_at_the_other(pipe: Pipe) -> None:
    assert os.write(pipe.entry, b"octets") == 6
    assert os.read(pipe.exit, 100) == b"octets"
    assert pipe.held == 0


def test_neither_end_blocks_or_is_inherited(pipe: Pipe) -> None:
    with pytest.raises(BlockingIOError):
        os.read(pipe.exit, 1)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe.entry, bytes(1 << 16))
    assert [os.get_inheritable(end) for end in (pipe.entry, pipe.exit)] == [False, False]


def test_it_is_larger_than_others(pipe: Pipe) -> None:
    common, other = os.pipe()
    try:
        usual = fcntl.fcntl(common, fcntl.F_GETPIPE_SZ)
    finally:
        os.close(common)
        os.close(other)
    size = fcntl.fcntl(pipe.entry, fcntl.F_GETPIPE_SZ)
    # As far as the user has not many others.
    assert usual <= size <= pipes.SIZE
    assert size == pipes.SIZE or os.geteuid() != 0


def test_a_size_that_cannot_be_set_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def cannot(*arguments: int) -> int:
        asked.append(arguments)
        raise PermissionError(errno.EPERM, "pipe-user-pages-soft")

    stub = SimpleNamespace(fcntl=cannot, F_SETPIPE_SZ=fcntl.F_SETPIPE_SZ)
    monkeypatch.setattr(pipes, "fcntl", stub)
    made = Pipe()
    try:
        assert asked == [(made.entry, fcntl.F_SETPIPE_SZ, pipes.SIZE)]
        assert os.write(made.entry, b"octets") == 6
        assert os.read(made.exit, 100) == b"octets"
        assert made.held == 0
    finally:
        made.close()


def test_a_closed_one_has_given_both_its_descriptors_back() -> None:
    made = Pipe()
    number = inode(made.entry)
    assert number == inode(made.exit)
    assert number is not None
    os.write(made.entry, b"what it holds is gone")
    made.close()
    assert number not in (inode(made.entry), inode(made.exit))


# Many.


def test_as_many_are_lent_as_there_may_be() -> None:
    with Lent(3) as lent:
        made = lent.lend(3)
        assert len({end for each in made for end in (each.entry, each.exit)}) == 6
        assert lent.pipes.lent == 3
        assert lent.pipes.lend() is None
        assert lent.pipes.lent == 3
        lent.give_back(made[1])
        assert lent.pipes.lent == 2
        lent.lend()
        assert lent.pipes.lend() is None


def test_none_are_lent_where_there_may_be_none() -> None:
    with Lent(0) as lent:
        assert lent.pipes.lend() is None
        assert lent.pipes.lent == 0


def test_an_empty_one_is_lent_again() -> None:
    with Lent(2) as lent:
        (first,) = lent.lend()
        lent.give_back(first)
        assert lent.is_open(first)
        assert lent.lend() == [first]


def test_one_that_holds_octets_is_not() -> None:
    """Whoever had it next would send them to somebody else."""
    with Lent(1) as lent:
        (first,) = lent.lend()
        first.held = os.write(first.entry, b"somebody's")
        lent.give_back(first)
        assert not lent.is_open(first)
        assert lent.pipes.lent == 0
        (second,) = lent.lend()
        assert second is not first
        with pytest.raises(BlockingIOError):
            os.read(second.exit, 100)
        assert second.held == 0


def test_a_bounded_number_is_kept() -> None:
    with Lent(8) as lent:
        made = lent.lend(8)
        # There may be fewer from now on.
        lent.pipes.limit = 3
        lent.give_back(*made)
        assert [lent.is_open(each) for each in made] == [False] * 5 + [True] * 3
        assert lent.pipes.lent == 0


def test_those_that_are_kept_can_be_closed() -> None:
    with Lent(3) as lent:
        made = lent.lend(3)
        lent.give_back(*made[1:])
        lent.pipes.close()
        assert [lent.is_open(each) for each in made] == [True, False, False]
        # It goes on.
        assert lent.is_open(lent.lend()[0])
        lent.give_back(made[0])
        assert lent.pipes.lent == 1


def _no_more(*_: object) -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_there_is_none_when_descriptors_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with Lent(2) as lent:
        (first,) = lent.lend()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pipe2", _no_more)
            assert lent.pipes.lend() is None
            assert lent.pipes.lent == 1
            # One that is there needs no descriptors.
            lent.give_back(first)
            assert lent.lend() == [first]
        # It was not counted.
        lent.lend()
        assert lent.pipes.lent == 2


STEPS = st.lists(st.sampled_from(["lend", "give back", "give back full", "close", "run out"]))


@given(STEPS, st.integers(0, 4))
def test_whatever_happens_there_are_no_more_than_there_may_be(steps: list[str], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patched, Lent(limit) as lent:
        pipe2: Callable[..., tuple[int, int]] = os.pipe2
        for step in steps:
            before = len(lent.out)
            if step in ("lend", "run out"):
                patched.setattr(os, "pipe2", pipe2 if step == "lend" else _no_more)
                made = lent.ask()
                assert made is not None or before == limit or step == "run out"
                assert made is None or (lent.is_open(made), made.held) == (True, 0)
            elif step == "close":
                lent.pipes.close()
            elif lent.out:
                lent.out[0].held = 5 if step == "give back full" else 0
                lent.give_back(lent.out[0])
            assert lent.pipes.lent == len(lent.out) == len(set(lent.out)) <= limit
            assert all(lent.is_open(each) for each in lent.out)
            assert sum(lent.is_open(each) for each in lent.inodes) <= limit
