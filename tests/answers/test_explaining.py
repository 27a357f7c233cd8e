"""What is said of a request, and that it is what the server would decide."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from zope.interface import implementer

from socks5d.answers.explaining import Explainer
from socks5d.answers.question import Question, ask
from socks5d.config import Settings
from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Request
from socks5d.values import ConfigError
from tests.answers.settings import FILE, made
from tests.rules.requests import DENY, PERMIT


@implementer(IRuleset)
class Answers:
    """A ruleset of somebody else's, which gives one answer after the other."""

    def __init__(self, answers: list[Deferred[Decision]]) -> None:
        self.answers = answers

    def decide(self, request: Request) -> Deferred[Decision]:
        return self.answers.pop(0)


NOTHING = dict.fromkeys(
    (
        "via",
        "from",
        "user",
        "method",
        "claimed",
        "identd",
        "connect",
        "bind",
        "udp",
        "address",
        "at",
    )
)
MONDAY = "2026-11-23T12:00Z"
STAFF: dict[str, Any] = {
    "via": "tcp:1080:interface=127.0.0.1",
    "from": "192.0.2.7",
    "user": "ops",
    "connect": "www.example.com:443",
    "address": "198.51.100.7",
    "at": MONDAY,
}
GUEST: dict[str, Any] = {"via": "guests", "from": "192.0.2.7", "connect": "198.51.100.7:80"}


def question(settings: Settings, **given: Any) -> Question:
    return ask(settings, {**NOTHING, "socks": "5", **given})


def explained(settings: Settings, **given: Any) -> tuple[bool, list[str]]:
    """Whether it is permitted, and what is said."""
    lines: list[str] = []
    asked = question(settings, **given)
    explainer = Explainer(settings, asked, MemoryReactorClock(), lines.append)
    results: list[bool] = []
    Deferred.fromCoroutine(explainer.explain()).addCallback(results.append)
    (permitted,) = results
    return permitted, lines


@pytest.mark.parametrize(
    ("given", "last"),
    [
        (STAFF, "permitted"),
        ({**STAFF, "user": "ann-1"}, "permitted"),
        ({**STAFF, "user": "bob"}, "denied: no rule mentions it"),
        ({**STAFF, "from": "198.51.100.1"}, "denied: no rule mentions it"),
        ({**STAFF, "from": None}, "denied: no rule mentions it"),
        ({**STAFF, "from": "::ffff:192.0.2.7"}, "permitted"),
        ({**STAFF, "at": "2026-11-22T12:00Z"}, "denied: no rule mentions it"),
        ({**STAFF, "at": "2026-11-23T12:00-08:00"}, "denied: no rule mentions it"),
        ({**STAFF, "connect": "www.example.com:80"}, "denied: no rule mentions it"),
        ({**STAFF, "connect": "x.ads.example:443"}, 'denied: rule "no ads": nobody wants them'),
        ({**STAFF, "address": "10.9.1.1"}, "denied: deny 10.9.0.0/16"),
        ({**STAFF, "address": "127.0.0.1"}, "denied: protected: loopback"),
        ({**STAFF, "connect": "203.0.113.7:8001", "address": None}, "permitted"),
        ({**STAFF, "connect": None, "udp": "www.example.com:443"}, "permitted"),
        ({**STAFF, "connect": None, "bind": "www.example.com:443"}, "permitted"),
        ({**STAFF, "user": None}, "denied: no client is let in by method none"),
        ({**STAFF, "method": "gssapi"}, "denied: no client is let in by method gssapi"),
        (
            {**STAFF, "user": None, "socks": "4"},
            "denied: no client is let in by method userid",
        ),
        (GUEST, "permitted"),
        ({**GUEST, "socks": "4", "claimed": "joe"}, "permitted"),
        (
            {**GUEST, "connect": None, "udp": "198.51.100.7:80"},
            "denied: UDP ASSOCIATE is not served",
        ),
        ({**GUEST, "connect": "[2001:db8::7]:80"}, "permitted"),
        ({**GUEST, "connect": "[::ffff:7f00:1]:80"}, "denied: protected: loopback"),
        ({**GUEST, "connect": "0x7f.1:80"}, "denied: protected: loopback"),
    ],
)
def test_the_last_line_is_the_decision(tmp_path: Path, given: dict[str, Any], last: str) -> None:
    permitted, lines = explained(made(tmp_path), **given)
    assert lines[-1] == last
    assert permitted is (last == "permitted")


def test_each_rule_is_told_of_with_its_reason(tmp_path: Path) -> None:
    _, lines = explained(made(tmp_path), **{**STAFF, "user": "bob"})
    assert lines == [
        "listener tcp:1080:interface=127.0.0.1, client 192.0.2.7, SOCKS 5, password bob, CONNECT "
        "www.example.com port 443",
        "the client:",
        "  allow and deny: no opinion",
        '  rule "no ads" (deny): may match: the destination is not known yet',
        "  rule 2 (permit): may match: the user is not known yet",
        "  -> no opinion",
        "the name www.example.com:",
        "  allow and deny: no opinion",
        '  rule "no ads" (deny): no: www.example.com is not in *.ads.example',
        "  rule 2 (permit): no: user 'bob' is not in list staff",
        "  -> deny, by 'no rule mentions it'",
        "denied: no rule mentions it",
    ]


def test_what_is_not_asked_any_more_is_not_told(tmp_path: Path) -> None:
    text = FILE.replace('deny = "', 'deny_from = "192.0.2.7"\ndeny = "')
    _, lines = explained(made(tmp_path, text), **STAFF)
    assert lines[1:] == [
        "the client:",
        "  allow_from and deny_from: deny, by 'deny-from 192.0.2.7/32'",
        "  -> deny, by 'deny-from 192.0.2.7/32'",
        "denied: deny-from 192.0.2.7/32",
    ]


