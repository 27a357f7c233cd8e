"""
Every message of the wire package as octets and as a value, every way to break one,
and what holds of each parser.

One table for all: the test module of a parser takes its rows by L{messages} and
L{broken}, and puts them through the claims at the end of this file.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

import pytest
from attrs import frozen
from hypothesis import strategies as st

from socks5d.wire import gssframe, identline, socks4, socks5, userpass
from socks5d.wire.address import Address, IPAddress, parse_address
from socks5d.wire.parsed import Parsed, WireError
from socks5d.wire.userpass import Credentials

Parser: TypeAlias = Callable[[bytes], Parsed[Any] | None]


def address(data: bytes) -> Parsed[Address] | None:
    """An address that stands at the beginning."""
    return parse_address(data, 0)


#: Every parser that can need more, and the length of its longest legal message.
LONGEST: dict[Parser, int] = {
    address: 1 + 1 + 255 + 2,
    socks4.parse_request: 8 + 255 + 1 + 255 + 1,
    socks4.parse_reply: 8,
    socks5.parse_greeting: 2 + 255,
    socks5.parse_selection: 2,
    socks5.parse_request: 3 + 1 + 1 + 255 + 2,
    socks5.parse_reply: 3 + 1 + 1 + 255 + 2,
    userpass.parse_credentials: 1 + 1 + 255 + 1 + 255,
    userpass.parse_status: 2,
    gssframe.parse_message: 4 + 65535,
    identline.parse_query: identline.MAX_LINE,
    identline.parse_response: identline.MAX_LINE,
}

HOME = IPv4Address("192.0.2.7")
SIX = IPv6Address("2001:db8::5")
NAME = b"example.com"
LONG = b"n" * 255


@frozen
class Message:
    """Octets that are a whole message, and what it says."""

    parser: Parser
    octets: bytes
    value: object


@frozen
class Broken:
    """
    Octets that are no message.  The last one settles it: all the octets before it
    could have become one.
    """

    parser: Parser
    octets: bytes
    reply: bytes


MESSAGES: tuple[Message, ...] = (
    Message(address, b"\x01\xc0\x00\x02\x07\x00\x50", Address(HOME, 80)),
    Message(address, b"\x01\x00\x00\x00\x00\x00\x00", Address(IPv4Address(0), 0)),
    Message(address, b"\x03\x0bexample.com\xff\xff", Address(NAME, 65535)),
    Message(address, b"\x03\x00\x01\xbb", Address(b"", 443)),
    Message(address, b"\x03\xff" + LONG + b"\x01\xbb", Address(LONG, 443)),
    Message(address, b"\x03\x02\x00\xff\x01\xbb", Address(b"\x00\xff", 443)),
    Message(address, b"\x04" + SIX.packed + b"\x01\x00", Address(SIX, 256)),
    Message(
        address,
        b"\x04" + bytes(10) + b"\xff\xff\x7f\0\0\1" + b"\0\1",
        Address(IPv6Address("::ffff:127.0.0.1"), 1),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x01\x00\x50\xc0\x00\x02\x07fred\x00",
        socks4.Request(socks4.CONNECT, Address(HOME, 80), b"fred"),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x02\xff\xff\xc0\x00\x02\x07\x00",
        socks4.Request(socks4.BIND, Address(HOME, 65535), b""),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x01\x00\x50\x00\x00\x00\x01fred\x00example.com\x00",
        socks4.Request(socks4.CONNECT, Address(NAME, 80), b"fred"),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x02\x00\x50\x00\x00\x00\xff\x00x\x00",
        socks4.Request(socks4.BIND, Address(b"x", 80), b""),
    ),
    # No 4a: x is 0, or there is more before it than 0.0.0.
    Message(
        socks4.parse_request,
        b"\x04\x02\x00\x50\x00\x00\x00\x00fred\x00",
        socks4.Request(socks4.BIND, Address(IPv4Address("0.0.0.0"), 80), b"fred"),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x01\x00\x50\x00\x01\x00\x01\x00",
        socks4.Request(socks4.CONNECT, Address(IPv4Address("0.1.0.1"), 80), b""),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x01\x00\x50\x00\x00\x01\x01\x00",
        socks4.Request(socks4.CONNECT, Address(IPv4Address("0.0.1.1"), 80), b""),
    ),
    # Octets that nobody promised to be text.
    Message(
        socks4.parse_request,
        b"\x04\x01\x00\x50\x00\x00\x00\x09\xff\n\x00\x80 \x00",
        socks4.Request(socks4.CONNECT, Address(b"\x80 ", 80), b"\xff\n"),
    ),
    Message(
        socks4.parse_request,
        b"\x04\x01\x00\x50\x00\x00\x00\x01" + LONG + b"\0" + LONG + b"\0",
        socks4.Request(socks4.CONNECT, Address(LONG, 80), LONG),
    ),
    Message(
        socks4.parse_reply,
        b"\x00\x5a\x04\x38\xc0\x00\x02\x07",
        socks4.Reply(socks4.GRANTED, Address(HOME, 1080)),
    ),
    Message(
        socks4.parse_reply,
        b"\x04\x5b\x00\x00\x00\x00\x00\x00",
        socks4.Reply(socks4.REJECTED, Address(IPv4Address(0), 0)),
    ),
    Message(socks5.parse_greeting, b"\x05\x01\x00", b"\x00"),
    Message(socks5.parse_greeting, b"\x05\x03\x02\x00\x01", b"\x02\x00\x01"),
    Message(socks5.parse_greeting, b"\x05\xff" + bytes(range(255)), bytes(range(255))),
    Message(socks5.parse_selection, b"\x05\x02", 2),
    Message(socks5.parse_selection, b"\x05\xff", socks5.NO_ACCEPTABLE_METHODS),
    Message(
        socks5.parse_request,
        b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50",
        socks5.Request(socks5.CONNECT, Address(HOME, 80)),
    ),
    Message(
        socks5.parse_request,
        b"\x05\x02\x00\x03\x0bexample.com\x00\x50",
        socks5.Request(socks5.BIND, Address(NAME, 80)),
    ),
    Message(
        socks5.parse_request,
        b"\x05\x03\x00\x04" + SIX.packed + b"\x00\x50",
        socks5.Request(socks5.UDP_ASSOCIATE, Address(SIX, 80)),
    ),
    Message(
        socks5.parse_request,
        b"\x05\x01\x00\x03\xff" + LONG + b"\x00\x50",
        socks5.Request(socks5.CONNECT, Address(LONG, 80)),
    ),
    # RSV must be 0, and a server that minds gains nothing.
    Message(
        socks5.parse_request,
        b"\x05\x01\xff\x01\xc0\x00\x02\x07\x00\x50",
        socks5.Request(socks5.CONNECT, Address(HOME, 80)),
    ),
    Message(
        socks5.parse_reply,
        b"\x05\x00\x00\x01\xc0\x00\x02\x07\x04\x38",
        socks5.Reply(socks5.SUCCEEDED, Address(HOME, 1080)),
    ),
    Message(
        socks5.parse_reply,
        b"\x05\x08\x00\x04" + SIX.packed + b"\x00\x00",
        socks5.Reply(socks5.ADDRESS_TYPE_NOT_SUPPORTED, Address(SIX, 0)),
    ),
    Message(
        socks5.parse_reply,
        b"\x05\x00\x00\x03\xff" + LONG + b"\x00\x50",
        socks5.Reply(socks5.SUCCEEDED, Address(LONG, 80)),
    ),
    Message(
        userpass.parse_credentials,
        b"\x01\x05alice\x06sesame",
        Credentials(b"alice", b"sesame"),
    ),
    Message(userpass.parse_credentials, b"\x01\x00\x00", Credentials(b"", b"")),
    Message(userpass.parse_credentials, b"\x01\x00\x01x", Credentials(b"", b"x")),
    Message(userpass.parse_credentials, b"\x01\x01x\x00", Credentials(b"x", b"")),
    Message(
        userpass.parse_credentials, b"\x01\x02\xff\x00\x02\x01\x05", Credentials(b"\xff\0", b"\1\5")
    ),
    Message(
        userpass.parse_credentials,
        b"\x01\xff" + LONG + b"\xff" + LONG,
        Credentials(LONG, LONG),
    ),
    Message(userpass.parse_status, b"\x01\x00", userpass.SUCCESS),
    Message(userpass.parse_status, b"\x01\x01", userpass.FAILURE),
    Message(userpass.parse_status, b"\x01\xff", 255),
    Message(gssframe.parse_message, b"\x01\x01\x00\x00", (gssframe.CONTEXT, b"")),
    Message(gssframe.parse_message, b"\x01\x01\x00\x05token", (gssframe.CONTEXT, b"token")),
    Message(gssframe.parse_message, b"\x01\x02\x00\x01\x02", (gssframe.PROTECTION, b"\x02")),
    Message(
        gssframe.parse_message,
        b"\x01\x03\x01\x00" + bytes(range(256)),
        (gssframe.ENCAPSULATED, bytes(range(256))),
    ),
    Message(gssframe.parse_message, b"\x01\xff", (gssframe.ABORT, b"")),
    Message(identline.parse_query, b"6191, 23\r\n", (6191, 23)),
    Message(identline.parse_query, b" 1\t,65535 \n", (1, 65535)),
    Message(
        identline.parse_response,
        b"6193, 23 : USERID : UNIX : stjohns\r\n",
        identline.UserID((6193, 23), b"UNIX", b"stjohns"),
    ),
    Message(
        identline.parse_response,
        b"6193,23:USERID:OTHER , US-ASCII:St John: \xff\n",
        identline.UserID((6193, 23), b"OTHER", b"St John: \xff"),
    ),
    Message(
        identline.parse_response,
        b"1,2:USERID:UNIX:" + b"u" * 512 + b"\r\n",
        identline.UserID((1, 2), b"UNIX", b"u" * 512),
    ),
    Message(
        identline.parse_response,
        b"6195, 23 : ERROR : NO-USER\r\n",
        identline.Error((6195, 23), b"NO-USER"),
    ),
    Message(
        identline.parse_response,
        b"6195, 23 : ERROR : X-DBASE-DOWN\r\n",
        identline.Error((6195, 23), b"UNKNOWN-ERROR"),
    ),
)

REJECTED = b"\x00\x5b\0\0\0\0\0\0"
NO_METHOD = b"\x05\xff"


def _failure(code: int) -> bytes:
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


BROKEN: tuple[Broken, ...] = (
    *(Broken(address, bytes((atyp,)), b"") for atyp in (0, 2, 5, 255)),
    *(Broken(socks4.parse_request, bytes((vn,)), REJECTED) for vn in (0, 3, 5, 71, 255)),
    *(Broken(socks4.parse_request, bytes((4, cd)), REJECTED) for cd in (0, 3, 90, 255)),
    Broken(socks4.parse_request, b"\x04\x01\x00\x50\xc0\x00\x02\x07" + b"u" * 256, REJECTED),
    Broken(socks4.parse_request, b"\x04\x01\x00\x50\x00\x00\x00\x01" + b"u" * 256, REJECTED),
    Broken(socks4.parse_request, b"\x04\x01\x00\x50\x00\x00\x00\x01fred\0" + b"h" * 256, REJECTED),
    Broken(socks4.parse_request, b"\x04\x01\x00\x50\x00\x00\x00\x01fred\0\0", REJECTED),
    *(Broken(socks4.parse_reply, bytes((vn,)), b"") for vn in (1, 5, 90, 255)),
    *(Broken(socks5.parse_greeting, bytes((ver,)), NO_METHOD) for ver in (0, 4, 6, 71, 255)),
    Broken(socks5.parse_greeting, b"\x05\x00", NO_METHOD),
    *(Broken(socks5.parse_selection, bytes((ver,)), b"") for ver in (0, 4, 6, 72)),
    *(Broken(socks5.parse_request, bytes((ver,)), _failure(1)) for ver in (0, 1, 4, 6, 255)),
    *(Broken(socks5.parse_request, bytes((5, cmd)), _failure(7)) for cmd in (0, 4, 0xF0, 255)),
    *(
        Broken(socks5.parse_request, bytes((5, cmd, 0, atyp)), _failure(8))
        for cmd in (1, 2, 3)
        for atyp in (0, 2, 5, 255)
    ),
    *(Broken(socks5.parse_reply, bytes((ver,)), b"") for ver in (0, 1, 4, 6)),
    *(Broken(socks5.parse_reply, bytes((5, 0, 0, atyp)), b"") for atyp in (0, 2, 5)),
    *(Broken(userpass.parse_credentials, bytes((ver,)), b"\x01\x01") for ver in (0, 2, 5, 255)),
    *(Broken(userpass.parse_status, bytes((ver,)), b"") for ver in (0, 2, 5)),
    *(Broken(gssframe.parse_message, bytes((ver,)), b"\x01\xff") for ver in (0, 2, 5, 255)),
    *(Broken(gssframe.parse_message, bytes((1, mtyp)), b"\x01\xff") for mtyp in (0, 4, 254)),
    *(
        Broken(identline.parse_query, line, b"")
        for line in (b"\n", b"1\r\n", b"0, 1\n", b"1, 65536\n", b"1, 2, 3\n", b"x" * 1000)
    ),
    *(
        Broken(identline.parse_response, line, b"")
        for line in (
            b"\r\n",
            b"1, 2\n",
            b"1, 2 : USERID : UNIX\n",
            b"1, 2 : USERID : UNIX : \r\n",
            b"1, 2 : USERID : UNIX : a\0b\r\n",
            b"1, 2 : userid : UNIX : a\r\n",
            b"0, 2 : USERID : UNIX : a\r\n",
            b"1, 99999 : ERROR : NO-USER\r\n",
            b"1,2:USERID:UNIX:" + b"u" * 513 + b"\n",
            b"1,2:USERID:UNIX:" + b"u" * 984,
        )
    ),
)

#: What may stand behind a message: nothing that looks like its own kind may matter.
TRAILERS = (b"\0", b"\x05", b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\xff" * 300)


def messages(*parsers: Parser) -> list[Message]:
    """The rows of some parsers that are messages."""
    return [row for row in MESSAGES if row.parser in parsers]


def broken(*parsers: Parser) -> list[Broken]:
    """The rows of some parsers that are none."""
    return [row for row in BROKEN if row.parser in parsers]


def label(row: object) -> str | None:
    """How a row is called in pytest's output."""
    if isinstance(row, (Message, Broken)):
        return f"{row.parser.__module__.rpartition('.')[2]}-{row.octets[:24].hex()}"
    return getattr(row, "__name__", None)


