"""Whatever somebody writes comes to settings, or to errors that say where."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from socks5d.config import KEYS, Settings, make_settings
from socks5d.config.definition import GSSAPI, LISTENER
from socks5d.config.lists import KEYS as LIST
from socks5d.config.rules import KEYS as RULE
from socks5d.values import ConfigError, Item

WORDS = st.sampled_from(
    [
        *("permit", "deny", "5", "4a", "password", "connect", "mon-fri", "08:00-18:00", "UTC"),
        *("@ads", "ads", "*", "*.example.com", "10.0.0.0/8", "::1", "443", "80-90", "direct"),
        *("all", "log", "Europe/Vienna", "tcp:0", "none", "integrity", "auto", "", "/", "\0", "@"),
        *("Europe", "../UTC", "eth0", "2001:db8::1", "example.com:80", "memory:a:b", "file:/x"),
    ]
)
SCALARS = st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def a_table(keys: Any, **known: Any) -> Any:
    names = st.sampled_from(sorted(set(keys) - set(known)))
    tables = st.dictionaries(names, VALUES | st.lists(WORDS, max_size=3), max_size=5)
    return st.builds(
        lambda table, more: {**table, **more}, tables, st.fixed_dictionaries({}, optional=known)
    )


RULES = st.lists(a_table(RULE, action=st.sampled_from(["permit", "deny"])), max_size=3)
LISTENERS = st.lists(
    a_table(LISTENER, rule=RULES, gssapi=VALUES | a_table(GSSAPI), endpoint=st.just("tcp:0")),
    max_size=2,
)
LISTS = st.dictionaries(st.sampled_from(["ads", "x", ""]), VALUES | a_table(LIST), max_size=2)
FILES = a_table(KEYS, rule=RULES, listener=LISTENERS, list=LISTS, gssapi=VALUES | a_table(GSSAPI))


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_it_is_settings_or_errors(content: dict[str, Any]) -> None:
    items = [(key, Item("a.toml", value, key, {key: 7})) for key, value in content.items()]
    try:
        made = make_settings(items)
    except ConfigError as error:
        assert error.problems
        assert all("a.toml" in each or each.startswith("/") for each in error.problems)
    else:
        assert isinstance(made, Settings)
        assert made.listeners
