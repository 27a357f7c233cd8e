"""Ports to try, where an operator names a range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.egress import ports
from socks5d.egress.ports import TRIES, Ports, candidates


@st.composite
def _ranges(draw: st.DrawFn) -> Ports:
    low = draw(st.integers(1, 65535))
    return low, draw(st.integers(low, min(65535, low + 3 * TRIES)))


def test_without_a_range_the_kernel_chooses() -> None:
    assert list(candidates(None)) == [0]


def test_a_range_of_one_is_that_one() -> None:
    assert list(candidates((1081, 1081))) == [1081]


@given(_ranges())
def test_ports_are_of_the_range_and_each_is_tried_once(given: Ports) -> None:
    low, high = given
    tried = list(candidates(given))
    assert set(tried) <= set(range(low, high + 1))
    assert len(set(tried)) == len(tried) == min(high - low + 1, TRIES)


def test_the_largest_range_is_not_all_tried() -> None:
    assert len(list(candidates((1, 65535)))) == TRIES


@pytest.mark.parametrize(
    ("start", "tried"),
    [(0, [50, 51, 52, 53]), (2, [52, 53, 50, 51]), (3, [53, 50, 51, 52])],
)
def test_they_begin_anywhere_in_it_and_go_on_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch, start: int, tried: list[int]
) -> None:
    asked: list[int] = []

    def randrange(stop: int) -> int:
        asked.append(stop)
        return start

    monkeypatch.setattr(ports, "randrange", randrange)
    assert list(candidates((50, 53))) == tried
    assert asked == [4]
