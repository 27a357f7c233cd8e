"""The table of rules: every key, every way to get one wrong."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from attrs import fields

from socks5d.config.rules import CONDITIONS, KEYS, TERMS
from socks5d.interfaces import USERID
from socks5d.model import Command, Logged, Terms
from socks5d.parameters import LocalAddresses
from socks5d.rules import Action, HostList, Rule, Times, UserList, parse_destination
from tests.config.reading import problems, settings

EVERYTHING = """
ident = "log"
auth = "memory:ann:secret"
userid = "ann"
gssapi = {}

[list.ads]
names = ["*.ads.example"]
addresses = "198.51.100.0/24"

[list.office]
addresses = ["192.0.2.0/24"]

[list.staff]
users = "ann-*"

[[rule]]
name = "office hours"
action = "permit"
reason = "they work"
from = ["@office", "10.0.0.0/8"]
listener = "tcp:1080:*"
version = ["4a", "5"]
method = ["password", 1, "userid"]
user = ["ops", "root-*"]
group = "staff"
ident = "ann"
userid = ["ann", ""]
principal = "*@EXAMPLE.ORG"
command = ["connect", "udp"]
to = ["@ads", "*.example.com", "203.0.113.7"]
ports = [443, "8000-8099"]
days = ["mon-wed", "sat"]
hours = ["08:00-12:00", "22:00-06:00"]
zone = "Europe/Vienna"
idle = 60
connect = 5.5
bind = 30
udp_idle = 90
rate = 1000000
log = "refused"
source = ["192.0.2.1", "2001:db8::1"]
device = "eth1"
upstream = "direct"

[[rule]]
action = "deny"
"""


def rule(tmp_path: Path, text: str) -> Rule:
    """The only rule of a file."""
    (made,) = settings(tmp_path, f"[[rule]]\n{text}\n").rules
    return made


def wrong(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with the only rule of a file."""
    return problems(tmp_path, f"[[rule]]\n{text}\n")


