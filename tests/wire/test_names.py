"""Hosts in every disguise, and the IPv4 addresses inside IPv6 ones."""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from socks5d.wire.address import Host, IPAddress
from socks5d.wire.names import NotAName, canonical, embedded, unmapped
from tests.wire.cases import IPS, IPV4, IPV6

LOOPBACK = IPv4Address("127.0.0.1")
METADATA = IPv4Address("169.254.169.254")

LOOPBACK_SPELLINGS = (
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.1.",
    "127.0.1",
    "2130706433",
    "2130706433.",
    "0x7f000001",
    "0X7F000001",
    "0x7F000001.",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0x7f.0.1",
    "0177.1",
    "0177.0.0.1",
    "00000177.0.0.01",
    "017700000001",
    "127.0.0.0x1",
    "127.0x1",
    "0x00000000000000007f.1",
    "::ffff:127.0.0.1",
    "::FFFF:127.0.0.1",
    "::ffff:7f00:1",
    "0:0:0:0:0:ffff:7f00:0001",
    "0000:0000:0000:0000:0000:FFFF:7F00:0001",
    "[::ffff:127.0.0.1]",
    "::ffff:127.0.0.1.",
    "::ffff:127.0.0.1%1",
    "::ffff:127.0.0.1%lo",
    "[::ffff:127.0.0.1%lo]",
)

ADDRESSES: tuple[tuple[str, IPAddress], ...] = (
    *((text, LOOPBACK) for text in LOOPBACK_SPELLINGS),
    ("0", IPv4Address("0.0.0.0")),
    ("0x", IPv4Address("0.0.0.0")),
    ("0x0.", IPv4Address("0.0.0.0")),
    ("0x7f.0x", IPv4Address("127.0.0.0")),
    ("00", IPv4Address("0.0.0.0")),
    ("1", IPv4Address("0.0.0.1")),
    ("4294967295", IPv4Address("255.255.255.255")),
    ("037777777777", IPv4Address("255.255.255.255")),
    ("0xffffffff", IPv4Address("255.255.255.255")),
    ("1.16777215", IPv4Address("1.255.255.255")),
    ("1.2.65535", IPv4Address("1.2.255.255")),
    ("1.2.3.255", IPv4Address("1.2.3.255")),
    ("169.254.169.254", METADATA),
    ("0xa9fea9fe", METADATA),
    ("2852039166", METADATA),
    ("0251.0376.0251.0376", METADATA),
    # A zone cannot keep a mapped address from being one.
    ("::ffff:169.254.169.254%eth0", METADATA),
    ("::1", IPv6Address("::1")),
    ("[::1]", IPv6Address("::1")),
    ("::1.", IPv6Address("::1")),
    ("0:0::0:1", IPv6Address("::1")),
    ("::1%lo", IPv6Address("::1")),
    ("::", IPv6Address("::")),
    ("2001:DB8::A", IPv6Address("2001:db8::a")),
    ("2001:db8::a%eth0", IPv6Address("2001:db8::a")),
    ("::127.0.0.1", IPv6Address("::7f00:1")),
    ("64:ff9b::7f00:1", IPv6Address("64:ff9b::7f00:1")),
    ("64:ff9b::127.0.0.1", IPv6Address("64:ff9b::7f00:1")),
    ("2002:7f00:1::", IPv6Address("2002:7f00:1::")),
    # A zone means something here, and there alone.
    ("fe80::1%eth0", IPv6Address("fe80::1%eth0")),
    ("FE80::1%2", IPv6Address("fe80::1%2")),
    ("[fe80::1%eth0]", IPv6Address("fe80::1%eth0")),
    ("fe80::1", IPv6Address("fe80::1")),
)

