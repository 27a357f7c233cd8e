"""SOCKS 5 messages, both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import socks5
from socks5d.wire.address import Address
from tests.wire import cases


@given(st.binary(min_size=1, max_size=255))
def test_an_encoded_greeting_reads_back(methods: bytes) -> None:
    octets = socks5.encode_greeting(methods)
    assert socks5.parse_greeting(octets) == (methods, len(octets))


@pytest.mark.parametrize("methods", [b"", bytes(256)], ids=["none", "256"])
def test_a_greeting_that_cannot_be_said_is_a_value_error(methods: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 255 methods"):
        socks5.encode_greeting(methods)


@given(cases.OCTETS)
def test_an_encoded_selection_reads_back(method: int) -> None:
    octets = socks5.encode_selection(method)
    assert octets == bytes((5, method))
    assert socks5.parse_selection(octets) == (method, 2)


@given(st.sampled_from([1, 2, 3]), cases.ADDRESSES)
def test_an_encoded_request_reads_back(command: int, destination: Address) -> None:
    request = socks5.Request(command, destination)
    octets = socks5.encode_request(request)
    assert socks5.parse_request(octets) == (request, len(octets))


@given(cases.OCTETS, cases.ADDRESSES)
def test_an_encoded_reply_reads_back(code: int, bound: Address) -> None:
    octets = socks5.encode_reply(code, bound)
    assert socks5.parse_reply(octets) == (socks5.Reply(code, bound), len(octets))


@given(st.sampled_from([1, 2, 3]), cases.OCTETS, cases.ADDRESSES)
def test_what_rsv_holds_does_not_matter(command: int, rsv: int, destination: Address) -> None:
    octets = bytearray(socks5.encode_request(socks5.Request(command, destination)))
    octets[2] = rsv
    assert socks5.parse_request(bytes(octets)) == ((command, destination), len(octets))


def test_a_reply_without_an_address_has_ipv4_zeros() -> None:
    assert socks5.encode_reply(socks5.NOT_ALLOWED) == b"\x05\x02\x00\x01\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "request_",
    [
        socks5.Request(socks5.CONNECT, Address(b"n" * 256, 80)),
        socks5.Request(socks5.CONNECT, Address(b"name", 65536)),
        socks5.Request(socks5.CONNECT, Address(b"name", -1)),
        socks5.Request(256, Address(b"name", 80)),
    ],
    ids=["long name", "port too high", "port below 0", "no command"],
)
def test_a_request_that_cannot_be_said_is_a_value_error(request_: socks5.Request) -> None:
    with pytest.raises(ValueError, match=r"."):
        socks5.encode_request(request_)
