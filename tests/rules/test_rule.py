"""Rules as values: what makes none."""

from typing import Any

import pytest

from socks5d.interfaces import USERID
from socks5d.model import Terms
from socks5d.rules import Action, HostList, Rule, parse_destination, parse_method


@pytest.mark.parametrize(
    ("rule", "title", "text"),
    [
        (Rule(number=3, action=Action.DENY), "rule 3", "rule 3"),
        (Rule(number=3, action=Action.DENY, name="mail"), 'rule "mail"', 'rule "mail"'),
        (
            Rule(number=3, action=Action.DENY, name="mail", reason="closed"),
            'rule "mail"',
            'rule "mail": closed',
        ),
    ],
)
def test_what_it_is_called(rule: Rule, title: str, text: str) -> None:
    assert (rule.title, rule.text) == (title, text)


@pytest.mark.parametrize(
    ("conditions", "problem"),
    [
        ({"client": ()}, "'client' is empty"),
        ({"destination": ()}, "'destination' is empty"),
        ({"user": ()}, "'user' is empty"),
        ({"command": frozenset()}, "'command' is empty"),
        ({"destination": (parse_destination("a.example:80"),)}, "ports are a key of their own"),
        ({"destination": tuple(map(parse_destination, ("10.0.0.1", "*")))}, "another rule for"),
        ({"destination": (parse_destination("*"), HostList("ads", ["a"]))}, "another rule for"),
        ({"destination": (parse_destination("*"),) * 2}, "another rule for"),
        ({"client": (HostList("ads", ["a.example"]),)}, "list 'ads' has names"),
        ({"terms": Terms(idle=60)}, "a rule that denies has no terms"),
    ],
)
def test_what_makes_none(conditions: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Rule(number=1, action=Action.DENY, **conditions)


@pytest.mark.parametrize(
    ("value", "method"),
    [("none", 0), ("gssapi", 1), ("password", 2), ("userid", USERID), (0, 0), (254, 254)],
)
def test_methods(value: str | int, method: int) -> None:
    assert parse_method(value) == method


@pytest.mark.parametrize("value", ["", "None", "2", 255, -1, True])
def test_what_is_no_method(value: str | int) -> None:
    with pytest.raises(ValueError, match="is no method"):
        parse_method(value)


@pytest.mark.parametrize(
    "terms",
    [
        {"idle": 0},
        {"udp_idle": -1},
        {"connect": 121},
        {"bind": 0},
        {"rate": 0},
        {"device": "a" * 16},
        {"device": ""},
        {"upstream": ""},
    ],
)
def test_terms_out_of_range(terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(terms))):
        Terms(**terms)
