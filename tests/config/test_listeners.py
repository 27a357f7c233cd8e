"""Listeners with ways of their own: what they have, and what they have of what holds for all."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from socks5d.auth import NoAuthentication
from socks5d.config import Listener, Serving, Settings
from socks5d.config.definition import LISTENER, SERVING
from socks5d.config.settings import serving
from socks5d.model import Command
from socks5d.parameters import GSSAPIParameters, IdentMode, MessageProtection
from socks5d.rules import parse_destination
from tests.config.reading import problems, settings

COMMON = """
auth = "memory:ann:secret"
userid = "fred"
deny = "10.0.0.0/8"
deny_from = "192.0.2.1"
allow_from = "192.0.2.0/24"
ident = "log"
udp = false
[timeouts]
idle = 60
bind = 30
[gssapi]
service = "rcmd"
least = "integrity"
[[rule]]
action = "permit"
name = "for all"
[[listener]]
endpoint = "tcp:1081"
"""


def own(tmp_path: Path, text: str) -> Listener:
    """The only listener that has something of its own."""
    (made,) = settings(tmp_path, text).own
    return made


def test_what_it_does_not_say_is_what_holds_for_all(tmp_path: Path) -> None:
    made = settings(tmp_path, COMMON)
    (listener,) = made.own
    assert serving(listener) == serving(made)
    assert (listener.endpoint, listener.name) == ("tcp:1081", "tcp:1081")
    assert listener.timeouts.idle == 60


def test_every_key_can_stand_in_one(tmp_path: Path) -> None:
    text = f"""{COMMON}