NAMES: tuple[tuple[str, str], ...] = (
    ("example.com", "example.com"),
    ("EXAMPLE.Com", "example.com"),
    ("example.com.", "example.com"),
    ("EXAMPLE.COM.", "example.com"),
    ("localhost", "localhost"),
    ("LocalHost.", "localhost"),
    ("xn--nxasmq6b.example", "xn--nxasmq6b.example"),
    ("_sip._tcp.example.com", "_sip._tcp.example.com"),
    ("-odd-.example.com", "-odd-.example.com"),
    ("1.2.3.4.example", "1.2.3.4.example"),
    ("127.0.0.1.nip.io", "127.0.0.1.nip.io"),
    ("1e1", "1e1"),
    ("0xg", "0xg"),
    ("ffff", "ffff"),
    ("host.0xzz", "host.0xzz"),
    ("a", "a"),
    ("-1", "-1"),
    ("example.1a", "example.1a"),
    ("a" * 63 + ".example", "a" * 63 + ".example"),
    (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    (".".join(["a" * 63] * 3 + ["b" * 61]) + ".", ".".join(["a" * 63] * 3 + ["b" * 61])),
)

NEITHER = (
    "",
    ".",
    "..",
    "...",
    ".example.com",
    "example..com",
    "example.com..",
    "127.0.0.1..",
    "127..1",
    ".127.0.0.1",
    "a" * 64 + ".example",
    ".".join(["a" * 63] * 3 + ["b" * 62]),
    "a." * 127 + "a",
    "local host",
    " localhost",
    "localhost ",
    "localhost\n",
    "localhost\t",
    "127.0.0.1 ",
    " 127.0.0.1",
    "127.0.0.1\n",
    "localhost\0",
    "localhost\0.example.com",
    "127.0.0.1\0.example.com",
    "\0",
    "exa\x7fmple",
    "example.com/",
    "example.com#",
    "user@example.com",
    "a%b",
    "127.0.0.1%lo",
    "*.example.com",
    "[example.com]",
    "[127.0.0.1]",
    # Digits, letters and dots that only look like them, and what IDNA would make of them.
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "127\uff0e0\uff0e0\uff0e1",
    "127\uff610\uff610\uff611",
    "\u2488\u2488",
    "\u0661",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
    "exampl\u00e9.com",
    "local\u00adhost",
    "\u212aelvin.example",
    "::\uff11",
    # The last label is a number, so it has to be an IPv4 address, and is none.
    "256.0.0.1",
    "1.2.3.256",
    "1.2.65536",
    "1.16777216",
    "4294967296",
    "0x100000000",
    "040000000000",
    "1.2.3.4.5",
    "0.0.0.0.0",
    "example.1",
    "example.0x1",
    "example.com.127",
    "0xg.1",
    "08",
    "09.1",
    "0177.0.0.08",
    "+1.2.3.4",
    "1" * 200,
    "0x" + "f" * 100,
    ":",
    ":::",
    "::1::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "::12345",
    "::g",
    "::ffff:127.1",
    "::ffff:0x7f.0.0.1",
    "::ffff:127.0.0.256",
    "::ffff:127.0.0.01",
    "[::1",
    "::1]",
    "[]",
    "[[::1]]",
    "[::1]:80",
    "::1/128",
    "fe80::1%",
    "fe80::1%a b",
    "fe80::1%a%b",
    "fe80::1%\n",
    "fe80::1%abcdefghijklmnop",
    "::1 ",
    " ::1",
    "::1\0",
    "host:80",
    "127.0.0.1:80",
)


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_address_in_disguise_is_that_address(text: str, address: IPAddress) -> None:
    assert canonical(text) == address
    assert canonical(text.encode("ascii")) == address


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_a_name_is_in_lower_case_and_without_its_dot(text: str, name: str) -> None:
    assert canonical(text) == name
    assert canonical(text.encode("ascii")) == name


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither_resolves_to_nothing(text: str) -> None:
    with pytest.raises(NotAName):
        canonical(text)
    with pytest.raises(NotAName):
        canonical(text.encode("utf-8"))


@pytest.mark.parametrize("octets", [b"\xff", b"\x80.example", b"\xc0\xae", b"caf\xe9.example"])
def test_octets_that_are_no_text_are_no_name(octets: bytes) -> None:
    with pytest.raises(NotAName, match="ASCII"):
        canonical(octets)


def test_what_a_client_sent_is_not_in_the_error() -> None:
    for text in NEITHER:
        with pytest.raises(NotAName) as caught:
            canonical(text)
        assert str(caught.value).isprintable()
        if len(text) > 12:
            assert text not in str(caught.value)


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert canonical(IPv6Address("::ffff:127.0.0.1")) == LOOPBACK
    assert unmapped(IPv6Address("::ffff:127.0.0.1")) == LOOPBACK
    assert unmapped(IPv6Address("::ffff:127.0.0.1%1")) == LOOPBACK


def test_what_is_not_mapped_stays_as_it_is() -> None:
    for address in (LOOPBACK, IPv6Address("::7f00:1"), IPv6Address("::fffe:7f00:1")):
        assert unmapped(address) is address
        assert canonical(address) == address


# Hypothesis.


def _number(draw: st.DrawFn, number: int) -> str:
    zeros = "0" * draw(st.integers(0, 4))
    kind = draw(st.sampled_from("dox"))
    if kind == "d":
        return str(number)
    if kind == "o":
        return f"0{zeros}{number:o}"
    digits = f"{number:x}"
    upper = draw(st.lists(st.booleans(), min_size=len(digits), max_size=len(digits)))
    mixed = "".join(d.upper() if up else d for d, up in zip(digits, upper, strict=True))
    return draw(st.sampled_from(["0x", "0X"])) + zeros + mixed


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, IPv4Address]:
    """An IPv4 address in one of the forms of inet_aton(3)."""
    address = draw(IPV4)
    rest = int(address)
    numbers = []
    for place in range(draw(st.integers(0, 3))):
        shift = 8 * (3 - place)
        numbers.append(rest >> shift)
        rest &= (1 << shift) - 1
    numbers.append(rest)
    return ".".join(_number(draw, number) for number in numbers), address


