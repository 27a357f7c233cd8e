"""Tables: keys, each of a kind, and what is not among them."""

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from attrs import field, frozen

from socks5d.config.kinds import Kind, Schema
from socks5d.values import ConfigError, Item, Problems


@frozen(slots=True)
class Key:
    """
    A key that there is.

    @ivar name: the key.
    @ivar kind: what it holds.
    @ivar says: in one line, what it is for.
    @ivar default: what holds where it is not given, as TOML has it; None for nothing.
    @ivar option: the option of the command line that says the same, without its dashes.
    """

    name: str
    kind: Kind[Any]
    says: str
    default: str | None = None
    option: str | None = None


def keys(*these: Key) -> Mapping[str, Key]:
    """
    @return: keys by their names.
    """
    return {key.name: key for key in these}


@frozen(slots=True)
class Given:
    """
    A table that was given.

    @ivar item: where it stands.
    @ivar values: what its keys hold, of those that are right.
    @ivar places: where all its keys stand.
    @ivar right: whether all of them are.
    """

    item: Item
    values: Mapping[str, Any]
    places: Mapping[str, Item] = field(factory=dict)
    right: bool = True

    def place(self, key: str) -> str:
        """
        @return: where a key stands; where the table does, when it is not given.
        """
        return self.places.get(key, self.item).place

    def wrong(self, key: str, problem: object) -> ConfigError:
        """
        @param problem: what is wrong with a key, and what would be right.
        @return: the error that says so.
        """
        return self.places.get(key, self.item).wrong(problem)


def suggestion(name: str, known: Sequence[str]) -> str:
    """
    @param known: the names that there are.
    @return: what to write in the place of one that is not among them.
    """
    as_keys_are = name.lower().replace("-", "_")
    close = get_close_matches(name, known, 1) or get_close_matches(as_keys_are, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(known)}" if known else "there is none"


def read_keys(
    given: Sequence[tuple[str, Item]], known: Mapping[str, Key], problems: Problems
) -> dict[str, Any]:
    """
    @param given: keys, each with a value and where that stands; any number of each.
    @param known: the keys that there are.
    @param problems: is given everything that is wrong.
    @return: the values of those that were given, and are right.
    """
    together: dict[str, list[Item]] = {}
    for name, item in given:
        if name in known:
            together.setdefault(name, []).append(item)
        else:
            problems.keep(item.wrong(f"unknown key; {suggestion(name, list(known))}"))
    values = {name: known[name].kind.read(items, problems) for name, items in together.items()}
    return {name: value for name, value in values.items() if value is not None}


def read_table(items: Sequence[Item], known: Mapping[str, Key], problems: Problems) -> Given:
    """
    @param items: tables, whose keys are put together.
    @param known: the keys that there are.
    @param problems: is given everything that is wrong.
    """
    before = len(problems)
    pairs = [pair for item in items for pair in problems.within(item.members) or ()]
    values = read_keys(pairs, known, problems)
    return Given(items[-1], values, dict(pairs), right=len(problems) == before)


def table_schema(known: Mapping[str, Key]) -> Schema:
    """
    @return: what a JSON Schema says of a table with these keys.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _key_schema(key) for key in known.values()},
    }


def _key_schema(key: Key) -> Schema:
    option = "" if key.option is None else f" As --{key.option}."
    said = {"description": f"{key.says}{option}", **key.kind.schema}
    if key.default is not None:
        said["default"] = tomllib.loads(f"default = {key.default}")["default"]
    return said


@frozen(slots=True)
class Table:
    """
    A table; several are put together, of a key that is one value the last counts.

    @ivar keys: those that there are.
    """

    keys: Mapping[str, Key]

    @property
    def schema(self) -> Schema:
        """See L{Kind}."""
        return table_schema(self.keys)

    def read(self, items: Sequence[Item], problems: Problems) -> Given:
        """See L{Kind}."""
        return read_table(items, self.keys, problems)


@frozen(slots=True)
class TableOrFalse:
    """
    A table, or false for what is switched off.

    @ivar keys: those of the table.
    """

    keys: Mapping[str, Key]

    @property
    def schema(self) -> Schema:
        """See L{Kind}."""
        return {"anyOf": [{"const": False}, table_schema(self.keys)]}

    def read(self, items: Sequence[Item], problems: Problems) -> Given | Literal[False]:
        """See L{Kind}."""
        if items[-1].value is False:
            return False
        tables = [each for each in items if each.value is not False]
        return read_table(tables, self.keys, problems)


@frozen(slots=True)
class Tables:
    """
    A list of tables, in order; lists are put together.

    @ivar keys: those of each table.
    @ivar needed: those that none can be without.
    """

    keys: Mapping[str, Key]
    needed: Sequence[str] = ()

    @property
    def schema(self) -> Schema:
        """See L{Kind}."""
        each = {**table_schema(self.keys), "required": list(self.needed)}
        return {"type": "array", "items": each}

    def read(self, items: Sequence[Item], problems: Problems) -> tuple[Given, ...]:
        """See L{Kind}."""
        tables = [each for item in items for each in problems.within(item.tables) or ()]
        for each in tables:
            for name in self.needed:
                if name not in each.value:
                    problems.keep(each.wrong(f"{name!r} is missing"))
        return tuple(read_table([each], self.keys, problems) for each in tables)


@frozen(slots=True)
class NamedTables:
    """
    A table of tables, each with a name.

    @ivar keys: those of each table.
    """

    keys: Mapping[str, Key]

    @property
    def schema(self) -> Schema:
        """See L{Kind}."""
        return {"type": "object", "additionalProperties": table_schema(self.keys)}

    def read(self, items: Sequence[Item], problems: Problems) -> dict[str, Given]:
        """See L{Kind}."""
        together: dict[str, list[Item]] = {}
        for item in items:
            for name, each in problems.within(item.members) or ():
                together.setdefault(name, []).append(each)
        return {name: read_table(tables, self.keys, problems) for name, tables in together.items()}