name = "inside"
auth = []
authenticator = "none"
ruleset = []
userid = ["jane", "joe"]
allow = []
deny = "*.example.com"
allow_from = "198.51.100.0/24"
deny_from = "198.51.100.1"
proxy_from = []
ident = "off"
socks4 = false
socks5 = true
bind = false
udp = true
timeouts = {{ idle = 5 }}
gssapi = {{ most = "integrity" }}
[[listener.rule]]
action = "deny"
to = "*.ads.example"
"""
    assert all(f"{key} = " in text or f"[listener.{key}" in text for key in LISTENER)
    made = own(tmp_path, text)
    assert made.name == "inside"
    assert [made.checkers, made.rulesets, made.allow, made.proxy_from] == [(), (), (), ()]
    assert [type(each) for each in made.authenticators] == [NoAuthentication]
    assert made.userids == ("jane", "joe")
    assert made.allow_from == (ip_network("198.51.100.0/24"),)
    assert made.ident is IdentMode.OFF
    assert (made.socks4, made.socks5) == (False, True)
    assert made.commands == {Command.CONNECT, Command.UDP_ASSOCIATE}
    assert (made.timeouts.idle, made.timeouts.bind) == (5, 30)
    protection = MessageProtection.INTEGRITY
    assert made.gssapi == GSSAPIParameters(service="rcmd", least=protection, most=protection)


def test_what_is_denied_for_all_is_denied_by_it(tmp_path: Path) -> None:
    made = own(tmp_path, f"{COMMON}deny = '*.example.com'\ndeny_from = '198.51.100.1'\n")
    assert made.deny == (parse_destination("10.0.0.0/8"), parse_destination("*.example.com"))
    assert made.deny_from == (ip_network("192.0.2.1/32"), ip_network("198.51.100.1/32"))
    emptied = own(tmp_path, f"{COMMON}deny = []\ndeny_from = []\n")
    assert emptied.deny == (parse_destination("10.0.0.0/8"),)
    assert emptied.deny_from == (ip_network("192.0.2.1/32"),)


def test_its_rules_come_before_those_for_all(tmp_path: Path) -> None:
    rule = "[[listener.rule]]\naction = 'deny'\n"
    text = f"{COMMON}name = 'x'\n{rule}{rule}name = 'y'"
    made = settings(tmp_path, text)
    assert [rule.title for rule in made.own[0].rules] == [
        'rule "x 1"',
        'rule "y"',
        'rule "for all"',
    ]
    assert [rule.title for rule in made.rules] == ['rule "for all"']


def test_the_gss_api_can_be_switched_off(tmp_path: Path) -> None:
    assert own(tmp_path, f"{COMMON}gssapi = false\n").gssapi is None


def test_a_listener_of_its_own_is_in_the_place_of_the_default(tmp_path: Path) -> None:
    one = "[[listener]]\nendpoint = 'tcp:1081'\n"
    assert [each.endpoint for each in settings(tmp_path, one).listeners] == ["tcp:1081"]
    both = settings(tmp_path, f"listen = 'tcp:1080'\n{one}", ("listen", "tcp:1082"))
    assert [each.endpoint for each in both.listeners] == ["tcp:1080", "tcp:1082", "tcp:1081"]
    assert [each.name for each in Settings().listeners] == ["tcp:1080:interface=127.0.0.1"]


def test_there_is_a_key_for_all_that_it_may_have() -> None:
    assert set(LISTENER) == {*SERVING, "endpoint", "name", "gssapi", "timeouts"}
    assert serving(Serving()) == serving(Settings())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1: listener[1]: 'endpoint' is missing"),
        ("endpoint = ''", "2: listener[1].endpoint: must be an endpoint, as 'tcp:1080:interface="),
        ("endpoint = ['tcp:1']", "2: listener[1].endpoint: must be an endpoint"),
        ("endpoint = 'tcp:1'\nname = 5", "3: listener[1].name: must be a text that is not empty"),
        ("endpoint = 'tcp:1'\nlimits = {}", "3: listener[1].limits: unknown key; "),
        ("endpoint = 'tcp:1'\ngssapi = true", "3: listener[1].gssapi: must be a table"),
        (
            "endpoint = 'tcp:1'\n[listener.timeouts]\nshutdown = 1",
            "4: listener[1].timeouts.shutdown: unknown key; there are handshake, connect, bind, ",
        ),
        (
            "endpoint = 'tcp:1'\nsocks4 = false\nsocks5 = false",
            "4: listener[1].socks5: socks4 and socks5 are both off, which leaves nothing to serve",
        ),
        (
            "endpoint = 'tcp:1'\n[listener.gssapi]\nleast = 'integrity'\nmost = 'none'",
            "3: listener[1].gssapi: least must not be more than most",
        ),
        (
            "endpoint = 'tcp:1'\nallow = '*'\n[[listener.rule]]\naction = 'deny'",
            "3: listener[1].allow: allow and rules do not go together; ",
        ),
        (
            "endpoint = 'tcp:1'\n[[listener.rule]]\naction = 'deny'\nident = 'ann'",
            "5: listener[1].rule[1].ident: nobody asks identd; set ident = 'log' or 'require'",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = problems(tmp_path, f"[[listener]]\n{text}\n")
    assert problem.startswith(f"socks5d.toml:{told}")


def test_an_allow_for_all_and_a_rule_of_its_own_do_not_go_together(tmp_path: Path) -> None:
    text = "allow = '*:443'\n[[listener]]\nendpoint = 'tcp:1'\n[[listener.rule]]\naction = 'deny'"
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("socks5d.toml:4: listener[1].rule: allow and rules do not go ")
    text = text.replace("[[listener.rule", "allow = []\n[[listener.rule")
    assert [
        len(each.allow) for each in settings(tmp_path, f"listen = 'tcp:2'\n{text}").listeners
    ] == [
        1,
        0,
    ]


def test_a_listener_that_is_wrong_is_told_once(tmp_path: Path) -> None:
    text = "[[rule]]\naction = 'deny'\nlistener = 'guests'\n[[listener]]\nname = 'guests'"
    (problem,) = problems(tmp_path, text)
    assert problem == "socks5d.toml:4: listener[1]: 'endpoint' is missing"


def test_a_rule_may_name_any_listener(tmp_path: Path) -> None:
    text = "[[rule]]\naction = 'deny'\nlistener = 'guest*'\n[[listener]]\nendpoint = 'tcp:1'\n"
    assert settings(tmp_path, f"{text}name = 'guests'").rules[0].listener == ("guest*",)
    (problem,) = problems(tmp_path, f"{text}name = 'gests'")
    assert (
        problem
        == "socks5d.toml:3: rule[1].listener: 'guest*' is no listener; did you mean 'gests'?"
    )
