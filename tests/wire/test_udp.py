"""The UDP request header: a datagram arrives whole or not at all."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import udp
from socks5d.wire.address import Address, UnknownAddressType
from socks5d.wire.parsed import WireError
from tests.wire import cases
from tests.wire.cases import Broken, Message

# The address rows of the table, each behind RSV and FRAG.
ADDRESSES = cases.messages(cases.address)
HEADERS = st.builds(udp.Header, cases.OCTETS, cases.ADDRESSES)


@pytest.mark.parametrize("row", ADDRESSES, ids=cases.label)
@pytest.mark.parametrize("frag", [0, 1, 127, udp.END_OF_SEQUENCE | 2, 255])
def test_a_header_is_read_and_the_data_is_left(row: Message, frag: int) -> None:
    octets = bytes((0, 0, frag)) + row.octets
    for data in (b"", b"\0", b"payload", bytes(65000)):
        assert udp.parse_header(octets + data) == ((frag, row.value), len(octets))


@pytest.mark.parametrize("row", ADDRESSES, ids=cases.label)
def test_a_datagram_that_ends_before_its_header_is_an_error(row: Message) -> None:
    octets = b"\0\0\0" + row.octets
    for length in range(len(octets)):
        with pytest.raises(WireError, match="ends before its header") as caught:
            udp.parse_header(octets[:length])
        assert caught.value.reply == b""


@pytest.mark.parametrize("row", cases.broken(cases.address), ids=cases.label)
def test_a_datagram_of_an_unknown_address_type_is_an_error(row: Broken) -> None:
    for data in (b"", b"\0" * 300):
        with pytest.raises(WireError, match="unknown address type") as caught:
            udp.parse_header(b"\0\0\0" + row.octets + data)
        assert caught.value.reply == b""


@given(st.one_of(st.binary(max_size=700), HEADERS.map(udp.encode_header)), cases.OCTETS)
def test_any_datagram_has_a_header_or_is_an_error(octets: bytes, rsv: int) -> None:
    try:
        parsed = udp.parse_header(octets)
    except WireError as error:
        assert error.reply == b""
        return
    assert 0 < parsed.end <= min(len(octets), 3 + 259)
    assert udp.parse_header(octets[: parsed.end]) == parsed
    # RSV is not looked at.
    assert udp.parse_header(bytes((rsv, 255 - rsv)) + octets[2:]) == parsed


# Where it ends, found without reading it.


def outcome(find_end: Callable[[bytes], int], octets: bytes) -> object:
    """Where the header ends, or all there is to the error."""
    try:
        return find_end(octets)
    except WireError as error:
        return type(error), error.reason, error.reply


def parsed_end(octets: bytes) -> int:
    return udp.parse_header(octets).end


@pytest.mark.parametrize("row", ADDRESSES, ids=cases.label)
def test_where_a_header_ends_is_found_at_any_length(row: Message) -> None:
    octets = b"\0\0\0" + row.octets
    for data in (b"", b"\0", bytes(65000)):
        assert udp.header_end(octets + data) == len(octets)
    for length in range(len(octets)):
        assert outcome(udp.header_end, octets[:length]) == outcome(parsed_end, octets[:length])


@pytest.mark.parametrize("row", cases.broken(cases.address), ids=cases.label)
def test_an_unknown_address_type_has_no_end(row: Broken) -> None:
    octets = b"\0\0\0" + row.octets
    for data in (b"\0", b"\0" * 300):
        with pytest.raises(UnknownAddressType):
            udp.header_end(octets + data)


@pytest.mark.parametrize("row", cases.broken(cases.address), ids=cases.label)
def test_an_unknown_address_type_at_the_end_is_the_same_error(row: Broken) -> None:
    octets = b"\0\0\0" + row.octets
    assert outcome(udp.header_end, octets) == outcome(parsed_end, octets)


@st.composite
def _nearly_a_datagram(draw: st.DrawFn) -> bytes:
    return draw(st.binary(min_size=3, max_size=3)) + draw(cases.hostile(cases.address))


@given(st.one_of(st.binary(max_size=700), _nearly_a_datagram(), HEADERS.map(udp.encode_header)))
def test_where_a_header_ends_is_what_the_parser_says(octets: bytes) -> None:
    assert outcome(udp.header_end, octets) == outcome(parsed_end, octets)


@given(HEADERS, HEADERS, st.binary(max_size=64))
def test_what_stands_before_the_end_is_the_same_for_the_same_destination(
    one: udp.Header, other: udp.Header, data: bytes
) -> None:
    def key(header: udp.Header) -> bytes:
        octets = udp.encode_header(header) + data
        return octets[3 : udp.header_end(octets)]

    assert key(one) == key(udp.Header(other.frag, one.address))
    assert (key(one) == key(other)) == (one.address == other.address)


@given(HEADERS, st.binary(max_size=64))
def test_an_encoded_header_reads_back(header: udp.Header, data: bytes) -> None:
    octets = udp.encode_header(header)
    assert octets[:2] == b"\0\0"
    assert udp.parse_header(octets + data) == (header, len(octets))


@pytest.mark.parametrize(
    "header",
    [
        udp.Header(256, Address(b"name", 80)),
        udp.Header(-1, Address(b"name", 80)),
        udp.Header(0, Address(b"n" * 256, 80)),
        udp.Header(0, Address(b"name", 65536)),
    ],
    ids=["frag too high", "frag below 0", "long name", "port too high"],
)
def test_a_header_that_cannot_be_said_is_a_value_error(header: udp.Header) -> None:
    with pytest.raises(ValueError, match=r"."):
        udp.encode_header(header)
