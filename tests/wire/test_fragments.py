"""Putting fragmented datagrams together (RFC 1928 section 7)."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.wire.address import Address
from socks5d.wire.fragments import MAX_DATAGRAM, Reassembly
from socks5d.wire.udp import END_OF_SEQUENCE, Header

HERE = Address(IPv4Address("192.0.2.1"), 53)
THERE = Address(IPv4Address("192.0.2.2"), 53)
END = END_OF_SEQUENCE


def feed(queue: Reassembly, *fragments: tuple[int, bytes]) -> list[bytes]:
    """The datagrams that come of some fragments."""
    given = (queue.add(Header(frag, HERE), data) for frag, data in fragments)
    return [whole for whole in given if whole is not None]


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=127))
def test_a_sequence_in_its_order_is_one_datagram(pieces: list[bytes]) -> None:
    queue = Reassembly()
    last = len(pieces)
    numbered = [(n | (END if n == last else 0), piece) for n, piece in enumerate(pieces, 1)]
    assert feed(queue, *numbered) == [b"".join(pieces)]
    assert queue.octets == 0


@pytest.mark.parametrize(
    "frags",
    [
        pytest.param([2 | END], id="no beginning"),
        pytest.param([1, 3 | END], id="one left out"),
        pytest.param([1, 2, 4, 3 | END], id="out of order"),
        pytest.param([END], id="position 0"),
        pytest.param([1, 1, 3 | END], id="begun anew, and one left out"),
    ],
)
def test_what_is_no_whole_sequence_is_dropped(frags: list[int]) -> None:
    queue = Reassembly()
    assert feed(queue, *((frag, b"x") for frag in frags)) == []
    assert queue.octets == 0


@pytest.mark.parametrize("again", [2, 2 | END])
def test_one_that_comes_twice_counts_once(again: int) -> None:
    """As the network may copy it: it is not lower than the highest so far."""
    queue = Reassembly()
    assert feed(queue, (1, b"a"), (2, b"b"), (again, b"B"), (again, b"B")) == []
    assert (len(queue), queue.octets) == (2, 2)
    assert feed(queue, (3 | END, b"c")) == [b"abc"]
    # When the sequence is complete it is one of none.
    assert feed(queue, (3 | END, b"c")) == []
    assert len(queue) == 0


def test_one_that_comes_twice_to_another_destination_abandons() -> None:
    queue = Reassembly()
    feed(queue, (1, b"a"), (2, b"b"))
    assert queue.add(Header(2, THERE), b"b") is None
    assert len(queue) == 0


def test_a_lower_position_abandons_and_the_first_begins_anew() -> None:
    queue = Reassembly()
    assert feed(queue, (1, b"a"), (2, b"b"), (1, b"c"), (2 | END, b"d")) == [b"cd"]


def test_fragments_to_another_destination_are_not_mixed_in() -> None:
    queue = Reassembly()
    assert queue.add(Header(1, HERE), b"a") is None
    assert queue.add(Header(2 | END, THERE), b"b") is None
    assert feed(queue, (2 | END, b"c")) == []


def test_a_sequence_larger_than_a_datagram_is_dropped() -> None:
    queue = Reassembly()
    half = bytes(MAX_DATAGRAM // 2 + 1)
    assert feed(queue, (1, half), (2, half), (3 | END, b"")) == []
    assert queue.octets == 0


def test_an_abandoned_queue_holds_nothing() -> None:
    queue = Reassembly()
    feed(queue, (1, b"abc"))
    assert queue.octets == 3
    queue.abandon()
    assert queue.octets == 0
    assert feed(queue, (2 | END, b"d")) == []


@pytest.mark.parametrize(
    ("frags", "held"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([1], 1, id="a beginning"),
        pytest.param([1, 2, 3], 3, id="no end"),
        pytest.param([1, 2 | END], 0, id="a whole sequence"),
        pytest.param([1 | END], 0, id="a whole sequence of one"),
        pytest.param([1, 2, 4], 0, id="one left out"),
        pytest.param([1, 2, 2], 2, id="one twice"),
        pytest.param([1, 2, 1], 1, id="begun anew"),
        pytest.param([2], 0, id="no beginning"),
    ],
)
def test_its_length_is_how_many_it_holds(frags: list[int], held: int) -> None:
    queue = Reassembly()
    # Even if they are empty: a fragment is not what it carries.
    feed(queue, *((frag, b"") for frag in frags))
    assert len(queue) == held
    queue.abandon()
    assert len(queue) == 0


def test_a_sequence_that_is_too_large_is_not_held() -> None:
    queue = Reassembly()
    feed(queue, (1, bytes(MAX_DATAGRAM)))
    assert len(queue) == 1
    feed(queue, (2, b"x"))
    assert len(queue) == 0


@given(st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=2000)), max_size=200))
def test_whatever_comes_the_queue_is_bounded(fragments: list[tuple[int, bytes]]) -> None:
    queue = Reassembly()
    for frag, data in fragments:
        whole = queue.add(Header(frag, HERE), data)
        assert whole is None or len(whole) <= MAX_DATAGRAM
        assert queue.octets <= MAX_DATAGRAM
        # Positions are of 7 bits, and each is held once.
        assert len(queue) <= 127
        assert len(queue) > 0 or queue.octets == 0
