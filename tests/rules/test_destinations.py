"""DEST as operators write it, and what the rules made of it decide."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from socks5d.interfaces import IRuleset
from socks5d.model import NO_OPINION, Decision, Verdict
from socks5d.rules import Destination, DestinationRules, parse_destination
from socks5d.rules.chain import PERMIT_UNPROTECTED
from tests.rules.requests import for_address, for_client, for_name
from tests.wire.cases import IPS


def rules(*allow: str, deny: tuple[str, ...] = ()) -> DestinationRules:
    """Rules from what operators write."""
    return DestinationRules(map(parse_destination, allow), map(parse_destination, deny))


def network(text: str, cidr: str, ports: tuple[int, int] | None = None) -> Destination:
    return Destination(text, network=ip_network(cidr), ports=ports)


GOOD: tuple[Destination, ...] = (
    network("10.0.0.0/8", "10.0.0.0/8"),
    network("10.0.0.0/8:443", "10.0.0.0/8", (443, 443)),
    network("10.0.0.1", "10.0.0.1/32"),
    network("10.0.0.1:1-65535", "10.0.0.1/32", (1, 65535)),
    network("0.0.0.0/0:25", "0.0.0.0/0", (25, 25)),
    network("2001:db8::/32", "2001:db8::/32"),
    network("[2001:db8::]/32", "2001:db8::/32"),
    network("[2001:db8::]/32:8000-8099", "2001:db8::/32", (8000, 8099)),
    network("2001:db8::1", "2001:db8::1/128"),
    network("[2001:DB8::1]", "2001:db8::1/128"),
    network("[2001:db8::1]:443", "2001:db8::1/128", (443, 443)),
    # Without brackets there is no telling a port, so there is none.
    network("::1:80", "::1:80/128"),
    # Every disguise that a request's host may have.
    network("127.1", "127.0.0.1/32"),
    network("0x7f.1:80", "127.0.0.1/32", (80, 80)),
    network("2130706433", "127.0.0.1/32"),
    network("127.0.0.1.", "127.0.0.1/32"),
    network("::ffff:127.0.0.1", "127.0.0.1/32"),
    network("[::ffff:127.0.0.1]:80", "127.0.0.1/32", (80, 80)),
    network("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    network("[::ffff:10.0.0.0]/104:22", "10.0.0.0/8", (22, 22)),
    network("fe80::1%eth0", "fe80::1/128"),
    network("[fe80::1%eth0]:80", "fe80::1/128", (80, 80)),
    Destination("example.com", name="example.com"),
    Destination("EXAMPLE.com.", name="example.com"),
    Destination("example.com:443", name="example.com", ports=(443, 443)),
    Destination("localhost:00080", name="localhost", ports=(80, 80)),
    Destination("*.example.com", suffix="example.com"),
    Destination("*.Example.COM.", suffix="example.com"),
    Destination("*.com:1-1023", suffix="com", ports=(1, 1023)),
    Destination("*", everything=True),
    Destination("*:443", everything=True, ports=(443, 443)),
    Destination("*:443-443", everything=True, ports=(443, 443)),
)

BAD: tuple[tuple[str, str], ...] = (
    ("", r"'' is no address and no name"),
    (":80", r"'' is no address and no name"),
    ("example.com:", r"'' is no port and no range of ports \(as 443 or 8000-8099\)"),
    ("example.com:http", r"'http' is no port and no range of ports \(as 443 or 8000-8099\)"),
    ("example.com:80,443", r"'80,443' is no port and no range of ports"),
    ("example.com:80-", r"'80-' is no port and no range of ports"),
    ("example.com:-80", r"'-80' is no port and no range of ports"),
    ("example.com: 80", r"' 80' is no port and no range of ports"),
    ("example.com:80\n", r"is no port and no range of ports"),
    ("example.com:\uff18\uff10", r"is no port and no range of ports"),
    ("example.com:100000", r"'100000' is no port and no range of ports"),
    ("example.com:0", r"'0': ports go from 1 to 65535, the lower one first"),
    ("example.com:65536", r"'65536': ports go from 1 to 65535"),
    ("example.com:443-80", r"'443-80': ports go from 1 to 65535, the lower one first"),
    ("http://example.com", r"'//example.com' is no port"),
    ("10.0.0.1/8", r"'10.0.0.1/8' has host bits set; write '10.0.0.0/8'"),
    ("[2001:db8::1]/32:80", r"has host bits set; write '2001:db8::/32'"),
    ("10.0.0.0/33", r"'10.0.0.0/33' is no CIDR and no IP address"),
    ("example.com/24", r"'example.com/24' is no CIDR and no IP address"),
    ("*/0", r"'\*/0' is no CIDR"),
    ("[::1", r"'\[::1': write IPv6 with a port as '\[address\]:port'"),
    ("[::1]80", r"write IPv6 with a port as '\[address\]:port'"),
    ("[::1]/", r"write IPv6 with a port as '\[address\]:port'"),
    ("[::1]:", r"'' is no port"),
    ("[10.0.0.1]:80", r"'\[10.0.0.1\]:80': brackets are for IPv6"),
    ("[example.com]:80", r"brackets are for IPv6"),
    ("[]", r"brackets are for IPv6"),
    ("*.", r"'' is no address and no name"),
    ("*.10.0.0.1", r"'\*.10.0.0.1': '\*.' goes before a name, not before an address"),
    ("*.1", r"'\*.' goes before a name, not before an address"),
    ("*.*.com", r"'\*.com' is no address and no name"),
    ("*example.com", r"'\*example.com' is no address and no name"),
    ("www.*.com", r"'www.\*.com' is no address and no name"),
    ("**", r"'\*\*' is no address and no name"),
    ("256.1.1.1", r"'256.1.1.1' is no address and no name: malformed IPv4 address"),
    ("1.2.3.4.5", r"malformed IPv4 address"),
    ("::g", r"'::g' is no address and no name: malformed IPv6 address"),
    ("two words", r"'two words' is no address and no name"),
    ("exampl\u00e9.com", r"ASCII"),
    ("example..com", r"a label is malformed"),
    ("10.0.0.1, 10.0.0.2", r"is no address and no name"),
)


@pytest.mark.parametrize("wanted", GOOD, ids=lambda wanted: wanted.text)
def test_dest_is_read(wanted: Destination) -> None:
    assert parse_destination(wanted.text) == wanted


@pytest.mark.parametrize(("text", "complaint"), BAD, ids=[repr(text) for text, _ in BAD])
def test_what_is_no_dest_is_told_with_its_remedy(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_destination(text)


@given(st.text("0123456789abcx.*:[]/-% \u00e9\n", max_size=24))
def test_any_text_is_a_dest_or_a_value_error(text: str) -> None:
    try:
        made = parse_destination(text)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert made.text == text
    chosen = (made.network, made.name, made.suffix, made.everything or None)
    assert sum(each is not None for each in chosen) == 1
    assert made.ports is None or 1 <= made.ports[0] <= made.ports[1] <= 65535


@given(IPS, st.integers(1, 65535))
def test_an_address_allowed_by_itself_is_permitted_by_address(
    address: IPv4Address | IPv6Address, port: int
) -> None:
    text = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    ruleset = rules(text)
    found = ruleset.decide(for_address(str(address), port))
    assert found == Decision(Verdict.PERMIT, f"allow {text}", by_address=True)
    other = ruleset.decide(for_address(str(address), port % 65535 + 1))
    assert other.verdict is Verdict.DENY


def test_it_is_a_ruleset() -> None:
    assert verifyObject(IRuleset, DestinationRules())


def test_a_client_alone_is_nothing_to_have_an_opinion_of() -> None:
    assert rules("*", deny=("*",)).decide(for_client()) == NO_OPINION


# What is let through.


def test_without_a_rule_there_is_no_opinion() -> None:
    assert DestinationRules().decide(for_name("example.com")) == NO_OPINION
    assert DestinationRules().decide(for_address("192.0.2.1")) == NO_OPINION


def test_without_an_allow_the_rest_gets_the_answer_given_for_it() -> None:
    ruleset = DestinationRules(deny=[parse_destination("b")], otherwise=PERMIT_UNPROTECTED)
    assert ruleset.decide(for_name("a")) == PERMIT_UNPROTECTED
    assert ruleset.decide(for_address("192.0.2.1")) == PERMIT_UNPROTECTED
    assert ruleset.decide(for_name("b")).verdict is Verdict.DENY


def test_with_an_allow_the_rest_is_denied_and_not_left_to_others() -> None:
    ruleset = DestinationRules([parse_destination("a")], otherwise=PERMIT_UNPROTECTED)
    denial = Decision(Verdict.DENY, "no --allow mentions it")
    assert ruleset.decide(for_name("b")) == denial
    assert ruleset.decide(for_address("192.0.2.1")) == denial


def test_an_allowed_name_is_permitted_but_not_by_address() -> None:
    permit = Decision(Verdict.PERMIT, "allow example.com")
    assert rules("example.com").decide(for_name("example.com")) == permit
    assert rules("example.com").decide(for_address("192.0.2.1", name="example.com")) == permit


def test_a_name_that_is_allowed_is_not_reached_by_its_address() -> None:
    assert rules("example.com").decide(for_address("192.0.2.1")).verdict is Verdict.DENY


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("www.example.com", Verdict.PERMIT),
        ("a.b.c.example.com", Verdict.PERMIT),
        ("example.com", Verdict.DENY),
        ("notexample.com", Verdict.DENY),
        ("www.example.com.evil.test", Verdict.DENY),
        ("com", Verdict.DENY),
    ],
)
def test_a_star_stands_for_every_name_below(name: str, verdict: Verdict) -> None:
    assert rules("*.example.com").decide(for_name(name)).verdict is verdict


def test_a_lone_star_permits_everything_but_not_by_address() -> None:
    permit = Decision(Verdict.PERMIT, "allow *")
    assert rules("*").decide(for_name("example.com")) == permit
    for address in ("192.0.2.1", "127.0.0.1", "2001:db8::1"):
        assert rules("*").decide(for_address(address)) == permit


def test_an_address_beside_a_star_is_permitted_by_address() -> None:
    found = rules("*", "127.0.0.1").decide(for_address("127.0.0.1"))
    assert found == Decision(Verdict.PERMIT, "allow 127.0.0.1", by_address=True)


def test_a_name_waits_for_its_addresses_where_addresses_are_allowed() -> None:
    ruleset = rules("10.0.0.0/8:443", "example.com")
    assert ruleset.decide(for_name("other.test", 443)) == NO_OPINION
    permit = ruleset.decide(for_address("10.1.1.1", 443, name="other.test"))
    assert permit == Decision(Verdict.PERMIT, "allow 10.0.0.0/8:443", by_address=True)
    denial = ruleset.decide(for_address("192.0.2.1", 443, name="other.test"))
    assert denial.verdict is Verdict.DENY


def test_a_name_is_denied_before_it_resolves_where_no_address_could_be_allowed() -> None:
    ruleset = rules("10.0.0.0/8:443", "example.com")
    assert ruleset.decide(for_name("other.test", 80)).verdict is Verdict.DENY
    assert rules("example.com").decide(for_name("other.test")).verdict is Verdict.DENY


@pytest.mark.parametrize(
    ("dest", "inside", "outside"),
    [
        ("*:443", (443,), (442, 444, 80)),
        ("*:8000-8099", (8000, 8050, 8099), (7999, 8100)),
        ("example.com:80", (80,), (81,)),
        ("*.com:80-81", (80, 81), (79, 82)),
        ("192.0.2.0/24:1-1023", (1, 1023), (1024,)),
    ],
)
def test_a_rule_is_about_its_ports_alone(
    dest: str, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    ruleset = rules(dest)
    for port in inside:
        found = ruleset.decide(for_address("192.0.2.1", port, name="example.com"))
        assert found.verdict is Verdict.PERMIT
    for port in outside:
        found = ruleset.decide(for_address("192.0.2.1", port, name="example.com"))
        assert found.verdict is Verdict.DENY


def test_a_rule_without_ports_is_about_all_of_them() -> None:
    for port in (0, 1, 65535):
        assert rules("*").decide(for_name("a", port)).verdict is Verdict.PERMIT


def test_rules_of_different_ports_do_not_hide_each_other() -> None:
    ruleset = rules("10.0.0.0/8:80", "10.1.0.0/16:443", "10.1.1.0/24")
    for address, port in (("10.9.9.9", 80), ("10.1.9.9", 443), ("10.1.1.1", 22)):
        assert ruleset.decide(for_address(address, port)).verdict is Verdict.PERMIT
    for address, port in (("10.9.9.9", 443), ("10.1.9.9", 22)):
        assert ruleset.decide(for_address(address, port)).verdict is Verdict.DENY


def test_a_mapped_rule_is_about_the_ipv4_addresses() -> None:
    ruleset = rules("::ffff:10.0.0.0/104")
    found = ruleset.decide(for_address("10.1.2.3"))
    assert found == Decision(Verdict.PERMIT, "allow ::ffff:10.0.0.0/104", by_address=True)
    assert ruleset.decide(for_address("11.0.0.1")).verdict is Verdict.DENY


def test_a_rule_for_a_link_local_address_is_about_every_zone() -> None:
    ruleset = rules("fe80::1%eth0")
    assert ruleset.decide(for_address("fe80::1%eth1")).by_address
    assert ruleset.decide(for_address("fe80::2%eth0")).verdict is Verdict.DENY


# What is not.


@pytest.mark.parametrize("allow", ["*", "example.com", "10.0.0.0/8", "*.com"])
def test_a_deny_is_judged_before_an_allow(allow: str) -> None:
    request = for_address("10.0.0.1", name="example.com")
    assert rules(allow, "*").decide(request).verdict is Verdict.PERMIT
    for deny in ("*", "example.com", "10.0.0.1", "0.0.0.0/0:443", "*.com"):
        found = rules(allow, "*", deny=(deny,)).decide(request)
        assert found == Decision(Verdict.DENY, f"deny {deny}")


def test_a_denied_name_is_denied_before_it_resolves() -> None:
    ruleset = rules("*", deny=("*.example.com", "other.test:25"))
    assert ruleset.decide(for_name("www.example.com")).rule == "deny *.example.com"
    assert ruleset.decide(for_name("other.test", 25)).rule == "deny other.test:25"
    assert ruleset.decide(for_name("other.test", 26)).verdict is Verdict.PERMIT


def test_a_denied_address_is_denied_whatever_name_led_there() -> None:
    ruleset = rules("*", "example.com", deny=("10.0.0.0/8",))
    assert ruleset.decide(for_name("example.com")).verdict is Verdict.PERMIT
    found = ruleset.decide(for_address("10.0.0.1", name="example.com"))
    assert found == Decision(Verdict.DENY, "deny 10.0.0.0/8")


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::10.0.0.1",
        "64:ff9b:1:a00:0:100::",
        "2002:a00:1::1",
        "::10.0.0.1",
        "::ffff:0:10.0.0.1",
        "2001:db8::5efe:10.0.0.1",
        "2001:0:a00:1::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)
def test_a_denied_ipv4_address_is_denied_inside_an_ipv6_one(address: str) -> None:
    found = rules("*", "::/0", deny=("10.0.0.0/8",)).decide(for_address(address))
    assert found == Decision(Verdict.DENY, "deny 10.0.0.0/8")


def test_an_allowed_ipv4_address_is_not_allowed_inside_an_ipv6_one() -> None:
    assert rules("10.0.0.0/8").decide(for_address("64:ff9b::10.0.0.1")).verdict is Verdict.DENY
    found = rules("64:ff9b::/96").decide(for_address("64:ff9b::10.0.0.1"))
    assert found.by_address


def test_the_port_counts_for_an_address_inside_too() -> None:
    ruleset = rules("*", deny=("10.0.0.0/8:25",))
    assert ruleset.decide(for_address("64:ff9b::10.0.0.1", 25)).verdict is Verdict.DENY
    assert ruleset.decide(for_address("64:ff9b::10.0.0.1", 26)).verdict is Verdict.PERMIT


DESTS = st.lists(
    st.sampled_from(
        [
            "*",
            "*:80",
            "10.0.0.0/8",
            "10.1.0.0/16:80-443",
            "192.0.2.1",
            "[2001:db8::]/32:443",
            "a.test",
            "b.test:80",
            "*.test",
            "*.b.test:443",
        ]
    ),
    max_size=4,
)


def mentions(entry: Destination, name: str | None, address: str, port: int) -> tuple[bool, bool]:
    """Whether a DEST names a request's address, and whether its name; the plainest way."""
    low, high = entry.ports or (0, 65535)
    if not low <= port <= high:
        return False, False
    number = for_address(address).address
    assert number is not None
    by_address = (
        entry.network is not None
        and entry.network.version == number.version
        and number in entry.network
    )
    by_name = entry.everything or (
        name is not None
        and (name == entry.name or (entry.suffix is not None and name.endswith("." + entry.suffix)))
    )
    return by_address, by_name


@given(
    DESTS,
    DESTS,
    st.sampled_from([None, "test", "a.test", "b.test", "c.b.test", "other"]),
    st.sampled_from(["10.0.0.1", "10.1.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1"]),
    st.sampled_from([80, 443, 22]),
)
def test_rules_decide_as_a_walk_over_them_does(
    allow: list[str], deny: list[str], name: str | None, address: str, port: int
) -> None:
    found = rules(*allow, deny=tuple(deny)).decide(for_address(address, port, name))
    denies = [mentions(parse_destination(each), name, address, port) for each in deny]
    allows = [mentions(parse_destination(each), name, address, port) for each in allow]
    if any(a or n for a, n in denies):
        assert found.verdict is Verdict.DENY
    elif any(a or n for a, n in allows):
        assert found.verdict is Verdict.PERMIT
        assert found.by_address is any(a for a, _ in allows)
    else:
        assert found.verdict is (Verdict.DENY if allow else Verdict.NO_OPINION)
