"""
One value of what the operator wrote: what it is, or an error that says where it stands and
what would be right.
"""

import math
import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import fields, frozen

from socks5d.rules.destinations import Ports, parse_ports

#: Processes that can be asked for.
MOST_WORKERS = 256
#: More than anything that is counted.
MOST: Final = 1 << 62

T = TypeVar("T")


class ConfigError(ValueError):
    """
    What the operator wrote cannot be done.  The text is one line that names where
    it stands and what is wrong.
    """


@frozen(slots=True)
class Item:
    """
    A value and where it stands.

    @ivar where: as the operator would find it: an option, or a file and a key.
    @ivar value: what stands there.
    """

    where: str
    value: Any


def texts(item: Item, make: Callable[[str], T]) -> list[T]:
    """
    @param make: makes a value of a text; may raise ValueError.
    @return: the values of a text, or of a list of texts.
    @raise ConfigError: for anything else.
    """
    value = item.value
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"{item.where}: must be a text or a list of texts")
    try:
        return [make(each) for each in value]
    except ValueError as error:
        raise ConfigError(f"{item.where}: {error}") from None


def text(item: Item) -> str:
    """
    @return: a text that is not empty.
    @raise ConfigError: for anything else.
    """
    if not isinstance(item.value, str) or not item.value:
        raise ConfigError(f"{item.where}: must be a text that is not empty")
    return item.value


def parts(item: Item) -> list[tuple[str, Item]]:
    """
    @return: the keys of a table, each with its value and where that stands.
    @raise ConfigError: for anything else.
    """
    if not isinstance(item.value, dict):
        raise ConfigError(f"{item.where}: must be a table")
    return [(key, Item(f"{item.where}.{key}", value)) for key, value in item.value.items()]


def text_table(item: Item) -> tuple[tuple[str, str], ...]:
    """
    @return: the keys of a table of texts, each with its text, in their order.
    @raise ConfigError: for anything else.
    """
    return tuple((key, text(each)) for key, each in parts(item))


def switch(item: Item) -> bool:
    """
    @return: true or false.
    @raise ConfigError: for anything else.
    """
    if not isinstance(item.value, bool):
        raise ConfigError(f"{item.where}: must be true or false")
    return item.value


def port_range(item: Item) -> Ports:
    """
    @return: the lowest and the highest port of C{N} or C{N-M}.
    @raise ConfigError: for anything else.
    """
    try:
        return parse_ports(item.value if isinstance(item.value, str) else str(item.value))
    except ValueError as error:
        raise ConfigError(f"{item.where}: {error}") from None


def port(item: Item) -> int:
    """
    @return: one port.
    @raise ConfigError: for anything else.
    """
    low, high = port_range(item)
    if low != high:
        raise ConfigError(f"{item.where}: must be one port")
    return low


def _processors() -> int:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers(item: Item) -> int:
    """
    @return: a number of processes.
    @raise ConfigError: for anything else.
    """
    if item.value == "auto":
        return min(_processors(), MOST_WORKERS)
    try:
        count = int(item.value) if isinstance(item.value, (int, str)) else 0
    except ValueError:
        count = 0
    if isinstance(item.value, bool) or not 1 <= count <= MOST_WORKERS:
        raise ConfigError(f"{item.where}: must be 'auto' or a number from 1 to {MOST_WORKERS}")
    return count


def count(item: Item) -> int:
    """
    @return: a number of something.
    @raise ConfigError: for anything else.
    """
    if isinstance(item.value, bool) or not isinstance(item.value, int):
        raise ConfigError(f"{item.where}: must be a whole number")
    if not 0 <= item.value <= MOST:
        raise ConfigError(f"{item.where}: must be a number from 0 to {MOST}")
    return item.value


def word(item: Item, kind: type[Enum]) -> Enum:
    """
    @param kind: an enumeration whose values are words.
    @return: the member that is named.
    @raise ConfigError: for anything else.
    """
    try:
        return kind(item.value)
    except ValueError:
        *words, last = (repr(each.value) for each in kind)
        raise ConfigError(f"{item.where}: must be {', '.join(words)} or {last}") from None


def path(item: Item) -> Path:
    """
    @return: where a file is.
    @raise ConfigError: for anything else.
    """
    if not isinstance(item.value, str) or not item.value:
        raise ConfigError(f"{item.where}: must be the path of a file")
    return Path(item.value)


def table(item: Item, kind: type[T]) -> T:
    """
    @param kind: an attrs class of numbers, each a key.
    @return: one of them.
    @raise ConfigError: for anything else.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, float | int] = {}
    for key, each in parts(item):
        where, value = each.where, each.value
        if key not in known:
            raise ConfigError(f"{where}: unknown key; there are {', '.join(known)}")
        whole = known[key].type is int
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ConfigError(f"{where}: must be a {'whole number' if whole else 'number'}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: must be finite")
        values[key] = value
        try:
            kind(**{key: value})
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
    return kind(**values)
