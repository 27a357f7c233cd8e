"""Messages of the GSS-API method (RFC 1961), one by one and as a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import gssframe
from socks5d.wire.gssframe import Messages, encode_message, parse_message
from socks5d.wire.parsed import Parsed, WireError

MTYPS = st.sampled_from((gssframe.CONTEXT, gssframe.PROTECTION, gssframe.ENCAPSULATED))
MESSAGES = st.lists(st.tuples(MTYPS, st.binary(max_size=400)), max_size=8)


@given(MTYPS, st.binary(max_size=400))
def test_an_encoded_message_reads_back(mtyp: int, token: bytes) -> None:
    octets = encode_message(mtyp, token)
    assert parse_message(octets) == ((mtyp, token), len(octets))


def test_the_longest_token_fits_and_one_octet_more_does_not() -> None:
    longest = bytes(gssframe.MAX_TOKEN)
    octets = encode_message(gssframe.CONTEXT, longest)
    assert parse_message(octets) == ((gssframe.CONTEXT, longest), 4 + 65535)
    with pytest.raises(ValueError, match="at most 65535 octets"):
        encode_message(gssframe.CONTEXT, longest + b"x")


def test_a_message_is_read_where_it_begins() -> None:
    octets = b"before" + encode_message(gssframe.CONTEXT, b"token") + b"behind"
    assert parse_message(octets, 6) == Parsed(gssframe.Message(gssframe.CONTEXT, b"token"), 15)
    assert parse_message(octets[:14], 6) is None


@given(MESSAGES, st.data())
def test_a_stream_gives_its_messages_however_it_is_cut_up(
    messages: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(encode_message(*each) for each in messages) + b"\x01\x03\x00\x09left"
    found: list[tuple[int, bytes]] = []
    ours = Messages()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += ours.feed(stream[:size])
        assert len(ours) <= gssframe.HEADER + gssframe.MAX_TOKEN
        stream = stream[size:]
    assert found == messages
    assert len(ours) == 8
    assert ours.rest() == b"\x01\x03\x00\x09left"
    assert len(ours) == 0


def test_an_abort_in_a_stream_is_a_message() -> None:
    ours = Messages()
    assert ours.feed(b"\x01") == []
    assert ours.feed(b"\xff\x01\x01") == [(gssframe.ABORT, b"")]
    assert len(ours) == 2


def test_what_is_no_message_ends_the_stream() -> None:
    ours = Messages()
    ours.feed(encode_message(gssframe.ENCAPSULATED, b"token"))
    with pytest.raises(WireError):
        ours.feed(b"\x05\x01")