@given(spellings(), st.sampled_from(["", "."]))
def test_every_form_of_an_ipv4_address_is_that_address(
    spelling: tuple[str, IPv4Address], dot: str
) -> None:
    text, address = spelling
    assert canonical(text + dot) == address


@given(spellings())
def test_inet_aton_reads_every_form_the_same(spelling: tuple[str, IPv4Address]) -> None:
    text, address = spelling
    assert socket.inet_aton(text) == address.packed


NUMERIC = st.one_of(
    st.text("0123456789abcdefx.", min_size=1, max_size=40),
    st.lists(
        st.one_of(
            st.integers(0, 300).map(str),
            st.integers(0, 2**33).map(lambda n: f"0{n:o}"),
            st.integers(0, 2**33).map(lambda n: f"0x{n:x}"),
        ),
        min_size=1,
        max_size=5,
    ).map(".".join),
)


@given(NUMERIC)
@example("0x")
@example("4294967295")
@example("0000000000000000000000000000000000000001")
@example("99999999999999999999999999999999999")
def test_what_inet_aton_takes_for_an_address_is_never_a_name(text: str) -> None:
    try:
        packed = socket.inet_aton(text)
    except OSError:
        return
    assert canonical(text) == IPv4Address(packed)


@given(IPV4, st.sampled_from(["::ffff:{}", "[::ffff:{}]", "::FFFF:{}", "0:0:0:0:0:ffff:{}"]))
def test_every_mapped_address_is_the_ipv4_one(address: IPv4Address, form: str) -> None:
    assert canonical(form.format(address)) == address
    assert canonical(form.format(f"{int(address) >> 16:x}:{int(address) & 0xFFFF:X}")) == address


@given(IPV6)
def test_every_spelling_of_an_ipv6_address_is_that_address(address: IPv6Address) -> None:
    for text in (str(address), address.exploded, address.exploded.upper(), f"[{address}]"):
        assert canonical(text) == unmapped(address)


HOSTS: st.SearchStrategy[Host | str] = st.one_of(
    IPS,
    st.binary(max_size=255),
    st.text(max_size=300),
    st.text("0123456789abcdefABCDEFxX.:%[]-_", max_size=60),
    st.sampled_from([text for text, _ in ADDRESSES] + [text for text, _ in NAMES]),
)


@given(HOSTS)
def test_canonical_of_its_own_answer_is_the_answer(host: Host | str) -> None:
    try:
        found = canonical(host)
    except NotAName:
        return
    assert canonical(str(found)) == found
    assert canonical(str(found).encode("ascii")) == found
    if isinstance(found, str):
        assert found == found.lower()
        assert not found.endswith(".")
        assert 0 < len(found) <= 253
    else:
        assert unmapped(found) == found


@given(HOSTS)
def test_a_trailing_dot_and_upper_case_change_nothing(host: Host | str) -> None:
    if not isinstance(host, str) or "%" in host:
        return
    try:
        found = canonical(host)
    except NotAName:
        return
    assert canonical(host.upper()) == found
    if not host.endswith((".", "]")):
        assert canonical(host + ".") == found


# The IPv4 addresses inside IPv6 ones.


