"""Names and passwords that a directory may be asked about, and a name in a DN."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldaptor.protocols.ldap.distinguishedname import DistinguishedName

from socks5d.auth.ldap.names import canonical, escaped, may_be_name, may_be_password


@pytest.mark.parametrize(
    "name",
    [b"ann", b"*", b"(a)", b"a\\b", "josé".encode(), b"x" * 255, b" ", b"a,b=c", b"#x"],
)
def test_names_that_may_be(name: bytes) -> None:
    assert may_be_name(name)


@pytest.mark.parametrize(
    "name", [b"", b"\0", b"ann\0", b"a\nb", b"a\x7fb", b"\xff", b"ann\xc3", b"x" * 256, b"\xc2\x85"]
)
def test_names_that_may_not_be(name: bytes) -> None:
    assert not may_be_name(name)
    assert canonical(name) is None


def test_a_password_is_not_empty_and_has_no_nul() -> None:
    assert may_be_password(b"x")
    assert may_be_password(b"\xff \n")
    assert may_be_password(b"x" * 1024)
    for password in (b"", b"\0", b"\0x", b"x\0", b"x" * 1025):
        assert not may_be_password(password)


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        (b"ann", b"ann"),
        (b"Ann", b"ann"),
        (b"ANN LEE", b"ann lee"),
        (b"a.b-c_d@e", b"a.b-c_d@e"),
        (b" ann", None),
        (b"ann ", None),
        (b"ann  lee", None),
        ("ann\u00ad".encode(), None),
        ("\u017fam".encode(), None),
        ("josé".encode(), None),
        ("\uff41nn".encode(), None),
    ],
)
def test_a_user_has_one_name(name: bytes, known_as: bytes | None) -> None:
    assert canonical(name) == known_as


@given(st.binary(max_size=40))
def test_what_is_canonical_stays_so(name: bytes) -> None:
    known_as = canonical(name)
    if known_as is not None:
        assert canonical(known_as) == known_as
        assert canonical(name.upper()) == known_as


def test_a_name_in_a_dn_is_escaped() -> None:
    assert escaped(b"ann.lee-2@x_y") == "ann.lee-2@x_y"
    assert escaped(b'#a,b+c"d\\e<f>g;h=i \xc3') == (
        "\\23a\\2cb\\2bc\\22d\\5ce\\3cf\\3eg\\3bh\\3di\\20\\c3"
    )


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_a_name_in_a_dn_is_one_value(name: str) -> None:
    parts = DistinguishedName(f"uid={escaped(name.encode())},dc=x").split()
    assert [[(p.attributeType, p.value) for p in rdn.split()] for rdn in parts] == [
        [("uid", name)],
        [("dc", "x")],
    ]
