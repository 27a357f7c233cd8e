"""RuleTable: who wins, and every way around a rule that others have left open."""

from datetime import datetime
from ipaddress import ip_address
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from zope.interface.verify import verifyObject

from socks5d.interfaces import USERID, IRuleset
from socks5d.model import (
    Client,
    Command,
    Ident,
    Identity,
    Logged,
    Request,
    Terms,
    Verdict,
)
from socks5d.rules import (
    Action,
    HostList,
    Match,
    Rule,
    RuleTable,
    Times,
    UserList,
    parse_destination,
    parse_network,
)
from socks5d.wire.address import Address
from socks5d.wire.names import canonical
from tests.rules.requests import CLIENT, for_address, for_client, for_name

PERMIT, DENY, NO_OPINION = Verdict.PERMIT, Verdict.DENY, Verdict.NO_OPINION


def to(*texts: str | HostList) -> tuple[Any, ...]:
    return tuple(each if isinstance(each, HostList) else parse_destination(each) for each in texts)


def nets(*texts: str) -> tuple[Any, ...]:
    return tuple(map(parse_network, texts))


def rules(*said: tuple[Action, dict[str, Any]]) -> list[Rule]:
    return [
        Rule(number=number, action=action, **conditions)
        for number, (action, conditions) in enumerate(said, 1)
    ]


def permit(*destinations: str | HostList, **conditions: Any) -> tuple[Action, dict[str, Any]]:
    if destinations:
        conditions["destination"] = to(*destinations)
    return Action.PERMIT, conditions


def deny(*destinations: str | HostList, **conditions: Any) -> tuple[Action, dict[str, Any]]:
    if destinations:
        conditions["destination"] = to(*destinations)
    return Action.DENY, conditions


def table(*said: tuple[Action, dict[str, Any]], now: float = 0.0) -> RuleTable:
    return RuleTable(rules(*said), lambda: now)


def decided(made: RuleTable, request: Request) -> tuple[Verdict, str]:
    decision = made.decide(request)
    return decision.verdict, decision.rule


def test_it_is_a_ruleset() -> None:
    assert verifyObject(IRuleset, table())


def test_without_rules_nothing_is_permitted() -> None:
    for request in (for_client(), for_name("a.example"), for_address("198.51.100.1")):
        assert decided(table(), request) == (DENY, "no rule mentions it")


def test_the_first_that_matches_decides() -> None:
    made = table(deny("10.0.0.1"), permit("10.0.0.0/8"), deny("10.0.0.2"))
    assert decided(made, for_address("10.0.0.1")) == (DENY, "rule 1")
    assert decided(made, for_address("10.0.0.2")) == (PERMIT, "rule 2")
    assert decided(made, for_address("11.0.0.1")) == (DENY, "no rule mentions it")


def test_a_decision_has_the_name_the_reason_and_the_terms() -> None:
    made = table(
        deny(ports=((25, 25),), name="no-mail", reason="mail ports are closed"),
        permit(terms=Terms(idle=60, log=Logged.NONE)),
    )
    assert decided(made, for_address("10.0.0.1", 25)) == (
        DENY,
        'rule "no-mail": mail ports are closed',
    )
    assert made.decide(for_address("10.0.0.1", 26)).terms == Terms(idle=60, log=Logged.NONE)


# Names and addresses.

SIDES = [
    # What the last rule denies is reached where a name is permitted.
    ([permit("good.example"), deny()], "good.example", "198.51.100.1", PERMIT),
    ([permit("good.example"), deny("*")], "good.example", "198.51.100.1", PERMIT),
    ([permit("good.example"), deny()], "bad.example", "198.51.100.1", DENY),
    ([permit("good.example"), deny()], None, "198.51.100.1", DENY),
    # A deny of either is final, wherever it stands.
    ([permit("10.0.0.0/8"), deny("*.example")], "a.example", "10.0.0.1", DENY),
    ([permit("*.example"), deny("10.0.0.0/8")], "a.example", "10.0.0.1", DENY),
    ([permit("10.0.0.0/8"), deny("*.example")], "a.test", "10.0.0.1", PERMIT),
    ([permit("10.0.0.0/8"), deny("*.example")], None, "10.0.0.1", PERMIT),
    # But what names the same side further above goes before it.
    ([permit("a.example"), deny("*.example"), permit()], "a.example", "198.51.100.1", PERMIT),
    ([permit("10.0.0.1"), deny("10.0.0.0/8"), permit()], "a.example", "10.0.0.1", PERMIT),
    ([permit("10.0.0.1"), deny("10.0.0.0/8"), permit()], "a.example", "10.0.0.2", DENY),
    ([permit("*.example"), deny("10.0.0.0/8"), permit()], "a.example", "198.51.100.1", PERMIT),
    # What stands behind a rule for everything decides nothing.
    ([permit(), deny("10.0.0.0/8")], "a.example", "10.0.0.1", PERMIT),
    ([deny(), permit("10.0.0.0/8")], None, "10.0.0.1", DENY),
    ([permit("a.example"), permit(), deny("10.0.0.0/8")], "a.example", "10.0.0.1", PERMIT),
    ([permit("10.0.0.0/8"), deny(), permit("a.example")], "a.example", "10.0.0.1", PERMIT),
    # A name that no rule mentions is decided by its addresses.
    ([permit("10.0.0.0/8"), deny()], "a.example", "10.0.0.1", PERMIT),
    ([permit("10.0.0.0/8"), deny()], "a.example", "11.0.0.1", DENY),
]


