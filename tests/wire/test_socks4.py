"""SOCKS 4 and 4a messages, both sides."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire import socks4
from socks5d.wire.address import Address
from socks5d.wire.parsed import WireError
from tests.wire import cases

FIELDS = st.binary(max_size=255).map(lambda octets: octets.replace(b"\0", b"0"))
PLAIN = cases.IPV4.filter(lambda address: not 0 < int(address) < 256)
REQUESTS = st.builds(
    socks4.Request,
    st.sampled_from([socks4.CONNECT, socks4.BIND]),
    st.builds(Address, st.one_of(PLAIN, FIELDS.filter(bool)), cases.PORTS),
    FIELDS,
)


@given(st.binary(min_size=520, max_size=900))
def test_the_server_never_keeps_more_than_the_longest_request(tail: bytes) -> None:
    head = b"\x04\x01\x00\x50\x00\x00\x00\x01"
    try:
        parsed = socks4.parse_request(head + tail)
    except WireError as error:
        assert error.reply == cases.REJECTED
    else:
        assert parsed is not None


@given(REQUESTS)
def test_an_encoded_request_reads_back(request: socks4.Request) -> None:
    octets = socks4.encode_request(request)
    assert socks4.parse_request(octets) == (request, len(octets))


@given(cases.OCTETS, st.builds(Address, cases.IPV4, cases.PORTS))
def test_an_encoded_reply_reads_back(code: int, bound: Address) -> None:
    octets = socks4.encode_reply(code, bound)
    assert octets[0] == 0
    assert socks4.parse_reply(octets) == (socks4.Reply(code, bound), 8)


def test_a_reply_without_an_address_has_zeros() -> None:
    assert socks4.encode_reply(socks4.REJECTED) == b"\x00\x5b\0\0\0\0\0\0"


@pytest.mark.parametrize("host", [IPv6Address("2001:db8::1"), b"example.com"], ids=str)
def test_a_reply_says_zeros_for_a_host_that_is_not_ipv4_and_keeps_the_port(
    host: IPv6Address | bytes,
) -> None:
    assert socks4.encode_reply(socks4.GRANTED, Address(host, 1080)) == b"\x00\x5a\x04\x38\0\0\0\0"


@pytest.mark.parametrize(
    "request_",
    [
        socks4.Request(socks4.CONNECT, Address(IPv6Address("::1"), 80), b""),
        socks4.Request(socks4.CONNECT, Address(cases.HOME, 80), b"u" * 256),
        socks4.Request(socks4.CONNECT, Address(b"h" * 256, 80), b""),
        socks4.Request(socks4.CONNECT, Address(cases.HOME, 80), b"a\0b"),
        socks4.Request(socks4.CONNECT, Address(b"a\0b", 80), b""),
        socks4.Request(256, Address(cases.HOME, 80), b""),
        socks4.Request(socks4.CONNECT, Address(cases.HOME, 65536), b""),
        socks4.Request(socks4.CONNECT, Address(cases.HOME, -1), b""),
        # As octets these two would be a 4a request without a name.
        socks4.Request(socks4.CONNECT, Address(b"", 80), b""),
        socks4.Request(socks4.CONNECT, Address(IPv4Address("0.0.0.5"), 80), b""),
    ],
    ids=[
        "ipv6",
        "long userid",
        "long name",
        "NUL in the userid",
        "NUL in the name",
        "no command",
        "port too high",
        "port below 0",
        "empty name",
        "0.0.0.x",
    ],
)
def test_a_request_that_cannot_be_said_is_a_value_error(request_: socks4.Request) -> None:
    with pytest.raises(ValueError, match=r"."):
        socks4.encode_request(request_)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_reply_that_cannot_be_said_is_a_value_error(port: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        socks4.encode_reply(socks4.GRANTED, Address(cases.HOME, port))
