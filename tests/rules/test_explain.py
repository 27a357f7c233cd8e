"""What is said of a rule, in words."""

from ipaddress import ip_address
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from socks5d.interfaces import USERID
from socks5d.model import Client, Command, Ident, Identity, Request
from socks5d.rules import (
    Action,
    HostList,
    Match,
    Rule,
    Times,
    UserList,
    parse_destination,
    parse_network,
)
from socks5d.rules.explain import By, Explainer
from tests.rules.requests import for_address, for_client, for_name

CLIENT = Client(ip_address("192.0.2.7"), 5000, None, "tcp:1080")
REQUEST = Request(
    CLIENT,
    "5",
    2,
    Identity("alice", "password"),
    None,
    Command.CONNECT,
    "www.example",
    ip_address("198.51.100.1"),
    443,
)


def to(*texts: str) -> tuple[Any, ...]:
    return tuple(map(parse_destination, texts))


def said(
    conditions: dict[str, Any], request: Request = REQUEST, action: Action = Action.PERMIT
) -> tuple[Match, str, By | None]:
    # Friday, 1970-01-02, at noon.
    found = Explainer(request, 36 * 3600).consider(Rule(number=1, action=action, **conditions))
    return found.match, found.why, found.by


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ({"client": (parse_network("10.0.0.0/8"),)}, "client 192.0.2.7 is not in 10.0.0.0/8"),
        (
            {"client": (HostList("office", ["10.0.0.0/8"]), parse_network("::/0"))},
            "client 192.0.2.7 is not in list office, ::/0",
        ),
        ({"listener": ("unix:*", "tcp:1")}, "listener 'tcp:1080' is not 'unix:*', 'tcp:1'"),
        ({"version": frozenset({"4", "4a"})}, "version 5 is not 4, 4a"),
        (
            {"times": Times(zone=ZoneInfo("Asia/Kathmandu"), days=frozenset({0}))},
            "it is fri 17:30 in Asia/Kathmandu",
        ),
        ({"method": frozenset({0, 200, USERID})}, "method password is not userid, none, 200"),
        ({"user": ("bob", "eve*")}, "user 'alice' is not 'bob', 'eve*'"),
        ({"group": (UserList("staff", ["bob"]),)}, "user 'alice' is not in list staff"),
        ({"principal": ("alice",)}, "there is no principal"),
        ({"userid": ("alice",)}, "there is no userid"),
        ({"ident": ("alice",)}, "there is no ident name"),
        ({"command": frozenset({Command.BIND})}, "command CONNECT is not BIND"),
        ({"ports": ((1, 2), (80, 80))}, "port 443 is not in 1-2, 80"),
        (
            {"destination": to("10.0.0.0/8", "a.test", "*.b.test")},
            "www.example or 198.51.100.1 is not in 10.0.0.0/8, a.test, *.b.test",
        ),
        (
            {"destination": to(*(f"{number}.example" for number in "abcdefg"))},
            "www.example or 198.51.100.1 is not in a.example, b.example, c.example, "
            "d.example or 3 more",
        ),
    ],
)
def test_why_it_does_not_match(conditions: dict[str, Any], why: str) -> None:
    assert said(conditions) == (Match.NO, why, None)


def test_a_client_without_an_address_or_a_name() -> None:
    nobody = REQUEST._replace(client=Client(None), identity=Identity("alice", "userid"))
    anywhere = {"client": (parse_network("0.0.0.0/0"),)}
    assert said(anywhere, nobody) == (Match.NO, "the client has no address", None)
    staff = {"group": (UserList("staff", ["*"]),)}
    assert said(staff, nobody) == (Match.NO, "the client has proven no user name", None)
    assert said({"user": ("*",)}, nobody) == (Match.NO, "there is no user", None)


def test_what_strangers_sent_is_escaped() -> None:
    request = REQUEST._replace(identity=Identity("a\n\x1b[1mb", "password"), ident=Ident("\r\0"))
    for conditions in ({"user": ("x",)}, {"group": (UserList("x", ["x"]),)}, {"ident": ("x",)}):
        _, why, _ = said(conditions, request)
        assert why.isprintable()


@pytest.mark.parametrize(
    ("conditions", "why", "by"),
    [
        ({}, "it is about every destination", By.EVERYTHING),
        ({"destination": to("*")}, "it is about every destination", By.EVERYTHING),
        ({"destination": to("*.example")}, "www.example is in *.example", By.HOST),
        (
            {"destination": to("198.51.100.0/24")},
            "198.51.100.1 is in 198.51.100.0/24",
            By.HOST,
        ),
        (
            {"destination": (HostList("ads", ["*.example"]),)},
            "www.example is in list ads (*.example)",
            By.HOST,
        ),
        (
            {"user": ("al*",), "group": (UserList("x", ["alice"]),), "version": frozenset({"5"})},
            "it is about every destination",
            By.EVERYTHING,
        ),
    ],
)
def test_by_what_it_matches(conditions: dict[str, Any], why: str, by: By) -> None:
    assert said(conditions) == (Match.YES, why, by)


def test_what_an_address_leads_to_is_denied_only() -> None:
    request = for_address("64:ff9b::a00:1")
    inside = {"destination": to("10.0.0.0/8")}
    assert said(inside, request, Action.DENY) == (
        Match.YES,
        "64:ff9b::a00:1 leads to 10.0.0.1, in 10.0.0.0/8",
        By.LEADS_TO,
    )
    assert said(inside, request) == (Match.NO, "64:ff9b::a00:1 is not in 10.0.0.0/8", None)


@pytest.mark.parametrize(
    ("conditions", "request_", "why"),
    [
        ({"user": ("bob",)}, for_client(), "the user is not known yet"),
        ({"group": (UserList("x", []),)}, for_client(), "the user is not known yet"),
        ({"method": frozenset({2})}, for_client(), "the method is not known yet"),
        ({"ident": ("x",)}, for_client(), "the ident name is not known yet"),
        ({"ports": ((80, 80),)}, for_client(), "the port is not known yet"),
        ({"destination": to("10.0.0.0/8")}, for_client(), "the destination is not known yet"),
        (
            {"destination": to("10.0.0.0/8")},
            for_name("a.test"),
            "what the name resolves to is not known yet",
        ),
        (
            {"ports": ((80, 80),)},
            Request(CLIENT, "5", 0, command=Command.UDP_ASSOCIATE),
            "the port is not known yet",
        ),
        (
            {"destination": to("10.0.0.0/8"), "ports": ((80, 80),)},
            Request(CLIENT, "5", 0, command=Command.BIND, port=80),
            "the destination is not known yet",
        ),
    ],
)
def test_what_is_not_known_yet(conditions: dict[str, Any], request_: Request, why: str) -> None:
    assert said(conditions, request_) == (Match.MAYBE, why, None)


def test_what_does_not_match_is_said_before_what_is_not_known() -> None:
    conditions = {"user": ("bob",), "listener": ("unix:*",)}
    match, why, _ = said(conditions, for_client())
    assert (match, why) == (Match.NO, "listener '' is not 'unix:*'")
