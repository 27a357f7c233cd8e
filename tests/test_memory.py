"""What a process that serves for long does about its memory."""

import gc
import sys
from collections.abc import Iterator

import pytest

from socks5d.memory import THRESHOLDS, give_back, settle


@pytest.fixture
def collector() -> Iterator[None]:
    """Leaves the collector as it was."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
def test_what_there_is_is_not_looked_at_again() -> None:
    lasting: list[object] = []
    lasting.append(lasting)
    settle()
    assert gc.get_freeze_count() > 0
    assert not any(each is lasting for each in gc.get_objects())
    assert gc.get_threshold() == THRESHOLDS


@pytest.mark.usefixtures("collector")
def test_what_comes_later_is_still_collected() -> None:
    settle()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1


@pytest.mark.usefixtures("collector")
def test_what_the_interpreter_keeps_to_use_again_is_given_back() -> None:
    kept = [tuple(range(n, n + 3)) for n in range(5000)]
    pieces = sys.getallocatedblocks()
    del kept
    give_back()
    # Each was a tuple, of which thousands would be kept.
    assert sys.getallocatedblocks() < pieces - 4900