@pytest.mark.parametrize(("said", "name", "address", "verdict"), SIDES)
def test_a_name_and_its_address(
    said: list[tuple[Action, dict[str, Any]]], name: str | None, address: str, verdict: Verdict
) -> None:
    made = table(*said)
    final = made.decide(for_address(address, name=name)).verdict
    assert final is verdict
    if name is not None and made.decide(for_name(name)).verdict is DENY:
        assert final is DENY


def test_a_name_is_denied_before_it_resolves() -> None:
    assert table(permit("10.0.0.0/8"), deny("*.example")).decide(for_name("a.example")) == (
        table(permit("10.0.0.0/8"), deny("*.example")).decide(
            for_address("10.0.0.1", 443, "a.example")
        )
    )
    assert decided(table(permit("10.0.0.0/8"), deny()), for_name("a.example")) == (NO_OPINION, "")
    assert decided(table(deny("10.0.0.0/8"), deny()), for_name("a.example")) == (DENY, "rule 2")
    assert decided(table(permit("b.example")), for_name("a.example")) == (
        DENY,
        "no rule mentions it",
    )
    assert decided(table(permit("a.example")), for_name("a.example")) == (PERMIT, "rule 1")


@pytest.mark.parametrize(
    ("said", "name", "by_address"),
    [
        ([permit("127.0.0.1")], None, True),
        ([permit("127.0.0.1")], "localhost", True),
        ([permit(HostList("own", ["127.0.0.0/8"]))], "localhost", True),
        ([permit("localhost", "127.0.0.0/8")], "localhost", True),
        ([permit("localhost"), permit("127.0.0.1")], "localhost", True),
        ([permit("localhost")], "localhost", False),
        ([permit()], None, False),
        ([permit("*")], None, False),
        ([permit("127.0.0.1"), permit("*")], None, True),
        ([permit(), permit("127.0.0.1")], None, False),
        ([permit("localhost"), permit(), permit("127.0.0.1")], "localhost", False),
    ],
)
def test_only_a_permit_of_the_address_lifts_the_protection(
    said: list[tuple[Action, dict[str, Any]]], name: str | None, by_address: bool
) -> None:
    decision = table(*said).decide(for_address("127.0.0.1", name=name))
    assert (decision.verdict, decision.by_address) == (PERMIT, by_address)


@pytest.mark.parametrize(
    "disguise",
    [
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a00:1",
        "0x0a.1",
        "012.0.0.1",
        "10.1",
        "167772161",
        "10.0.0.1.",
        "[::ffff:10.0.0.1]",
        "::10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1::",
        "::ffff:0:a00:1",
        "2001:db8::5efe:a00:1",
    ],
)
def test_no_disguise_gets_an_address_past_its_rule(disguise: str) -> None:
    address = canonical(disguise)
    assert not isinstance(address, str)
    ten = HostList("ten", ["10.0.0.0/8"])
    for said in (
        [deny("10.0.0.0/8"), permit()],
        [deny(ten), permit()],
        [permit("*.example"), deny("10.0.0.1"), permit("*")],
        [permit("::/0"), deny("10.0.0.0/8"), permit()],
    ):
        for name in (None, "a.example"):
            request = for_address("192.0.2.1", name=name)._replace(address=address)
            assert table(*said).decide(request).verdict is DENY, said