def test_its_own_listeners_are_protected(tmp_path: Path) -> None:
    text = "listen = 'tcp:1080:interface=198.51.100.7'\nallow_from = '192.0.2.0/24'\n"
    settings = made(tmp_path, text)
    given = {"from": "192.0.2.7", "connect": "198.51.100.7:1080"}
    assert explained(settings, **given)[1][-1] == "denied: protected: the server's own listener"
    given["connect"] = "198.51.100.7:1081"
    assert explained(settings, **given)[0]


@pytest.mark.parametrize(
    ("mode", "given", "last"),
    [
        ("require", {}, "denied: ident: no ident: --identd is not given"),
        ("require", {"identd": "joe"}, "permitted"),
        ("require", {"identd": "ann"}, "denied: no rule mentions it"),
        ("require", {"socks": "4", "claimed": "ann", "identd": "joe"}, "denied: ident: USERID is "),
        ("require", {"socks": "4", "claimed": "joe", "identd": "joe"}, "permitted"),
        ("log", {}, "denied: no rule mentions it"),
        ("log", {"identd": "joe"}, "permitted"),
    ],
)
def test_ident_is_asked_as_the_server_does(
    tmp_path: Path, mode: str, given: dict[str, Any], last: str
) -> None:
    settings = made(tmp_path, f"ident = '{mode}'\n[[rule]]\naction = 'permit'\nident = 'joe'\n")
    _, lines = explained(settings, connect="198.51.100.7:80", **given)
    assert lines[-1].startswith(last)


def test_userids_that_are_not_listed_are_not_let_in(tmp_path: Path) -> None:
    settings = made(tmp_path, "userid = 'ann-*'\n")
    given = {"connect": "198.51.100.7:80", "socks": "4"}
    assert explained(settings, **given, claimed="ann-1")[0]
    assert explained(settings, **given, claimed="bob")[1][-1] == "denied: userid not listed"


@pytest.mark.parametrize("decision", [PERMIT, DENY, NO_OPINION], ids=str)
def test_a_ruleset_by_a_plugin_may_take_its_time(tmp_path: Path, decision: Decision) -> None:
    pending: list[Deferred[Decision]] = [Deferred(), Deferred()]
    settings = evolve(Settings(), rulesets=(Answers(list(pending)),))
    lines: list[str] = []
    asked = question(settings, connect="198.51.100.7:80")
    explainer = Explainer(settings, asked, MemoryReactorClock(), lines.append)
    results: list[bool] = []
    Deferred.fromCoroutine(explainer.explain()).addCallback(results.append)
    assert results == []
    for each in pending:
        each.callback(decision)
    assert results == [decision is PERMIT]
    assert any(line.startswith("  ruleset Answers: ") for line in lines)


def test_a_ruleset_that_never_answers_is_a_denial(tmp_path: Path, logs: Sequence[LogEvent]) -> None:
    settings = evolve(Settings(), rulesets=(Answers([Deferred()]),))
    lines: list[str] = []
    reactor = MemoryReactorClock()
    asked = question(settings, connect="198.51.100.7:80")
    Deferred.fromCoroutine(Explainer(settings, asked, reactor, lines.append).explain())
    reactor.advance(settings.timeouts.decision)
    assert lines[-1] == "denied: the ruleset failed to decide"
    assert len(logs) == 1


# Questions that make no sense.


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"via": None}, "--via: say by which listener: tcp:1080:interface=127.0.0.1, guests"),
        ({"via": "guest"}, "--via: there is no listener 'guest'; did you mean 'guests'?"),
        ({"connect": None}, "give one of --connect, --bind and --udp, as "),
        ({"bind": "a.example:1"}, "give one of --connect, --bind and --udp, as "),
        ({"connect": "a.example"}, "--connect: 'a.example' must be a host and a port, as "),
        ({"connect": "10.0.0.0/8:80"}, "--connect: '10.0.0.0/8:80' must be a host and a port"),
        ({"connect": "*:80"}, "--connect: '*:80' must be a host and a port"),
        ({"connect": "a.example:80-90"}, "--connect: 'a.example:80-90' must be a host and a port"),
        ({"connect": "a..b:80"}, "--connect: 'a..b' is no address and no name"),
        ({"connect": "192.0.2.1:80"}, "--address: the destination is an address already"),
        ({"address": "x"}, "--address: 'x' is no IP address"),
        ({"from": "x"}, "--from: 'x' is no IP address"),
        ({"at": "noon"}, "--at: 'noon' is no time, as 2026-02-03T18:00"),
        ({"socks": "6"}, "--socks: '6' must be '4', '4a' or '5'"),
        ({"socks": "4"}, "--user: SOCKS 4 has no methods; give --claimed, its USERID"),
        ({"socks": "4", "user": None, "method": "none"}, "--method: SOCKS 4 has no methods"),
        ({"claimed": "x"}, "--claimed: SOCKS 5 has no USERID"),
        ({"method": "x"}, "--method: 'x' is no method"),
        ({"method": "userid"}, "--method: userid is of SOCKS 4; give --socks 4"),
        ({"method": "none"}, "--user: without authentication nobody has a name"),
        ({"method": "password", "user": None}, "--method: password needs --user"),
        ({"identd": "x"}, "--identd: listener 'tcp:1080:interface=127.0.0.1' does not ask identd"),
    ],
)
def test_a_question_without_sense_is_not_answered(
    tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        question(made(tmp_path), **{**STAFF, **given})
    assert str(caught.value).startswith(told)
