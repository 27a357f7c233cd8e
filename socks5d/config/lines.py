"""
On which lines of a TOML file its keys stand, which L{tomllib} does not tell.

The text is known to be TOML: it was read as such before.  Where this reader meets what it
does not know, it ends, and the lines of what follows are not known.
"""

import re
import tomllib
from bisect import bisect_left
from contextlib import suppress
from functools import lru_cache
from typing import Any

from socks5d.values import element, member

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
#: What may stand between keys, and between the values of a list.
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_HEADER = re.compile(rf"(\[\[?)[ \t]*({_KEY.pattern})[ \t]*\]\]?")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
#: Of strings over several lines, the last quotes may belong to the text.
_PLAIN = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^\[\]{},#\s]+(?:[ ][0-9][^\[\]{},#\s]*)?",
    re.DOTALL,
)


class _Unknown(Exception):
    """Something that this reader does not know."""


def lines_of(text: str) -> dict[str, int]:
    """
    @param text: TOML.
    @return: paths of keys, tables and elements of lists, as L{socks5d.values} writes them,
        each with the number of the line on which it stands first.
    """
    reader = _Reader(text)
    with suppress(_Unknown, RecursionError):
        reader.read()
    return reader.lines


@lru_cache(1024)
def _parts(key: str) -> tuple[str, ...]:
    """A key that may have dots, as its parts."""
    parts: list[str] = []
    try:
        inside: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise _Unknown from None
    while isinstance(inside, dict):
        ((part, inside),) = inside.items()
        parts.append(part)
    return tuple(parts)


class _Reader:
    """Goes through a text once."""

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._text = text
        self._place = 0
        self._ends = [each.start() for each in re.finditer("\n", text)]
        #: How many tables there are so far of lists of tables.
        self._counts: dict[str, int] = {}

    def read(self) -> None:
        table = ""
        self._take(_SPACE)
        while self._place < len(self._text):
            line = self._line()
            if self._text[self._place] == "[":
                header = self._take(_HEADER)
                table = self._table(_parts(header[2]), line, many=header[1] == "[[")
            else:
                self._pair(table)
            self._take(_SPACE)

    def _line(self) -> int:
        return bisect_left(self._ends, self._place) + 1

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._place)
        if match is None:
            raise _Unknown
        self._place = match.end()
        return match

    def _table(self, parts: tuple[str, ...], line: int, *, many: bool) -> str:
        """A table begins; gives its path."""
        path = ""
        for number, part in enumerate(parts, 1):
            path = member(path, part)
            self.lines.setdefault(path, line)
            if many and number == len(parts):
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path = element(path, self._counts[path])
                self.lines.setdefault(path, line)
        return path

    def _pair(self, path: str) -> None:
        line = self._line()
        for part in _parts(self._take(_KEY)[0]):
            path = member(path, part)
            self.lines.setdefault(path, line)
        self._take(_EQUALS)
        self._value(path)

    def _value(self, path: str) -> None:
        first = self._text[self._place : self._place + 1]
        if first == "[":
            self._list(path)
        elif first == "{":
            self._inline(path)
        else:
            self._take(_PLAIN)

    def _list(self, path: str) -> None:
        number = 0
        while self._goes_on("]"):
            number += 1
            self.lines.setdefault(element(path, number), self._line())
            self._value(element(path, number))

    def _inline(self, path: str) -> None:
        while self._goes_on("}"):
            self._pair(path)

    def _goes_on(self, end: str) -> bool:
        """Step over what stands between two values; whether there is another."""
        self._place += self._text[self._place : self._place + 1] in ("[", "{")
        self._take(_SPACE)
        if self._text[self._place : self._place + 1] == ",":
            self._place += 1
            self._take(_SPACE)
        over = self._text[self._place : self._place + 1] == end
        self._place += over
        return not over