def test_an_ipv4_permit_does_not_reach_through_ipv6() -> None:
    made = table(permit("10.0.0.0/8"), deny("192.0.2.0/24"), permit("64:ff9b::/96"))
    assert made.decide(for_address("64:ff9b::a00:1")).by_address
    assert decided(made, for_address("2002:a00:1::")) == (DENY, "no rule mentions it")
    assert decided(made, for_address("64:ff9b::c000:201")) == (DENY, "rule 2")


@pytest.mark.parametrize("disguise", ["Bad.Example", "bad.example.", "BAD.EXAMPLE."])
def test_no_disguise_gets_a_name_past_its_rule(disguise: str) -> None:
    name = canonical(disguise)
    assert isinstance(name, str)
    made = table(deny("bad.example", "*.worse.example"), permit())
    assert made.decide(for_name(name)).verdict is DENY
    assert made.decide(for_address("198.51.100.1", name=name)).verdict is DENY
    for below in ("a.worse.example", "b.a.worse.example"):
        assert made.decide(for_name(below)).verdict is DENY
    for other in ("worse.example", "xworse.example", "bad.example.com", "a.bad.example"):
        assert made.decide(for_name(other)).verdict is PERMIT


def test_a_zone_is_no_way_past_a_rule() -> None:
    made = table(deny("fe80::/10"), permit())
    assert made.decide(for_address("fe80::1%eth0")).verdict is DENY


def test_of_several_denials_the_first_is_told() -> None:
    # 10.0.0.1 by one form of 64:ff9b:1::/48, and 11.0.0.0 by another.
    address = "64:ff9b:1:0b00:0:0:0a00:1"
    made = table(deny("10.0.0.0/8"), deny("11.0.0.0/8"), permit())
    assert decided(made, for_address(address)) == (DENY, "rule 1")
    made = table(deny("11.0.0.0/8"), deny("10.0.0.0/8"), permit())
    assert decided(made, for_address(address)) == (DENY, "rule 1")


# Clients.


def test_an_ipv4_mapped_peer_is_an_ipv4_client() -> None:
    made = table(permit(client=nets("192.0.2.0/24")))
    mapped = Client(ip_address("192.0.2.7"))  # what Client says of ::ffff:192.0.2.7
    assert made.decide(for_address("198.51.100.1")._replace(client=mapped)).verdict is PERMIT
    assert parse_network("::ffff:192.0.2.0/120") == parse_network("192.0.2.0/24")


def test_a_client_without_an_address_is_in_no_network() -> None:
    nobody = for_address("198.51.100.1")._replace(client=Client(None, 0, None, "unix:/s"))
    assert table(permit(client=nets("0.0.0.0/0", "::/0"))).decide(nobody).verdict is DENY
    assert table(permit(listener=("unix:*",))).decide(nobody).verdict is PERMIT


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([deny(client=nets("192.0.2.0/24")), permit()], DENY),
        ([permit(client=nets("10.0.0.0/8"))], DENY),
        ([permit(client=nets("10.0.0.0/8")), deny()], DENY),
        ([deny(client=nets("192.0.2.0/24"), user=("bob",)), permit()], NO_OPINION),
        ([deny(user=("bob",)), deny()], DENY),
        ([deny(ports=((25, 25),)), permit()], NO_OPINION),
        ([permit(user=("bob",)), deny(client=nets("192.0.2.0/24"))], NO_OPINION),
        ([permit()], NO_OPINION),
        ([permit(method=frozenset({2}), client=nets("192.0.2.0/24"))], NO_OPINION),
        ([permit(method=frozenset({2}), client=nets("10.0.0.0/8"))], DENY),
        ([permit(version=frozenset({"4"}))], DENY),
        ([permit(listener=("other",))], DENY),
        ([permit("10.0.0.0/8"), deny()], NO_OPINION),
        ([permit(ports=((1, 2),)), deny()], NO_OPINION),
        ([permit(command=frozenset({Command.BIND})), deny()], NO_OPINION),
        ([permit(ident=("x",)), deny()], NO_OPINION),
        ([permit(userid=("x",)), deny()], NO_OPINION),
        ([permit(principal=("x",)), deny()], NO_OPINION),
        ([permit(group=(UserList("x", ["x"]),)), deny()], NO_OPINION),
    ],
)
def test_a_client_alone(said: list[tuple[Action, dict[str, Any]]], verdict: Verdict) -> None:
    assert table(*said).decide(for_client()).verdict is verdict


# Who it is.

