"""Tables: several become one, and what is not among their keys."""

import pytest

from socks5d.config.kinds import SWITCH, TEXT, texts
from socks5d.config.tables import (
    Given,
    Key,
    NamedTables,
    Table,
    TableOrFalse,
    Tables,
    keys,
    suggestion,
)
from socks5d.values import Item, Problems

KEYS = keys(
    Key("name", TEXT, "A text."), Key("on", SWITCH, "A switch."), Key("to", texts(str), "Some.")
)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nam", "did you mean 'name'?"),
        ("Name", "did you mean 'name'?"),
        ("NAME", "did you mean 'name'?"),
        ("zzz", "there are name, on, to"),
        ("", "there are name, on, to"),
    ],
)
def test_the_nearest_is_suggested(name: str, told: str) -> None:
    assert suggestion(name, list(KEYS)) == told


def test_where_there_is_none_none_is_suggested() -> None:
    assert suggestion("x", []) == "there is none"


def test_of_two_tables_lists_are_put_together_and_the_last_value_counts() -> None:
    problems = Problems()
    items = [Item("a", {"name": "x", "to": ["1"]}), Item("b", {"on": True, "name": "y", "to": "2"})]
    given = Table(KEYS).read(items, problems)
    assert len(problems) == 0
    assert given.right
    assert given.values == {"name": "y", "on": True, "to": ("1", "2")}
    assert (given.place("name"), given.place("on"), given.place("other")) == ("b", "b", "b")


def test_what_is_wrong_is_left_out_and_told() -> None:
    problems = Problems()
    items = [Item("a", {"name": 5, "on": False, "x": 1}), Item("b", 7)]
    given = Table(KEYS).read(items, problems)
    assert (given.values, given.right) == ({"on": False}, False)
    assert sorted(given.places) == ["name", "on", "x"]
    assert len(problems) == 3


def test_a_table_that_can_be_switched_off() -> None:
    kind, problems = TableOrFalse(KEYS), Problems()
    assert kind.read([Item("a", {"on": True}), Item("b", False)], problems) is False
    given = kind.read([Item("a", False), Item("b", {"on": True})], problems)
    assert isinstance(given, Given)
    assert given.values == {"on": True}
    assert len(problems) == 0


def test_lists_of_tables_are_put_together() -> None:
    problems = Problems()
    kind = Tables(KEYS, needed=("name",))
    made = kind.read([Item("a", [{"name": "x"}, {}]), Item("b", [{"name": "y"}])], problems)
    assert [each.values for each in made] == [{"name": "x"}, {}, {"name": "y"}]
    with pytest.raises(ValueError, match=r"^a: 'name' is missing$"):
        problems.complain()


def test_named_tables_with_the_same_name_are_put_together() -> None:
    problems = Problems()
    items = [Item("a", {"x": {"to": ["1"]}}), Item("b", {"x": {"to": ["2"]}, "y": {}})]
    made = NamedTables(KEYS).read(items, problems)
    assert {name: given.values for name, given in made.items()} == {
        "x": {"to": ("1", "2")},
        "y": {},
    }
    assert len(problems) == 0
