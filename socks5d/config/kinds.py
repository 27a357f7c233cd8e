"""
Kinds of values: what reads one, or says all that is wrong with it, and what a JSON Schema
says of it.

What reads one value takes its L{Item} and gives the value, or raises L{ConfigError}.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

from socks5d.rules.destinations import Ports, parse_ports
from socks5d.values import ConfigError, Item, Problems

#: Processes that can be asked for.
MOST_WORKERS = 256

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Schema = Mapping[str, Any]


class Kind(Protocol[T_co]):
    """
    What a key may hold.

    @ivar schema: what a JSON Schema says of it.
    """

    @property
    def schema(self) -> Schema: ...

    def read(self, items: Sequence[Item], problems: Problems) -> T_co | None:
        """
        @param items: at least one: what files and options gave, in that order.
        @param problems: is given everything that is wrong.
        @return: what they come to; of tables, as far as they are right, and of anything else
            that is wrong None.
        """


@frozen(slots=True)
class One(Generic[T]):
    """
    A value of which there is one: the last counts, but none may be wrong.

    @ivar one: reads it.
    @ivar schema: what a JSON Schema says of it.
    """

    one: Callable[[Item], T]
    schema: Schema

    def read(self, items: Sequence[Item], problems: Problems) -> T | None:
        """See L{Kind}."""
        return [problems.within(self.one, item) for item in items][-1]


@frozen(slots=True)
class Several(Generic[T]):
    """
    A list of values, or one value; lists are put together.

    @ivar make: makes a value of each; may raise ValueError.
    @ivar each: what a JSON Schema says of one.
    @ivar plain: whether each is a text.
    @ivar partly: whether those that are right are given even where others are wrong.
    """

    make: Callable[[Item], T]
    each: Schema
    plain: bool = True
    partly: bool = False

    @property
    def schema(self) -> Schema:
        """See L{Kind}."""
        return {"anyOf": [self.each, {"type": "array", "items": self.each}]}

    def read(self, items: Sequence[Item], problems: Problems) -> tuple[T, ...] | None:
        """See L{Kind}."""
        before = len(problems)
        made: list[T] = []
        for item in items:
            for each in problems.within(item.texts if self.plain else item.elements) or ():
                try:
                    made.append(self.make(each))
                except ConfigError as error:
                    problems.keep(error)
                except ValueError as error:
                    problems.keep(each.wrong(error))
        return tuple(made) if self.partly or len(problems) == before else None


def texts(
    make: Callable[[str], T], each: Schema | None = None, *, partly: bool = False
) -> Several[T]:
    """
    @param make: makes a value of a text; may raise ValueError.
    @param each: what a JSON Schema says of the text.
    @param partly: see L{Several}.
    @return: the kind of value that is a list of such texts.
    """
    return Several(lambda item: make(item.value), each or {"type": "string"}, partly=partly)


# What reads one value.


def _text(item: Item) -> str:
    if not isinstance(item.value, str) or not item.value:
        raise item.wrong("must be a text that is not empty")
    return item.value


def _line(item: Item) -> str:
    if not _text(item).isprintable():
        raise item.wrong("must be one line of what can be printed")
    return str(item.value)


def _switch(item: Item) -> bool:
    if not isinstance(item.value, bool):
        raise item.wrong("must be true or false")
    return item.value


def _ports(item: Item) -> Ports:
    try:
        return parse_ports(item.value if isinstance(item.value, str) else str(item.value))
    except ValueError as error:
        raise item.wrong(error) from None


def _port(item: Item) -> int:
    low, high = _ports(item)
    if low != high:
        raise item.wrong("must be one port")
    return low


def _processors() -> int:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _workers(item: Item) -> int:
    if item.value == "auto":
        return min(_processors(), MOST_WORKERS)
    try:
        count = int(item.value) if isinstance(item.value, (int, str)) else 0
    except ValueError:
        count = 0
    if isinstance(item.value, bool) or not 1 <= count <= MOST_WORKERS:
        raise item.wrong(f"must be 'auto' or a number from 1 to {MOST_WORKERS}")
    return count


def _path(item: Item) -> Path:
    # No system has a NUL in a path.
    if not isinstance(item.value, str) or not item.value or "\0" in item.value:
        raise item.wrong("must be the path of a file")
    return Path(item.value)


_TEXT: Schema = {"type": "string", "minLength": 1}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_PORT_TEXT: Schema = {"type": "string", "pattern": "^[0-9]{1,5}$"}
_PORTS_TEXT: Schema = {"type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$"}

TEXT = One(_text, _TEXT)
#: What logs repeat.
LINE = One(_line, {**_TEXT, "pattern": "^[^\\u0000-\\u001f\\u007f]*$"})
SWITCH = One(_switch, {"type": "boolean"})
PORT = One(_port, {"anyOf": [_PORT, _PORT_TEXT]})
PORT_RANGE = One(_ports, {"anyOf": [_PORT, _PORTS_TEXT]})
PATH = One(_path, _TEXT)
WORKERS = One(
    _workers,
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": MOST_WORKERS},
            {"type": "string", "pattern": "^(auto|[0-9]+)$"},
        ]
    },
)


def words(kind: type[Enum]) -> One[Any]:
    """
    @param kind: an enumeration whose values are words.
    @return: the kind of value that is one of them.
    """
    known = [each.value for each in kind]

    def one(item: Item) -> Enum:
        try:
            return kind(item.value)
        except ValueError:
            raise item.wrong(f"must be {one_of(known)}") from None

    return One(one, {"enum": known})


def one_of(words: Sequence[str]) -> str:
    """
    @return: words as a choice: C{'a', 'b' or 'c'}.
    """
    *others, last = (repr(each) for each in words)
    return f"{', '.join(others)} or {last}" if others else last


def number(kind: type, check: Callable[[float], object], schema: Schema) -> One[float]:
    """
    @param kind: C{int}, or C{float} for any number.
    @param check: raises ValueError for a number out of range.
    @param schema: what a JSON Schema says of the range.
    @return: the kind of value that is such a number.
    """
    whole = kind is int

    def one(item: Item) -> float:
        value = item.value
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise item.wrong(f"must be a {'whole number' if whole else 'number'}")
        if isinstance(value, float) and not math.isfinite(value):
            raise item.wrong("must be finite")
        try:
            check(value)
        except (ValueError, OverflowError) as error:
            raise item.wrong(error) from None
        return value

    return One(one, {"type": "integer" if whole else "number", **schema})


__all__ = [
    "LINE",
    "PATH",
    "PORT",
    "PORT_RANGE",
    "SWITCH",
    "TEXT",
    "WORKERS",
    "ConfigError",
    "Kind",
    "One",
    "Schema",
    "Several",
    "number",
    "one_of",
    "texts",
    "words",
]
