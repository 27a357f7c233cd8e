"""The definition of all keys: options, the README and the schema have what it has."""

from pathlib import Path

import pytest

from socks5d.config.definition import GSSAPI, KEYS, LISTENER, SERVING
from socks5d.config.lists import KEYS as LIST
from socks5d.config.rules import KEYS as RULE
from socks5d.tap import Options

README = (Path(__file__).parents[2] / "README.rst").read_text()
SECTION = README.partition("\nThe file\n=====")[2].partition("\nRecipes\n=====")[0]


def test_every_option_has_its_key_and_the_reverse() -> None:
    known = {each.rstrip("=") for each in Options().longOpt}
    told = {key.option for key in (*KEYS.values(), *GSSAPI.values()) if key.option is not None}
    others = {"config", "version", "help", "help-auth", "help-auth-type"}
    assert {each.replace("_", "-") for each in known} - others == told


@pytest.mark.parametrize("key", sorted({*KEYS, *GSSAPI, *LISTENER, *LIST, *RULE}))
def test_the_readme_tells_of_every_key(key: str) -> None:
    words = (f"``{key}``", f"{key} = ", f"[{key}]", f"[{key}.")
    assert any(each in SECTION for each in words), key


def test_what_a_listener_may_have_is_told_in_the_readme() -> None:
    told = SECTION.partition("It may have")[2].partition("A list takes")[0]
    assert all(f"``{key}``" in told for key in {*SERVING, "gssapi", "timeouts"})