PASSWORD = Identity("alice", "password")
TICKET = Identity("alice", "gssapi")
CHAP = Identity("alice", "chap")
USERIDENTITY = Identity("alice", "userid")


def by(identity: Identity, **fields: Any) -> Request:
    return for_address("198.51.100.1")._replace(identity=identity, **fields)


STAFF = UserList("staff", ["al*", "bob"])


@pytest.mark.parametrize(
    ("condition", "matching", "others"),
    [
        (
            {"user": ("ali*",)},
            [by(PASSWORD), by(TICKET), by(CHAP)],
            [
                by(USERIDENTITY, version="4", userid="alice"),
                by(Identity()),
                by(Identity("bob", "x")),
            ],
        ),
        (
            {"group": (STAFF,)},
            [by(PASSWORD), by(TICKET), by(Identity("bob", "password"))],
            [
                by(USERIDENTITY, version="4", userid="alice"),
                by(Identity()),
                by(Identity("eve", "x")),
            ],
        ),
        ({"principal": ("alice",)}, [by(TICKET)], [by(PASSWORD), by(CHAP), by(USERIDENTITY)]),
        (
            {"userid": ("alice",)},
            [by(USERIDENTITY, version="4", userid="alice"), by(Identity(), userid="alice")],
            [by(PASSWORD), by(USERIDENTITY, userid="eve"), by(USERIDENTITY)],
        ),
        (
            {"ident": ("alice",)},
            [by(Identity(), ident=Ident("alice"))],
            [by(PASSWORD), by(Identity(), ident=Ident(None, "x")), by(Identity("alice", "ident"))],
        ),
        (
            {"user": ("alice",), "group": (STAFF,), "principal": ("*",)},
            [by(TICKET)],
            [by(PASSWORD), by(Identity("bob", "gssapi"))],
        ),
    ],
)
def test_who_it_is(
    condition: dict[str, Any], matching: list[Request], others: list[Request]
) -> None:
    made = table(permit(**condition))
    assert [made.decide(each).verdict for each in matching] == [PERMIT] * len(matching)
    assert [made.decide(each).verdict for each in others] == [DENY] * len(others)


def test_users_are_told_apart_by_case() -> None:
    made = table(permit(user=("alice",)))
    assert made.decide(by(Identity("Alice", "password"))).verdict is DENY


# Nothing of one rule is lent to another.

KINDS: dict[str, tuple[str, Any]] = {
    "none": ("5", 0),
    "gssapi": ("5", 1),
    "password": ("5", 2),
    "private": ("5", 0x80),
    "userid": ("4", None),
    "userid, 4a": ("4a", None),
}


def test_every_combination_of_method_version_and_command() -> None:
    """
    One rule for each method of a version with a command, to a port of its own: each is permitted
    there, and nowhere else.
    """
    ways = list(product(KINDS.values(), Command))
    made = table(
        *(
            permit(
                version=frozenset({version}),
                method=frozenset({USERID if method is None else method}),
                command=frozenset({command}),
                ports=((1000 + place, 1000 + place),),
            )
            for place, ((version, method), command) in enumerate(ways)
        )
    )
    for place, ((version, method), command) in enumerate(ways):
        for port in range(1000, 1000 + len(ways)):
            request = for_address("198.51.100.1", port)._replace(
                version=version,
                method=method,
                command=command,
                userid=None if version == "5" else "",
            )
            explanation = made.explain(request)
            permitted = explanation.decision.verdict is PERMIT
            assert permitted is (port == 1000 + place)
            matching = [
                each.rule.number for each in explanation.considered if each.match is Match.YES
            ]
            assert matching == ([place + 1] if permitted else [])


def test_a_permit_for_a_method_is_none_for_another() -> None:
    """The kind of mistake of CVE-2024-54662 (in Dante, by C{socksmethod})."""
    made = table(
        permit("10.0.0.0/8", method=frozenset({2}), user=("alice",)),
        permit("198.51.100.0/24", method=frozenset({0})),
    )
    anonymous = for_address("10.0.0.1")._replace(method=0)
    assert made.decide(anonymous).verdict is DENY
    assert made.decide(anonymous._replace(identity=PASSWORD)).verdict is DENY
    assert made.decide(anonymous._replace(identity=PASSWORD, method=2)).verdict is PERMIT
    assert made.decide(for_address("198.51.100.1")._replace(method=2)).verdict is DENY


# Commands.


