"""Fixtures of the tests of workers."""

from collections.abc import Callable

import pytest

from socks5d import signals


class Exits:
    """
    What is to be done when the process ends, which is the tests' own.

    @ivar calls: what was asked for.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def register(self, call: Callable[..., object], *arguments: object) -> None:
        self.calls.append((call, *arguments))


@pytest.fixture(autouse=True)
def exits(monkeypatch: pytest.MonkeyPatch) -> Exits:
    """The process of the tests does not end as one does whose workers all fail."""
    made = Exits()
    monkeypatch.setattr(signals, "atexit", made)
    return made