# What holds.


def parses_whole(row: Message) -> None:
    assert row.parser(row.octets) == Parsed(row.value, len(row.octets))


def parses_octet_by_octet(row: Message) -> None:
    for length in range(len(row.octets)):
        assert row.parser(row.octets[:length]) is None, f"{length} octets are not all of it"
    assert row.parser(row.octets) is not None


def leaves_what_follows(row: Message) -> None:
    for trailer in TRAILERS:
        parsed = row.parser(row.octets + trailer)
        assert parsed == Parsed(row.value, len(row.octets))
        assert (row.octets + trailer)[parsed.end :] == trailer


def breaks_at_its_last_octet(row: Broken) -> None:
    for length in range(len(row.octets)):
        assert row.parser(row.octets[:length]) is None, f"{length} octets could still become one"
    for trailer in (b"", *TRAILERS):
        with pytest.raises(WireError) as caught:
            row.parser(row.octets + trailer)
        assert caught.value.reply == row.reply


def shows_nothing_a_peer_sent(row: Broken) -> None:
    marked = row.octets + b"MARKER"
    with pytest.raises(WireError) as caught:
        row.parser(marked)
    assert caught.value.reason
    assert caught.value.reason == str(caught.value)
    assert "MARKER" not in caught.value.reason
    assert caught.value.reason.isprintable()


