"""The JSON Schema: what it takes, and that it agrees with what reads the file."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from socks5d.config import Settings
from socks5d.config.schema import json_schema
from socks5d.protocols.factory import STRANGERS
from tests.config import test_listeners, test_making, test_rules
from tests.config.reading import settings

README = Path(__file__).parents[2] / "README.rst"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def errors(validator: Draft202012Validator, text: str) -> list[str]:
    return [each.json_path for each in validator.iter_errors(tomllib.loads(text))]


def whole_file() -> str:
    """The file of the README, with what is commented out in it."""
    (block,) = [
        each
        for each in re.findall(r"code-block:: toml\n\n((?:    .*\n|\n)+)", README.read_text())
        if "listen = [" in each and "[limits]" in each
    ]
    lines = [each.removeprefix("    ") for each in block.splitlines()]
    return "\n".join(re.sub(r"^# (?=[\w\"*@/\[].*(?: = |\]$|\] ))", "", each) for each in lines)


@pytest.mark.parametrize(
    "text", [test_making.EVERYTHING, test_rules.EVERYTHING, test_listeners.COMMON]
)
def test_what_can_be_read_is_valid(validator: Draft202012Validator, text: str) -> None:
    assert errors(validator, text) == []


def test_the_readmes_file_is_valid_and_has_every_key(validator: Draft202012Validator) -> None:
    content = tomllib.loads(whole_file())
    assert [each.message for each in validator.iter_errors(content)] == []
    assert set(content) == set(json_schema()["properties"])
    for key in ("timeouts", "limits", "gssapi"):
        assert set(content[key]) == set(json_schema()["properties"][key]["properties"]), key


def test_the_readmes_file_has_the_defaults(tmp_path: Path) -> None:
    plain = "\n".join(each for each in whole_file().splitlines() if each)
    known = plain.partition("[gssapi]")[0] + "[timeouts]" + plain.partition("[timeouts]")[2]
    known = known.partition("[list.")[0]
    for key in ("access_log", "log_granted", "bind_ports", "udp_ports"):
        known = re.sub(rf"^{key} = .*\n", "", known, flags=re.MULTILINE)
    assert settings(tmp_path, known) == Settings(strangers=STRANGERS)


def test_the_readmes_other_examples_can_be_read(
    validator: Draft202012Validator, tmp_path: Path
) -> None:
    blocks = re.findall(r"code-block:: toml\n\n((?:    .*\n|\n)+)", README.read_text())
    texts = [
        "\n".join(each.removeprefix("    ") for each in block.splitlines()) for block in blocks
    ]
    lists, rules, listeners = (
        next(each for each in texts if mark in each and "[limits]" not in each)
        for mark in ("[list.office]", "[[rule]]", "[[listener]]")
    )
    for name in ("ads", "ad-networks", "staff"):
        (tmp_path / name).write_text("")
    (tmp_path / "passwords").write_text("ann:secret\n")
    for text in (f"{lists}\n{rules}", listeners):
        assert errors(validator, text) == []
    text = f"{lists}\n{rules}".replace("/etc/socks5d/", f"{tmp_path}/")
    made = settings(tmp_path, text, ("auth", "memory:ann:secret"))
    assert [each.title for each in made.rules] == ['rule "ads"', "rule 2"]
    made = settings(tmp_path, listeners.replace("/etc/socks5d/", f"{tmp_path}/"))
    assert [(each.name, len(each.checkers)) for each in made.listeners] == [
        ("staff", 1),
        ("guests", 0),
    ]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("colour = 1", "$"),
        ("listen = 5", "$.listen"),
        ("socks4 = 'no'", "$.socks4"),
        ("workers = 0", "$.workers"),
        ("ident = 'on'", "$.ident"),
        ("bind_ports = 'x'", "$.bind_ports"),
        ("[timeouts]\nidle = 0", "$.timeouts.idle"),
        ("[timeouts]\nclosing = 10", "$.timeouts.closing"),
        ("[timeouts]\nidel = 5", "$.timeouts"),
        ("[limits]\nearly = 1.5", "$.limits.early"),
        ("[gssapi.names]\na = 1", "$.gssapi.names.a"),
        ("[[rule]]\nto = '*'", "$.rule[0]"),
        ("[[rule]]\naction = 'x'", "$.rule[0].action"),
        ("[[rule]]\naction = 'deny'\nmethod = 300", "$.rule[0].method"),
        ("[rule]\naction = 'deny'", "$.rule"),
        ("[list.x]\nname = 'a'", "$.list.x"),
        ("[[listener]]\nname = 'a'", "$.listener[0]"),
        ("[[listener]]\nendpoint = 'a'\ngssapi = true", "$.listener[0].gssapi"),
        ("[[listener]]\nendpoint = 'a'\ntimeouts = {shutdown = 1}", "$.listener[0].timeouts"),
    ],
)
def test_what_is_wrong_is_not_valid(validator: Draft202012Validator, text: str, path: str) -> None:
    assert errors(validator, text) == [path]


def described(schema: dict[str, Any], path: str = "") -> list[str]:
    """Keys that are not described."""
    found: list[str] = []
    for key, each in schema.get("properties", {}).items():
        if not each.get("description"):
            found.append(f"{path}.{key}")
        inner = each.get("items", each)
        found += described(inner, f"{path}.{key}")
    return found


def test_every_key_is_described() -> None:
    assert described(json_schema()) == []
