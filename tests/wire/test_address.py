"""ATYP, address and port: what SOCKS 5 messages and UDP headers share."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire.address import Address, UnknownAddressType, encode_address, parse_address
from tests.wire import cases
from tests.wire.cases import Broken, Message

OURS = cases.messages(cases.address)
NOT_OURS = cases.broken(cases.address)


@pytest.mark.parametrize("row", OURS, ids=cases.label)
def test_a_whole_address_is_read(row: Message) -> None:
    cases.parses_whole(row)


@pytest.mark.parametrize("row", OURS, ids=cases.label)
def test_an_address_cut_short_needs_more(row: Message) -> None:
    cases.parses_octet_by_octet(row)


@pytest.mark.parametrize("row", OURS, ids=cases.label)
def test_what_follows_an_address_is_left(row: Message) -> None:
    cases.leaves_what_follows(row)


@pytest.mark.parametrize("row", NOT_OURS, ids=cases.label)
def test_an_unknown_type_is_refused_at_its_octet(row: Broken) -> None:
    cases.breaks_at_its_last_octet(row)
    cases.shows_nothing_a_peer_sent(row)


@pytest.mark.parametrize("row", NOT_OURS, ids=cases.label)
def test_an_unknown_type_has_an_error_of_its_own(row: Broken) -> None:
    with pytest.raises(UnknownAddressType):
        row.parser(row.octets)


@given(cases.hostile(cases.address), st.binary(max_size=300))
def test_any_octets_are_an_address_or_need_more_or_an_error(data: bytes, more: bytes) -> None:
    cases.is_total_bounded_and_monotonic(cases.address, data, more)


@given(cases.ADDRESSES, st.binary(max_size=8), st.binary(max_size=8))
def test_an_encoded_address_reads_back_from_where_it_stands(
    address: Address, before: bytes, after: bytes
) -> None:
    octets = encode_address(address)
    parsed = parse_address(before + octets + after, len(before))
    assert parsed == (address, len(before) + len(octets))


@given(cases.ADDRESSES)
def test_what_was_read_encodes_to_the_same_octets(address: Address) -> None:
    octets = encode_address(address)
    parsed = parse_address(octets, 0)
    assert parsed is not None
    assert encode_address(parsed.value) == octets


@pytest.mark.parametrize(
    "address",
    [
        Address(b"n" * 256, 80),
        Address(b"example.com", 65536),
        Address(IPv4Address("192.0.2.1"), 65536),
        Address(IPv4Address("192.0.2.1"), -1),
    ],
    ids=["long name", "port of a name too high", "port too high", "port below 0"],
)
def test_what_the_protocol_cannot_say_is_a_value_error(address: Address) -> None:
    with pytest.raises(ValueError, match=r"at most 255 octets|no port number"):
        encode_address(address)


def test_a_name_that_is_read_is_octets_of_its_own() -> None:
    parsed = parse_address(memoryview(b"\x03\x01x\x00\x50").tobytes(), 0)
    assert parsed is not None
    assert type(parsed.value.host) is bytes
