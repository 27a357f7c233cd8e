"""Waiting for sockets and pipes, whatever their numbers are: select(2) knows 1024 of them."""

import selectors
from collections.abc import Iterable
from typing import Any


def readable(files: Iterable[Any], seconds: float) -> list[Any]:
    """Those of them that can be read by then, as soon as there is one."""
    return _ready(files, seconds, selectors.EVENT_READ)


def writable(files: Iterable[Any], seconds: float) -> list[Any]:
    """Those of them that can be written to by then, as soon as there is one."""
    return _ready(files, seconds, selectors.EVENT_WRITE)


def _ready(files: Iterable[Any], seconds: float, event: int) -> list[Any]:
    with selectors.DefaultSelector() as selector:
        for each in files:
            selector.register(each, event)
        return [key.fileobj for key, _ in selector.select(seconds)]