def test_every_key_can_stand_in_a_rule(tmp_path: Path) -> None:
    first, second = settings(tmp_path, EVERYTHING).rules
    assert (first.number, first.action, first.name) == (1, Action.PERMIT, "office hours")
    assert first.reason == "they work"
    office, network = first.client or ()
    assert isinstance(office, HostList)
    assert (office.name, office.has_names) == ("office", False)
    assert network == ip_network("10.0.0.0/8")
    assert first.listener == ("tcp:1080:*",)
    assert first.version == frozenset({"4a", "5"})
    assert first.method == frozenset({2, 1, USERID})
    assert first.user == ("ops", "root-*")
    (staff,) = first.group or ()
    assert isinstance(staff, UserList)
    assert (staff.name, staff.users) == ("staff", ["ann-*"])
    assert first.ident == ("ann",)
    assert first.userid == ("ann", "")
    assert first.principal == ("*@EXAMPLE.ORG",)
    assert first.command == frozenset({Command.CONNECT, Command.UDP_ASSOCIATE})
    ads, *destinations = first.destination or ()
    assert isinstance(ads, HostList)
    assert (ads.find("x.ads.example"), ads.has_names) == ("*.ads.example", True)
    assert ads.find(ip_address("198.51.100.7")) == "198.51.100.0/24"
    assert destinations == [parse_destination(each) for each in ("*.example.com", "203.0.113.7")]
    assert first.ports == ((443, 443), (8000, 8099))
    assert first.times == Times(
        zone=ZoneInfo("Europe/Vienna"),
        days=frozenset({0, 1, 2, 5}),
        hours=((480, 720), (1320, 360)),
    )
    assert first.terms == Terms(
        idle=60,
        connect=5.5,
        bind=30,
        udp_idle=90,
        rate=1000000,
        log=Logged.REFUSED,
        source=LocalAddresses(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
        device="eth1",
        upstream="direct",
    )
    assert (second.number, second.action, second.title) == (2, Action.DENY, "rule 2")
    empty = [getattr(second, each) for each in CONDITIONS.values()]
    assert empty == [None] * len(CONDITIONS)


def test_every_field_of_a_rule_has_its_key() -> None:
    others = {"number", "action", "name", "reason", "times", "terms"}
    assert {each.name for each in fields(Rule)} - others == set(CONDITIONS.values())
    told = {*CONDITIONS, *TERMS, "action", "name", "reason", "days", "hours", "zone"}
    assert set(KEYS) == told
    assert all(f"\n{key} = " in EVERYTHING for key in KEYS)


def test_days_may_pass_the_end_of_the_week(tmp_path: Path) -> None:
    times = rule(tmp_path, 'action = "deny"\ndays = "sat-mon"\nzone = "UTC"').times
    assert times is not None
    assert times.days == {5, 6, 0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1: rule[1]: 'action' is missing"),
        ("action = 'permitt'\nidle = 5", "2: rule[1].action: must be 'permit' or 'deny'"),
        ('action = "deny"\nname = "a\\nb"', "3: rule[1].name: must be one line of what can be "),
        ("action = 'deny'\nreason = ''", "3: rule[1].reason: must be a text that is not empty"),
        ("action = 'deny'\nidle = 5", "3: rule[1].idle: has no sense in a rule that denies; "),
        ("action = 'deny'\nactoin = 5", "3: rule[1].actoin: unknown key; did you mean 'action'?"),
        ("action = 'deny'\nfrom = '*'", "3: rule[1].from: '*' is no CIDR and no IP address"),
        ("action = 'deny'\nfrom = []", "3: rule[1].from: 'from' is empty, which nothing matches; "),
        ("action = 'deny'\nto = []", "3: rule[1].to: 'to' is empty, which nothing matches; "),
        (
            "action = 'deny'\nto = 'example.com:80'",
            "3: rule[1].to: 'example.com:80' has a port; write to = 'example.com', and ports ",
        ),
        (
            "action = 'permit'\nto = ['127.0.0.0/8', '*']",
            "3: rule[1].to: '*' is everything; write another rule for the others, or leave them ",
        ),
        (
            "action = 'deny'\nto = '@ads'",
            "3: rule[1].to: there is no list 'ads'; write it as [list.ads]",
        ),
        ("action = 'deny'\ngroup = 'x'", "3: rule[1].group: there is no list 'x'; "),
        (
            "action = 'deny'\nuser = '@x'",
            "3: rule[1].user: '@x': a list of users goes under group, as 'x'",
        ),
        ("action = 'deny'\nversion = '6'", "3: rule[1].version: '6' must be '4', '4a' or '5'"),
        ("action = 'deny'\nversion = 5", "3: rule[1].version: must be a text or a list of texts"),
        ("action = 'deny'\nmethod = 'pass'", "3: rule[1].method: 'pass' is no method: "),
        ("action = 'deny'\nmethod = 255", "3: rule[1].method: 255 is no method: "),
        (
            "action = 'deny'\ncommand = 'CONNECT'",
            "3: rule[1].command: 'CONNECT' must be 'connect', ",
        ),
        ("action = 'deny'\nports = [80,\n0]", "4: rule[1].ports: '0': ports go from 1 to 65535"),
        (
            "action = 'deny'\nports = true",
            "3: rule[1].ports: 'True' is no port and no range of ports",
        ),
        ("action = 'deny'\ndays = 'mon'", "3: rule[1].days: needs a zone beside it, as zone = "),
        ("action = 'deny'\nhours = '08:00-09:00'", "3: rule[1].hours: needs a zone beside it, "),
        ("action = 'deny'\nzone = 'UTC'", "3: rule[1].zone: says nothing without days or hours"),
        ("action = 'deny'\ndays = []\nzone = 'UTC'", "3: rule[1].days: is empty, which nothing "),
        ("action = 'deny'\ndays = 'monday'\nzone = 'UTC'", "3: rule[1].days: 'monday' is no day"),
        ("action = 'deny'\nhours = '8-9'\nzone = 'UTC'", "3: rule[1].hours: '8-9' are no hours"),
        (
            "action = 'deny'\ndays = 'mon'\nzone = 'Europe/Viena'",
            "4: rule[1].zone: 'Europe/Viena' is no time zone that the system knows; did you mean "
            "'Europe/Vienna'?",
        ),
        ("action = 'deny'\ndays = 'mon'\nzone = 'Europe'", "4: rule[1].zone: 'Europe' is no time "),
        ("action = 'permit'\nidle = 0", "3: rule[1].idle: 'idle' must be > 0"),
        ("action = 'permit'\nconnect = 121", "3: rule[1].connect: 'connect' must be <= 120"),
        ("action = 'permit'\nrate = 1.5", "3: rule[1].rate: must be a whole number"),
        ("action = 'permit'\nlog = true", "3: rule[1].log: must be 'all', 'refused' or 'none'"),
        ("action = 'permit'\nsource = 'eth0'", "3: rule[1].source: 'eth0' does not appear to be"),
        (
            "action = 'permit'\nsource = ['192.0.2.1', '192.0.2.2']",
            "3: rule[1].source: at most one address of each family",
        ),
        (
            "action = 'permit'\ndevice = 'abcdefghijklmnop'",
            "3: rule[1].device: must be the name of ",
        ),
        (
            "action = 'permit'\nupstream = 'tor'",
            "3: rule[1].upstream: there is no upstream 'tor'; there is 'direct' alone",
        ),
        (
            "action = 'deny'\nident = 'ann'",
            "3: rule[1].ident: nobody asks identd; set ident = 'log'",
        ),
        (
            "action = 'deny'\nlistener = 'guests'",
            "3: rule[1].listener: 'guests' is no listener; there are tcp:1080:interface=127.0.0.1",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = wrong(tmp_path, text)
    assert problem.startswith(f"socks5d.toml:{told}")


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("user = 'ann'", "user: nobody proves a name; set auth or gssapi"),
        ("group = 'x'", "group: nobody proves a name; set auth or gssapi"),
        ("principal = 'ann@A'", "principal: nobody authenticates by the GSS-API; set gssapi"),
        ("method = ['none', 'password']", "method: nobody is let in by password"),
        ("method = 128", "method: nobody is let in by 128"),
    ],
)
def test_a_condition_on_names_that_nobody_has_is_a_mistake(
    tmp_path: Path, condition: str, told: str
) -> None:
    text = f"userid = 'ann'\nrule = [{{ action = 'deny', {condition} }}]\nlist.x.users = 'ann'\n"
    assert problems(tmp_path, text) == [f"socks5d.toml:2: rule[1].{told}"]


def test_so_it_is_at_a_listener_whose_clients_have_none(tmp_path: Path) -> None:
    text = """
auth = "memory:ann:secret"
[[rule]]
action = "permit"
user = "ann"
[[listener]]
endpoint = "tcp:1081:interface=127.0.0.1"
auth = []
authenticator = "none"
[[listener.rule]]
action = "permit"
method = "none"
[[listener.rule]]
action = "permit"
user = "ann"
"""
    told = "nobody proves a name; set auth or gssapi"
    assert problems(tmp_path, text) == [
        f"socks5d.toml:5: rule[1].user: {told}",
        f"socks5d.toml:15: listener[1].rule[2].user: {told}",
    ]


def test_a_listeners_rule_is_about_that_listener(tmp_path: Path) -> None:
    text = """
[[listener]]
name = "guests"
endpoint = "tcp:1081:interface=127.0.0.1"
[[listener.rule]]
action = "permit"
listener = "staff"
[[listener]]
name = "staff"
endpoint = "tcp:1082:interface=127.0.0.1"
"""
    (problem,) = problems(tmp_path, text)
    assert problem == (
        "socks5d.toml:7: listener[1].rule[1].listener: 'staff' is not the listener that it is "
        "for; there are guests"
    )


@pytest.mark.parametrize("text", ["rule = 1", "rule = [1]", "[rule]\naction = 'deny'"])
def test_what_is_no_list_of_tables_is_told(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem == "socks5d.toml:1: rule: must be a list of tables; write [[rule]] before each"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = """socks4 = 1
[list.ads]
names = [
  "a.example",
  "10.0.0.0/8",
]
[[rule]]
action = "permit"
to = [
  "@adz",
  "a..b",
]
days = "someday"
[[rule]]
action = "deny"
to = "@ads"
from = "@ads"
rate = 1
source = "192.0.2.1"
[timeouts]
idle = -1
"""
    assert [": ".join(each.split(": ")[:2]) for each in problems(tmp_path, text)] == [
        "socks5d.toml:1: socks4",
        "socks5d.toml:5: list.ads.names",
        "socks5d.toml:11: rule[1].to",
        "socks5d.toml:13: rule[1].days",
        "socks5d.toml:21: timeouts.idle",
        "socks5d.toml:10: rule[1].to",
        "socks5d.toml:13: rule[1].days",
        "socks5d.toml:18: rule[2].rate",
        "socks5d.toml:19: rule[2].source",
        "socks5d.toml:17: rule[2].from",
    ]


# Beside what else decides.


def test_allow_and_rules_do_not_go_together(tmp_path: Path) -> None:
    rules = "[[rule]]\naction = 'permit'\n"
    (problem,) = problems(tmp_path, f"allow = '*:443'\n{rules}")
    assert problem == (
        "socks5d.toml:1: allow: allow and rules do not go together; write a rule with "
        "action = 'permit' and to = '*:443' in its place"
    )
    (problem,) = problems(tmp_path, rules, ("allow", "*"))
    assert problem.startswith("--allow: allow and rules do not go together")


def test_a_ruleset_that_permits_all_and_rules_do_not_go_together(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "ruleset = 'permit'\n[[rule]]\naction = 'deny'\n")
    assert problem.startswith("socks5d.toml:1: ruleset: ruleset permit leaves the rules nothing")
