"""What the operator wrote, where it stands, and what is wrong with it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from attrs import field, frozen

P = ParamSpec("P")
T = TypeVar("T")

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class ConfigError(ValueError):
    """
    What the operator wrote cannot be done.

    @ivar problems: everything that is wrong; each a line that names where it stands, what
        is wrong, and what would be right.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Problems:
    """Collects everything that is wrong, in the order in which it is found."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        """
        @param problem: one line.
        """
        self._found.append(problem)

    def within(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """
        @return: what a call gives; None where it raised L{ConfigError}, whose problems are
            kept.
        """
        try:
            return call(*args, **kwargs)
        except ConfigError as error:
            self.keep(error)
            return None

    def keep(self, error: ConfigError) -> None:
        """
        @param error: what is wrong as well.
        """
        self._found.extend(error.problems)

    def __len__(self) -> int:
        return len(self._found)

    def complain(self) -> None:
        """
        @raise ConfigError: with everything that was found, if anything was.
        """
        if self._found:
            raise ConfigError(*dict.fromkeys(self._found))


def key_text(key: str) -> str:
    """
    @return: a key as TOML has it.
    """
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def member(path: str, key: str) -> str:
    """
    @return: the path of a key in the table at a path; "" is the file itself.
    """
    return f"{path}.{key_text(key)}" if path else key_text(key)


def element(path: str, number: int) -> str:
    """
    @param number: from 1.
    @return: the path of an element of the list at a path.
    """
    return f"{path}[{number}]"


@frozen(slots=True)
class Item:
    """
    A value and where it stands.

    @ivar where: an option, or a file.
    @ivar value: what stands there.
    @ivar path: the path of its key in the file; None for an option.
    @ivar lines: the numbers of the lines on which paths stand: its own, and what is in it.
        Not all need be known.
    @ivar files: lines of the files that it names, by their paths, as they were when it was
        read: whoever gets it (a worker) needs neither read them nor take what they are now.
    """

    where: str
    value: Any
    path: str | None = None
    lines: Mapping[str, int] = field(factory=dict)
    files: Mapping[str, Sequence[str]] = field(factory=dict)

    @property
    def place(self) -> str:
        """What the operator finds it by: an option; or a file, line and path."""
        if self.path is None:
            return self.where
        line = self.lines.get(self.path)
        return f"{self.where}: {self.path}" if line is None else f"{self.where}:{line}: {self.path}"

    def members(self) -> list[tuple[str, "Item"]]:
        """
        @return: the keys of a table, each with its value and where that stands.
        @raise ConfigError: for what is none.
        """
        if not isinstance(self.value, dict):
            raise self.wrong("must be a table")
        return [
            (key, self._at(value, self.path if self.path is None else member(self.path, key)))
            for key, value in self.value.items()
        ]

    def tables(self) -> list["Item"]:
        """
        @return: the tables of a list of such.
        @raise ConfigError: for anything else.
        """
        value = self.value
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            key = self.path or self.where
            raise self.wrong(f"must be a list of tables; write [[{key}]] before each")
        return [
            self._at(each, self.path if self.path is None else element(self.path, number))
            for number, each in enumerate(value, 1)
        ]

    def texts(self) -> list["Item"]:
        """
        @return: the texts of a list of such, or the text that is the whole of it; each under
            this path, but on its own line.
        @raise ConfigError: for anything else.
        """
        value = [self.value] if isinstance(self.value, str) else self.value
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong("must be a text or a list of texts")
        return self.elements()

    def elements(self) -> list["Item"]:
        """
        @return: the values of a list, or the value that is the whole of it; each under this
            path, but on its own line.
        """
        found: list[Item] = []
        value = self.value if isinstance(self.value, list) else [self.value]
        for number, each in enumerate(value, 1):
            lines = self.lines
            if self.path is not None and (line := lines.get(element(self.path, number))):
                lines = {self.path: line}
            found.append(Item(self.where, each, self.path, lines, self.files))
        return found

    def _at(self, value: object, path: str | None) -> "Item":
        return Item(self.where, value, path, self.lines, self.files)

    def wrong(self, problem: object) -> ConfigError:
        """
        @param problem: what is wrong, and what would be right.
        @return: the error that says so.
        """
        return ConfigError(f"{self.place}: {problem}")
