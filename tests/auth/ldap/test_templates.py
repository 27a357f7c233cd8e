"""DNs and filters with a place for a name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldaptor.protocols import pureber, pureldap

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.ldap.templates import Filter, check_attribute, check_dn, dn_of


def read(wanted: Any) -> Any:
    """A filter, as a server reads it."""
    context = pureldap.LDAPBERDecoderContext_Filter(fallback=pureber.BERDecoderContext())
    value, _ = pureber.berDecodeObject(context, wanted.toWire())
    return value


@given(st.text(min_size=1).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_name_is_a_value_whatever_is_in_it(name: bytes) -> None:
    found = read(Filter("(uid=%s)").of(name))
    assert type(found) is pureldap.LDAPFilter_equalityMatch
    assert (found.attributeDesc.value, found.assertionValue.value) == (b"uid", name)


def test_a_name_takes_all_its_places_and_nothing_else_changes() -> None:
    both = Filter("(&(objectClass=person)(!(shell=none))(|(uid=%s)(mail=%s@x.org))(cn=a*))")
    assert both.attributes == ("uid", "mail")
    for name in (b"%s", b"*)(uid=*", "é".encode()):
        found = read(both.of(name))
        assert found[0].assertionValue.value == b"person"
        assert type(found[1]) is pureldap.LDAPFilter_not
        assert [each.assertionValue.value for each in found[2]] == [name, name + b"@x.org"]
        assert type(found[3]) is pureldap.LDAPFilter_substrings


def test_a_matching_rule() -> None:
    exact = Filter("(uid:caseExactMatch:=%s)")
    assert exact.attributes == ("uid",)
    context = pureldap.LDAPBERDecoderContext_Filter(
        fallback=pureber.BERDecoderContext(), inherit=pureber.BERDecoderContext()
    )
    found, _ = pureber.berDecodeObject(context, exact.of(b"*").toWire())
    assert (found.type.value, found.matchValue.value) == (b"uid", b"*")
    assert found.matchingRule.value == b"caseExactMatch"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("uid=%s", "'filter' is none"),
        ("(uid=%s", "'filter' is none"),
        ("(%s=ann)", "'filter' is none"),
        ("(uid=%s))", "'filter' is none"),
        ("(uid=ann)", "must hold %s"),
        ("(uid=*)", "must hold %s"),
        ("(cn=*%s*)", "must hold %s"),
        ("(uid>=%s)", "must hold %s"),
        ("(uid~=%s)", "must hold %s"),
        ("(!(uid=%s))", "must hold %s"),
        ("(|(uid=%s)(cn=%s*))", "must hold %s"),
        ("(uid=\\25s)", "must hold %s"),
        ("(&(uid=%s)(ou=\\c3\\a9))", "beyond ASCII"),
        ("(" * 3000, "'filter' is none"),
    ],
)
def test_what_is_no_filter_for_names(text: str, why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        Filter(text)


@pytest.mark.parametrize(
    "text", ["uid=%s,ou=people,dc=example", "cn=%s+ou=a,dc=x", "2.5.4.3=%s", "cn=a\\, b,dc=x"]
)
def test_dns(text: str) -> None:
    check_dn(text, "dn")


@pytest.mark.parametrize(
    "text",
    [
        "%s",
        "%s@example.org",
        "CORP\\%s",
        "%s=ann,dc=x",
        "uid=%s,x",
        "uid=#%s",
        "=x",
        "uid=%s,,dc=x",
    ],
)
def test_what_is_no_dn(text: str) -> None:
    with pytest.raises(ArgumentError, match="'dn'"):
        check_dn(text, "dn")


def test_attributes() -> None:
    check_attribute("sAMAccountName", "name")
    for text in ("", "*", "1.1.", "uid;x", "a b", "+"):
        with pytest.raises(ArgumentError, match="'name' is no attribute"):
            check_attribute(text, "name")


def test_a_name_in_a_dn() -> None:
    assert dn_of("uid=%s,cn=%s,dc=x", b"a,%s") == "uid=a\\2c\\25s,cn=a\\2c\\25s,dc=x"
