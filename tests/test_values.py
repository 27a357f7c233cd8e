"""What the operator wrote, where it stands, and what is wrong with it."""

from typing import Any

import pytest

from socks5d.values import ConfigError, Item, Problems, element, key_text, member

LINES = {"rule": 1, "rule[1]": 1, "rule[1].to": 2, "rule[1].to[2]": 3, "rule[2]": 5}


def test_an_error_has_a_line_for_each_problem() -> None:
    error = ConfigError("one", "two")
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo"


def test_problems_are_told_together_and_each_once() -> None:
    problems = Problems()
    problems.complain()
    assert problems.within(int, "5") == 5
    assert len(problems) == 0

    def fail(*told: str) -> int:
        raise ConfigError(*told)

    assert problems.within(fail, "a", "b") is None
    problems.keep(ConfigError("c", "a"))
    problems.add("d")
    assert len(problems) == 5
    with pytest.raises(ConfigError) as caught:
        problems.complain()
    assert caught.value.problems == ("a", "b", "c", "d")


def test_another_error_is_none_of_theirs() -> None:
    with pytest.raises(ZeroDivisionError):
        Problems().within(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a-b_1", "a-b_1"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a.b", '"a.b"'),
        ("\n", '"\\n"'),
        ("\u00e4", '"\u00e4"'),
    ],
)
def test_keys_are_written_as_in_the_file(key: str, text: str) -> None:
    assert key_text(key) == text
    assert member("", key) == text
    assert member("x", key) == f"x.{text}"
    assert element("x", 2) == "x[2]"


@pytest.mark.parametrize(
    ("item", "place"),
    [
        (Item("--allow", 1), "--allow"),
        (Item("a.toml", 1, "rule[1].to", LINES), "a.toml:2: rule[1].to"),
        (Item("a.toml", 1, "rule[3]", LINES), "a.toml: rule[3]"),
    ],
)
def test_a_place_is_as_exact_as_it_is_known(item: Item, place: str) -> None:
    assert item.place == place
    assert str(item.wrong("is wrong")) == f"{place}: is wrong"


def test_what_is_in_a_value_has_its_own_place() -> None:
    rules = Item("a.toml", [{"to": ["x", "y"]}, {}], "rule", LINES)
    first, second = rules.tables()
    assert (first.place, second.place) == ("a.toml:1: rule[1]", "a.toml:5: rule[2]")
    ((key, to),) = first.members()
    assert (key, to.place) == ("to", "a.toml:2: rule[1].to")
    assert [(each.value, each.place) for each in to.texts()] == [
        ("x", "a.toml:2: rule[1].to"),
        ("y", "a.toml:3: rule[1].to"),
    ]


def test_what_is_in_an_option_is_the_options() -> None:
    ((_, inside),) = Item("--gssapi-nec", {"nec": [True]}).members()
    assert inside.place == "--gssapi-nec"
    assert [each.place for each in inside.elements()] == ["--gssapi-nec"]


def test_one_value_is_a_list_of_one() -> None:
    assert [each.value for each in Item("x", "a").texts()] == ["a"]
    assert [each.value for each in Item("x", 5).elements()] == [5]


@pytest.mark.parametrize("value", [5, None, True, [5], ["a", 5], {"a": "b"}])
def test_texts_are_texts(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x: must be a text or a list of texts$"):
        Item("x", value).texts()


@pytest.mark.parametrize("value", [5, "a", [], [{}]])
def test_a_table_is_one(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^x: must be a table$"):
        Item("x", value).members()


@pytest.mark.parametrize("value", [5, "a", {}, [5], [{}, 5]])
def test_tables_are_a_list_of_them(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^f: x: must be a list of tables; write \[\[x\]\] "):
        Item("f", value, "x").tables()
