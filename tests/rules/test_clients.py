"""The rules about where clients come from."""

import pytest
from zope.interface.verify import verifyObject

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Verdict
from socks5d.rules import ClientRules, parse_network
from tests.rules.requests import for_address, for_client, for_name


def rules(*allow: str, deny: tuple[str, ...] = ()) -> ClientRules:
    """Rules from what operators write."""
    return ClientRules(map(parse_network, allow), map(parse_network, deny))


def test_it_is_a_ruleset() -> None:
    assert verifyObject(IRuleset, ClientRules())


@pytest.mark.parametrize("client", ["192.0.2.10", "2001:db8::1", None])
def test_without_rules_there_is_no_opinion_of_anybody(client: str | None) -> None:
    assert ClientRules().decide(for_client(client)) == NO_OPINION


def test_once_there_is_an_allow_others_are_denied() -> None:
    ruleset = rules("192.0.2.0/24")
    assert ruleset.decide(for_client("192.0.2.10")) == NO_OPINION
    denial = Decision(Verdict.DENY, "no --allow-from mentions the client")
    assert ruleset.decide(for_client("198.51.100.1")) == denial
    assert ruleset.decide(for_client("2001:db8::1")) == denial


def test_a_deny_counts_more_than_an_allow() -> None:
    ruleset = rules("0.0.0.0/0", deny=("192.0.2.0/24",))
    found = ruleset.decide(for_client("192.0.2.10"))
    assert found == Decision(Verdict.DENY, "deny-from 192.0.2.0/24")
    assert ruleset.decide(for_client("198.51.100.1")) == NO_OPINION


def test_a_deny_alone_denies_nobody_else() -> None:
    ruleset = rules(deny=("192.0.2.0/24",))
    assert ruleset.decide(for_client("198.51.100.1")) == NO_OPINION
    assert ruleset.decide(for_client(None)) == NO_OPINION


def test_a_client_without_an_address_is_in_no_network() -> None:
    assert rules("0.0.0.0/0", "::/0").decide(for_client(None)).verdict is Verdict.DENY
    assert rules(deny=("0.0.0.0/0", "::/0")).decide(for_client(None)) == NO_OPINION


def test_a_mapped_network_is_about_ipv4_clients() -> None:
    ruleset = rules("::ffff:192.0.2.0/120")
    assert ruleset.decide(for_client("192.0.2.10")) == NO_OPINION
    assert ruleset.decide(for_client("192.0.3.10")).verdict is Verdict.DENY


def test_a_client_is_judged_the_same_at_every_stage() -> None:
    for request in (for_client(), for_name("example.com"), for_address("10.0.0.1")):
        assert rules(deny=("192.0.2.10",)).decide(request).verdict is Verdict.DENY
        assert rules("192.0.2.10").decide(request) == NO_OPINION