def test_datagrams_are_judged_one_by_one() -> None:
    made = table(deny("10.0.0.0/8", "bad.example"), deny(ports=((53, 53),)), permit())
    asking = Request(CLIENT, "5", 0, command=Command.UDP_ASSOCIATE)
    assert decided(made, asking) == (PERMIT, "rule 3")
    for address, name, port, verdict in (
        ("10.0.0.1", None, 80, DENY),
        ("198.51.100.1", None, 53, DENY),
        ("198.51.100.1", "bad.example", 80, DENY),
        ("198.51.100.1", None, 80, PERMIT),
    ):
        datagram = for_address(address, port, name)._replace(command=Command.UDP_ASSOCIATE)
        assert made.decide(datagram).verdict is verdict


def test_an_association_is_refused_where_no_datagram_could_be_sent() -> None:
    asking = Request(CLIENT, "5", 0, command=Command.UDP_ASSOCIATE)
    tcp = frozenset({Command.CONNECT})
    assert decided(table(permit(command=tcp)), asking) == (DENY, "no rule mentions it")
    assert decided(table(permit("10.0.0.0/8", command=tcp), deny()), asking) == (DENY, "rule 2")
    assert decided(table(permit(ports=((53, 53),)), deny()), asking) == (NO_OPINION, "")


def test_the_terms_of_an_association_are_those_of_the_permit_that_most_will_have() -> None:
    asking = Request(CLIENT, "5", 0, command=Command.UDP_ASSOCIATE)
    first, second = Terms(udp_idle=10), Terms(udp_idle=20)
    made = table(
        permit(client=nets("10.0.0.0/8"), terms=Terms(udp_idle=5)),
        deny("10.0.0.1"),
        permit("10.0.0.0/8", terms=first),
        permit("11.0.0.0/8", terms=second),
        deny(),
    )
    assert made.decide(asking).terms == first
    made = table(permit("10.0.0.0/8", terms=first), permit(terms=second))
    assert decided(made, asking) == (NO_OPINION, "")
    assert made.decide(asking).terms == second
    assert table(deny("10.0.0.1"), permit(terms=second)).decide(asking).terms == second


def test_a_peer_of_bind_is_judged_by_its_address() -> None:
    made = table(deny("10.0.0.0/8"), permit(ports=((2000, 2000),)))
    asking = Request(CLIENT, "5", 0, command=Command.BIND, port=2000)
    assert made.decide(asking).verdict is PERMIT
    assert made.decide(asking._replace(port=2001)).verdict is DENY
    for address, verdict in (("10.0.0.1", DENY), ("198.51.100.1", PERMIT)):
        host = ip_address(address)
        peer = asking._replace(address=host, peer=Address(host, 50000))
        assert made.decide(peer).verdict is verdict


def test_port_0_is_in_no_range() -> None:
    made = table(permit(ports=((1, 65535),)))
    assert made.decide(for_address("198.51.100.1", 0)).verdict is DENY
    assert made.decide(for_address("198.51.100.1", 65535)).verdict is PERMIT


# Times.


def test_a_rule_holds_at_its_times() -> None:
    vienna = Times(zone=ZoneInfo("Europe/Vienna"), hours=((8 * 60, 18 * 60),))
    now = [0.0]
    made = RuleTable(rules(permit(times=vienna)), lambda: now[0])
    request = for_address("198.51.100.1")
    # 1970-01-01 was a Thursday, an hour ahead of UTC in Vienna.
    for hour, minute, verdict in (
        (6, 59, DENY),
        (7, 0, PERMIT),
        (16, 59, PERMIT),
        (17, 0, DENY),
        (7, 0, PERMIT),  # the clock may be put back
    ):
        now[0] = hour * 3600 + minute * 60 + 0.5
        assert made.decide(request).verdict is verdict
        assert made.explain(request).decision.verdict is verdict


def test_times_are_looked_at_once_a_minute() -> None:
    asked = []

    class Watched(ZoneInfo):
        def fromutc(self, when: datetime) -> datetime:
            asked.append(when)
            return super().fromutc(when)

    now = [60.0]
    made = RuleTable(rules(permit(times=Times(zone=Watched("UTC")))), lambda: now[0])
    for now[0] in (60.0, 60.5, 119.999):
        assert made.decide(for_address("198.51.100.1")).verdict is PERMIT
    once = len(asked)
    now[0] = 120.0
    made.decide(for_address("198.51.100.1"))
    assert 0 < once < len(asked)
