"""Who is one and the same."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.escape import LIMIT
from socks5d.limits.keys import Prefixes, identity_key, is_proven
from socks5d.model import ANONYMOUS, Client, Identity


@pytest.mark.parametrize(
    ("prefixes", "address", "key"),
    [
        (Prefixes(), "192.0.2.7", "192.0.2.7"),
        (Prefixes(24), "192.0.2.7", "192.0.2.0/24"),
        (Prefixes(0), "192.0.2.7", "0.0.0.0/0"),
        (Prefixes(), "2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        (Prefixes(), "fe80::1%eth0", "fe80::/64"),
        (Prefixes(32, 48), "2001:db8:7:1::1", "2001:db8:7::/48"),
        (Prefixes(32, 128), "2001:db8::1", "2001:db8::1"),
        (Prefixes(32, 0), "2001:db8::1", "::/0"),
    ],
)
def test_a_client_is_its_address_or_its_network(prefixes: Prefixes, address: str, key: str) -> None:
    assert prefixes.key(ip_address(address)) == key


@pytest.mark.parametrize(
    ("prefixes", "address", "path"),
    [
        (Prefixes(), "192.0.2.7", ("192.0.0.0/16", "192.0.2.7")),
        (Prefixes(16), "192.0.2.7", ("192.0.0.0/16",)),
        (Prefixes(8), "192.0.2.7", ("192.0.0.0/8",)),
        (Prefixes(), "2001:db8:7:1::1", ("2001:db8::/32", "2001:db8:7::/48", "2001:db8:7:1::/64")),
        (Prefixes(32, 48), "2001:db8:7:1::1", ("2001:db8::/32", "2001:db8:7::/48")),
        (Prefixes(), None, ("",)),
    ],
)
def test_a_client_is_in_wider_networks(
    prefixes: Prefixes, address: str | None, path: tuple[str, ...]
) -> None:
    client = Client(None if address is None else ip_address(address), 40000)
    assert prefixes.path(client) == path
    assert path[-1] == prefixes.of(client)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 32), st.integers(0, 128))
def test_two_are_the_same_if_they_begin_alike(one: object, two: object, v4: int, v6: int) -> None:
    first, second = ip_address(str(one)), ip_address(str(two))
    prefixes = Prefixes(v4, v6)
    shift = 32 - v4 if first.version == 4 else 128 - v6
    alike = first.version == second.version and int(first) >> shift == int(second) >> shift
    assert (prefixes.key(first) == prefixes.key(second)) is alike


def test_nobody_in_particular_is_nobody() -> None:
    assert identity_key(ANONYMOUS) is None
    assert identity_key(Identity(None, "ident")) is None


def test_a_name_that_is_not_proven_is_not_the_proven_one() -> None:
    keys = {identity_key(Identity("ann", source)) for source in ("password", "userid", "ident")}
    assert keys == {"password:ann", "userid:ann", "ident:ann"}


@pytest.mark.parametrize(
    ("source", "proven"),
    [("password", True), ("gssapi", True), ("badge", True), ("userid", False), ("ident", False)],
)
def test_only_somebody_else_can_prove_a_name(source: str, proven: bool) -> None:
    key = identity_key(Identity("ident:userid", source))
    assert key is not None
    assert is_proven(key) is proven


NAMES = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=2 * LIMIT)


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_two_identities_never_look_alike_and_fit_in_a_line(
    one: tuple[str, str], two: tuple[str, str]
) -> None:
    keys = [identity_key(Identity(name, source)) for name, source in (one, two)]
    assert (keys[0] == keys[1]) is (one == two)
    for key in keys:
        assert key is not None
        assert len(key) < 6 * LIMIT
        assert key.isprintable()
        assert key.encode()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (Identity("b:c", "a"), Identity("c", "a:b")),
        (Identity("x" * LIMIT + "1", "a"), Identity("x" * LIMIT + "2", "a")),
        (Identity("\udc80", "a"), Identity("\\x80", "a")),
        (Identity("\ud800" + "x" * LIMIT, "a"), Identity("\ud801" + "x" * LIMIT, "a")),
    ],
)
def test_nor_do_those_that_were_made_to(one: Identity, two: Identity) -> None:
    assert identity_key(one) != identity_key(two)
