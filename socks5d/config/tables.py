"""Tables: keys, each of a kind, and what is not among them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from attrs import field, frozen

from socks5d.config.kinds import Kind, Schema
from socks5d.values import Item, Problems


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
    A table that was given, and is right as far as each of its keys goes.

    @ivar item: where it stands.
    @ivar values: what its keys hold.
    @ivar places: where those stand.
    """

    item: Item
    values: Mapping[str, Any]
    places: Mapping[str, Item] = field(factory=dict)

    def place(self, key: str) -> str:
        """
        @return: where a key stands; where the table does, when it is not given.
        """
        return self.places.get(key, self.item).place


def suggestion(name: str, known: Sequence[str]) -> str:
    """
    @param known: the names that there are.
    @return: what to write in the place of one that is not among them.
    """
    close = get_close_matches(name.lower().replace("-", "_"), known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(known)}" if known else "there is none"


def read_keys(given: Sequence[tuple[str, Item]], known: Mapping[str, Key]) -> dict[str, Any]:
    """
    @param given: keys, each with a value and where that stands; any number of each.
    @param known: the keys that there are.
    @return: the values of those that were given.
    @raise ConfigError: with everything that is wrong.
    """
    problems = Problems()
    together: dict[str, list[Item]] = {}
    for name, item in given:
        if name in known:
            together.setdefault(name, []).append(item)
        else:
            problems.add(f"{item.place}: unknown key; {suggestion(name, list(known))}")
    values = {
        name: problems.within(known[name].kind.read, items) for name, items in together.items()
    }
    problems.complain()
    return values


def read_table(items: Sequence[Item], known: Mapping[str, Key]) -> Given:
    """
    @param items: tables, whose keys are put together.
    @param known: the keys that there are.
    @raise ConfigError: with everything that is wrong.
    """
    problems = Problems()
    members = [problems.within(item.members) for item in items]
    pairs = [pair for some in members if some is not None for pair in some]
    values = problems.within(read_keys, pairs, known)
    problems.complain()
    return Given(items[-1], values or {}, dict(pairs))


def table_schema(known: Mapping[str, Key]) -> Schema:
    """
    @return: what a JSON Schema says of a table with these keys.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key.name: {"description": key.says, **key.kind.schema} for key in known.values()
        },
    }


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

    def read(self, items: Sequence[Item]) -> Given:
        """See L{Kind}."""
        return read_table(items, self.keys)


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

    def read(self, items: Sequence[Item]) -> Given | None:
        """See L{Kind}."""
        if items[-1].value is False:
            return None
        return read_table(items, self.keys)


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

    def read(self, items: Sequence[Item]) -> tuple[Given, ...]:
        """See L{Kind}."""
        problems = Problems()
        made: list[Given | None] = []
        for item in items:
            for each in problems.within(item.tables) or ():
                given = problems.within(read_table, [each], self.keys)
                for name in self.needed:
                    if name not in each.value:
                        problems.add(f"{each.place}: {name!r} is missing")
                made.append(given)
        problems.complain()
        return tuple(each for each in made if each is not None)


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

    def read(self, items: Sequence[Item]) -> dict[str, Given]:
        """See L{Kind}."""
        problems = Problems()
        together: dict[str, list[Item]] = {}
        for item in items:
            for name, each in problems.within(item.members) or ():
                together.setdefault(name, []).append(each)
        made = {
            name: problems.within(read_table, tables, self.keys)
            for name, tables in together.items()
        }
        problems.complain()
        return {name: given for name, given in made.items() if given is not None}