def is_total_bounded_and_monotonic(parser: Parser, data: bytes, more: bytes) -> None:
    """
    Whatever comes, a parser gives a value, None or a WireError; None never beyond its
    longest message; and more octets never change an answer once there is one.
    """
    try:
        parsed = parser(data)
    except WireError as error:
        with pytest.raises(WireError) as again:
            parser(data + more)
        assert (again.value.reply, again.value.reason) == (error.reply, error.reason)
        return
    if parsed is None:
        assert len(data) < LONGEST[parser]
        return
    assert 0 < parsed.end <= min(len(data), LONGEST[parser])
    assert parser(data + more) == parsed
    assert parser(data[: parsed.end]) == parsed
    assert parser(data[: parsed.end - 1]) is None


# What to try it with.


@st.composite
def _mangled(draw: st.DrawFn, parser: Parser) -> bytes:
    rows = [each.octets for each in messages(parser)] + [each.octets for each in broken(parser)]
    octets = bytearray(draw(st.sampled_from(rows)))
    for _ in range(draw(st.integers(0, 3))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(octets)))
    return bytes(octets[:cut]) + draw(st.binary(max_size=300))


def hostile(parser: Parser) -> st.SearchStrategy[bytes]:
    """Octets of no kind, and octets that nearly are what the parser reads."""
    return st.one_of(st.binary(max_size=700), _mangled(parser))


PORTS = st.integers(0, 65535)
IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(IPv6Address)
IPS: st.SearchStrategy[IPAddress] = st.one_of(IPV4, IPV6)
ADDRESSES = st.builds(Address, st.one_of(IPV4, IPV6, st.binary(max_size=255)), PORTS)
OCTETS = st.integers(0, 255)