INSIDE: tuple[tuple[str, str, str], ...] = (
    ("compatible", "::127.0.0.1", "127.0.0.1"),
    ("compatible", "::a00:1", "10.0.0.1"),
    ("NAT64", "64:ff9b::127.0.0.1", "127.0.0.1"),
    ("NAT64", "64:ff9b::a9fe:a9fe", "169.254.169.254"),
    # RFC 6052 section 2.4 with the prefix of RFC 8215 in the place of its examples'.
    ("local NAT64 /48", "64:ff9b:1:c000:2:2100::", "192.0.2.33"),
    ("local NAT64 /56", "64:ff9b:1:22c0:0:221::", "192.0.2.33"),
    ("local NAT64 /64", "64:ff9b:1:2244:c0:2:2100::", "192.0.2.33"),
    ("local NAT64 /96", "64:ff9b:1:2244::192.0.2.33", "192.0.2.33"),
    ("6to4", "2002:7f00:1::", "127.0.0.1"),
    ("6to4", "2002:c000:221:1:2:3:4:5", "192.0.2.33"),
    # RFC 4380 section 4: the server, and the client with its bits turned round.
    ("Teredo's server", "2001:0:7f00:1::1", "127.0.0.1"),
    ("Teredo's client", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
    ("ISATAP", "2001:db8::5efe:127.0.0.1", "127.0.0.1"),
    ("ISATAP with the u bit", "2001:db8::200:5efe:c000:221", "192.0.2.33"),
    ("SIIT", "::ffff:0:127.0.0.1", "127.0.0.1"),
)


@pytest.mark.parametrize(("kind", "address", "inner"), INSIDE)
def test_the_ipv4_address_inside_is_found(kind: str, address: str, inner: str) -> None:
    assert IPv4Address(inner) in embedded(IPv6Address(address)), kind


@pytest.mark.parametrize(
    "address",
    [
        "2001:db8::1",
        "2606:4700:4700::1111",
        "64:ff9b::1:0:0:1",
        "64:ff9b:2::7f00:1",
        "2001:1::7f00:1",
        "2003:7f00:1::",
        "fd00::7f00:1",
        "2001:db8::5eff:7f00:1",
        "2001:db8::100:5efe:7f00:1",
        "::1:0:7f00:1",
    ],
)
def test_an_ordinary_ipv6_address_has_none_inside(address: str) -> None:
    assert embedded(IPv6Address(address)) == ()


@given(IPV4)
def test_an_ipv4_address_has_none_inside(address: IPv4Address) -> None:
    assert embedded(address) == ()


def _in_rfc6052(prefix: IPv6Network, address: IPv4Address, suffix: int) -> IPv6Address:
    """RFC 6052 section 2.2: octet 8 is left out."""
    octets = bytearray(prefix.network_address.packed)
    place = prefix.prefixlen // 8
    for octet in address.packed:
        if place == 8:
            place += 1
        octets[place] = octet
        place += 1
    while place < 16:
        octets[place] = suffix
        place += 1
    return IPv6Address(bytes(octets))


@given(IPV4, st.sampled_from([48, 56, 64, 96]), st.integers(0, 2**16 - 1), st.integers(0, 255))
def test_every_form_of_local_nat64_is_seen_through(
    address: IPv4Address, length: int, subnet: int, suffix: int
) -> None:
    whole = (0x0064FF9B0001 << 80) | (subnet << 64)
    prefix = IPv6Network((whole >> (128 - length) << (128 - length), length))
    assert address in embedded(_in_rfc6052(prefix, address, suffix))


@given(IPV4, st.integers(0, 2**80 - 1))
def test_every_6to4_address_is_seen_through(address: IPv4Address, rest: int) -> None:
    assert embedded(IPv6Address(0x2002 << 112 | int(address) << 80 | rest))[0] == address


@given(IPV4, IPV4, st.integers(0, 2**32 - 1))
def test_both_addresses_of_teredo_are_seen(
    server: IPv4Address, client: IPv4Address, middle: int
) -> None:
    number = 0x20010000 << 96 | int(server) << 64 | middle << 32 | (int(client) ^ 0xFFFFFFFF)
    assert set(embedded(IPv6Address(number))) >= {server, client}


@given(IPV6)
def test_whatever_is_inside_comes_as_ipv4_addresses(address: IPv6Address) -> None:
    assert all(type(inner) is IPv4Address for inner in embedded(address))
