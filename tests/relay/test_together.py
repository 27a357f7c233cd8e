"""Datagrams that are sent together: which are, and that nothing is lost, altered or overtaken."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.relay.together import LARGEST, MOST, Together


class Sent:
    """
    What was sent.

    @ivar calls: each with the way, and the datagrams; one alone is a bare one.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any]] = []
        self.together = Together(self._one, self._many)

    def _one(self, way: Any, packet: bytes) -> None:
        self.calls.append((way, packet))

    def _many(self, way: Any, packets: Sequence[bytes]) -> None:
        self.calls.append((way, list(packets)))

    def each(self) -> list[tuple[Any, bytes]]:
        """Datagrams in the order in which they went."""
        return [
            (way, packet)
            for way, what in self.calls
            for packet in (what if isinstance(what, list) else [what])
        ]


def test_outside_a_turn_each_goes_at_once() -> None:
    sent = Sent()
    for packet in (b"1", b"2"):
        sent.together.add("way", packet)
    assert sent.calls == [("way", b"1"), ("way", b"2")]


def test_what_a_turn_brings_goes_together_at_its_end() -> None:
    sent = Sent()
    sent.together.begin()
    for packet in (b"1", b"2", b"3"):
        sent.together.add("way", packet)
    assert sent.calls == []
    sent.together.end()
    assert sent.calls == [("way", [b"1", b"2", b"3"])]
    sent.together.end()
    sent.together.add("way", b"4")
    assert sent.calls[1:] == [("way", b"4")]


def test_one_alone_goes_as_such() -> None:
    sent = Sent()
    sent.together.begin()
    sent.together.add("way", b"1")
    sent.together.end()
    assert sent.calls == [("way", b"1")]


@pytest.mark.parametrize("packet", [b"", bytes(LARGEST + 1)], ids=["empty", "large"])
def test_what_cannot_go_together_goes_by_itself_and_in_its_place(packet: bytes) -> None:
    sent = Sent()
    sent.together.begin()
    for each in (b"1", packet, packet, b"2"):
        sent.together.add("way", each)
    sent.together.end()
    assert sent.calls == [("way", each) for each in (b"1", packet, packet, b"2")]


def test_what_is_forgotten_is_not_sent() -> None:
    sent = Sent()
    sent.together.begin()
    for packet in (b"1", b"2"):
        sent.together.add("way", packet)
    assert sent.together.forget() == 2
    sent.together.end()
    assert sent.calls == []
    assert sent.together.forget() == 0


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([b"", b"1", b"22", b"33"]))),
        max_size=6,
    )
)
def test_all_go_in_their_order_and_only_equals_go_together(
    turns: list[list[tuple[str, bytes]]],
) -> None:
    sent = Sent()
    for turn in turns:
        sent.together.begin()
        for way, packet in turn:
            sent.together.add(way, packet)
        sent.together.end()
    assert sent.each() == [each for turn in turns for each in turn]
    for _, what in sent.calls:
        if isinstance(what, list):
            assert len({len(packet) for packet in what}) == 1
            assert len(what) > 1
    runs = [
        len(list(run))
        for turn in turns
        for (_, size), run in groupby(turn, lambda each: (each[0], len(each[1])))
        if size
    ]
    empty = sum(not packet for turn in turns for _, packet in turn)
    assert len(sent.calls) == len(runs) + empty


def test_no_more_than_so_many_go_together() -> None:
    sent = Sent()
    sent.together.begin()
    packet = bytes(LARGEST)
    for _ in range(2 * MOST + 2):
        sent.together.add("way", packet)
    sent.together.end()
    assert [len(packets) for _, packets in sent.calls] == [MOST, MOST, 2]
    # With an IPv6 header each, what goes together fits into a datagram.
    assert MOST * (LARGEST + 22) <= 65_507
    assert MOST <= 64
