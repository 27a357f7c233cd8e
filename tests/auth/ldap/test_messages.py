"""LDAP's messages: octets to values and back."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldaptor.protocols import pureldap

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.ldap.messages import (
    LONGEST_MESSAGE,
    Codec,
    Entry,
    Frame,
    Garbled,
    Reference,
    Result,
    frame,
)
from socks5d.auth.ldap.templates import Filter
from tests.auth.ldap.directory import (
    bind_response,
    entry,
    extended_response,
    message,
    read_request,
    search_done,
)

CODEC = Codec()


def asked(octets: bytes) -> tuple[int, Any]:
    """A request's number, and what it asks."""
    request, rest = read_request(octets)
    assert rest == b""
    return request.id, request.value


def test_a_bind() -> None:
    number, request = asked(CODEC.bind(7, "uid=é,dc=x", b"\xff\x00"))
    assert number == 7
    assert type(request) is pureldap.LDAPBindRequest
    assert (request.version, request.dn) == (3, "uid=é,dc=x".encode())
    assert (request.auth, request.sasl) == (b"\xff\x00", False)


def test_a_search() -> None:
    octets = CODEC.search(300, "dc=x", Filter("(uid=%s)").of(b"*"), "cn", 2, 5)
    number, request = asked(octets)
    assert number == 300
    assert type(request) is pureldap.LDAPSearchRequest
    assert (request.baseObject, request.scope, request.derefAliases) == (b"dc=x", 2, 0)
    assert (request.sizeLimit, request.timeLimit, request.typesOnly) == (2, 5, 0)
    assert request.attributes == [b"cn"]
    assert request.filter.assertionValue.value == b"*"


def test_start_tls_and_the_end() -> None:
    assert CODEC.start_tls(1) == bytes.fromhex("301d020101 7718 8016") + b"1.3.6.1.4.1.1466.20037"
    assert CODEC.unbind(2) == bytes.fromhex("3005020102 4200")


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (bind_response(49), Result("bind", 49)),
        (search_done(4), Result("search", 4)),
        (extended_response(2), Result("extended", 2)),
        (entry("uid=ann", uid=[b"ann", b"b"]), Entry(b"uid=ann", {b"uid": (b"ann", b"b")})),
        (entry("uid=ann", UID=[]), Entry(b"uid=ann", {b"uid": ()})),
        (entry("uid=ann"), Entry(b"uid=ann", {})),
        (CODEC.entry(1, "uid=x", "uid", b"a"), Entry(b"uid=x", {b"uid": (b"a",)})),
    ],
)
def test_answers(octets: bytes, answer: object) -> None:
    assert CODEC.decode(octets) == (1, answer)


def test_a_reference() -> None:
    octets = bytes.fromhex("300f020101 730a 0408") + b"ldap://x"
    assert CODEC.decode(octets) == (1, Reference())


def test_what_an_answer_has_besides_means_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    # A referral ([3]), and controls ([0]), one of an unknown kind.
    referral = bytes.fromhex("3013020101 610e 0a010a 0400 0400 a305 0403") + b"a:b"
    assert CODEC.decode(referral) == (1, Result("bind", 10))
    controls = bytes.fromhex("3012020101 6107 0a0100 0400 0400 a004 9f020000")
    assert CODEC.decode(controls) == (1, Result("bind", 0))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x03\x02\x01\x01",
        bind_response()[:-1],
        # A request, the operation of a length that goes beyond the message, and a code that
        # is octets.
        message(pureldap.LDAPUnbindRequest()),
        bytes.fromhex("300c020101 6108 0a0100 0400 0400"),
        bytes.fromhex("300c020101 6107 040100 0400 0400"),
        bytes.fromhex("3005020101 6100"),
        bytes.fromhex("3006020101 9f0100"),
    ],
)
def test_what_is_no_answer(octets: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Garbled):
        CODEC.decode(octets)
    assert capsys.readouterr() == ("", "")


@given(st.binary(max_size=60))
def test_garbage_is_garbled(octets: bytes) -> None:
    whole = b"\x30" + bytes([len(octets) + 3]) + b"\x02\x01\x01" + octets
    try:
        number, answer = CODEC.decode(whole)
    except Garbled:
        return
    assert number == 1
    assert isinstance(answer, Entry | Result | Reference)


@given(st.data())
def test_an_answer_that_was_changed_is_garbled_or_an_answer(data: st.DataObject) -> None:
    octets = bytearray(data.draw(st.sampled_from([bind_response(), entry("uid=a", uid=[b"a"])])))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, answer = CODEC.decode(bytes(octets))
    except Garbled:
        return
    assert isinstance(answer, Entry | Result | Reference)


def test_a_deep_nest_is_garbled() -> None:
    nest = b""
    while len(nest) < LONGEST_MESSAGE - 10:
        nest = b"\x30\x83" + len(nest).to_bytes(3) + nest
    inner = b"\x02\x01\x01\x61\x83" + len(nest).to_bytes(3) + nest
    with pytest.raises(Garbled):
        CODEC.decode(b"\x30\x83" + len(inner).to_bytes(3) + inner)


def test_a_frame_is_read_octet_by_octet() -> None:
    octets = bind_response()
    for length in range(len(octets)):
        assert frame(octets[:length], 0x30) is None
    assert frame(octets, 0x30) == frame(octets + b"more", 0x30) == Frame(2, len(octets))
    assert frame(b"\x30\x82\x00\x02ab", 0x30) == Frame(4, 6)


@pytest.mark.parametrize(
    "octets",
    [
        b"\x31",
        b"H",
        b"\x30\x80",
        b"\x30\x85",
        b"\x30\xff",
        b"\x30\x83\x01\x00\x01",
        b"\x30\x84\xff\xff\xff\xff",
    ],
)
def test_what_is_no_frame_is_known_at_once(octets: bytes) -> None:
    with pytest.raises(Garbled):
        frame(octets, 0x30)


def test_codes_have_names() -> None:
    assert CODEC.name_of(49) == "invalidCredentials"
    assert CODEC.name_of(9999) == "result 9999"


def test_without_ldaptor_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldaptor.protocols", None)
    with pytest.raises(ArgumentError, match=r"pip install 'socks5d\[ldap\]'") as caught:
        Codec()
    assert "\n" not in str(caught.value)
