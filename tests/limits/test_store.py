"""Where what was used is kept: what both stores do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from socks5d.interfaces import IQuotaStore
from socks5d.limits.sqlite import SQLiteStore
from socks5d.limits.store import MemoryStore
from tests.support.running import Started, reactor


class Wall:
    """The time, as a test has it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A store, whose answers are waited for."""

    def __init__(self, store: Any) -> None:
        self.store = store
        assert verifyObject(IQuotaStore, store)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: Started(getattr(self.store, name), *arguments).wait()


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture(params=["memory", "sqlite"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, wall: Wall) -> Iterator[Kept]:
    if request.param == "memory":
        made = Kept(MemoryStore(wall))
    else:
        made = Kept(SQLiteStore(reactor, tmp_path / "quota", wall))
    assert made.open() is None
    yield made
    assert made.close() is None


def test_what_is_added_was_used_by_each_in_each_period(kept: Kept) -> None:
    assert kept.used("day 1", "ann") == 0
    kept.add("day 1", 200.0, {"ann": 5, "bob": 7})
    kept.add("day 1", 200.0, {"ann": 10, "bob": -2})
    kept.add("day 2", 300.0, {"ann": 1})
    assert [kept.used("day 1", who) for who in ("ann", "bob", "eve")] == [15, 5, 0]
    assert [kept.used("day 2", who) for who in ("ann", "bob")] == [1, 0]


def test_a_period_that_is_over_is_forgotten(kept: Kept, wall: Wall) -> None:
    kept.add("day 1", 200.0, {"ann": 5})
    wall.now = 199.9
    kept.add("day 1", 200.0, {"ann": 5})
    assert kept.used("day 1", "ann") == 10
    wall.now = 200.0
    kept.add("day 2", 300.0, {"ann": 1})
    assert kept.used("day 1", "ann") == 0
    assert kept.used("day 2", "ann") == 1


def test_much_is_kept(kept: Kept) -> None:
    kept.add("day 1", 200.0, {"ann'; --": 1 << 61, "b\u00e4\\x00": 3})
    kept.add("day 1", 200.0, {"ann'; --": 1 << 61})
    assert kept.used("day 1", "ann'; --") == 1 << 62
    assert kept.used("day 1", "b\u00e4\\x00") == 3
