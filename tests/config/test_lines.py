"""On which line a key stands: never on another than it does."""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks5d.config.lines import lines_of
from socks5d.values import element, key_text, member

TEXT = '''# a comment with a = 1
listen = ["a",
  # another, with "quotes
  "b # no comment", 'c"',
]
"odd key" = 1
'literal.key' = """
x = 5
[[rule]]
quotes at the end"""""

a.b."c.d" = 1
[timeouts] # [not] a table
idle = 5 # = 6
when = 1979-05-27 07:32:00
path = \'\'\'
[y]
\'\'\'

[[rule]]
to = ["x", [1,
 2], {a = 1, b.c = [
  3]}]
[rule.inner]
z = 1
[[rule.deep]]
y = 1
[[rule.deep]]
y = 2
[[rule]]
name = "a\\\\"
last = "\\""
[[rule.deep]]
y = 3
'''

LINES = {
    "listen": 2,
    "listen[1]": 2,
    "listen[2]": 4,
    "listen[3]": 4,
    '"odd key"': 6,
    '"literal.key"': 7,
    "a": 12,
    "a.b": 12,
    'a.b."c.d"': 12,
    "timeouts": 13,
    "timeouts.idle": 14,
    "timeouts.when": 15,
    "timeouts.path": 16,
    "rule": 20,
    "rule[1]": 20,
    "rule[1].to": 21,
    "rule[1].to[1]": 21,
    "rule[1].to[2]": 21,
    "rule[1].to[2][1]": 21,
    "rule[1].to[2][2]": 22,
    "rule[1].to[3]": 22,
    "rule[1].to[3].a": 22,
    "rule[1].to[3].b": 22,
    "rule[1].to[3].b.c": 22,
    "rule[1].to[3].b.c[1]": 23,
    "rule[1].inner": 24,
    "rule[1].inner.z": 25,
    "rule[1].deep": 26,
    "rule[1].deep[1]": 26,
    "rule[1].deep[1].y": 27,
    "rule[1].deep[2]": 28,
    "rule[1].deep[2].y": 29,
    "rule[2]": 30,
    "rule[2].name": 31,
    "rule[2].last": 32,
    "rule[2].deep": 33,
    "rule[2].deep[1]": 33,
    "rule[2].deep[1].y": 34,
}


def test_every_way_to_write_a_key_is_known() -> None:
    assert tomllib.loads(TEXT)
    assert lines_of(TEXT) == LINES


def test_lines_may_end_in_another_way() -> None:
    text = TEXT.replace("\n", "\r\n")
    assert tomllib.loads(text)
    assert lines_of(text) == LINES


def test_a_file_may_end_anywhere() -> None:
    assert lines_of("") == {}
    assert lines_of("# x") == {}
    assert lines_of("\n\na = 1") == {"a": 3}
    assert lines_of("[a]") == {"a": 1}


@pytest.mark.parametrize(
    "text",
    ["a", "a =", "a = [", "a = {", "[", "[[a", "= 1", "a = [1 2", 'a = "', "\x00", "]", "a ="],
)
def test_what_is_no_toml_ends_it(text: str) -> None:
    lines = lines_of(f"first = 1\n{text}\nlast = 2")
    assert lines["first"] == 1
    assert "last" not in lines or lines["last"] == 3


def test_depth_ends_it_too() -> None:
    assert lines_of(f"a = 1\nb = {'[' * 5000}{']' * 5000}")["a"] == 1


class Writer:
    """Writes TOML, each value on a line that it takes note of."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[str, int] = {}

    def line(self) -> int:
        return self.text.count("\n") + 1

    def note(self, path: str) -> None:
        self.lines.setdefault(path, self.line())

    def table(self, content: dict[str, Any], path: str = "", header: str = "") -> None:
        later: list[tuple[str, Any]] = []
        for key, value in content.items():
            if isinstance(value, dict) or (value and is_tables(value)):
                later.append((key, value))
                continue
            self.note(member(path, key))
            self.text += f"{key_text(key)} = "
            self.value(value, member(path, key))
            self.text += "  # a = [\n"
        for key, value in later:
            inner, name = member(path, key), f"{header}{key_text(key)}"
            self.note(inner)
            if isinstance(value, dict):
                self.text += f"[{name}]\n"
                self.table(value, inner, f"{name}.")
                continue
            for number, each in enumerate(value, 1):
                self.note(element(inner, number))
                self.text += f"[[{name}]]\n\n"
                self.table(each, element(inner, number), f"{name}.")

    def value(self, value: Any, path: str) -> None:
        if isinstance(value, list):
            self.text += "[\n"
            for number, each in enumerate(value, 1):
                self.note(element(path, number))
                self.value(each, element(path, number))
                self.text += ', # ] "\n'
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for number, (key, each) in enumerate(value.items()):
                self.text += ", " if number else " "
                self.note(member(path, key))
                self.text += f"{key_text(key)} = "
                self.value(each, member(path, key))
            self.text += "}"
        else:
            self.text += json.dumps(value, ensure_ascii=False)


def is_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


# DEL and surrogates are written in other ways in TOML than in JSON.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=6))
@example({"a": [{"b": [{"c": 1}, {}]}, {"b": [{"c": [[], {"d": 2}]}]}]})
def test_every_line_is_where_it_was_written(content: dict[str, Any]) -> None:
    writer = Writer()
    writer.table(content)
    assert tomllib.loads(writer.text) == content
    assert lines_of(writer.text) == writer.lines


@given(st.text(alphabet="ab.=[]{}\"',#\n\\ 1", max_size=60))
@example('"\\1"')
def test_no_text_breaks_it(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert isinstance(lines_of(text), dict)
    else:
        count = text.count("\n") + 1
        assert all(1 <= line <= count for line in lines_of(text).values())
