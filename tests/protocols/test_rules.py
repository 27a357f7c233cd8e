"""A table of rules in a server: nothing gets around it, by any command or version."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse

from socks5d.auth import AnyUserID, NoAuthentication, PasswordAuthenticator
from socks5d.egress import DirectEgress, FixedResolver
from socks5d.interfaces import USERID
from socks5d.model import Command, Outcome
from socks5d.rules import Action, Rule, RuleTable, parse_destination, parse_network
from socks5d.wire import socks4, socks5
from socks5d.wire.address import Address, IPAddress
from tests.support import client
from tests.support.datagrams import Associated, echoing
from tests.support.origins import closed_port, echo, origin, receive_exactly
from tests.support.running import PATIENCE, Observed, proxy, reactor


def to(*texts: str) -> tuple[Any, ...]:
    return tuple(map(parse_destination, texts))


def table(*said: tuple[Action, dict[str, Any]]) -> RuleTable:
    return RuleTable(
        Rule(number=number, action=action, **conditions)
        for number, (action, conditions) in enumerate(said, 1)
    )


def names(**known: Sequence[str]) -> DirectEgress:
    found: dict[str, Sequence[IPAddress]] = {
        f"{name}.example": [*map(ip_address, addresses)] for name, addresses in known.items()
    }
    return DirectEgress(reactor, resolver=FixedResolver(found))


def code5(server: Any, host: str | bytes, port: int) -> int:
    connection, reply = client.connect5(server, host, port)
    connection.close()
    return reply.code


PERMIT, DENY = Action.PERMIT, Action.DENY
LOOPBACK = {"destination": to("127.0.0.0/8")}


def test_a_permit_of_a_name_does_not_reach_what_is_protected() -> None:
    egress = names(a=["127.0.0.1"], b=["127.0.0.1"])
    seen = Observed()
    rules = table((PERMIT, {"destination": to("a.example")}), (PERMIT, {}))
    with origin(echo) as (host, port), proxy(seen, ruleset=rules, egress=egress) as server:
        for asked in (b"a.example", b"b.example", host):
            assert code5(server, asked, port) == socks5.NOT_ALLOWED
        assert seen.record().rule == "protected: loopback"
    with origin(echo) as (host, port), proxy(ruleset=table((PERMIT, LOOPBACK)), egress=egress) as s:
        for asked in (b"a.example", host):
            assert code5(s, asked, port) == socks5.SUCCEEDED


def test_of_a_names_addresses_only_permitted_ones_are_reached() -> None:
    egress = names(a=["127.0.0.2", "127.0.0.1"], b=["127.0.0.2"])
    rules = table(
        (PERMIT, {"destination": to("a.example", "b.example")}),
        (DENY, {"destination": to("127.0.0.2"), "name": "secret", "reason": "not for you"}),
        (PERMIT, LOOPBACK),
    )
    seen = Observed()
    with origin(echo) as (host, port), proxy(seen, ruleset=rules, egress=egress) as server:
        assert code5(server, b"a.example", port) == socks5.SUCCEEDED
        assert str(seen.record(0).address) == host
        assert code5(server, b"b.example", port) == socks5.NOT_ALLOWED
        assert seen.record(1).rule == 'rule "secret": not for you'


def test_a_name_that_is_denied_is_not_resolved() -> None:
    egress = names(a=["127.0.0.1"])
    rules = table((DENY, {"destination": to("*.example")}), (PERMIT, LOOPBACK))
    seen = Observed()
    with proxy(seen, ruleset=rules, egress=egress) as server:
        for asked in (b"nowhere.example", b"A.Example.", b"a.example"):
            assert code5(server, asked, 9) == socks5.NOT_ALLOWED
        connection, reply = client.connect4(server, b"A.eXample", 9)
        connection.close()
        assert reply.code == socks4.REJECTED
    assert {record.rule for record in seen.records} == {"rule 1"}


@pytest.mark.parametrize(
    "disguise",
    ["127.0.0.2", b"127.0.0.2", b"127.2", b"0x7f.2", b"::ffff:127.0.0.2", "::ffff:7f00:2"],
)
def test_no_disguise_gets_past_a_rule(disguise: str | bytes) -> None:
    rules = table((DENY, {"destination": to("127.0.0.2")}), (PERMIT, LOOPBACK))
    with echoing("127.0.0.2") as there, echoing() as elsewhere, proxy(ruleset=rules) as server:
        assert code5(server, disguise, closed_port()) == socks5.NOT_ALLOWED
        with Associated(server) as association:
            association.send(disguise, there[1], b"let me in")
            assert association.ask(*elsewhere, b"the other") == b"the other"


def test_bind_and_datagrams_do_not_get_around_the_rules() -> None:
    rules = table(
        (DENY, {"destination": to("127.0.0.2")}),
        (DENY, {"command": frozenset({Command.BIND}), "ports": ((22, 22),)}),
        (PERMIT, LOOPBACK),
    )
    seen = Observed()
    with echoing("127.0.0.2") as denied, echoing() as there, proxy(seen, ruleset=rules) as server:
        with Associated(server) as association:
            association.send(*denied, b"let me in")
            assert association.ask(*there) == b"still there?"
        assert seen.record().refused.startswith("rule 1, for 127.0.0.2:")
        for host, port in (("127.0.0.2", 21), ("127.0.0.1", 22), ("0.0.0.0", 22)):
            with client.dial(server) as connection:
                client.greet(connection)
                asked = Address(ip_address(host), port)
                reply = client.request5(connection, asked, socks5.BIND)
                assert reply.code == socks5.NOT_ALLOWED
        # Any peer may come, and this one may not.
        with client.dial(server) as connection:
            client.greet(connection)
            reply = client.request5(connection, Address(ip_address("0.0.0.0"), 21), socks5.BIND)
            where = (str(reply.bound.host), reply.bound.port)
            with (
                pytest.raises(ConnectionResetError),
                socket.create_connection(where, PATIENCE, ("127.0.0.2", 0)) as peer,
            ):
                peer.recv(1)
            with socket.create_connection(where, PATIENCE, ("127.0.0.3", 0)):
                assert client.read(connection, socks5.parse_reply).code == socks5.SUCCEEDED


def passwords() -> PasswordAuthenticator:
    checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret", bob=b"secret")
    return PasswordAuthenticator([checker], reactor, PATIENCE)


def test_who_a_rule_is_about_is_who_has_proven_it() -> None:
    rules = table((PERMIT, {"user": ("alice",), **LOOPBACK}))
    authenticators = [passwords(), NoAuthentication(), AnyUserID()]
    seen = Observed()
    with origin(echo) as (host, port):
        with proxy(seen, ruleset=rules, authenticators=authenticators) as server:
            for name, code in ((b"alice", socks5.SUCCEEDED), (b"bob", socks5.NOT_ALLOWED)):
                with client.dial(server) as connection:
                    client.greet(connection, b"\x02")
                    assert client.log_in(connection, name, b"secret") == 0
                    to_ = Address(ip_address(host), port)
                    assert client.request5(connection, to_).code == code
            assert code5(server, host, port) == socks5.NOT_ALLOWED
            connection, reply = client.connect4(server, host, port, b"alice")
            connection.close()
            assert reply.code == socks4.REJECTED


def test_methods_and_versions_have_rules_of_their_own() -> None:
    rules = table(
        (PERMIT, {"method": frozenset({2}), "destination": to("127.0.0.2")}),
        (PERMIT, {"method": frozenset({USERID}), "destination": to("127.0.0.3")}),
        (PERMIT, {"version": frozenset({"4a"}), "destination": to("127.0.0.4")}),
    )
    egress = names(four=["127.0.0.4"])
    authenticators = [passwords(), NoAuthentication(), AnyUserID()]
    port = closed_port()
    with proxy(ruleset=rules, authenticators=authenticators, egress=egress) as server:
        for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            assert code5(server, host, port) == socks5.NOT_ALLOWED
            with client.dial(server) as connection:
                client.greet(connection, b"\x02")
                assert client.log_in(connection, b"alice", b"secret") == 0
                code = client.request5(connection, Address(ip_address(host), port)).code
                assert (code == socks5.CONNECTION_REFUSED) is (host == "127.0.0.2")
    seen = Observed()
    asked: list[str | bytes] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", b"four.example"]
    with proxy(seen, ruleset=rules, egress=egress) as server:
        for number, each in enumerate(asked):
            client.connect4(server, each, port)[0].close()
            expected = Outcome.REFUSED if number in (1, 3) else Outcome.DENIED
            assert seen.record(number).outcome is expected


def test_a_client_that_no_rule_lets_in_may_not_try_passwords() -> None:
    rules = table((PERMIT, {"client": (parse_network("127.0.0.3/32"),), **LOOPBACK}))
    with origin(echo) as there, proxy(ruleset=rules, authenticators=[passwords()]) as server:
        with client.dial(server) as connection:
            assert client.greet(connection, b"\x02") == socks5.NO_ACCEPTABLE_METHODS
        with socket.create_connection(server, PATIENCE, ("127.0.0.3", 0)) as connection:
            assert client.greet(connection, b"\x02") == 2
            assert client.log_in(connection, b"alice", b"secret") == 0
            to_ = Address(ip_address(there[0]), there[1])
            assert client.request5(connection, to_).code == socks5.SUCCEEDED
            connection.sendall(b"hello")
            assert receive_exactly(connection, 5) == b"hello"
